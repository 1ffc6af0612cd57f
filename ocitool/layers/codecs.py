"""Compression by content: none, gzip (many members), zstd (many frames, skippable ones), and xz and bzip2 for whole files.

Media types lie, so a codec is known by its first bytes. Every decoder yields pieces of bounded size however hostile the
input, notices a stream that ends too soon, and stops at the limits of `ocitool.limits` (ratio and size).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

from ocitool import limits
from ocitool.errors import FormatError, LimitError

if TYPE_CHECKING:
    from ocitool.blob import Blob
    from ocitool.task import Task

STEP = 1 << 19
"""Bytes read, and bytes decoded, at a time."""

SNIFF = 512
"""Bytes that `sniff` wants to see."""

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def sniff(head: bytes) -> str:
    """`gzip`, `zstd`, `xz`, `bzip2`, or `none` for anything else."""
    if head[:3] == b"\x1f\x8b\x08":
        return "gzip"
    if head[:4] == _ZSTD_MAGIC or (head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50):
        return "zstd"
    if head[:6] == b"\xfd7zXZ\x00":
        return "xz"
    if head[:3] == b"BZh" and head[4:10] in (b"1AY&SY", b"\x17rE8P\x90"):
        return "bzip2"
    return "none"


def of(blob: Blob) -> str:
    """A blob's compression, by its first bytes."""
    return sniff(blob.pread(SNIFF, 0))


def decode(chunks: Iterable[bytes], codec: str, task: Task | None = None) -> Iterator[bytes]:
    """The uncompressed bytes, in pieces of about `STEP`. Raises `FormatError` on a damaged or truncated stream,
    `LimitError` beyond the limits. Every chunk is taken from `chunks`, to the end. `task`: all that it unpacks together is
    bounded too (`limits.EXPANSION`)."""
    if codec == "none":
        return _bounded_plain(chunks)
    fed = _Fed(chunks)
    return _bounded(iter(fed), codec, fed, task)


def unwrap(chunks: Iterable[bytes], codec: str, most: int) -> tuple[list[str], bytes, Iterator[bytes]]:
    """The codecs of what is compressed, and was compressed again at most `most` times in all, outermost first; the first bytes
    of what is in it; and all of its bytes. Raises as `decode` does: the ratio is that of the innermost bytes to `chunks`."""
    fed = _Fed(chunks)
    pieces, found, head = iter(fed), list[str](), b""
    while codec != "none" and len(found) < most:
        found.append(codec)
        head, pieces = peek(_bounded(pieces, codec, fed))
        codec = sniff(head)
    return found, head, pieces


def peek(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """At least as many first bytes as `sniff` wants to see, if there are as many, and all the bytes."""
    head = b""
    while len(head) < SNIFF:
        chunk = next(chunks, None)
        if chunk is None:
            break
        head += chunk
    return head, chain((head,), chunks)


class _Fed:
    """Counts what went in, so that the ratio is known while decoding."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.count = 0
        self._chunks = iter(chunks)

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.count += len(chunk)
            yield chunk


def _bounded_plain(chunks: Iterable[bytes]) -> Iterator[bytes]:
    most, out = limits.unpacked_size(), 0
    for chunk in chunks:
        out += len(chunk)
        if out > most:
            raise LimitError(f"larger than {most} bytes", hint="raise OCITOOL_MAX_UNPACKED_SIZE")
        yield chunk


def _bounded(chunks: Iterator[bytes], codec: str, fed: _Fed, task: Task | None = None) -> Iterator[bytes]:
    """`fed`: what all is unpacked from, which `chunks` are or come from."""
    most, ratio, out, told = limits.unpacked_size(), limits.unpacked_ratio(), 0, 0
    for piece in _DECODERS[codec](chunks):
        out += len(piece)
        if out > most:
            raise LimitError(f"unpacks to more than {most} bytes", hint="raise OCITOOL_MAX_UNPACKED_SIZE")
        if out > limits.RATIO_FREE and out > ratio * fed.count:
            raise LimitError(
                f"a compression bomb: {fed.count} bytes unpacked to more than {out}", hint="raise OCITOOL_MAX_RATIO"
            )
        if task is not None and out > ratio * fed.count + told:
            more = out - ratio * fed.count - told
            told += more
            if task.expanded(more) > limits.EXPANSION:
                raise LimitError(
                    f"compression bombs: together they unpack to {limits.EXPANSION} bytes more than {ratio} for each of theirs",
                    hint="raise OCITOOL_MAX_RATIO",
                )
        yield piece


def _gzip(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Members one after another (RFC 1952, 2.2)."""
    new, error = _gzip_engine()
    return _streams(chunks, new, error, "gzip")


def _gzip_engine() -> tuple[Callable[[], Any], Any]:
    """ISA-L where its wheel exists, else zlib behind the same few methods. Both check each member's CRC and length."""
    try:
        from isal import igzip_lib
    except ImportError:
        import zlib

        return _ZlibMember, zlib.error
    return lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP), igzip_lib.IsalError


