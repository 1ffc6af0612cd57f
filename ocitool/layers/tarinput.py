"""The input of the tar reader: chunks that can be read once, or a reader that seeks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from ocitool.errors import FormatError


class TarInput(Protocol):
    """The bytes of a tar, read forward only. `offset`: of the next byte."""

    offset: int

    def read(self, size: int) -> bytes:
        """Returns exactly `size` bytes; fewer only at the end."""

    def pieces(self, size: int) -> Iterator[bytes | memoryview]:
        """Yields `size` bytes in chunks, each valid until the next is asked for. Raises `FormatError` at an early end."""

    def skip(self, size: int) -> None:
        """Skips `size` bytes. Raises `FormatError` if fewer are left."""

    def buffered(self) -> tuple[bytes, int]:
        """Returns bytes in memory, and the position of the next byte in them: their length if the next one is not there."""

    def advance(self, size: int) -> None:
        """Moves within the bytes of `buffered`, at most to their end."""

    def pad(self, size: int) -> None:
        """Skips padding. It may be missing at the very end: some writers stop with the last file's last byte."""

    def rest(self) -> Iterator[bytes | memoryview]:
        """Yields everything that is left, in chunks."""


class ChunkInput:
    """A `TarInput` over chunks that come once."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self.offset = 0
        self._chunks = chunks
        self._chunk = b""
        self._position = 0

    def _next(self) -> bool:
        for chunk in self._chunks:
            if chunk:
                self._chunk, self._position = chunk, 0
                return True
        self._chunk, self._position = b"", 0
        return False

    def read(self, size: int) -> bytes:
        position = self._position
        data = self._chunk[position : position + size]
        got = len(data)
        self._position = position + got
        if got < size:
            parts = [data]
            while got < size and self._next():
                part = self._chunk[: size - got]
                self._position = len(part)
                got += len(part)
                parts.append(part)
            data = b"".join(parts)
        self.offset += got
        return data

    def pieces(self, size: int) -> Iterator[bytes | memoryview]:
        while size:
            available = len(self._chunk) - self._position
            if not available:
                if not self._next():
                    raise FormatError(f"tar ends inside an entry, at offset {self.offset}")
                continue
            take = min(size, available)
            piece = memoryview(self._chunk)[self._position : self._position + take]
            self._position += take
            self.offset += take
            size -= take
            yield piece

    def skip(self, size: int) -> None:
        position = self._position + size
        if position <= len(self._chunk):
            self._position = position
            self.offset += size
            return
        for _ in self.pieces(size):
            pass

    def buffered(self) -> tuple[bytes, int]:
        return self._chunk, self._position

    def advance(self, size: int) -> None:
        self._position += size
        self.offset += size

    def pad(self, size: int) -> None:
        self.read(size)

    def rest(self) -> Iterator[bytes | memoryview]:
        while self._position < len(self._chunk) or self._next():
            piece = memoryview(self._chunk)[self._position :]
            self._position = len(self._chunk)
            self.offset += len(piece)
            yield piece


class RandomReader(Protocol):
    """Bytes that can be read at any offset."""

    @property
    def size(self) -> int: ...

    def pread(self, size: int, offset: int) -> bytes:
        """Returns `size` bytes from `offset`; fewer only at the end."""


class SeekInput:
    """A `TarInput` over a reader that seeks: reads headers, and data only if `pieces` asks for it.

    A window is read at once, instead of single headers, if everything fits into it, or if several headers in a row are
    close together, as in a layer of small files.
    """

    STEP = 1 << 19
    WINDOW = 1 << 17
    NEAR = 1 << 13
    RUN = 8

    def __init__(self, reader: RandomReader) -> None:
        self.offset = 0
        self._reader = reader
        self._size = reader.size
        self._window = b""
        self._start = 0
        self._last = 0
        self._run = 0
        self.end: int | None = None
        """The offset of the archive's end, after which nothing was read; None before `rest`."""

    def read(self, size: int) -> bytes:
        offset = self.offset
        at = offset - self._start
        data = self._window[at : at + size] if at >= 0 else b""
        if len(data) < size:
            self._run = self._run + 1 if 0 <= offset - self._last < self.NEAR else 0
            if size < self.NEAR and (self._run >= self.RUN or self._size <= self.WINDOW):
                self._window, self._start = self._reader.pread(self.WINDOW, offset), offset
                data = self._window[:size]
            else:
                data = self._reader.pread(size, offset)
        self.offset = self._last = offset + len(data)
        return data

    def pieces(self, size: int) -> Iterator[bytes | memoryview]:
        while size:
            piece = self.read(min(size, self.STEP))
            if not piece:
                raise FormatError(f"tar ends inside an entry, at offset {self.offset}")
            size -= len(piece)
            yield piece

    def skip(self, size: int) -> None:
        if self.offset + size > self._size:
            raise FormatError(f"tar ends inside an entry, at offset {self.offset}")
        self.offset += size

    def buffered(self) -> tuple[bytes, int]:
        at = self.offset - self._start
        return (self._window, at) if 0 <= at <= len(self._window) else (b"", 0)

    def advance(self, size: int) -> None:
        self.offset = self._last = self.offset + size

    def pad(self, size: int) -> None:
        self.offset = min(self.offset + size, self._size)

    def rest(self) -> Iterator[bytes | memoryview]:
        """Skips the rest: a seeking reader checks no digest, so bytes after the end do not matter."""
        self.end, self.offset = self.offset, self._size
        return iter(())
