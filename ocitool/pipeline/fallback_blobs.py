"""Blobs that an image lacks, out of other images: by digest, or unpacked from a layer whose diff_id is that digest.

The second is how an uncompressed layer is found in a `docker save` archive, which names no blobs, or in an image that stores it
compressed. What an image states of itself is a claim: whoever writes such a blob hashes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ocitool.atomic import SpooledBlob, Temporary
from ocitool.blob import Blob, BytesBlob, FileBlob
from ocitool.digest import Digest, hashed, verified
from ocitool.errors import FormatError, IntegrityError, NotFoundError, OcitoolError
from ocitool.images import select
from ocitool.images.image import Image, Layer, from_manifest
from ocitool.layers import codecs
from ocitool.pipeline.session import Session
from ocitool.spec.manifest import Descriptor, Manifest
from ocitool.task import OneAtATime, Task
from ocitool.transports.opening import Opened


class FallbackBlobs:
    """`references` are opened at once, those on this machine come first; `spool` gives a place for what must be unpacked."""

    def __init__(self, references: Sequence[str], reading: Session, spool: Callable[[], Temporary]) -> None:
        opened = [reading.open(reference, "layers") for reference in references]
        self._opened = sorted(opened, key=lambda one: one.source.remote)
        self._task: Task = reading.task
        self._spool = spool
        self._by_diff_id: dict[Digest, tuple[Layer, str]] | None = None
        self._turns = OneAtATime(reading.task)

    def stored(self, digest: Digest) -> Blob | None:
        """A blob of a place on this machine that says it is the one."""
        return self._by_digest(digest, None, remote=False)

    def near(self, digest: Digest, size: int) -> Blob | None:
        """As `blob`, of what is on this machine."""
        found = self._by_digest(digest, size, remote=False)
        if found is not None:
            return found
        layer, where = self._layers().get(digest, (None, ""))
        if layer is None or layer.blob is None or layer.blob.remote:
            return None
        if codecs.detected(layer.blob) == "none":
            return _named(layer.blob, digest) if layer.blob.size == size else None
        return self._unpacked(layer.blob, digest, size, where)

    def blob(self, digest: Digest, size: int) -> Blob | None:
        """A blob of this size that is said to be the one. Raises `IntegrityError` where a layer is not what its image says."""
        return self.near(digest, size) or self._by_digest(digest, size, remote=True)

    def all(self, digest: Digest, size: int) -> Iterator[Blob]:
        """Every blob of this size that is said to be the one, those on this machine first."""
        for opened in self._opened:
            found = opened.source.blob(Descriptor("", digest, size, {}))
            if found is not None and found.size == size:
                yield found

    def _by_digest(self, digest: Digest, size: int | None, *, remote: bool) -> Blob | None:
        for opened in self._opened:
            if opened.source.remote is remote:
                found = opened.source.blob(Descriptor("", digest, size or 0, {}))
                if found is not None and size in (None, found.size):
                    return found
        return None

    def same(self, diff_id: Digest) -> tuple[Layer, Digest, Blob] | None:
        """Returns a layer that unpacks to this, its digest and its blob; both were hashed. One of a registry is fetched for it,
        once."""
        layer, _ = self._layers().get(diff_id, (None, ""))
        if layer is None or layer.blob is None or layer.digest is None or not diff_id.checkable:
            return None
        stored, plain = layer.digest.hasher(), diff_id.hasher()

        try:  # a blob that is fetched is kept on this machine by `chunks`
            for _ in hashed(codecs.decode(hashed(layer.blob.chunks(), stored), codecs.detected(layer.blob), self._task), plain):
                self._task.check()
        except (FormatError, IntegrityError):
            return None
        if (stored.hexdigest(), plain.hexdigest()) != (layer.digest.encoded, diff_id.encoded):
            return None
        return layer, layer.digest, layer.blob

    def _layers(self) -> dict[Digest, tuple[Layer, str]]:
        """Layers by diff_id, with what names them, as images state them: these are read when one is first asked for."""
        if self._by_diff_id is None:
            with self._turns.turn("layers"):  # layers that lack something ask from several threads
                if self._by_diff_id is None:
                    self._by_diff_id = self._read()
        return self._by_diff_id

    def _read(self) -> dict[Digest, tuple[Layer, str]]:
        found: dict[Digest, tuple[Layer, str]] = {}
        for opened in self._opened:
            for image in images_of(opened):
                for layer in image.layers:
                    if layer.diff_id is not None and layer.blob is not None:
                        found.setdefault(layer.diff_id, (layer, f"{image.where}: layer {layer.number}"))
        return found

    def _unpacked(self, blob: Blob, digest: Digest, size: int, where: str) -> Blob:
        temporary = self._spool()
        try:
            for chunk in verified(codecs.decode(blob.chunks(), codecs.detected(blob), self._task), digest, size):
                self._task.check()
                temporary.write(chunk)
            return SpooledBlob(temporary, digest)
        except OcitoolError as error:
            temporary.discard()
            raise error.at(where) from None
        except BaseException:
            temporary.discard()
            raise


def _named(blob: Blob, digest: Digest) -> Blob:
    return blob.with_digest(digest) if isinstance(blob, FileBlob) else BytesBlob(blob.pread(blob.size, 0), digest)


def images_of(opened: Opened) -> Iterator[Image]:
    """All images of a source whose configurations are there."""
    for target in select.targets(opened):
        if target.image is not None:
            yield target.image
            continue
        for entry in target.entries:
            if isinstance(entry.document, Manifest) and entry.kind == "image":
                try:
                    yield from_manifest(opened.source, entry.descriptor, entry.document, ())
                except NotFoundError:
                    continue  # its configuration is not here, so no diff_ids are stated
