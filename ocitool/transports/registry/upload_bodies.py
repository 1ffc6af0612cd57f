"""The bytes of a blob as request bodies: read while they are sent, hashed on the way, and read again for a redirect."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ocitool.blob import Blob, stream_once
from ocitool.digest import Digest, hashed
from ocitool.errors import IntegrityError, OcitoolError
from ocitool.task import Task


def read_source(blob: Blob, offset: int = 0) -> Iterator[bytes]:
    """Yields the bytes of a blob from `offset`. An error is marked as one of reading the source (`from_source`)."""
    try:
        yield from stream_once(blob, offset)
    except OcitoolError as error:
        error.from_source = True
        raise


class UploadSource:
    """The bytes of a blob, split into request bodies. All bytes are hashed, also those before `offset`, which the
    registry already has."""

    def __init__(self, blob: Blob, digest: Digest, offset: int, task: Task, on_position: Callable[[int], None]) -> None:
        """`on_position` is called with the number of bytes sent so far."""
        self._blob = blob
        self._digest = digest
        self._task = task
        self._on_position = on_position
        self._hasher = digest.hasher()
        self._position = 0
        self._rest = b""
        self._chunks = read_source(blob)
        for _ in hashed(self._up_to(offset), self._hasher):
            task.check()

    def body(self, count: int) -> UploadBody:
        """Returns the next `count` bytes as a request body."""
        return UploadBody(self, self._position, count, self._hasher.copy())

    def read(self, start: int, count: int, hasher: Any) -> Iterator[bytes]:
        """Yields the bytes of a request body, again for each redirect. `hasher`: the hash of all bytes before `start`."""
        if self._position != start:
            self._position, self._rest, self._hasher = start, b"", hasher.copy()
            self._chunks = read_source(self._blob, start)
            self._on_position(start)
        for chunk in hashed(self._up_to(start + count), self._hasher):
            self._task.check()
            self._task.count_transferred(len(chunk))
            self._on_position(self._position)
            yield chunk

    def _up_to(self, end: int) -> Iterator[bytes]:
        """Yields the bytes from the current position to `end`; the rest of the last chunk is kept for the next body.
        Raises `IntegrityError` if there are fewer."""
        while self._position < end:
            chunk = self._rest or next(self._chunks, b"")
            if not chunk:
                raise IntegrityError(f"{self._position} bytes where {self._blob.size} are stated")
            count = end - self._position
            self._rest = chunk[count:]
            chunk = chunk[:count]
            self._position += len(chunk)
            yield chunk

    def verify_end(self) -> None:
        """Raises `IntegrityError` if there are more bytes than the blob's size, or their digest is not the blob's."""
        if self._rest or next(self._chunks, b""):
            raise IntegrityError(f"longer than its stated size of {self._blob.size} bytes")
        if self._hasher.hexdigest() != self._digest.encoded:
            found = f"{self._digest.algorithm}:{self._hasher.hexdigest()}"
            raise IntegrityError(f"content is {found}, stated is {self._digest}")


class UploadBody:
    """The body of a request, of known length. Each iteration yields all of its bytes."""

    def __init__(self, source: UploadSource, start: int, count: int, hasher: Any) -> None:
        self._source = source
        self._start = start
        self._count = count
        self._hasher = hasher

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[bytes]:
        return self._source.read(self._start, self._count, self._hasher)
