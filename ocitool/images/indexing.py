"""The indexes of an image's layers: from the cache, by seeking, or by one pass over the bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ocitool.blob import Blob
from ocitool.digest import Digest
from ocitool.errors import IntegrityError, NotFoundError, OcitoolError, UnsupportedError
from ocitool.images.image import Image, Layer
from ocitool.layers import codec
from ocitool.layers.cache import IndexCache
from ocitool.layers.index import LayerIndex
from ocitool.layers.scan import complete, listing, outline, scan
from ocitool.task import Task

Read = Callable[[Blob, str], LayerIndex]
"""A layer's index from its blob and the algorithm of its diff_id."""


class Indexer:
    """Reads a layer at most once a run. `verify`: read and hash every layer, believe no cache."""

    def __init__(self, cache: IndexCache, task: Task, *, verify: bool = False) -> None:
        self.verify = verify
        self.task = task
        self._cache = cache
        self._held: dict[str, LayerIndex] = {}
        if cache.refused:
            task.notice("cache", cache.refused)

    def indexes(self, image: Image, layers: Sequence[Layer] | None = None) -> list[LayerIndex]:
        """The indexes of these layers (all by default), several read at once. Contents may be unknown: see `contents`."""
        return self.pairs([(image, layer) for layer in (image.layers if layers is None else layers)])

    def pairs(self, wanted: Sequence[tuple[Image, Layer]]) -> list[LayerIndex]:
        """As `indexes`, over layers of several images."""
        return self._all(wanted, self._listed)

    def computed(self, wanted: Sequence[tuple[Image, Layer]]) -> list[LayerIndex]:
        """As `pairs`, with diff_ids and contents that were computed from the bytes, now or when they were cached."""
        return self._all(wanted, self._scanned)

    def outlines(self, image: Image, layers: Sequence[Layer]) -> list[LayerIndex]:
        """As `indexes`, for one who reads the bytes of these layers afterwards, and verifies them then: what is not known yet
        is unpacked and not hashed."""
        return self._all([(image, layer) for layer in layers], self._outlined)

    def contents(self, layer: Layer, index: LayerIndex, rows: Sequence[int]) -> LayerIndex:
        """The index with the contents of these rows known."""
        missing = [row for row in rows if index.content(row) is None]
        if not missing:
            return index
        assert layer.blob is not None
        found = complete(index, layer.blob, missing, self.task)
        self._held[_key(layer, self.verify)] = found
        return found

    def _all(self, wanted: Sequence[tuple[Image, Layer]], read: Read) -> list[LayerIndex]:
        return self.task.map(lambda pair: self._index(*pair, read), list(wanted))

    def _index(self, image: Image, layer: Layer, read: Read) -> LayerIndex:
        held = self._held.get(_key(layer, self.verify))
        if held is None:
            where = f"{image.where}: layer {layer.number}"
            try:
                blob, algorithm = readable(layer)
                held = None if self.verify else self._cache.find(layer.digest, blob.identity, algorithm)
                if held is None:
                    held = read(blob, algorithm)
            except OcitoolError as error:
                raise error.at(where) from None
            self._held[_key(layer, self.verify)] = held
        if layer.diff_id is not None and held.diff_id is not None and held.diff_id != layer.diff_id:
            raise IntegrityError(
                f"unpacks to {held.diff_id}, the configuration states {layer.diff_id}",
                f"{image.where}: layer {layer.number}",
            )
        return held

    # How a layer is read that no cache knows

    def _scanned(self, blob: Blob, algorithm: str) -> LayerIndex:
        index = scan(blob, self.task, algorithm=algorithm)
        self._cache.keep(index, blob.identity)
        return index

    def _listed(self, blob: Blob, algorithm: str) -> LayerIndex:
        if self.verify or blob.remote or codec.of(blob) != "none":  # of a remote one each header would be a request
            return self._scanned(blob, algorithm)
        return listing(blob)

    def _outlined(self, blob: Blob, algorithm: str) -> LayerIndex:
        return self._scanned(blob, algorithm) if self.verify or blob.remote else outline(blob, self.task)


def readable(layer: Layer) -> tuple[Blob, str]:
    """The layer's blob and the algorithm of its diff_id, if this is a layer that can be read at all."""
    blob = layer.blob
    if blob is None:
        raise NotFoundError(f"the layer {layer.digest or layer.number} is not here")
    if layer.diff_id is None and layer.media_type and "layer" not in layer.media_type and "diff" not in layer.media_type:
        raise UnsupportedError(f"a layer of type {layer.media_type} holds no file system")
    if "+encrypted" in layer.media_type:
        raise UnsupportedError("the layer is encrypted")
    algorithm = layer.diff_id.algorithm if layer.diff_id else "sha256"
    Digest(algorithm, "").hasher()  # a diff_id that cannot be checked is no base to stand on
    return blob, algorithm


def _key(layer: Layer, verify: bool) -> str:
    """What makes two layers one read: the same bytes of a file, or (unless verifying) the same claimed digest."""
    if layer.digest is not None and not verify:
        return str(layer.digest)
    return (layer.blob.identity if layer.blob else None) or f"memory {id(layer.blob)}"


