"""Compressed streams of every codec, made in any number of parts."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
from collections.abc import Callable, Iterable

import zstandard

from ocitool.layers.codecs import decode, sniff

CODECS = ("gzip", "zstd", "xz", "bzip2")
PART: dict[str, Callable[[bytes], bytes]] = {
    "none": bytes,
    "gzip": lambda data: gzip.compress(data, 6, mtime=0),
    "zstd": zstandard.ZstdCompressor(level=3, write_checksum=True).compress,
    "xz": lambda data: lzma.compress(data, preset=0),
    "bzip2": lambda data: bz2.compress(data, 1),
}


def encode(codec: str, *parts: bytes) -> bytes:
    """The parts as members, frames or streams one after another."""
    return b"".join(PART[codec](part) for part in parts)


def skippable(content: bytes, number: int = 0) -> bytes:
    return bytes([0x50 + number]) + b"\x2a\x4d\x18" + len(content).to_bytes(4, "little") + content


def decoded(data: bytes | Iterable[bytes], codec: str | None = None) -> bytes:
    if isinstance(data, bytes):
        codec, data = codec or sniff(data), [data]
    assert codec is not None
    return b"".join(decode(data, codec))


def text(size: int, seed: int = 1) -> bytes:
    """Bytes that compress about as programs do."""
    chance = random.Random(seed)
    words = [chance.randbytes(chance.randrange(3, 12)) for _ in range(300)]
    out = bytearray()
    while len(out) < size:
        out += chance.choice(words)
    return bytes(out[:size])
