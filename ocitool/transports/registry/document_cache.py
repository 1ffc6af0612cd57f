"""Manifests and configurations that several sources of one command share, such as tags of one index or images with one
configuration.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from ocitool.digest import Digest
from ocitool.limits import MiB
from ocitool.task import OneAtATime, Task


class DocumentCache:
    """Documents by digest. Each is fetched once however many threads need it; the most recently used ones are kept, up
    to `MOST` bytes. All of them were verified."""

    MOST = 64 * MiB

    def __init__(self, task: Task) -> None:
        self._turns = OneAtATime(task)
        self._lock = Lock()
        self._held: dict[Digest, bytes] = {}
        self._size = 0

    def get(self, digest: Digest, fetch: Callable[[], bytes]) -> bytes:
        """Returns a document from the cache, else the verified bytes that `fetch` returns. Raises what `fetch` raises."""
        found = self._find(digest)
        if found is None:
            with self._turns.turn(digest) as waited:
                found = self._find(digest)
                if found is None and not waited:
                    found = fetch()
                    self._keep(digest, found)
        if found is None:  # fetching failed on the thread that this one waited for: now each waiting thread tries
            found = fetch()
            self._keep(digest, found)
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
