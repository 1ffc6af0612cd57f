"""Mount hints: in which repositories of a registry a blob was seen, so that it can be mounted and need not be sent
again.

One file for each registry, `origins/HOST` in the cache directory. A line holds a digest and a repository, the newest
last; with `!` before the digest, a repository from which a mount of this blob did not work. Hints need not be true: a
registry mounts only what exists and what the user may read.
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
"""If the file is larger, its older half is removed."""
_MAX_REPOSITORIES = 3
"""Repositories that `find` returns."""


class MountHints:
    """The mount hints of one registry. `directory`: the cache directory. If it is None, or not private to the user,
    there are no hints and none are kept."""

    def __init__(self, directory: str | None, host: str) -> None:
        self._directory = directory
        self._name = host.replace("/", "_")
        self._new: list[str] = []
        self._lock = Lock()
        self._loaded: dict[str, list[str]] | None = None

    def find(self, digest: Digest) -> Sequence[str]:
        """Returns a few repositories in which the blob was seen, the latest first."""
        known = self._hints()
        with self._lock:
            wrong = known.get(f"!{digest}", ())
            return [one for one in dict.fromkeys(reversed(known.get(str(digest), []))) if one not in wrong][:_MAX_REPOSITORIES]

    def without_wrong(self, digest: Digest, paths: Sequence[str]) -> Sequence[str]:
        """Returns those of the repositories from which no mount of the blob was wrong."""
        known = self._hints()
        with self._lock:
            wrong = known.get(f"!{digest}", ())
            return [path for path in paths if path not in wrong]

    def add(self, digest: Digest, path: str) -> None:
        """Records that a repository has the blob."""
        self._add(str(digest), path)

    def add_wrong(self, digest: Digest, path: str) -> None:
        """Records that a mount from this repository was reported as done and was not."""
        self._add(f"!{digest}", path)

    def _add(self, name: str, path: str) -> None:
        known = self._hints()
        with self._lock:
            if path not in known.setdefault(name, []):
                known[name].append(path)
                self._new.append(f"{name} {path}\n")

    def save(self) -> None:
        """Writes the new hints. If the directory cannot be written, later commands have fewer hints; this one goes on."""
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
        """Returns all hints. The file is read when they are first needed; if several threads read it, the first result
        is kept."""
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
