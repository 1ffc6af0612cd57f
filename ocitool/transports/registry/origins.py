"""Where blobs of a registry were seen before: repositories that they can be mounted from, so that they are not sent again.

One file a registry, `origins/HOST` in the cache's directory: a digest and a repository a line, the newest last. It says nothing
that must be true: a registry mounts what is there and what the user may read, and nothing else.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from threading import Lock

from ocitool import reference
from ocitool.digest import Digest
from ocitool.errors import OcitoolError
from ocitool.limits import MiB
from ocitool.transports.whole import write_document

_SIZE = 4 * MiB
"""A file beyond this loses its older half."""
_REPOSITORIES = 3


class Origins:
    """`directory` None: nothing is known and nothing kept."""

    def __init__(self, directory: str | None, host: str) -> None:
        self._host = host
        self._path = os.path.join(directory, "origins", host.replace("/", "_")) if directory else None
        self._new: list[str] = []
        self._lock = Lock()
        self._known: dict[str, list[str]] | None = None

    def find(self, digest: Digest) -> Sequence[str]:
        """Repositories in which the blob was, the latest first, a few."""
        known = self._read()
        with self._lock:
            return list(dict.fromkeys(reversed(known.get(str(digest), []))))[:_REPOSITORIES]

    def note(self, digest: Digest, path: str) -> None:
        known = self._read()
        with self._lock:
            if path not in known.setdefault(str(digest), []):
                known[str(digest)].append(path)
                self._new.append(f"{digest} {path}\n")

    def save(self) -> None:
        """Writes what was noted. A directory that cannot be written costs a later mount, not this command."""
        with self._lock:
            new, self._new = self._new, []
        if self._path is None or not new:
            return
        with contextlib.suppress(OSError, OcitoolError):
            os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
            with open(self._path, "a", encoding="utf-8") as file:
                file.write("".join(new))
            if os.path.getsize(self._path) > _SIZE:
                with open(self._path, "rb") as old:
                    old.seek(-_SIZE // 2, os.SEEK_END)
                    newest = old.read().partition(b"\n")[2]
                write_document(os.path.dirname(self._path), os.path.basename(self._path), newest)

    def _read(self) -> dict[str, list[str]]:
        """What is known, read when it is first asked for: by several threads perhaps, of which the first one counts."""
        if self._known is None:
            found = self._file()
            with self._lock:
                self._known = found if self._known is None else self._known
        return self._known

    def _file(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        if self._path is None:
            return found
        with contextlib.suppress(OSError), open(self._path, encoding="utf-8", errors="replace") as file:
            for line in file.read(2 * _SIZE).splitlines():
                digest, _, path = line.partition(" ")
                if reference.is_path(path):
                    found.setdefault(digest, []).append(path)
        return found
