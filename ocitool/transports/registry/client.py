"""One registry: its manifests, tags and lists, by requests of its endpoint."""

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
from ocitool.transports.registry.errors import Denied, UnexpectedResponse, UnknownRepository, error_for
from ocitool.transports.registry.http.http1 import Response
from ocitool.transports.registry.http.response_bodies import drain, is_html_page
from ocitool.transports.registry.keychain import Credentials
from ocitool.transports.registry.mount_hints import MountHints
from ocitool.transports.registry.mounting import Mounts
from ocitool.transports.registry.scopes import CATALOG_SCOPE, NO_SCOPE, Scope, pull_scope, push_scope

_ACCEPT = ", ".join((mediatypes.OCI_INDEX, mediatypes.OCI_MANIFEST, mediatypes.DOCKER_LIST, mediatypes.DOCKER_MANIFEST))
_ACCEPT_ANY = f"{_ACCEPT}, {mediatypes.OCI_ARTIFACT}"
"""For requests by digest, which may lead to an artifact manifest of the form that was withdrawn before OCI 1.1."""
_BLOB_UNKNOWN_CODES = frozenset({"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"})
"""Error codes for a manifest that names a blob which the repository does not have."""
_TAG_ABSENT = frozenset({400, 405, 406, 410, 414, 422})
"""Status codes, besides 401, 403 and 404, that registries send for a tag of signatures that does not exist. After any
other status it may exist."""


class RegistryDocument(NamedTuple):
    """A manifest or index as the registry stores it. `media_type`: the Content-Type of the response, without
    parameters."""

    raw: bytes
    media_type: str
    digest: Digest


class TaggedDigest(NamedTuple):
    """The media type and digest of the manifest that a tag points to, as the registry states them; the digest is None
    if it states none."""

    media_type: str
    digest: Digest | None


class PutResult(NamedTuple):
    """What the registry says of a manifest that was put. `subject_processed`: the response has `OCI-Subject`, so the
    registry adds the manifest to the list of referrers. `tags`: those of the requested tags that it now has."""

    subject_processed: bool
    tags: frozenset[str] = frozenset()


