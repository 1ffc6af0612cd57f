"""A repository as a source: the image or index under one tag or digest.

Manifests and configurations are fetched, unless another place has them (`reuse_documents`). Layers are fetched when
they are read, each once in a command: the bytes are kept in an anonymous temporary file as long as the blob is
referenced, unless they are only passed on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from ocitool import limits, reference
from ocitool.atomic import anonymous_temporary
from ocitool.blob import Blob, BytesBlob, FileBlob, OpenFile
from ocitool.digest import Digest, verified
from ocitool.errors import FormatError, IntegrityError, LimitError, NotFoundError, OcitoolError, TransportError
from ocitool.layers.codecs import SNIFF
from ocitool.reference import REGISTRY, Repository
from ocitool.spec import mediatypes
from ocitool.spec.document import serialised
from ocitool.spec.manifest import REF_NAME, Descriptor, Index, parse_descriptor, read
from ocitool.transports.registry import Registries, blobs, ranges
from ocitool.transports.registry.client import Client, RegistryDocument
from ocitool.transports.registry.document_cache import DocumentCache
from ocitool.transports.registry.scopes import pull_scope
from ocitool.transports.source import ArchiveNames, DockerImageRecord, Referrer, RemoteSource, SilentUntilOpened

_KEEP_SIZE = 64 * limits.KiB
_MEMORY_SIZE = 1 * limits.MiB
_COSIGN_SUFFIXES = ("sig", "att", "sbom")


class RegistrySource(SilentUntilOpened, RemoteSource):
    transport = REGISTRY
    remote = True

    def __init__(self, repository: Repository, registries: Registries) -> None:
        """Fetches the manifest or index. Raises `NotFoundError`, `FormatError`, `IntegrityError`, `TransportError`."""
        self.repository = repository
        self.where = str(repository)
        self.client: Client = registries.client(repository.host)
        self.records: tuple[DockerImageRecord, ...] = ()
        self.names: dict[Digest, ArchiveNames] = {}
        self._documents = registries.documents
        self._foreign = registries.access.foreign
        self._tag = repository.tag or ("latest" if repository.digest is None else None)
        self._raw_documents: dict[Digest, bytes] = {}
        self._documents_size = 0  # bytes of the documents that are kept here or in images
        self._manifests: set[Digest] = set()
        self._descriptors: dict[Digest, Descriptor] = {}
        self._blobs: dict[Digest, RemoteBlob] = {}
        self._find_local: Callable[[Digest], Blob | None] = lambda digest: None
        self.root = self._fetch_root(repository.digest or self._tag or "")
        fields = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": [self.root.fields]}
        self.index: Index | None = Index(serialised(fields), fields, self.where)

    def blob(self, one: Descriptor) -> Blob | None:
        digest = one.digest
        if digest in self._raw_documents:
            return BytesBlob(self._raw_documents[digest], digest)
        if one.media_type in mediatypes.MANIFESTS | mediatypes.INDEXES or digest in self._manifests:
            return self._document(one)
        if one.media_type in mediatypes.CONFIGS and (local := self._local_document(one)) is not None:
            return BytesBlob(local, digest)
        if digest not in self._blobs:
            found = self._remote_blob(one)
            if found is None:
                return None
            self._blobs[digest] = found
        return self._blobs[digest]

    def reuse_documents(self, find: Callable[[Digest], Blob | None]) -> None:
        """Takes documents that `find` returns from there, verified, and does not fetch them."""
        self._find_local = find

    def resolve(self) -> Digest | None:
        """Returns the digest that the tag points to now, if it is not the one that was fetched."""
        if self._tag is None or self.repository.digest is not None:
            return None
        try:
            now = self.client.tag_digest(self.repository.path, self._tag)
        except (TransportError, IntegrityError, LimitError, FormatError, NotFoundError):
            return None  # the image that was read is valid without the answer
        return now if now != self.root.digest else None

    def referrers(self, digest: Digest) -> list[Referrer]:
        """Returns the referrers of a manifest: from the registry's list, or from the referrers tag if the registry
        sends no list; and those under the tags of cosign. An entry that is not a descriptor is left out, with a notice."""
        fields = self.client.referrers(self.repository.path, digest)
        if fields is None:
            fields = self._fallback_referrers(digest)
        found = []
        for position, one in enumerate(fields):
            try:
                found.append(Referrer(digest, parse_descriptor(one, self.where), None))
            except FormatError as error:
                text = f"{self.where}: the list of referrers of {digest}, entry @{position}: {error.what}; it is left out"
                self.tell("unreadable", text)
        for kind in _COSIGN_SUFFIXES:
            tag = f"{digest.algorithm}-{digest.encoded}.{kind}"
            if reference.is_tag(tag) and (document := self.client.document_if_present(self.repository.path, tag)) is not None:
                found.append(Referrer(digest, self._keep_as_descriptor(document, named=False), tag))
        self._manifests.update(one.descriptor.digest for one in found)
        return found

    @property
    def referrers_error(self) -> OcitoolError | None:
        return self.client.referrers_errors.get(self.repository.path)

    def _fallback_referrers(self, digest: Digest) -> list[Any]:
        tag = digest.referrers_tag
        found = self.client.document_if_present(self.repository.path, tag)
        if found is None or found.digest == digest:  # GitLab's registry resolves such a tag to the subject itself
            return []
        where = f"{self.client.host}/{self.repository.path}:{tag}"
        document = read(found.raw, where)
        if isinstance(document, Index):
            return list(document.fields.get("manifests") or ())
        text = f"{where}: the referrers tag does not point to an index; it is left out"
        self.tell("unreadable", text)
        return []

    def _fetch_root(self, name: str | Digest) -> Descriptor:
        """Returns the descriptor of a manifest by tag or digest, with its full name. If documents are kept between runs, the
        registry is first asked for the digest of a tag, and then for no document that is kept."""
        path, kept = self.repository.path, self._documents.kept
        digest, media_type = (name, "") if isinstance(name, Digest) else (None, "")
        if kept is not None and kept.filled and isinstance(name, str):
            tagged = self.client.head_tag(path, name, pull_scope(path))
            if tagged is not None and tagged.digest is not None:
                digest, media_type = tagged.digest, tagged.media_type
        if kept is not None and digest is not None and digest.checkable:
            raw = self._documents.get(digest, lambda: self.client.document(path, digest).raw)
            return self._keep_as_descriptor(RegistryDocument(raw, media_type, digest))
        found = self.client.document(path, name)
        if kept is not None:
            kept.add(found.digest, found.raw)
        return self._keep_as_descriptor(found)

    def _keep_as_descriptor(self, found: RegistryDocument, *, named: bool = True) -> Descriptor:
        stated = found.media_type if found.media_type in mediatypes.MANIFESTS | mediatypes.INDEXES else None
        media_type = read(found.raw, self.where, stated).media_type
        self._keep_document(found.digest, found.raw, media_type)
        fields: dict[str, Any] = {"mediaType": media_type, "digest": str(found.digest), "size": len(found.raw)}
        if named and self._tag is not None:
            fields["annotations"] = {REF_NAME: f"{self.repository.name}:{self._tag}"}
        return Descriptor(media_type, found.digest, len(found.raw), fields)

    def _document(self, one: Descriptor) -> Blob | None:
        self._check_memory(min(one.size, limits.DOCUMENT_SIZE))
        raw = self._local_document(one)
        if raw is None:
            try:
                raw = self._documents.get(one.digest, lambda: self.client.document(self.repository.path, one.digest).raw)
            except NotFoundError:
                return None
        self._keep_document(one.digest, raw, one.media_type)
        return BytesBlob(raw, one.digest)

    def _keep_document(self, digest: Digest, raw: bytes, media_type: str) -> None:
        """Keeps a document and the descriptors in it, whose blobs are then taken to be present. Raises `LimitError` if
        the documents are too large in all."""
        self._check_memory(len(raw))
        self._raw_documents[digest] = raw
        self._documents_size += len(raw)
        try:
            document = read(raw, self.where, media_type)
        except OcitoolError:
            return  # its reader reports that
        if isinstance(document, Index):
            self._manifests.update(one.digest for one in document.manifests if one.media_type in mediatypes.AT_MANIFESTS)
            for one in document.manifests:
                if one.media_type not in mediatypes.AT_MANIFESTS:
                    self._descriptors[one.digest] = one
        else:
            for one in (document.config, *document.layers):
                self._descriptors[one.digest] = one
                self.client.mount_hints.add(one.digest, self.repository.path)

    def _check_memory(self, size: int) -> None:
        """Raises `LimitError` if another document of this size exceeds the memory for documents: an index may name any
        number of them, each as large as all others."""
        max_bytes = limits.documents_size()
        if self._documents_size + size > max_bytes:
            raise LimitError(
                f"manifests and configurations of more than {max_bytes} bytes", self.where,
                hint="--platform, or a digest in the reference, picks one image; OCITOOL_MAX_DOCUMENTS is the limit",
            )  # fmt: skip

    def _local_document(self, one: Descriptor) -> bytes | None:
        if one.size > limits.DOCUMENT_SIZE:
            return None
        blob = self._find_local(one.digest)
        if blob is None or blob.remote or blob.size != one.size:
            return None
        try:
            return b"".join(verified(blob.chunks(), one.digest, one.size))
        except IntegrityError:
            return None  # damaged: fetch it instead

    def _remote_blob(self, one: Descriptor) -> RemoteBlob | None:
        client, path, digest = self.client, self.repository.path, one.digest
        known = self._descriptors.get(digest)
        size = known.size if known is not None else one.size
        if known is None or known.urls:
            found = blobs.presence(client, path, digest)
            if found.present is False or (known is not None and not found.present):
                if known is None or not self._foreign:
                    return None
                return RemoteBlob(digest, size, client, path, known.urls)
            size = size if found.size < 0 else found.size
        documents = self._documents if one.media_type in mediatypes.CONFIGS else None
        if documents is not None:
            self._check_memory(min(size, limits.DOCUMENT_SIZE))
            self._documents_size += min(size, limits.DOCUMENT_SIZE)
        return RemoteBlob(digest, size, client, path, documents=documents)


class RemoteBlob:
    """A blob in a repository. `urls`: the layer is not in the repository but at these URLs. `documents`: the cache for
    a configuration."""

    identity = None

    def __init__(
        self, digest: Digest, size: int, client: Client, path: str, urls: Sequence[str] = (), *,
        documents: DocumentCache | None = None,
    ) -> None:  # fmt: skip
        self.digest = digest
        self.size = size
        self.host = client.host
        self.path = path
        self._client = client
        self._urls = urls
        self._documents = documents
        self._head: bytes | None = None
        self._local: Blob | None = None

    def _read(self, offset: int = 0, max_bytes: int | None = None) -> Iterator[bytes]:
        if self._urls:
            return blobs.fetch_foreign(self._client, self._urls, self.size, offset, max_bytes)
        if max_bytes is None:
            return ranges.fetch(self._client, self.path, self.digest, self.size, offset)
        return blobs.fetch(self._client, self.path, self.digest, self.size, offset, max_bytes)

    @property
    def remote(self) -> bool:
        return self._local is None

    @property
    def mountable(self) -> bool:
        """Whether the registry can mount it from its repository in another one."""
        return not self._urls

    def pread(self, size: int, offset: int) -> bytes:
        if self._local is None and offset + size <= SNIFF:
            if self._head is None and self.size <= _MEMORY_SIZE:
                with suppress(IntegrityError):  # small: fetch all of it; if it is damaged, its reader reports that
                    return self._local_copy().pread(size, offset)
            if self._head is None:
                self._head = b"".join(self._read(0, SNIFF))[:SNIFF]
            return self._head[offset : offset + size]
        return self._local_copy().pread(size, offset)

    def _local_copy(self) -> Blob:
        if self._local is None:
            for _ in self._fetch_and_keep():
                self._client.task.check()
        assert self._local is not None
        return self._local

    def chunks_once(self, offset: int = 0) -> Iterator[bytes]:
        """Yields the bytes as they are received, unverified, without keeping them. A small blob is kept all the same:
        it may be a configuration, which others need."""
        if self.size <= _KEEP_SIZE and not offset:
            return self.chunks()
        return self._local.chunks(offset) if self._local is not None else self._read(offset)

    def chunks(self, offset: int = 0) -> Iterator[bytes]:
        """Yields the bytes, verified. They are kept if all were read."""
        if self._local is not None:
            yield from self._local.chunks(offset)
            return
        for chunk in self._fetch_and_keep():
            if len(chunk) > offset:
                yield chunk[offset:]
            offset = max(0, offset - len(chunk))

    def _fetch_and_keep(self) -> Iterator[bytes]:
        verified_chunks = verified(self._read(), self.digest, self.size)
        if self.size <= _MEMORY_SIZE:
            if self._documents is not None:
                data = self._documents.get(self.digest, lambda: b"".join(verified_chunks))
            else:
                data = b"".join(verified_chunks)
            self._local = BytesBlob(data, self.digest)
            yield from self._local.chunks()
            return
        spool = anonymous_temporary()
        try:
            for chunk in verified_chunks:
                spool.write(chunk)
                yield chunk
            file = OpenFile(f"{self.host}: blob {self.digest}", descriptor=os.dup(spool.descriptor))
            self._local = FileBlob(file, 0, self.size, self.digest)
        finally:
            spool.discard()
