"""Counts in an image what the limits of a budget are about."""

from __future__ import annotations

from collections.abc import Sequence

from ocitool.globs import Matcher
from ocitool.images.image import Image
from ocitool.layers.entry import Kind
from ocitool.layers.index import LayerIndex
from ocitool.policy.budget import DIVE_KEYS, Budget, Measures
from ocitool.policy.dive_measures import dive_measures
from ocitool.trees.nodes import Directory, HiddenFile
from ocitool.trees.tree import Tree
from ocitool.trees.waste import hidden_bytes


def reads_layers(budget: Budget) -> bool:
    """Returns whether anything of a budget is about what layers hold: the indexes of all layers are needed then."""
    return any(limit.key not in ("layers", "stored", "transfer") for limit in budget)


def measured(budget: Budget, image: Image, indexes: Sequence[LayerIndex] | None) -> Measures:
    """Returns what a budget asks of one image. `indexes`: of all its layers; None if `reads_layers` says they are not needed.
    Time and memory: those of one merged tree, and a pass over its paths for each glob."""
    values: dict[str, int | float] = {"layers": len(image.layers), "stored": sum(layer.size for layer in image.layers)}
    if indexes is None:
        return Measures(values)
    globs = {limit.glob: Matcher([limit.glob]) for limit in budget if limit.glob is not None}
    hidden: list[HiddenFile] = []
    tree = Tree(indexes, hidden=hidden.append)
    values["size"], paths = _visible(tree, globs)
    values["waste"] = hidden_bytes(tree, hidden)
    if any(limit.key in DIVE_KEYS for limit in budget):
        values |= dive_measures(tree, hidden)
    return Measures(values, paths)


def with_baseline(measures: Measures, growth: int | None, size_before: int | None, transfer: int) -> Measures:
    """Returns the measures with those that are known beside the image before; `growth` and `size_before` are None if the files
    were not compared."""
    found: dict[str, int | float | None] = {"growth": growth, "size before": size_before, "transfer": transfer}
    known = {key: value for key, value in found.items() if value is not None}
    return measures._replace(values={**measures.values, **known})


def size_of(indexes: Sequence[LayerIndex]) -> int:
    """Returns the bytes of all visible files, each once however many names it has."""
    return _visible(Tree(indexes), {})[0]


def _visible(tree: Tree, globs: dict[str, Matcher]) -> tuple[int, dict[str, int]]:
    """Returns the bytes of all visible files, and of those that match each glob; each file counts once, also for a glob that
    several of its names match."""
    total = 0
    sums = dict.fromkeys(globs, 0)
    seen: set[int] = set()
    counted: set[tuple[str, int]] = set()
    for path, node in tree.walk():
        if isinstance(node, Directory):
            continue
        inode = tree.inode(node)
        index, row = tree.indexes[tree.layer(inode)], tree.row(inode)
        if index.kinds[row] != Kind.FILE:
            continue
        size = index.sizes[row]
        several = inode != node or inode in tree.shared
        if not several or inode not in seen:
            total += size
        if several:
            seen.add(inode)
        for glob, matcher in globs.items():
            if matcher.matches(path) and (glob, inode) not in counted:
                sums[glob] += size
                if several:
                    counted.add((glob, inode))
    return total, sums
