"""Blobs: bytes of known size that can be read at any offset, any number of times, by several threads.

A blob's `digest` is a claim until its bytes were hashed. `identity` names the bytes on this machine (device, inode,
size, times, offset): equal identities mean unchanged bytes, so a cache may use it as a key.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Protocol, runtime_checkable

from ocitool.digest import Digest
from ocitool.errors import IntegrityError, NotFoundError, OcitoolError, TransportError

STEP = 1 << 19
_SMALL = 1 << 20


class Blob(Protocol):
    """Bytes of known size. `identity` is None for bytes that are not in a file of this machine."""

    @property
    def size(self) -> int: ...
    @property
    def digest(self) -> Digest | None: ...
    @property
    def identity(self) -> str | None: ...
    @property
    def remote(self) -> bool:
        """Whether reading it goes over a network."""

    def pread(self, size: int, offset: int) -> bytes:
        """Returns `size` bytes from `offset`; fewer only at the end."""

    def chunks(self, offset: int = 0) -> Iterator[bytes]:
        """Yields the bytes from `offset` to the end. Raises `IntegrityError` if there are fewer than `size`."""


@runtime_checkable
class StreamOnce(Protocol):
    """A remote blob that is kept on this machine once it was read. `chunks_once` reads it without keeping it, for bytes
    that are only passed on."""

    def chunks_once(self, offset: int = 0) -> Iterator[bytes]: ...


def stream_once(blob: Blob, offset: int = 0) -> Iterator[bytes]:
    """Yields the bytes from `offset`, for a caller that reads them only once."""
    return blob.chunks_once(offset) if isinstance(blob, StreamOnce) else blob.chunks(offset)


def is_small(blob: Blob) -> bool:
    """Returns whether a transfer of it over a network mostly waits for the first byte."""
    return blob.size <= _SMALL


def is_small_remote(blob: Blob) -> bool:
    return blob.remote and is_small(blob)


def label(blob: Blob) -> str:
    """Returns the name of a blob in progress reports."""
    return blob.digest.short if blob.digest is not None else "layer"


def expected_sizes(blobs: Iterable[Blob | None]) -> list[tuple[str, int]]:
    """Returns the labels and sizes of blobs that will be read or written, for `Task.expect`; missing blobs are left
    out."""
    return [(label(blob), blob.size) for blob in blobs if blob is not None]


class OpenFile:
    """An open file and its identity. Its descriptor is closed with the last reference to it. A file given as
    `descriptor` has no name, unless `named`."""

    def __init__(self, path: str, *, descriptor: int | None = None, named: bool = False) -> None:
        self.path = path
        self.named = named or descriptor is None
        try:
            self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC) if descriptor is None else descriptor
        except OSError as error:
            raise unreadable(path, error) from None
        status = os.fstat(self.descriptor)
        self.size = status.st_size
        self.mode = status.st_mode
        self._status = status

    @property
    def key(self) -> str | None:
        """What names the file's bytes on this machine; None if it has no name. Made when it is asked for: most files of a
        store are only looked at."""
        at = self._status
        return f"{at.st_dev}:{at.st_ino}:{at.st_size}:{at.st_mtime_ns}:{at.st_ctime_ns}" if self.named else None

    def __del__(self) -> None:
        descriptor = getattr(self, "descriptor", -1)
        if descriptor >= 0:
            os.close(descriptor)
            self.descriptor = -1


class FileBlob:
    """A range of bytes of a file: a whole blob of a layout, or a member of an archive."""

    __slots__ = ("_file", "digest", "offset", "size")
    remote = False

    def __init__(self, file: OpenFile, offset: int, size: int, digest: Digest | None = None) -> None:
        self._file = file
        self.offset = offset
        self.size = size
        self.digest = digest

    @property
    def identity(self) -> str | None:
        key = self._file.key
        return f"{key}:{self.offset}:{self.size}" if key else None

    @property
    def file(self) -> OpenFile:
        return self._file

    @property
    def path(self) -> str | None:
        """The path by which the file can be opened again; None if it has no name."""
        return self._file.path if self._file.named else None

    @property
    def descriptor(self) -> int:
        """The file's descriptor, for copies by the kernel; valid as long as this blob is."""
        return self._file.descriptor

    def with_digest(self, digest: Digest | None) -> FileBlob:
        """Returns the same range with this digest."""
        return FileBlob(self._file, self.offset, self.size, digest)

    def pread(self, size: int, offset: int) -> bytes:
        size = min(size, self.size - offset)
        if size <= 0:
            return b""
        try:
            data = os.pread(self._file.descriptor, size, self.offset + offset)
            while 0 < len(data) < size:
                more = os.pread(self._file.descriptor, size - len(data), self.offset + offset + len(data))
                if not more:
                    break
                data += more
        except OSError as error:
            raise unreadable(self._file.path, error) from None
        return data

    def chunks(self, offset: int = 0) -> Iterator[bytes]:
        while offset < self.size:
            chunk = self.pread(STEP, offset)
            if not chunk:
                raise IntegrityError(f"{offset} bytes where {self.size} are stated")
            offset += len(chunk)
            yield chunk


class BytesBlob:
    """Bytes in memory: a document, or content embedded in a descriptor."""

    __slots__ = ("_data", "digest", "size")
    identity = None
    remote = False

    def __init__(self, data: bytes, digest: Digest | None = None) -> None:
        self._data = data
        self.size = len(data)
        self.digest = digest

    def pread(self, size: int, offset: int) -> bytes:
        return self._data[offset : offset + size]

    def chunks(self, offset: int = 0) -> Iterator[bytes]:
        if self._data[offset:]:
            yield self._data[offset:]


def unreadable(path: str, error: OSError) -> TransportError:
    return TransportError(f"cannot be read: {error.strerror or error}", path)


def unopened(path: str, error: OSError) -> OcitoolError:
    """Returns the error for a path that the user named: `NotFoundError` if it does not exist, else `unreadable`'s."""
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return NotFoundError("no such file or directory", path)
    return unreadable(path, error)


LEFT_OUT = "the image was packed without it; --with names an image that has it"
"""What to do about a blob that a source lacks."""


def missing_blob(what: str, which: object, where: str | None = None, *, hint: str | None = None) -> NotFoundError:
    """The error of a blob that its source lacks: a manifest, a layer, any. `which`: its digest, or its number."""
    return NotFoundError(f"the {what} {which} is not here", where, hint=hint)
