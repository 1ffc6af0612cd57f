"""Combines the edits of several plans for the layers of one image; each plan starts from the result of the one before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from ocitool.digest import verified
from ocitool.images.image import Image, Layer
from ocitool.layers.entry import Entry, Kind, shown_path
from ocitool.layers.index import LayerIndex
from ocitool.layers.rewrite import Contents, LayerEdit, apply_edit
from ocitool.layers.scan import known_content, open_content
from ocitool.operations.edit.file_addition import Opener
from ocitool.task import Task
from ocitool.trees.nodes import ref_of
from ocitool.trees.plan import Plan
from ocitool.trees.tree import Tree, node_at


class LayerEdits:
    """The layers of one image with their edits so far, by position among the layers that are not dropped. New layers that a
    plan needs follow them; they start empty.

    `originals`: indexes as they were read, with offsets. `indexes`: indexes after the edits so far. `edits`: what leads
    from the one to the other.
    """

    def __init__(self, image: Image, live: Sequence[Layer], indexes: Sequence[LayerIndex]) -> None:
        self.image = image
        self.live = live
        self.originals = list(indexes)
        self.indexes = list(indexes)
        self.edits: dict[int, LayerEdit] = {}
        self._sources: dict[tuple[int, bytes], Opener | tuple[int, int]] = {}

    def step(self, plan: Plan, tree: Tree, openers: Mapping[bytes, Opener]) -> None:
        """Applies one more plan. The contents of its new files come from `openers` (files of the host), else from `tree` by
        path."""
        made: dict[tuple[int, bytes], Opener | tuple[int, int]] = {}
        edits = dict(plan.edits)
        if plan.added is not None:
            edits[len(self.originals)] = LayerEdit(add=plan.added)
        for position, edit in edits.items():
            for entry in (*edit.replace.values(), *edit.add):
                if entry.kind == Kind.FILE:
                    made[position, entry.path] = openers.get(entry.path) or self._stored(tree, entry.path)
        if plan.added is not None:
            self.originals.append(LayerIndex())
            self.indexes.append(LayerIndex())
        for position, edit in edits.items():
            old = self.edits.get(position)
            self.edits[position] = edit if old is None else composed(len(self.originals[position]), old, edit)
            self.indexes[position] = apply_edit(self.indexes[position], edit)
        self._sources.update(made)

    def set_index(self, position: int, index: LayerIndex) -> None:
        """Replaces the index of a layer by one with more hashes of contents. To be called before any plan."""
        self.originals[position] = self.indexes[position] = index

    def copied(self, plan: Plan, tree: Tree) -> set[tuple[int, int]]:
        """Returns the entries of `tree`, by position and row, whose contents a plan writes to another place."""
        found = set()
        written = [entry for edit in plan.edits.values() for entry in (*edit.replace.values(), *edit.add)]
        for entry in (*written, *(plan.added or ())):
            if entry.kind == Kind.FILE:
                node = node_at(tree, entry.path)
                assert node is not None
                ref = tree.inode(ref_of(node))
                found.add((tree.layer(ref), tree.row(ref)))
        return found

    def _stored(self, tree: Tree, path: bytes) -> Opener | tuple[int, int]:
        """Returns where the content of a file is that a plan copies: position and row in the original layers, or an
        opener."""
        node = node_at(tree, path)
        assert node is not None
        ref = tree.inode(ref_of(node))
        position, row = tree.layer(ref), tree.row(ref)
        edit = self.edits.get(position)
        if edit is None:
            return position, row
        kept = kept_rows(len(self.originals[position]), edit)
        if row < len(kept) and kept[row] not in edit.replace:
            return position, kept[row]
        return self._sources[position, self.indexes[position].paths[row]]

    def contents(self, position: int, task: Task) -> Contents:
        """Returns a function that opens the contents of the new files of a layer. A file that is copied from a layer stays
        sparse."""

        def content(entry: Entry) -> tuple[Entry, Iterable[bytes]]:
            if entry.kind != Kind.FILE:
                return entry, ()
            source = self._sources[position, entry.path]
            if callable(source):
                return source(entry)
            original = self.originals[source[0]].entry(source[1])
            entry = entry._replace(segments=original.segments, stored=original.stored)
            return entry, self._copied(*source, task)

        return content

    def _copied(self, position: int, row: int, task: Task) -> Iterator[bytes]:
        """Yields the stored content of a file of a layer, verified: by its hash if that is known, else its whole layer is
        verified first."""
        layer, index = self.live[position], self.originals[position]
        assert layer.blob is not None
        entry = index.entry(row)
        known = index.content(row) if entry.segments is None else None
        if known is None:
            for _ in verified(layer.blob.chunks(), layer.digest, layer.size):
                task.check()
        pieces = open_content(layer.blob, entry._replace(segments=None, size=entry.stored))
        where = f"{self.image.where}: {shown_path(entry.path)}"
        yield from pieces if known is None else known_content(pieces, known, where)


def composed(rows: int, first: LayerEdit, second: LayerEdit) -> LayerEdit:
    """Returns one edit that has the effect of two: `first` of a layer with so many rows, then `second` of its result."""
    kept = kept_rows(rows, first)
    drop = set(first.drop)
    replace = dict(first.replace)
    added: list[Entry | None] = list(first.add)
    for row in second.drop:
        if row < len(kept):
            drop.add(kept[row])
            replace.pop(kept[row], None)
        else:
            added[row - len(kept)] = None
    for row, entry in second.replace.items():
        if row < len(kept):
            replace[kept[row]] = entry
        else:
            added[row - len(kept)] = entry
    return LayerEdit(frozenset(drop), replace, (*(entry for entry in added if entry is not None), *second.add))


def kept_rows(rows: int, edit: LayerEdit) -> list[int]:
    """Returns the rows, of so many, that an edit does not drop."""
    return [row for row in range(rows) if row not in edit.drop]
