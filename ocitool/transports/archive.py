"""Image archives: a tar that holds an OCI layout, a `docker save`, or both at once.

An uncompressed archive is indexed by seeking from header to header, and its members are read in place. A compressed one,
and standard input, is read in one pass, and its members are copied to one unnamed temporary file; if the caller asked for
documents only, no more than the first bytes of anything larger than a document are kept.

Formats: OCI archives; `docker save` v1 (`repositories`), v1.2 (`manifest.json`), and the hybrid of Docker 25 and later (both).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal

from ocitool import limits
from ocitool.blob import Blob, BytesBlob, FileBlob, OpenFile
from ocitool.digest import Digest
from ocitool.errors import FormatError, IntegrityError, LimitError, NotAnImageError, OcitoolError
from ocitool.layers import codecs, streams
from ocitool.layers.entry import Entry, Kind, Segments
from ocitool.layers.tar import entries
from ocitool.layers.tar_notes import TarNotes
from ocitool.layers.tarinput import ChunkInput, SeekInput, TarInput
from ocitool.reference import DOCKER_ARCHIVE, OCI_ARCHIVE
from ocitool.spec.document import parse_object
from ocitool.spec.manifest import Descriptor, Index
from ocitool.task import Task
from ocitool.transports.archive_members import Members, image_directories, is_docker, is_oci, largest_document
from ocitool.transports.source import ArchiveNames, DockerImageRecord, SilentUntilOpened

if TYPE_CHECKING:
    from ocitool.atomic import Temporary

Want = Literal["summary", "documents", "layers"]
"""What the caller will read: documents and the first bytes of layers, or layers too. `summary`: what describes an image; an
engine's own description of it will do, in which the configuration is not the exact one, and layers have no bytes."""

_LEVELS = 2
"""Most times that an archive may be compressed: twice happens if a tool did not see that it was compressed already."""

_TAIL = 1 << 16
"""Most bytes after the end of an archive that are read: tars are padded with zeros."""


class _Head(BytesBlob):
    """The first bytes of a member that was not kept, with the size of the whole."""

    def __init__(self, head: bytes, size: int) -> None:
        super().__init__(head)
        self.size = size

    def chunks(self, offset: int = 0) -> Iterator[bytes]:
        raise AssertionError("a member that was not kept is read: open the source with layers")


def read(where: str, file: OpenFile, want: Want, task: Task) -> Members:
    """Returns the members of the archive in `file`, which must stay open for as long as they are read. `where` names it in
    messages. Raises `FormatError` if it is not an archive, `LimitError`, `TransportError`, `CancelledError`."""
    if not stat.S_ISREG(file.mode):
        return read_stream(where, _stream(file), want, task, file.size)
    whole = FileBlob(file, 0, file.size)
    reader = _Reader(where, want, task, whole)
    if codecs.detected(whole) == "none":
        return reader.members_by(lambda: reader.read_in_place(file, whole))
    return reader.members_by(lambda: reader.read_stream(whole.chunks(), file.size))


def read_stream(
    where: str, chunks: Iterator[bytes], want: Want, task: Task, size: int = 0, spool: Callable[[], Temporary] | None = None
) -> Members:  # fmt: skip
    """Returns the members of the archive that `chunks` are; they are read to their end. `size`: of the whole, in bytes, 0 if it
    is not known. `spool`: makes a file for each large member, at the place that it will be written to; the caller discards
    them. Raises what `read` raises, and what `chunks` raises."""
    first, chunks = codecs.peek(chunks)
    reader = _Reader(where, want, task, BytesBlob(first), spool)
    return reader.members_by(lambda: reader.read_stream(chunks, size))


