"""One registry: its documents, tags and lists, by the requests of its endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import urlencode

from ocitool.digest import Digest
from ocitool.errors import (
    FormatError,
    IntegrityError,
    LimitError,
    NotFoundError,
    OcitoolError,
    TransportError,
)
from ocitool.spec import mediatypes
from ocitool.spec.document import parse_object
from ocitool.spec.manifest import schema_1
from ocitool.task import Task
from ocitool.transports.registry import lists
from ocitool.transports.registry.access import Access
from ocitool.transports.registry.endpoint import RETRIES, Endpoint
from ocitool.transports.registry.errors import Denied, UnexpectedAnswer, UnknownRepository, answered
from ocitool.transports.registry.http1 import Response
from ocitool.transports.registry.keychain import Credentials
from ocitool.transports.registry.mount_hints import MountHints
from ocitool.transports.registry.mounting import Mounts
from ocitool.transports.registry.response_bodies import finished, is_page
from ocitool.transports.registry.scopes import CATALOG, NOTHING, Scope, pulling, pushing

_ACCEPT = ", ".join((mediatypes.OCI_INDEX, mediatypes.OCI_MANIFEST, mediatypes.DOCKER_LIST, mediatypes.DOCKER_MANIFEST))
_ACCEPT_ANY = f"{_ACCEPT}, {mediatypes.OCI_ARTIFACT}"
"""Of what is asked for by its digest, which may be an artifact in the form that was given up before OCI 1.1."""
_UNKNOWN = frozenset({"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"})
"""Why a manifest is refused that names a blob which is not there."""
_ABSENT = frozenset({400, 405, 406, 410, 414, 422})
"""Beside 401, 403 and 404, how registries answer for a tag of signatures that is not there. Any other answer may be one for a
tag that is."""


class RegistryDocument(NamedTuple):
    """A manifest or index as the registry holds it. `media_type` is that of the answer, without parameters."""

    raw: bytes
    media_type: str
    digest: Digest


class TaggedDigest(NamedTuple):
    """What a tag leads to, as the registry says; no digest if it does not say that."""

    media_type: str
    digest: Digest | None


class PutResult(NamedTuple):
    """What became of a manifest. `listed`: the registry keeps lists of referrers itself, if this one has a subject. `tags`: of
    those that it was to have beside its digest, what it was given."""

    listed: bool
    tags: frozenset[str] = frozenset()


class Client(Endpoint):
    """`unlisted`: why the registry did not give its list of referrers, by repository."""

    def __init__(self, host: str, access: Access, task: Task, cache: str | None = None) -> None:
        """As `Endpoint`. `cache`: the directory for `MountHints`."""
        super().__init__(host, access, task)
        self.origins = MountHints(cache, host)
        self.unlisted: dict[str, OcitoolError] = {}
        self.mounts = Mounts(self)

    def login(self, login: Credentials) -> None:
        """Whether the registry takes these. Raises `Denied` where it does not; a notice where it asks nobody."""
        login.remember()
        self.auth, self._find = None, lambda path: login
        try:
            response = self.request("GET", self.url(""), NOTHING, "login")
            if response.status_code != 200:
                raise self.problem(response, "login", self.host)
        except Denied as error:
            error.hint = "check both; many registries take a token in the place of the password"
            raise
        finished(response)
        if self.auth is None:
            self.task.notice("login", f"{self.host} asks nobody for a password, so this one was not checked")

    def document(self, path: str, name: str | Digest) -> RegistryDocument:
        """A manifest or index by tag or digest, its exact bytes, hashed.

        Raises `NotFoundError`, `IntegrityError` where it is not what digest or headers say, `LimitError`, `TransportError`.
        """
        where = f"{self.host}/{path}{'@' if isinstance(name, Digest) else ':'}{name}"
        if isinstance(name, Digest):
            name.hasher()  # one that cannot be checked is not asked for
        what = "digest" if isinstance(name, Digest) else "tag"
        url = self.url(f"{path}/manifests/{name}")
        headers = {"Accept": _ACCEPT_ANY if isinstance(name, Digest) else _ACCEPT}
        response, raw = self.fetched(url, pulling(path), what, where, headers=headers)
        self.task.count_transferred(len(raw))
        stated = name if isinstance(name, Digest) else _digest(response.headers.get("Docker-Content-Digest"))
        digest = Digest.of(raw, stated.algorithm if stated is not None else "sha256")
        media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
        if stated is not None and digest != stated:
            # Its digest is that of the document without the signatures in it (Docker's "Image Manifest Version 2, Schema 1").
            if media_type in (mediatypes.DOCKER_SCHEMA1, mediatypes.DOCKER_SCHEMA1_SIGNED) or _schema_1(raw):
                raise schema_1(where)
            raise IntegrityError(f"content is {digest}, stated is {stated}", where)
        return RegistryDocument(raw, media_type, digest)

    def optional(self, path: str, tag: str) -> RegistryDocument | None:
        """As `document`, of a tag of signatures or referrers; None if it is not there. Some registries answer 401, 403 or 400
        for a tag that is not there, which is told."""
        try:
            return self.document(path, tag)
        except NotFoundError:
            return None
        except (Denied, UnexpectedAnswer) as error:
            if isinstance(error, UnexpectedAnswer) and error.status not in _ABSENT:
                raise
            text = f"{self.host}/{path}: tags of signatures and referrers are taken for absent, as the registry answers"
            self.task.notice("referrer", f"{text}: {error.what}")
            return None

    def now(self, path: str, tag: str) -> Digest | None:
        """The digest that a tag names, asked for once; None where the registry does not say it."""
        url = self.url(f"{path}/manifests/{tag}")
        response = self._attempts(lambda: self._authorized("HEAD", url, pulling(path), {"Accept": _ACCEPT}, None), 1)
        finished(response)
        if response.status_code != 200:
            return None
        return _digest(response.headers.get("Docker-Content-Digest")) or self.document(path, tag).digest

    def held(self, path: str, tag: str, scope: Scope) -> TaggedDigest | None:
        """What a tag leads to, by a HEAD, or a GET if that is refused; None if there is no such tag, or both are refused.
        Raises `Denied` for credentials that are worth nothing."""
        url, headers = self.url(f"{path}/manifests/{tag}"), {"Accept": _ACCEPT}
        for method in ("HEAD", "GET"):
            response = self.request(method, url, scope, "tag", headers=headers)
            if method == "GET" and response.status_code == 401:
                raise self.problem(response, "tag", f"{self.host}/{path}:{tag}")
            finished(response)
            if response.status_code == 200:
                media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
                return TaggedDigest(media_type, _digest(response.headers.get("Docker-Content-Digest")))
            if response.status_code == 404:
                return None
        return None

    def put_document(
        self, path: str, name: str | Digest, media_type: str, raw: bytes, digest: Digest, tags: Sequence[str] = ()
    ) -> PutResult:
        """Stores a manifest or index under a tag or its digest; under its digest also with `tags`, at a registry that knows of
        them (distribution-spec, "Pushing Manifests"). Raises `IntegrityError` where it says that it stored something else."""
        where = f"{self.host}/{path}"
        if not mediatypes.is_media_type(media_type):
            raise FormatError(f"{media_type} is no media type", f"{where}: manifest {digest}")
        query = "?" + urlencode([("tag", tag) for tag in tags]) if tags else ""
        url = self.url(f"{path}/manifests/{name}{query}")

        def put() -> Response:
            return self.request("PUT", url, pushing(path), "manifest", headers={"Content-Type": media_type}, body=raw)

        response = put()
        if 400 <= response.status_code < 500 and self.mounts.amends(path):
            refusal = self.refusal(response)
            if not self.mounts.amend(path, b"" if refusal.wording.codes.isdisjoint(_UNKNOWN) else raw):
                raise answered(refusal, f"manifest {digest}", where, self.host)
            response = put()
        if response.status_code not in (200, 201, 202) or (response.status_code == 200 and is_page(response)):
            raise self.problem(response, f"manifest {digest}", where)
        finished(response)
        self.task.count_transferred(len(raw))
        stored = _digest(response.headers.get("Docker-Content-Digest"))
        if stored is not None and stored.algorithm == digest.algorithm and stored != digest:
            raise IntegrityError(f"the registry stored {stored}, sent was {digest}", where)
        given = {one.strip() for one in response.headers.get("OCI-Tag", "").split(",")}
        return PutResult("OCI-Subject" in response.headers, frozenset(given.intersection(tags)))

    def tags(self, path: str) -> list[str]:
        """Raises `NotFoundError` where there is no such repository."""
        where = f"{self.host}/{path}"
        return lists.strings(self._pages(pulling(path), "repository", where), self.url(f"{path}/tags/list"), "tags", where)

    def all_tags(self, path: str, scope: Scope, most: int) -> frozenset[str] | None:
        """The tags of a repository if their list has no more than `most` pages; None if it has, or is not to be had."""
        where = f"{self.host}/{path}"
        pages = lists.pages(self._pages(scope, "repository", where, 1), self.url(f"{path}/tags/list"), "tags", where, most)
        try:
            return frozenset(one for page in pages for one in page if isinstance(one, str))
        except UnknownRepository:
            return frozenset()
        except (TransportError, NotFoundError, FormatError, LimitError):
            return None

    def repositories(self) -> list[str]:
        """Raises `NotFoundError` where the registry has no catalogue."""
        return lists.strings(self._pages(CATALOG, "catalogue", self.host), self.url("_catalog"), "repositories", self.host)

    def referrers(self, path: str, digest: Digest) -> list[Any] | None:
        """Returns the descriptors, unchecked, of what says that it speaks of a manifest (distribution-spec, "Listing
        Referrers"). None if the registry does not give such a list, whatever it answers instead: not every registry says by a
        404 that it has none. Then `unlisted` says why, and the tag that stands for the list is to be read. Raises for a
        list that is cut short."""
        where = f"{self.host}/{path}"
        attempts = 1 if path in self.unlisted else 1 + RETRIES
        fetch = self._pages(pulling(path), "list of referrers", where, attempts)
        pages = lists.pages(fetch, self.url(f"{path}/referrers/{digest}"), "manifests", where)
        try:
            found = next(pages)
        except (NotFoundError, FormatError, TransportError) as error:
            error.where = where
            self.unlisted.setdefault(path, error)
            return None
        return [*found, *(one for page in pages for one in page)]

    def gives_referrers(self, path: str, digest: Digest) -> bool:
        """Whether the registry gives a list of referrers in a repository that is written to."""
        fetch = self._pages(pushing(path), "list of referrers", f"{self.host}/{path}")
        try:
            next(lists.pages(fetch, self.url(f"{path}/referrers/{digest}"), "manifests", path))
        except (NotFoundError, FormatError, TransportError):
            return False
        except LimitError:
            return True
        return True

    def _pages(self, scope: Scope, what: str, where: str, attempts: int = 1 + RETRIES) -> lists.Fetch:
        def page(url: str, most: int) -> lists.ListPage:
            response, raw = self.fetched(url, scope, what, where, most=most, attempts=attempts)
            return lists.ListPage(raw, response.headers.get("Link", ""), response.url)

        return page


def _schema_1(raw: bytes) -> bool:
    """Whether a document says that it is a Docker schema 1 manifest; many registries call one by no media type of its own."""
    with suppress(OcitoolError):
        return "fsLayers" in parse_object(raw, "")
    return False


def _digest(text: str | None) -> Digest | None:
    """A digest that can be checked; None for anything else."""
    try:
        digest = Digest.parse(text)
    except FormatError:
        return None
    return digest if digest.checkable else None
