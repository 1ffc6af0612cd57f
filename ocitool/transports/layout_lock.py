"""The locks of an OCI image layout: who may write to it beside whom.

Both are flock(2) and so gone with their process: on the directory itself, shared by every writer for its whole write and
exclusive for whoever removes blobs; inside of it, on `blobs/`, exclusive around reading, merging and renaming `index.json`.
Writers that are not ours take no locks and are not protected.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from ocitool.atomic import unwritable
from ocitool.directories import OpenDirectory
from ocitool.task import Task


class LayoutLock:
    """The lock on a layout's directory, which nothing else locks through this descriptor; held until `close`."""

    def __init__(self, at: OpenDirectory, task: Task, *, exclusive: bool) -> None:
        self._at = at
        self._task = task
        task.flock(at.descriptor, at.path, exclusive=exclusive)

    @contextlib.contextmanager
    def index(self) -> Iterator[None]:
        """The second lock: around reading, changing and renaming `index.json`."""
        try:
            blobs = self._at.below("blobs")
        except OSError as error:
            raise unwritable(self._at.name("blobs"), error) from None
        self._task.flock(blobs.descriptor, self._at.path, exclusive=True)
        try:
            yield
        finally:
            fcntl.flock(blobs.descriptor, fcntl.LOCK_UN)

    def alone(self) -> bool:
        """Takes the lock alone if nobody else has it; without waiting."""
        try:
            fcntl.flock(self._at.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def stands(self) -> bool:
        """Whether the directory is still the one that was locked."""
        try:
            return os.path.samestat(os.fstat(self._at.descriptor), os.stat(self._at.path))
        except OSError:
            return False

    def close(self) -> None:
        with contextlib.suppress(OSError):
            fcntl.flock(self._at.descriptor, fcntl.LOCK_UN)