class _Reader:
    """Reads one archive. `head`: its first bytes, for messages. `spool`: as of `read_stream`."""

    def __init__(
        self, where: str, want: Want, task: Task, head: Blob, spool: Callable[[], Temporary] | None = None
    ) -> None:  # fmt: skip
        self._where = where
        self._task = task
        self._head = head
        self._compression = codecs.detected(head)
        self._wrappers: list[str] = []
        self._notes = TarNotes()
        self._members = Members(where)
        self._spool = _Spool(where, want, spool)

    def members_by(self, fill: Callable[[], None]) -> Members:
        """Returns the members once `fill` has read them; its errors tell what the archive is if it is none."""
        members, where = self._members, self._where
        try:
            fill()
        except IntegrityError as error:  # a file that shrank below its own size while it was read
            raise FormatError(error.what, where) from None
        except NotAnImageError:
            raise
        except FormatError as error:
            if not any(members.names()):
                raise self._no_archive(error) from None
            raise error.at(where) from None
        except OcitoolError as error:
            raise error.at(where) from None
        if not members.tops:  # zeros, or nothing at all
            raise self._no_archive(NotAnImageError("an empty tar"))
        members.notes = tuple(self._notes.kept)
        return members

    def read_in_place(self, file: OpenFile, whole: FileBlob) -> None:
        source = SeekInput(whole)
        for entry in entries(source, self._notes, incremental=True):
            blob: Blob | None = None
            if entry.kind == Kind.FILE:
                in_place = entry.segments is None
                blob = FileBlob(file, entry.offset, entry.size) if in_place else self._spool.take(source, entry)
            self._members.add(entry, blob)
        if source.end is not None:
            self._members.tail = FileBlob(file, source.end, file.size - source.end)

    def read_stream(self, chunks: Iterator[bytes], size: int) -> None:
        pieces = _with_progress(chunks, self._where, self._task, size)
        if self._compression == "none":
            pieces = codecs.decode(pieces, self._compression)
        else:
            self._wrappers, first, pieces = codecs.unwrap(pieces, self._compression, _LEVELS)
            self._head = BytesBlob(first)
            how = " in ".join(reversed(self._wrappers))
            if codecs.detected(self._head) != "none":
                from ocitool.transports import recognition

                found = f"{codecs.detected(self._head)} in {how}"
                raise recognition.compressed_too_often(self._where, found, self._wrappers[0])
            if len(self._wrappers) > 1:
                self._task.notice("archive", f"the archive {self._where} is compressed twice ({how})")
        tar = _ArchiveInput(pieces)
        for entry in entries(tar, self._notes, incremental=True):
            self._members.add(entry, self._spool.take(tar, entry) if entry.kind == Kind.FILE else None)
        self._members.tail = BytesBlob(tar.tail)

    def _no_archive(self, error: FormatError) -> OcitoolError:
        from ocitool.transports import recognition

        return recognition.no_archive(self._where, self._head, error, self._wrappers)


class _ArchiveInput(ChunkInput):
    """A tar read as a stream. `tail`: the first bytes after the end-of-archive blocks."""

    tail = b""

    def rest(self) -> Iterator[bytes | memoryview]:
        for piece in super().rest():
            if len(self.tail) < _TAIL:
                self.tail += bytes(piece[: _TAIL - len(self.tail)])
            yield piece


class _Spool:
    """Copies members that cannot be read in place to one unnamed temporary file, which is made for the first of them. `large`:
    makes a file for each large one, which is hashed meanwhile."""

    def __init__(self, where: str, want: Want, large: Callable[[], Temporary] | None = None) -> None:
        self._where = where
        self._want = want
        self._large = large
        self._least = 0
        if large is not None:
            from ocitool.atomic import THREAD_SIZE

            self._least = THREAD_SIZE
        self._file: OpenFile | None = None
        self._written = 0

    def take(self, tar: TarInput, entry: Entry) -> Blob:
        """Returns the member whose data is next in the tar. If documents alone are wanted, only the first bytes of a larger
        member are kept."""
        segments = ((0, entry.size),) if entry.segments is None else entry.segments
        if entry.segments is not None:
            _refuse_bomb(entry)
        if self._want != "layers" and entry.size > largest_document(os.fsdecode(entry.path).rpartition("/")[2]):
            return _Head(_first_bytes(tar, segments), entry.size)
        if self._large is not None and entry.segments is None and entry.size >= self._least:
            return _received(tar, entry.size, self._large())
        file = self._file = self._file or _nameless(self._where)
        start = self._written
        for offset, length in segments:
            if entry.segments is not None:
                os.lseek(file.descriptor, start + offset, os.SEEK_SET)
            for piece in tar.pieces(length):
                _write(file, piece)
        self._written += entry.size
        if entry.segments is not None:  # a hole at the end is written by nothing else
            os.ftruncate(file.descriptor, self._written)
            os.lseek(file.descriptor, self._written, os.SEEK_SET)
        return FileBlob(file, start, entry.size)


def _received(tar: TarInput, size: int, temporary: Temporary) -> Blob:
    from hashlib import sha256

    from ocitool.atomic import ReceivedBlob

    digest = sha256()
    for piece in tar.pieces(size):
        digest.update(piece)
        temporary.write(piece)
    return ReceivedBlob(temporary, Digest("sha256", digest.hexdigest()))


def _nameless(where: str) -> OpenFile:
    from ocitool.atomic import anonymous_temporary

    spool = anonymous_temporary()
    kept = OpenFile(where, descriptor=os.dup(spool.descriptor))
    spool.discard()
    return kept


def _first_bytes(tar: TarInput, segments: Segments) -> bytes:
    head = bytearray(codecs.SNIFF)
    for offset, length in segments:
        if offset >= codecs.SNIFF:
            break
        data = tar.read(min(length, codecs.SNIFF - offset))
        head[offset : offset + len(data)] = data
        if len(data) < length:
            break
    return bytes(head)


def _refuse_bomb(entry: Entry) -> None:
    """Raises `LimitError` for a sparse member that is larger than a compressed one might be."""
    if entry.size > limits.unpacked_size():
        raise LimitError(f"a member of {entry.size} bytes", hint="raise OCITOOL_MAX_UNPACKED_SIZE")
    if entry.size > limits.RATIO_FREE and entry.size > limits.unpacked_ratio() * max(entry.stored, 512):
        raise LimitError(f"a sparse member of {entry.size} bytes out of {entry.stored}", hint="raise OCITOOL_MAX_RATIO")