class Client(Endpoint):
    """The client of one registry. `referrers_errors`: by repository, why the registry did not return a list of
    referrers."""

    def __init__(self, host: str, access: Access, task: Task, cache: str | None = None) -> None:
        """As `Endpoint`. `cache`: the cache directory for `MountHints`."""
        super().__init__(host, access, task)
        self.mount_hints = MountHints(cache, host)
        self.referrers_errors: dict[str, OcitoolError] = {}
        self.mounts = Mounts(self)

    def login(self, login: Credentials) -> None:
        """Checks that the registry accepts these credentials. Raises `Denied` if it does not; sends a notice if it
        requires none."""
        login.remember()
        self.auth, self._find_credentials = None, lambda path: login
        try:
            response = self.request("GET", self.url(""), NO_SCOPE, "login")
            if response.status_code != 200:
                raise self.response_error(response, "login", self.host)
        except Denied as error:
            error.hint = "check both; many registries take a token in the place of the password"
            raise
        drain(response)
        if self.auth is None:
            self.task.notice("login", f"{self.host} requires no credentials, so these were not checked")

    def document(self, path: str, name: str | Digest) -> RegistryDocument:
        """Returns the exact bytes of a manifest or index, by tag or digest, and their digest.

        Raises `NotFoundError`, `IntegrityError` if the bytes do not match the digest or `Docker-Content-Digest`,
        `LimitError`, `TransportError`."""
        where = f"{self.host}/{path}{'@' if isinstance(name, Digest) else ':'}{name}"
        if isinstance(name, Digest):
            name.hasher()  # raises for an algorithm that cannot be computed
        what = "digest" if isinstance(name, Digest) else "tag"
        url = self.url(f"{path}/manifests/{name}")
        headers = {"Accept": _ACCEPT_ANY if isinstance(name, Digest) else _ACCEPT}
        response, raw = self.fetch_body(url, pull_scope(path), what, where, headers=headers)
        self.task.count_transferred(len(raw))
        stated = name if isinstance(name, Digest) else _checkable_digest(response.headers.get("Docker-Content-Digest"))
        digest = Digest.of(raw, stated.algorithm if stated is not None else "sha256")
        media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
        if stated is not None and digest != stated:
            # The digest of schema 1 excludes the signatures in it (Docker's "Image Manifest Version 2, Schema 1").
            if media_type in (mediatypes.DOCKER_SCHEMA1, mediatypes.DOCKER_SCHEMA1_SIGNED) or _is_schema_1(raw):
                raise schema_1(where)
            raise IntegrityError(f"content is {digest}, stated is {stated}", where)
        return RegistryDocument(raw, media_type, digest)

    def document_if_present(self, path: str, tag: str) -> RegistryDocument | None:
        """Returns a manifest as `document` does, for a tag of signatures or referrers; None if there is none. Some
        registries send 401, 403 or 400 for a tag that does not exist: then a notice is sent."""
        try:
            return self.document(path, tag)
        except NotFoundError:
            return None
        except (Denied, UnexpectedResponse) as error:
            if isinstance(error, UnexpectedResponse) and error.status not in _TAG_ABSENT:
                raise
            text = f"{self.host}/{path}: tags of signatures and referrers are taken to be absent after this response"
            self.task.notice("referrer", f"{text}: {error.what}")
            return None

    def tag_digest(self, path: str, tag: str) -> Digest | None:
        """Returns the digest that a tag points to, without retries; None if the registry does not state it."""
        url = self.url(f"{path}/manifests/{tag}")
        response = self._with_retries(lambda: self._authorized("HEAD", url, pull_scope(path), {"Accept": _ACCEPT}, None), 1)
        drain(response)
        if response.status_code != 200:
            return None
        return _checkable_digest(response.headers.get("Docker-Content-Digest")) or self.document(path, tag).digest

    def head_tag(self, path: str, tag: str, scope: Scope) -> TaggedDigest | None:
        """Returns what a tag points to, by HEAD, or by GET if HEAD fails; None if the tag does not exist or both fail.
        Raises `Denied` if the credentials are refused."""
        url, headers = self.url(f"{path}/manifests/{tag}"), {"Accept": _ACCEPT}
        for method in ("HEAD", "GET"):
            response = self.request(method, url, scope, "tag", headers=headers)
            if method == "GET" and response.status_code == 401:
                raise self.response_error(response, "tag", f"{self.host}/{path}:{tag}")
            drain(response)
            if response.status_code == 200:
                media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
                return TaggedDigest(media_type, _checkable_digest(response.headers.get("Docker-Content-Digest")))
            if response.status_code == 404:
                return None
        return None

    def put_document(
        self, path: str, name: str | Digest, media_type: str, raw: bytes, digest: Digest, tags: Sequence[str] = ()
    ) -> PutResult:
        """Puts a manifest or index under `name`, a tag or its digest; under its digest also with `tags`, if the
        registry supports that (distribution-spec, "Pushing Manifests"). Raises `IntegrityError` if the registry states
        another digest than that of the bytes."""
        where = f"{self.host}/{path}"
        if not mediatypes.is_media_type(media_type):
            raise FormatError(f"invalid media type: {media_type}", f"{where}: manifest {digest}")
        query = "?" + urlencode([("tag", tag) for tag in tags]) if tags else ""
        url = self.url(f"{path}/manifests/{name}{query}")

        def put() -> Response:
            return self.request("PUT", url, push_scope(path), "manifest", headers={"Content-Type": media_type}, body=raw)

        response = put()
        if 400 <= response.status_code < 500 and self.mounts.may_repair(path):
            error_response = self.error_response(response)
            if not self.mounts.repair(path, b"" if error_response.error.codes.isdisjoint(_BLOB_UNKNOWN_CODES) else raw):
                raise error_for(error_response, f"manifest {digest}", where, self.host)
            response = put()
        if response.status_code not in (200, 201, 202) or (response.status_code == 200 and is_html_page(response)):
            raise self.response_error(response, f"manifest {digest}", where)
        drain(response)
        self.task.count_transferred(len(raw))
        stored = _checkable_digest(response.headers.get("Docker-Content-Digest"))
        if stored is not None and stored.algorithm == digest.algorithm and stored != digest:
            raise IntegrityError(f"the registry stored {stored}, sent was {digest}", where)
        given = {one.strip() for one in response.headers.get("OCI-Tag", "").split(",")}
        return PutResult("OCI-Subject" in response.headers, frozenset(given.intersection(tags)))

    def tags(self, path: str) -> list[str]:
        """Returns all tags of a repository. Raises `NotFoundError` if there is no such repository."""
        where = f"{self.host}/{path}"
        return lists.strings(
            self._page_fetcher(pull_scope(path), "repository", where), self.url(f"{path}/tags/list"), "tags", where
        )

    def all_tags(self, path: str, scope: Scope, max_pages: int) -> frozenset[str] | None:
        """Returns the tags of a repository if their list has at most `max_pages` pages; None if it is longer or cannot
        be read."""
        where = f"{self.host}/{path}"
        pages = lists.pages(
            self._page_fetcher(scope, "repository", where, 1), self.url(f"{path}/tags/list"), "tags", where, max_pages
        )
        try:
            return frozenset(one for page in pages for one in page if isinstance(one, str))
        except UnknownRepository:
            return frozenset()
        except (TransportError, NotFoundError, FormatError, LimitError):
            return None

    def repositories(self) -> list[str]:
        """Returns the repositories in the catalogue. Raises `NotFoundError` if the registry has none."""
        return lists.strings(
            self._page_fetcher(CATALOG_SCOPE, "catalogue", self.host), self.url("_catalog"), "repositories", self.host
        )

    def referrers(self, path: str, digest: Digest) -> list[Any] | None:
        """Returns the unchecked descriptors in the registry's list of referrers of a manifest (distribution-spec,
        "Listing Referrers").

        Returns None if the registry sends no such list, whatever it sends instead: not every registry without this API
        answers 404. Then `referrers_errors` says why, and the caller reads the referrers tag. Raises for an incomplete
        list."""
        where = f"{self.host}/{path}"
        attempts = 1 if path in self.referrers_errors else 1 + RETRIES
        fetch = self._page_fetcher(pull_scope(path), "list of referrers", where, attempts)
        pages = lists.pages(fetch, self.url(f"{path}/referrers/{digest}"), "manifests", where)
        try:
            found = next(pages)
        except (NotFoundError, FormatError, TransportError) as error:
            error.where = where
            self.referrers_errors.setdefault(path, error)
            return None
        return [*found, *(one for page in pages for one in page)]

    def lists_referrers(self, path: str, digest: Digest) -> bool:
        """Returns whether the registry sends a list of referrers for a repository that is written to."""
        fetch = self._page_fetcher(push_scope(path), "list of referrers", f"{self.host}/{path}")
        try:
            next(lists.pages(fetch, self.url(f"{path}/referrers/{digest}"), "manifests", path))
        except (NotFoundError, FormatError, TransportError):
            return False
        except LimitError:
            return True
        return True

    def _page_fetcher(self, scope: Scope, what: str, where: str, attempts: int = 1 + RETRIES) -> lists.Fetch:
        def page(url: str, max_bytes: int) -> lists.ListPage:
            response, raw = self.fetch_body(url, scope, what, where, max_bytes=max_bytes, attempts=attempts)
            return lists.ListPage(raw, response.headers.get("Link", ""), response.url)

        return page


def _is_schema_1(raw: bytes) -> bool:
    """Returns whether a document is a Docker schema 1 manifest by its members; many registries send one without its
    media type."""
    with suppress(OcitoolError):
        return "fsLayers" in parse_object(raw, "")
    return False


def _checkable_digest(text: str | None) -> Digest | None:
    """Returns the digest in a header field; None if it is absent, invalid or of an algorithm that cannot be computed."""
    try:
        digest = Digest.parse(text)
    except FormatError:
        return None
    return digest if digest.checkable else None
