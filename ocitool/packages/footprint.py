"""What packages have in a tree: how many files, how many bytes, by which layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from ocitool.layers.entry import Kind
from ocitool.packages.ownership import RealPaths
from ocitool.packages.package import Package
from ocitool.trees.nodes import Directory, Node
from ocitool.trees.tree import Tree, node_at


class Footprint(NamedTuple):
    """What a package has in a tree. `files`: its files and links that are there, `size`: bytes of their contents, a file with
    several names once; both None if its database does not say which they are. `layer`: the number of the layer that has most
    of the files, the upper one of two; without files that of its database; None if that is not there."""

    files: int | None
    size: int | None
    layer: int | None


def footprints(packages: Sequence[Package], tree: Tree) -> Iterator[Footprint]:
    """Yields the footprint of each package, in their order. Time: each path that they list, and each in their directories."""
    places = RealPaths(tree)
    directories = frozenset(places.of(package.directory) for package in packages if package.directory)
    for package in packages:
        refs = list(_refs(package, tree, places, directories))
        if not package.files and package.directory is None:
            yield Footprint(None, None, _layer_of(tree, package.database))
            continue
        layers = Counter(map(Tree.layer, refs))
        top = max(layers, key=lambda layer: (layers[layer], layer), default=None)
        inodes = {tree.inode(ref) for ref in refs} if tree.has_links else refs
        size = sum(_size(tree, inode) for inode in inodes)
        yield Footprint(len(refs), size, _layer_of(tree, package.database) if top is None else top)


def _refs(package: Package, tree: Tree, places: RealPaths, directories: Collection[bytes]) -> Iterator[int]:
    """Yields the refs of the files of a package, each path once. In its directory, those below the directories of other
    packages are not its own."""
    listed = dict.fromkeys(map(places.of, package.files))
    for path in listed:
        node = node_at(tree, path)
        if node is not None and not isinstance(node, Directory):
            yield node
    if package.directory:
        top = places.of(package.directory)
        for path, node in _below(node_at(tree, top), top, directories):
            if path not in listed:
                yield node


def _below(top: Node | None, path: bytes, without: Collection[bytes]) -> Iterator[tuple[bytes, int]]:
    """Yields the files below a directory, but for those below the directories `without`."""
    stack = [(path, top)]
    while stack:
        at, node = stack.pop()
        if not isinstance(node, Directory):
            continue
        for name, child in node.children.items():
            below = at + b"/" + name
            if not isinstance(child, Directory):
                yield below, child
            elif below not in without:
                stack.append((below, child))


def _size(tree: Tree, inode: int) -> int:
    index, row = tree.indexes[Tree.layer(inode)], Tree.row(inode)
    return index.sizes[row] if index.kinds[row] == Kind.FILE else 0


def _layer_of(tree: Tree, path: bytes) -> int | None:
    node = node_at(tree, path)
    return None if node is None or isinstance(node, Directory) else Tree.layer(node)
