"""Numbers that several processes count together."""

from __future__ import annotations

import os
from threading import Lock

SLOTS = 64
"""Processes that can count together: each adds to a number of its own, so that none waits for another."""
_BYTES = 2 * SLOTS * 8


class SharedCounts:
    """Two numbers for each process, in memory that all of them share: bytes that it unpacked beyond the allowed ratio, and
    bytes that it read. Another process makes its own of the same file."""

    def __init__(self, descriptor: int | None = None) -> None:
        from mmap import mmap

        self.descriptor = _anonymous_file() if descriptor is None else descriptor
        """Of the file that the memory is of; closed with the last reference to this."""
        if descriptor is None:  # a page that a full disk has no room for would end the process when it is used
            os.write(self.descriptor, bytes(_BYTES))
        numbers = memoryview(mmap(self.descriptor, _BYTES)).cast("q")
        self.expansion, self.read = numbers[:SLOTS], numbers[SLOTS:]

    def __del__(self) -> None:
        os.close(self.descriptor)


def _anonymous_file() -> int:
    """Returns a new file without a name, in memory if the system has such files, open for reading and writing."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("ocitool-counts")
    from tempfile import TemporaryFile  # each task counts, and few share what they count

    with TemporaryFile() as file:
        return os.dup(file.fileno())


class Expansion:
    """Bytes that were unpacked beyond the allowed ratio, in this process and those that count with it."""

    def __init__(self, counts: SharedCounts | None = None, slot: int = 0) -> None:
        self._counts, self._slot = counts, slot
        self._own = 0
        self._lock = Lock()

    def add(self, count: int) -> int:
        """Counts bytes, and returns their number so far, in all processes."""
        with self._lock:
            self._own += count
            if self._counts is None:
                return self._own
            self._counts.expansion[self._slot] = self._own
            return sum(self._counts.expansion)

    def share(self, counts: SharedCounts) -> None:
        """Counts together with other processes from now on; this one has the first number."""
        with self._lock:
            self._counts = counts
            counts.expansion[0] = self._own
