"""Tags at a registry: what they point to, and putting many of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from ocitool.digest import Digest
from ocitool.errors import IntegrityError, NotFoundError, OcitoolError
from ocitool.task import OneAtATime, Task
from ocitool.transports.registry.blobs import UploadTarget
from ocitool.transports.registry.client import Client, PutResult, TaggedDigest
from ocitool.transports.registry.errors import RETRIED, Denied, UnexpectedResponse
from ocitool.transports.registry.scopes import Scope, pull_scope, push_scope

TAGS_PER_REQUEST = 10
"""Tags of one request: the number that every registry with this feature accepts (distribution-spec, "Pushing
Manifests")."""

SINGLE_LOOKUPS = 8
"""Tags of a repository that are looked up one by one; for more, the list of tags is read, which says which of them
exist."""
_MAX_FAILURES = 3
"""Tags for which requests may fail while others succeed: after one more the registry itself is taken to fail."""
_MAX_LIST_PAGES = 4
"""A longer list may have many more tags than are looked up."""


class TaggedManifest(NamedTuple):
    """A manifest or index and the tags that it is to get in a repository."""

    target: UploadTarget
    media_type: str
    raw: bytes
    digest: Digest
    tags: Sequence[str]


class RegistryTags:
    """The tags of a registry's repositories. Each is looked up once. Used by several threads."""

    def __init__(self, client: Client, *, dry_run: bool) -> None:
        self._client = client
        self._dry_run = dry_run
        self._known: dict[tuple[str, str], TaggedDigest | None] = {}
        self._lookups: Counter[str] = Counter()
        self._listed: dict[str, frozenset[str] | None] = {}
        self._turns = OneAtATime(client.task)
        self._failures = 0
        self._multi_tag: bool | None = None
        """Whether the registry accepts several tags in one request; None before the first such request."""

    def find(self, path: str, tag: str) -> TaggedDigest | None:
        """Returns what a tag points to; None if it does not exist. Raises `Denied`, `TransportError`."""
        if (path, tag) not in self._known:
            scope = pull_scope(path) if self._dry_run else push_scope(path)
            listed = self._all_tags(path, scope)
            known = self._client.head_tag(path, tag, scope) if listed is None or tag in listed else None
            self._known[path, tag] = known
        return self._known[path, tag]

    def _all_tags(self, path: str, scope: Scope) -> frozenset[str] | None:
        """Returns all tags of a repository, once several were looked up; None before that, and if the list is too long
        or cannot be read."""
        self._lookups[path] += 1
        if self._lookups[path] <= SINGLE_LOOKUPS:
            return None
        with self._turns.turn(path):
            if path not in self._listed:
                self._listed[path] = self._client.all_tags(path, scope, _MAX_LIST_PAGES)
            return self._listed[path]

    def count_failure(self) -> bool:
        """Counts a tag for which the registry fails (status 500 and the like). Returns whether there were too many."""
        with self._turns.turn(""):
            self._failures += 1
            return self._failures > _MAX_FAILURES

    def points_to(self, path: str, tag: str, digest: Digest) -> bool:
        """Returns whether a tag that was looked up points to this digest."""
        found = self._known.get((path, tag))
        return found is not None and found.digest == digest

    def put(
        self, tagged_manifests: Iterable[TaggedManifest], task: Task, on_refused: Callable[[str, str, OcitoolError], None]
    ) -> list[PutResult | None]:
        """Puts the tags, several of one manifest with one request if the registry supports that. Returns the result for
        each of `tagged_manifests`; None if its tags pointed to it already.

        `on_refused` is called with repository, tag and error for a tag that the registry refuses, unless the tag points
        to the manifest all the same, as an immutable one may."""
        entries = list(tagged_manifests)
        found: list[PutResult | None] = [None] * len(entries)
        single: list[tuple[int, str]] = []
        batches: list[tuple[int, Sequence[str]]] = []
        for number, one in enumerate(entries):
            if len(one.tags) > (1 if self._multi_tag else 2):  # with fewer, the attempt costs as much as it may save
                batches += ((number, one.tags[at : at + TAGS_PER_REQUEST]) for at in range(0, len(one.tags), TAGS_PER_REQUEST))
            else:
                single += ((number, tag) for tag in one.tags)

        def put_batch(row: tuple[int, Sequence[str]]) -> list[tuple[int, str]]:
            """Returns the tags that are still to be put."""
            number, tags = row
            if self._multi_tag is False:
                return [(number, tag) for tag in tags]
            one = entries[number]
            try:
                put = self._client.put_document(one.target.path, one.digest, one.media_type, one.raw, one.digest, tags)
            except (Denied, UnexpectedResponse, NotFoundError):
                put = PutResult(False)
            if self._multi_tag is None:
                self._multi_tag = bool(put.tags)
            if put.tags:
                found[number] = put
            return [(number, tag) for tag in tags if tag not in put.tags]

        if batches and self._multi_tag is None:  # one request shows whether the registry supports it
            single += put_batch(batches.pop(0))
        single += _flat(task.map(put_batch, batches))

        def put_one(row: tuple[int, str]) -> None:
            number, tag = row
            put = self._put_tag(entries[number], tag, on_refused)
            found[number] = put or found[number]

        task.map(put_one, single)
        return found

    def _put_tag(self, one: TaggedManifest, tag: str, on_refused: Callable[[str, str, OcitoolError], None]) -> PutResult | None:
        path = one.target.path
        try:
            return self._client.put_document(path, tag, one.media_type, one.raw, one.digest)
        except (Denied, UnexpectedResponse, NotFoundError, IntegrityError) as error:
            if isinstance(error, UnexpectedResponse) and error.status in RETRIED and self.count_failure():
                raise
            current = None
            with suppress(OcitoolError):
                current = self._client.tag_digest(path, tag)
            if current == one.digest:
                return None
            if current is not None:
                error.what += f"; the tag points to {current}, not to {one.digest}"
            on_refused(path, tag, error)
            return None


def _flat(rows: Iterable[list[tuple[int, str]]]) -> Iterator[tuple[int, str]]:
    for row in rows:
        yield from row
