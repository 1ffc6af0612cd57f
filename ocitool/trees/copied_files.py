"""Files that upper layers copied up from lower ones: copy-on-write, and what it costs.

Union file systems copy a whole file into the upper layer if anything of it changes, its mode alone too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from ocitool.layers.entry import Kind
from ocitool.layers.index import LayerIndex
from ocitool.trees.compare import differing
from ocitool.trees.nodes import HiddenFile
from ocitool.trees.tree import Tree

Known = Callable[[int, LayerIndex, Sequence[int]], LayerIndex]
"""A function from a layer's number, its index and rows to the index with the contents of those rows known."""


class CopiedFile(NamedTuple):
    """A file of layer `source` that layer `by` has again. `size`: bytes of the copy in its layer; `changed`: what differs, by
    the names of `compare.FIELDS`."""

    path: bytes
    size: int
    source: int
    by: int
    changed: tuple[str, ...]

    @property
    def is_changed(self) -> bool:
        """Whether the content changed, and not only mode, owner, times or extended attributes."""
        return "content" in self.changed


class CopyCost(NamedTuple):
    """A number of copies and their bytes; of these, those whose content did not change."""

    files: int = 0
    bytes: int = 0
    unchanged_files: int = 0
    unchanged_bytes: int = 0


class CopiedFiles(NamedTuple):
    """All copies, the largest first; a file with several names once."""

    files: tuple[CopiedFile, ...]

    def costs(self) -> dict[int, CopyCost]:
        """Returns what the copies of each layer cost, by its number, lowest first."""
        found: dict[int, list[int]] = {}
        for one in self.files:
            sums = found.setdefault(one.by, [0, 0, 0, 0])
            sums[0] += 1
            sums[1] += one.size
            if not one.is_changed:
                sums[2] += 1
                sums[3] += one.size
        return {number: CopyCost(*found[number]) for number in sorted(found)}

    def cost(self) -> CopyCost:
        """Returns what all copies cost."""
        costs = list(self.costs().values())
        return CopyCost(*(sum(column) for column in zip(*costs, strict=True))) if costs else CopyCost()


class Copy(NamedTuple):
    """A copy before contents are known: the refs of both files."""

    path: bytes
    lower: int
    upper: int


def copies(tree: Tree, events: Iterable[HiddenFile], lowest: int = 0) -> list[Copy]:
    """Returns the copies among the files that layers hide. `lowest`: of the layers from this number on."""
    found: dict[int, Copy] = {}
    for event in events:
        if event.replaced is None or event.by < lowest:
            continue
        lower, upper = tree.inode(event.ref), tree.inode(event.replaced)
        if tree.layer(upper) == event.by > tree.layer(lower) and _is_file(tree, lower) and _is_file(tree, upper):
            found.setdefault(upper, Copy(event.path, lower, upper))
    return list(found.values())


def rows_of_equal_size(tree: Tree, found: Iterable[Copy]) -> dict[int, set[int]]:
    """Returns, by layer, the rows whose contents tell whether copies changed."""
    rows: dict[int, set[int]] = {}
    for _, lower, upper in found:
        if _size(tree, lower) == _size(tree, upper):
            for ref in (lower, upper):
                rows.setdefault(tree.layer(ref), set()).add(tree.row(ref))
    return rows


def compared(tree: Tree, found: Iterable[Copy], indexes: Sequence[LayerIndex]) -> CopiedFiles:
    """Returns the copies with what changed. `indexes`: of the tree's layers, with the contents of `rows_of_equal_size`."""
    files = []
    for path, lower, upper in found:
        (a, i), (b, j) = ((indexes[tree.layer(ref)], tree.row(ref)) for ref in (lower, upper))
        content = a.content(i)
        same = a.sizes[i] == b.sizes[j] and content is not None and content == b.content(j)
        changed = differing(a.entry(i), b.entry(j), same)
        files.append(CopiedFile(path, b.stored(j), tree.layer(lower), tree.layer(upper), changed))
    return CopiedFiles(tuple(sorted(files, key=lambda one: (-one.size, one.path, one.by))))


def copied_files(indexes: Sequence[LayerIndex], known: Known, *, lowest: int = 0) -> CopiedFiles:
    """Returns the files that the layers from number `lowest` on copied up."""
    events: list[HiddenFile] = []
    tree = Tree(indexes, hidden=events.append)
    found = copies(tree, events, lowest)
    complete = list(indexes)
    for number, rows in rows_of_equal_size(tree, found).items():
        complete[number] = known(number, complete[number], sorted(rows))
    return compared(tree, found, complete)


def _is_file(tree: Tree, ref: int) -> bool:
    return tree.indexes[tree.layer(ref)].kinds[tree.row(ref)] == Kind.FILE


def _size(tree: Tree, ref: int) -> int:
    return tree.indexes[tree.layer(ref)].sizes[tree.row(ref)]
