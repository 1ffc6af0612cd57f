"""Laws of compression that hold for any input, cut in any way."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.streams import decoded, text

from ocitool.errors import FormatError
from ocitool.layers import compress as module
from ocitool.layers import gzip_codec
from ocitool.layers.compress import Compression, compress, parse
from ocitool.task import Task

few = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
COMPRESSION = st.sampled_from(["none", "gzip:1", "gzip:2", "gzip:3", "gzip:6", "zstd:1", "zstd"]).map(parse)
PART = st.one_of(
    st.binary(max_size=3000),
    st.builds(text, st.integers(0, 60_000), st.integers(1, 5)),
    st.builds(bytes, st.integers(0, 60_000)),
)
DATA = st.lists(PART, max_size=6).map(b"".join)
CUTS = st.lists(st.integers(0, 30_000), min_size=1, max_size=6).filter(any)
BLOCK = st.sampled_from([1, 1 << 9, 5000, 1 << 15, 70_001, 1 << 19])
"""Block sizes: one larger than any input, some smaller than deflate's window, and so small that there are thousands."""


@contextmanager
def blocks(size: int, tables: int = 1 << 16) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", size)
        patch.setattr(gzip_codec, "_TABLES", tables)
        yield


def cut(data: bytes, cuts: list[int], views: bool) -> Iterator[bytes | memoryview]:
    at = turn = 0
    while at < len(data):
        step = cuts[turn % len(cuts)]
        yield memoryview(data)[at : at + step] if views else data[at : at + step]
        at, turn = at + step, turn + 1


def packed(data: bytes, compression: Compression, cuts: list[int], cores: int, views: bool = False) -> bytes:
    with Task(cores=cores) as task:
        return b"".join(compress(cut(data, cuts, views), compression, task))


@few
@given(DATA, COMPRESSION, CUTS, st.integers(1, 3), BLOCK, st.sampled_from([1, 300, 1 << 16]))
def test_what_was_compressed_is_decoded(
    data: bytes, compression: Compression, cuts: list[int], cores: int, block: int, tables: int
) -> None:
    data = data[: block * 400]
    with blocks(block, max(tables, block // 400)):
        assert data == decoded(packed(data, compression, cuts, cores), compression.codec)


@few
@given(DATA, COMPRESSION, CUTS, CUTS, BLOCK, st.booleans())
def test_neither_chunks_nor_cores_show(
    data: bytes, compression: Compression, some: list[int], others: list[int], block: int, views: bool
) -> None:
    data = data[: block * 400]
    with blocks(block):
        expected = packed(data, compression, [len(data) + 1], 1)
        assert [expected] * 2 == [packed(data, compression, some, 2, views), packed(data, compression, others, 3)]


@few
@given(DATA, COMPRESSION.filter(lambda found: found.codec != "none"), st.integers(1, 1 << 30), BLOCK)
def test_a_result_that_was_cut_is_noticed(data: bytes, compression: Compression, at: int, block: int) -> None:
    data = data[: block * 400]
    with blocks(block):
        made = packed(data, compression, [1 << 16], 2)
    with pytest.raises(FormatError):
        decoded(made[: 1 + at % (len(made) - 1)], compression.codec)


@few
@given(DATA, st.integers(1, 9), BLOCK)
def test_gzip_is_one_member_with_an_empty_header(data: bytes, level: int, block: int) -> None:
    data = data[: block * 400]
    with blocks(block):
        made = packed(data, Compression("gzip", level), [1 << 16], 2)
    stream = zlib.decompressobj(31)
    plain = stream.decompress(made)
    assert (b"\x1f\x8b\x08\0\0\0\0\0\0\xff", data, True, b"") == (made[:10], plain, stream.eof, stream.unused_data)
