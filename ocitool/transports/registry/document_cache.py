"""Manifests and configurations that several sources of one command share, such as tags of one index or images with one
configuration.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Protocol

from ocitool.digest import Digest
from ocitool.limits import MiB
from ocitool.task import OneAtATime, Task


class Kept(Protocol):
    """Documents that are kept between runs."""

    @property
    def filled(self) -> bool:
        """Whether there are any, so that it pays to ask for the digest of a tag first."""

    def find(self, digest: Digest) -> bytes | None:
        """Returns a document, hashed now; None if it is not kept."""

    def add(self, digest: Digest, raw: bytes) -> None:
        """Keeps a document whose bytes were hashed."""


class DocumentCache:
    """Documents by digest. Each is fetched once however many threads need it; the most recently used ones are kept, up
    to `MOST` bytes. All of them were verified. `kept`: documents of earlier runs, which are not fetched; None if none are
    kept."""

    MOST = 64 * MiB

    def __init__(self, task: Task) -> None:
        self._turns = OneAtATime(task)
        self._lock = Lock()
        self._held: dict[Digest, bytes] = {}
        self._size = 0
        self.kept: Kept | None = None

    def get(self, digest: Digest, fetch: Callable[[], bytes]) -> bytes:
        """Returns a document from the cache, else the verified bytes that `fetch` returns. Raises what `fetch` raises."""
        found = self._find(digest)
        fetched = False
        if found is None:
            with self._turns.turn(digest) as waited:
                found = self._find(digest)
                if found is None and not waited:
                    found = self.kept.find(digest) if self.kept is not None else None
                    fetched = found is None
                    found = fetch() if found is None else found
                    self._keep(digest, found)
        if found is None:  # fetching failed on the thread that this one waited for: now each waiting thread tries
            found, fetched = fetch(), True
            self._keep(digest, found)
        if fetched and self.kept is not None:
            self.kept.add(digest, found)
        return found

    def _find(self, digest: Digest) -> bytes | None:
        with self._lock:
            found = self._held.pop(digest, None)
            if found is not None:
                self._held[digest] = found  # most recently used
            return found

    def _keep(self, digest: Digest, data: bytes) -> None:
        with self._lock:
            if digest in self._held or len(data) > self.MOST:
                return
            self._held[digest] = data
            self._size += len(data)
            while self._size > self.MOST:
                self._size -= len(self._held.pop(next(iter(self._held))))
