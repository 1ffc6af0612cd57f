"""Decodes concatenated compressed streams, for formats whose libraries decode one stream at a time: gzip, xz, bzip2."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ocitool.errors import FormatError

STEP = 1 << 19
"""Bytes read, and bytes decoded, at a time."""


def decoded(chunks: Iterator[bytes], new: Callable[[], Any], error: Any, name: str) -> Iterator[bytes]:
    """Yields the decoded bytes of concatenated streams; zero padding may follow the last, as gzip(1) and xz(1) allow. `new`
    makes a decoder, `error` is the exception it raises, `name` the format for messages. Raises `FormatError`.

    A decoder returns a copy of the bytes after its stream, so each of thousands of tiny streams in one chunk would cost a
    copy of the chunk. Therefore the input is fed in small steps while streams are tiny.
    """
    decoder, fed, step, padding = new(), 0, STEP, False
    for chunk in chunks:
        position = 0
        while position < len(chunk) or not (fed == 0 or decoder.needs_input):
            feed = chunk[position : position + step] if step < len(chunk) or position else chunk
            if fed == 0 and (padding or feed[:1] == b"\0"):
                if feed.strip(b"\0"):
                    raise FormatError(f"data after a {name} stream that is not {name}")
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
