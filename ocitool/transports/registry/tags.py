"""The tags of a registry: looks up what they point to, and puts many of them with few requests."""

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
"""Tags of a repository that are looked up by one request each. Before further look-ups the repository's list of tags is
read, so that only tags that exist cost a request."""
_MAX_FAILURES = 3
"""Tags that may fail without ending the run. If more fail, the registry itself is assumed to fail."""
_MAX_LIST_PAGES = 4
"""Pages of a list of tags that are read at most: a longer list costs more requests than it saves."""


class TaggedManifest(NamedTuple):
    """A manifest or index and the tags that it is to get in a repository."""

    target: UploadTarget
    media_type: str
    raw: bytes
    digest: Digest
    tags: Sequence[str]


class RegistryTags:
    """What the tags of a registry's repositories point to, each looked up once, and the requests that put tags. Several
    threads may use it. `dry_run`: look-ups request a token for pulling only, since nothing is pushed."""

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
        """Returns what a tag of the repository `path` points to; None if it does not exist. Raises `Denied`,
        `TransportError`."""
        if (path, tag) not in self._known:
            scope = pull_scope(path) if self._dry_run else push_scope(path)
            listed = self._all_tags(path, scope)
            known = self._client.head_tag(path, tag, scope) if listed is None or tag in listed else None
            self._known[path, tag] = known
        return self._known[path, tag]

    def _all_tags(self, path: str, scope: Scope) -> frozenset[str] | None:
        """Returns the list of tags, or None: for the first `SINGLE_LOOKUPS` look-ups in a repository, and if the list is too
        long or cannot be read."""
        self._lookups[path] += 1
        if self._lookups[path] <= SINGLE_LOOKUPS:
            return None
        with self._turns.turn(path):
            if path not in self._listed:
                self._listed[path] = self._client.all_tags(path, scope, _MAX_LIST_PAGES)
            return self._listed[path]

    def count_failure(self) -> bool:
        """Counts a tag for which the registry fails (status 500 and the like). Returns whether more than `_MAX_FAILURES` tags
        have failed, so that the caller ends the run."""
        with self._turns.turn(""):
            self._failures += 1
            return self._failures > _MAX_FAILURES

    def points_to(self, path: str, tag: str, digest: Digest) -> bool:
        """Returns whether a tag is known to point to this digest: `find` has looked it up. Sends no request."""
        found = self._known.get((path, tag))
        return found is not None and found.digest == digest

    def put(
        self, tagged_manifests: Iterable[TaggedManifest], task: Task, on_refused: Callable[[str, str, OcitoolError], None]
    ) -> list[PutResult | None]:
        """Puts the tags, several of one manifest with one request if the registry supports that. Returns a result for
        each of `tagged_manifests`; None if the registry accepted none of its tags.

        `on_refused` is called with repository, tag and error for each tag that the registry refuses, unless the tag
        already points to the manifest: registries refuse to put an immutable tag again. Raises other errors of
        `Client.put_document`, and that of a refusal if too many tags failed (`count_failure`)."""
        entries = list(tagged_manifests)
        results: list[PutResult | None] = [None] * len(entries)
        single: list[tuple[int, str]] = []
        batches: list[tuple[int, Sequence[str]]] = []
        for number, one in enumerate(entries):
            if len(one.tags) > (1 if self._multi_tag else 2):  # for fewer, the trial costs as much as it may save
                batches += ((number, one.tags[at : at + TAGS_PER_REQUEST]) for at in range(0, len(one.tags), TAGS_PER_REQUEST))
            else:
                single += ((number, tag) for tag in one.tags)

        def put_batch(batch: tuple[int, Sequence[str]]) -> list[tuple[int, str]]:
            """Puts several tags of a manifest with one request. Returns those that are still to be put."""
            number, tags = batch
            if self._multi_tag is False:
                return [(number, tag) for tag in tags]
            one = entries[number]
            try:
                result = self._client.put_document(one.target.path, one.digest, one.media_type, one.raw, one.digest, tags)
            except (Denied, UnexpectedResponse, NotFoundError):
                result = PutResult(False)
            if self._multi_tag is None:
                self._multi_tag = bool(result.tags)
            if result.tags:
                results[number] = result
            return [(number, tag) for tag in tags if tag not in result.tags]

        if batches and self._multi_tag is None:  # the first request shows whether the registry supports several tags
            single += put_batch(batches.pop(0))
        single += _flat(task.map(put_batch, batches, lambda _: True))

        def put_one(numbered_tag: tuple[int, str]) -> None:
            number, tag = numbered_tag
            result = self._put_tag(entries[number], tag, on_refused)
            results[number] = result or results[number]

        task.map(put_one, single, lambda _: True)
        return results

    def _put_tag(self, one: TaggedManifest, tag: str, on_refused: Callable[[str, str, OcitoolError], None]) -> PutResult | None:
        """Puts one tag. Returns None if the registry refuses it."""
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
