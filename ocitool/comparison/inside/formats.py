"""Sums up what is inside a file, by its format, which its first bytes tell."""

from __future__ import annotations

from ocitool.comparison.inside import archives, databases, programs, tars
from ocitool.comparison.inside.content import InnerContent, Room


def content_of(data: bytes, room: Room | None = None) -> InnerContent | None:
    """Returns what is inside a file, given whole; None if its format is not known. A damaged file, or one that `room` is too
    small for (by default one of its own), has a note. Memory: its parts, and a few MB."""
    room = room or Room()
    return (
        programs.content_of(data)
        or archives.content_of(data, room)
        or databases.content_of(data)
        or tars.content_of(data, room)
    )  # fmt: skip
