"""Holes of files on disk, which the file system reports (SEEK_DATA, SEEK_HOLE), so that no hole is read.

A file has no holes if its file system reports none. A sparse map is made from `MIN_HOLES` bytes of holes on, and never
with more than `MAX_SEGMENTS` segments: Go's archive/tar, with which most engines read layers, refuses a map of more
than 1 MiB.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from ocitool.errors import TransportError
from ocitool.layers.entry import Entry, Segments

MIN_HOLES = 1 << 16
MAX_SEGMENTS = 30_000
_STEP = 1 << 20


class NoHoleError(TransportError):
    """There is data where the entry has a hole."""


def with_holes(descriptor: int, entry: Entry) -> Entry:
    """Returns the entry with the holes that its open file has on disk; unchanged if they are not worth a sparse map."""
    if entry.size < MIN_HOLES or os.fstat(descriptor).st_blocks * 512 > entry.size - MIN_HOLES or not hasattr(os, "SEEK_DATA"):
        return entry
    found: list[tuple[int, int]] = []
    at = stored = 0
    while (start := _data_from(descriptor, at, entry.size)) < entry.size:
        try:
            at = min(os.lseek(descriptor, start, os.SEEK_HOLE), entry.size)
        except OSError:
            return entry
        found.append((start, at - start))
        stored += at - start
        if len(found) > MAX_SEGMENTS:
            return entry
    return entry._replace(segments=tuple(found), stored=stored) if entry.size - stored >= MIN_HOLES else entry


def _data_from(descriptor: int, at: int, size: int) -> int:
    """Returns the offset of the first data at or after `at`; `size` if there is none, `at` if the file system does not
    report holes."""
    try:
        return min(os.lseek(descriptor, at, os.SEEK_DATA), size)
    except OSError as error:
        return size if error.errno == errno.ENXIO else at


def segment_data(descriptor: int, size: int, segments: Segments) -> Iterator[bytes]:
    """Yields the bytes of these segments; an empty chunk at times, so that the caller can cancel.

    Raises `NoHoleError` if a byte of the file outside of the segments is not zero.
    """
    position = 0
    for offset, length in (*segments, (size, 0)):
        while (position := _data_from(descriptor, position, offset)) < offset:
            piece = os.pread(descriptor, min(offset - position, _STEP), position)
            if not piece or piece.count(0) != len(piece):
                raise NoHoleError("changed while it was read")
            position += len(piece)
            yield b""
        while position < offset + length:
            piece = os.pread(descriptor, min(offset + length - position, _STEP), position)
            if not piece:
                return
            position += len(piece)
            yield piece
