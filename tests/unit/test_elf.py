"""ELF files of both word sizes and byte orders, read as pyelftools reads them."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import NoteSection, SymbolTableSection
from elftools.elf.segments import InterpSegment
from support.programs import elf

from ocitool.packages.elf import ElfError, links_of, read_elf

SHAPES = [(32, "<"), (32, ">"), (64, "<"), (64, ">")]


def judged(content: bytes) -> tuple[object, ...]:
    """Sections, needed libraries, interpreter, build id, and whether it is stripped, as pyelftools reads them."""
    file = ELFFile(io.BytesIO(content))
    sections = [(one.name.encode(), one["sh_offset"], one["sh_size"]) for one in file.iter_sections()]
    needed = [
        tag.needed.encode() for segment in file.iter_segments() if isinstance(segment, DynamicSegment)
        for tag in segment.iter_tags("DT_NEEDED")
    ]  # fmt: skip
    interpreters = [one.get_interp_name().encode() for one in file.iter_segments() if isinstance(one, InterpSegment)]
    notes = [note for one in file.iter_sections() if isinstance(one, NoteSection) for note in one.iter_notes()]
    ids = [note["n_desc"] for note in notes if note["n_type"] == "NT_GNU_BUILD_ID"]
    stripped = not any(isinstance(one, SymbolTableSection) and one["sh_type"] == "SHT_SYMTAB" for one in file.iter_sections())
    return file.elfclass, file.little_endian, sections, needed, interpreters[:1], ids[:1], stripped


def ours(content: bytes) -> tuple[object, ...]:
    file = read_elf(content)
    links = links_of(content, file)
    return (
        file.bits, file.order == "<", [(one.name, one.offset, one.size) for one in file.sections], list(links.needed),
        [links.interpreter] if links.interpreter else [], [links.build_id] if links.build_id else [], file.stripped,
    )  # fmt: skip


@pytest.mark.parametrize(("bits", "order"), SHAPES)
@pytest.mark.parametrize("symbols", [True, False])
def test_made_files_read_as_pyelftools_reads_them(bits: int, order: str, symbols: bool) -> None:
    made = elf(bits=bits, order=order, needed=(b"libc.so.6", b"libm.so.6"), symbols=symbols, build_id=bytes(range(20)))
    assert judged(made) == ours(made)


@pytest.mark.parametrize("path", ["/bin/ls", "/bin/sh", "/usr/bin/env", "/lib/x86_64-linux-gnu/libc.so.6"])
def test_files_of_this_system_read_as_pyelftools_reads_them(path: str) -> None:
    if not Path(path).exists():
        pytest.skip(f"no {path}")
    content = Path(path).read_bytes()
    assert judged(content) == ours(content)


@pytest.mark.parametrize(("bits", "order"), SHAPES)
def test_a_program_without_a_table_of_sections_says_what_it_needs(bits: int, order: str) -> None:
    links = links_of(made := elf(bits=bits, order=order, headers=False), read_elf(made))
    assert ((b"libc.so.6",), b"/lib/ld.so", "0102") == (links.needed, links.interpreter, links.build_id)


@pytest.mark.parametrize("content", [
    b"", b"\x7fELF", b"\x7fELF" + bytes(60), b"MZ" + bytes(100), elf()[:70], elf()[:-10],
    elf()[:40] + struct.pack("<Q", 1 << 63) + elf()[48:],
    elf()[:58] + struct.pack("<H", 0) + elf()[60:],
])  # fmt: skip
def test_a_damaged_file_is_refused(content: bytes) -> None:
    with pytest.raises(ElfError):
        read_elf(content)


def test_a_count_of_sections_beyond_the_limit_is_refused() -> None:
    made = bytearray(elf())
    table = struct.unpack_from("<Q", made, 40)[0]
    struct.pack_into("<H", made, 60, 0)
    struct.pack_into("<Q", made, table + 32, 1 << 40)
    with pytest.raises(ElfError, match="more than 100,000 sections"):
        read_elf(bytes(made))
