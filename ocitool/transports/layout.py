"""An OCI image layout in a directory (image-spec image-layout.md)."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from ocitool import limits
from ocitool.blob import Blob, FileBlob, OpenFile, unreadable
from ocitool.digest import Digest
from ocitool.directories import OpenDirectory
from ocitool.errors import FormatError, LimitError, OcitoolError
from ocitool.reference import LAYOUT
from ocitool.spec.document import parse_object
from ocitool.spec.manifest import Descriptor, Index
from ocitool.transports.source import ArchiveNames, DockerImageRecord, SilentUntilOpened

if TYPE_CHECKING:
    from ocitool.transports.archive import Members

LAYOUT_FILE = b'{"imageLayoutVersion":"1.0.0"}'
"""The content of `oci-layout`."""


def looks_like(directory: str) -> bool:
    return any(os.path.lexists(os.path.join(directory, name)) for name in ("index.json", "oci-layout"))


class Layout(SilentUntilOpened):
    """`members`: the files of the directory, if it is a hybrid archive that was extracted."""

    transport = LAYOUT
    remote = False
    members: Members | None = None

    def __init__(self, directory: str, at: OpenDirectory | None = None) -> None:
        """`at`: the directory itself, if it is held; else it is looked up each time."""
        self.where = directory
        self._at = at
        self.records: tuple[DockerImageRecord, ...] = ()
        self.names: dict[Digest, ArchiveNames] = {}
        self.notices: tuple[str, ...] = ()
        self.problems: tuple[OcitoolError, ...] = ()
        self._files: WeakValueDictionary[Digest, OpenFile] = WeakValueDictionary()
        path = os.path.join(directory, "index.json")
        raw = self.document("index.json")
        if raw is None:
            raise FormatError("not an OCI layout: it has no index.json", directory)
        self.index: Index | None = Index(raw, parse_object(raw, path, limits.STORE), path)

    def document(self, name: str) -> bytes | None:
        """A file at the top of the layout, whole."""
        path = os.path.join(self.where, name)
        try:
            file = plain_file(path) if self._at is None else file_in(self._at, name)
        except OSError as error:
            raise unreadable(path, error) from None
        if file is None:
            return None
        if file.size > limits.STORE.size:
            raise LimitError(f"a document of {file.size} bytes, more than {limits.STORE.size}", path)
        return FileBlob(file, 0, file.size).pread(file.size, 0)

    def states_version(self) -> bool:
        """Whether the file `oci-layout` says, in a JSON object, which version the layout has (image-layout.md); not whether
        it is one that readers know."""
        try:
            raw = self.document("oci-layout")
            return raw is not None and isinstance(parse_object(raw, "oci-layout").get("imageLayoutVersion"), str)
        except (FormatError, LimitError):
            return False

    def blob(self, descriptor: Descriptor) -> Blob | None:
        """Thousands of descriptors of one blob share its file as long as any of them is held."""
        file = self._files.get(descriptor.digest)
        if file is not None:
            return FileBlob(file, 0, file.size, descriptor.digest)
        blob = stored(self.where, descriptor.digest)
        if isinstance(blob, FileBlob):
            self._files[descriptor.digest] = blob.file
        return blob


def plain_file(path: str) -> OpenFile | None:
    """A regular file, of which it is asked once it is open: a pipe that takes its place meanwhile keeps no reader waiting. None
    if nothing is there. Raises `OSError`, `FormatError`."""
    try:
        return regular(path, os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            raise FormatError("not a regular file", path) from None
        raise


def opened_file(path: str) -> OpenFile:
    """`plain_file`, of one that must be there. Raises `TransportError`, `FormatError`."""
    try:
        file = plain_file(path)
    except OSError as error:
        raise unreadable(path, error) from None
    if file is None:
        raise unreadable(path, OSError(errno.ENOENT, os.strerror(errno.ENOENT)))
    return file


def regular(path: str, descriptor: int) -> OpenFile:
    """An open file that must be a regular one: `FormatError` for a pipe, which was opened without waiting, and any other."""
    file = OpenFile(path, descriptor=descriptor, named=True)
    if not stat.S_ISREG(file.mode):
        raise FormatError("not a regular file", path)
    return file


def file_in(at: OpenDirectory, name: str) -> OpenFile | None:
    """`plain_file`, of a directory that is held; a link of another user is a `DestinationError`."""
    try:
        at, name = at.located(name)
        return regular(at.name(name), at.read(name))
    except FileNotFoundError:
        return None


def blob_path(directory: str, digest: Digest) -> str:
    return os.path.join(directory, "blobs", digest.algorithm, digest.encoded)


def stored(directory: str, digest: Digest) -> Blob | None:
    """The blob that stands under this digest in a layout's directory, unverified."""
    path = blob_path(directory, digest)
    try:
        file = plain_file(path)
    except OSError as error:
        if error.errno == errno.ELOOP:  # damage, which closed files are not
            raise FormatError("a symbolic link that leads to itself", path) from None
        raise unreadable(path, error) from None
    return FileBlob(file, 0, file.size, digest) if file is not None else None
