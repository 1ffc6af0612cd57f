"""From a layer's blob to its index: in one streaming pass, or by seeking from header to header.

The streaming pass reads, hashes and inflates on one thread while the tar is parsed and contents are hashed on another.
It computes the stored digest and the diff_id, and compares the digest with the stated one. Memory: a few steps of 512
KiB and the index. Seeking reads headers only, and computes no digest.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from io import BytesIO
from typing import Any, Protocol

from ocitool import limits
from ocitool.blob import Blob, BytesBlob, label
from ocitool.digest import Digest, digest_of, hashed
from ocitool.errors import FormatError, IntegrityError, LimitError, OcitoolError, UnsafeError, UnsupportedError
from ocitool.layers import codecs, magic, streams
from ocitool.layers.entry import Entry, Kind, Segments
from ocitool.layers.index import MAX_HASHED_HOLES, MAX_LAYER_HOLES, LayerIndex
from ocitool.layers.kept_contents import ENDINGS, KeptContents
from ocitool.layers.tar import entries_and_runs
from ocitool.layers.tar_notes import TarNotes
from ocitool.layers.tar_runs import Run
from ocitool.layers.tarinput import ChunkInput, SeekInput, TarInput
from ocitool.task import Task

_EMPTY = hashlib.sha256(b"").digest()
_ZEROS = bytes(1 << 16)
_FILE = Kind.FILE
_SMALL = 1 << 14
"""Bytes of a content up to which copying it once costs less than hashing it in pieces."""
_LARGE = 1 << 20
"""Bytes of a content from which on it is put together in one buffer."""
_AHEAD = 1 << 20
"""Bytes of a blob from which on a second thread is worth its cost."""
_QUEUED = 2
"""Chunks that wait to be consumed, beyond which the thread that unpacks has time to hash."""
_UNHASHED = 8
"""Chunks that wait to be hashed, beyond which the thread that unpacks hashes them whether it has time or not."""


MANY = 20_000
"""Entries after which a `Turn` is told of them."""


class Turn(Protocol):
    """A layer's turn to be read in this process. `read`: its stored bytes that were read in chunks."""

    read: int

    def many_entries(self, entries: int, share: float) -> None:
        """Called once if a layer has `MANY` entries, after that many, and this share of its bytes, were read. What it raises
        ends the reading."""


class FileKeeper(Protocol):
    """What takes the regular files of a layer while it is indexed."""

    def keep(self, row: int, entry: Entry, tar: TarInput) -> None:
        """Takes one file, whose data is next in the tar. It may read all of it, some or none."""

    def keep_run(self, first: int, run: Run) -> None:
        """Takes the files of a run, whose first entry has this row."""


def index_layer(
    blob: Blob, task: Task, *, algorithm: str = "sha256", keep: FileKeeper | None = None, whiteouts: bool = True,
    kept: KeptContents | None = None, turn: Turn | None = None,
) -> LayerIndex:  # fmt: skip
    """Returns the whole index, every content hashed, in one pass. `algorithm`: of the diff_id to compute. `keep` gets
    the contents instead: then none is hashed. Without `whiteouts` it is an archive of files: see `tar.entries`. `kept`
    collects the contents of some small files. `turn` is told of many entries.

    Raises `IntegrityError` if the blob does not match its digest, and what decoder and tar reader raise. A damaged blob
    with a stated digest is an integrity error, whichever part notices first: see `_explain`.
    """
    compression = codecs.detected(blob)
    index = LayerIndex()
    index.codec = compression
    stored_hasher = (blob.digest or Digest("sha256", "")).hasher()
    plain = compression == "none"
    tar_hasher: Any = stored_hasher if plain and stored_hasher.name == algorithm else hashlib.new(algorithm)
    unpacked = _Unpacked(tar_hasher if tar_hasher is not stored_hasher else None)
    notes = TarNotes()
    pieces = unpacked.produced(codecs.decode(hashed(_chunks(blob, task, turn), stored_hasher), compression, task))
    with _explaining_errors(blob), task.ahead(pieces) if blob.size > _AHEAD else nullcontext(pieces) as decoded:
        tar = ChunkInput(unpacked.consumed(decoded))
        add = index.add
        holes = _Holes(blob, task)
        for entry in entries_and_runs(tar, notes, hashed=keep is None, source=blob.size, whiteouts=whiteouts):
            if isinstance(entry, Run):
                if keep is not None:
                    keep.keep_run(len(index.paths), entry)
                elif kept is not None:
                    kept.keep(len(index.paths), entry)
                index.extend(entry)
                if turn is not None and len(index.paths) >= MANY:
                    turn.many_entries(len(index.paths), turn.read / blob.size)
                    turn = None
                continue
            if keep is not None:
                if entry.kind == Kind.FILE:
                    keep.keep(len(index.paths), entry, tar)
                add(entry)
                continue
            if entry.segments is not None:
                holes.count(entry)
            if entry.kind != _FILE:
                add(entry)
            elif kept is not None and entry.path.endswith(ENDINGS) and kept.wants(entry):
                add(entry, kept.hashed(len(index.paths), entry, tar))
            else:
                add(entry, content_hash(tar, entry))
    index.complete()
    index.hashed = "all" if keep is None else "none"
    index.notes, index.notes_dropped = tuple(notes.kept), notes.dropped
    index.size = unpacked.size
    index.digest = Digest(stored_hasher.name, stored_hasher.hexdigest())
    index.diff_id = Digest(tar_hasher.name, tar_hasher.hexdigest())
    if blob.digest is not None and index.digest != blob.digest:
        raise IntegrityError(f"content is {index.digest}, stated is {blob.digest}")
    return index


