"""The layers of an image on their way into a draft: named by digests of bytes that were hashed, and unpacked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ocitool.blob import Blob, FileBlob, label, missing_blob, stream_once
from ocitool.digest import Digest, digest_of, hashed, verified, wrong_diff_id
from ocitool.errors import FormatError, IntegrityError, OcitoolError
from ocitool.images import drafts
from ocitool.images.image import Image, Layer
from ocitool.layers import codecs
from ocitool.spec import mediatypes
from ocitool.task import Task
from ocitool.transports.sink import OutputLayer


def is_hashed(image: Image, layer: Layer) -> bool:
    """Returns whether `kept` reads the layer to know its digests."""
    return image.manifest is None and layer.blob is not None and (layer.digest is None or layer.diff_id is None)


def kept(image: Image, layer: Layer, task: Task) -> OutputLayer:
    """Returns the layer unchanged. A layer of a docker archive that states no digests is hashed. Raises `IntegrityError`
    if the archive's configuration states another diff_id, `NotFoundError` if the layer's bytes are missing."""
    if image.manifest is not None:
        return drafts.kept(image, layer)
    if layer.blob is None:
        raise missing_blob("layer", layer.number, image.where)
    if not is_hashed(image, layer):
        return drafts.kept(image, layer)
    digest, diff_id = _measured(layer.blob, task)
    if layer.diff_id is not None and layer.diff_id.algorithm == "sha256" and diff_id != layer.diff_id:
        raise wrong_diff_id(diff_id, layer.diff_id, f"{image.where}: layer {layer.number}")
    if image.config.diff_ids and not image.aligned:
        raise FormatError("layers and diff_ids do not align", image.where)
    blob = layer.blob.with_digest(digest) if isinstance(layer.blob, FileBlob) else layer.blob
    return OutputLayer(digest, blob.size, layer.diff_id or diff_id, layer.media_type, "kept", blob)


def from_fallback(image: Image, lender: Image, layer: Layer, task: Task) -> OutputLayer:
    """Returns a layer of another image, unchanged, for use in this image: with the media type that this image's manifest
    needs, or its own if no media type states its compression."""
    found = kept(lender, layer, task)
    if lender.is_foreign(layer):
        return found._replace(origin="reused")
    codec = layer.compression or "none"
    media_type = drafts.layer_type(image, codec) if codec in mediatypes.SUFFIXES else layer.media_type
    descriptor = None if found.descriptor is None else {**found.descriptor, "mediaType": media_type}
    return found._replace(media_type=media_type, origin="reused", descriptor=descriptor)


def unhashed_layer(image: Image, layer: Layer) -> OutputLayer | None:
    """Returns an uncompressed layer of a docker archive under the diff_id that its configuration states, without hashing
    it; None for any other layer. The caller must hash it when it converts or writes it."""
    if image.manifest is not None or layer.digest is not None or layer.blob is None or not image.aligned:
        return None
    diff_id = layer.diff_id
    if diff_id is None or diff_id.algorithm != "sha256" or codecs.detected(layer.blob) != "none":
        return None
    where = f"{image.where}: layer {layer.number}"
    return OutputLayer(diff_id, layer.blob.size, diff_id, layer.media_type, "kept", layer.blob, stated=where)


class Claim(NamedTuple):
    """A plain layer that goes by the diff_id which its image's configuration states, and that was not hashed yet."""

    blob: Blob
    digest: Digest
    where: str

    def check(self, task: Task) -> None:
        """Hashes it. Raises the `IntegrityError` of `kept`."""
        try:
            found, _ = _measured(self.blob, task)
        except IntegrityError as error:
            raise error.at(self.where) from None
        if found != self.digest:
            raise wrong_diff_id(found, self.digest, self.where)


def _measured(blob: Blob, task: Task) -> tuple[Digest, Digest]:
    """Returns the digests of a blob's stored and of its uncompressed bytes."""
    chunks = with_progress(blob, blob.chunks(), task)
    compression = codecs.detected(blob)
    if compression == "none":
        found = digest_of(chunks)
        return found, found
    stored = hashlib.sha256()
    plain = digest_of(codecs.decode(hashed(chunks, stored), compression))
    return Digest("sha256", stored.hexdigest()), plain


def with_progress(blob: Blob, chunks: Iterable[bytes], task: Task) -> Iterator[bytes]:
    """Yields the chunks of a blob, reports their sizes as progress, and ends if the task is cancelled."""
    name = label(blob)
    for chunk in chunks:
        task.check()
        task.advance(name, len(chunk), blob.size)
        yield chunk


def diff_id(image: Image, layer: Layer, task: Task) -> Digest:
    """Returns the diff_id of a layer, computed from its verified bytes: the one that the configuration states is only a
    claim."""
    where = f"{image.where}: layer {layer.number}"
    if layer.blob is None:
        raise missing_blob("layer", layer.digest or layer.number, image.where)
    try:
        return digest_of(unpacked(layer.blob, task))
    except OcitoolError as error:
        raise error.at(where) from None


def unpacked(blob: Blob, task: Task) -> Iterator[bytes]:
    """Yields a layer's tar, which another thread unpacks ahead; its stored bytes are verified as they are read."""

    def decoded() -> Iterator[bytes]:
        stored = with_progress(blob, verified(stream_once(blob), blob.digest, blob.size), task)
        try:
            yield from codecs.decode(stored, codecs.detected(blob))
        except FormatError:
            for _ in stored:  # damaged, or made so: where the digest does not match, that is the error
                pass
            raise

    with task.ahead(decoded()) as pieces:
        yield from pieces
