"""Compression by content: none, gzip (many members), zstd (many frames, skippable ones), and xz and bzip2 for whole files.

Media types lie, so a codec is known by its first bytes. Every decoder yields pieces of bounded size however hostile the
input, notices a stream that ends too soon, and stops at the limits of `ocitool.limits` (ratio and size).
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from ocitool import limits
from ocitool.errors import LimitError
from ocitool.layers import gzip_codec, streams, zstd_codec
from ocitool.limits import KiB, MiB

if TYPE_CHECKING:
    from ocitool.blob import Blob
    from ocitool.task import Task

SNIFF = 512
"""Bytes that `sniff` wants to see."""


class Codec(NamedTuple):
    """All that is known of one compression, but for the media types of its layers: those are in `spec.mediatypes.SUFFIXES`.

    magic: one of these begins its data. endings: of the names of archives in it; the first is the one that ocitool suggests.
    unpack: the command that decompresses a file, or standard input, to standard output. decoded: from chunks to pieces of
    about `streams.STEP`; it reads several streams in a row, and raises `FormatError` if one is damaged or ends too soon."""

    name: str
    magic: tuple[bytes, ...]
    endings: tuple[str, ...]
    unpack: str
    decoded: Callable[[Iterator[bytes]], Iterator[bytes]]
    writing: "CodecWriter | None" = None
    """None for what is read and never written."""


class CodecWriter(NamedTuple):
    """How a codec compresses. compressed: from blocks and a level. engine: the library that does it at a level, with its
    version. default: the level if none is asked for; dense: for what is sent and not kept; builders: what builders write.
    window: bytes of its input that it finds again; header: bytes that the header of a file in a tar takes, about."""

    compressed: "Callable[[Iterator[bytearray], int, Task], Iterator[bytes]]"
    engine: Callable[[int], str]
    levels: range
    default: int
    dense: int
    builders: int
    window: int
    header: int


def _xz(chunks: Iterator[bytes]) -> Iterator[bytes]:
    import lzma

    return streams.decoded(
        chunks, lambda: lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=512 * MiB), lzma.LZMAError, "xz"
    )


def _bzip2(chunks: Iterator[bytes]) -> Iterator[bytes]:
    import bz2

    return streams.decoded(chunks, bz2.BZ2Decompressor, OSError, "bzip2")


_BZIP2 = tuple(b"BZh%d%s" % (level, block) for level in range(1, 10) for block in (b"1AY&SY", b"\x17rE8P\x90"))
"""The level, and the magic of a first block or of the end of data without one."""

CODECS = {
    one.name: one
    for one in (
        Codec(
            "gzip", (b"\x1f\x8b\x08",), (".tar.gz", ".tgz"), "gzip -dc", gzip_codec.decoded,
            CodecWriter(
                gzip_codec.compressed, gzip_codec.engine, range(1, 10), default=2, dense=4, builders=6,
                window=32 * KiB, header=60
            ),
        ),
        Codec(
            "zstd", zstd_codec.MAGIC, (".tar.zst", ".tzst"), "zstd -dc --long=31",
            zstd_codec.decoded,
            CodecWriter(
                zstd_codec.compressed, zstd_codec.engine, range(1, 20), default=3, dense=9, builders=3,
                window=8 * MiB, header=40
            ),
        ),
        Codec("xz", (b"\xfd7zXZ\x00",), (".tar.xz", ".txz"), "xz -dc", _xz),
        Codec("bzip2", _BZIP2, (".tar.bz2", ".tbz2"), "bzip2 -dc", _bzip2),
    )
}  # fmt: skip
"""By name. What has none of these is `none`."""

WRITERS = {name: one.writing for name, one in CODECS.items() if one.writing is not None}
"""How those compress that are written, by name."""

ENDINGS = {".tar": "none"} | {ending: one.name for one in CODECS.values() for ending in one.endings}
"""Endings of the names of archives, each with its codec."""


def names(*, levels: bool = False) -> str:
    """Returns the compressions in which a layer can be written, as a list for users; `levels`: with their levels."""
    ranges = ("" if not levels else f"[:{one.levels[0]}-{one.levels[-1]}]" for one in WRITERS.values())
    said = ["none", *map("".join, zip(WRITERS, ranges, strict=True))]
    return f"{', '.join(said[:-1])} or {said[-1]}"


def sniff(head: bytes) -> str:
    """Returns the name of the codec of data with these first bytes, `none` if they are of no known codec."""
    return next((one.name for one in CODECS.values() if head.startswith(one.magic)), "none")


def detected(blob: "Blob") -> str:
    """Returns a blob's compression, by its first bytes."""
    return sniff(blob.pread(SNIFF, 0))


def decode(chunks: Iterable[bytes], codec: str, task: "Task | None" = None) -> Iterator[bytes]:
    """Yields the uncompressed bytes in chunks of about `STEP`. Raises `FormatError` for a damaged or truncated stream,
    `LimitError` beyond the limits. `chunks` is always read to its end. `task`: the sum of all that it unpacks is bounded
    too (`limits.EXPANSION`)."""
    if codec == "none":
        return _bounded_plain(chunks)
    fed = _Fed(chunks)
    return _bounded(iter(fed), codec, fed, task)


def unwrap(chunks: Iterable[bytes], codec: str, most: int) -> tuple[list[str], bytes, Iterator[bytes]]:
    """Undoes compression that was applied repeatedly, at most `most` times. Returns the codecs, outermost first; the
    first bytes of the content; and all of its bytes. Raises as `decode` does: the ratio is that of the content to
    `chunks`."""
    fed = _Fed(chunks)
    pieces, found, head = iter(fed), list[str](), b""
    while codec != "none" and len(found) < most:
        found.append(codec)
        head, pieces = peek(_bounded(pieces, codec, fed))
        codec = sniff(head)
    return found, head, pieces


def peek(chunks: Iterator[bytes], least: int = SNIFF) -> tuple[bytes, Iterator[bytes]]:
    """Returns the first bytes, `least` (by default as many as `sniff` needs) unless there are fewer, maybe more, and all bytes
    from the beginning."""
    head = b""
    while len(head) < least:
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


def _bounded(chunks: Iterator[bytes], codec: str, fed: _Fed, task: "Task | None" = None) -> Iterator[bytes]:
    """`fed`: what all is unpacked from, which `chunks` are or come from."""
    most, ratio, out, told = limits.unpacked_size(), limits.unpacked_ratio(), 0, 0
    for piece in CODECS[codec].decoded(chunks):
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
            if task.count_expansion(more) > limits.EXPANSION:
                raise LimitError(
                    f"compression bombs: together they unpack to {limits.EXPANSION} bytes more than {ratio} for each of theirs",
                    hint="raise OCITOOL_MAX_RATIO",
                )
        yield piece
