"""Images in directories that are not layouts: skopeo's `dir:`, and an extracted `docker save` archive.

Every file is opened by `file_below`, so that neither a name in a document nor a link in the directory leads outside of
it.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from typing import Any

from ocitool.blob import Blob, FileBlob, OpenFile, unreadable
from ocitool.digest import Digest
from ocitool.errors import FormatError, OcitoolError
from ocitool.layers.entry import normalise
from ocitool.reference import DIRECTORY
from ocitool.spec import mediatypes
from ocitool.spec.document import parse_object, serialised
from ocitool.spec.manifest import Descriptor, Index, read
from ocitool.transports import layout
from ocitool.transports.archive_members import Members
from ocitool.transports.source import ArchiveNames, DockerImageRecord, SilentUntilOpened

VERSION = "version"
"""The file that marks a `dir:` image, in addition to manifest.json."""

_VERSION_PREFIX = b"Directory Transport Version: "


def file_below(directory: str, name: str) -> OpenFile | None:
    """Returns a regular file in a directory; links are followed if they stay in it. None if it is absent or outside:
    what counts is the file that was opened, not where its name led before.

    Raises `FormatError` if it is not a regular file, `TransportError` if it cannot be read."""
    top = os.path.realpath(directory)
    path = os.path.realpath(os.path.join(top, name))
    if os.path.commonpath((top, path)) != top:
        return None
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise FormatError("not a regular file", os.path.join(directory, name))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise unreadable(os.path.join(directory, name), error) from None
    try:
        file = layout.regular_file(
            path, os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC)
        )
    except OSError as error:
        raise unreadable(os.path.join(directory, name), error) from None
    with contextlib.suppress(OSError):  # /proc may be missing
        if os.path.commonpath((top, os.readlink(f"/proc/self/fd/{file.descriptor}"))) != top:
            return None
    return file


class DirectoryMembers(Members):
    """The files of an extracted archive as its members. Each is opened when it is needed."""

    def get(self, name: str) -> Blob | None:
        path = normalise(name.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")
        if not path or path == ".." or path.startswith("../") or os.path.isdir(os.path.join(self.where, path)):
            return None
        file = file_below(self.where, path)
        return FileBlob(file, 0, file.size) if file is not None else None

    def names(self) -> Iterator[bytes]:
        for directory, _, names in os.walk(self.where):
            below = os.path.relpath(directory, self.where)
            for name in names:
                yield os.fsencode(os.path.normpath(os.path.join(below, name)))


class DirImage(SilentUntilOpened):
    """A `dir:` image of skopeo: manifest.json, and each blob under the encoded part of its digest. Of an index (`copy
    --all`) manifest.json is the index, and its manifests are ENCODED.manifest.json."""

    transport = DIRECTORY
    remote = False
    notices: tuple[str, ...] = ()
    problems: tuple[OcitoolError, ...] = ()

    def __init__(self, directory: str) -> None:
        self.where = directory
        self.records: tuple[DockerImageRecord, ...] = ()
        self.names: dict[Digest, ArchiveNames] = {}
        raw = Members.document(DirectoryMembers(directory), "manifest.json")
        if raw is None:
            raise FormatError("not a dir: image: it has no manifest.json", directory)
        self._manifest = Digest.of(raw)
        document = read(raw, f"{directory}/manifest.json")
        fields: dict[str, Any] = {"mediaType": document.media_type, "digest": str(self._manifest), "size": len(raw)}
        index_fields = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": [fields]}
        self.index: Index | None = Index(serialised(index_fields), index_fields, directory)

    def blob(self, descriptor: Descriptor) -> Blob | None:
        digest = descriptor.digest
        names = (digest.encoded, f"{digest.encoded}.manifest.json", f"{digest.algorithm}-{digest.encoded}")
        for name in ("manifest.json",) if digest == self._manifest else names:
            file = file_below(self.where, name)
            if file is not None:
                return FileBlob(file, 0, file.size, digest)
        return None


def is_dir_image(directory: str) -> bool:
    """Returns whether a directory is a `dir:` image: its manifest.json is a manifest or index, or it has the version
    file. In the latter case errors in manifest.json are reported when it is opened."""
    fields = _read_object(directory, "manifest.json")
    if fields is not None:
        return "layers" in fields or "manifests" in fields or "fsLayers" in fields
    try:
        stated = DirectoryMembers(directory).get(VERSION)
    except OcitoolError:
        return False
    return (
        stated is not None and stated.pread(len(_VERSION_PREFIX), 0) == _VERSION_PREFIX and not is_extracted_archive(directory)
    )


def is_extracted_archive(directory: str) -> bool:
    """Returns whether a directory is an extracted `docker save` archive: manifest.json is a list of images, or there is
    `repositories`."""
    from ocitool.transports.archive_members import is_docker_save

    return is_docker_save(DirectoryMembers(directory))


def _read_object(directory: str, name: str) -> dict[str, Any] | None:
    try:
        raw = DirectoryMembers(directory).document(name)
        return None if raw is None else dict(parse_object(raw, directory))
    except OcitoolError:
        return None
