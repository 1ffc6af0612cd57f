"""A layout of which layers that an image before has are not looked up again: most of those that images name are shared."""

from __future__ import annotations

from collections.abc import Iterator

from ocitool.blob import Blob, missing_blob
from ocitool.dedupe.collection import Collection, ImageSource
from ocitool.digest import Digest
from ocitool.spec.manifest import Descriptor
from ocitool.transports.source import Source


class SeenBlob:
    """A layer that an earlier image of the same source has. Its file is opened if its bytes are read."""

    __slots__ = ("_descriptor", "_source", "digest", "size")
    remote = False
    identity = None

    def __init__(self, source: Source, descriptor: Descriptor) -> None:
        self._source = source
        self._descriptor = descriptor
        self.digest: Digest | None = descriptor.digest
        self.size = descriptor.size

    def _opened(self) -> Blob:
        blob = self._source.blob(self._descriptor)
        if blob is None:
            raise missing_blob("blob", self.digest, self._source.where)
        return blob

    def pread(self, size: int, offset: int) -> bytes:
        return self._opened().pread(size, offset)

    def chunks(self, offset: int = 0) -> Iterator[bytes]:
        return self._opened().chunks(offset)


class SeenLayers:
    """A source on this machine, with `SeenBlob`s for layers that the collection has from the same place (`site`) with the
    size that the descriptor states."""

    def __init__(self, source: Source, collection: Collection, site: ImageSource) -> None:
        self.transport, self.where, self.remote = source.transport, source.where, source.remote
        self.index, self.records, self.names = source.index, source.records, source.names
        self.tell, self.manifests = source.tell, source.manifests
        self._source = source
        self._blobs = collection.blobs
        self._site = site

    def blob(self, descriptor: Descriptor) -> Blob | None:
        """Returns the blob under the descriptor's digest; None if it is absent."""
        known = self._blobs.get(str(descriptor.digest))
        if known is not None and known.seen is self._site and descriptor.size == known.stated_size == known.size:
            return SeenBlob(self._source, descriptor)
        return self._source.blob(descriptor)
