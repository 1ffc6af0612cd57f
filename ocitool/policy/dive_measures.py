"""Measures an image as dive does, so that the numbers in a `.dive-ci` mean the same.

dive looks at paths by layer, without merging: a path that several layers have is wasted in all of them, the first one too, and
a path that a whiteout removes counts with nothing, or, if it was a directory, with all that was in it.
"""

from __future__ import annotations

from collections.abc import Sequence

from ocitool.layers.entry import Kind
from ocitool.layers.index import LayerIndex
from ocitool.trees.nodes import HiddenFile
from ocitool.trees.tree import Tree


def dive_measures(tree: Tree, hidden: Sequence[HiddenFile]) -> dict[str, int | float]:
    """Returns the values of the rules of dive, by name. `tree`: of all layers; `hidden`: the files that were hidden while it
    was built."""
    sizes: dict[bytes, list[int]] = {}  # of a path: the sum over all layers, the smallest, the number of layers
    removed = _removed_directories(tree, hidden)
    by_layer = []
    for number, index in enumerate(tree.indexes):
        own = _leaves(index)
        by_layer.append(sum(own.values()))
        for row in index.rows_of(Kind.WHITEOUT):
            path = index.paths[row]
            own[path] = removed.get((number, path), 0)
        for path, size in own.items():
            found = sizes.get(path)
            if found is None:
                sizes[path] = [size, size, 1]
            else:
                found[0] += size
                found[1] = min(found[1], size)
                found[2] += 1
    total = sum(found[0] for found in sizes.values())
    wasted = sum(found[0] for found in sizes.values() if found[2] > 1)
    upper = sum(by_layer[1:])
    return {
        "lowestEfficiency": sum(found[1] for found in sizes.values()) / total if total else 1.0,
        "highestWastedBytes": wasted,
        "highestUserWastedPercent": wasted / upper if upper else 0.0,
    }


def _leaves(index: LayerIndex) -> dict[bytes, int]:
    """Returns the size of each path of a layer that has nothing below it; only regular files have a size."""
    files = {
        path: size if kind == Kind.FILE else 0
        for path, kind, size in zip(index.paths, index.kinds, index.sizes, strict=True)
        if kind not in (Kind.DIRECTORY, Kind.WHITEOUT, Kind.OPAQUE, Kind.METADATA, Kind.INVALID)
    }
    parents = {path.rpartition(b"/")[0] for path in index.paths}
    for row in index.rows_of(Kind.DIRECTORY):
        if index.paths[row] not in parents:
            files.setdefault(index.paths[row], 0)
    return files


def _removed_directories(tree: Tree, hidden: Sequence[HiddenFile]) -> dict[tuple[int, bytes], int]:
    """Returns the bytes of all files below a path that a whiteout of a layer removed, by layer and path."""
    removed = [frozenset(index.paths[row] for row in index.rows_of(Kind.WHITEOUT)) for index in tree.indexes]
    found: dict[tuple[int, bytes], int] = {}
    for event in hidden:
        index, row = tree.indexes[tree.layer(event.ref)], tree.row(event.ref)
        if event.replaced is not None or index.kinds[row] != Kind.FILE:
            continue
        above = event.path
        while above := above.rpartition(b"/")[0]:
            if above in removed[event.by]:
                found[event.by, above] = found.get((event.by, above), 0) + index.sizes[row]
    return found
