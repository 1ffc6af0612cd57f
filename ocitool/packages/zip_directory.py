"""The directory of a zip archive in memory, and the content of one of its members.

Own reading of the format (APPNOTE.TXT of PKWARE, 4.3): `zipfile` makes an object for each member, of 23 microseconds and half
a kilobyte, before a limit can be applied. Archives of one disk, with members that are stored or deflated, can be read; that is
what Java, Python and their tools write.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
"""How an archive begins: with a member, or, if it is empty, with the end of its directory. One may also stand after a script
that unpacks or runs it."""

MEMBERS = 200_000
"""Most members that are read. The largest JAR files have 100,000."""

_DIRECTORY = 32 << 20
"""Most bytes of a directory."""

_COMMENT = 0xFFFF
"""Most bytes after the record of the end: its comment."""

_END, _END_64, _PLACE_64 = Struct("<4s4H2IH"), Struct("<4sQ2H2I4Q"), Struct("<4sIQI")
_MEMBER, _LOCAL = Struct("<4s6H3I5H2I"), Struct("<4s5H3I2H")
_UNKNOWN = 0xFFFFFFFF
_ENCRYPTED = 1


class ZipError(ValueError):
    """A file is no zip archive, is damaged, or passes a limit. The text says why."""


class Member(NamedTuple):
    """A member of an archive, as its directory says. `size`, `stored`: bytes of its content, and as they are in the archive.
    `crc`: the CRC-32 of the content. `offset`: of its own header in the archive."""

    name: bytes
    size: int
    stored: int
    crc: int
    method: int
    flags: int
    offset: int

    @property
    def is_directory(self) -> bool:
        return self.name.endswith(b"/")


class ZipDirectory(NamedTuple):
    """The members of an archive in the order of its directory; of a name that occurs twice both. `shift`: bytes in front of
    the archive, which offsets do not count. `twice`: how many names occur more than once."""

    members: tuple[Member, ...]
    shift: int
    twice: int

    def named(self) -> dict[bytes, Member]:
        """Returns the members by name; of equal names the last one, which most tools use."""
        return {member.name: member for member in self.members}


def read_directory(content: bytes) -> ZipDirectory:
    """Returns the directory of an archive. Raises `ZipError`. Memory: at most about 60 MB."""
    end = content.rfind(b"PK\x05\x06", max(len(content) - _COMMENT - _END.size, 0))
    if end < 0 or end + _END.size > len(content):
        raise ZipError("no directory of a zip archive")
    _, _, _, _, count, size, start, _ = _END.unpack_from(content, end)
    last = end
    place = end - _PLACE_64.size
    if place >= 0 and content.startswith(b"PK\x06\x07", place):
        last = place - _END_64.size  # the record has no other place in archives without encryption
        if last < 0 or not content.startswith(b"PK\x06\x06", last):
            raise ZipError("the zip archive is damaged: no record of 64 bits")
        _, _, _, _, _, _, _, count, size, start = _END_64.unpack_from(content, last)
    shift = last - size - start
    if size > last or shift < 0:
        raise ZipError("the directory of the zip archive is damaged")
    if count > MEMBERS or size > _DIRECTORY:
        raise ZipError(f"a zip archive of more than {MEMBERS:,} members")
    members = tuple(_members(content, last - size, last))
    return ZipDirectory(members, shift, len(members) - len({member.name for member in members}))


def _members(content: bytes, at: int, end: int) -> list[Member]:
    """Returns the members of a directory that stands at `at` and ends at `end`."""
    found: list[Member] = []
    while at + _MEMBER.size <= end:
        magic, _, _, flags, method, _, _, crc, stored, size, length, extra, comment, _, _, _, offset = _MEMBER.unpack_from(
            content, at
        )
        name = at + _MEMBER.size
        following = name + length + extra + comment
        if magic != b"PK\x01\x02" or following > end:
            break
        if len(found) == MEMBERS:
            raise ZipError(f"a zip archive of more than {MEMBERS:,} members")
        if _UNKNOWN in (size, stored, offset):
            size, stored, offset = _of_64_bits(content[name + length : name + length + extra], size, stored, offset)
        found.append(Member(content[name : name + length], size, stored, crc, method, flags, offset))
        at = following
    if at != end:
        raise ZipError("the directory of the zip archive is damaged")
    return found


def _of_64_bits(extra: bytes, *values: int) -> list[int]:
    """Returns size, stored size and offset; those that do not fit into 32 bits stand in the extra field 1, in this order."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = int.from_bytes(extra[at : at + 2], "little"), int.from_bytes(extra[at + 2 : at + 4], "little")
        if kind == 1:
            wide = extra[at + 4 : at + 4 + length]
            found = (int.from_bytes(wide[p : p + 8], "little") for p in range(0, len(wide), 8))
            return [next(found, value) if value == _UNKNOWN else value for value in values]
        at += 4 + length
    return list(values)


def read_member(content: bytes, directory: ZipDirectory, member: Member, most: int) -> bytes:
    """Returns the content of a member, of at most `most` bytes. Raises `ZipError` for a larger one, one that is encrypted,
    compressed by an unknown method, or damaged. The CRC is not checked."""
    if member.size > most:
        raise ZipError(f"a member of more than {most:,} bytes")
    header = member.offset + directory.shift
    if header + _LOCAL.size > len(content):
        raise ZipError("a member lies outside of the zip archive")
    magic, _, _, _, _, _, _, _, _, name, extra = _LOCAL.unpack_from(content, header)
    start = header + _LOCAL.size + name + extra
    stored = content[start : start + member.stored]
    if magic != MAGICS[0] or len(stored) != member.stored:
        raise ZipError("a member of the zip archive is damaged")
    if member.flags & _ENCRYPTED or member.method not in (0, 8):
        raise ZipError("a member of the zip archive is encrypted, or compressed in a way that is not read")
    if member.method == 0:
        found = stored
    else:
        import zlib

        try:
            found = zlib.decompressobj(-zlib.MAX_WBITS).decompress(stored, member.size + 1)
        except zlib.error:
            raise ZipError("a member of the zip archive is damaged") from None
    if len(found) != member.size:
        raise ZipError("a member of the zip archive has another size than its directory says")
    return found
