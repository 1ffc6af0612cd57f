"""Pairs of corresponding layers of two images, and why the others were rebuilt.

Layers are paired by diff_id first, in order; between such pairs by equal entries, then by instruction.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import islice

from ocitool.comparison.result import LayerPair
from ocitool.images.image import Image, Layer
from ocitool.layers.index import LayerIndex
from ocitool.pipeline.layer_identity import instruction, layer_identity
from ocitool.trees.compare import compare, order_free_hash, rows_to_hash
from ocitool.trees.indexing import Indexer


def shared(before: Sequence[Layer], after: Sequence[Layer]) -> list[tuple[int, int]]:
    """Returns pairs of positions of equal layers, increasing on both sides: each layer of the after image is paired with
    the next equal layer of the before image, if there is one."""
    places: dict[str, list[int]] = {}
    for position, layer in enumerate(before):
        known = layer_identity(layer)
        if known is not None:
            places.setdefault(known, []).append(position)
    found = []
    last = -1
    for position, layer in enumerate(after):
        known = layer_identity(layer)
        found_at = places.get(known, ()) if known is not None else ()
        later = bisect_right(found_at, last)
        if later < len(found_at):
            nearest = found_at[later]
            found.append((nearest, position))
            last = nearest
    return found


def pair(before: Image, after: Image, indexer: Indexer, before_indexes: dict[int, LayerIndex],
         after_indexes: dict[int, LayerIndex]) -> tuple[LayerPair, ...]:  # fmt: skip
    """Returns the pairs of all layers of both images in the order of the after image; removed layers are at their old
    place.

    The dictionaries have the indexes of all layers that are not shared, by number. An index in which contents had to be
    hashed is replaced in them.
    """
    anchors = [*shared(before.layers, after.layers), (len(before.layers), len(after.layers))]
    pairs: list[LayerPair] = []
    a = b = 0
    for to_a, to_b in anchors:
        pairs += _gap(before.layers[a:to_a], after.layers[b:to_b], indexer, before_indexes, after_indexes)
        if to_a < len(before.layers) and to_b < len(after.layers):
            pairs.append(_shared(before.layers[to_a], after.layers[to_b]))
        a, b = to_a + 1, to_b + 1
    return tuple(_explained(pairs, before, after))


def _shared(a: Layer, b: Layer) -> LayerPair:
    """Returns the pair of two equal layers, with a reason if they are stored differently (digests differ)."""
    if a.digest is None or b.digest is None or a.digest == b.digest:
        return LayerPair("shared", a, b)
    codecs = (a.compression or "?", b.compression or "?")
    return LayerPair("shared", a, b, f"stored as {codecs[1]}, was {codecs[0]}" if codecs[0] != codecs[1] else "stored anew")


_MAX_TRIES = 20_000
"""Most pairs of layers that are compared entry by entry: enough for two images with as many layers as engines allow."""


def _gap(before: Sequence[Layer], after: Sequence[Layer], indexer: Indexer, before_indexes: dict[int, LayerIndex],
         after_indexes: dict[int, LayerIndex]) -> list[LayerPair]:  # fmt: skip
    """Returns the pairs of the layers between two shared ones: by equal entries, then by instruction, else added or
    removed."""
    partner: dict[int, tuple[int, bool]] = {}
    last = -1
    if before and after:
        shapes: dict[object, list[int]] = {}
        for i, layer in enumerate(before):
            shapes.setdefault(order_free_hash(before_indexes[layer.number]), []).append(i)
        tries = _MAX_TRIES
        for j, layer in enumerate(after):
            alike = shapes.get(order_free_hash(after_indexes[layer.number]), [])
            for i in islice(alike, bisect_right(alike, last), None):
                tries -= 1
                if tries < 0:
                    break
                if _equal(before[i], layer, indexer, before_indexes, after_indexes):
                    partner[j] = (i, True)
                    last = i
                    break
    _by_instruction(before, after, partner)
    found: list[LayerPair] = []
    done = 0
    for j, layer in enumerate(after):
        if j not in partner:
            found.append(LayerPair("added", None, layer))
            continue
        i, equal = partner[j]
        found += [LayerPair("removed", gone, None) for gone in before[done:i]]
        found.append(LayerPair("equivalent" if equal else "changed", before[i], layer))
        done = i + 1
    return found + [LayerPair("removed", gone, None) for gone in before[done:]]


def _by_instruction(before: Sequence[Layer], after: Sequence[Layer], partner: dict[int, tuple[int, bool]]) -> None:
    """Adds pairs with equal instructions, or without any, to `partner`, in an order that fits the pairs that it has."""
    places: dict[object, list[int]] = {}
    for i, layer in enumerate(before):
        places.setdefault(instruction(layer.created_by), []).append(i)
    highs, high = [0] * len(after), len(before)
    for j in range(len(after) - 1, -1, -1):
        highs[j] = high
        high = partner[j][0] if j in partner else high
    low = 0
    for j, layer in enumerate(after):
        if j in partner:
            low = partner[j][0] + 1
            continue
        same = places.get(instruction(layer.created_by), [])
        at = bisect_left(same, low)
        if at < len(same) and same[at] < highs[j]:
            partner[j] = (same[at], False)
            low = same[at] + 1


def _equal(a: Layer, b: Layer, indexer: Indexer, before_indexes: dict[int, LayerIndex],
           after_indexes: dict[int, LayerIndex]) -> bool:  # fmt: skip
    """Returns whether two layers have equal entries but for modification times; contents are hashed only if all else is
    equal."""
    before, after = before_indexes[a.number], after_indexes[b.number]
    if compare(before, after, ("mtime", "content")):
        return False
    rows_a, rows_b = rows_to_hash(before, after)
    before = before_indexes[a.number] = indexer.with_hashes(a, before, rows_a)
    after = after_indexes[b.number] = indexer.with_hashes(b, after, rows_b)
    return not compare(before, after, ("mtime",))


def _explained(pairs: Sequence[LayerPair], before: Image, after: Image) -> list[LayerPair]:
    """Returns the pairs with reasons, by the logic of a build cache: the first layer that differs causes the rebuild of all
    later ones."""
    found: list[LayerPair] = []
    cause: Layer | None = None
    broke = _first_empty_change(before, after)
    for entry in pairs:
        layer = entry.after
        if entry.status == "shared" or layer is None:
            found.append(entry if entry.status == "shared" else entry._replace(reason="the layer is gone"))
            continue
        own = _own_reason(entry)
        if cause is not None:
            same = entry.status in ("equivalent", "changed")
            reason = f"built again because layer {cause.number} changed" if same else own
            if entry.status == "changed" and own:
                reason = f"{reason}; {own}"
            found.append(entry._replace(reason=reason, cause=cause if same else None))
            continue
        if entry.status == "equivalent" and broke is not None:
            own = f"built again after the instruction {broke}"
        found.append(entry._replace(reason=own or "its files changed"))
        cause = layer
    return found


def _own_reason(entry: LayerPair) -> str | None:
    if entry.before is None:
        return "the instruction is new"
    a, b = entry.before.created_by, entry.after.created_by if entry.after else None
    if entry.status == "equivalent":
        return "built again with equal files"
    if a != b and a is not None and b is not None:
        return "its input changed"
    return "its files changed" if a is not None else None


def _first_empty_change(before: Image, after: Image) -> str | None:
    """Returns the first instruction without a layer (ENV, LABEL ...) that differs before any layer does; None if there
    is none."""
    for a, b in zip(before.config.history, after.config.history, strict=False):
        if (a.created_by, a.empty_layer) != (b.created_by, b.empty_layer):
            return b.created_by if b.empty_layer else None
    return None
