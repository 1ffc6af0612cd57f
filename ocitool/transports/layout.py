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
    from ocitool.transports.archive_members import Members

LAYOUT_FILE = b'{"imageLayoutVersion":"1.0.0"}'
"""The content of `oci-layout`."""


def looks_like(directory: str) -> bool:
    """Returns whether a directory has a file of an OCI layout."""
    return any(os.path.lexists(os.path.join(directory, name)) for name in ("index.json", "oci-layout"))


class Layout(SilentUntilOpened):
    """An OCI layout. `members`: the files of the directory, if it is an extracted hybrid archive."""

    transport = LAYOUT
    remote = False
    members: Members | None = None

    def __init__(self, directory: str, at: OpenDirectory | None = None) -> None:
        """`at`: the open directory, if the caller has it; else files are opened by path. Raises `FormatError` if it has
        no valid index.json."""
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
        """Returns the bytes of a file in the top directory of the layout; None if it is absent."""
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
        """Returns whether the file `oci-layout` is a JSON object with a version (image-layout.md), even if it is an
        unknown version."""
        try:
            raw = self.document("oci-layout")
            return raw is not None and isinstance(parse_object(raw, "oci-layout").get("imageLayoutVersion"), str)
        except (FormatError, LimitError):
            return False

    def blob(self, descriptor: Descriptor) -> Blob | None:
        """Returns a blob, unverified. All descriptors of one blob share its open file, as long as any of them is held."""
        file = self._files.get(descriptor.digest)
        if file is not None:
            return FileBlob(file, 0, file.size, descriptor.digest)
        blob = stored_blob(self.where, descriptor.digest)
        if isinstance(blob, FileBlob):
            self._files[descriptor.digest] = blob.file
        return blob


def plain_file(path: str) -> OpenFile | None:
    """Returns a regular file; None if it is absent. The check is made on the open file, and opening never waits, even
    if a pipe replaces the file. Raises `OSError`, `FormatError`."""
    try:
        return regular_file(path, os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            raise FormatError("not a regular file", path) from None
        raise


def opened_file(path: str) -> OpenFile:
    """Returns a regular file that must exist, as `plain_file`. Raises `TransportError`, `FormatError`."""
    try:
        file = plain_file(path)
    except OSError as error:
        raise unreadable(path, error) from None
    if file is None:
        raise unreadable(path, OSError(errno.ENOENT, os.strerror(errno.ENOENT)))
    return file


def regular_file(path: str, descriptor: int) -> OpenFile:
    """Returns an open file from its descriptor. Raises `FormatError` if it is not a regular file."""
    file = OpenFile(path, descriptor=descriptor, named=True)
    if not stat.S_ISREG(file.mode):
        raise FormatError("not a regular file", path)
    return file


def file_in(at: OpenDirectory, name: str) -> OpenFile | None:
    """Returns a regular file, as `plain_file`, in an open directory. Raises `DestinationError` for a link of another
    user."""
    try:
        at, name = at.located(name)
        return regular_file(at.name(name), at.read(name))
    except FileNotFoundError:
        return None


def blob_path(directory: str, digest: Digest) -> str:
    return f"{directory}{'' if directory.endswith('/') else '/'}blobs/{digest.algorithm}/{digest.encoded}"


def stored_blob(directory: str, digest: Digest) -> Blob | None:
    """Returns the blob under this digest in a layout's directory, unverified; None if it is absent."""
    path = blob_path(directory, digest)
    try:
        file = plain_file(path)
    except OSError as error:
        if error.errno == errno.ELOOP:  # a damaged layout; other errors are those of access
            raise FormatError("a symbolic link that leads to itself", path) from None
        raise unreadable(path, error) from None
    return FileBlob(file, 0, file.size, digest) if file is not None else None
