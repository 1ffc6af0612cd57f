"""The locks of an OCI image layout, for several concurrent writers.

Both are flock(2) locks, so they end with the process. The lock on the layout's directory is shared by all writers while
they write, and exclusive while blobs are removed. The lock on `blobs/` is exclusive while `index.json` is read, merged
and renamed. Other programs take no locks; nothing protects against them.
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
    """The lock on a layout's directory, held until `close`. `exclusive`: for removing blobs."""

    def __init__(self, at: OpenDirectory, task: Task, *, exclusive: bool) -> None:
        self._at = at
        self._task = task
        task.flock(at.descriptor, at.path, exclusive=exclusive)

    @contextlib.contextmanager
    def index(self) -> Iterator[None]:
        """Holds the second lock, for reading, merging and renaming `index.json`."""
        try:
            blobs = self._at.below("blobs")
        except OSError as error:
            raise unwritable(self._at.name("blobs"), error) from None
        self._task.flock(blobs.descriptor, self._at.path, exclusive=True)
        try:
            yield
        finally:
            fcntl.flock(blobs.descriptor, fcntl.LOCK_UN)

    def try_exclusive(self) -> bool:
        """Makes the lock exclusive if no other process holds it, without waiting. Returns whether it did."""
        try:
            fcntl.flock(self._at.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def is_current(self) -> bool:
        """Returns whether the path still leads to the directory that was locked."""
        try:
            return os.path.samestat(os.fstat(self._at.descriptor), os.stat(self._at.path))
        except OSError:
            return False

    def close(self) -> None:
        with contextlib.suppress(OSError):
            fcntl.flock(self._at.descriptor, fcntl.LOCK_UN)
