"""Repositories of a registry as a destination.

Order, so that no tag ever points to an incomplete image: blobs, several at a time and the largest first; manifests;
indexes, nested ones first; tags last. A blob that the repository has is not sent; one that another repository of the
registry has is mounted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from ocitool import reference
from ocitool.blob import Blob, expected_sizes, is_small, label
from ocitool.digest import Digest, verified
from ocitool.errors import FormatError, IntegrityError, NotFoundError, OcitoolError, UnsupportedError, UsageError
from ocitool.limits import DOCUMENT_SIZE
from ocitool.reference import Repository
from ocitool.spec import mediatypes
from ocitool.spec.document import Document, parse_object, serialised
from ocitool.spec.manifest import (
    Descriptor,
    Index,
    Manifest,
    parse_descriptor,
    read,
    read_unknown,
    referenced_descriptors,
    string,
)
from ocitool.task import Task
from ocitool.transports.registry import blobs
from ocitool.transports.registry.blobs import UploadTarget
from ocitool.transports.registry.client import Client, PutResult
from ocitool.transports.registry.errors import RETRIED, UnexpectedResponse
from ocitool.transports.registry.scopes import pull_scope, push_scope
from ocitool.transports.registry.source import RemoteBlob
from ocitool.transports.registry.tags import RegistryTags, TaggedManifest
from ocitool.transports.sink import Losses, OutputImage, StatelessSink, WriteOutcome, WriteRequest, would_replace_index

_NO_INDEXES = mediatypes.MANIFESTS | mediatypes.OTHER_MANIFESTS
"""A tag whose response has one of these media types does not point to an index. Some registries and proxies send
others: then the document itself is read."""


class _Document(NamedTuple):
    media_type: str
    digest: Digest
    document: Document
    """A manifest, an index, or a document of another type that registries store as a manifest."""

    @property
    def subject(self) -> Digest | None:
        """The digest of its subject; None without a valid one."""
        stated = self.document.fields.get("subject")
        with suppress(FormatError):
            return Digest.parse(stated.get("digest")) if isinstance(stated, dict) else None
        return None


class _Push(NamedTuple):
    """What one repository gets: `documents` by digest, nested ones first; `tagged` with their tags; `children`: the
    digests in its indexes."""

    target: UploadTarget
    documents: dict[Digest, _Document]
    children: set[Digest]
    blobs: dict[Digest, Blob]
    tagged: list[tuple[_Document, Sequence[str]]]


class _MissingTags(NamedTuple):
    """A document with those of its tags that do not point to it yet, and the number of those that do."""

    push: _Push
    top: _Document
    tags: tuple[str, ...]
    unchanged: int


class RegistrySink(StatelessSink):
    """`repository`: the destination of all images (its digest, if any, is the one that the image must have); None: each
    image goes to the repository in its names. `dry_run`: only look-ups are made, nothing is sent. `replaces_index`:
    an image may replace an index under a tag; if not, every tag of an image is looked up first."""

    def __init__(
        self, client: Client, repository: Repository | None, *, dry_run: bool = False, replaces_index: bool = False
    ) -> None:
        self._repository = repository
        self._client = client
        self._dry_run = dry_run
        self._replaces_index = replaces_index
        self._tags = RegistryTags(client, dry_run=dry_run)
        self._sizes: dict[tuple[str, Digest], int | None] = {}
        self._verified: set[Digest] = set()
        self._lists_referrers: dict[str, bool] = {}
        self._fallback_indexes: dict[tuple[str, Digest], dict[str, Any]] = {}
        """Indexes of referrers tags as this run wrote them: a read just after a write may return the previous one."""
        self._unwritten_indexes: dict[tuple[str, Digest], None] = {}
        self.where = str(repository or f"docker://{client.host}/")

    def blob(self, digest: Digest) -> Blob | None:
        """Returns a blob that the repository has, if there is one for all images."""
        if self._repository is None:
            return None
        size = self._size(self._repository.path, digest)
        return RemoteBlob(digest, size, self._client, self._repository.path) if size is not None and size >= 0 else None

    def tag_digest(self, name: str) -> Digest | None:
        where = reference.parse_repository(name)
        with suppress(UnexpectedResponse):  # then it is not known
            tagged = self._tags.find(where.path, where.tag or "latest")
            return tagged.digest if tagged is not None else None
        return None

    def write(self, request: WriteRequest, task: Task, *, verify: bool) -> WriteOutcome:
        if request.omitted:
            raise UsageError("a registry takes whole images: nothing can be left out", self.where)
        losses = Losses(request.roots)
        pushes = self._plan(request)
        if not self._replaces_index:
            self._protect_indexes(request, task, losses)
            pushes = self._plan(request.writable(losses)) if losses else pushes
        skipped: set[Digest] = set()
        sent: set[Digest] = set()
        paths: dict[Digest, str] = {}
        task.expect(expected_sizes(blob for push in pushes for blob in push.blobs.values()), anew=True)
        for push in pushes:

            def put(blob: Blob, push: _Push = push) -> None:
                digest = blob.digest
                assert digest is not None
                path = push.target.path
                try:
                    is_sent = request.write_any(blob, lambda one: self._put(push.target, one, paths.get(digest), task), task)
                except OcitoolError as error:
                    if not _is_limited(error):
                        raise
                    losses.blob(digest, error)
                    return
                if is_sent:
                    sent.add(digest)
                else:
                    skipped.add(digest)
                    task.unexpect(label(blob), blob.size)
                paths[digest] = path

            task.map(put, sorted(push.blobs.values(), key=lambda blob: -blob.size), is_small)
        writable = self._plan(request.writable(losses)) if losses else pushes
        unchanged = 0
        for one in self._missing_tags(writable) if self._dry_run else self._publish(request, writable, losses, task):
            unchanged += one.unchanged
            (sent if one.tags or one.top.digest in one.push.documents else skipped).add(one.top.digest)
        return losses.outcome(skipped - sent, verified=not self._dry_run, unchanged=unchanged)

    def _protect_indexes(self, request: WriteRequest, task: Task, losses: Losses) -> None:
        """Records a loss for each tag that points to an index and would get an image. Costs one HEAD for each tag."""
        wanted = [
            (root, name, path, tag)
            for root in request.roots for name, path, tag in self._tagged_names(root) if name in root.non_replacing_names
        ]  # fmt: skip

        def check(place: tuple[OutputImage, str, str, str]) -> None:
            root, name, path, tag = place
            try:
                tagged = self._tags.find(path, tag)
            except UnexpectedResponse as error:
                if self._tags.count_failure():
                    raise
                losses.name(name, error)
                return
            if tagged is None or tagged.media_type in _NO_INDEXES:
                return
            where = f"{self._client.host}/{path}:{tag}"
            document: Document | None = None
            try:
                document = read(self._client.document(path, tag).raw, where)
            except (FormatError, NotFoundError, UnsupportedError):  # media types of responses are not reliable
                if tagged.media_type in mediatypes.INDEXES:
                    raise
            if isinstance(document, Index):
                found = (str(one.platform) for one in document.manifests if one.platform is not None and not one.is_attestation)
                losses.name(name, would_replace_index(where, dict.fromkeys(found), is_referrer=root.subject is not None))

        task.map(check, wanted, lambda _: True)

    # Blobs

    def _size(self, path: str, digest: Digest) -> int | None:
        if (path, digest) not in self._sizes:
            scope = pull_scope(path) if self._dry_run else push_scope(path)
            self._sizes[path, digest] = blobs.stored_size(self._client, path, digest, scope)
        return self._sizes[path, digest]

    def _put(self, target: UploadTarget, blob: Blob, other_path: str | None, task: Task) -> bool:
        """Writes a blob. Returns whether its bytes were sent."""
        assert blob.digest is not None
        if self._size(target.path, blob.digest) is not None:
            self._client.mount_hints.add(blob.digest, target.path)
            blobs.note_present(target, blob)
            return False
        own_path = blob.path if isinstance(blob, RemoteBlob) and blob.host == self._client.host and blob.mountable else None
        others = [*([other_path] if other_path is not None else ()), *self._client.mount_hints.find(blob.digest)]
        mount_from = [own_path] if own_path is not None else others
        mount_from = [path for path in dict.fromkeys(mount_from) if path != target.path]
        if self._dry_run:
            return not mount_from
        if mount_from and own_path is None:
            self._verify_readable(blob, task)
        sent = blobs.send(target, blob, mount_from)
        self._client.mount_hints.add(blob.digest, target.path)
        self._verified.add(blob.digest)
        if not sent:
            task.transferred("mounted", blob.digest.short, blob.size)
            return False
        task.transferred("sent", blob.digest.short, blob.size)
        return True

    def _verify_readable(self, blob: Blob, task: Task) -> None:
        """Reads a blob before it is mounted from a repository other than its source. The author of an image may know
        the digest of a layer that only others may read; a mount would publish it. Raises `IntegrityError`."""
        if blob.digest in self._verified:
            return
        for _ in verified(blob.chunks(), blob.digest, blob.size):
            task.check()

    # Documents

    def _publish(self, request: WriteRequest, pushes: Sequence[_Push], losses: Losses, task: Task) -> list[_MissingTags]:
        for push in pushes:
            below = list(push.documents.values())
            manifests = [one for one in below if not isinstance(one.document, Index)]

            def put(one: _Document, push: _Push = push) -> PutResult | None:
                try:
                    path, raw = push.target.path, one.document.raw
                    return self._client.put_document(path, one.digest, one.media_type, raw, one.digest)
                except OcitoolError as error:
                    if not _is_limited(error):
                        raise
                    losses.blob(one.digest, error)
                    return None

            done = dict(zip((one.digest for one in manifests), task.map(put, manifests, lambda _: True), strict=True))
            for one in below:
                self._add_referrer(push.target, one, put(one) if isinstance(one.document, Index) else done[one.digest])
            self._write_fallback_indexes()
        return self._put_tags(request, self._plan(request.writable(losses)) if losses else pushes, losses, task)

    def _missing_tags(self, pushes: Sequence[_Push]) -> list[_MissingTags]:
        """Returns the documents that are to be tagged. A tag that was looked up and points to its document already is
        not put again."""
        tagged: dict[tuple[str, Digest], tuple[_Push, _Document, dict[str, bool]]] = {}
        for push in pushes:
            for top, tags in push.tagged:
                path = push.target.path
                again = self._replaces_index or top.subject is not None
                wanted = {tag: again or not self._tags.points_to(path, tag, top.digest) for tag in tags}
                tagged.setdefault((path, top.digest), (push, top, {}))[2].update(wanted)
        return [
            _MissingTags(push, top, tuple(tag for tag in tags if tags[tag]), len(tags) - sum(tags.values()))
            for push, top, tags in tagged.values()
        ]

    def _put_tags(self, request: WriteRequest, pushes: Sequence[_Push], losses: Losses, task: Task) -> list[_MissingTags]:
        """Puts the tags of all documents, those of one manifest together. Returns what was missing."""
        missing = self._missing_tags(pushes)
        wanted = [one for one in missing if one.tags]
        names: dict[tuple[str, str], str] = {}

        def on_refused(path: str, tag: str, error: OcitoolError) -> None:
            if not names:
                names.update({(at, one): name for root in request.roots for name, at, one in self._tagged_names(root)})
            losses.name(names[path, tag], error)

        tagged_manifests = [
            TaggedManifest(push.target, top.media_type, top.document.raw, top.digest, tags) for push, top, tags, _ in wanted
        ]
        for one, put in zip(wanted, self._tags.put(tagged_manifests, task, on_refused), strict=True):
            self._add_referrer(one.push.target, one.top, put)
        self._write_fallback_indexes()
        return missing

    def _add_referrer(self, target: UploadTarget, one: _Document, put: PutResult | None) -> None:
        """Adds a manifest with a subject to the index under the referrers tag, unless the registry lists referrers
        itself (distribution-spec, "Pushing Manifests with Subject"). `OCI-Subject` alone is not relied on: the registry
        must also return a list of referrers, since that is what clients read."""
        subject = one.subject
        if put is None or subject is None:
            return
        if put.subject_processed and target.path not in self._lists_referrers:
            self._lists_referrers[target.path] = lists = self._client.lists_referrers(target.path, subject)
            if not lists:
                text = f"{target.where}: the registry says that it lists referrers, and returns no list of them"
                self._client.task.notice("referrer", f"{text}: the referrers tag is written as well")
        if put.subject_processed and self._lists_referrers[target.path]:
            return
        place = target.path, subject
        fields = (
            self._fallback_indexes[place] if place in self._fallback_indexes else self._read_fallback_index(target, subject)
        )
        entries = list(fields.get("manifests") or ())
        if any(isinstance(entry, dict) and entry.get("digest") == str(one.digest) for entry in entries):
            return
        entry: dict[str, Any] = {"mediaType": one.media_type, "digest": str(one.digest), "size": len(one.document.raw)}
        config = one.document.fields.get("config")
        kind = string(one.document.fields.get("artifactType")) or (string(config.get("mediaType")) if config else None)
        if kind:
            entry["artifactType"] = kind
        if isinstance(annotations := one.document.fields.get("annotations"), dict):
            entry["annotations"] = annotations
        self._fallback_indexes[place] = {**fields, "manifests": [*entries, entry]}
        self._unwritten_indexes[place] = None

    def _write_fallback_indexes(self) -> None:
        """Writes each index of referrers once, however many referrers were added."""
        while self._unwritten_indexes:
            path, subject = place = next(iter(self._unwritten_indexes))
            raw = serialised(self._fallback_indexes[place])
            self._client.put_document(path, subject.referrers_tag, mediatypes.OCI_INDEX, raw, Digest.of(raw))
            del self._unwritten_indexes[place]

    def _read_fallback_index(self, target: UploadTarget, subject: Digest) -> dict[str, Any]:
        """Returns the members of the index under the referrers tag; those of an empty index if there is none."""
        tag = subject.referrers_tag
        old = self._client.document_if_present(target.path, tag)
        if old is None or old.digest == subject:  # GitLab's registry resolves such a tag to the subject itself
            return {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": []}
        document = read(old.raw, target.where)
        if not isinstance(document, Index):
            raise FormatError("the referrers tag does not point to an index", f"{target.where}:{tag}")
        return {**document.fields, **({"mediaType": mediatypes.OCI_INDEX} if "mediaType" in document.fields else {})}

    # Plan

    def _plan(self, request: WriteRequest) -> list[_Push]:
        """Returns what each repository gets. Raises `UsageError` if an image has no repository, or two images the same
        tag; `FormatError` for invalid documents."""
        blobs_by_digest = {blob.digest: blob for blob in request.blobs if blob.digest is not None}
        pushes: dict[str, _Push] = {}
        taken: dict[tuple[str, str], Digest] = {}
        for root in request.roots:
            for path, tags in self._tags_by_repository(root).items():
                push = pushes.setdefault(path, _Push(UploadTarget(self._client, path), {}, set(), {}, []))
                top = _collect(root.descriptor, blobs_by_digest, push)
                if top is None:
                    what = str(root.descriptor.get("mediaType"))
                    raise UnsupportedError(
                        f"{what} is not a manifest, so it cannot have a tag or digest at a registry", self.where
                    )
                wanted = self._repository.digest if self._repository is not None and root.subject is None else None
                if wanted not in (None, top.digest):
                    raise UsageError(f"the image is {top.digest}, the destination {wanted}", self.where)
                for tag in tags:
                    if taken.setdefault((path, tag), top.digest) != top.digest:
                        raise UsageError(f"two different images for the tag {path}:{tag}", self.where)
                if tags:
                    push.tagged.append((top, tags))
        for push in pushes.values():
            for top, _ in push.tagged:
                if top.digest not in push.children:  # it is put under its tags
                    push.documents.pop(top.digest, None)
        return list(pushes.values())

    @staticmethod
    def _tagged_names(root: OutputImage) -> Iterator[tuple[str, str, str]]:
        """Yields the names of an image, each with its repository and tag."""
        for name in root.names:
            where = reference.parse_repository(name)
            yield name, where.path, where.tag or "latest"

    def _tags_by_repository(self, root: OutputImage) -> Mapping[str, Sequence[str]]:
        """Returns the tags that an image gets, by repository."""
        found: dict[str, list[str]] = {}
        for _, path, tag in self._tagged_names(root):
            found.setdefault(path, []).append(tag)
        for name in root.repositories:  # for a referrer, even if it has a name in another repository
            found.setdefault(reference.parse_repository(name).path, [])
        if not found:
            raise UsageError(
                "an image without a name: it is not known to which repository it belongs", self.where,
                hint="--tag NAME:TAG names it, or docker://HOST/REPOSITORY:TAG; --referrers takes signatures along",
            )  # fmt: skip
        return found


def _is_limited(error: OcitoolError) -> bool:
    """Returns whether other images may be written although this blob or document failed: it could not be read, or the
    registry refuses its content."""
    return (
        error.from_source
        or isinstance(error, IntegrityError)
        or (isinstance(error, UnexpectedResponse) and error.status not in RETRIED)
    )


def _collect(fields: Mapping[str, Any], blobs_by_digest: Mapping[Digest, Blob], push: _Push) -> _Document | None:
    """Adds what a descriptor leads to to `push`, nested documents first, and returns its document; None if it is a
    blob."""
    one = parse_descriptor(dict(fields), push.target.where)
    found = push.documents.get(one.digest)
    if found is not None:
        return found
    blob = blobs_by_digest[one.digest]
    document = _read_document(one, blob, push.target.where)
    if document is None:
        push.blobs[one.digest] = blob
        return None
    if isinstance(document, Index):
        for child in document.manifests:
            push.children.add(child.digest)
            if child.digest in blobs_by_digest:
                _collect(child.fields, blobs_by_digest, push)
    else:
        names = (document.config, *document.layers) if isinstance(document, Manifest) else ()
        for named in names or referenced_descriptors(document.raw, push.target.where, one.media_type):
            if named.digest in blobs_by_digest:
                push.blobs[named.digest] = blobs_by_digest[named.digest]
    made = _Document(one.media_type or _media_type(document), one.digest, document)
    push.documents[one.digest] = made
    return made


def _media_type(document: Document) -> str:
    return document.media_type if isinstance(document, Manifest | Index) else ""


def _read_document(one: Descriptor, blob: Blob, where: str) -> Document | None:
    """Returns a document that registries store as a manifest; None for a blob."""
    if one.media_type in mediatypes.AT_MANIFESTS:
        raw = b"".join(blob.chunks())
        if one.media_type in mediatypes.OTHER_MANIFESTS:
            return Document(raw, parse_object(raw, where))
        return read(raw, where, one.media_type)
    if blob.remote or blob.size > DOCUMENT_SIZE or blob.pread(64, 0).lstrip()[:1] != b"{":
        return None
    return read_unknown(b"".join(blob.chunks()), where, one.media_type)
