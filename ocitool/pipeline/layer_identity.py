"""Compares the lowest layers of images: whether an image is the base of another, verified for commands that write, and
how many layers two images share, by what they state."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from ocitool.digest import Digest
from ocitool.errors import UsageError
from ocitool.images.image import Image, Layer
from ocitool.patterns import pattern
from ocitool.pipeline import output_layers
from ocitool.task import Task
from ocitool.trees.indexing import Indexer


def count_base_layers(image: Image, base: Image, task: Task) -> int:
    """Returns the number of the base's layers, after verifying that the image begins with them: by digest, else by
    diff_ids that are computed from the bytes. Raises `UsageError` if it does not."""
    for mine, other in itertools.zip_longest(image.layers, base.layers):
        if other is None:
            break
        if mine is None:
            raise UsageError(
                f"not a base of the image: it has {len(base.layers)} layers, the image {len(image.layers)}", base.where
            )
        if image.manifest and base.manifest and mine.digest == other.digest:
            continue  # both manifests name this very blob, whatever it holds
        if _stated_otherwise(mine, other) or output_layers.diff_id(image, mine, task) != output_layers.diff_id(
            base, other, task
        ):
            raise UsageError(f"not a base of the image: layer {mine.number} is another one", base.where)
    return len(base.layers)


def _stated_otherwise(mine: Layer, other: Layer) -> bool:
    """Returns whether the images state different diff_ids for two layers, so that they need not be read."""
    a, b = mine.diff_id, other.diff_id
    return a is not None and b is not None and a.algorithm == b.algorithm and a != b


def layer_identity(layer: Layer) -> str | None:
    """Returns what identifies a layer: its diff_id, else its digest; None if neither is stated (see `with_diff_ids`)."""
    known = layer.diff_id or layer.digest
    return str(known) if known else None


def with_diff_ids(images: Sequence[Image], indexer: Indexer) -> list[Image]:
    """Returns the images with a diff_id for each layer whose bytes are present, so that `layer_identity` is equal for
    equal layers of any two of them. It is the one that this image states, or another image for the same blob. It is
    computed from the bytes if a configuration states none or the wrong number of them, unless equal stored digests show
    the same already."""
    stated = {layer.digest: layer.diff_id for image in images for layer in image.layers if layer.diff_id is not None}
    holders: dict[Digest, set[int]] = {}
    for number, image in enumerate(images):
        for layer in image.layers:
            if layer.digest is not None and layer.diff_id is None:
                holders.setdefault(layer.digest, set()).add(number)
    owed = [
        (image, layer)
        for image in images
        for layer in image.layers
        if layer.diff_id is None and layer.blob is not None and image.is_image
        and (layer.digest is None or (layer.digest not in stated and len(holders[layer.digest]) < len(images)))
    ]  # fmt: skip
    computed = dict(zip(map(_place, owed), (index.diff_id for index in indexer.computed_indexes(owed)), strict=True))

    def known(image: Image, layer: Layer) -> Layer:
        found = stated.get(layer.digest) if layer.digest is not None else None
        return layer._replace(diff_id=layer.diff_id or found or computed.get(_place((image, layer))))

    if not owed and not any(layer.diff_id is None and layer.digest in stated for image in images for layer in image.layers):
        return list(images)
    return [image._replace(layers=tuple(known(image, layer) for layer in image.layers)) for image in images]


def _place(one: tuple[Image, Layer]) -> tuple[int, int]:
    image, layer = one
    return id(image), layer.number


# It begins with a colon, which the search can jump to: a word boundary would be looked for at each character.
_INPUT_HASH = pattern(r":(?:(?<=\bfile:)|(?<=\bdir:)|(?<=\bmulti:))[0-9a-f]{64}\b")


def instruction(created_by: str | None) -> str | None:
    """Returns an instruction without the hash of its inputs, so that a COPY of other files gives an equal line."""
    return None if created_by is None else _INPUT_HASH.sub("", created_by)


def common_base_length(before: Image, after: Image) -> int:
    """Returns the number of lowest layers that both images share, by what they state."""
    count = 0
    for a, b in zip(before.layers, after.layers, strict=False):
        if layer_identity(a) is None or layer_identity(a) != layer_identity(b):
            break
        count += 1
    return count
