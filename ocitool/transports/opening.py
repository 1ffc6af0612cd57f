"""Sources: opened from a reference by the table of transports; a plain path is recognised by its content."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ocitool import reference
from ocitool.blob import OpenFile, unreadable
from ocitool.errors import FormatError, LimitError, NotFoundError, OcitoolError, UsageError
from ocitool.reference import Reference, Selector, Transport
from ocitool.task import Task
from ocitool.transports.engine import EngineOptions, Engines
from ocitool.transports.registry import Access, Registries
from ocitool.transports.source import Source

if TYPE_CHECKING:
    from ocitool.transports.archive import DockerArchive, OciArchive, Want
    from ocitool.transports.archive_members import Members
    from ocitool.transports.directory import DirImage
    from ocitool.transports.layout import Layout


class Opened(NamedTuple):
    """A source, and which of its images the reference selects."""

    source: Source
    selector: Selector | None
    problems: tuple[OcitoolError, ...] = ()
    """Errors in parts of the source, while its other parts can be read."""


def open_source(
    text: str, want: Want, task: Task, registries: Registries | None = None, engines: Engines | None = None
) -> Opened:  # fmt: skip
    """Returns the source that a reference names. Raises `UsageError`, `NotFoundError`, `FormatError`, `TransportError`,
    `LimitError`."""
    opened = _opened(text, want, task, registries, engines)
    opened.source.tell = task.notice
    return opened


def _opened(text: str, want: Want, task: Task, registries: Registries | None, engines: Engines | None) -> Opened:
    ref = reference.parse(text)
    if ref.transport is not None and ref.transport.engine:
        return _engine_image(ref.details, want, task, engines or Engines(EngineOptions(), task))
    if ref.transport is not None and ref.transport.remote:
        return Opened(_REMOTE[ref.transport](ref.details, registries or Registries(Access(), task)), None)
    path, rest, is_directory = _existing(ref)
    selector = reference.parse_selector(rest) if rest is not None else None
    if is_directory:
        return _with_notices(_directory(ref.transport, path), selector, task)
    if ref.transport is not None and ref.transport.directory:
        hint = f"{ref.transport.packed}:{path}" if ref.transport.packed is not None else None
        raise UsageError(f"{ref.transport.prefix} wants a directory, this is a file", path, hint=hint)
    from ocitool.transports import archive

    members = archive.top_level(archive.read(path, _file(path), want, task), task)
    return _with_notices(_archive(ref.transport, members), selector, task)


def _registry(details: str, registries: Registries) -> Source:
    from ocitool.transports.registry.source import RegistrySource

    return RegistrySource(reference.parse_repository(details), registries)


def _engine_image(details: str, want: Want, task: Task, engines: Engines) -> Opened:
    """Returns an image of an engine: the archive that it sends, or only what it says of the image."""
    name = reference.parse_engine_image(details)
    from ocitool.transports.engine import description, images

    image = images.look_up(engines.engine(), name, engines.platform)
    if want == "summary" and (described := description.described(image)) is not None:
        return Opened(described, None)
    from ocitool.transports import archive

    members = archive.top_level(images.received(image, want, task, engines.spool), task)
    source = images.by_config(image, members) or _archive(None, members)
    images.check(image, source)
    source.transport = reference.ENGINE
    return _with_notices(source, None, task)


def _with_notices(source: OciArchive | DockerArchive | Layout | DirImage, selector: Selector | None, task: Task) -> Opened:
    """Sends the notices and problems of an opened source."""
    for text in source.notices:
        task.notice("hybrid", text)
    for error in source.problems:
        task.notice("unreadable", str(error))
    return Opened(source, selector, source.problems)


def _layout(path: str, *, alone: bool) -> Layout | DockerArchive:
    """Returns a layout. If the directory is an extracted hybrid archive, the images that only manifest.json has are
    added; if its index.json cannot be read, these are all images, unless `alone`: then only the index counts."""
    from ocitool.transports import layout

    if not any(os.path.lexists(os.path.join(path, name)) for name in ("manifest.json", "repositories")):
        return layout.Layout(path)  # the usual case, without further imports
    from ocitool.transports import archive, archive_members, directory, hybrid

    members = directory.DirectoryMembers(path)
    docker = archive_members.is_docker_save(members)
    try:
        source = layout.Layout(path)
    except (FormatError, LimitError) as error:
        if alone or not docker:
            raise
        other = archive.DockerArchive(members)
        other.problems = (error,)
        return other
    if docker:
        source.members = members
        assert source.index is not None
        both = hybrid.united(members, source.index, alone=alone)
        source.names, source.records, source.notices, source.problems, source.manifests = both
    return source


def _existing(ref: Reference) -> tuple[str, str | None, bool]:
    """Returns the existing path that a reference begins with, the text after it, and whether the path is a directory."""
    denied: OcitoolError | None = None
    for path, rest in ref.splits():
        try:
            return path, rest, path != "-" and stat.S_ISDIR(os.stat(path).st_mode)
        except PermissionError as error:
            denied = denied or unreadable(path, error)
        except (OSError, ValueError):
            continue
    if denied is not None:
        raise denied
    first = ref.details
    hint = f"docker://{first} would name a registry" if "/" not in first[:1] else None
    raise NotFoundError("no such file or directory", first, hint=hint)


def _file(path: str) -> OpenFile:
    if path == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise UsageError("standard input is a terminal", hint="pipe an archive in: ... | ocitool COMMAND -")
        file = OpenFile("standard input", descriptor=os.dup(0))
        if stat.S_ISREG(file.mode) and os.lseek(0, 0, os.SEEK_CUR) != 0:
            file.mode = stat.S_IFIFO  # partly read by another process: the rest can only be streamed
        return file
    return OpenFile(path)


def is_image_directory(path: str) -> bool:
    """Returns whether a directory is an image of any kind."""
    from ocitool.transports import directory, layout

    return layout.looks_like(path) or directory.is_dir_image(path) or directory.is_extracted_archive(path)


def _directory(transport: Transport | None, path: str) -> Layout | DockerArchive | DirImage:
    """Returns a directory as its transport reads it; without a transport, as its content shows."""
    if transport is None:
        return _recognised(path)
    if not transport.directory:
        raise UsageError(f"{transport.prefix} wants a file, this is a directory", path)
    return _DIRECTORIES[transport](path)


def _named_layout(path: str) -> Layout | DockerArchive:
    from ocitool.transports import layout

    _readable(path)
    if layout.looks_like(path):
        return _layout(path, alone=True)
    from ocitool.transports import recognition

    raise recognition.no_directory(path, is_image_directory)


def _dir_image(path: str) -> DirImage:
    from ocitool.transports.directory import DirImage

    return DirImage(path)


def _recognised(path: str) -> Layout | DockerArchive | DirImage:
    """Returns a layout, or an image in a directory of another kind."""
    from ocitool.transports import layout

    _readable(path)
    if layout.looks_like(path):
        return _layout(path, alone=False)
    from ocitool.transports import directory, recognition

    if directory.is_dir_image(path):
        return directory.DirImage(path)
    if directory.is_extracted_archive(path):
        from ocitool.transports import archive

        return archive.DockerArchive(directory.DirectoryMembers(path))
    raise recognition.no_directory(path, is_image_directory)


def _readable(path: str) -> None:
    """Raises `TransportError` if the user may not read the directory."""
    try:
        os.lstat(os.path.join(path, "index.json"))
    except PermissionError as error:
        raise unreadable(path, error) from None
    except OSError:
        pass


def _oci_archive(members: Members) -> OciArchive:
    from ocitool.transports import archive

    return archive.OciArchive(members, alone=True)


def _docker_archive(members: Members) -> DockerArchive:
    from ocitool.transports import archive

    return archive.DockerArchive(members)


def _archive(transport: Transport | None, members: Members) -> OciArchive | DockerArchive:
    """Returns an archive as its transport reads it; without a transport, as an OCI archive and a docker archive at once
    if it is both. If one of the two lists of images cannot be read, the other is used."""
    if transport is not None:
        return _FILES[transport](members)
    from ocitool.transports import archive, archive_members

    oci, docker = archive_members.is_oci(members), archive_members.is_docker(members)
    if not oci and not docker:
        from ocitool.transports import recognition

        raise recognition.no_image(members, archive_members.image_directories(members))
    if not oci:
        return archive.DockerArchive(members)
    try:
        source = archive.OciArchive(members)
    except OcitoolError as error:
        if not docker:
            raise
        try:
            other = archive.DockerArchive(members)
        except OcitoolError:
            raise error from None
        other.problems = (error,)
        return other
    if docker and source.index is not None and not source.index.entries and not source.problems:
        return archive.DockerArchive(members)  # some tools write an empty index
    return source


_REMOTE: dict[Transport, Callable[[str, Registries], Source]] = {reference.REGISTRY: _registry}
_DIRECTORIES: dict[Transport, Callable[[str], Layout | DockerArchive | DirImage]] = {
    reference.LAYOUT: _named_layout, reference.DIRECTORY: _dir_image,
}  # fmt: skip
_FILES: dict[Transport, Callable[[Members], OciArchive | DockerArchive]] = {
    reference.OCI_ARCHIVE: _oci_archive, reference.DOCKER_ARCHIVE: _docker_archive,
}  # fmt: skip
"""The functions that open what a reference names, by transport: a repository, a directory, or the members of a file."""
