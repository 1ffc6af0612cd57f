"""Files that are shipped but not visible, because later layers overwrite, delete or copy them up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

from ocitool.layers.entry import Kind
from ocitool.layers.index import LayerIndex
from ocitool.trees.copied_files import CopiedFiles, Known, compared, copies, rows_of_equal_size
from ocitool.trees.nodes import Directory, HiddenFile
from ocitool.trees.tree import Tree

HiddenKind = Literal["overwritten", "deleted", "copied-up"]
_KINDS: tuple[HiddenKind, ...] = ("overwritten", "deleted", "copied-up")


class WastedFile(NamedTuple):
    """A hidden file that is still shipped. `layer` holds it, layer `by` hides it; `size` is the length of its content
    in bytes."""

    path: bytes
    size: int
    layer: int
    by: int
    kind: HiddenKind


class LargestFile(NamedTuple):
    """A visible file and the layer that holds it."""

    path: bytes
    size: int
    layer: int


class WastedPath(NamedTuple):
    """All hidden copies of one path: their bytes and number."""

    path: bytes
    bytes: int
    versions: int
    kind: HiddenKind


class Waste(NamedTuple):
    """The hidden files of an image. `hidden`: all, largest first; `largest` and `paths`: the first `top` of each kind;
    `copies`: files that upper layers have again, hidden or not."""

    hidden: tuple[WastedFile, ...]
    largest: tuple[LargestFile, ...]
    paths: tuple[WastedPath, ...]
    top: int
    sums: Mapping[tuple[HiddenKind, int], tuple[int, int]]
    """Number of files and bytes by kind and by the layer that hides them."""
    copies: CopiedFiles = CopiedFiles(())

    def total(self, kind: HiddenKind | None = None, by: int | None = None) -> tuple[int, int]:
        """Returns the number of hidden files and their bytes, of one kind or all, hidden by one layer or all."""
        if by is not None:  # asked for each of thousands of layers
            found = [self.sums[k, by] for k in ((kind,) if kind is not None else _KINDS) if (k, by) in self.sums]
        else:
            found = [sums for (k, _), sums in self.sums.items() if kind in (None, k)]
        return sum(files for files, _ in found), sum(size for _, size in found)


def _sums(hidden: Iterable[WastedFile]) -> Mapping[tuple[HiddenKind, int], tuple[int, int]]:
    sums: dict[tuple[HiddenKind, int], tuple[int, int]] = {}
    for wasted in hidden:
        files, size = sums.get((wasted.kind, wasted.by), (0, 0))
        sums[wasted.kind, wasted.by] = (files + 1, size + wasted.size)
    return sums


def waste(indexes: list[LayerIndex], known: Known, top: int) -> Waste:
    """Returns the files of an image's layers that are shipped but not visible.

    A file counts once its last name is hidden. It is "copied-up" if a file of equal content hides it, which differs in
    owner, mode, time or attributes only. `top`: length of the lists of largest files and paths.
    """
    events: list[HiddenFile] = []
    tree = Tree(indexes, hidden=events.append)
    last = _last_hidden(tree, events)
    copied = copies(tree, events)
    asked = rows_of_equal_size(tree, copied)
    for inode, event in last.items():
        if event.replaced is not None and _sizes(tree, inode) == _sizes(tree, tree.inode(event.replaced)):
            for ref in (inode, tree.inode(event.replaced)):
                asked.setdefault(tree.layer(ref), set()).add(tree.row(ref))
    for number, rows in asked.items():
        indexes[number] = known(number, indexes[number], sorted(rows))
    hidden = []
    for inode, event in last.items():
        kind: HiddenKind = "deleted"
        if event.replaced is not None:
            new = tree.inode(event.replaced)
            same = _sizes(tree, inode) == _sizes(tree, new) and _content(tree, indexes, inode) == _content(tree, indexes, new)
            kind = "copied-up" if same and _content(tree, indexes, new) is not None else "overwritten"
        index = indexes[tree.layer(inode)]
        row = tree.row(inode)
        hidden.append(WastedFile(event.path, index.stored(row), tree.layer(inode), event.by, kind))
    hidden.sort(key=lambda wasted: (-wasted.size, wasted.path))
    paths: dict[tuple[bytes, HiddenKind], WastedPath] = {}
    for wasted in hidden:
        old = paths.get((wasted.path, wasted.kind), WastedPath(wasted.path, 0, 0, wasted.kind))
        paths[wasted.path, wasted.kind] = old._replace(bytes=old.bytes + wasted.size, versions=old.versions + 1)
    ranked = sorted(paths.values(), key=lambda path: (-path.bytes, path.path))[:top]
    shipped = compared(tree, copied, indexes)
    return Waste(tuple(hidden), tuple(_largest(tree, top)), tuple(ranked), top, _sums(hidden), shipped)


def hidden_bytes(tree: Tree, events: Iterable[HiddenFile]) -> int:
    """Returns the bytes of all files of a tree that are shipped but not visible, as `waste` counts them. `events`: the files
    that were hidden while the tree was built, in order."""
    return sum(tree.indexes[tree.layer(inode)].stored(tree.row(inode)) for inode in _last_hidden(tree, events))


def _last_hidden(tree: Tree, events: Iterable[HiddenFile]) -> dict[int, HiddenFile]:
    """Returns the files that no name is left of, each with the event that hid the last one."""
    alive = {tree.inode(node) for _, node in tree.walk() if not isinstance(node, Directory)}
    last: dict[int, HiddenFile] = {}
    for event in events:
        inode = tree.inode(event.ref)
        if inode not in alive and tree.indexes[tree.layer(inode)].kinds[tree.row(inode)] == Kind.FILE:
            last[inode] = event
    return last


def _sizes(tree: Tree, ref: int) -> int | None:
    index, row = tree.indexes[tree.layer(ref)], tree.row(ref)
    return index.sizes[row] if index.kinds[row] == Kind.FILE else None


def _content(tree: Tree, indexes: list[LayerIndex], ref: int) -> bytes | None:
    return indexes[tree.layer(ref)].content(tree.row(ref))


def _largest(tree: Tree, top: int) -> Iterator[LargestFile]:
    """Yields the `top` largest visible files, each once however many names it has."""
    import heapq

    def files() -> Iterator[tuple[int, bytes, int]]:
        seen: set[int] = set()
        for path, node in tree.walk():
            if isinstance(node, Directory):
                continue
            inode = tree.inode(node)
            size = _sizes(tree, inode)
            if size is None or (inode != node and inode in seen):
                continue
            if tree.links(inode):
                if inode in seen:
                    continue
                seen.add(inode)
            yield size, path, tree.layer(inode)

    for size, path, layer in heapq.nsmallest(top, files(), key=lambda file: (-file[0], file[1])):
        yield LargestFile(path, size, layer)
