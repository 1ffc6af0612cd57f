"""Finds the layers of an image that an old image has too: the same blob, the same tar, or equal entries.

Entries are equal if paths, types, modes, owners, links, xattrs, devices and contents are the same. Times count only with
`times`; ignored paths never do.
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
    """The match of a layer: `same`: an old layer is the same tar; `equal`: an old layer has equal entries; `changed`: none
    of both."""

    how: How
    old: IndexedImage | None = None
    layer: Layer | None = None


class OldImage(NamedTuple):
    """An old image (`image`), the new image for the comparison with it (see `bytecode.with_equal_pyc`), and the paths that
    may differ."""

    image: IndexedImage
    new: IndexedImage
    ignored: Ignored | None


def match(new: IndexedImage, olds: Sequence[OldImage], *, times: bool) -> list[LayerMatch]:
    """Returns the match of each layer of the new image, the lowest first. The same blob is preferred to the same tar, that
    to equal entries, and a layer at the same position to others."""
    tars: dict[Digest | None, list[tuple[IndexedImage, Layer]]] = {}
    for old in olds:
        for layer, index in zip(old.image.layers, old.image.indexes, strict=True):
            tars.setdefault(index.diff_id, []).append((old.image, layer))
    equal = [_EqualLayers(old, times) for old in olds]
    return [_same(new, number, tars) or _equal(number, equal) for number in range(len(new.layers))]


def _same(
    new: IndexedImage, number: int, tars: Mapping[Digest | None, Sequence[tuple[IndexedImage, Layer]]]
) -> LayerMatch | None:
    layer = new.layers[number]
    found = tars.get(new.indexes[number].diff_id)
    if not found:
        return None
    old, other = min(found, key=lambda one: (one[1].digest is None or one[1].digest != layer.digest, one[1].number != number))
    return LayerMatch("same", old, other)


def _equal(number: int, olds: Sequence[_EqualLayers]) -> LayerMatch:
    for old in olds:
        layer = old.find(number)
        if layer is not None:
            return LayerMatch("equal", old.old.image, layer)
    return LayerMatch("changed")


class _EqualLayers:
    """Finds layers of an old image with the entries of a layer of the new image. Each pair of indexes is compared once,
    even if the images list them several times."""

    def __init__(self, old: OldImage, times: bool) -> None:
        self.old = old
        self._ignore = () if times else ("mtime",)
        self._shapes: dict[int, int | None] = {}
        self._answers: dict[tuple[int, int], bool] = {}
        self._layers: dict[int, dict[int, Layer]] = {}  # by shape, then by index
        for layer, index in zip(old.image.layers, old.image.indexes, strict=True):
            shape = self._shape(index)
            if shape is not None:
                self._layers.setdefault(shape, {}).setdefault(id(index), layer)

    def find(self, number: int) -> Layer | None:
        """Returns a layer of the old image that equals the layer `number` of the new one, or None."""
        there, index = self.old.image.layers, self.old.new.indexes[number]
        shape = self._shape(index)
        if shape is None:
            return None
        here = there[number : number + 1]
        found = (layer for layer in (*here, *self._layers.get(shape, {}).values()) if self._is_equal(layer.number, index))
        return next(found, None)

    def _is_equal(self, number: int, index: LayerIndex) -> bool:
        other, ignored = self.old.image.indexes[number], self.old.ignored
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
    """Returns a hash of paths, kinds, contents and links in any order: layers with equal entries have equal hashes, few
    others do. Returns None for a layer that lists a path twice, since its effect depends on the order."""
    view = memoryview(index.contents)
    listed = {
        (path, kind, index.links[row], bytes(view[32 * row : 32 * row + 32]))
        for row, (path, kind) in enumerate(zip(index.paths, index.kinds, strict=True))
        if ignored is None or not ignored(path)
    }
    once = len(set(zip(index.paths, index.kinds, strict=True))) == len(index)
    return hash(frozenset(listed)) if once else None
