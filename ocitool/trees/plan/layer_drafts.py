"""Layers whose edits are being made up: what each says about the paths of interest, and what is to become of that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ocitool.layers.entry import Entry, Kind
from ocitool.layers.index import LayerIndex
from ocitool.layers.rewrite import LayerEdit

_DIRECTORY, _WHITEOUT, _OPAQUE = int(Kind.DIRECTORY), int(Kind.WHITEOUT), int(Kind.OPAQUE)


class LayerDraft:
    """One layer. `at`: path -> its rows, of the paths of interest; `under`: path -> the rows at it and below it, of those
    paths whose inside matters. `add` is keyed so that its order is that of paths, a directory before its opaque marker."""

    def __init__(self, index: LayerIndex) -> None:
        self.index = index
        self.at: dict[bytes, list[int]] = {}
        self.under: dict[bytes, list[int]] = {}
        self.drop: set[int] = set()
        self.replace: dict[int, Entry] = {}
        self.add: dict[tuple[bytes, bool], Entry] = {}

    def edit(self) -> LayerEdit | None:
        """None where the layer stays as it is."""
        if not (self.drop or self.replace or self.add):
            return None
        return LayerEdit(frozenset(self.drop), dict(self.replace), tuple(self.add[key] for key in sorted(self.add)))

    def entries(self, path: bytes) -> list[int]:
        """The rows that stand at a path and stay."""
        return [row for row in self.at.get(path, ()) if self.index.kinds[row] < _WHITEOUT and row not in self.drop]

    def hides(self, path: bytes) -> list[int]:
        """The whiteouts of a path that stay."""
        return [row for row in self.at.get(path, ()) if self.index.kinds[row] == _WHITEOUT and row not in self.drop]

    def opaques(self, path: bytes) -> list[int]:
        return [row for row in self.at.get(path, ()) if self.index.kinds[row] == _OPAQUE and row not in self.drop]

    def kind(self, row: int) -> int:
        """What stands in a row, after the edit."""
        return int(self.replace[row].kind) if row in self.replace else self.index.kinds[row]

    def lists(self, path: bytes, before: int | None = None) -> bool:
        """Whether the layer has a directory entry for the path (in front of a row, if one is given)."""
        rows = self.entries(path)
        if any(self.kind(row) == _DIRECTORY and (before is None or row < before) for row in rows):
            return True
        new = self.add.get((path, False))
        return before is None and new is not None and new.kind == Kind.DIRECTORY

    def speaks_of(self, path: bytes) -> bool:
        """Whether an entry, whiteout or opaque marker for the path stands here."""
        return any(row not in self.drop for row in self.at.get(path, ())) or (path, False) in self.add

    def carries(self, path: bytes) -> bool:
        """Whether the layer, as it was, has the path or anything below it."""
        return path in self.under

    def has_directory(self, path: bytes) -> bool:
        """Whether the layer, as it was, makes a directory of the path: by an entry, or by one below."""
        index = self.index
        return any(
            index.kinds[row] == _DIRECTORY if index.paths[row] == path else index.kinds[row] < _WHITEOUT
            for row in self.under.get(path, ())
        )

    def clear(self, path: bytes) -> None:
        """Everything at the path and below it goes."""
        self.forget(self.under.get(path, ()))

    def forget(self, rows: Iterable[int]) -> None:
        for row in rows:
            self.drop.add(row)
            self.replace.pop(row, None)


def survey(indexes: Sequence[LayerIndex], paths: Iterable[bytes], insides: frozenset[bytes]) -> list[LayerDraft]:
    """Drafts of the layers that know about `paths`, those above them, and whatever is at `insides` or below."""
    points: set[bytes] = set()
    for path in paths:
        while path not in points:
            points.add(path)
            path = path.rpartition(b"/")[0]
    within: dict[bytes, tuple[bytes, ...]] = {b"": (b"",) if b"" in insides else ()}
    drafts = []
    for index in indexes:
        draft = LayerDraft(index)
        at, under = draft.at, draft.under
        for row, path in enumerate(index.paths):
            if path in points:
                at.setdefault(path, []).append(row)
            if insides:
                parent = path.rpartition(b"/")[0]
                found = within.get(parent)
                if found is None:
                    found = _fill(within, parent, insides)
                for inside in found:
                    under.setdefault(inside, []).append(row)
                if path and path in insides:
                    under.setdefault(path, []).append(row)
        drafts.append(draft)
    return drafts


def _fill(within: dict[bytes, tuple[bytes, ...]], path: bytes, insides: frozenset[bytes]) -> tuple[bytes, ...]:
    """Which of `insides` a directory is or stands in; remembered, for its neighbours ask as well."""
    missing = [path]
    while (parent := missing[-1].rpartition(b"/")[0]) not in within:
        missing.append(parent)
    for at in reversed(missing):
        above = within[at.rpartition(b"/")[0]]
        within[at] = (*above, at) if at in insides else above
    return within[path]


def ancestors(path: bytes) -> Iterator[bytes]:
    """The directories a path stands in, the nearest first, without the root."""
    parent = path.rpartition(b"/")[0]
    while parent:
        yield parent
        parent = parent.rpartition(b"/")[0]
