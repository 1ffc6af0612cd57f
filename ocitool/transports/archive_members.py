"""The members of an image archive by name, and what kind of archive they make.

The files of an archive that was extracted are members too (`directory.DirectoryMembers`).
"""

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
"""Most links from member to member that are followed for one name."""

_CANDIDATES = 1000
"""Most directories in an archive that are searched for an image."""


class Members:
    """The members of an archive by normalised name. Of two with one name the later counts, as for tar."""

    def __init__(self, where: str) -> None:
        self.where = where
        self._blobs: dict[bytes, Blob] = {}
        self._links: dict[bytes, bytes] = {}
        self.duplicates: list[bytes] = []
        self.replaced: list[tuple[bytes, Blob]] = []
        """Members that list images (`LISTS`, in any directory) and were replaced by a later member."""
        self.notes: tuple[TarNote, ...] = ()
        self.tops: set[bytes] = set()
        """Names at the top of the archive, of directories too."""
        self.is_layer = False
        """Whether any member is a whiteout, so that this is a layer and not an image."""
        self.tail: Blob | None = None
        """The data after the end-of-archive blocks; of an archive that was read as a stream only its first bytes."""

    def add(self, entry: Entry, blob: Blob | None) -> None:
        """Adds the next member of the tar. `blob`: its content, if it is a file. Raises `LimitError`."""
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
        """Adds a member under a normalised name."""
        self._blobs[path] = blob

    def __contains__(self, name: str) -> bool:
        try:
            return self.get(name) is not None
        except FormatError:
            return True  # it exists, and reading it raises what is wrong

    def get(self, name: str) -> Blob | None:
        """Returns the member of this name, through links to other members; None if there is none. Raises `FormatError` for a
        circle of links."""
        path = name.encode("utf-8", "surrogateescape")
        if (blob := self._blobs.get(path)) is not None:
            return blob  # so the name is a normalised one
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
        """Returns the path if it is a link, else the first of its directories that is one; None if no part of it is a link."""
        if path in self._links:
            return path
        end = path.find(b"/") if self._links else -1
        while end >= 0:
            if path[:end] in self._links:
                return path[:end]
            end = path.find(b"/", end + 1)
        return None

    def _behind_link(self, path: bytes, link: bytes) -> bytes:
        """Returns the path with its part `link` replaced by what that links to."""
        return normalise(self._links[link] + path[len(link) :])

    def document(self, name: str) -> bytes | None:
        """Returns the content of a member, None if there is none. Raises `LimitError` if it is too large for a document,
        `FormatError` if the archive ends inside it."""
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
        """Yields the normalised names of all members, including links."""
        yield from self._blobs
        yield from self._links

    def behind(self) -> Literal["archive", "data"] | None:
        """Returns what follows the end of the archive, except zeros: another archive (`cat a.tar b.tar`), or other data."""
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
        """Returns the normalised names of the links that a name leads through, and last the name that it leads to."""
        path = normalise(name.encode("utf-8", "surrogateescape"))
        passed: list[bytes] = []
        while len(passed) < _LINK_HOPS and (link := self._link_of(path)) is not None:
            passed.append(link)
            path = self._behind_link(path, link)
        return [*passed, path]

    def below(self, directory: str) -> Members:
        """Returns the members below a directory, named as if it were the top."""
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
        """Returns the lists of images at the top that occur twice with different content, as `tar -A` and `tar -r` leave
        them."""
        other = [name for name, blob in self.replaced if name in _LISTS and not _alike(name, blob, self._blobs.get(name))]
        return [name.decode() for name in dict.fromkeys(other)]


def _alike(name: bytes, one: Blob, other: Blob | None) -> bool:
    """Returns whether two members of this name have the same bytes. False, without reading them, if they are too large for a
    document."""
    if other is None or one.size != other.size or one.size > largest_document(name.decode()):
        return False
    return one.pread(one.size, 0) == other.pread(other.size, 0)


LISTS = ("index.json", "manifest.json", "repositories")
"""Members that list the images of an archive."""

_LISTS = frozenset(name.encode() for name in LISTS)


def largest_document(name: str) -> int:
    """Returns the most bytes that a document of this name may have."""
    return limits.STORE.size if name in LISTS else limits.DOCUMENT_SIZE


def is_oci(members: Members) -> bool:
    """Returns whether the members have the index of an OCI layout."""
    return "index.json" in members


def is_docker_save(members: Members) -> bool:
    """Returns whether these are the files of a `docker save`: manifest.json is a list of images, or there is a valid
    `repositories`. Raises nothing."""
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
    """Returns the directories of an archive that hold a layout or a `docker save`, sorted."""
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
    """Returns whether the members have a list of images of a `docker save`, valid or not."""
    return "manifest.json" in members or "repositories" in members
