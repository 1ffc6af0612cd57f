"""A deterministic tar writer: the same entries always give the same bytes.

It writes ustar headers, with pax records for what ustar cannot hold (long or non-ASCII names, large numbers, fractional
or negative times, xattrs). Each header depends on its entry alone, so readers agree on it. A sparse file (an entry with
`segments`) is written in GNU's sparse format 1.0, which uses pax too; its content is the bytes of its segments.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from zlib import adler32

from ocitool.errors import FormatError
from ocitool.layers.entry import OPAQUE_NAME, WHITEOUT_PREFIX, Entry, Kind, Segments

_FLAGS = {
    Kind.FILE: b"0", Kind.HARDLINK: b"1", Kind.SYMLINK: b"2", Kind.CHAR: b"3", Kind.BLOCK: b"4", Kind.DIRECTORY: b"5",
    Kind.FIFO: b"6", Kind.WHITEOUT: b"0", Kind.OPAQUE: b"0", Kind.METADATA: b"0",
}  # fmt: skip
_BLOCK = 512
END = bytes(2 * _BLOCK)
"""The two end-of-archive blocks."""


def write(entries: Iterable[tuple[Entry, Iterable[bytes]]]) -> Iterator[bytes]:
    """Yields the tar of these entries with their contents, in chunks.

    Raises `FormatError` if a content has another length than its entry (a sparse one: than its segments), after the
    last chunk of that content.
    """
    for entry, content in entries:
        yield from member(entry, content)
    yield END


def member(entry: Entry, content: Iterable[bytes], *, explicit: bool = False) -> Iterator[bytes]:
    """Yields one entry with its content and padding: see `write` and `header`."""
    yield header(entry, explicit=explicit)
    written = 0
    for piece in content:
        written += len(piece)
        yield piece
    expected = _stored(entry)
    if written != expected:
        raise FormatError(f"{written} bytes of content where the entry says {expected}")
    if written % _BLOCK:
        yield bytes(-written % _BLOCK)


def member_size(entry: Entry) -> int:
    """Returns the bytes that an entry takes: header, content and padding."""
    stored = _stored(entry)
    return len(header(entry)) + stored + -stored % _BLOCK


def _stored(entry: Entry) -> int:
    if entry.kind != Kind.FILE:
        return 0
    return entry.size if entry.segments is None else entry.stored


def header(entry: Entry, *, explicit: bool = False) -> bytes:
    """Returns the header blocks of one entry, with pax records and sparse map. `explicit`: pax records state all that a
    global pax header could state otherwise."""
    records: dict[bytes, bytes] = {}
    table = b""
    if entry.segments is not None:
        entry, records, table = _sparse(entry, entry.segments)
    if explicit:
        records |= _explicit_records(entry)
    name = member_name(entry)
    name_field, prefix = _split(name)
    if name_field is None or not name.isascii():
        records[b"path"] = name
        name_field, prefix = name[:100], b""
    link = entry.link if entry.kind in (Kind.SYMLINK, Kind.HARDLINK) else b""
    if len(link) > 100 or not link.isascii():
        records[b"linkpath"] = link
    size = entry.size if entry.kind == Kind.FILE else 0
    if size >= 8**11:
        records[b"size"] = b"%d" % size
    for key, owner in ((b"uid", entry.uid), (b"gid", entry.gid)):
        if not 0 <= owner < 8**7:
            records[key] = b"%d" % owner
    seconds, nanoseconds = divmod(entry.mtime, 1_000_000_000)
    if nanoseconds or not 0 <= seconds < 8**11:
        records[b"mtime"] = _decimal_time(entry.mtime)
    for xattr, value in entry.xattrs or ():
        if b"=" in xattr:
            raise FormatError("an extended attribute with = in its name: no tar can hold it")
        records[b"SCHILY.xattr." + xattr] = value
    extension = b""
    if records:
        data = b"".join(_record(key, records[key]) for key in sorted(records))
        extension = _block(b"PaxHeaders/entry", b"x", len(data), mode=0o644) + data + bytes(-len(data) % _BLOCK)
    block = _block(
        name_field, _FLAGS[entry.kind], size if size < 8**11 else 0, mode=entry.mode,
        uid=entry.uid if b"uid" not in records else 0, gid=entry.gid if b"gid" not in records else 0,
        mtime=seconds if 0 <= seconds < 8**11 else 0, link=link[:100], prefix=prefix, device=entry.device or (0, 0),
    )  # fmt: skip
    return extension + block + table


def _explicit_records(entry: Entry) -> dict[bytes, bytes]:
    """Returns all that an entry states, as pax records: each overrides a global one."""
    size = entry.size if entry.kind == Kind.FILE else 0
    link = entry.link if entry.kind in (Kind.SYMLINK, Kind.HARDLINK) else b""
    return {
        b"path": member_name(entry), b"linkpath": link, b"size": b"%d" % size, b"uid": b"%d" % entry.uid,
        b"gid": b"%d" % entry.gid, b"mtime": b"%d" % (entry.mtime // 1_000_000_000),
    }  # fmt: skip


def _sparse(entry: Entry, segments: Segments) -> tuple[Entry, dict[bytes, bytes], bytes]:
    """Returns member, records and map of a sparse file in GNU's sparse format 1.0.

    As GNU tar does, the member is named `GNUSparseFile.0/NAME`, so that a reader without support for sparse files does
    not write map and data to the real name; and a hole at the end is marked by an empty segment.
    """
    if not segments or sum(segments[-1]) != entry.size:
        segments = (*segments, (entry.size, 0))
    table = b"%d\n" % len(segments) + b"".join([b"%d\n%d\n" % segment for segment in segments])
    table += bytes(-len(table) % _BLOCK)
    parent, slash, base = entry.path.rpartition(b"/")
    records = {
        b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", b"GNU.sparse.name": entry.path,
        b"GNU.sparse.realsize": b"%d" % entry.size,
    }  # fmt: skip
    name = parent + slash + b"GNUSparseFile.0/" + base
    return entry._replace(path=name, size=len(table) + entry.stored, segments=None), records, table


def member_name(entry: Entry) -> bytes:
    """Returns the entry's name in a tar: directories end in a slash, whiteouts have their prefix."""
    if entry.kind == Kind.DIRECTORY:
        return entry.path + b"/" if entry.path else b"./"
    if entry.kind == Kind.WHITEOUT:
        parent, slash, base = entry.path.rpartition(b"/")
        return parent + slash + WHITEOUT_PREFIX + base
    if entry.kind == Kind.OPAQUE:
        return entry.path + b"/" + OPAQUE_NAME if entry.path else OPAQUE_NAME
    return entry.path


