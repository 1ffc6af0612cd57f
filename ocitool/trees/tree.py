"""The merged file system of layers, and for each path the layer that made it.

`merge` builds it by the rules of the image-spec, `nodes` is what it consists of. Memory: about 150 bytes a path beside the
indexes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from ocitool import limits
from ocitool.layers.entry import Entry, Kind
from ocitool.layers.index import LayerIndex
from ocitool.trees.merge import LayerMerge
from ocitool.trees.nodes import IMPLIED, REF_SHIFT, ROW_MASK, Directory, HiddenFile, Node, PathLookup, walk

T = TypeVar("T")


class Tree:
    """The merged tree of `indexes`, lowest layer first. Built once, then only read.

    `missing_base`: the layers of a base below these are not given; see `needs_base`. `hidden` is called for each file
    that a later layer hides, in order. Raises `UnsafeError` for an entry or link that leaves the root, `LimitError`
    beyond the bounds of `limits`.
    """

    def __init__(
        self, indexes: Sequence[LayerIndex], *, missing_base: bool = False, hidden: Callable[[HiddenFile], None] | None = None
    ) -> None:
        self._lookup = PathLookup()
        self._merge = LayerMerge(self._lookup, missing_base=missing_base, hidden=hidden)
        self.indexes = self._lookup.indexes = tuple(indexes)
        self.root = self._lookup.root
        self.removed = self._merge.removed
        """Paths that a whiteout, an opaque marker or an entry of another kind removed, with the last layer that did."""
        self.broken = self._merge.broken
        """Hard links whose target does not exist: path and ref."""
        self._inodes = self._lookup.inodes
        self._links: dict[int, list[bytes]] | None = None
        self._removers: dict[bytes, int | None] = {}
        self._tops: dict[int, dict[bytes, bytes | None]] = {}
        self._merge.apply(0, self.indexes)

    def add(self, index: LayerIndex) -> None:
        """Puts one more layer on top. Only for the code that builds the tree, before it is shared."""
        self.indexes = self._lookup.indexes = (*self.indexes, index)
        self._removers, self._tops = {}, {}
        self._merge.apply(len(self.indexes) - 1, [index])

    def replace_indexes(self, indexes: Sequence[LayerIndex]) -> None:
        """Replaces the indexes by others of the same entries, of which more contents are known."""
        self.indexes = self._lookup.indexes = tuple(indexes)

    @property
    def needs_base(self) -> bool:
        """With `missing_base`: whether the tree depends on what the base has."""
        return self._merge.needs_base

    @staticmethod
    def layer(ref: int) -> int:
        """Returns the number of the layer of a ref; -1 for `IMPLIED`."""
        return ref >> REF_SHIFT

    @staticmethod
    def row(ref: int) -> int:
        return ref & ROW_MASK

    @staticmethod
    def ref(layer: int, row: int) -> int:
        """Returns the ref of a row of a layer, the inverse of `layer` and `row`."""
        return layer << REF_SHIFT | row

    def inode(self, ref: int) -> int:
        """Returns the ref of the entry with content and attributes: for a hard link the file that it shares, else the
        ref itself."""
        return self._inodes.get(ref, ref)

    @property
    def inodes(self) -> Mapping[int, int]:
        """What `inode` returns of each ref for which it is another one."""
        return self._inodes

    def entry(self, ref: int) -> Entry:
        """Returns the entry with content and attributes. An implied directory belongs to root, has mode 755 and mtime
        0."""
        if ref == IMPLIED:
            return Entry(b"", Kind.DIRECTORY, 0o755, 0, 0, 0, 0)
        ref = self.inode(ref)
        return self.indexes[ref >> REF_SHIFT].entry(ref & ROW_MASK)

    def find(self, path: bytes, *, follow: bool = False) -> Node | None:
        """Returns the node at a normalised path, or None. Symbolic links in its directories are followed inside the
        root; one at the end only with `follow`."""
        return self._lookup.resolve(path, follow)[0]

    def real_path(self, path: bytes) -> bytes | None:
        """Returns a path with the links in its directories followed, but not its last name; None if its directory does
        not exist."""
        parent, _, name = path.rpartition(b"/")
        node, place = self._lookup.resolve(parent, True)
        if not isinstance(node, Directory):
            return None
        return place + b"/" + name if place else name

    def walk(self, directory: Directory | None = None, prefix: bytes = b"") -> Iterator[tuple[bytes, Node]]:
        """Yields path and node of everything below a directory (default: the root), sorted by name, parents first."""
        return walk(directory or self.root, prefix)

    @property
    def has_links(self) -> bool:
        """Whether any hard link was resolved: without one, no file has several names."""
        return bool(self._inodes)

    @property
    def shared(self) -> frozenset[int]:
        """The refs (as `inode` returns them) of files that a hard link shares, even if the link is hidden by now."""
        return frozenset(self._inodes.values())

    def links(self, ref: int) -> list[bytes]:
        """Returns all names of the file of a ref, sorted, if it has more than one; else an empty list. Do not change
        the list: it is shared."""
        if self._links is None:
            found: dict[int, list[bytes]] = {}
            if self._inodes:
                shared = set(self._inodes.values())
                for path, node in self.walk():
                    if not isinstance(node, Directory):
                        inode = self._inodes.get(node, node)
                        if inode in shared:
                            found.setdefault(inode, []).append(path)
            self._links = {inode: names for inode, names in found.items() if len(names) > 1}
        return self._links.get(self.inode(ref), [])

    def remover(self, path: bytes) -> int | None:
        """Returns the last layer that removed this path or a directory above it; None if none did."""
        return self._computed_from_root(path, self._removers, self.removed.get)

    def removed_directory(self, path: bytes, layer: int) -> bytes:
        """Returns the top-most directory above a path that `layer` removed; the path itself if it was removed alone."""

        def top(at: bytes, above: bytes | None) -> bytes | None:
            return at if above is None and at and self.removed.get(at) == layer else above

        if layer not in self._tops:  # they are asked for by layer
            self._tops = {layer: {}}
        return self._computed_from_root(path, self._tops[layer], top) or path

    def _computed_from_root(
        self, path: bytes, known: dict[bytes, T | None], of: Callable[[bytes, T | None], T | None]
    ) -> T | None:
        """Returns `of(path, value of its parent)`, where each parent's value is computed the same way from the root
        down.

        `known` remembers the values of some parents: for paths asked in the order of a walk, no call goes up to the
        root.
        """
        above = []
        at = path
        while at and (at := at.rpartition(b"/")[0]) not in known:
            above.append(at)
        value = known.get(at)
        if len(known) > 2 * limits.PATH_DEPTH:
            known.clear()
        for directory in reversed(above):
            value = known[directory] = of(directory, value)
        return of(path, value)


def node_at(tree: Tree, path: bytes) -> Node | None:
    """Returns the node at a path without following any symbolic link."""
    node: Node | None = tree.root
    for name in path.split(b"/") if path else ():
        node = node.children.get(name) if isinstance(node, Directory) else None
    return node


def regular_files(tree: Tree) -> Iterator[tuple[bytes, int, int, bool]]:
    """Yields every name of a regular file of a tree, in the order of a walk: path, ref as `Tree.inode` returns it, size, and
    whether it is the first name of this file."""
    shared = tree.shared
    seen: set[int] = set()
    for path, node in tree.walk():
        if isinstance(node, Directory):
            continue
        inode = tree.inode(node)
        index, row = tree.indexes[tree.layer(inode)], tree.row(inode)
        if index.kinds[row] != Kind.FILE:
            continue
        first = inode not in seen
        if inode in shared:
            seen.add(inode)
        yield path, inode, index.sizes[row], first


def visible_bytes(tree: Tree) -> int:
    """Returns the bytes of all visible files of a tree; a file with several names counts once."""
    return sum(size for _, _, size, first in regular_files(tree) if first)


def walk_both(a: Tree, b: Tree) -> Iterator[tuple[bytes, Node | None, Node | None]]:
    """Yields every path of either tree with its two nodes, the root first if either tree lists it, parents before
    children."""
    if a.root.ref != IMPLIED or b.root.ref != IMPLIED:
        yield b"", a.root, b.root
    stack: list[tuple[bytes, Node | None, Node | None]] = []

    def push(x: Node | None, y: Node | None, at: bytes) -> None:
        left = x.children if isinstance(x, Directory) else {}
        right = y.children if isinstance(y, Directory) else {}
        names = left.keys() | right.keys() if left.keys() != right.keys() else left.keys()
        stack.extend((at + name, left.get(name), right.get(name)) for name in sorted(names, reverse=True))

    push(a.root, b.root, b"")
    while stack:
        path, x, y = stack.pop()
        yield path, x, y
        if isinstance(x, Directory) or isinstance(y, Directory):
            push(x, y, path + b"/")
