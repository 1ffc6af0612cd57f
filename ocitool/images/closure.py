"""Everything that a descriptor leads to: documents, configurations, layers, each digest once."""

from __future__ import annotations

from typing import NamedTuple

from ocitool import limits
from ocitool.blob import Blob, BytesBlob
from ocitool.digest import Digest
from ocitool.errors import IntegrityError, LimitError, NotFoundError
from ocitool.images.image import document_bytes
from ocitool.spec.manifest import Descriptor, Index, Manifest, read
from ocitool.transports.source import Source


class Closure(NamedTuple):
    """`documents`: manifests and indexes, verified, what names another after it. `blobs`: what manifests name, None where it
    is not here. `absent`: manifests that an index names and that are not here; they stay named."""

    documents: tuple[BytesBlob, ...]
    blobs: tuple[tuple[Descriptor, Blob | None], ...]
    absent: tuple[Descriptor, ...]
    manifests: tuple[tuple[Descriptor, Manifest], ...]


def closure(source: Source, root: Descriptor) -> Closure:
    """Raises `NotFoundError` where the root is not here, `IntegrityError`, `FormatError`, `LimitError`."""
    documents: dict[Digest, BytesBlob] = {}
    blobs: dict[Digest, tuple[Descriptor, Blob | None]] = {}
    absent: list[Descriptor] = []
    manifests: list[tuple[Descriptor, Manifest]] = []
    stack = [(root, 0)]
    while stack:
        descriptor, depth = stack.pop()
        if descriptor.digest in documents:
            continue
        if depth > limits.INDEX_DEPTH:
            raise LimitError(f"indexes nested more than {limits.INDEX_DEPTH} deep", source.where)
        if len(documents) > limits.INDEX_MANIFESTS:
            raise LimitError(f"more than {limits.INDEX_MANIFESTS} manifests", source.where)
        try:
            raw = document_bytes(source, descriptor, "manifest")
        except NotFoundError:
            if depth == 0:
                raise
            absent.append(descriptor)
            continue
        documents[descriptor.digest] = BytesBlob(raw, descriptor.digest)
        where = f"{source.where}: manifest {descriptor.digest.algorithm}:{descriptor.digest.short}"
        document = read(raw, where, descriptor.media_type)
        if isinstance(document, Index):
            stack += [(child, depth + 1) for child in reversed(document.manifests)]
            continue
        manifests.append((descriptor, document))
        for named in (document.config, *document.layers):
            if named.digest not in blobs:
                blobs[named.digest] = (named, _blob(source, named))
    return Closure(tuple(documents.values()), tuple(blobs.values()), tuple(absent), tuple(manifests))


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
