"""Sums up what is inside a file, by its format, which its first bytes tell."""

from __future__ import annotations

from ocitool.comparison.inside import archives, databases, programs, tars
from ocitool.comparison.inside.content import InnerContent

_LOOKS = (programs.content_of, archives.content_of, databases.content_of, tars.content_of)


def content_of(data: bytes) -> InnerContent | None:
    """Returns what is inside a file, given whole; None if its format is not known. A damaged file has a note. Memory: its
    parts, and a few MB."""
    return next((found for look in _LOOKS if (found := look(data)) is not None), None)