class _ZlibMember:
    """One gzip member through zlib, with the interface of `IgzipDecompressor`."""

    def __init__(self) -> None:
        import zlib

        self._inner = zlib.decompressobj(wbits=31)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        tail = self._inner.unconsumed_tail
        out = self._inner.decompress(tail + data if tail else data, max_length)
        # A full output may leave more inside zlib although all input was taken: it is then asked again with nothing.
        self.needs_input = not self._inner.unconsumed_tail and len(out) < max_length
        return out


def _zstd(chunks: Iterator[bytes]) -> Iterator[bytes]:
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
        if magic[1:] == b"\x2a\x4d\x18" and magic[0] & 0xF0 == 0x50:
            head = source.take(8)
            source.drop(int.from_bytes(head[4:8], "little"))
            continue
        if magic != _ZSTD_MAGIC:
            raise FormatError("data behind a zstd stream that is not zstd")
        frame = decompressor.decompressobj()
        try:
            yield from _zstd_frame(source, frame)
        except zstandard.ZstdError as reason:
            raise FormatError(f"damaged zstd stream ({reason})") from None


def _zstd_frame(source: _Window, frame: Any) -> Iterator[bytes]:
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
    """The window of the frame that begins so (RFC 8878, 3.1.1.1): stated, or of a single segment its content's size."""
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


def _xz(chunks: Iterator[bytes]) -> Iterator[bytes]:
    import lzma

    return _streams(
        chunks, lambda: lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=512 * limits.MiB), lzma.LZMAError, "xz"
    )


def _bzip2(chunks: Iterator[bytes]) -> Iterator[bytes]:
    import bz2

    return _streams(chunks, bz2.BZ2Decompressor, OSError, "bzip2")


def _streams(chunks: Iterator[bytes], new: Callable[[], Any], error: Any, name: str) -> Iterator[bytes]:
    """Streams of one format one after another; zero padding may follow the last, as gzip(1) and xz(1) allow.

    A decoder hands back what follows its stream as a copy, so thousands of tiny streams in one chunk would cost a copy of
    the chunk each: while streams are tiny, the input is fed in small steps.
    """
    decoder, fed, step, padding = new(), 0, STEP, False
    for chunk in chunks:
        position = 0
        while position < len(chunk) or not (fed == 0 or decoder.needs_input):
            feed = chunk[position : position + step] if step < len(chunk) or position else chunk
            if fed == 0 and (padding or feed[:1] == b"\0"):
                if feed.strip(b"\0"):
                    raise FormatError(f"data behind a {name} stream that is not {name}")
                padding = True
                position += len(feed)
                continue
            try:
                piece = decoder.decompress(feed, STEP)
            except error as reason:
                raise FormatError(f"damaged {name} stream ({reason})") from None
            position += len(feed)
            fed += len(feed)
            if decoder.eof:
                unused = len(decoder.unused_data)
                position -= unused
                step = STEP if fed - unused > 1 << 16 else 1 << 14
                decoder, fed = new(), 0
            if piece:
                yield piece
    if fed:
        raise FormatError(f"{name} stream ends too soon")


_DECODERS: dict[str, Callable[[Iterator[bytes]], Iterator[bytes]]] = {
    "gzip": _gzip,
    "zstd": _zstd,
    "xz": _xz,
    "bzip2": _bzip2,
}
