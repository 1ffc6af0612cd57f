"""The other way of `codec`: bytes to gzip or zstd, the same bytes on every run.

The output follows from the input, the codec, its level, the engine and its version (and for isal the family of the CPU)
alone: neither the chunks that the input comes in nor the number of cores shows in it.

gzip is compressed in blocks on all cores, as pigz does: borders by position, each block primed with the last 32 KiB of the one
before and ended by a sync flush, so that the deflate data in a row are one stream, and the file is one member. Levels 1 to 3
are ISA-L's where its wheel exists, else zlib's; 4 to 9 are zlib's. Measured on a real layer of 285 MB: level 2 is eleven
times as fast as zlib's 6 on one core and 9.5 % larger, and a whole image is 4.4 % larger than what skopeo writes. 3 saves 1 %
more for a third more time, 1 is hardly faster. So 2 is the default; who wants small layers takes zstd or `gzip:6`. ISA-L
renews its Huffman tables only when told to: every 64 KiB is worth 1 % of the size and costs 6 % of the time.

zstd is compressed by the library's own threads, which cut jobs by position too. Without threads it gives other bytes, so there
is always one. 3 is its own default and what the field writes: smaller than zlib's 6 at several times its speed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, NamedTuple

from ocitool.errors import UsageError
from ocitool.task import Task

BLOCK = 1 << 19
"""Bytes compressed at a time."""

_LEVELS = {"gzip": range(1, 10), "zstd": range(1, 20)}
_DEFAULT = {"gzip": 2, "zstd": 3}
_ISAL = range(1, 4)
_WINDOW = 1 << 15
_TABLES = 1 << 16
_THREADS = 8  # each zstd thread costs memory: a window and a job, more with the level
_HEADER = b"\x1f\x8b\x08" + bytes(6) + b"\xff"  # no name, no time, system unknown (RFC 1952, 2.3)
_LAST = b"\x03\x00"  # an empty last deflate block


class Compression(NamedTuple):
    """How a layer is stored. `level` is 0 for `none`."""

    codec: str
    level: int

    def __str__(self) -> str:
        return f"{self.codec}:{self.level}" if self.level else self.codec


NONE = Compression("none", 0)


def parse(text: str) -> Compression:
    """`none`, `gzip` or `zstd`, the last two with an optional `:LEVEL`."""
    if text == "none":
        return NONE
    codec, colon, level = text.partition(":")
    if codec not in _LEVELS:
        raise UsageError(f"no compression is called {codec!r}", hint="none, gzip[:1-9] or zstd[:1-19]")
    if not colon:
        return Compression(codec, _DEFAULT[codec])
    levels = _LEVELS[codec]
    if level not in map(str, levels):
        raise UsageError(f"{codec} has no level {level!r}", hint=f"{codec}:{levels[0]} to {codec}:{levels[-1]}")
    return Compression(codec, int(level))


def engine(compression: Compression) -> str:
    """The library that makes the bytes, and its version: with another one they may differ."""
    if compression.codec == "gzip":
        library = _deflater(compression.level)
        if hasattr(library, "ZLIB_RUNTIME_VERSION"):
            return f"zlib {library.ZLIB_RUNTIME_VERSION}"
        import isal

        return f"isal {isal.__version__}"
    if compression.codec == "zstd":
        import zstandard

        return "zstd " + ".".join(map(str, zstandard.ZSTD_VERSION))
    return "none"


def compress(chunks: Iterable[bytes | memoryview], compression: Compression, task: Task) -> Iterator[bytes]:
    """The compressed bytes, in pieces; those of `none` are the input's. A chunk may be used again once the next is asked for.

    Memory: for gzip, two more blocks of 512 KiB than cores, twice (in and out), and half a megabyte of state for each thread
    that works: 12 MiB on two cores. For zstd what its library takes, which grows with the level and the threads, at most eight:
    measured 90 MiB at level 3 on two cores and 170 on eight, 350 at level 19 on two.
    """
    blocks = _blocks(chunks, task)
    if compression.codec == "gzip":
        return _gzip(blocks, compression.level, task)
    if compression.codec == "zstd":
        return _zstd(blocks, compression.level, task)
    return map(bytes, blocks)


def _blocks(chunks: Iterable[bytes | memoryview], task: Task) -> Iterator[bytearray]:
    """Blocks of `BLOCK` bytes, the last one shorter, never empty."""
    block = bytearray()
    for chunk in chunks:
        task.check()
        view = memoryview(chunk)
        while view:
            room = BLOCK - len(block)
            block += view[:room]
            view = view[room:]
            if len(block) == BLOCK:
                yield block
                block = bytearray()
    task.check()
    if block:
        yield block


class _Block(NamedTuple):
    data: bytearray
    before: bytes


def _gzip(blocks: Iterator[bytearray], level: int, task: Task) -> Iterator[bytes]:
    library = _deflater(level)
    crc, size = 0, 0

    def primed() -> Iterator[_Block]:
        nonlocal crc, size
        before = b""
        for data in blocks:
            crc = library.crc32(data, crc)
            size += len(data)
            yield _Block(data, before)
            before = bytes(data[-_WINDOW:])

    yield _HEADER
    yield from task.spread(lambda block: _deflate(library, level, block, task), primed())
    yield _LAST + _trailer(crc, size)


def _trailer(crc: int, size: int) -> bytes:
    return crc.to_bytes(4, "little") + (size & 0xFFFFFFFF).to_bytes(4, "little")


def _deflate(library: Any, level: int, block: _Block, task: Task) -> bytes:
    """One block as deflate blocks of which none is the last, ending on a byte."""
    more = {"zdict": block.before} if block.before else {}
    deflater = library.compressobj(level, library.DEFLATED, -15, 8, library.Z_DEFAULT_STRATEGY, **more)
    out: list[bytes] = []
    with memoryview(block.data) as view:
        for start in range(0, len(view), _TABLES):
            task.check()
            out += deflater.compress(view[start : start + _TABLES]), deflater.flush(library.Z_SYNC_FLUSH)
    return b"".join(out)


def _deflater(level: int) -> Any:
    """ISA-L for the levels it has, where its wheel exists, else zlib behind the same names."""
    import zlib

    if level not in _ISAL:
        return zlib
    try:
        from isal import isal_zlib
    except ImportError:
        return zlib
    return isal_zlib


def _zstd(blocks: Iterator[bytearray], level: int, task: Task) -> Iterator[bytes]:
    """The library's calls wait for its threads, at the end and when it is freed for all jobs that are queued: at level 19
    minutes. None of that can be cut short, so it is done apart."""
    import zstandard

    stream = zstandard.ZstdCompressor(
        level=level, threads=min(task.cores, _THREADS), write_checksum=True, write_content_size=False
    ).compressobj()

    def step(block: bytearray | None) -> bytes:
        return stream.flush() if block is None else stream.compress(block)

    # Freed before its jobs are done, it would wait for them with the interpreter's lock held.
    for piece in task.apart(step, chain(blocks, (None,)), last=stream.flush):
        if piece:
            yield piece
