"""What an image begins with: whether another one is its base, for who writes, and how much two have in common, as they say."""

from __future__ import annotations

import itertools
import re

from ocitool.errors import UsageError
from ocitool.images.image import Image, Layer
from ocitool.operations import pieces
from ocitool.task import Task


def base_layers(image: Image, base: Image, task: Task) -> int:
    """How many layers of the image are the base's, by diff_ids that are computed where the stored blobs are not the same.
    `UsageError` where the base is not what the image begins with."""
    for mine, other in itertools.zip_longest(image.layers, base.layers):
        if other is None:
            break
        if mine is None:
            raise UsageError(
                f"not a base of the image: it has {len(base.layers)} layers, the image {len(image.layers)}", base.where
            )
        if image.manifest and base.manifest and mine.digest == other.digest:
            continue  # both manifests name this very blob, whatever it holds
        if _stated_otherwise(mine, other) or pieces.diff_id(image, mine, task) != pieces.diff_id(base, other, task):
            raise UsageError(f"not a base of the image: layer {mine.number} is another one", base.where)
    return len(base.layers)


def _stated_otherwise(mine: Layer, other: Layer) -> bool:
    """Whether the images themselves say that these layers differ: then nothing has to be read."""
    a, b = mine.diff_id, other.diff_id
    return a is not None and b is not None and a.algorithm == b.algorithm and a != b


def key(layer: Layer) -> str | None:
    """What a layer is known by: its stated diff_id, else its digest, else the file it is in."""
    known = layer.diff_id or layer.digest
    return str(known) if known else (layer.blob.identity if layer.blob else None)


_INPUT_HASH = re.compile(r"\b(file|dir|multi):[0-9a-f]{64}\b")


def instruction(created_by: str | None) -> str | None:
    """An instruction without the hash of its inputs, so that a COPY of other files is still the same line."""
    return None if created_by is None else _INPUT_HASH.sub(r"\1", created_by)


def common_base(before: Image, after: Image) -> int:
    """How many lowest layers both images share."""
    count = 0
    for a, b in zip(before.layers, after.layers, strict=False):
        if key(a) is None or key(a) != key(b):
            break
        count += 1
    return count
