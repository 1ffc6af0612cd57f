"""Where blobs of a registry were seen before: repositories that they can be mounted from, so that they are not sent again.

One file a registry, `origins/HOST` in the cache's directory: a digest and a repository a line, the newest last; with `!` before
the digest, a repository that a mount of it was wrong from. It says nothing that must be true: a registry mounts what is there
and what the user may read, and nothing else.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from threading import Lock

from ocitool import reference
from ocitool.atomic import write_all, write_document
from ocitool.digest import Digest
from ocitool.directories import OpenDirectory, is_private_file, private_below, private_directory
from ocitool.errors import OcitoolError
from ocitool.limits import MiB

_MAX_SIZE = 4 * MiB
"""A file beyond this loses its older half."""
_MAX_REPOSITORIES = 3


class MountHints:
    """`directory`: of the cache. If it is None, or not the user's alone, nothing is known and nothing kept."""

    def __init__(self, directory: str | None, host: str) -> None:
        self._directory = directory
        self._name = host.replace("/", "_")
        self._new: list[str] = []
        self._lock = Lock()
        self._loaded: dict[str, list[str]] | None = None

    def find(self, digest: Digest) -> Sequence[str]:
        """Repositories in which the blob was, the latest first, a few."""
        known = self._hints()
        with self._lock:
            wrong = known.get(f"!{digest}", ())
            return [one for one in dict.fromkeys(reversed(known.get(str(digest), []))) if one not in wrong][:_MAX_REPOSITORIES]

    def without_wrong(self, digest: Digest, paths: Sequence[str]) -> Sequence[str]:
        """Of these repositories those that no mount of the blob was wrong from."""
        known = self._hints()
        with self._lock:
            wrong = known.get(f"!{digest}", ())
            return [path for path in paths if path not in wrong]

    def add(self, digest: Digest, path: str) -> None:
        self._add(str(digest), path)

    def add_wrong(self, digest: Digest, path: str) -> None:
        """A mount from there was wrong."""
        self._add(f"!{digest}", path)

    def _add(self, name: str, path: str) -> None:
        known = self._hints()
        with self._lock:
            if path not in known.setdefault(name, []):
                known[name].append(path)
                self._new.append(f"{name} {path}\n")

    def save(self) -> None:
        """Writes what was noted. A directory that cannot be written costs a later mount, not this command."""
        with self._lock:
            new, self._new = self._new, []
        if not new:
            return
        with contextlib.suppress(OSError, OcitoolError):
            directory = self._open()
            if directory is None:
                return
            with os.fdopen(
                directory.open(self._name, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o600), "r+b", 0
            ) as file:
                if not is_private_file(os.fstat(file.fileno())):
                    return
                write_all(file.fileno(), "".join(new).encode(), self._name)
                if file.tell() > _MAX_SIZE:
                    file.seek(-_MAX_SIZE // 2, os.SEEK_END)
                    write_document(directory, self._name, file.readall().partition(b"\n")[2])

    def _open(self) -> OpenDirectory | None:
        if self._directory is None:
            return None
        try:
            return private_below(private_directory(self._directory), "origins")
        except ValueError:
            return None

    def _hints(self) -> dict[str, list[str]]:
        """What is known, read when it is first asked for: by several threads perhaps, of which the first one counts."""
        if self._loaded is None:
            found = self._load()
            with self._lock:
                self._loaded = found if self._loaded is None else self._loaded
        return self._loaded

    def _load(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        directory = self._open()
        if directory is None:
            return found
        with contextlib.suppress(OSError), os.fdopen(directory.read(self._name), "rb") as file:
            text = file.read(2 * _MAX_SIZE).decode("utf-8", "replace") if is_private_file(os.fstat(file.fileno())) else ""
            for line in text.splitlines():
                digest, _, path = line.partition(" ")
                if reference.is_path(path):
                    found.setdefault(digest, []).append(path)
        return found
