"""What the tar reader accepts and a validator reports."""

from __future__ import annotations

from typing import NamedTuple


class TarNote(NamedTuple):
    """Something a reader accepts and a validator reports: a rule id, the path it is about, a sentence."""

    rule: str
    path: bytes
    text: str


class TarNotes:
    """Notes of one layer; the first `LIMIT` are kept, the rest counted."""

    LIMIT = 200

    def __init__(self) -> None:
        self.kept: list[TarNote] = []
        self.dropped = 0

    def add(self, rule: str, path: bytes, text: str) -> None:
        if len(self.kept) < self.LIMIT:
            self.kept.append(TarNote(rule, path, text))
        else:
            self.dropped += 1


def cut(text: bytes) -> str:
    """Returns the beginning of a text in a header, as a note quotes it."""
    return (text[:40] + (b"..." if len(text) > 40 else b"")).decode("ascii", "backslashreplace")