def _write(file: OpenFile, data: bytes | memoryview) -> None:
    import tempfile

    from ocitool.errors import DestinationError

    try:
        view = memoryview(data)
        while view:
            view = view[os.write(file.descriptor, view) :]
    except OSError as error:
        raise DestinationError(
            f"the temporary directory {tempfile.gettempdir()} cannot be written: {error.strerror}",
            hint="TMPDIR names another",
        ) from None


def _stream(file: OpenFile) -> Iterator[bytes]:
    from ocitool.blob import unreadable

    while True:
        try:
            chunk = os.read(file.descriptor, streams.STEP)
        except OSError as error:
            raise unreadable(file.path, error) from None
        if not chunk:
            return
        yield chunk


def _with_progress(chunks: Iterator[bytes], where: str, task: Task, size: int) -> Iterator[bytes]:
    for chunk in chunks:
        task.check()
        task.advance(os.path.basename(where), len(chunk), size or None)
        yield chunk


def top_level(members: Members, task: Task) -> Members:
    """Returns the members below the directory of the only image, or all if the image is at the top. A notice tells of that, of
    data after the end of the archive, and of lists that occur twice."""
    tail = members.tail.pread(_TAIL, 0) if members.tail is not None else b""
    if tail != bytes(len(tail)):
        task.notice("archive", f"data behind the end of the archive {members.where} is not read, as of a second archive")
    if not is_oci(members) and not is_docker(members):
        found = image_directories(members)
        if len(found) != 1:
            return members
        task.notice("archive", f"the image stands in the directory {found[0]} of {members.where}")
        members = members.below(found[0])
    for name in members.contradicted():
        text = "stands twice, as in archives that were joined: what only an earlier one lists is not read"
        task.notice("archive", f"{members.where}: {name} {text}")
    return members


def _member(members: Members, digest: Digest) -> Blob | None:
    blob = members.get(f"blobs/{digest.algorithm}/{digest.encoded}")
    return blob.with_digest(digest) if isinstance(blob, FileBlob) else blob


class OciArchive(SilentUntilOpened):
    """The images of an archive's `index.json`.

    `records`: images that only `manifest.json` or `repositories` lists; none if the index alone is asked for (`alone`).
    `notices`: how the two lists differ. `problems`: what of them cannot be read.
    """

    transport = OCI_ARCHIVE
    remote = False

    def __init__(self, members: Members, *, alone: bool = False) -> None:
        self.members = members
        self.where = members.where
        raw = members.document("index.json")
        if raw is None:
            raise FormatError("not an OCI archive: it has no index.json", self.where)
        where = f"{self.where}: index.json"
        index = Index(raw, parse_object(raw, where, limits.STORE), where)
        self.index: Index | None = index
        self.names: dict[Digest, ArchiveNames] = {}
        self.records: tuple[DockerImageRecord, ...] = ()
        self.notices: tuple[str, ...] = ()
        self.problems: tuple[OcitoolError, ...] = ()
        if is_docker(members):
            from ocitool.transports.hybrid import united

            both = united(members, index, alone=alone)
            self.names, self.records, self.notices, self.problems, self.manifests = both

    def blob(self, descriptor: Descriptor) -> Blob | None:
        return _member(self.members, descriptor.digest)


class DockerArchive(SilentUntilOpened):
    """The images of `manifest.json` or `repositories`. `notices`: images that only an `index.json` of the archive lists."""

    transport = DOCKER_ARCHIVE
    remote = False

    def __init__(self, members: Members) -> None:
        self.members = members
        self.where = members.where
        self.index: Index | None = None
        self.names: dict[Digest, ArchiveNames] = {}
        from ocitool.transports.records import records

        self.records = records(members)
        self.notices = _beside(members, self.records)
        self.problems: tuple[OcitoolError, ...] = ()

    def blob(self, descriptor: Descriptor) -> Blob | None:
        return _member(self.members, descriptor.digest)


def _beside(members: Members, found: tuple[DockerImageRecord, ...]) -> tuple[str, ...]:
    """Returns notices about images that are only in the `index.json` of a docker archive."""
    try:
        raw = members.document("index.json")
        where = f"{members.where}: index.json"
        index = Index(raw, parse_object(raw, where, limits.STORE), where) if raw is not None else None
    except (FormatError, LimitError):
        return ()  # not asked for
    if index is None:
        return ()
    from ocitool.transports.hybrid import only_there

    more = len(only_there(members, index, found))
    if not more:
        return ()
    count, them = ("1 image that is", "it") if more == 1 else (f"{more} images that are", "them")
    where = members.where
    return (f"{where}: index.json names {count} not in manifest.json; oci-archive:{where} reads {them}",)
