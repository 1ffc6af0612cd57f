"""zstd (RFC 8878), both ways.

It is compressed by the library's own threads, which cut jobs by position too. Without threads it gives other bytes, so there
is always one. 3 is its own default and what the field writes: smaller than zlib's 6 at several times its speed.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

from ocitool import limits
from ocitool.errors import FormatError, LimitError

if TYPE_CHECKING:
    from ocitool.task import Task

_FRAME = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = tuple(bytes((number, 0x2A, 0x4D, 0x18)) for number in range(0x50, 0x60))
MAGIC = (_FRAME, *_SKIPPABLE)
"""How a stream begins: with a frame, or with one that is passed over."""
_THREADS = 8  # each thread costs memory: a window and a job, more with the level


def decoded(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Frames one after another, skippable ones passed over (RFC 8878, 3.1).

    zstandard's readers accept a stream that stops inside a frame, and give a whole chunk's output at once; so the frames'
    block headers are walked here: the walk knows where a frame ends, and cuts the input so that each call can give at most
    eight blocks (1 MiB).
    """
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=limits.ZSTD_WINDOW)
    source = _Window(chunks)
    while source.more(1):
        magic = source.peek(4)
        if len(magic) < 4:
            raise FormatError("zstd stream ends too soon")
        if magic in _SKIPPABLE:
            head = source.take(8)
            source.drop(int.from_bytes(head[4:8], "little"))
            continue
        if magic != _FRAME:
            raise FormatError("data behind a zstd stream that is not zstd")
        frame = decompressor.decompressobj()
        try:
            yield from _frame(source, frame)
        except zstandard.ZstdError as reason:
            raise FormatError(f"damaged zstd stream ({reason})") from None


def _frame(source: _Window, frame: Any) -> Iterator[bytes]:
    descriptor = source.peek(5)[4:5]
    if not descriptor:
        raise FormatError("zstd stream ends too soon")
    flags = descriptor[0]
    single, size_flag = flags >> 5 & 1, flags >> 6
    if (window := _window(source.peek(18), single, size_flag, flags & 3)) > limits.ZSTD_WINDOW:
        raise LimitError(
            f"a zstd frame with a window of {window} bytes, more than {limits.ZSTD_WINDOW}",
            hint="zstd -dc --long=31 FILE | ocitool COMMAND - reads an archive",
        )
    header = 5 + (not single) + (0, 1, 2, 4)[flags & 3] + ((1 if single else 0), 2, 4, 8)[size_flag]
    batch = [source.take(header)]
    blocks, last = 0, 0
    while not last:
        word = int.from_bytes(source.peek(3), "little")
        last, kind, size = word & 1, word >> 1 & 3, word >> 3
        batch.append(source.take(3 + (1 if kind == 1 else size)))
        blocks += 1
        if blocks == 8 and not last:
            if piece := frame.decompress(b"".join(batch)):
                yield piece
            batch, blocks = [], 0
    if flags >> 2 & 1:
        batch.append(source.take(4))
    if piece := frame.decompress(b"".join(batch)):
        yield piece
    if not frame.eof:
        raise FormatError("zstd stream ends too soon")


def _window(head: bytes, single: int, size_flag: int, id_flag: int) -> int:
    """Returns the window size of the frame with this header (RFC 8878, 3.1.1.1): the stated one, or the content's size
    if the frame is a single segment."""
    if not single:
        value = head[5] if len(head) > 5 else 0
        return (1 << 10 + (value >> 3)) // 8 * (8 + (value & 7))
    at, length = 5 + (0, 1, 2, 4)[id_flag], (1, 2, 4, 8)[size_flag]
    return int.from_bytes(head[at : at + length], "little") + (256 if length == 2 else 0)


class _Window:
    """Chunks as one run of bytes that can be looked at, taken and dropped."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._data = b""
        self._at = 0

    def more(self, size: int) -> bool:
        while len(self._data) - self._at < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                return False
            self._data = self._data[self._at :] + chunk
            self._at = 0
        return True

    def peek(self, size: int) -> bytes:
        self.more(size)
        return self._data[self._at : self._at + size]

    def take(self, size: int) -> bytes:
        if not self.more(size):
            raise FormatError("zstd stream ends too soon")
        piece = self._data[self._at : self._at + size]
        self._at += size
        return piece

    def drop(self, size: int) -> None:
        while size:
            if not self.more(1):
                raise FormatError("zstd stream ends too soon")
            step = min(size, len(self._data) - self._at)
            self._at += step
            size -= step


def compressed(blocks: Iterator[bytearray], level: int, task: Task) -> Iterator[bytes]:
    """Yields the compressed bytes. The library cannot be interrupted, and waits for all queued jobs of its threads at
    the end and when it is freed, at level 19 for minutes; so a separate thread compresses, which can be abandoned
    (`Task.apart`)."""
    import zstandard

    stream = zstandard.ZstdCompressor(
        level=level, threads=min(task.cores, _THREADS), write_checksum=True, write_content_size=False
    ).compressobj()

    def step(block: bytearray | None) -> bytes:
        return stream.flush() if block is None else stream.compress(block)

    # Freed before its jobs are done, it would wait for them with the interpreter's lock held.
    for piece in task.apart(step, chain(blocks, (None,)), last=stream.flush):
        if piece:
            yield piece


def engine(level: int) -> str:
    """Returns the name and version of the library that compresses, at any level."""
    import zstandard

    return "zstd " + ".".join(map(str, zstandard.ZSTD_VERSION))