class _Unpacked:
    """The unpacked bytes of a layer on their way from the thread that unpacks to the one that consumes them. They are hashed in
    order by whichever of the two would wait for the other: files of the one layer take longer to unpack, those of another
    to write.

    `hasher`: None if the bytes are hashed already. `size`: the bytes consumed. At most `_UNHASHED` chunks wait to be hashed,
    and those of the queue between the threads.
    """

    def __init__(self, hasher: Any) -> None:
        self.size = 0
        self._hashers: deque[Any] = deque([hasher] if hasher is not None else [])  # empty while a thread has it
        self._hashed_already = hasher is None
        self._unhashed: deque[bytes] = deque()
        self._produced = self._consumed = 0

    def produced(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Yields the chunks, for the thread that unpacks."""
        for chunk in chunks:
            if not self._hashed_already:
                self._unhashed.append(chunk)
            self._produced += 1
            yield chunk
            if self._produced - self._consumed > _QUEUED or len(self._unhashed) > _UNHASHED:
                self._hash()

    def consumed(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Yields the chunks, for the thread that consumes them. At their end all are hashed."""
        for chunk in chunks:
            self._consumed += 1
            self.size += len(chunk)
            yield chunk
            if self._produced == self._consumed:
                self._hash()
        self._hash()  # the other thread has ended

    def _hash(self) -> None:
        """Hashes the chunks that wait, unless the other thread does."""
        if not self._unhashed:
            return
        try:
            hasher = self._hashers.pop()
        except IndexError:
            return
        while self._unhashed:
            hasher.update(self._unhashed.popleft())
        self._hashers.append(hasher)


@contextmanager
def _explaining_errors(blob: Blob) -> Iterator[None]:
    """Replaces errors of reading a blob by what `_explain` returns."""
    try:
        yield
    except (FormatError, IntegrityError, UnsafeError) as error:
        raise _explain(blob, error) from None


def _unpacked_head(blob: Blob, compression: str) -> BytesBlob:
    """Returns the first bytes that a blob unpacks to; none if it cannot be unpacked at all."""
    try:
        return BytesBlob(bytes(next(codecs.decode(blob.chunks(), compression), b"")))
    except OcitoolError:
        return BytesBlob(b"")


def _explain(blob: Blob, error: OcitoolError) -> OcitoolError:
    """Returns the error to raise for a layer that cannot be read.

    It is an integrity error if the bytes do not match the digest; otherwise the parser's own error, or an error that
    names the format if it is not a tar.
    """
    if isinstance(error, IntegrityError):
        return error
    compression = codecs.detected(blob)
    head = blob if compression == "none" else _unpacked_head(blob, compression)
    found = magic.recognise(head) if isinstance(error, FormatError) else None
    if found is not None and not magic.is_tar(head):
        inside = "" if compression == "none" else f" in {compression}"
        error = UnsupportedError(f"it is {found.name}{inside}, not a tar archive")
    if blob.digest is None:
        return error
    computed = digest_of(blob.chunks(), blob.digest.algorithm)
    if computed == blob.digest:
        return error
    return IntegrityError(f"content is {computed}, stated is {blob.digest}; {error.what}")


def index_headers(blob: Blob, turn: Turn | None = None) -> LayerIndex:
    """Returns the index of an uncompressed layer from its headers alone: no content is read, and no digest computed."""
    with _explaining_errors(blob):
        return _index_entries(SeekInput(blob), blob, turn)


def index_layer_unhashed(blob: Blob, task: Task, turn: Turn | None = None) -> LayerIndex:
    """As `index_headers`, for a blob in any compression: it is unpacked to its end, and nothing is hashed.

    For a caller that reads and verifies the layer afterwards. A damaged blob raises what `index_layer` raises.
    """
    compression = codecs.detected(blob)
    if compression == "none":
        return index_headers(blob, turn)
    pieces = codecs.decode(_chunks(blob, task, turn), compression, task)
    with _explaining_errors(blob), task.ahead(pieces) if blob.size > _AHEAD else nullcontext(pieces) as decoded:
        index = _index_entries(ChunkInput(decoded), blob, turn, source=blob.size)
    index.codec = compression
    return index


def _index_entries(tar: TarInput, blob: Blob, turn: Turn | None, source: int | None = None) -> LayerIndex:
    index = LayerIndex()
    notes = TarNotes()
    for entry in entries_and_runs(tar, notes, hashed=False, source=source):
        if isinstance(entry, Run):
            index.extend(entry)
            if turn is not None and len(index.paths) >= MANY:
                turn.many_entries(len(index.paths), (tar.offset if source is None else turn.read) / blob.size)
                turn = None
        else:
            index.add(entry)
    index.notes, index.notes_dropped = tuple(notes.kept), notes.dropped
    index.complete()
    return index


def _chunks(blob: Blob, task: Task, turn: Turn | None = None) -> Iterator[bytes]:
    """Yields a blob's bytes, and reports progress."""
    name = label(blob)
    for chunk in blob.chunks():
        task.check()
        if turn is not None:
            turn.read += len(chunk)
        task.advance(name, len(chunk), blob.size)
        yield chunk


def hash_rows(index: LayerIndex, blob: Blob, rows: Sequence[int], task: Task) -> LayerIndex:
    """Returns the index with the contents of these rows hashed too. Rows are read fastest in ascending order; a
    compressed blob is always read so."""
    tar = _at_start(blob)
    ordered = rows if isinstance(tar, SeekInput) else sorted(rows)
    return index.with_contents(_hashed(index, tar, ordered, task, _Holes(blob, task)))


def _hashed(
    index: LayerIndex, tar: TarInput, rows: Sequence[int], task: Task, holes: _Holes
) -> Iterator[tuple[int, bytes]]:  # fmt: skip
    sha256, offsets, sizes, sparse = hashlib.sha256, index.offsets, index.sizes, index.sparse
    done = 0
    for count, row in enumerate(rows):
        if not count & 1023 or done > streams.STEP:
            task.check()
            task.advance("contents", done)
            done = 0
        tar.skip(offsets[row] - tar.offset)
        size = sizes[row]
        if row in sparse or size > SeekInput.NEAR:
            entry = index.entry(row)
            if entry.segments is not None:
                holes.count(entry)
            yield row, content_hash(tar, entry)
        else:
            data = tar.read(size)
            if len(data) != size:
                raise FormatError(f"tar ends inside an entry, at offset {tar.offset}")
            yield row, sha256(data).digest()
        done += size
    task.advance("contents", done)


class _Holes:
    """Counts the holes of a layer that are hashed, against the limits.

    Holes beyond the allowed ratio to the stored bytes also count with all that the command unpacks: a layer of a few
    bytes may have `MAX_LAYER_HOLES` of them, and a manifest may name thousands of layers.
    """

    def __init__(self, blob: Blob, task: Task) -> None:
        self._task = task
        self._hashed = 0
        self._told = limits.unpacked_ratio() * blob.size

    def count(self, entry: Entry) -> None:
        """Counts a file before it is hashed. Raises `LimitError`."""
        if entry.kind != Kind.FILE or entry.size - entry.stored > MAX_HASHED_HOLES:
            return
        self._hashed += entry.size - entry.stored
        if self._hashed > MAX_LAYER_HOLES:
            raise LimitError(f"sparse files with more than {MAX_LAYER_HOLES} bytes of holes in one layer")
        more = self._hashed - self._told
        if more > 0:
            self._told += more
            if self._task.count_expansion(more) > limits.EXPANSION:
                raise LimitError(
                    f"sparse files: with all that is unpacked, their holes are more than {limits.EXPANSION} bytes",
                    hint="raise OCITOOL_MAX_RATIO",
                )


def content_hash(tar: TarInput, entry: Entry) -> bytes:
    """Returns the SHA-256 of a file's content, whose data must be next in `tar`."""
    if entry.segments is not None:
        return _sparse_hash(tar, entry.size, entry.segments, entry.stored)
    stored = entry.stored
    if not stored:
        return _EMPTY
    if stored <= _SMALL:
        content = tar.read(stored)
        if len(content) != stored:
            raise FormatError(f"tar ends inside an entry, at offset {tar.offset}")
        return hashlib.sha256(content).digest()
    hasher = hashlib.sha256()
    for piece in tar.pieces(stored):
        hasher.update(piece)
    return hasher.digest()


def known_content(chunks: Iterable[bytes], known: bytes, where: str) -> Iterator[bytes]:
    """Yields the chunks of a file's content. Raises `IntegrityError` after the last one if their SHA-256 is not `known`."""
    hasher = hashlib.sha256()
    yield from hashed(chunks, hasher)
    if hasher.digest() != known:
        raise IntegrityError("the content is not what it was when the layer was indexed", where)


def _sparse_hash(tar: TarInput, size: int, segments: Segments, stored: int) -> bytes:
    """Returns the hash of a sparse file's content: the same as the dense file's, so that sparse and dense copies are
    equal.

    A file with more than `MAX_HASHED_HOLES` of holes is hashed as map and data instead: hashing a terabyte of zeros
    would take too long.
    """
    if size - stored > MAX_HASHED_HOLES:
        hasher = hashlib.sha256(b"sparse %d\0" % size)
        for offset, length in segments:
            hasher.update(b"%d+%d\0" % (offset, length))
            for piece in tar.pieces(length):
                hasher.update(piece)
        return hasher.digest()
    hasher = hashlib.sha256()
    position = 0
    for offset, length in (*segments, (size, 0)):
        for _ in range((offset - position) // len(_ZEROS)):
            hasher.update(_ZEROS)
        hasher.update(_ZEROS[: (offset - position) % len(_ZEROS)])
        for piece in tar.pieces(length):
            hasher.update(piece)
        position = offset + length
    return hasher.digest()


def open_content(blob: Blob, entry: Entry) -> Iterator[bytes]:
    """Yields a file's content in chunks, holes as zeros. Reads the layer only up to the content's end."""
    return content_at(_at_start(blob), entry)


def open_contents(blob: Blob, files: Sequence[Entry]) -> Iterator[bytes]:
    """Yields the whole contents of several files, which must be in the order of their offsets, in one pass. A file may
    be given twice."""
    tar = _at_start(blob)
    last, content = -1, b""
    for entry in files:
        if entry.offset != last or not entry.stored:
            content = _joined(content_at(tar, entry), entry.size)
        last = entry.offset
        yield content


def _joined(pieces: Iterator[bytes], size: int) -> bytes:
    """Returns the pieces as one. Large ones grow in one buffer, which becomes the result: joining would hold all of them
    twice."""
    if size < _LARGE:
        return b"".join(pieces)
    buffer = BytesIO()
    for piece in pieces:
        buffer.write(piece)
    return buffer.getvalue()


def each_content(blob: Blob, files: Iterable[Entry], task: Task | None = None) -> Iterator[Iterator[bytes]]:
    """Yields the contents of several files, in the order of their offsets, in one pass; each is an iterator to be read
    before the next.

    With `task`, unpacked bytes and filled holes are counted against the limits.
    """
    tar = _at_start(blob, task)
    holes = _Holes(blob, task) if task is not None else None
    for entry in files:
        if holes is not None and entry.segments is not None:
            holes.count(entry)
        yield content_at(tar, entry)


def _at_start(blob: Blob, task: Task | None = None) -> TarInput:
    compression = codecs.detected(blob)
    return SeekInput(blob) if compression == "none" else ChunkInput(codecs.decode(blob.chunks(), compression, task))


def content_at(tar: TarInput, entry: Entry) -> Iterator[bytes]:
    """Yields a file's content in chunks, holes as zeros, from a layer that is read forward."""
    tar.skip(entry.offset - tar.offset)
    position = 0
    for offset, length in (*(entry.segments or ((0, entry.stored),)), (entry.size, 0)):
        while position < offset:
            step = min(offset - position, len(_ZEROS))
            yield _ZEROS[:step]
            position += step
        for piece in tar.pieces(length):
            yield bytes(piece)
        position += length
