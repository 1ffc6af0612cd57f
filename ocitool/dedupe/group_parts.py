"""The parts of what has one name in a source besides its images: indexes, attestations, and what an artifact keeps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ocitool.blob import Blob, BytesBlob
from ocitool.errors import FormatError, NotFoundError, OcitoolError
from ocitool.images.closure import Closure, closure
from ocitool.images.image import Image, Layer
from ocitool.images.select import Group, Target
from ocitool.spec.manifest import Descriptor, Manifest, parse_descriptor
from ocitool.transports.source import Source


def layer_key(layer: Layer, label: str) -> str:
    """Returns the key of a layer's blob: its digest; without one, its diff_id if it is stored uncompressed, else
    diff_id, compression and size."""
    if layer.digest is not None:
        return str(layer.digest)
    if layer.diff_id is None:
        return f"{label} layer {layer.number}"
    return str(layer.diff_id) if layer.compression in ("none", None) else f"{layer.diff_id}+{layer.compression}+{layer.size}"


def is_embedded(descriptor: Descriptor, blob: Blob) -> bool:
    """Returns whether a blob exists only in the document that embeds it, and so is counted with the document."""
    return isinstance(blob, BytesBlob) and "data" in descriptor.fields


class GroupParts:
    """The parts of a group besides its images: indexes and attestations (`rest`), and the blobs of an artifact's subject
    (`held`). `kept`: stored bytes of each configuration."""

    def __init__(self, source: Source, found: Target, group: Group, images: Sequence[Image]) -> None:
        self._found = found
        self._group = group
        self._source = source
        self.damaged: list[OcitoolError] = []
        """Errors of parts that cannot be read; the rest is counted."""
        self._closures: tuple[Closure, ...] = ()
        if found.document is not None:
            roots = [entry.descriptor for entry in group.entries if entry.present]
            self._closures = tuple(closure(source, root, self.damaged) for root in roots)
            self.damaged += [one.error(source.where) for part in self._closures for one in part.invalid]
        self.kept = {
            image.manifest.config.digest: self._stored(image.manifest.config) for image in images if image.manifest is not None
        }
        self.held = self._held()

    def key(self, images: Sequence[Image]) -> object:
        """Returns a key that is equal for the same image in another location."""
        if self._group.record is None:
            digests = tuple(entry.descriptor.digest for entry in self._group.entries)
            return digests[0] if len(digests) == 1 else digests
        return " ".join([images[0].image_id, *(layer_key(layer, "") for layer in images[0].layers)])

    def _stored(self, descriptor: Descriptor) -> int:
        """Returns the stored bytes of a blob: 0 if its descriptor embeds it."""
        if "data" not in descriptor.fields:
            return descriptor.size
        blob = self._source.blob(descriptor)
        return 0 if blob is None or is_embedded(descriptor, blob) else descriptor.size

    def rest(self, images: Sequence[Image]) -> Iterator[tuple[Descriptor, Blob | None]]:
        """Yields the blobs of the group that are not part of the images."""
        if not self._closures:
            return
        done = {image.digest for image in images}
        layers = {layer.digest for image in images for layer in image.layers}
        configs = {image.manifest.config.digest for image in images if image.manifest is not None}
        for one in self._closures:
            for document in one.documents:
                if document.digest is not None and document.digest not in done:
                    yield Descriptor("", document.digest, document.size, {}), document
            for named, blob in one.blobs:
                if named.digest not in layers and named.digest not in configs:
                    yield named, blob

    def _held(self) -> list[tuple[Descriptor, Blob | None]]:
        """Returns the blobs of the subject of an artifact, which `layout gc` keeps because of it."""
        manifest = self._found.entries[0].document if len(self._found.entries) == 1 else None
        subject = manifest.fields.get("subject") if isinstance(manifest, Manifest) else None
        if not isinstance(subject, dict) or self._source.remote:
            return []
        try:
            found = closure(self._source, parse_descriptor(subject, self._source.where))
        except (NotFoundError, FormatError):
            return []
        documents = [(Descriptor("", one.digest, one.size, {}), one) for one in found.documents if one.digest is not None]
        return [*documents, *found.blobs]
