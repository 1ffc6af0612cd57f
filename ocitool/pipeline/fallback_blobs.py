"""Finds blobs that an image lacks in other images: by digest, or by unpacking a layer whose diff_id is that digest.

Unpacking finds uncompressed layers in a `docker save` archive, which states no digests of blobs, and in an image that
stores them compressed. What an image states of itself is a claim: code that writes such a blob hashes it."""

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
    """The blobs of several images. `references` are opened at once; those on this machine are asked first. `spool`
    returns a temporary file for a layer that must be unpacked."""

    def __init__(self, references: Sequence[str], reading: Session, spool: Callable[[], Temporary]) -> None:
        opened = [reading.open(reference, "layers") for reference in references]
        self._opened = sorted(opened, key=lambda one: one.source.remote)
        self._task: Task = reading.task
        self._spool = spool
        self._by_diff_id: dict[Digest, tuple[Layer, str]] | None = None
        self._turns = OneAtATime(reading.task)

    def stored(self, digest: Digest) -> Blob | None:
        """Returns a blob on this machine that its source states under this digest, or None. It is not hashed."""
        return self._by_digest(digest, None, remote=False)

    def near(self, digest: Digest, size: int) -> Blob | None:
        """Returns what `blob` returns, but only from sources on this machine."""
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
        """Returns a blob of this size that a source states under this digest, or None. Raises `IntegrityError` if a
        layer that is unpacked for it is not what its image states."""
        return self.near(digest, size) or self._by_digest(digest, size, remote=True)

    def all(self, digest: Digest, size: int) -> Iterator[Blob]:
        """Yields every blob of this size that a source states under this digest, those on this machine first."""
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
        """Returns a layer that unpacks to `diff_id`, with its digest and its blob, or None. Both digests are verified. A
        layer in a registry is fetched for that once."""
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
        """Returns layers by the diff_id that images state, each with its place for messages. The images are read at the
        first call."""
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
    """Yields all images of a source whose configurations are present."""
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
