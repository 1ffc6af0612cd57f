"""Finds volatile paths (`ocitool/volatile.py`) that alone keep layers from being re-used: globs for `--ignore-path`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ocitool.comparison.volatile_changes import database_kind, is_data
from ocitool.globs import matcher
from ocitool.layers.index import LayerIndex
from ocitool.operations.rebuild.layer_match import LayerMatch, OldImage
from ocitool.operations.rebuild.reuse import chosen, reused_layers
from ocitool.operations.rebuild.reuse_check import ignored_differences, removed_since
from ocitool.packages.package import PackageKind
from ocitool.pipeline.indexed_image import IndexedImage
from ocitool.pipeline.layer_identity import instruction
from ocitool.task import Task
from ocitool.trees.compare import LayerChange, compare
from ocitool.trees.file_contents import contents
from ocitool.trees.nodes import ref_of
from ocitool.trees.tree import Tree, node_at
from ocitool.volatile import LARGEST, ContentRule, essence, volatile_class, volatile_place

_MAX_TRIES = 256
"""Most pairs of layers that are compared for one image."""


class Reuse(NamedTuple):
    """What more globs give: them, and the matches of the layers with them."""

    globs: tuple[str, ...]
    matches: list[LayerMatch]


def more_reuse(
    new: IndexedImage, olds: Sequence[OldImage], matches: Sequence[LayerMatch], given: Sequence[str], *, times: bool, task: Task
) -> Reuse | None:
    """Returns by which globs more layers can be re-used, tried as `rebuild` does; None if there are none.

    A layer is compared with those that the same instruction made, and with the one at its place. Nothing but volatile
    files may differ then, in the layers and in the merged file system. `given`: globs of paths that are ignored already."""
    usable = [old for old in olds if not removed_since(old.image.image, new.image)]
    finder = _Finder(new, task)
    globs: dict[str, None] = {}
    tries = _MAX_TRIES
    for number, found in enumerate(matches):
        if found.how != "changed":
            continue
        for old, other in _candidates(new, usable, number):
            tries -= 1
            more = finder.globs(old, other, number) if tries >= 0 else None
            if more:
                globs.update(dict.fromkeys(more))
                break
    left = tuple(sorted(globs.keys() - set(given)))
    if not left:
        return None
    ignored = matcher([*given, *left])
    better = reused_layers(new, [old._replace(ignored=ignored) for old in usable], times=times, ignored=ignored)
    made = chosen(new, better).tree
    differing = ignored_differences(made, new.tree, times=times, ignored=matcher(left))
    return Reuse(left, better) if all(_is_noise(path, made) and _is_noise(path, new.tree) for path in differing) else None


def _is_noise(path: bytes, tree: Tree) -> bool:
    """Returns whether a path may be volatile by what a tree has there: data, or nothing."""
    node = node_at(tree, path)
    return volatile_class(path) is not None and (node is None or is_data(tree.entry(ref_of(node))))


def _candidates(new: IndexedImage, olds: Sequence[OldImage], number: int) -> Iterator[tuple[OldImage, int]]:
    """Yields the layers of old images that may be an earlier build of a layer."""
    made_by = instruction(new.layers[number].created_by)
    for old in olds:
        for layer in old.image.layers:
            if layer.number == number or (made_by is not None and instruction(layer.created_by) == made_by):
                yield old, layer.number


class _Finder:
    """Decides whether two layers differ in volatile files alone. Packages of an image are read once, if at all."""

    def __init__(self, new: IndexedImage, task: Task) -> None:
        self._new = new
        self._task = task
        self._same: dict[int, frozenset[PackageKind]] = {}

    def globs(self, old: OldImage, other: int, number: int) -> Sequence[str] | None:
        """Returns the globs of the paths in which a layer of the new image differs from layer `other` of the old one; None
        if it differs elsewhere too."""
        a, b = old.image.indexes[other], old.new.indexes[number]
        found: dict[str, None] = {}
        doubtful: list[tuple[LayerChange, ContentRule]] = []
        for change in compare(a, b, ("mtime",)):
            if old.ignored is not None and old.ignored(change.path):
                continue
            place = volatile_place(change.path)
            rule = None if place is None else place.kind.rule
            if place is None or rule == "pyc" or not _may_be_noise(a, b, change):  # equal .pyc files do not differ here
                return None
            if rule == "packages":
                if database_kind(change.path) not in self._same_packages(old.image):
                    return None
            elif rule is not None:
                doubtful.append((change, rule))
            found[place.glob] = None
        return tuple(found) if all(self._alike(old, other, number, *one) for one in doubtful) else None

    def _alike(self, old: OldImage, other: int, number: int, change: LayerChange, rule: ContentRule) -> bool:
        if change.before is None or change.after is None:
            return False
        sides = (
            (old.image.layers[other], old.image.indexes[other].entry(change.before)),
            (self._new.layers[number], self._new.indexes[number].entry(change.after)),
        )
        if any(entry.size > LARGEST for _, entry in sides):
            return False
        first, second = (essence(rule, content) for _, content in contents(sides, self._task))
        return first == second is not None

    def _same_packages(self, old: IndexedImage) -> frozenset[PackageKind]:
        """Returns the kinds of packages of a distribution of which both images have the same."""
        if id(old) not in self._same:
            from ocitool.packages.changes import package_changes  # only if a database differs
            from ocitool.packages.installed import installed
            from ocitool.packages.readers import SYSTEM_KINDS

            one, new = (installed(image.tree, image.layers, self._task, kinds=SYSTEM_KINDS) for image in (old, self._new))
            changed = {change.package.kind for change in package_changes(one.packages, new.packages)}
            self._same[id(old)] = frozenset() if one.problems or new.problems else SYSTEM_KINDS - changed
        return self._same[id(old)]


def _may_be_noise(a: LayerIndex, b: LayerIndex, change: LayerChange) -> bool:
    sides = [index.entry(row) for index, row in ((a, change.before), (b, change.after)) if row is not None]
    return set(change.fields) <= {"content"} and all(map(is_data, sides))
