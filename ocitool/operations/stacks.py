"""An image with the indexes of its layers: what two images are compared by when one is to be written out of the other."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from ocitool.errors import OcitoolError, UnsupportedError
from ocitool.images.image import Image, Layer
from ocitool.images.indexing import Indexer, readable
from ocitool.images.tree import Tree
from ocitool.layers.index import LayerIndex
from ocitool.spec import mediatypes


class Stack:
    """`indexes`: with diff_ids and contents computed from the bytes, as whoever writes by them needs them."""

    def __init__(self, image: Image, indexes: Sequence[LayerIndex]) -> None:
        self.image = image
        self.indexes = tuple(indexes)

    @property
    def layers(self) -> tuple[Layer, ...]:
        return self.image.layers

    @cached_property
    def tree(self) -> Tree:
        return Tree(self.indexes)


def stacks(images: Sequence[Image], indexer: Indexer) -> list[Stack]:
    """Each image with its indexes; all layers of all of them are read at once, equal ones once."""
    for image in images:
        for layer in image.layers:
            refuse_unreadable(image, layer)
    found = iter(indexer.computed([(image, layer) for image in images for layer in image.layers]))
    return [Stack(image, [next(found) for _ in image.layers]) for image in images]


def refuse_unreadable(image: Image, layer: Layer) -> None:
    """Layers that are no file system, or none that can be read here: `UnsupportedError`, or `NotFoundError`."""
    where = f"{image.where}: layer {layer.number}"
    descriptor = image.manifest.layers[layer.number] if image.manifest else None
    if layer.blob is None and (mediatypes.is_foreign(layer.media_type) or (descriptor is not None and descriptor.urls)):
        raise UnsupportedError("a foreign layer: its bytes are kept elsewhere", where)
    if descriptor is not None and layer.media_type and mediatypes.layer_codec(layer.media_type) is None:
        raise UnsupportedError(f"a layer of the type {layer.media_type} cannot be worked on", where)
    try:
        readable(layer)
    except OcitoolError as error:
        raise error.at(where) from None
