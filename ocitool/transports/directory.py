"""Images in directories that are no layouts: skopeo's `dir:`, and a `docker save` archive that was extracted.

Every file is opened through `file_below`: a name in a document, or a link in the directory, leads nowhere outside of it.
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
from ocitool.transports.archive import Members
from ocitool.transports.source import ArchiveNames, DockerImageRecord, SilentUntilOpened

VERSION = "version"
"""The file by which `dir:` is known beside its manifest.json."""

_STATED = b"Directory Transport Version: "


def file_below(directory: str, name: str) -> OpenFile | None:
    """A regular file of a directory, through links that stay in it. None for what is not there or leads out: it is the file
    that was opened which must be in the directory, wherever its name led before.

    Raises `FormatError` for what is no regular file, `TransportError` for what cannot be read.
    """
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
        file = layout.regular(path, os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError as error:
        raise unreadable(os.path.join(directory, name), error) from None
    with contextlib.suppress(OSError):  # without /proc
        if os.path.commonpath((top, os.readlink(f"/proc/self/fd/{file.descriptor}"))) != top:
            return None
    return file


class DirectoryMembers(Members):
    """The files of an extracted archive as its members, each opened when it is asked for."""

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
    """What skopeo writes to `dir:`: manifest.json, and each blob under the digits of its digest; of an index (`copy --all`)
    manifest.json is the index, and its manifests are DIGITS.manifest.json."""

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
        listed = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": [fields]}
        self.index: Index | None = Index(serialised(listed), listed, directory)

    def blob(self, descriptor: Descriptor) -> Blob | None:
        digest = descriptor.digest
        names = (digest.encoded, f"{digest.encoded}.manifest.json", f"{digest.algorithm}-{digest.encoded}")
        for name in ("manifest.json",) if digest == self._manifest else names:
            file = file_below(self.where, name)
            if file is not None:
                return FileBlob(file, 0, file.size, digest)
        return None


def is_dir_image(directory: str) -> bool:
    """Whether a directory is what skopeo writes to `dir:`: its manifest.json is a manifest or index of its own, or its version
    file says so, which leaves what is wrong with its manifest.json to be told."""
    fields = _object(directory, "manifest.json")
    if fields is not None:
        return "layers" in fields or "manifests" in fields or "fsLayers" in fields
    try:
        stated = DirectoryMembers(directory).get(VERSION)
    except OcitoolError:
        return False
    return stated is not None and stated.pread(len(_STATED), 0) == _STATED and not is_extracted_archive(directory)


def is_extracted_archive(directory: str) -> bool:
    """Whether a directory is an extracted `docker save`: manifest.json is a list of images, or there is `repositories`."""
    from ocitool.transports.archive import is_docker_save

    return is_docker_save(DirectoryMembers(directory))


def _object(directory: str, name: str) -> dict[str, Any] | None:
    try:
        raw = DirectoryMembers(directory).document(name)
        return None if raw is None else dict(parse_object(raw, directory))
    except OcitoolError:
        return None
