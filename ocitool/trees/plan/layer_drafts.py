"""Drafts of edited layers: what each layer has at the paths of interest, and the edit of it so far."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ocitool.layers.entry import Entry, Kind
from ocitool.layers.index import LayerIndex
from ocitool.layers.rewrite import LayerEdit

_DIRECTORY, _WHITEOUT, _OPAQUE = int(Kind.DIRECTORY), int(Kind.WHITEOUT), int(Kind.OPAQUE)


class LayerDraft:
    """One layer and its edit so far.

    `at`: the rows at each path of interest. `under`: the rows at and below each path whose subtree matters. `drop`,
    `replace` and `add` are the edit; the keys of `add` sort by path, a directory before its opaque marker.
    """

    def __init__(self, index: LayerIndex) -> None:
        self.index = index
        self.at: dict[bytes, list[int]] = {}
        self.under: dict[bytes, list[int]] = {}
        self.drop: set[int] = set()
        self.replace: dict[int, Entry] = {}
        self.add: dict[tuple[bytes, bool], Entry] = {}

    def edit(self) -> LayerEdit | None:
        """Returns the edit; None if the layer stays as it is."""
        if not (self.drop or self.replace or self.add):
            return None
        return LayerEdit(frozenset(self.drop), dict(self.replace), tuple(self.add[key] for key in sorted(self.add)))

    def entries(self, path: bytes) -> list[int]:
        """Returns the rows at a path that stay, whiteouts and opaque markers excepted."""
        return [row for row in self.at.get(path, ()) if self.index.kinds[row] < _WHITEOUT and row not in self.drop]

    def whiteouts(self, path: bytes) -> list[int]:
        """Returns the rows of a path's whiteouts that stay."""
        return [row for row in self.at.get(path, ()) if self.index.kinds[row] == _WHITEOUT and row not in self.drop]

    def opaque_markers(self, path: bytes) -> list[int]:
        return [row for row in self.at.get(path, ()) if self.index.kinds[row] == _OPAQUE and row not in self.drop]

    def kind(self, row: int) -> int:
        """Returns the kind of a row after the edit."""
        return int(self.replace[row].kind) if row in self.replace else self.index.kinds[row]

    def lists_directory(self, path: bytes, before: int | None = None) -> bool:
        """Returns whether the edited layer has a directory entry for the path; with `before`, whether it has one in front of
        that row."""
        rows = self.entries(path)
        if any(self.kind(row) == _DIRECTORY and (before is None or row < before) for row in rows):
            return True
        new = self.add.get((path, False))
        return before is None and new is not None and new.kind == Kind.DIRECTORY

    def mentions(self, path: bytes) -> bool:
        """Returns whether the edited layer has an entry, whiteout or opaque marker for the path."""
        return any(row not in self.drop for row in self.at.get(path, ())) or (path, False) in self.add

    def carries(self, path: bytes) -> bool:
        """Returns whether the layer, before the edit, has the path or anything below it."""
        return path in self.under

    def has_directory(self, path: bytes) -> bool:
        """Returns whether the layer, before the edit, makes the path a directory: by its entry, or by one below it."""
        index = self.index
        return any(
            index.kinds[row] == _DIRECTORY if index.paths[row] == path else index.kinds[row] < _WHITEOUT
            for row in self.under.get(path, ())
        )

    def drop_subtree(self, path: bytes) -> None:
        """Drops all rows at the path and below it."""
        self.drop_rows(self.under.get(path, ()))

    def drop_rows(self, rows: Iterable[int]) -> None:
        """Drops rows, also if they were to be replaced."""
        for row in rows:
            self.drop.add(row)
            self.replace.pop(row, None)


def draft_layers(indexes: Sequence[LayerIndex], paths: Iterable[bytes], subtrees: frozenset[bytes]) -> list[LayerDraft]:
    """Returns a draft for each layer, which knows its rows at `paths`, at their parents, and at and below `subtrees`."""
    points: set[bytes] = set()
    for path in paths:
        while path not in points:
            points.add(path)
            path = path.rpartition(b"/")[0]
    within: dict[bytes, tuple[bytes, ...]] = {b"": (b"",) if b"" in subtrees else ()}
    drafts = []
    for index in indexes:
        draft = LayerDraft(index)
        at, under = draft.at, draft.under
        for row, path in enumerate(index.paths):
            if path in points:
                at.setdefault(path, []).append(row)
            if subtrees:
                parent = path.rpartition(b"/")[0]
                found = within.get(parent)
                if found is None:
                    found = _subtrees_of(within, parent, subtrees)
                for subtree in found:
                    under.setdefault(subtree, []).append(row)
                if path and path in subtrees:
                    under.setdefault(path, []).append(row)
        drafts.append(draft)
    return drafts


def _subtrees_of(within: dict[bytes, tuple[bytes, ...]], path: bytes, subtrees: frozenset[bytes]) -> tuple[bytes, ...]:
    """Returns those of `subtrees` that a directory is, or that it is below; `within` remembers them for its neighbours."""
    missing = [path]
    while (parent := missing[-1].rpartition(b"/")[0]) not in within:
        missing.append(parent)
    for at in reversed(missing):
        above = within[at.rpartition(b"/")[0]]
        within[at] = (*above, at) if at in subtrees else above
    return within[path]


def ancestors(path: bytes) -> Iterator[bytes]:
    """Yields the parent directories of a path, the nearest first, without the root."""
    parent = path.rpartition(b"/")[0]
    while parent:
        yield parent
        parent = parent.rpartition(b"/")[0]
