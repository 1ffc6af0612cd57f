"""Counts in an image what the limits of a budget are about."""

from __future__ import annotations

from collections.abc import Sequence

from ocitool.globs import Matcher
from ocitool.images.image import Image
from ocitool.layers.index import LayerIndex
from ocitool.policy.budget import DIVE_KEYS, Budget, Measures
from ocitool.policy.dive_measures import dive_measures
from ocitool.trees.nodes import HiddenFile
from ocitool.trees.tree import Tree, regular_files
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
    keys = {limit.key for limit in budget}
    if "waste" in keys:
        values["waste"] = hidden_bytes(tree, hidden)
    if not keys.isdisjoint(DIVE_KEYS):
        values |= dive_measures(tree, hidden)
    return Measures(values, paths)


def with_baseline(measures: Measures, growth: int | None, size_before: int | None, transfer: int) -> Measures:
    """Returns the measures with those that are known beside the image before; `growth` and `size_before` are None if the files
    were not compared."""
    found: dict[str, int | float | None] = {"growth": growth, "size before": size_before, "transfer": transfer}
    known = {key: value for key, value in found.items() if value is not None}
    return measures._replace(values={**measures.values, **known})


def _visible(tree: Tree, globs: dict[str, Matcher]) -> tuple[int, dict[str, int]]:
    """Returns the bytes of all visible files, and of those that match each glob; each file counts once, also for a glob that
    several of its names match."""
    total = 0
    sums = dict.fromkeys(globs, 0)
    counted: set[tuple[str, int]] = set()
    for path, inode, size, first in regular_files(tree):
        if first:
            total += size
        for glob, matcher in globs.items():
            if matcher.matches(path) and (glob, inode) not in counted:
                sums[glob] += size
                counted.add((glob, inode))
    return total, sums
