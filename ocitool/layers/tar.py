"""The tar reader: strict, streaming, and quick (about 5 microseconds an entry).

Reads v7, ustar, GNU (long names, base-256 numbers, old sparse) and pax (local and global records, xattrs, GNU sparse
0.0, 0.1 and 1.0). Strict: a header that does not check is an error wherever it stands, never the end of the archive;
what readers commonly disagree on is read as the Go library reads it, since that is what engines use, and is noted.

Memory: one header with its extension records (`limits.TAR_HEADER_DATA`) and one sparse map, whatever the archive. What an index
holds of all entries beside its columns (long names, xattrs, sparse maps) is bounded by `limits.LAYER_HEADERS`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, cast
from zlib import adler32

from ocitool import limits
from ocitool.errors import FormatError, LimitError, OcitoolError, UnsafeError, UnsupportedError
from ocitool.layers.entry import NUMBERS, OPAQUE_NAME, WHITEOUT_PREFIX, Entry, Kind, Segments, Xattrs, normalise
from ocitool.layers.tar_extensions import Extensions
from ocitool.layers.tar_fields import BLOCK, POSIX_MAGIC, ZEROS, NotANumberError, Numbers, number, signed_sum, stated_number
from ocitool.layers.tar_notes import TarNotes, cut
from ocitool.layers.tar_runs import Run, RunReader
from ocitool.layers.tarinput import TarInput

if TYPE_CHECKING:
    from ocitool.layers.tar_sparse import SparseFile

_FIELDS = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12s")
_KINDS = {
    b"0": Kind.FILE, b"\0": Kind.FILE, b"7": Kind.FILE, b"S": Kind.FILE, b"1": Kind.HARDLINK, b"2": Kind.SYMLINK,
    b"3": Kind.CHAR, b"4": Kind.BLOCK, b"5": Kind.DIRECTORY, b"6": Kind.FIFO,
}  # fmt: skip
_FILE, _DIRECTORY, _SYMLINK = Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK
_HELD = 128
"""Bytes of memory that an xattr or a segment of a sparse file takes beside its own bytes."""


def entries(
    tar: TarInput, notes: TarNotes, *, incremental: bool = False, source: int | None = None, whiteouts: bool = True
) -> Iterator[Entry]:
    """Yields the entries of an archive, in order.

    Between two steps the caller may read the data of the entry just given with `tar.pieces(entry.stored)`; what it
    leaves is skipped. When the iterator ends, everything to the last byte has been read: bytes after the end-of-archive
    blocks count in a layer's digest. `incremental`: the directories of `tar -g`, which have their names as data, are
    read too; engines refuse layers of them. `source`: bytes that the archive is unpacked from, if it is. Without
    `whiteouts` it is an archive of files, as of a volume, in which `.wh.` at the beginning of a name has no meaning.

    Raises `FormatError`, `LimitError`, and `UnsafeError` for a link that would be the root."""
    found = _entries(tar, notes, Numbers(), None, incremental=incremental, source=source, whiteouts=whiteouts)
    return cast("Iterator[Entry]", found)


def entries_and_runs(
    tar: TarInput, notes: TarNotes, *, hashed: bool, source: int | None = None, whiteouts: bool = True
) -> Iterator[Entry | Run]:
    """As `entries`, but what is ordinary comes in runs, whose contents are read already. `hashed`: with their SHA-256."""
    numbers = Numbers()
    runs = RunReader(tar, numbers, hashed=hashed)
    return _entries(tar, notes, numbers, runs, incremental=False, source=source, whiteouts=whiteouts)


def _entries(
    tar: TarInput, notes: TarNotes, numbers: Numbers, runs: RunReader | None, *, incremental: bool, source: int | None,
    whiteouts: bool,
) -> Iterator[Entry | Run]:  # fmt: skip
    more = Extensions(tar, notes)
    held = _Held(limits.layer_entries(source), source)
    longest = limits.PATH_LENGTH
    while True:
        if runs is not None and not more.pending and (run := runs.read(held.left)) is not None:
            held.left -= len(run.paths)
            yield run
            continue
        following = _header(tar, notes, more, numbers, incremental=incremental)
        if following is None:
            return
        start, header, fields, size, kind, listing = following
        (name, mode_b, uid_b, gid_b, _, mtime_b, _, flag, link, magic, _, _, major_b, minor_b, prefix, _) = fields
        name = name.split(b"\0", 1)[0]
        if magic == POSIX_MAGIC and prefix[0]:
            name = prefix.split(b"\0", 1)[0] + b"/" + name
        try:
            mode, uid, gid, seconds = numbers[mode_b], numbers[uid_b], numbers[gid_b], numbers[mtime_b]
        except NotANumberError:
            raise _bad_number((("mode", mode_b), ("uid", uid_b), ("gid", gid_b), ("mtime", mtime_b)), start) from None
        mtime = seconds * 1_000_000_000
        link = link.partition(b"\0")[0]
        xattrs: Xattrs | None = None
        segments: Segments | None = None
        records: dict[bytes, bytes] | None = None
        if more.pending:
            name, link, size, uid, gid, mtime, xattrs, records = more.applied(name, link, size, uid, gid, mtime, start)
        if size < 0:
            raise FormatError(f"negative size at offset {start}")
        if flag == b"\0" and name[-1:] == b"/":
            kind = _DIRECTORY  # how v7 spelt a directory
        if kind is _FILE:
            stored = size
            end = tar.offset + size + -size % BLOCK
            if flag == b"S" or more.sparse:
                name, stored, sparse = _sparse(tar, flag, header, records, more, name, size, start)
                if sparse is not None:
                    segments, size = sparse.segments, sparse.size
                    end += sparse.extensions
                    held.size += _HELD * sparse.numbers // 2  # empty ones too: they are not held, and cost their reading
        else:
            if size and kind is not _DIRECTORY:
                notes.add("tar-size-without-data", normalise(name), "an entry that has no data states a size")
            size = stored = 0
            end = tar.offset + listing + -listing % BLOCK
        if not 0 <= uid | gid | mtime | size < NUMBERS:
            mtime = _bounded_time(uid, gid, size, mtime, records, seconds, name, start, notes)
        if len(name) > longest or len(link) > longest:
            raise LimitError(f"a path of {max(len(name), len(link))} bytes at offset {start}")
        path = _path(name, start, notes)
        slash = path.rfind(b"/") + 1
        if path.startswith(WHITEOUT_PREFIX, slash) and whiteouts:
            kind, path = _whiteout(path, slash)
        elif not path and kind is not _DIRECTORY:
            raise _nameless(kind, start)
        device = None
        if kind is _FILE or kind is _DIRECTORY:
            link = b""
        elif kind is not _SYMLINK:
            link, device = _special(kind, link, major_b, minor_b, start)
        held.entry(more, xattrs, start)
        yield Entry(path, kind, mode & 0o7777, uid, gid, mtime, size, link, tar.offset, stored, device, xattrs, segments)
        _skip_rest(tar, end, -stored % BLOCK)
        if more.pending:
            more.next_entry()


def _skip_rest(tar: TarInput, end: int, padding: int) -> None:
    """Moves to the end of an entry, which ends in so many bytes of padding."""
    if end - padding != tar.offset:
        tar.skip(end - padding - tar.offset)
    if padding:
        tar.pad(padding)


def _header(
    tar: TarInput, notes: TarNotes, more: Extensions, numbers: Numbers, *, incremental: bool
) -> tuple[int, bytes, tuple[Any, ...], int, Kind, int] | None:
    """Returns the header of the next entry: its offset, its block, its fields, the entry's size and kind, and the number of
    bytes of names that follow it (`incremental`); None at the end. Extension headers before it are in `more`."""
    unpack = _FIELDS.unpack
    while True:
        start = tar.offset
        header = tar.read(BLOCK)
        if len(header) < BLOCK or header == ZEROS:
            _end(tar, header, start, notes)
            return None
        # An entry is a header, with any number of extension headers before it.
        while True:
            fields = unpack(header)
            size_b, sum_b, flag = fields[4], fields[6], fields[7]
            total = (adler32(header[:256]) & 0xFFFF) + (adler32(header[256:]) & 0xFFFF) - 2 - sum(sum_b) + 256
            try:
                if numbers[sum_b] != total and numbers[sum_b] != signed_sum(header):
                    raise FormatError(f"not a tar header at offset {start}: its checksum is wrong")
                size = numbers[size_b]
            except NotANumberError:
                raise _bad_number((("checksum", sum_b), ("size", size_b)), start) from None
            if flag not in b"xgLKX":
                break
            more.read(flag, size, start)
            start = tar.offset
            header = tar.read(BLOCK)
            if len(header) < BLOCK or header == ZEROS:
                raise FormatError(f"extension header without an entry at offset {start}")
        kind = _KINDS.get(flag)
        listing = 0
        if kind is None:
            kind, listing = _other(tar, flag, size, start, incremental=incremental)
        if kind is not None:
            return start, header, fields, size, kind, listing
        if more.pending:
            more.next_entry()


def _bad_number(fields: Iterable[tuple[str, bytes]], start: int) -> FormatError:
    """Returns the error for the first of the fields that is not a number."""
    for what, field in fields:
        try:
            number(field)
        except NotANumberError as error:
            return error.of(what, start)
    raise AssertionError


def _path(name: bytes, start: int, notes: TarNotes) -> bytes:
    """Returns the normal form of a name. Raises `LimitError` if it is too deep."""
    path = name[:-1] if name[-1:] == b"/" else name
    if path[:2] == b"./":
        path = path[2:]
    if path[:1] == b"/" or b"//" in path or b"/." in path or path[:1] == b"." or path[-1:] == b"/":
        if name.startswith(b"/"):
            notes.add("tar-absolute-name", normalise(path), "the name begins with a slash")
        path = normalise(path)
    if path.count(b"/") > limits.PATH_DEPTH:
        raise LimitError(f"a path {path.count(b'/')} levels deep at offset {start}")
    return path


class _Held:
    """What is left of the limits of one layer. left: entries. size: bytes of long names, attributes and sparse maps."""

    __slots__ = ("_most", "_source", "left", "size")

    def __init__(self, most: int, source: int | None) -> None:
        self._most, self._source = most, source
        self.left, self.size = most, 0

    def entry(self, more: Extensions, xattrs: Xattrs | None, start: int) -> None:
        """Counts an entry. Raises `LimitError`."""
        self.left -= 1
        if self.left < 0:
            raise self._too_many()
        if more.bytes or self.size:
            self._add(more.bytes + (_HELD * len(xattrs) if xattrs is not None and xattrs is not more.shared else 0), start)

    def _too_many(self) -> LimitError:
        text = f"more than {self._most} entries in one layer"
        if self._source is not None and self._most < limits.layer_entries():
            text += f" of {self._source} bytes"
        return LimitError(text, hint="raise OCITOOL_MAX_LAYER_ENTRIES")

    def _add(self, size: int, start: int) -> None:
        """Raises `LimitError` if it is more than a layer with so many entries may have."""
        self.size += size
        if self.size > limits.LAYER_HEADERS + limits.ENTRY_HEADERS * (self._most - self.left):
            raise LimitError(f"long names, attributes and sparse maps of {self.size} bytes in one layer, at offset {start}")


def _other(tar: TarInput, flag: bytes, size: int, start: int, *, incremental: bool) -> tuple[Kind | None, int]:
    """Returns the kind of an entry of an unusual type, and the number of bytes of names after a directory of `tar -g`.
    Kind None: the entry was skipped."""
    if incremental and flag == b"D":
        return Kind.DIRECTORY, max(size, 0)
    if flag != b"V":
        raise UnsupportedError(f"tar entry of unknown type {flag!r} at offset {start}")
    # GNU volume label: a name for the archive, not an entry
    if size < 0:
        raise FormatError(f"negative size at offset {start}")
    tar.skip(size + -size % BLOCK)
    return None, 0


def _sparse(
    tar: TarInput, flag: bytes, header: bytes, records: dict[bytes, bytes] | None, more: Extensions, name: bytes, size: int,
    start: int,
) -> tuple[bytes, int, SparseFile | None]:  # fmt: skip
    """Returns the name, the number of bytes of data that follow, and the map of a sparse file, None if it is not one."""
    from ocitool.layers.tar_sparse import old_sparse, pax_sparse  # few archives have such files

    if flag == b"S":
        return name, size, old_sparse(tar, header, name, size, start)
    found, name, stored = pax_sparse(tar, records or {}, more.pairs, name, size, start)
    return name, stored, found


def _bounded_time(
    uid: int, gid: int, size: int, mtime: int, records: dict[bytes, bytes] | None, seconds: int, name: bytes, start: int,
    notes: TarNotes,
) -> int:  # fmt: skip
    """Returns the nearest time that an index can hold, and adds a note if it is another one. Raises `FormatError` if another
    number is out of range."""
    if not (-NUMBERS <= uid < NUMBERS and -NUMBERS <= gid < NUMBERS and size < NUMBERS):
        raise FormatError(f"a number out of range at offset {start}")
    if -NUMBERS <= mtime < NUMBERS:
        return mtime
    stated = (records or {}).get(b"mtime") or b"%d" % seconds
    notes.add("tar-time", normalise(name), _out_of_range(stated, mtime))
    return max(-NUMBERS, min(NUMBERS - 1, mtime))


def _nameless(kind: Kind, start: int) -> OcitoolError:
    if kind in (Kind.SYMLINK, Kind.HARDLINK):
        return UnsafeError(f"a link in the root's place, at offset {start}")
    return FormatError(f"an entry without a name at offset {start}")


def _special(kind: Kind, link: bytes, major: bytes, minor: bytes, start: int) -> tuple[bytes, tuple[int, int] | None]:
    """Returns the link and the device number of a hard link, device or FIFO."""
    if kind == Kind.HARDLINK:
        return normalise(link), None
    if kind not in (Kind.CHAR, Kind.BLOCK):
        return b"", None
    device = (stated_number(major, "device", start), stated_number(minor, "device", start))
    if not (0 <= device[0] < 1 << 32 and 0 <= device[1] < 1 << 32):
        raise FormatError(f"a device number out of range at offset {start}")
    return b"", device


def _end(tar: TarInput, header: bytes, start: int, notes: TarNotes) -> None:
    """Reads from the first end-of-archive block (already read, at `start`) to the last byte. `header`: that block, or what is
    in its place."""
    if len(header) < BLOCK:
        if header:
            raise FormatError(f"tar ends inside a header, at offset {start}")
        notes.add("tar-no-end", b"", "the two end-of-archive blocks are missing")
        return
    second = tar.read(BLOCK)
    if not second:
        notes.add("tar-no-end", b"", "only one of two end-of-archive blocks")
        return
    if second != ZEROS[: len(second)]:
        raise FormatError(f"a lone zero block inside the tar, at offset {start}")
    trailing = False
    for piece in tar.rest():
        if not trailing and bytes(piece).strip(b"\0"):
            trailing = True
    if trailing:
        notes.add("tar-trailing-data", b"", "data stands after the end-of-archive blocks")


def _whiteout(path: bytes, slash: int) -> tuple[Kind, bytes]:
    base = path[slash:]
    if base == OPAQUE_NAME:
        return Kind.OPAQUE, path[: max(slash - 1, 0)]
    if base.startswith(b".wh..wh."):
        return Kind.METADATA, path
    target = base[len(WHITEOUT_PREFIX) :]
    if target in (b"", b".", b".."):
        return Kind.INVALID, path
    return Kind.WHITEOUT, path[:slash] + target


ODD_TIME = "tar-time"
"""The rule of times that an entry cannot have: nanoseconds in 64 bits are the years 1677 to 2262."""


def _out_of_range(stated: bytes, mtime: int) -> str:
    bound = "2262-04-11T23:47:16Z" if mtime > 0 else "1677-09-21T00:12:43Z"
    return f"its modification time of {cut(stated)} seconds is not within the years 1677 to 2262: {bound} stands for it"
