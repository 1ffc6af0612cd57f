"""Prints a file of an image on a terminal: control characters are escaped, binary content is refused."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator

from ocitool.errors import UsageError
from ocitool.report.escape import shown_content

_LOOKED_AT = 8000
"""Bytes within which a zero byte means that the content is binary."""


def text(pieces: Iterable[bytes]) -> Iterator[str]:
    """Yields the content escaped for a terminal; memory holds one chunk. Raises `UsageError` before the first yield if it
    is binary."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    held, looked_at = "", False
    for piece in pieces:
        if not looked_at and b"\0" in piece[:_LOOKED_AT]:
            hint = "redirect it (> FILE), or --force prints it on the terminal"
            raise UsageError("binary content, and standard output is a terminal", hint=hint)
        looked_at = looked_at or bool(piece)
        decoded = held + decoder.decode(piece)
        held = "\r" if decoded.endswith("\r") else ""  # a line may end with the next piece
        yield shown_content(decoded[: len(decoded) - len(held)])
    yield shown_content(held + decoder.decode(b"", True))
