"""Chooses the layers of old images that take the place of those of a new one, as many as together give its file system."""

from __future__ import annotations

from collections.abc import Sequence

from ocitool.operations.rebuild.bytecode import with_accepted_pyc, with_equal_pyc
from ocitool.operations.rebuild.layer_match import LayerMatch, OldImage, match
from ocitool.operations.rebuild.reuse_check import same
from ocitool.pipeline.indexed_image import IndexedImage
from ocitool.trees.changeset import Ignored

_MAX_TRIES = 32
"""Most equal layers that are tried one by one if all of them together do not give the wanted file system: each try compares
whole trees."""


def old_image(new: IndexedImage, old: IndexedImage, *, times: bool, ignored: Ignored | None) -> OldImage:
    """Returns the old image with what counts as equal in it: unless times do, also compiled Python that fits its source."""
    return OldImage(old, new if times else with_equal_pyc(new, old), ignored)


def reused_layers(new: IndexedImage, olds: Sequence[OldImage], *, times: bool, ignored: Ignored | None) -> list[LayerMatch]:
    """Returns the match of each layer of the new image. With the layers in them its file system stays the same, apart from
    ignored paths and from what counts as equal. All equal layers may not give that if a layer depends on a path that was
    ignored in a lower one."""

    def right(matches: Sequence[LayerMatch]) -> bool:
        untouched = all(one.how != "equal" for one in matches)
        return untouched or is_wanted(chosen(new, matches), new, olds, times=times, ignored=ignored)

    matches = match(new, olds, times=times)
    if right(matches):
        return matches
    found = [one if one.how != "equal" else LayerMatch("changed") for one in matches]
    equal = [number for number, one in enumerate(matches) if one.how == "equal"]
    for number in equal[:_MAX_TRIES]:
        tried = [*found[:number], matches[number], *found[number + 1 :]]
        found = tried if right(tried) else found
    return found


def chosen(new: IndexedImage, matches: Sequence[LayerMatch]) -> IndexedImage:
    """Returns the new image with the matching old layers in place of its own."""
    layers, indexes = [], []
    for number, found in enumerate(matches):
        if found.old is not None and found.layer is not None:
            layers.append(found.layer)
            indexes.append(found.old.indexes[found.layer.number])
        else:
            layers.append(new.layers[number])
            indexes.append(new.indexes[number])
    return IndexedImage(new.image._replace(layers=tuple(layers)), indexes)


def is_wanted(made: IndexedImage, new: IndexedImage, olds: Sequence[OldImage], *, times: bool, ignored: Ignored | None) -> bool:
    """Returns whether what was made is the file system of the new image, apart from what counts as equal."""
    wanted, _ = with_accepted_pyc(made, new, [one.new for one in olds])
    return same(made.tree, wanted.tree, times=times, ignored=ignored)
