"""ELF files: sections, segments, and what the dynamic linker reads, for any machine, word size and byte order.

Sources: System V ABI, chapters 4 and 5 (elf(5) has the same structures). Only headers, string tables and notes are read.
Anything in a file may be a lie: every offset is checked against its length, and every count against the limits below.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct, error
from typing import NamedTuple

MAGIC = b"\x7fELF"

_SECTIONS = 100_000
"""Most sections that are read; a program has dozens, an object file of C++ thousands."""

_NAME = 255
"""Bytes to which the name of a section, a library or an interpreter is cut."""

_DYNAMIC = 10_000
"""Most entries of the dynamic section that are read."""

_NOTES = 1_000
"""Most notes that are read."""

SHT_SYMTAB, _SHT_STRTAB, _SHT_DYNAMIC, _SHT_NOTE, SHT_NOBITS = 2, 3, 6, 7, 8
PT_LOAD, _PT_DYNAMIC, _PT_INTERP, _PT_NOTE = 1, 2, 3, 4
_DT_NEEDED, _DT_STRTAB, _DT_SONAME = 1, 5, 14
_NT_GNU_BUILD_ID, _NT_GO_BUILD_ID = 3, 4
_SHN_XINDEX = 0xFFFF

_MACHINES = {
    2: "SPARC", 3: "x86", 8: "MIPS", 20: "PowerPC", 21: "PowerPC 64", 22: "S/390", 40: "ARM", 43: "SPARC 64", 62: "x86-64",
    183: "AArch64", 243: "RISC-V", 247: "BPF", 258: "LoongArch",
}  # fmt: skip
_KINDS = {1: "object", 2: "executable", 3: "shared object", 4: "core"}


class ElfError(ValueError):
    """A file is not ELF, or its headers lie outside it. The text says why."""


class Section(NamedTuple):
    """A section: `kind` is `sh_type`. One of kind `SHT_NOBITS` has a size and no bytes in the file."""

    name: bytes
    kind: int
    address: int
    offset: int
    size: int
    link: int


class Segment(NamedTuple):
    """A segment: `size` is its length in the file."""

    kind: int
    flags: int
    offset: int
    address: int
    size: int


class ElfFile(NamedTuple):
    """The headers of a file. `bits`: 32 or 64. `order`: as in `struct`, `<` or `>`. `sections` is empty if there are none:
    a program runs by its segments."""

    bits: int
    order: str
    machine: int
    kind: int
    sections: tuple[Section, ...]
    segments: tuple[Segment, ...]

    @property
    def machine_name(self) -> str:
        return _MACHINES.get(self.machine, f"machine {self.machine}")

    @property
    def kind_name(self) -> str:
        return _KINDS.get(self.kind, f"type {self.kind}")

    @property
    def stripped(self) -> bool:
        """Whether the file has no symbol table beside that of the dynamic linker."""
        return not any(section.kind == SHT_SYMTAB for section in self.sections)

    def offset_of(self, address: int) -> tuple[int, int] | None:
        """Returns where the byte that is loaded at an address is in the file, and how many follow it in its segment; None
        if no segment has it."""
        for segment in self.segments:
            if segment.kind == PT_LOAD and segment.address <= address < segment.address + segment.size:
                into = address - segment.address
                return segment.offset + into, segment.size - into
        return None


class ElfLinks(NamedTuple):
    """What a file asks of its surroundings, and what identifies it. `build_id`: hexadecimal, that of GNU linkers.
    `go_build_id`: that of the Go linker."""

    needed: tuple[bytes, ...]
    soname: bytes
    interpreter: bytes
    build_id: str
    go_build_id: str


def read_elf(content: bytes) -> ElfFile:
    """Returns the headers of an ELF file. Raises `ElfError`. Memory: the sections, at most 100,000."""
    if content[:4] != MAGIC or len(content) < 20 or content[4] not in (1, 2) or content[5] not in (1, 2):
        raise ElfError("no ELF header")
    bits, order = 32 * content[4], "<" if content[5] == 1 else ">"
    word = "I" if bits == 32 else "Q"
    header = _unpack(Struct(f"{order}16xHHI3{word}I6H"), content, 0)
    kind, machine, _, _, programs, table, _, _, program_size, programs_count, section_size, count, names = header
    segments = tuple(_segments(content, bits, order, programs, program_size, programs_count))
    sections: tuple[Section, ...] = ()
    if table:
        sections = tuple(_sections(content, bits, order, (table, section_size, count, names)))
    return ElfFile(bits, order, machine, kind, sections, segments)


def _unpack(shape: Struct, content: bytes, offset: int) -> tuple[int, ...]:
    try:
        return shape.unpack_from(content, offset)
    except (error, OverflowError):
        raise ElfError("truncated: a header lies outside the file") from None


def _segments(content: bytes, bits: int, order: str, table: int, step: int, count: int) -> Iterator[Segment]:
    shape = Struct(f"{order}8I" if bits == 32 else f"{order}2I6Q")
    if count and step < shape.size:
        raise ElfError("invalid size of a program header")
    for at in range(table, table + step * count, step or 1):
        fields = _unpack(shape, content, at)
        if bits == 32:
            kind, offset, address, _, size, _, flags, _ = fields
        else:
            kind, flags, offset, address, _, size, _, _ = fields
        yield Segment(kind, flags, offset, address, size)


def _sections(content: bytes, bits: int, order: str, header: tuple[int, ...]) -> Iterator[Section]:
    table, step, count, names = header
    word = "I" if bits == 32 else "Q"
    shape = Struct(f"{order}II4{word}II2{word}")
    if step < shape.size:
        raise ElfError("invalid size of a section header")
    first = _unpack(shape, content, table)
    if not count:  # more than 16 bits hold: it is in the first section
        count = first[5]
    if names == _SHN_XINDEX:
        names = first[6]
    if count > _SECTIONS:
        raise ElfError(f"more than {_SECTIONS:,} sections")
    strings = _unpack(shape, content, table + names * step) if 0 < names < count else None
    for at in range(table, table + step * count, step):
        name, kind, _, address, offset, size, link, _, _, _ = _unpack(shape, content, at)
        text = _string(content, strings[4], strings[5], name) if strings is not None else b""
        yield Section(text, kind, address, offset, size, link)


def _string(content: bytes, table: int, size: int, at: int) -> bytes:
    """Returns a string of a string table, cut to a bound; empty if it begins outside."""
    if at >= size or table + at >= len(content):
        return b""
    last = min(table + size, table + at + _NAME, len(content))
    end = content.find(b"\0", table + at, last)
    return content[table + at : last if end < 0 else end]


def links_of(content: bytes, elf: ElfFile) -> ElfLinks:
    """Returns what a file needs and what identifies it, from its segments, or from its sections if it has none (an object
    file). What lies outside of the file is left out."""
    needed, soname = _dynamic(content, elf)
    interpreter = next((content[s.offset : s.offset + min(s.size, _NAME)] for s in elf.segments if s.kind == _PT_INTERP), b"")
    ids = {(name, kind): value for name, kind, value in _notes(content, elf)}
    return ElfLinks(
        needed, soname, interpreter.partition(b"\0")[0],
        ids.get((b"GNU", _NT_GNU_BUILD_ID), b"").hex(),
        ids.get((b"Go", _NT_GO_BUILD_ID), b"").decode("utf-8", "replace"),
    )  # fmt: skip


def _dynamic(content: bytes, elf: ElfFile) -> tuple[tuple[bytes, ...], bytes]:
    """Returns the names of the needed libraries, and the file's own."""
    places = [(one.offset, one.size) for one in elf.segments if one.kind == _PT_DYNAMIC]
    places = places or [(one.offset, one.size) for one in elf.sections if one.kind == _SHT_DYNAMIC]
    if not places:
        return (), b""
    start, size = places[0]
    shape = Struct(f"{elf.order}2{'I' if elf.bits == 32 else 'Q'}")
    entries: list[tuple[int, int]] = []
    for at in range(start, min(start + size, len(content)) - shape.size + 1, shape.size):
        tag, value = shape.unpack_from(content, at)
        if not tag or len(entries) == _DYNAMIC:
            break
        entries.append((tag, value))
    address = next((value for tag, value in entries if tag == _DT_STRTAB), None)
    table = elf.offset_of(address) if address is not None else None
    if table is None:  # an object that is not linked for a place in memory
        table = next(((one.offset, one.size) for one in elf.sections if one.name == b".dynstr"), (0, 0))
    needed = tuple(_string(content, *table, value) for tag, value in entries if tag == _DT_NEEDED)
    return needed, next((_string(content, *table, value) for tag, value in entries if tag == _DT_SONAME), b"")


def _notes(content: bytes, elf: ElfFile) -> Iterator[tuple[bytes, int, bytes]]:
    """Yields owner, type and value of the notes; a value is cut to a bound."""
    places = [(one.offset, one.size) for one in elf.segments if one.kind == _PT_NOTE]
    places = places or [(one.offset, one.size) for one in elf.sections if one.kind == _SHT_NOTE]
    shape = Struct(f"{elf.order}3I")
    left = _NOTES
    for start, size in places:
        at, end = start, min(start + size, len(content))
        while left and at + shape.size <= end:
            left -= 1
            length, bytes_of_value, kind = shape.unpack_from(content, at)
            value = at + shape.size + (length + 3 & ~3)
            following = value + (bytes_of_value + 3 & ~3)
            if following > end:
                break
            name = content[at + shape.size : at + shape.size + min(length, _NAME)].rstrip(b"\0")
            yield name, kind, content[value : value + min(bytes_of_value, _NAME)]
            at = following
