"""An image with the indexes of its layers: what two images are compared by when one is to be written out of the other."""

from __future__ import annotations

from collections.abc import Sequence

from ocitool.blob import LEFT_OUT, Blob, missing_blob
from ocitool.digest import Digest
from ocitool.errors import FormatError, OcitoolError, UnsupportedError
from ocitool.images.image import Image, Layer
from ocitool.layers.index import LayerIndex
from ocitool.trees.indexing import Indexer, readable_blob, refuse_other_than_tar
from ocitool.trees.tree import Tree


class IndexedImage:
    """An image with an index of each layer. Diff_ids and contents in the indexes were computed from the bytes, so that
    images can be written by them."""

    def __init__(self, image: Image, indexes: Sequence[LayerIndex]) -> None:
        self.image = image
        self.indexes = tuple(indexes)
        self._tree: Tree | None = None

    @property
    def layers(self) -> tuple[Layer, ...]:
        return self.image.layers

    @property
    def tree(self) -> Tree:
        if self._tree is None:
            self._tree = Tree(self.indexes)
        return self._tree


def indexed_images(images: Sequence[Image], indexer: Indexer) -> list[IndexedImage]:
    """Returns each image with its indexes, and with layers that it lacks taken from another of the images. All layers
    are read in parallel, those with one digest once, from the nearest place. Raises `FormatError` for an image whose
    numbers of layers and diff_ids differ."""
    there: dict[Digest | None, Blob] = {
        layer.digest: layer.blob for image in images for layer in image.layers if layer.digest and layer.blob is not None
    }
    images = [
        image._replace(layers=tuple(layer._replace(blob=layer.blob or there.get(layer.digest)) for layer in image.layers))
        for image in images
    ]
    for image in images:
        if image.config.diff_ids and not image.aligned:
            raise FormatError("layers and diff_ids do not align", image.where, hint="ocitool validate says more")
        for layer in image.layers:
            refuse_unreadable(image, layer)
    wanted = [(image, layer) for image in images for layer in image.layers]
    nearest: dict[Digest | int, tuple[Image, Layer]] = {}
    for number, (image, layer) in enumerate(wanted):
        key = layer.digest or number
        if key not in nearest or _is_remote(nearest[key][1]):
            nearest[key] = image, layer
    indexer.computed_indexes(list(nearest.values()))  # held from now on, for all that state their digests
    found = iter(indexer.computed_indexes(wanted))
    return [IndexedImage(image, [next(found) for _ in image.layers]) for image in images]


def _is_remote(layer: Layer) -> bool:
    return layer.blob is not None and layer.blob.remote


def refuse_unreadable(image: Image, layer: Layer) -> None:
    """Layers that are no file system, or none that can be read here: `UnsupportedError`, or `NotFoundError`."""
    where = f"{image.where}: layer {layer.number}"
    if layer.blob is None and image.is_foreign(layer):
        raise UnsupportedError("a foreign layer: its bytes are kept elsewhere", where)
    try:
        refuse_other_than_tar(layer, stated=bool(image.manifest and layer.media_type))
        if layer.blob is None:
            raise missing_blob("layer", layer.digest or layer.number, hint=LEFT_OUT)
        readable_blob(layer)
    except OcitoolError as error:
        raise error.at(where) from None
