"""The indexes of an image's layers: from the cache, from tar headers alone, or by one pass over the bytes."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence

from ocitool.blob import Blob, BytesBlob, expected_sizes, label, missing_blob
from ocitool.digest import Digest, verified, wrong_diff_id
from ocitool.errors import CancelledError, IntegrityError, OcitoolError, UnsupportedError
from ocitool.images.image import Image, Layer
from ocitool.layers import codecs, magic
from ocitool.layers.cache import IndexCache, within_limits
from ocitool.layers.index import LayerIndex
from ocitool.layers.index_workers import IndexWorkers
from ocitool.layers.scan import hash_rows
from ocitool.layers.tar import ODD_TIME
from ocitool.spec import mediatypes
from ocitool.task import Task

Read = Callable[[Blob, str], LayerIndex]
"""A layer's index from its blob and the algorithm of its diff_id."""


class Indexer:
    """Returns indexes of layers; reads each layer at most once in a run. `verify`: every layer is read and hashed, no
    cache is used.

    A cache may save work and never changes an answer.
    """

    def __init__(self, cache: IndexCache, task: Task, *, verify: bool = False) -> None:
        self.verify = verify
        self.task = task
        self._cache = cache
        self._held: dict[str, LayerIndex] = {}
        self._workers = IndexWorkers(task)
        if cache.refused:
            task.remark("cache", cache.refused)

    def indexes(self, image: Image, layers: Sequence[Layer] | None = None) -> list[LayerIndex]:
        """Returns the indexes of `layers` (all by default); several are read at once. Contents of files may be unknown:
        see `with_hashes`."""
        return self.indexes_of([(image, layer) for layer in (image.layers if layers is None else layers)])

    def indexes_of(self, wanted: Sequence[tuple[Image, Layer]]) -> list[LayerIndex]:
        """As `indexes`, for layers of several images."""
        return self._read_all(wanted, self._read_listing)

    def computed_indexes(self, wanted: Sequence[tuple[Image, Layer]]) -> list[LayerIndex]:
        """As `indexes_of`; all diff_ids and contents are known, computed from the bytes now or when the index was
        cached."""
        return self._read_all(wanted, self._read_hashed)

    def unhashed_indexes(self, image: Image, layers: Sequence[Layer]) -> list[LayerIndex]:
        """As `indexes`, for a caller that reads and verifies these layers afterwards: what no cache knows is unpacked
        but not hashed."""
        return self._read_all([(image, layer) for layer in layers], self._read_unhashed)

    def with_hashes(self, layer: Layer, index: LayerIndex, rows: Iterable[int]) -> LayerIndex:
        """Returns the index with the content hashes of these rows known; reads the layer for those that are missing."""
        missing = array("I", (row for row in rows if index.content(row) is None))
        if not missing:
            return index
        assert layer.blob is not None
        found = hash_rows(index, layer.blob, missing, self.task)
        self._held[_key(layer, self.verify)] = found
        return found

    def kept_contents(self, index: LayerIndex) -> Mapping[int, bytes]:
        """Returns the contents of files that were kept when this index was computed, by row. What is missing must be read
        from the layer: all of it if nothing is cached or if verifying."""
        return {} if self.verify or index.diff_id is None else self._cache.find_contents(index.diff_id)

    def _read_all(self, wanted: Sequence[tuple[Image, Layer]], read: Read) -> list[LayerIndex]:
        coming = {_key(layer, self.verify): layer.blob for _, layer in wanted if layer.blob is not None}
        self.task.expect(expected_sizes(blob for key, blob in coming.items() if self._reads_whole_blob(key, blob, read)))
        first: dict[str, int] = {}  # a layer that is listed twice is read once
        for number, (_, layer) in enumerate(wanted):
            first.setdefault(_key(layer, self.verify), number)
        numbers = list(first.values())
        failed: list[OcitoolError] = []

        def attempt(number: int) -> LayerIndex | None:
            """Keeps an error instead of raising it, which in `map` would cancel the task: other images can still be
            read."""
            if failed:
                return None
            try:
                return self._index(*wanted[number], read)
            except CancelledError:
                raise
            except OcitoolError as error:
                failed.append(error)
                return None

        try:
            indexes = zip(numbers, self.task.map(attempt, numbers), strict=True)
        finally:
            self._workers.close()
        found = {number: index for number, index in indexes if index is not None}
        if failed:
            raise failed[0]
        return [found[n] if n in found else self._index(*pair, read) for n, pair in enumerate(wanted)]

    def _index(self, image: Image, layer: Layer, read: Read) -> LayerIndex:
        where = f"{image.where}: layer {layer.number}"
        held = self._held.get(_key(layer, self.verify))
        if held is not None and layer.type.content != "tar":
            held = None  # the same bytes may be refused for this layer's own media type
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
            raise wrong_diff_id(held.diff_id, layer.diff_id, where)
        return held

    # The cache

    def _cached(self, layer: Layer, blob: Blob, algorithm: str, read: Read) -> LayerIndex | None:
        """Returns the cached index that was computed from these very bytes, or None.

        A digest only names a blob: the local copy may be damaged. Bytes on this machine are therefore hashed before an
        index is taken by their digest. Those of a registry are not fetched for it.
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
                self._cache.record_bytes(found, blob.identity)
        if found is None or not within_limits(found, blob.size):
            return None
        if not hashed:
            self.task.unexpect(label(blob), blob.size)
        return found

    def _reads_whole_blob(self, key: str, blob: Blob, read: Read) -> bool:
        """Returns whether all bytes of the blob will be read, unless the cache has its index."""
        return key not in self._held and not self._by_headers(blob, read)

    def _matches_digest(self, blob: Blob, digest: Digest) -> bool:
        """Returns whether the blob's bytes have this digest. Reads them all."""
        try:
            for chunk in verified(blob.chunks(), digest, blob.size):
                self.task.check()
                self.task.advance(digest.short, len(chunk), blob.size)
        except IntegrityError:
            return False
        return True

    def _by_headers(self, blob: Blob, read: Read) -> bool:
        """Returns whether the layer is indexed from its headers alone, which costs less than hashing it."""
        return read != self._read_hashed and not self.verify and not blob.remote and codecs.detected(blob) == "none"

    def reads_headers_only(self, layer: Layer, index: LayerIndex) -> bool:
        """Returns whether `indexes` and `indexes_of` read only the headers of this layer if no cache has its index.

        If so, a report may show neither its diff_id nor contents that it did not ask for: both would depend on earlier
        runs.
        """
        remote = layer.blob is not None and layer.blob.remote
        return not self.verify and not remote and index.codec == "none"

    def _computes_diff_id(self, layer: Layer, index: LayerIndex, read: Read) -> bool:
        """Returns whether this way of reading computes the diff_id if no cache has the index."""
        if read == self._read_unhashed:
            return self.verify or (layer.blob is not None and layer.blob.remote)
        return read == self._read_hashed or not self.reads_headers_only(layer, index)

    # Ways to read a layer whose index is not cached

    def _read_hashed(self, blob: Blob, algorithm: str) -> LayerIndex:
        index, kept, packed = self._workers.index(blob, "hashed", algorithm=algorithm, keep=self._cache.stores)
        self._cache.store(index, blob.identity, kept, packed)
        return index

    def _read_listing(self, blob: Blob, algorithm: str) -> LayerIndex:
        if self._by_headers(blob, self._read_listing):  # of a remote one each header would be a request
            return self._workers.index(blob, "headers").found
        return self._read_hashed(blob, algorithm)

    def _read_unhashed(self, blob: Blob, algorithm: str) -> LayerIndex:
        if self.verify or blob.remote:
            return self._read_hashed(blob, algorithm)
        return self._workers.index(blob, "unhashed").found


