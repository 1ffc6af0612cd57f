"""What changed inside files, as the result of a comparison."""

from __future__ import annotations

from typing import Literal, NamedTuple

PartWord = Literal["member", "section"]
"""What the parts of a file are called."""


class InnerFact(NamedTuple):
    """A fact that a file says of itself, and that changed. None on the side without it."""

    name: str
    before: str | None
    after: str | None


class InnerChange(NamedTuple):
    """A changed part of a file, with its sizes; None on the side without it."""

    kind: Literal["added", "removed", "modified"]
    name: bytes
    before: int | None
    after: int | None


class FileInside(NamedTuple):
    """What changed inside a file. `format`: as it follows "it is". `word`: what its parts are called. `facts`, `parts`: at most
    `reading.KEPT`, parts by weight: added and removed ones before changed ones, large changes before small ones. `added`,
    `removed`, `modified`: how many parts, all counted. `same`: why it differs though no part does; empty otherwise.
    `note`: why it was not, or not wholly, looked into."""

    format: str
    word: PartWord
    facts: tuple[InnerFact, ...]
    parts: tuple[InnerChange, ...]
    added: int
    removed: int
    modified: int
    same: str
    note: str


class Insides(NamedTuple):
    """What changed inside files of a known format, by their path, the largest first. `left_out`: how many changed files were
    not looked into because there are too many, they are too large, or reading them would cost much. `thorough`: all were
    asked for."""

    files: dict[bytes, FileInside]
    left_out: int
    thorough: bool
