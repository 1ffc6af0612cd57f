"""Repositories of a registry as a destination.

Order (nothing half-pushed is ever tagged): blobs, several at a time and the largest first; manifests; indexes, inner ones
first; tags last. A blob that is there is not sent; one that another repository of the registry has is mounted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ocitool import reference
from ocitool.blob import Blob
from ocitool.digest import Digest
from ocitool.errors import FormatError, NotFoundError, UsageError
from ocitool.spec import mediatypes
from ocitool.spec.document import serialised
from ocitool.spec.manifest import Index, Manifest, descriptor, read, string
from ocitool.task import Task
from ocitool.transports.registry import Registries, blobs
from ocitool.transports.registry.auth import pulling, pushing
from ocitool.transports.registry.blobs import Target
from ocitool.transports.registry.client import Client
from ocitool.transports.registry.source import RemoteBlob
from ocitool.transports.sink import Bundle, Fresh, Root, Stored


class Place(NamedTuple):
    """Where images go at a registry: to one repository, or (`path` None) each to the repository that its names say. `digest`:
    the one that the image must have."""

    host: str
    path: str | None
    digest: Digest | None


@dataclass(frozen=True, slots=True, eq=False)
class _Document:
    media_type: str
    raw: bytes
    digest: Digest
    document: Manifest | Index


class _Push(NamedTuple):
    """What one repository is to have: `documents` in the order of pushing, `tops` under their tags, or under none."""

    target: Target
    documents: dict[Digest, _Document]
    blobs: dict[Digest, Blob]
    tops: list[tuple[_Document, tuple[str, ...]]]


class RegistrySink(Fresh):
    """`rehearsing`: nothing is sent, and what is there is still looked for."""

    remote = True

    def __init__(self, place: Place, registries: Registries, *, rehearsing: bool = False) -> None:
        self._place = place
        self._client: Client = registries.client(place.host)
        self._rehearsing = rehearsing
        self._there: dict[tuple[str, Digest], int | None] = {}
        self.where = f"docker://{place.host}/{place.path or ''}"

    def blob(self, digest: Digest) -> Blob | None:
        """A blob that the one repository has."""
        path, client = self._place.path, self._client
        if path is None:
            return None
        size = self._size(path, digest)
        if size is None or size < 0:
            return None
        return RemoteBlob(digest, size, client, path, lambda at, most: blobs.fetch(client, path, digest, size, at, most))

    def write(self, bundle: Bundle, task: Task, *, verify: bool) -> Stored:
        if bundle.omitted:
            raise UsageError("a registry takes whole images: nothing can be left out", self.where)
        pushes = self._plan(bundle)
        skipped: set[Digest] = set()
        sent: set[Digest] = set()
        places: dict[Digest, str] = {}
        for push in pushes:

            def put(blob: Blob, push: _Push = push) -> None:
                digest = blob.digest
                assert digest is not None
                path = push.target.path
                if self._put(push.target, blob, places.get(digest), task):
                    sent.add(digest)
                else:
                    skipped.add(digest)
                    task.expect(-blob.size)
                places[digest] = path
                self._client.origins.note(digest, path)

            task.expect(sum(blob.size for blob in push.blobs.values()))
            task.map(put, sorted(push.blobs.values(), key=lambda blob: -blob.size))
        if not self._rehearsing:
            self._publish(pushes, task)
        return Stored(frozenset(skipped - sent), not self._rehearsing)

    # Blobs

    def _size(self, path: str, digest: Digest) -> int | None:
        if (path, digest) not in self._there:
            scope = pulling(path) if self._rehearsing else pushing(path)
            self._there[path, digest] = blobs.exists(self._client, path, digest, scope)
        return self._there[path, digest]

    def _put(self, target: Target, blob: Blob, elsewhere: str | None, task: Task) -> bool:
        """Whether its bytes were sent."""
        assert blob.digest is not None
        if self._size(target.path, blob.digest) is not None:
            return False
        origins = [elsewhere] if elsewhere is not None else []
        if isinstance(blob, RemoteBlob) and blob.host == self._client.host and blob.path is not None:
            origins.append(blob.path)
        origins += self._client.origins.find(blob.digest)
        origins = [path for path in dict.fromkeys(origins) if path != target.path]
        if self._rehearsing:
            return not origins
        if not blobs.send(target, blob, origins):
            task.arrived("mounted", blob.digest.short, blob.size)
            return False
        task.arrived("sent", blob.digest.short, blob.size)
        return True

    # Documents

    def _publish(self, pushes: Sequence[_Push], task: Task) -> None:
        for push in pushes:
            below = list(push.documents.values())
            manifests = [one for one in below if isinstance(one.document, Manifest)]

            def put(one: _Document, push: _Push = push) -> bool:
                return self._document(push.target, one, one.digest)

            listed = dict(zip(manifests, task.map(put, manifests), strict=True))
            for one in below:
                if not (put(one) if isinstance(one.document, Index) else listed[one]):
                    self._list(push.target, one)
        for push in pushes:
            for top, tags in push.tops:
                for tag in tags:
                    if not self._document(push.target, top, tag):
                        self._list(push.target, top)

    def _document(self, target: Target, one: _Document, name: str | Digest) -> bool:
        """Whether the registry lists it itself, where it has a subject that it is to be listed for."""
        listed = self._client.put_document(target.path, name, one.media_type, one.raw, one.digest)
        return listed or not isinstance(one.document.fields.get("subject"), dict)

    def _list(self, target: Target, one: _Document) -> None:
        """Adds a referrer to the tag that stands for the list which the registry does not keep (distribution-spec, "Pushing
        Manifests with Subject")."""
        subject = descriptor(one.document.fields["subject"], target.where).digest
        tag = f"{subject.algorithm}-{subject.encoded}"
        fields: dict[str, Any] = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": []}
        try:
            old = self._client.document(target.path, tag)
            document = read(old.raw, target.where)
            if not isinstance(document, Index):
                raise FormatError("what stands for a list of referrers is none", f"{target.where}:{tag}")
            fields = dict(document.fields)
        except NotFoundError:
            pass
        entries = list(fields.get("manifests") or ())
        if any(entry.get("digest") == str(one.digest) for entry in entries):
            return
        entry: dict[str, Any] = {"mediaType": one.media_type, "digest": str(one.digest), "size": len(one.raw)}
        config = one.document.fields.get("config")
        kind = string(one.document.fields.get("artifactType")) or (string(config.get("mediaType")) if config else None)
        if kind:
            entry["artifactType"] = kind
        if isinstance(annotations := one.document.fields.get("annotations"), dict):
            entry["annotations"] = annotations
        raw = serialised({**fields, "manifests": [*entries, entry]})
        self._client.put_document(target.path, tag, mediatypes.OCI_INDEX, raw, Digest.of(raw))

    # What goes where

    def _plan(self, bundle: Bundle) -> list[_Push]:
        """Raises `UsageError` where an image has no place, or two have one; `FormatError` for documents that are none."""
        held = {blob.digest: blob for blob in bundle.blobs if blob.digest is not None}
        pushes: dict[str, _Push] = {}
        taken: dict[tuple[str, str], Digest] = {}
        for root in bundle.roots:
            for path, tags in self._places(root).items():
                push = pushes.setdefault(path, _Push(Target(self._client, path), {}, {}, []))
                top = _gathered(root.descriptor, held, push)
                if self._place.digest not in (None, top.digest) and not root.beside:
                    raise UsageError(f"the image is {top.digest}, the destination {self._place.digest}", self.where)
                for tag in tags:
                    if taken.setdefault((path, tag), top.digest) != top.digest:
                        raise UsageError(f"two different images would be {path}:{tag}", self.where)
                push.documents.pop(top.digest, None)
                push.tops.append((top, tags))
        for push in pushes.values():  # one root may be below another
            for top, tags in push.tops:
                if not tags:
                    push.documents.setdefault(top.digest, top)
            push.tops[:] = [(top, tags) for top, tags in push.tops if tags]
        return list(pushes.values())

    def _places(self, root: Root) -> Mapping[str, tuple[str, ...]]:
        """The tags that a root gets, by repository."""
        found: dict[str, tuple[str, ...]] = {}
        names = root.names if self._place.digest is None or root.beside else ()
        for name in names:
            where = reference.repository(name)
            found[where.path] = (*found.get(where.path, ()), where.tag or "latest")
        if not found:
            for name in root.beside:
                found[reference.repository(name).path] = ()
        if not found:
            if self._place.path is None:
                raise UsageError(
                    "an image without a name, so nobody can say which repository it goes to", self.where,
                    hint="--tag NAME:TAG names it, or docker://HOST/REPOSITORY:TAG; --referrers takes signatures along",
                )  # fmt: skip
            found[self._place.path] = ()
        return found


def _gathered(fields: Mapping[str, Any], held: Mapping[Digest, Blob], push: _Push) -> _Document:
    """The document at the top; what is below it goes into `push`, inner documents first."""
    one = descriptor(dict(fields), push.target.where)
    found = push.documents.get(one.digest)
    if found is not None:
        return found
    blob = held[one.digest]
    raw = b"".join(blob.chunks())
    document = read(raw, push.target.where, one.media_type)
    if isinstance(document, Index):
        for child in document.manifests:
            if child.digest in held:
                _gathered(child.fields, held, push)
    else:
        for named in (document.config, *document.layers):
            if named.digest in held:
                push.blobs[named.digest] = held[named.digest]
    made = _Document(one.media_type or document.media_type, raw, one.digest, document)
    push.documents[one.digest] = made
    return made


