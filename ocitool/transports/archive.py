"""Image archives: a tar that holds an OCI layout, a `docker save`, or both at once.

An uncompressed archive is indexed by seeking from header to header and its members are read in place. A compressed one,
and standard input, is read in one pass; members go to one unnamed temporary file, and where the caller asked for
documents only, whatever is too large to be one leaves no more than its first bytes.

Flavours: OCI archives; `docker save` v1 (`repositories`), v1.2 (`manifest.json`), and the hybrid of Docker 25 and later (both).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Literal

from ocitool import limits
from ocitool.blob import Blob, BytesBlob, FileBlob, OpenFile
from ocitool.digest import Digest
from ocitool.errors import FormatError, IntegrityError, LimitError, NotAnImageError, OcitoolError
from ocitool.layers import codecs, streams
from ocitool.layers.entry import Entry, Kind, Segments, normalise
from ocitool.layers.tar import entries
from ocitool.layers.tar_notes import TarNote, TarNotes
from ocitool.layers.tarinput import ChunkInput, SeekInput, TarInput
from ocitool.reference import DOCKER_ARCHIVE, OCI_ARCHIVE
from ocitool.spec.document import parse, parse_object
from ocitool.spec.manifest import Descriptor, Index
from ocitool.task import Task
from ocitool.transports.source import ArchiveNames, DockerImageRecord, SilentUntilOpened

Want = Literal["documents", "layers"]
"""What will be read: documents and first bytes of layers, or layers too."""

_LINK_HOPS = 8

_LEVELS = 2
"""How often an archive may be compressed: twice, if what compressed it took it for something else."""

_TAIL = 1 << 16
"""Bytes behind the end of an archive that are looked at: tars are filled up with zeros."""

_CANDIDATES = 1000
"""Directories in an archive that are looked at for an image."""


class Members:
    """The members of an archive by normalised name; of two with one name the later counts, as for tar."""

    def __init__(self, where: str) -> None:
        self.where = where
        self._blobs: dict[bytes, Blob] = {}
        self._links: dict[bytes, bytes] = {}
        self.duplicates: list[bytes] = []
        self.replaced: list[tuple[bytes, Blob]] = []
        """Lists of images in whose place a later member stands."""
        self.notes: tuple[TarNote, ...] = ()
        self.tops: set[bytes] = set()
        """What stands at the top, directories too."""
        self.is_layer = False
        """Whether there is a whiteout among them."""
        self.tail: Blob | None = None
        """What stands behind the end-of-archive blocks; of an archive that was read as a stream only the beginning of it."""

    def add(self, entry: Entry, blob: Blob | None) -> None:
        path, kind = entry.path, entry.kind
        if path in self._blobs or path in self._links:
            self.duplicates.append(path)
            before = self._blobs.pop(path, None)
            if before is not None and path.rpartition(b"/")[2] in _LISTS:
                self.replaced.append((path, before))
            self._links.pop(path, None)
        if len(self.tops) < _CANDIDATES:
            self.tops.add(path.split(b"/", 1)[0])
        if kind >= Kind.WHITEOUT:
            self.is_layer = True
        if blob is not None:
            self._blobs[path] = blob
        elif kind == Kind.HARDLINK:
            self._links[path] = entry.link
        elif kind == Kind.SYMLINK:
            above = b"" if entry.link.startswith(b"/") else path.rpartition(b"/")[0]  # the archive is the root
            self._links[path] = normalise(above + b"/" + entry.link)
        if len(self._blobs) + len(self._links) > limits.ARCHIVE_MEMBERS:
            raise LimitError(f"more than {limits.ARCHIVE_MEMBERS} members", self.where)

    def put(self, path: bytes, blob: Blob) -> None:
        """A member under its normalised name."""
        self._blobs[path] = blob

    def __contains__(self, name: str) -> bool:
        try:
            return self.get(name) is not None
        except FormatError:
            return True  # it stands here, and reading it tells what is wrong

    def get(self, name: str) -> Blob | None:
        """The member, through links to other members."""
        path = name.encode("utf-8", "surrogateescape")
        if (blob := self._blobs.get(path)) is not None:
            return blob  # what is found here is a normalised name
        path = normalise(path)
        for _ in range(_LINK_HOPS):
            if path in self._blobs:
                return self._blobs[path]
            link = self._link_of(path)
            if link is None:
                return None
            path = self._behind_link(path, link)
        raise FormatError("archive members link in a circle", f"{self.where}: {name}")

    def _link_of(self, path: bytes) -> bytes | None:
        """The link that a path is, or that the first of its directories is that is one."""
        if path in self._links:
            return path
        end = path.find(b"/") if self._links else -1
        while end >= 0:
            if path[:end] in self._links:
                return path[:end]
            end = path.find(b"/", end + 1)
        return None

    def _behind_link(self, path: bytes, link: bytes) -> bytes:
        return normalise(self._links[link] + path[len(link) :])

    def document(self, name: str) -> bytes | None:
        blob = self.get(name)
        if blob is None:
            return None
        most = _most(name)
        if blob.size > most:
            raise LimitError(f"a document of {blob.size} bytes, more than {most}", f"{self.where}: {name}")
        data = blob.pread(blob.size, 0)
        if len(data) != blob.size:
            raise FormatError("the archive ends inside a member", f"{self.where}: {name}")
        return data

    def names(self) -> Iterator[bytes]:
        yield from self._blobs
        yield from self._links

    def behind(self) -> Literal["archive", "data"] | None:
        """What stands behind the end of the archive, beside zeros: another archive (`cat a.tar b.tar`), or other data."""
        at = 0
        for chunk in self.tail.chunks() if self.tail is not None else ():
            if zeros := len(chunk) - len(chunk.lstrip(b"\0")):
                at += zeros
            if zeros < len(chunk):
                from ocitool.layers import magic

                assert self.tail is not None
                block = self.tail.pread(512, at - at % 512)
                return "archive" if magic.is_tar(BytesBlob(block)) else "data"
        return "data" if any(note.rule == "tar-trailing-data" for note in self.notes) else None

    def way(self, name: str) -> list[bytes]:
        """The normalised names of the members that a name leads through, links, and at last where it leads to."""
        path = normalise(name.encode("utf-8", "surrogateescape"))
        passed: list[bytes] = []
        while len(passed) < _LINK_HOPS and (link := self._link_of(path)) is not None:
            passed.append(link)
            path = self._behind_link(path, link)
        return [*passed, path]

    def below(self, directory: str) -> Members:
        """The members below a directory, as if it were the top."""
        prefix = directory.encode("utf-8", "surrogateescape") + b"/"
        inner = Members(self.where)
        inner._blobs = {name[len(prefix) :]: blob for name, blob in self._blobs.items() if name.startswith(prefix)}
        inner._links = {
            name[len(prefix) :]: target[len(prefix) :]
            for name, target in self._links.items()
            if name.startswith(prefix) and target.startswith(prefix)
        }
        inner.duplicates = [name[len(prefix) :] for name in self.duplicates if name.startswith(prefix)]
        inner.replaced = [(name[len(prefix) :], blob) for name, blob in self.replaced if name.startswith(prefix)]
        inner.notes, inner.tail = self.notes, self.tail
        return inner

    def contradicted(self) -> list[str]:
        """The lists at the top that stand here twice with other content, as `tar -A` and `tar -r` leave them."""
        other = [name for name, blob in self.replaced if name in _LISTS and not _alike(name, blob, self._blobs.get(name))]
        return [name.decode() for name in dict.fromkeys(other)]


def _alike(name: bytes, one: Blob, other: Blob | None) -> bool:
    """Whether two members of this name have the same bytes. One larger than such a document may be is not read: False."""
    if other is None or one.size != other.size or one.size > _most(name.decode()):
        return False
    return one.pread(one.size, 0) == other.pread(other.size, 0)


LISTS = ("index.json", "manifest.json", "repositories")
"""Members that list all that an archive holds."""

_LISTS = frozenset(name.encode() for name in LISTS)


def _most(name: str) -> int:
    """How large a document of this name may be."""
    return limits.STORE.size if name in LISTS else limits.DOCUMENT_SIZE


class _Head(BytesBlob):
    """The first bytes of a member that was not kept, with the size of the whole."""

    def __init__(self, head: bytes, size: int) -> None:
        super().__init__(head)
        self.size = size

    def chunks(self, offset: int = 0) -> Iterator[bytes]:
        raise AssertionError("a member that was not kept is read: open the source with layers")


def read(where: str, file: OpenFile, want: Want, task: Task) -> Members:
    """The members of the archive in `file`. Anything that is no archive is a `FormatError`."""
    members = Members(where)
    notes = TarNotes()
    spool = _Spool(where, want)
    seekable = stat.S_ISREG(file.mode)
    head: Blob
    if seekable:
        head = whole = FileBlob(file, 0, file.size)
        chunks = whole.chunks()
    else:
        first, chunks = codecs.peek(_stream(file))
        head = BytesBlob(first)
    compression = codecs.of(head)
    wrappers: list[str] = []
    try:
        if seekable and compression == "none":
            source = SeekInput(whole)
            for entry in entries(source, notes, incremental=True):
                blob: Blob | None = None
                if entry.kind == Kind.FILE:
                    in_place = entry.segments is None
                    blob = FileBlob(file, entry.offset, entry.size) if in_place else spool.take(source, entry)
                members.add(entry, blob)
            if source.end is not None:
                members.tail = FileBlob(file, source.end, file.size - source.end)
        else:
            pieces = _told(chunks, where, task, file.size)
            if compression == "none":
                pieces = codecs.decode(pieces, compression)
            else:
                wrappers, first, pieces = codecs.unwrap(pieces, compression, _LEVELS)
                head = BytesBlob(first)
                how = " in ".join(reversed(wrappers))
                if codecs.of(head) != "none":
                    from ocitool.transports import recognition

                    raise recognition.compressed_too_often(where, f"{codecs.of(head)} in {how}", wrappers[0])
                if len(wrappers) > 1:
                    task.notice("archive", f"the archive {where} is compressed twice ({how})")
            tar = _ArchiveInput(pieces)
            for entry in entries(tar, notes, incremental=True):
                members.add(entry, spool.take(tar, entry) if entry.kind == Kind.FILE else None)
            members.tail = BytesBlob(tar.tail)
    except IntegrityError as error:  # a file that shrank below its own size while it was read
        raise FormatError(error.what, where) from None
    except NotAnImageError:
        raise
    except FormatError as error:
        if not any(members.names()):
            from ocitool.transports import recognition

            raise recognition.no_archive(where, head, error, wrappers) from None
        raise error.at(where) from None
    except OcitoolError as error:
        raise error.at(where) from None
    if not members.tops:  # zeros, or nothing at all
        from ocitool.transports import recognition

        raise recognition.no_archive(where, head, NotAnImageError("an empty tar"), wrappers)
    members.notes = tuple(notes.kept)
    return members


class _ArchiveInput(ChunkInput):
    """Keeps the first bytes of what stands behind the end of the archive."""

    tail = b""

    def rest(self) -> Iterator[bytes | memoryview]:
        for piece in super().rest():
            if len(self.tail) < _TAIL:
                self.tail += bytes(piece[: _TAIL - len(self.tail)])
            yield piece


class _Spool:
    """Members that cannot be read where they lie, in one unnamed temporary file; made when the first comes."""

    def __init__(self, where: str, want: Want) -> None:
        self._where = where
        self._want = want
        self._file: OpenFile | None = None
        self._written = 0

    def take(self, tar: TarInput, entry: Entry) -> Blob:
        """The member whose data is next in the tar. If documents alone are wanted, of what is too large to be one no more
        than the first bytes are kept."""
        segments = ((0, entry.size),) if entry.segments is None else entry.segments
        if entry.segments is not None:
            _refuse_bomb(entry)
        if self._want == "documents" and entry.size > _most(os.fsdecode(entry.path).rpartition("/")[2]):
            return _Head(_first_bytes(tar, segments), entry.size)
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
    """`LimitError` for a sparse member that stands for more bytes than a compressed one might."""
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


def _told(chunks: Iterator[bytes], where: str, task: Task, size: int) -> Iterator[bytes]:
    for chunk in chunks:
        task.check()
        task.advance(os.path.basename(where), len(chunk), size or None)
        yield chunk


def is_oci(members: Members) -> bool:
    return "index.json" in members


def is_docker_save(members: Members) -> bool:
    """Whether these are the files of a `docker save`: manifest.json is a list of images, or there is `repositories`."""
    try:
        raw = members.document("manifest.json")
        if raw is not None:
            value = parse(raw, members.where)
            return isinstance(value, list) and all(isinstance(one, dict) for one in value)
        raw = members.document("repositories")
        tags = parse_object(raw, members.where) if raw is not None else {}
        return bool(tags) and all(isinstance(one, dict) for one in tags.values())
    except OcitoolError:
        return False


def image_directories(members: Members) -> list[str]:
    """Directories of an archive that hold a layout or a `docker save`."""
    found: set[str] = set()
    for name in members.names():
        directory, slash, base = name.rpartition(b"/")
        if slash and base in (b"oci-layout", b"manifest.json", b"repositories") and len(found) < _CANDIDATES:
            found.add(directory.decode("utf-8", "surrogateescape"))
    return sorted(one for one in found if _holds_image(members, one))


def _holds_image(members: Members, directory: str) -> bool:
    if f"{directory}/oci-layout" in members and f"{directory}/index.json" in members:
        return True
    some = Members(members.where)
    for name in ("manifest.json", "repositories"):
        if (blob := members.get(f"{directory}/{name}")) is not None:
            some.put(name.encode(), blob)
    return is_docker_save(some)


def top_level(members: Members, task: Task) -> Members:
    """The members from where the image stands: an archive of a directory has all of them below its name."""
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


def is_docker(members: Members) -> bool:
    return "manifest.json" in members or "repositories" in members


def _member(members: Members, digest: Digest) -> Blob | None:
    blob = members.get(f"blobs/{digest.algorithm}/{digest.encoded}")
    return blob.named(digest) if isinstance(blob, FileBlob) else blob


class OciArchive(SilentUntilOpened):
    """`records`: the images that `manifest.json` or `repositories` have and the index has not, unless the index alone is asked
    for (`alone`). `notices`, `problems`: how the two differ, and what of them cannot be read."""

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
    """The images of `manifest.json` or `repositories`. `notices`: what an index beside them has more."""

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
    """What is to be said of an `index.json` beside a docker archive's own list of images."""
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
