"""What is inside archives whose members can be found without unpacking: zip (JAR, wheel and their like) and ar (Debian
packages, static libraries)."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import NamedTuple

from ocitool.comparison.inside import tars
from ocitool.comparison.inside.content import PARTS, InnerContent, InnerPart, Room, fact
from ocitool.packages.zip_directory import MAGICS, ZipError, read_directory

_AR = b"!<arch>\n"
_HEADER = 60
_TAIL = 1 << 16


def content_of(data: bytes, room: Room) -> InnerContent | None:
    """Returns what is inside a zip or ar archive, None for another format."""
    if data.startswith(MAGICS) or (data.startswith(b"#!") and MAGICS[1] in data[-_TAIL:]):  # also one that runs itself
        return _zip(data)
    if data.startswith(_AR):
        return _ar(data, room)
    return None


def _zip(data: bytes) -> InnerContent:
    try:
        directory = read_directory(data)
    except ZipError as error:
        return InnerContent("a zip archive", {}, {}, note=str(error))
    facts = {"names that occur twice": str(directory.twice)} if directory.twice else {}
    return InnerContent(
        "a zip archive", facts, {one.name: InnerPart(one.size, one.crc) for one in directory.members if one.name[-1:] != b"/"}
    )


class _Member(NamedTuple):
    name: bytes
    start: int
    end: int


def _ar(data: bytes, room: Room) -> InnerContent:
    parts: dict[bytes, InnerPart] = {}
    facts: dict[str, str] = {}
    is_package = data[len(_AR) : len(_AR) + 13] == b"debian-binary"
    note = ""
    for count, member in enumerate(_members(data)):
        if member is None:
            note = "the ar archive is damaged"
            break
        if count == PARTS:
            note = f"only the first {PARTS:,} members were compared"
            break
        content = data[member.start : member.end]
        within = tars.content_of(content, room) if is_package and b".tar" in member.name else None
        if within is None or within.note:
            parts[member.name] = InnerPart(len(content), sha256(content).digest()[:16])
            note = note or (within.note if within is not None else "")
        else:
            stem = member.name.partition(b".")[0]
            parts.update((stem + b"/" + name, part) for name, part in within.parts.items())
            facts[f"compression of {fact(stem)}"] = within.facts.get("compression", "none")
    return InnerContent("a Debian package" if is_package else "an ar archive", facts, parts, note=note)


def _members(data: bytes) -> Iterator[_Member | None]:
    """Yields the members; None, as the last, if the archive is damaged. Tables of symbols and of names are left out."""
    at, names = len(_AR), b""
    while at + _HEADER <= len(data):
        header = data[at : at + _HEADER]
        name, digits = header[:16].rstrip(b" "), header[48:58].strip(b" ")
        if header[58:] != b"`\n" or not digits.isdigit():
            yield None
            return
        start = at + _HEADER
        end = start + int(digits)
        if end > len(data):
            yield None
            return
        at = end + end % 2
        if name == b"//":  # GNU: long names
            names = data[start:end]
        elif name.startswith(b"#1/") and name[3:].isdigit():  # BSD: the name stands before the content
            length = int(name[3:])
            yield _Member(data[start : min(start + length, end)].rstrip(b"\0"), min(start + length, end), end)
        elif name[:1] == b"/" and name[1:].isdigit():
            offset = int(name[1:])
            stop = names.find(b"\n", offset)
            yield _Member(names[offset : stop if stop >= 0 else len(names)].rstrip(b"/"), start, end)
        elif name not in (b"/", b"/SYM64/", b"__.SYMDEF", b"__.SYMDEF SORTED"):
            yield _Member(name.rstrip(b"/"), start, end)
    if at < len(data):
        yield None
