"""Runs of ordinary tar entries, read at once: a fourth of the time of reading them one by one.

Nearly all entries of a layer are files and directories whose headers repeat what the one before them says, and lie, with
their content, in bytes that are in memory already. A run is read without an object an entry. It is an optimistic reader: what
is not ordinary, or may be wrong, is left to `tar.entries`, which knows all forms, notes and errors. So both give the same.
"""

from __future__ import annotations

import hashlib
import struct
from array import array
from typing import NamedTuple
from zlib import adler32

from ocitool.layers.entry import UNKNOWN, Kind, normalise
from ocitool.layers.tar_fields import BLOCK, POSIX_MAGIC, NotANumberError, Numbers, number
from ocitool.layers.tarinput import TarInput

_PARTS = struct.Struct("100s24s12s12s8s356s")
"""A header's name; mode, uid and gid; size; mtime; checksum; and all behind it, which most headers have from the one before."""
_LINK, _MAGIC, _PREFIX = slice(1, 101), slice(101, 109), slice(189, 344)
"""Fields in that last part. Its first byte is the type."""
_KINDS = {b"0": Kind.FILE, b"5": Kind.DIRECTORY, b"2": Kind.SYMLINK, b"1": Kind.HARDLINK}
_TYPE, _TYPES = 156, b"".join(_KINDS)
_FILE, _DIRECTORY = Kind.FILE, Kind.DIRECTORY
_EMPTY = hashlib.sha256(b"").digest()
_HALF = 178
"""Bytes of which `adler32` gives the sum: with twice as many it might be more than it can say."""
_SMALL = 1 << 14
"""Bytes of a content up to which copying it costs less than a view."""
_MOST = 4096
"""Entries of one run, so that its lists stay small."""
_SHORT = 3
"""A run with fewer entries costs more than it saves."""
_PAUSE = 64
"""Most entries that are read one by one before a run is tried again."""
_FAR = 1 << 24
"""Most bytes after a doubtful run in which no other is tried: of a layer that has many of them, few entries are read twice."""
_REMEMBERED = 1024
"""Ends of headers that are remembered, half a kilobyte each."""


class Run(NamedTuple):
    """Entries that follow each other, in the columns of a `LayerIndex`. `links`: those of links, by their number in the run.
    `contents`: 32 bytes an entry. `data`: bytes in memory that the run was read from; the first is at `start` of the tar."""

    paths: list[bytes]
    links: dict[int, bytes]
    kinds: bytearray
    modes: array[int]
    uids: array[int]
    gids: array[int]
    mtimes: array[int]
    sizes: array[int]
    offsets: array[int]
    contents: bytes
    data: bytes
    start: int

    def content(self, number: int) -> bytes:
        """Returns the content of a file."""
        at = self.offsets[number] - self.start
        return self.data[at : at + self.sizes[number]]


