"""The indexes of an image's layers: from the cache, by seeking, or by one pass over the bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ocitool.blob import Blob, BytesBlob, expected, label
from ocitool.digest import Digest, verified
from ocitool.errors import CancelledError, IntegrityError, NotFoundError, OcitoolError, UnsupportedError
from ocitool.images.image import Image, Layer
from ocitool.layers import codecs, magic
from ocitool.layers.cache import IndexCache, within_limits
from ocitool.layers.index import LayerIndex
from ocitool.layers.scan import hash_rows, index_headers, index_layer, index_layer_unhashed
from ocitool.layers.tar import ODD_TIME
from ocitool.spec import mediatypes
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
            task.remark("cache", cache.refused)

    def indexes(self, image: Image, layers: Sequence[Layer] | None = None) -> list[LayerIndex]:
        """The indexes of these layers (all by default), several read at once. Contents may be unknown: see `with_hashes`."""
        return self.indexes_of([(image, layer) for layer in (image.layers if layers is None else layers)])

    def indexes_of(self, wanted: Sequence[tuple[Image, Layer]]) -> list[LayerIndex]:
        """As `indexes`, over layers of several images."""
        return self._read_all(wanted, self._read_listing)

    def computed_indexes(self, wanted: Sequence[tuple[Image, Layer]]) -> list[LayerIndex]:
        """As `pairs`, with diff_ids and contents that were computed from the bytes, now or when they were cached."""
        return self._read_all(wanted, self._read_hashed)

    def unhashed_indexes(self, image: Image, layers: Sequence[Layer]) -> list[LayerIndex]:
        """As `indexes`, for one who reads the bytes of these layers afterwards, and verifies them then: what is not known yet
        is unpacked and not hashed."""
        return self._read_all([(image, layer) for layer in layers], self._read_unhashed)

    def with_hashes(self, layer: Layer, index: LayerIndex, rows: Sequence[int]) -> LayerIndex:
        """The index with the contents of these rows known."""
        missing = [row for row in rows if index.content(row) is None]
        if not missing:
            return index
        assert layer.blob is not None
        found = hash_rows(index, layer.blob, missing, self.task)
        self._held[_key(layer, self.verify)] = found
        return found

    def _read_all(self, wanted: Sequence[tuple[Image, Layer]], read: Read) -> list[LayerIndex]:
        coming = {_key(layer, self.verify): layer.blob for _, layer in wanted if layer.blob is not None}
        self.task.expect(expected(blob for key, blob in coming.items() if self._reads_whole_blob(key, blob, read)))
        first: dict[str, int] = {}  # a layer that is listed twice is read once
        for number, (_, layer) in enumerate(wanted):
            first.setdefault(_key(layer, self.verify), number)
        numbers = list(first.values())
        failed: list[OcitoolError] = []

        def attempt(number: int) -> LayerIndex | None:
            """Keeps an error instead of raising it, which in `map` would cancel the task: other images can still be read."""
            if failed:
                return None
            try:
                return self._index(*wanted[number], read)
            except CancelledError:
                raise
            except OcitoolError as error:
                failed.append(error)
                return None

        indexes = zip(numbers, self.task.map(attempt, numbers), strict=True)
        found = {number: index for number, index in indexes if index is not None}
        if failed:
            raise failed[0]
        return [found[n] if n in found else self._index(*pair, read) for n, pair in enumerate(wanted)]

    def _index(self, image: Image, layer: Layer, read: Read) -> LayerIndex:
        where = f"{image.where}: layer {layer.number}"
        held = self._held.get(_key(layer, self.verify))
        if held is not None and layer.type.content != "tar":
            held = None  # what these bytes are is for this layer's own type to say
        if held is None:
            try:
                blob, algorithm = readable_blob(layer)
                held = self._cached(layer, blob, algorithm, read)
                if held is None:
                    held = read(blob, algorithm)
                notice_odd_times(held, where, self.task)
            except OcitoolError as error:
                raise error.at(where) from None
            self._held[_key(layer, self.verify)] = held
        stated = layer.diff_id if self._computes_diff_id(layer, held, read) else None
        if stated is not None and held.diff_id is not None and held.diff_id != stated:
            raise IntegrityError(f"unpacks to {held.diff_id}, the configuration states {layer.diff_id}", where)
        return held

    # What a cache knows: it may save work and never change an answer

    def _cached(self, layer: Layer, blob: Blob, algorithm: str, read: Read) -> LayerIndex | None:
        """The index that was once computed from these very bytes.

        A digest names a blob, and what stands under the name here may be damaged since, or in this copy: bytes on this machine
        are hashed before they are believed by it. Those of a registry are not fetched for it.
        """
        if self.verify:
            return None
        hashed = False
        found = self._cache.find_bytes(layer.digest, blob.identity, algorithm)
        if found is None and layer.digest is not None and (blob.remote or not self._by_headers(blob, read)):
            found = self._cache.find(layer.digest, None, algorithm)
            hashed = found is not None and not blob.remote
            if found is not None and hashed:
                if not self._matches_digest(blob, layer.digest):
                    return None
                self._cache.know(found, blob.identity)
        if found is None or not within_limits(found, blob.size):
            return None
        if not hashed:
            self.task.spare(label(blob), blob.size)
        return found

    def _reads_whole_blob(self, key: str, blob: Blob, read: Read) -> bool:
        """Whether all bytes of the blob will be read, unless a cache knows it."""
        return key not in self._held and not self._by_headers(blob, read)

    def _matches_digest(self, blob: Blob, digest: Digest) -> bool:
        """Whether the blob's bytes are what its digest says."""
        try:
            for chunk in verified(blob.chunks(), digest, blob.size):
                self.task.check()
                self.task.advance(digest.short, len(chunk), blob.size)
        except IntegrityError:
            return False
        return True

    def _by_headers(self, blob: Blob, read: Read) -> bool:
        """Whether a layer is indexed without reading its contents, which costs less than hashing it."""
        return read != self._read_hashed and not self.verify and not blob.remote and codecs.of(blob) == "none"

    def reads_headers_only(self, layer: Layer, index: LayerIndex) -> bool:
        """Whether `indexes` and `pairs` read nothing but headers of this layer if no cache knows it. Then neither its diff_id
        nor contents that were not asked for may show in an answer, which else would depend on what was done before."""
        remote = layer.blob is not None and layer.blob.remote
        return not self.verify and not remote and index.codec == "none"

    def _computes_diff_id(self, layer: Layer, index: LayerIndex, read: Read) -> bool:
        """Whether this way of reading computes the diff_id if no cache knows it."""
        if read == self._read_unhashed:
            return self.verify or (layer.blob is not None and layer.blob.remote)
        return read == self._read_hashed or not self.reads_headers_only(layer, index)

    # How a layer is read that no cache knows

    def _read_hashed(self, blob: Blob, algorithm: str) -> LayerIndex:
        index = index_layer(blob, self.task, algorithm=algorithm)
        self._cache.keep(index, blob.identity)
        return index

    def _read_listing(self, blob: Blob, algorithm: str) -> LayerIndex:
        if self._by_headers(blob, self._read_listing):  # of a remote one each header would be a request
            return index_headers(blob)
        return self._read_hashed(blob, algorithm)

    def _read_unhashed(self, blob: Blob, algorithm: str) -> LayerIndex:
        return self._read_hashed(blob, algorithm) if self.verify or blob.remote else index_layer_unhashed(blob, self.task)


