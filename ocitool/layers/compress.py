"""Compression of layers, the inverse of `codecs`; deterministic.

The output depends on the input, the codec, its level, the engine and its version (for isal also the CPU family) only:
neither on how the input is split into chunks, nor on the number of cores.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ocitool.errors import UsageError
from ocitool.layers import codecs
from ocitool.task import Task

BLOCK = 1 << 19
"""Bytes compressed as one block."""


class Compression(NamedTuple):
    """How a layer is stored: the name of a codec, and its level (0 for `none`)."""

    codec: str
    level: int

    def __str__(self) -> str:
        return f"{self.codec}:{self.level}" if self.level else self.codec


NONE = Compression("none", 0)


def parse(text: str) -> Compression:
    """Parses `none`, or the name of a codec that can be written, with an optional `:LEVEL`. Raises `UsageError`."""
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
    """Returns the name and version of the library that compresses: another version may give other bytes."""
    writer = codecs.WRITERS.get(compression.codec)
    return writer.engine(compression.level) if writer is not None else "none"


def compress(chunks: Iterable[bytes | memoryview], compression: Compression, task: Task) -> Iterator[bytes]:
    """Yields the compressed bytes; for `none` the input's. A chunk may be reused once the next is asked for.

    Memory: for gzip, twice (input and output) two more blocks of 512 KiB than cores, and half a megabyte of state for
    each working thread: 12 MiB on two cores. For zstd what its library takes, which grows with level and threads (at
    most eight): measured 90 MiB at level 3 on two cores and 170 on eight, 350 at level 19 on two.
    """
    blocks, writer = _blocks(chunks, task), codecs.WRITERS.get(compression.codec)
    return map(bytes, blocks) if writer is None else writer.compressed(blocks, compression.level, task)


def _blocks(chunks: Iterable[bytes | memoryview], task: Task) -> Iterator[bytearray]:
    """Yields blocks of `BLOCK` bytes; the last one may be shorter, none is empty."""
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
