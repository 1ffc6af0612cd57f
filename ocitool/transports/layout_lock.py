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

from ocitool.errors import DestinationError
from ocitool.task import Task
from ocitool.transports.whole import unwritable


class LayoutLock:
    """The lock on a layout's directory; held until `close`."""

    def __init__(self, directory: str, task: Task, *, exclusive: bool) -> None:
        self.directory = directory
        try:
            self._descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise unwritable(directory, error) from None
        self._task = task

        def waiting() -> None:
            task.notice("waiting", f"waited for another ocitool that works on {directory}")

        try:
            task.flock(self._descriptor, exclusive=exclusive, waiting=waiting)
        except OSError as error:
            raise DestinationError(f"the layout cannot be locked: {error.strerror}", directory) from None

    @contextlib.contextmanager
    def index(self) -> Iterator[None]:
        """The second lock: around reading, changing and renaming `index.json`."""
        descriptor = os.open(os.path.join(self.directory, "blobs"), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._task.flock(descriptor, exclusive=True)
            yield
        finally:
            os.close(descriptor)

    def alone(self) -> bool:
        """Takes the lock alone if nobody else has it; without waiting."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def stands(self) -> bool:
        """Whether the directory is still the one that was locked."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), os.stat(self.directory))
        except OSError:
            return False

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