_MAX_NAMED = 3


def notice_odd_times(index: LayerIndex, where: str, task: Task) -> None:
    """Adds the notices of `odd_times` to the task."""
    for text in odd_times(index, where):
        task.notice("time", text)


def odd_times(index: LayerIndex, where: str) -> list[str]:
    """Returns notices about modification times that an index cannot hold, at most a few with their path.

    The index holds the nearest time instead: two such times may compare equal, and an entry that is written gets the
    index's.
    """
    odd = [note for note in index.notes if note.rule == ODD_TIME]
    texts = [f"{where}: /{note.path.decode('utf-8', 'backslashreplace')}: {note.text}" for note in odd[:_MAX_NAMED]]
    if len(odd) > _MAX_NAMED:
        more = len(odd) - _MAX_NAMED + index.notes_dropped
        texts.append(f"{where}: {more:,} more entries have such modification times: validate lists them")
    return texts


def readable_blob(layer: Layer) -> tuple[Blob, str]:
    """Returns the layer's blob and the algorithm of its diff_id.

    Raises `NotFoundError` if the blob is missing, `UnsupportedError` if the layer is not a tar or the algorithm is
    unknown.
    """
    blob = layer.blob
    if blob is None:
        raise missing_blob("layer", layer.digest or layer.number)
    refuse_other_than_tar(layer)
    algorithm = layer.diff_id.algorithm if layer.diff_id else "sha256"
    Digest(algorithm, "").hasher()  # raises for an algorithm that cannot be computed
    return blob, algorithm


def refuse_other_than_tar(layer: Layer, *, stated: bool = False) -> None:
    """Raises `UnsupportedError` for a layer that is not a tar of files, by `Layer.type`; the bytes decide for an
    unknown media type.

    `stated`: the layer is to be written, so a media type that does not state a tar layer is refused whatever the bytes
    are.
    """
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
            found = magic.recognise(head)
            what, why = found.name if found is not None else what, "it is not a tar archive of files"
    type_text = f" ({layer.media_type})" if layer.media_type else ""
    raise UnsupportedError(f"layer {layer.number} is {what}{type_text}: {why}")


def unpacked_head(blob: Blob) -> BytesBlob:
    """Returns the first bytes that a blob unpacks to. Raises what its decoder raises."""
    return BytesBlob(next(codecs.decode(blob.chunks(), codecs.detected(blob)), b""))


def _key(layer: Layer, verify: bool) -> str:
    """Returns a key that is equal for layers that need only one read: the same bytes of a file, or (unless verifying)
    one stated digest."""
    if layer.digest is not None and not verify:
        return str(layer.digest)
    return (layer.blob.identity if layer.blob else None) or f"memory {id(layer.blob)}"
