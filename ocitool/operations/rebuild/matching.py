"""Which layers of an image another one has: the very blob, the same tar, or equal entries.

Equal: the same paths, types, modes, owners, links, xattrs, devices and contents; times count where they are asked for, and
ignored paths never do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

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
    shapes: dict[int, list[tuple[Stack, Layer]]] = {}
    for old in olds:
        for layer in old.layers:
            shapes.setdefault(_shape(old.indexes[layer.number], ignored), []).append((old, layer))
    return [_same(new, number, olds) or _equal(new, number, shapes, times, ignored) for number in range(len(new.layers))]


def _same(new: Stack, number: int, olds: Sequence[Stack]) -> Match | None:
    layer, index = new.layers[number], new.indexes[number]
    found = [
        (other.digest is None or other.digest != layer.digest, other.number != number, at, other.number)
        for at, old in enumerate(olds)
        for other in old.layers
        if old.indexes[other.number].diff_id == index.diff_id
    ]
    if not found:
        return None
    _, _, at, which = min(found)
    return Match("same", olds[at], olds[at].layers[which])


def _equal(
    new: Stack, number: int, shapes: Mapping[int, Sequence[tuple[Stack, Layer]]], times: bool, ignored: Ignored | None
) -> Match:
    index = new.indexes[number]
    candidates = shapes.get(_shape(index, ignored), ())
    for old, layer in sorted(candidates, key=lambda one: one[1].number != number):
        changes = compare(old.indexes[layer.number], index, () if times else ("mtime",))
        if all(ignored is not None and ignored(change.path) for change in changes):
            return Match("equal", old, layer)
    return Match("changed")


def _shape(index: LayerIndex, ignored: Ignored | None) -> int:
    """Paths and kinds in any order as one number: layers of equal entries have equal shapes."""
    listed = set(zip(index.paths, index.kinds, strict=True))
    return hash(frozenset(listed if ignored is None else (one for one in listed if not ignored(one[0]))))
