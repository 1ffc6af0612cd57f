"""An OCI image layout in a directory (image-spec image-layout.md)."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from ocitool import limits
from ocitool.blob import Blob, FileBlob, OpenFile, unreadable
from ocitool.digest import Digest
from ocitool.errors import FormatError, LimitError, OcitoolError
from ocitool.spec.document import parse_object
from ocitool.spec.manifest import Descriptor, Index
from ocitool.transports.source import Names, Record, Telling

if TYPE_CHECKING:
    from ocitool.transports.archive import Members

LAYOUT_FILE = b'{"imageLayoutVersion":"1.0.0"}'
"""The content of `oci-layout`."""


def looks_like(directory: str) -> bool:
    return any(os.path.lexists(os.path.join(directory, name)) for name in ("index.json", "oci-layout"))


class Layout(Telling):
    """`members`: the files of the directory, if it is a hybrid archive that was extracted."""

    transport = "oci"
    remote = False
    members: Members | None = None

    def __init__(self, directory: str) -> None:
        self.where = directory
        self.records: tuple[Record, ...] = ()
        self.names: dict[Digest, Names] = {}
        self.notices: tuple[str, ...] = ()
        self.problems: tuple[OcitoolError, ...] = ()
        path = os.path.join(directory, "index.json")
        raw = self.document("index.json")
        if raw is None:
            raise FormatError("not an OCI layout: it has no index.json", directory)
        self.index: Index | None = Index(raw, parse_object(raw, path, limits.STORE), path)

    def document(self, name: str) -> bytes | None:
        """A file at the top of the layout, whole."""
        path = os.path.join(self.where, name)
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise FormatError("not a regular file", path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unreadable(path, error) from None
        file = OpenFile(path)
        if file.size > limits.STORE.size:
            raise LimitError(f"a document of {file.size} bytes, more than {limits.STORE.size}", path)
        return FileBlob(file, 0, file.size).pread(file.size, 0)

    def blob(self, descriptor: Descriptor) -> Blob | None:
        return stored(self.where, descriptor.digest)


def blob_path(directory: str, digest: Digest) -> str:
    return os.path.join(directory, "blobs", digest.algorithm, digest.encoded)


def stored(directory: str, digest: Digest) -> Blob | None:
    """The blob that stands under this digest in a layout's directory, unverified."""
    path = blob_path(directory, digest)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise FormatError("not a regular file", path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:  # damage, which closed files are not
            raise FormatError("a symbolic link that leads to itself", path) from None
        raise unreadable(path, error) from None
    file = OpenFile(path)
    return FileBlob(file, 0, file.size, digest)
