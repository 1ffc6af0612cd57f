"""What is inside tar archives, plain and compressed, and inside other compressed files."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256

from ocitool.comparison.inside.content import PARTS, InnerContent, InnerPart, Room, fact
from ocitool.errors import OcitoolError
from ocitool.layers import codecs
from ocitool.layers.entry import Kind
from ocitool.layers.magic import is_tar
from ocitool.layers.tar import entries
from ocitool.layers.tar_notes import TarNotes
from ocitool.layers.tarinput import ChunkInput

_BLOCK = 512
_GZIP = b"\x1f\x8b\x08"
_FLAG_NAME, _FLAG_EXTRA = 8, 4


class _Head:
    """The first bytes of a file."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def pread(self, size: int, offset: int) -> bytes:
        return self._data[offset : offset + size]


class _TooLargeError(Exception):
    pass


def content_of(data: bytes, room: Room) -> InnerContent | None:
    """Returns what is inside a tar, or a file compressed by a codec that layers may have; None for another format.

    Raises nothing: what is damaged, or too large, has a note. Memory: a few MB beside the parts."""
    codec = codecs.sniff(data[: codecs.SNIFF])
    if codec == "none":
        if len(data) < _BLOCK or not data[:_BLOCK].strip(b"\0") or not is_tar(_Head(data[:_BLOCK])):
            return None
        return _tar(iter((data,)), "a tar archive", {}, room)
    facts = {"compression": codec} | _gzip_header(data)
    try:
        head, chunks = codecs.peek(_bounded(codecs.decode((data,), codec), room), _BLOCK)
        head = head[:_BLOCK]
        if len(head) == _BLOCK and head.strip(b"\0") and is_tar(_Head(head)):
            return _tar(chunks, f"a tar archive in {codec}", facts, room)
        size, hasher = 0, sha256()
        for chunk in chunks:
            size += len(chunk)
            hasher.update(chunk)
    except (OcitoolError, _TooLargeError) as error:
        return InnerContent(f"a file in {codec}", facts, {}, note=_why(error, room))
    return InnerContent(f"a file in {codec}", facts, {b"content": InnerPart(size, hasher.digest()[:16])})


def _tar(chunks: Iterator[bytes], named: str, facts: dict[str, str], room: Room) -> InnerContent:
    tar = ChunkInput(chunks)
    parts: dict[bytes, InnerPart] = {}
    try:
        for entry in entries(tar, TarNotes(), whiteouts=False):
            if len(parts) == PARTS:
                return InnerContent(named, facts, parts, note=f"only the first {PARTS:,} members were compared")
            if entry.kind == Kind.DIRECTORY:
                continue
            hasher = sha256(b"%d %s" % (entry.kind, entry.link))
            for piece in tar.pieces(entry.stored):
                hasher.update(piece)
            parts[entry.path] = InnerPart(entry.size, hasher.digest()[:16])
    except (OcitoolError, _TooLargeError) as error:
        return InnerContent(named, facts, {}, note=_why(error, room))
    return InnerContent(named, facts, parts)


def _why(error: Exception, room: Room) -> str:
    if isinstance(error, _TooLargeError):
        return f"it, or the files before it, unpack to more than {room.most:,} bytes"
    return fact(str(error))


def _bounded(chunks: Iterator[bytes], room: Room) -> Iterator[bytes]:
    for chunk in chunks:
        room.left -= len(chunk)
        if room.left < 0:
            raise _TooLargeError
        yield chunk


def _gzip_header(data: bytes) -> dict[str, str]:
    """Returns what the header of gzip says: the time of the content, and its name (RFC 1952, 2.3); nothing if it is none."""
    if not data.startswith(_GZIP) or len(data) < 10:
        return {}
    seconds = int.from_bytes(data[4:8], "little")
    facts = {"time in the header": str(datetime.fromtimestamp(seconds, UTC)) if seconds else "none"}
    if data[3] & _FLAG_NAME and not data[3] & _FLAG_EXTRA:
        end = data.find(b"\0", 10, 10 + 1000)
        if end > 0:
            facts["name in the header"] = fact(data[10:end])
    return facts
