"""Which layers of an image another one has: the very blob, the same tar, or equal entries.

Equal: the same paths, types, modes, owners, links, xattrs, devices and contents; times count where they are asked for, and
ignored paths never do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from ocitool.digest import Digest
from ocitool.images.changeset import Ignored
from ocitool.images.compare import compare
from ocitool.images.image import Layer
from ocitool.layers.index import LayerIndex
from ocitool.operations.stacks import Stack

How = Literal["same", "equal", "changed"]


class Match(NamedTuple):
    """What of the old images a layer is: the `same` tar to the bit, `equal` in its entries, or `changed`: nothing of them."""

    how: How
    old: Stack | None = None
    layer: Layer | None = None


def match(new: Stack, olds: Sequence[Stack], *, times: bool, ignored: Ignored | None) -> list[Match]:
    """For each layer of the new image, lowest first. The same blob goes before the same tar, that before equal entries, a
    layer in the same place before others."""
    shapes: dict[int | None, list[tuple[Stack, Layer]]] = {}
    tars: dict[Digest | None, list[tuple[Stack, Layer]]] = {}
    for old in olds:
        for layer, index in zip(old.layers, old.indexes, strict=True):
            shapes.setdefault(_shape(index, ignored), []).append((old, layer))
            tars.setdefault(index.diff_id, []).append((old, layer))
    return [_same(new, number, tars) or _equal(new, number, shapes, times, ignored) for number in range(len(new.layers))]


def _same(new: Stack, number: int, tars: Mapping[Digest | None, Sequence[tuple[Stack, Layer]]]) -> Match | None:
    layer = new.layers[number]
    found = tars.get(new.indexes[number].diff_id)
    if not found:
        return None
    old, other = min(
        found, key=lambda one: (one[1].digest is None or one[1].digest != layer.digest, one[1].number != number)
    )
    return Match("same", old, other)


def _equal(
    new: Stack, number: int, shapes: Mapping[int | None, Sequence[tuple[Stack, Layer]]], times: bool, ignored: Ignored | None
) -> Match:
    index = new.indexes[number]
    shape = _shape(index, ignored)
    candidates = shapes.get(shape, ()) if shape is not None else ()
    for old, layer in sorted(candidates, key=lambda one: one[1].number != number):
        changes = compare(old.indexes[layer.number], index, () if times else ("mtime",))
        if all(ignored is not None and ignored(change.path) for change in changes):
            return Match("equal", old, layer)
    return Match("changed")


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
