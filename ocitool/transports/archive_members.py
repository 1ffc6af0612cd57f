"""The members of an image archive by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from ocitool import limits
from ocitool.blob import Blob, BytesBlob
from ocitool.errors import FormatError, LimitError, OcitoolError
from ocitool.layers.entry import Entry, Kind, normalise
from ocitool.layers.tar_notes import TarNote
from ocitool.spec.document import parse, parse_object

_LINK_HOPS = 8

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
        most = largest_document(name)
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
    if other is None or one.size != other.size or one.size > largest_document(name.decode()):
        return False
    return one.pread(one.size, 0) == other.pread(other.size, 0)


LISTS = ("index.json", "manifest.json", "repositories")
"""Members that list all that an archive holds."""

_LISTS = frozenset(name.encode() for name in LISTS)


def largest_document(name: str) -> int:
    """How large a document of this name may be."""
    return limits.STORE.size if name in LISTS else limits.DOCUMENT_SIZE


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


def is_docker(members: Members) -> bool:
    return "manifest.json" in members or "repositories" in members
