"""Reads sparse files of a tar: GNU's old format, and 0.0, 0.1 and 1.0 in pax records (GNU tar manual, "Storing Sparse
Files")."""

from __future__ import annotations

from typing import NamedTuple

from ocitool import limits
from ocitool.errors import FormatError, LimitError
from ocitool.layers.entry import Segments
from ocitool.layers.tar_fields import BLOCK, decimal, stated_number
from ocitool.layers.tarinput import TarInput


class SparseFile(NamedTuple):
    """A sparse file. segments: offset and length of its data, without empty segments. numbers: how many numbers the map
    has, with those of empty segments. size: with its holes. extensions: bytes of map blocks before the data, which the size
    in the header does not include."""

    name: bytes
    segments: Segments
    numbers: int
    size: int
    extensions: int


def old_sparse(tar: TarInput, header: bytes, name: bytes, size: int, start: int) -> SparseFile:
    """Reads a file of type S, whose map is in its header and in the blocks after it. `size`: bytes of its data."""
    numbers, real_size, extensions = _old_sparse(tar, header, start)
    return SparseFile(name, _checked(numbers, real_size, size, start), len(numbers), real_size, extensions)


def pax_sparse(
    tar: TarInput, records: dict[bytes, bytes], pairs: list[int] | None, name: bytes, size: int, start: int
) -> tuple[SparseFile | None, bytes, int]:
    """Reads a file with sparse records. Returns the file, or None if the records do not describe a sparse file; its name;
    and the bytes of data that follow. The map of format 1.0, which precedes the data, is read here."""
    before = tar.offset
    name, numbers, real_size = _pax_sparse(tar, records, pairs, name, size, start)
    stored = size - (tar.offset - before)
    if numbers is None:
        return None, name, stored
    assert real_size is not None
    return SparseFile(name, _checked(numbers, real_size, stored, start), len(numbers), real_size, 0), name, stored


def _checked(numbers: list[int], real_size: int, stored: int, start: int) -> Segments:
    """Returns the segments of a map. Raises `FormatError` if they do not fit the file."""
    segments = _pairs(numbers, start)
    _check_segments(segments, real_size, stored, start)
    return segments


def _pairs(numbers: list[int], start: int) -> Segments:
    if len(numbers) % 2:
        raise FormatError(f"a broken sparse map at offset {start}")
    return tuple((numbers[i], numbers[i + 1]) for i in range(0, len(numbers), 2) if numbers[i + 1])


def _old_sparse(tar: TarInput, header: bytes, start: int) -> tuple[list[int], int, int]:
    """Reads the map of GNU's old format, in the header and extension blocks. Returns map, real size and bytes of the
    extensions."""
    numbers: list[int] = []

    def take(block: bytes, at: int, count: int) -> None:
        for i in range(at, at + 24 * count, 24):
            if block[i] == 0 and block[i + 12] == 0:
                break
            numbers.append(stated_number(block[i : i + 12], "sparse map", start))
            numbers.append(stated_number(block[i + 12 : i + 24], "sparse map", start))

    take(header, 386, 4)
    more, extensions = header[482], 0
    while more:
        block = tar.read(BLOCK)
        if len(block) < BLOCK:
            raise FormatError(f"tar ends inside a sparse map, at offset {start}")
        extensions += BLOCK
        if len(numbers) > 2 * limits.SPARSE_SEGMENTS:
            raise LimitError(f"too many sparse segments at offset {start}")
        take(block, 0, 21)
        more = block[504]
    return numbers, stated_number(header[483:495], "real size", start), extensions


def _pax_sparse(
    tar: TarInput, records: dict[bytes, bytes], pairs: list[int] | None, name: bytes, size: int, start: int
) -> tuple[bytes, list[int] | None, int | None]:
    """Returns name, map and real size by the records of GNU sparse 0.0, 0.1 and 1.0; map and size are None without such
    records."""
    name = records.get(b"GNU.sparse.name") or name
    if b"\0" in name:
        raise FormatError(f"a name with a zero byte at offset {start}")
    if records.get(b"GNU.sparse.major") == b"1" and records.get(b"GNU.sparse.minor") == b"0":
        real = decimal(records.get(b"GNU.sparse.realsize", b""), start)
        return name, _sparse_map(tar, size, start), real
    if b"GNU.sparse.map" in records:
        text = records[b"GNU.sparse.map"]
        if text.count(b",") >= 2 * limits.SPARSE_SEGMENTS:
            raise LimitError(f"too many sparse segments at offset {start}")
        pairs = [decimal(number, start) for number in text.split(b",")] if text else []
    elif b"GNU.sparse.numblocks" not in records:
        return name, None, None
    real = decimal(records.get(b"GNU.sparse.size", b""), start)
    return name, pairs or [], real


def _sparse_map(tar: TarInput, size: int, start: int) -> list[int]:
    """Reads the map at the start of the data (1.0): a count, then the pairs, one decimal number on each line, padded to a
    block."""
    numbers: list[int] = []
    pending = b""
    expected: int | None = None
    while expected is None or len(numbers) < expected:
        if size < BLOCK:
            raise FormatError(f"a broken sparse map at offset {start}")
        size -= BLOCK
        block = tar.read(BLOCK)
        if len(block) < BLOCK:
            raise FormatError(f"tar ends inside a sparse map, at offset {start}")
        *lines, pending = (pending + block).split(b"\n")
        for line in lines:
            if expected is None:
                expected = 2 * decimal(line, start)
                if not 0 <= expected <= 2 * limits.SPARSE_SEGMENTS:
                    raise LimitError(f"too many sparse segments at offset {start}")
            elif len(numbers) < expected:
                numbers.append(decimal(line, start))
        if len(pending) > 40 and (expected is None or len(numbers) < expected):
            raise FormatError(f"a broken sparse map at offset {start}")
    return numbers


def _check_segments(segments: Segments, real_size: int, stored: int, start: int) -> None:
    position = total = 0
    for offset, length in segments:
        if offset < position or length < 0:
            raise FormatError(f"a sparse map out of order at offset {start}")
        position = offset + length
        total += length
    if position > real_size or total != stored or real_size < 0:
        raise FormatError(f"a sparse map that does not fit its file at offset {start}")
