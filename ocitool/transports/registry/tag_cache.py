"""Tags at a registry: what they lead to, and that they come to lead to what was sent, many at a time."""

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
from ocitool.transports.registry.errors import RETRIED, Denied, UnexpectedAnswer
from ocitool.transports.registry.scopes import Scope, pulling, pushing

AT_ONCE = 10
"""Tags of one request: as many as every registry takes that knows of them (distribution-spec, "Pushing Manifests")."""

FEW = 8
"""Tags of a repository that are asked for one by one; if there are more, its list tells which of them it has at all."""
_FAILURES = 3
"""Tags that the registry may fail for while it gives others: at one more it is the registry that fails, and not the tag."""
_PAGES = 4
"""A longer list may have many more tags than are asked for."""


class TaggedManifest(NamedTuple):
    """A manifest or index and the tags that it is to have in a repository."""

    target: UploadTarget
    media_type: str
    raw: bytes
    digest: Digest
    tags: Sequence[str]


class TagCache:
    """The tags of a registry's repositories, each asked for once. Used by several threads."""

    def __init__(self, client: Client, *, rehearsing: bool) -> None:
        self._client = client
        self._rehearsing = rehearsing
        self._known: dict[tuple[str, str], TaggedDigest | None] = {}
        self._asked: Counter[str] = Counter()
        self._listed: dict[str, frozenset[str] | None] = {}
        self._turns = OneAtATime(client.task)
        self._failures = 0
        self._together: bool | None = None
        """Whether the registry takes several tags with one request; None until it was tried."""

    def held(self, path: str, tag: str) -> TaggedDigest | None:
        """What a tag leads to; None if there is no such tag. Raises `Denied`, `TransportError`."""
        if (path, tag) not in self._known:
            scope = pulling(path) if self._rehearsing else pushing(path)
            listed = self._list(path, scope)
            known = self._client.held(path, tag, scope) if listed is None or tag in listed else None
            self._known[path, tag] = known
        return self._known[path, tag]

    def _list(self, path: str, scope: Scope) -> frozenset[str] | None:
        """All tags of a repository, once a few were asked for; None before that, and if they are not to be had or too many."""
        self._asked[path] += 1
        if self._asked[path] <= FEW:
            return None
        with self._turns.turn(path):
            if path not in self._listed:
                self._listed[path] = self._client.all_tags(path, scope, _PAGES)
            return self._listed[path]

    def fails(self) -> bool:
        """Counts a tag for which the registry fails (500 and the like). Returns whether that is one too many."""
        with self._turns.turn(""):
            self._failures += 1
            return self._failures > _FAILURES

    def leads_to(self, path: str, tag: str, digest: Digest) -> bool:
        """Whether a tag that was asked for leads to this."""
        held = self._known.get((path, tag))
        return held is not None and held.digest == digest

    def put(
        self, all_of: Iterable[TaggedManifest], task: Task, refused: Callable[[str, str, OcitoolError], None]
    ) -> list[PutResult | None]:
        """Gives the tags, those of one manifest together at a registry that knows how. What became of each of `all_of`, None of
        one whose tags led to it already. A tag that the registry refuses is `refused`, with its repository, unless it leads to
        the manifest all the same, as one that cannot be changed may."""
        every = list(all_of)
        found: list[PutResult | None] = [None] * len(every)
        single: list[tuple[int, str]] = []
        together: list[tuple[int, Sequence[str]]] = []
        for number, one in enumerate(every):
            if len(one.tags) > (1 if self._together else 2):  # else the attempt costs as much as it may save
                together += ((number, one.tags[at : at + AT_ONCE]) for at in range(0, len(one.tags), AT_ONCE))
            else:
                single += ((number, tag) for tag in one.tags)

        def several(row: tuple[int, Sequence[str]]) -> list[tuple[int, str]]:
            """The tags that are left."""
            number, tags = row
            if self._together is False:
                return [(number, tag) for tag in tags]
            one = every[number]
            try:
                put = self._client.put_document(one.target.path, one.digest, one.media_type, one.raw, one.digest, tags)
            except (Denied, UnexpectedAnswer, NotFoundError):
                put = PutResult(False)
            if self._together is None:
                self._together = bool(put.tags)
            if put.tags:
                found[number] = put
            return [(number, tag) for tag in tags if tag not in put.tags]

        if together and self._together is None:  # one is tried before all are
            single += several(together.pop(0))
        single += _flat(task.map(several, together))

        def alone(row: tuple[int, str]) -> None:
            number, tag = row
            put = self._put(every[number], tag, refused)
            found[number] = put or found[number]

        task.map(alone, single)
        return found

    def _put(self, one: TaggedManifest, tag: str, refused: Callable[[str, str, OcitoolError], None]) -> PutResult | None:
        path = one.target.path
        try:
            return self._client.put_document(path, tag, one.media_type, one.raw, one.digest)
        except (Denied, UnexpectedAnswer, NotFoundError, IntegrityError) as error:
            if isinstance(error, UnexpectedAnswer) and error.status in RETRIED and self.fails():
                raise
            there = None
            with suppress(OcitoolError):
                there = self._client.now(path, tag)
            if there == one.digest:
                return None
            if there is not None:
                error.what += f"; the tag leads to {there}, and {one.digest} was to be there"
            refused(path, tag, error)
            return None


def _flat(rows: Iterable[list[tuple[int, str]]]) -> Iterator[tuple[int, str]]:
    for row in rows:
        yield from row
