"""Which layers of an image another one has: the very blob, the same tar, or equal entries.

Equal: the same paths, types, modes, owners, links, xattrs, devices and contents; times count where they are asked for, and
ignored paths never do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from ocitool.digest import Digest
from ocitool.images.image import Layer
from ocitool.layers.index import LayerIndex
from ocitool.pipeline.indexed_image import IndexedImage
from ocitool.trees.changeset import Ignored
from ocitool.trees.compare import compare

How = Literal["same", "equal", "changed"]


class LayerMatch(NamedTuple):
    """What of the old images a layer is: the `same` tar to the bit, `equal` in its entries, or `changed`: nothing of them."""

    how: How
    old: IndexedImage | None = None
    layer: Layer | None = None


class OldImage(NamedTuple):
    """An old image, the new one as it counts beside it (see `bytecode.settled`), and the paths that may differ from it."""

    stack: IndexedImage
    new: IndexedImage
    ignored: Ignored | None


def match(new: IndexedImage, olds: Sequence[OldImage], *, times: bool) -> list[LayerMatch]:
    """For each layer of the new image, lowest first. The same blob goes before the same tar, that before equal entries, a
    layer in the same place before others."""
    tars: dict[Digest | None, list[tuple[IndexedImage, Layer]]] = {}
    for old in olds:
        for layer, index in zip(old.stack.layers, old.stack.indexes, strict=True):
            tars.setdefault(index.diff_id, []).append((old.stack, layer))
    alike = [_Alike(old, times) for old in olds]
    return [_same(new, number, tars) or _equal(number, alike) for number in range(len(new.layers))]


def _same(
    new: IndexedImage, number: int, tars: Mapping[Digest | None, Sequence[tuple[IndexedImage, Layer]]]
) -> LayerMatch | None:
    layer = new.layers[number]
    found = tars.get(new.indexes[number].diff_id)
    if not found:
        return None
    old, other = min(found, key=lambda one: (one[1].digest is None or one[1].digest != layer.digest, one[1].number != number))
    return LayerMatch("same", old, other)


def _equal(number: int, olds: Sequence[_Alike]) -> LayerMatch:
    for old in olds:
        layer = old.find(number)
        if layer is not None:
            return LayerMatch("equal", old.old.stack, layer)
    return LayerMatch("changed")


class _Alike:
    """Which layers of an old image list the entries of one of the new image. Each pair of indexes is compared once, however
    often images list them."""

    def __init__(self, old: OldImage, times: bool) -> None:
        self.old = old
        self._ignore = () if times else ("mtime",)
        self._shapes: dict[int, int | None] = {}
        self._answers: dict[tuple[int, int], bool] = {}
        self._layers: dict[int, dict[int, Layer]] = {}  # by shape, then by index
        for layer, index in zip(old.stack.layers, old.stack.indexes, strict=True):
            shape = self._shape(index)
            if shape is not None:
                self._layers.setdefault(shape, {}).setdefault(id(index), layer)

    def find(self, number: int) -> Layer | None:
        there, index = self.old.stack.layers, self.old.new.indexes[number]
        shape = self._shape(index)
        if shape is None:
            return None
        here = there[number : number + 1]
        found = (layer for layer in (*here, *self._layers.get(shape, {}).values()) if self._is(layer.number, index))
        return next(found, None)

    def _is(self, number: int, index: LayerIndex) -> bool:
        other, ignored = self.old.stack.indexes[number], self.old.ignored
        pair = id(other), id(index)
        if pair not in self._answers:
            self._answers[pair] = self._shape(other) == self._shape(index) and all(
                ignored is not None and ignored(change.path) for change in compare(other, index, self._ignore)
            )
        return self._answers[pair]

    def _shape(self, index: LayerIndex) -> int | None:
        if id(index) not in self._shapes:
            self._shapes[id(index)] = _shape(index, self.old.ignored)
        return self._shapes[id(index)]


def _shape(index: LayerIndex, ignored: Ignored | None) -> int | None:
    """Paths, kinds, contents and links in any order as one number: layers of equal entries have equal shapes, and few others
    do. None for a layer that lists a path twice: what it does depends on the order."""
    view = memoryview(index.contents)
    listed = {
        (path, kind, link, bytes(view[32 * row : 32 * row + 32]))
        for row, (path, kind, link) in enumerate(zip(index.paths, index.kinds, index.links, strict=True))
        if ignored is None or not ignored(path)
    }
    once = len(set(zip(index.paths, index.kinds, strict=True))) == len(index)
    return hash(frozenset(listed)) if once else None
