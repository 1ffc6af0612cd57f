"""Everything that a descriptor leads to: documents, configurations and layers, each digest once."""

from __future__ import annotations

from typing import NamedTuple

from ocitool import limits
from ocitool.blob import Blob, BytesBlob, missing_blob
from ocitool.digest import Digest, verified
from ocitool.errors import CancelledError, IntegrityError, LimitError, NotFoundError, OcitoolError
from ocitool.images.image import document_bytes, read_entry
from ocitool.spec import mediatypes
from ocitool.spec.manifest import Descriptor, Index, InvalidDescriptor, Manifest, referenced_descriptors
from ocitool.transports.source import Source


class Closure(NamedTuple):
    """What a descriptor leads to.

    - documents: manifests and indexes, verified, the root first.
    - blobs: what manifests name, and what indexes list of other types; None if it is missing.
    - absent: descriptors that an index lists and whose content is missing; they stay listed.
    - manifests: the manifests that were read, with their descriptors.
    - others: descriptors that an index lists and that are neither manifest nor index.
    - invalid: entries that are not valid descriptors; they stay in the document that lists them, and what they would
      lead to is not included.
    """

    documents: tuple[BytesBlob, ...]
    blobs: tuple[tuple[Descriptor, Blob | None], ...]
    absent: tuple[Descriptor, ...]
    manifests: tuple[tuple[Descriptor, Manifest], ...]
    others: tuple[Descriptor, ...]
    invalid: tuple[InvalidDescriptor, ...]


def closure(source: Source, root: Descriptor, damaged: list[OcitoolError] | None = None) -> Closure:
    """Returns everything that `root` leads to.

    `damaged` takes the errors of what cannot be read below the root, which is then left out; without it they are
    raised. Raises `NotFoundError` if the root itself is missing, `IntegrityError`, `FormatError`, `LimitError`.
    """
    found = _Collector(source)
    stack = [(root, 0)]
    while stack:
        descriptor, depth = stack.pop()
        if descriptor.digest in found.documents:
            continue
        if depth > limits.INDEX_DEPTH:
            raise LimitError(f"indexes nested more than {limits.INDEX_DEPTH} deep", source.where)
        if len(found.documents) > limits.INDEX_MANIFESTS:
            raise LimitError(f"more than {limits.INDEX_MANIFESTS} manifests", source.where)
        try:
            document = found.read(descriptor)
        except NotFoundError:
            if depth == 0:
                raise
            found.absent.append(descriptor)
            continue
        except CancelledError:
            raise
        except OcitoolError as error:
            if damaged is None or depth == 0:
                raise
            damaged.append(error)
            continue
        if isinstance(document, Index):
            found.invalid += document.invalid
            stack += [(child, depth + 1) for child in reversed(document.manifests)]
    return Closure(
        tuple(found.documents.values()), tuple(found.blobs.values()), tuple(found.absent), tuple(found.manifests),
        tuple(found.others), tuple(found.invalid),
    )  # fmt: skip


class _Collector:
    """Collects what was found so far, each digest once."""

    def __init__(self, source: Source) -> None:
        self.documents: dict[Digest, BytesBlob] = {}
        self.blobs: dict[Digest, tuple[Descriptor, Blob | None]] = {}
        self.absent: list[Descriptor] = []
        self.manifests: list[tuple[Descriptor, Manifest]] = []
        self.others: list[Descriptor] = []
        self.invalid: list[InvalidDescriptor] = []
        self._source = source

    def read(self, descriptor: Descriptor) -> Manifest | Index | None:
        """Reads what a descriptor leads to, and returns it if it is a manifest or index. Raises `NotFoundError` if it
        is missing."""
        document = read_entry(self._source, descriptor)
        if document is None:
            self._read_other(descriptor)
            return None
        self.documents[descriptor.digest] = BytesBlob(document.raw, descriptor.digest)
        if isinstance(document, Manifest):
            self.manifests.append((descriptor, document))
            for named in (document.config, *document.layers):
                if named.digest not in self.blobs:
                    self.blobs[named.digest] = (named, _blob(self._source, named))
        return document

    def _read_other(self, descriptor: Descriptor) -> None:
        """Collects content of another type, and what it is known to lead to."""
        source, digest = self._source, descriptor.digest
        if descriptor.media_type not in mediatypes.OTHER_MANIFESTS:
            if digest not in self.blobs:
                blob = _blob(source, descriptor)
                if blob is None:
                    raise missing_blob("blob", digest, source.where)
                if not blob.remote and mediatypes.layer_codec(descriptor.media_type) is None:
                    _verify(blob, descriptor, source.where)
                self.blobs[digest] = (descriptor, blob)
                self.others.append(descriptor)
            return
        raw = document_bytes(source, descriptor, "manifest")
        self.documents[digest] = BytesBlob(raw, digest)
        self.others.append(descriptor)
        for named in referenced_descriptors(raw, f"{source.where}: manifest {digest}", descriptor.media_type):
            if named.digest in self.blobs:
                continue
            blob = source.blob(named) if not named.size else _blob(source, named)
            if blob is None:
                self.absent.append(named)
            else:
                self.blobs[named.digest] = (named._replace(size=blob.size), blob)


def _verify(blob: Blob, descriptor: Descriptor, where: str) -> None:
    """Hashes a blob that nothing later will read. Raises `IntegrityError`."""
    try:
        for _ in verified(blob.chunks(), descriptor.digest, descriptor.size):
            pass
    except OcitoolError as error:
        raise error.at(f"{where}: blob {descriptor.digest}") from None


def _blob(source: Source, descriptor: Descriptor) -> Blob | None:
    blob = source.blob(descriptor)
    if blob is None:
        embedded = descriptor.embedded()
        return BytesBlob(embedded, descriptor.digest) if embedded is not None else None
    if blob.size != descriptor.size:
        raise IntegrityError(
            f"{blob.size} bytes where {descriptor.size} are stated", f"{source.where}: blob {descriptor.digest}"
        )
    return blob
