"""From a reference to an open source: the table of transports, and recognition of plain paths by content."""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING, NamedTuple

from ocitool import reference
from ocitool.blob import OpenFile, unreadable
from ocitool.errors import FormatError, LimitError, NotFoundError, OcitoolError, UsageError
from ocitool.reference import Reference, Selector
from ocitool.task import Task
from ocitool.transports.registry import Access, Registries
from ocitool.transports.source import Source

if TYPE_CHECKING:
    from ocitool.transports.archive import DockerArchive, Members, OciArchive, Want
    from ocitool.transports.directory import DirImage
    from ocitool.transports.layout import Layout


class Opened(NamedTuple):
    """A source and what the reference picks of it."""

    source: Source
    selector: Selector | None
    problems: tuple[OcitoolError, ...] = ()
    """What of the source could not be read, while other parts of it say what it holds."""


def open_source(text: str, want: Want, task: Task, registries: Registries | None = None) -> Opened:
    """Raises `UsageError`, `NotFoundError`, `FormatError`, `TransportError`, `LimitError`."""
    opened = _opened(text, want, task, registries)
    opened.source.tell = task.notice
    return opened


def _opened(text: str, want: Want, task: Task, registries: Registries | None) -> Opened:
    ref = reference.parse(text)
    if ref.transport == reference.REGISTRY:
        from ocitool.transports.registry.source import RegistrySource

        where = reference.repository(ref.details)
        return Opened(RegistrySource(where, registries or Registries(Access(), task)), None)
    path, rest, is_directory = _existing(ref)
    selector = reference.selector(rest) if rest is not None else None
    if is_directory:
        return _told(_directory(ref.transport, path), selector, task)
    if ref.transport in ("oci", "dir"):
        hint = f"oci-archive:{path}" if ref.transport == "oci" else None
        raise UsageError(f"{ref.transport}: wants a directory, this is a file", path, hint=hint)
    from ocitool.transports import archive

    members = archive.top_level(archive.read(path, _file(path), want, task), task)
    return _told(_archive(ref.transport, members), selector, task)


def _told(source: OciArchive | DockerArchive | Layout | DirImage, selector: Selector | None, task: Task) -> Opened:
    """An opened source, and what is to be said of its halves."""
    for text in source.notices:
        task.notice("hybrid", text)
    for error in source.problems:
        task.notice("unreadable", str(error))
    return Opened(source, selector, source.problems)


def _layout(path: str, *, alone: bool) -> Layout | DockerArchive:
    """The layout, with the images that only its manifest.json has if it is a hybrid archive that was extracted. If its
    index.json cannot be read these are all that is known, unless the layout alone is asked for."""
    from ocitool.transports import layout

    if not any(os.path.lexists(os.path.join(path, name)) for name in ("manifest.json", "repositories")):
        return layout.Layout(path)  # at once: nearly every layout is one
    from ocitool.transports import archive, directory, hybrid

    members = directory.DirectoryMembers(path)
    docker = archive.is_docker_save(members)
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
    """The path that a reference begins with, what follows it, and whether a directory is there."""
    closed: OcitoolError | None = None
    for path, rest in ref.splits():
        try:
            return path, rest, path != "-" and stat.S_ISDIR(os.stat(path).st_mode)
        except PermissionError as error:
            closed = closed or unreadable(path, error)
        except (OSError, ValueError):
            continue
    if closed is not None:
        raise closed
    first = ref.details
    hint = f"docker://{first} would name a registry" if "/" not in first[:1] else None
    raise NotFoundError("no such file or directory", first, hint=hint)


def _file(path: str) -> OpenFile:
    if path == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise UsageError("standard input is a terminal", hint="pipe an archive in: ... | ocitool COMMAND -")
        file = OpenFile("standard input", descriptor=os.dup(0))
        if stat.S_ISREG(file.mode) and os.lseek(0, 0, os.SEEK_CUR) != 0:
            file.mode = stat.S_IFIFO  # somebody read its beginning: what is left can only be streamed
        return file
    return OpenFile(path)


def is_image_directory(path: str) -> bool:
    """Whether a plain path of this directory would be an image, of whatever kind."""
    from ocitool.transports import directory, layout

    return layout.looks_like(path) or directory.is_dir_image(path) or directory.is_extracted_archive(path)


def _directory(transport: str | None, path: str) -> Layout | DockerArchive | DirImage:
    """A layout, or an image in a directory of another kind."""
    from ocitool.transports import layout

    if transport == "dir":
        from ocitool.transports.directory import DirImage

        return DirImage(path)
    if transport not in (None, "oci"):
        raise UsageError(f"{transport}: wants a file, this is a directory", path)
    try:
        os.lstat(os.path.join(path, "index.json"))
    except PermissionError as error:
        raise unreadable(path, error) from None
    except OSError:
        pass
    if layout.looks_like(path):
        return _layout(path, alone=transport is not None)
    from ocitool.transports import directory, recognition

    if transport is None and directory.is_dir_image(path):
        return directory.DirImage(path)
    if transport is None and directory.is_extracted_archive(path):
        from ocitool.transports import archive

        return archive.DockerArchive(directory.DirectoryMembers(path))
    raise recognition.no_directory(path, is_image_directory)


def _archive(transport: str | None, members: Members) -> OciArchive | DockerArchive:
    """The archive as its transport reads it. A plain path is an OCI archive and a docker archive at once if it can be; of two
    lists of images of which one cannot be read the other counts."""
    from ocitool.transports import archive

    if transport == "oci-archive":
        return archive.OciArchive(members, alone=True)
    if transport == "docker-archive":
        return archive.DockerArchive(members)
    oci, docker = archive.is_oci(members), archive.is_docker(members)
    if not oci and not docker:
        from ocitool.transports import recognition

        raise recognition.no_image(members, archive.image_directories(members))
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
        return archive.DockerArchive(members)  # its index names nothing, as some savers write it
    return source
