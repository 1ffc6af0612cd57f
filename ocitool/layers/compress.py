"""The other way of `codecs`: bytes to gzip or zstd, the same bytes on every run.

The output follows from the input, the codec, its level, the engine and its version (and for isal the family of the CPU)
alone: neither the chunks that the input comes in nor the number of cores shows in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ocitool.errors import UsageError
from ocitool.layers import codecs
from ocitool.task import Task

BLOCK = 1 << 19
"""Bytes compressed at a time."""


class Compression(NamedTuple):
    """How a layer is stored. `level` is 0 for `none`."""

    codec: str
    level: int

    def __str__(self) -> str:
        return f"{self.codec}:{self.level}" if self.level else self.codec


NONE = Compression("none", 0)


def parse(text: str) -> Compression:
    """`none`, or the name of a codec that is written, with an optional `:LEVEL`. Raises `UsageError`."""
    if text == "none":
        return NONE
    codec, colon, level = text.partition(":")
    writer = codecs.WRITERS.get(codec)
    if writer is None:
        raise UsageError(f"no compression is called {codec!r}", hint=codecs.names(levels=True))
    if not colon:
        return Compression(codec, writer.default)
    if level not in map(str, writer.levels):
        hint = f"{codec}:{writer.levels[0]} to {codec}:{writer.levels[-1]}"
        raise UsageError(f"{codec} has no level {level!r}", hint=hint)
    return Compression(codec, int(level))


def engine(compression: Compression) -> str:
    """The library that makes the bytes, and its version: with another one they may differ."""
    writer = codecs.WRITERS.get(compression.codec)
    return writer.engine(compression.level) if writer is not None else "none"


def compress(chunks: Iterable[bytes | memoryview], compression: Compression, task: Task) -> Iterator[bytes]:
    """The compressed bytes, in pieces; those of `none` are the input's. A chunk may be used again once the next is asked for.

    Memory: for gzip, two more blocks of 512 KiB than cores, twice (in and out), and half a megabyte of state for each thread
    that works: 12 MiB on two cores. For zstd what its library takes, which grows with the level and the threads, at most eight:
    measured 90 MiB at level 3 on two cores and 170 on eight, 350 at level 19 on two.
    """
    blocks, writer = _blocks(chunks, task), codecs.WRITERS.get(compression.codec)
    return map(bytes, blocks) if writer is None else writer.compressed(blocks, compression.level, task)


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
