"""Where the blobs of an image are found that its source lacks, or that are nearer elsewhere: the destination, and what `--with`
names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ocitool.blob import Blob
from ocitool.digest import Digest
from ocitool.images.image import Image
from ocitool.pipeline.fallback_blobs import FallbackBlobs
from ocitool.pipeline.session import Session
from ocitool.task import OneAtATime
from ocitool.transports.sink import Sink


class BlobLookup:
    """Looks for blobs at an open destination (`remote`: over a network) and in what `--with` names (`references`), which is
    opened when it is first asked. `fallback_sizes`: the sizes of the blobs that were found there."""

    def __init__(self, sink: Sink, references: Sequence[str], session: Session, *, remote: bool) -> None:
        self.references = references
        self.fallback_sizes: dict[Digest, int] = {}
        self._sink = sink
        self._session = session
        self._remote = remote
        self._opened: FallbackBlobs | None = None
        self._turns = OneAtATime(session.task)

    @property
    def fallback(self) -> FallbackBlobs:
        """What `--with` names."""
        if self._opened is None:
            with self._turns.turn("fallback"):  # layers ask from several threads
                self._opened = self._opened or FallbackBlobs(self.references, self._session, self._sink.spool)
        return self._opened

    def at_destination(self, digest: Digest) -> Blob | None:
        """Returns a blob that the destination has, unverified."""
        return self._sink.blob(digest)

    def verified_blob(self, digest: Digest, size: int) -> Blob | None:
        """Returns a blob of this size that the destination has, to be relied on."""
        return self._sink.verified_blob(digest, size, verify=self._session.verify)

    def near(self, digest: Digest) -> Blob | None:
        """Returns a blob that is said to be on this machine: at the destination, or in what `--with` names."""
        there = self._sink.blob(digest) if not self._remote else None
        return there or self.fallback.stored(digest)

    def found(self, digest: Digest, size: int, blob: Blob | None) -> Blob | None:
        """Returns the source's blob, else the destination's, else that of `--with`, which then is hashed when it is written.
        What is here comes before the network. A damaged one of the destination comes last: what reads it says so."""
        if blob is not None and not blob.remote:
            return blob
        near = blob is None or not self._remote
        there = self.verified_blob(digest, size) if near else None
        if there is not None:
            return there
        found = self.fallback.near(digest, size) if blob is not None else self.fallback.blob(digest, size)
        if found is None:
            damaged = self._sink.blob(digest) if blob is None else None
            return damaged if damaged is not None and damaged.size == size else blob
        self.fallback_sizes[digest] = size
        return found

    def with_missing_layers(self, image: Image) -> Image:
        """Returns the image with the layers that its source lacks, but the destination has, or what `--with` names."""
        layers = [
            layer._replace(blob=self.found(layer.digest, layer.size, None))
            if layer.blob is None and layer.digest is not None
            else layer
            for layer in image.layers
        ]
        return image._replace(layers=tuple(layers))

    def others(self, blob: Blob) -> Iterator[Blob]:
        """Yields the blobs of `--with` that are said to be this one."""
        assert blob.digest is not None
        yield from self.fallback.all(blob.digest, blob.size)