_MAX_NAMED = 3


def notice_odd_times(index: LayerIndex, where: str, task: Task) -> None:
    for text in odd_times(index, where):
        task.notice("time", text)


def odd_times(index: LayerIndex, where: str) -> list[str]:
    """Notices about the times that the index holds in place of those that the layer states: two of them may differ and compare
    equal, and what is made of an entry has the one of the index."""
    odd = [note for note in index.notes if note.rule == ODD_TIME]
    texts = [f"{where}: /{note.path.decode('utf-8', 'backslashreplace')}: {note.text}" for note in odd[:_MAX_NAMED]]
    if len(odd) > _MAX_NAMED:
        more = len(odd) - _MAX_NAMED + index.notes_dropped
        texts.append(f"{where}: {more:,} more entries have such modification times: validate lists them")
    return texts


def readable_blob(layer: Layer) -> tuple[Blob, str]:
    """The layer's blob and the algorithm of its diff_id, if this is a layer that can be read at all."""
    blob = layer.blob
    if blob is None:
        raise NotFoundError(f"the layer {layer.digest or layer.number} is not here")
    refuse_other_than_tar(layer)
    algorithm = layer.diff_id.algorithm if layer.diff_id else "sha256"
    Digest(algorithm, "").hasher()  # a diff_id that cannot be checked is no base to stand on
    return blob, algorithm


def refuse_other_than_tar(layer: Layer, *, stated: bool = False) -> None:
    """`UnsupportedError` for a layer that is no tar of files, as `Layer.type` has it; one of an unknown type is looked into.
    `stated`: what its media type does not state to be one is refused whatever it is, since it is to be written."""
    kind = layer.type
    if stated and mediatypes.layer_codec(layer.media_type) is None and kind.tar:
        kind = mediatypes.LayerType("unknown", None)
    if kind.tar:
        return
    what, why = mediatypes.CONTENTS[kind.content], "it holds no file system that can be read here"
    if kind.content == "encrypted":
        why = "its content cannot be read"
    elif kind.content == "unknown":
        why = "it cannot be worked on"
        if layer.blob is not None and not stated:
            head = unpacked_head(layer.blob)
            if magic.is_tar(head):
                return
            found = magic.known(head)
            what, why = found.name if found is not None else what, "it is not a tar archive of files"
    type_text = f" ({layer.media_type})" if layer.media_type else ""
    raise UnsupportedError(f"layer {layer.number} is {what}{type_text}: {why}")


def unpacked_head(blob: Blob) -> BytesBlob:
    """The first bytes of what a blob unpacks to. Raises what its decoder raises."""
    return BytesBlob(next(codecs.decode(blob.chunks(), codecs.of(blob)), b""))


def _key(layer: Layer, verify: bool) -> str:
    """What makes two layers one read: the same bytes of a file, or (unless verifying) the same claimed digest."""
    if layer.digest is not None and not verify:
        return str(layer.digest)
    return (layer.blob.identity if layer.blob else None) or f"memory {id(layer.blob)}"