def _split(name: bytes) -> tuple[bytes | None, bytes]:
    """Splits a name for the ustar fields, at a slash if it is long; None if it does not fit."""
    if len(name) <= 100:
        return name, b""
    cut = name.find(b"/", len(name) - 101)
    if 0 < cut <= 155 and cut < len(name) - 1:
        return name[cut + 1 :], name[:cut]
    return None, b""


def _decimal_time(time: int) -> bytes:
    sign = b"-" if time < 0 else b""
    seconds, nanoseconds = divmod(abs(time), 1_000_000_000)
    fraction = (b".%09d" % nanoseconds).rstrip(b"0") if nanoseconds else b""
    return sign + b"%d" % seconds + fraction


def _record(key: bytes, value: bytes) -> bytes:
    body = b" " + key + b"=" + value + b"\n"
    length = len(body)
    while len(b"%d" % length) + len(body) != length:
        length = len(b"%d" % length) + len(body)
    return b"%d" % length + body


def _block(
    name: bytes, flag: bytes, size: int, *, mode: int, uid: int = 0, gid: int = 0, mtime: int = 0, link: bytes = b"",
    prefix: bytes = b"", device: tuple[int, int] = (0, 0),
) -> bytes:  # fmt: skip
    for number in device:
        if number >= 8**7:
            raise FormatError(f"device number {number} does not fit a ustar header")
    fields = _FORM % (
        name.ljust(100, b"\0"), mode, uid, gid, size, mtime, flag, link.ljust(100, b"\0"), device[0], device[1],
        prefix.ljust(155, b"\0"),
    )  # fmt: skip
    return b"%b%06o\0 %b" % (fields[:148], _sum(fields), fields[156:])


_FORM = b"%b%07o\0%07o\0%07o\0%011o\0%011o\0        %b%bustar\x0000" + bytes(64) + b"%07o\0%07o\0%b" + bytes(12)


def _sum(fields: bytes) -> int:
    """Returns the sum of the bytes. For a block of ASCII it stays below the modulus of adler32, which is faster than
    `sum`."""
    return (adler32(fields) & 0xFFFF) - 1 if fields.isascii() else sum(fields)
