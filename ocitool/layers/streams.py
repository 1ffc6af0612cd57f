"""Compressed streams one after another, of the formats whose libraries decode one stream at a time: gzip, xz, bzip2."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ocitool.errors import FormatError

STEP = 1 << 19
"""Bytes read, and bytes decoded, at a time."""


def decoded(chunks: Iterator[bytes], new: Callable[[], Any], error: Any, name: str) -> Iterator[bytes]:
    """Streams of one format one after another; zero padding may follow the last, as gzip(1) and xz(1) allow.

    A decoder hands back what follows its stream as a copy, so thousands of tiny streams in one chunk would cost a copy of
    the chunk each: while streams are tiny, the input is fed in small steps.
    """
    decoder, fed, step, padding = new(), 0, STEP, False
    for chunk in chunks:
        position = 0
        while position < len(chunk) or not (fed == 0 or decoder.needs_input):
            feed = chunk[position : position + step] if step < len(chunk) or position else chunk
            if fed == 0 and (padding or feed[:1] == b"\0"):
                if feed.strip(b"\0"):
                    raise FormatError(f"data behind a {name} stream that is not {name}")
                padding = True
                position += len(feed)
                continue
            try:
                piece = decoder.decompress(feed, STEP)
            except error as reason:
                raise FormatError(f"damaged {name} stream ({reason})") from None
            position += len(feed)
            fed += len(feed)
            if decoder.eof:
                unused = len(decoder.unused_data)
                position -= unused
                step = STEP if fed - unused > 1 << 16 else 1 << 14
                decoder, fed = new(), 0
            if piece:
                yield piece
    if fed:
        raise FormatError(f"{name} stream ends too soon")