class RunReader:
    """Reads runs of `tar`. `hashed`: with the SHA-256 of each file's content, else with none."""

    def __init__(self, tar: TarInput, numbers: Numbers, *, hashed: bool) -> None:
        self._tar, self._numbers, self._hashed = tar, numbers, hashed
        self._sums = Numbers()
        self._owners = _Owners()
        self._times = _Times()
        self._ends: dict[bytes, _End | None] = {}
        self._pause = self._next_pause = 0
        self._doubtful = 0
        """The offset before which entries are read one by one: a run that ended not far before it had something doubtful."""
        self._distance = 0

    def read(self, most: int) -> Run | None:
        """Returns the entries that follow, at most so many, and moves behind them; None if the next entry must be read by
        itself. Nothing may be pending that changes the next entry."""
        if self._pause:
            self._pause -= 1
            return None
        if self._tar.offset < self._doubtful:
            return None
        data, begin = self._tar.buffered()
        whole = begin + BLOCK <= len(data) and data[begin + _TYPE] in _TYPES
        found = self._parsed(data, begin, min(most, _MOST)) if whole else None
        if found is None:
            return None
        run, size = found
        self._tar.advance(size)
        return run

    def _parsed(self, data: bytes, begin: int, most: int) -> tuple[Run, int] | None:
        """Returns a run that begins in `data` at `begin`, and its length; None if it is empty, or anything in it doubtful."""
        names: list[bytes] = []
        owners: list[bytes] = []
        times: list[bytes] = []
        sizes: list[int] = []
        positions: list[int] = []
        digests: list[bytes] = []
        kinds = bytearray()
        links: dict[int, bytes] = {}
        unpack, sha256, hashed = _PARTS.unpack_from, hashlib.sha256, self._hashed
        numbers, sums, ends = self._numbers, self._sums, self._ends
        position, length = begin, len(data)
        last = b""
        kind, prefix, total = _FILE, b"", 0
        try:
            while position + BLOCK <= length and len(names) < most:
                name, owner, size_b, time_b, sum_b, end_b = unpack(data, position)
                if end_b != last:
                    end = ends[end_b] if end_b in ends else self._end(end_b)
                    if end is None:
                        break
                    last = end_b
                    kind, prefix, link, total = end
                if sums[sum_b] != total + (adler32(data[position : position + 148]) & 0xFFFF):
                    break
                size = numbers[size_b]
                if size < 0:
                    break
                name = name.partition(b"\0")[0]
                if prefix:
                    name = prefix + b"/" + name
                position += BLOCK
                if kind is _FILE:
                    after = position + size + (-size & 511)
                    if after > length:
                        position -= BLOCK
                        break
                    if hashed:
                        if not size:
                            digests.append(_EMPTY)
                        elif size <= _SMALL:
                            digests.append(sha256(data[position : position + size]).digest())
                        else:
                            digests.append(sha256(memoryview(data)[position : position + size]).digest())
                    positions.append(position)
                    position = after
                else:
                    if kind is _DIRECTORY:
                        name = name.removesuffix(b"/")
                    elif size:
                        position -= BLOCK
                        break
                    else:
                        links[len(names)] = link
                    size = 0
                    if hashed:
                        digests.append(UNKNOWN)
                    positions.append(position)
                kinds.append(kind)
                names.append(name)
                owners.append(owner)
                times.append(time_b)
                sizes.append(size)
        except NotANumberError:
            pass  # in the header that is next
        if len(names) < _SHORT:
            self._pause = self._next_pause = min(2 * self._next_pause + 1, _PAUSE)
            if not names:
                return None
        else:
            self._next_pause = 0
        start = self._tar.offset - begin
        run = self._run(names, links, kinds, owners, times, sizes, positions, digests, data, start)
        if run is None:
            self._distance = min(2 * self._distance + position - begin, _FAR)
            self._doubtful = start + position + self._distance
            return None
        self._distance = 0
        return run, position - begin

    def _run(
        self, names: list[bytes], links: dict[int, bytes], kinds: bytearray, owners: list[bytes], times: list[bytes],
        sizes: list[int], positions: list[int], digests: list[bytes], data: bytes, start: int,
    ) -> Run | None:  # fmt: skip
        """Returns the run with its columns; None if a name or a number in it is doubtful."""
        paths = _normal(names)
        fields = array("q")
        try:
            fields.frombytes(b"".join(map(self._owners.__getitem__, owners)))
            mtimes = array("q", map(self._times.__getitem__, times))
        except (NotANumberError, OverflowError):
            return None
        if paths is None:
            return None
        offsets = array("q", [start + position for position in positions])
        contents = b"".join(digests) if self._hashed else bytes(32 * len(paths))
        return Run(
            paths, links, kinds, array("H", fields[::3]), fields[1::3], fields[2::3], mtimes, array("q", sizes), offsets,
            contents, data, start,
        )  # fmt: skip

    def _end(self, end: bytes) -> _End | None:
        """Returns what the end of a header says; None if it is not one of an ordinary entry."""
        kind = _KINDS.get(end[:1])
        link = b""
        if kind is not None and kind != Kind.FILE and kind != Kind.DIRECTORY:
            link = end[_LINK].split(b"\0", 1)[0]
            if kind == Kind.HARDLINK:
                link = normalise(link)
        prefix = end[_PREFIX].split(b"\0", 1)[0] if end[_MAGIC] == POSIX_MAGIC else b""
        total = (adler32(end[:_HALF]) & 0xFFFF) + (adler32(end[_HALF:]) & 0xFFFF) - 3 + 8 * ord(" ")
        found = None if kind is None else _End(kind, prefix, link, total)
        if not link:
            if len(self._ends) >= _REMEMBERED:
                self._ends.clear()
            self._ends[end] = found
        return found


class _End(NamedTuple):
    """What the last part of a header says. `total`: what it adds to the checksum, with eight spaces for the checksum itself,
    and without the one that `adler32` begins with."""

    kind: Kind
    prefix: bytes
    link: bytes
    total: int


class _Owners(dict[bytes, bytes]):
    """Mode, uid and gid of headers, as three numbers of 64 bits."""

    def __missing__(self, fields: bytes) -> bytes:
        if len(self) >= _REMEMBERED:
            self.clear()
        found = self[fields] = array("q", [number(fields[:8]) & 0o7777, number(fields[8:16]), number(fields[16:])]).tobytes()
        return found


class _Times(dict[bytes, int]):
    """Times of headers in nanoseconds."""

    def __missing__(self, field: bytes) -> int:
        if len(self) >= 8 * _REMEMBERED:
            self.clear()
        found = self[field] = number(field) * 1_000_000_000
        return found


def _normal(names: list[bytes]) -> list[bytes] | None:
    """Returns names, which have no zero bytes, as paths; None if any may have to be brought to the normal form, or be a
    whiteout."""
    joined = b"/%b/" % b"/\0/".join(names)
    if joined.startswith(b"/./") and joined.count(b"\0/./") == len(names) - 1:  # as `tar -C DIRECTORY .` writes them
        names = [name[2:] for name in names]
        joined = b"/%b/" % b"/\0/".join(names)
    return None if b"//" in joined or b"/./" in joined or b"/../" in joined or b"/.wh." in joined else names
