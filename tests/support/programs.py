"""ELF files, build information of Go, and Java archives, made by code."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping, Sequence

BASE = 0x400000


def elf(
    *, bits: int = 64, order: str = "<", needed: Sequence[bytes] = (b"libc.so.6",), interpreter: bytes = b"/lib/ld.so",
    build_id: bytes = b"\x01\x02", symbols: bool = False, text: bytes = b"\x90" * 8, machine: int = 62,
    extra: Mapping[bytes, bytes] | None = None, headers: bool = True,
) -> bytes:  # fmt: skip
    """A program with one segment that is loaded and has the whole file. `extra`: further sections by name. `headers`: whether
    it has a table of sections."""
    word = "I" if bits == 32 else "Q"
    header, program, section = (52, 32, 40) if bits == 32 else (64, 56, 64)
    body = bytearray(-(header + 4 * program) % 16)
    places: dict[bytes, tuple[int, int, int]] = {}

    def put(name: bytes, kind: int, content: bytes) -> int:
        """Adds a section, and returns its offset."""
        offset = header + 4 * program + len(body)
        places[name] = kind, offset, len(content)
        body.extend(content + bytes(-len(content) % 16 + 16))
        return offset

    put(b".interp", 1, interpreter + b"\0")
    strings = put(b".dynstr", 3, b"\0" + b"".join(name + b"\0" for name in needed))
    note = struct.pack(order + "3I", 4, len(build_id), 3) + b"GNU\0" + build_id + bytes(-len(build_id) % 4)
    put(b".note.gnu.build-id", 7, note)
    entries, at = [], 1
    for name in needed:
        entries.append((1, at))
        at += len(name) + 1
    entries += [(5, BASE + strings), (0, 0)]
    put(b".dynamic", 6, b"".join(struct.pack(f"{order}2{word}", *pair) for pair in entries))
    put(b".text", 1, text)
    for name, content in (extra or {}).items():
        put(name, 1, content)
    if symbols:
        put(b".symtab", 2, bytes(48))
    names = b"\0" + b"".join(name + b"\0" for name in (*places, b".shstrtab"))
    put(b".shstrtab", 3, names)
    table = header + 4 * program + len(body)
    ident = b"\x7fELF" + bytes([bits // 32, 1 if order == "<" else 2, 1]) + bytes(9)
    count = len(places) + 1
    told = (table, 0, header, program, 4, section, count, count - 1) if headers else (0, 0, header, program, 4, section, 0, 0)
    made = ident + struct.pack(f"{order}HHI3{word}I6H", 2, machine, 1, BASE, header, *told)
    segments = [(1, 7, 0, table), *((kind, 4, *places[name][1:]) for kind, name in (
        (3, b".interp"), (2, b".dynamic"), (4, b".note.gnu.build-id"),
    ))]  # fmt: skip
    for kind, flags, offset, size in segments:
        if bits == 32:
            made += struct.pack(f"{order}8I", kind, offset, BASE + offset, 0, size, size, flags, 4)
        else:
            made += struct.pack(f"{order}2I6Q", kind, flags, offset, BASE + offset, 0, size, size, 8)
    made += bytes(body)
    if headers:
        made += bytes(section)
        for name, (kind, offset, size) in places.items():
            link, step = {2: (2, 16 if bits == 32 else 24), 6: (2, bits // 4)}.get(kind, (0, 0))  # 2 is .dynstr
            values = (names.index(b"\0" + name + b"\0") + 1, kind, 2, BASE + offset, offset, size, link, 0, 1, step)
            made += struct.pack(f"{order}II4{word}II2{word}", *values)
    return made


def modules_text(*lines: str) -> bytes:
    """What the Go linker records about modules, in its frame."""
    return b"0123456789abcdef" + "".join(line + "\n" for line in lines).encode() + b"fedcba9876543210"


def go_info(version: bytes, modules: bytes) -> bytes:
    """The build information of Go since 1.18: strings that follow the header."""
    head = b"\xff Go buildinf:" + b"\x08\x02" + bytes(16)
    return head + b"".join(_varint(len(text)) + text for text in (version, modules))


def _varint(number: int) -> bytes:
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*made, number])


def go_pointers(version: bytes, modules: bytes, offset: int, *, bits: int = 64, order: str = "<") -> bytes:
    """The build information of Go before 1.18, to be the section at `offset` of a program by `elf`: pointers to headers of
    strings."""
    word, size = ("I", 4) if bits == 32 else ("Q", 8)
    head = b"\xff Go buildinf:" + bytes([size, order == ">"])
    at = BASE + offset + 32
    first, second = at, at + 2 * size
    texts = at + 4 * size
    pointers = struct.pack(f"{order}2{word}", first, second).ljust(16, b"\0")
    strings = struct.pack(f"{order}4{word}", texts, len(version), texts + len(version), len(modules))
    return head + pointers + strings + version + modules


def zipped(members: Mapping[str, bytes], *, deflated: bool = True, front: bytes = b"") -> bytes:
    """A zip archive, after `front`."""
    made = io.BytesIO(front)
    made.seek(0, io.SEEK_END)
    with zipfile.ZipFile(made, "a") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED)
    return made.getvalue()


def ar(members: Mapping[bytes, bytes]) -> bytes:
    """An ar archive of members with names of at most 16 bytes."""
    made = b"!<arch>\n"
    for name, data in members.items():
        made += name.ljust(48) + (b"%d" % len(data)).ljust(10) + b"`\n" + data + b"\n" * (len(data) % 2)
    return made
