"""A blob's bytes as the bodies of requests: read as they are sent, hashed on their way, and read again for a redirect."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ocitool.blob import Blob, stream_once
from ocitool.digest import Digest
from ocitool.errors import IntegrityError, OcitoolError
from ocitool.task import Task


def read_source(blob: Blob, offset: int = 0) -> Iterator[bytes]:
    """The bytes as they come. An error says that it is one of reading."""
    try:
        yield from stream_once(blob, offset)
    except OcitoolError as error:
        error.from_source = True
        raise


class Bytes:
    """A blob's bytes from `offset`, cut into the parts that requests send. What stands before is hashed too."""

    def __init__(self, blob: Blob, digest: Digest, offset: int, task: Task, told: Callable[[int], None]) -> None:
        self._blob = blob
        self._digest = digest
        self._task = task
        self._told = told
        self._hasher = digest.hasher()
        self._at = 0
        self._left = b""
        self._pieces = read_source(blob)
        while self._at < offset:
            self._next(offset)

    def part(self, count: int) -> Part:
        return Part(self, self._at, count, self._hasher.copy())

    def take(self, start: int, count: int, hasher: Any) -> Iterator[bytes]:
        """The bytes of a part, once more for each redirect. `hasher`: of what stands before it."""
        if self._at != start:
            self._at, self._left, self._hasher = start, b"", hasher.copy()
            self._pieces = read_source(self._blob, start)
            self._told(start)
        end = start + count
        while self._at < end:
            piece = self._next(end)
            self._task.check()
            self._task.count_transferred(len(piece))
            self._told(self._at)
            yield piece

    def _next(self, end: int) -> bytes:
        """More bytes, none from `end` on. Raises `IntegrityError` if there are none."""
        piece = self._left or next(self._pieces, b"")
        if not piece:
            raise IntegrityError(f"{self._at} bytes where {self._blob.size} are stated")
        count = end - self._at
        self._left = piece[count:]
        piece = piece[:count]
        self._hasher.update(piece)
        self._at += len(piece)
        return piece

    def finished(self) -> None:
        """Raises `IntegrityError` if the bytes are not the digest's."""
        if self._left or next(self._pieces, b""):
            raise IntegrityError(f"longer than its stated size of {self._blob.size} bytes")
        if self._hasher.hexdigest() != self._digest.encoded:
            found = f"{self._digest.algorithm}:{self._hasher.hexdigest()}"
            raise IntegrityError(f"content is {found}, stated is {self._digest}")


class Part:
    """The body of a request, of known length: its bytes each time that it is iterated."""

    def __init__(self, source: Bytes, start: int, count: int, hasher: Any) -> None:
        self._source = source
        self._start = start
        self._count = count
        self._hasher = hasher

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[bytes]:
        return self._source.take(self._start, self._count, self._hasher)
