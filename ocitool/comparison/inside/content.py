"""What is inside one file, as values: it is summed up before it is compared, so that the two sides need not be in memory at
the same time."""

from __future__ import annotations

from typing import NamedTuple

from ocitool import limits
from ocitool.comparison.inside.values import PartWord

PARTS = limits.INNER_PARTS
"""Most parts (members, sections) of one file that are compared."""

TEXT = 500
"""Characters to which a fact is cut."""

UNPACKED = limits.INNER_UNPACKED
"""Most bytes that the compressed contents of all files together may unpack to, unless all files are asked for."""


class Room:
    """Counts what the compressed contents of all files unpack to: a file of 1 MB can unpack to 1 GB, and there may be
    thousands."""

    def __init__(self, most: int = UNPACKED) -> None:
        self.most = self.left = most


class InnerPart(NamedTuple):
    """A part of a file: its size, and what tells its content from another of that size: a CRC or a hash."""

    size: int
    mark: int | bytes


class InnerContent(NamedTuple):
    """What is inside one file. `format`: as it follows "it is", such as `a zip archive`. `facts`: what it says of itself, by
    name, in order. `parts`: by name, all called by one word. `note`: why its parts are not known, or not all of them; empty if
    they are."""

    format: str
    facts: dict[str, str]
    parts: dict[bytes, InnerPart]
    word: PartWord = "member"
    note: str = ""


def fact(text: str | bytes) -> str:
    """Returns the text of a fact, cut to `TEXT`."""
    return (text[: 4 * TEXT].decode("utf-8", "replace") if isinstance(text, bytes) else text)[:TEXT]
