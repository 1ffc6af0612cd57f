"""From a reference to an open source: the table of transports, and recognition of plain paths by content."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ocitool import reference
from ocitool.blob import OpenFile
from ocitool.errors import NotAnImageError, NotFoundError, UsageError
from ocitool.reference import Reference, Selector
from ocitool.task import Task
from ocitool.transports.registry import Access, Registries
from ocitool.transports.source import Source

if TYPE_CHECKING:
    from ocitool.transports.archive import Members, Want


def _untold(code: str, text: str) -> None:
    """For a source that is opened by itself."""


class Opened(NamedTuple):
    """A source and what the reference picks of it. `tell`: takes notices of what is chosen there."""

    source: Source
    selector: Selector | None
    tell: Callable[[str, str], None] = _untold


def open_source(text: str, want: Want, task: Task, registries: Registries | None = None) -> Opened:
    """Raises `UsageError`, `NotFoundError`, `FormatError`, `TransportError`, `LimitError`."""
    ref = reference.parse(text)
    if ref.transport == reference.REGISTRY:
        from ocitool.transports.registry.source import RegistrySource

        where = reference.repository(ref.details)
        return Opened(RegistrySource(where, registries or Registries(Access(), task)), None, task.notice)
    from ocitool.transports import archive, layout

    path, rest = _existing(ref)
    selector = reference.selector(rest) if rest is not None else None
    if path != "-" and os.path.isdir(path):
        if ref.transport not in (None, "oci"):
            raise UsageError(f"{ref.transport}: wants a file, this is a directory", path)
        if not layout.looks_like(path):
            raise NotAnImageError(
                "not an OCI layout: the directory has no index.json", path, hint="an unpacked root file system is no image"
            )
        return Opened(layout.Layout(path), selector, task.notice)
    if ref.transport == "oci":
        raise UsageError("oci: wants a directory, this is a file", path, hint=f"oci-archive:{path}")
    members = archive.read(path, _file(path), want, task)
    if ref.transport == "oci-archive":
        return Opened(archive.OciArchive(members), selector, task.notice)
    source = archive.DockerArchive(members) if ref.transport == "docker-archive" else _recognise(members)
    return Opened(source, selector, task.notice)


def _existing(ref: Reference) -> tuple[str, str | None]:
    for path, rest in ref.splits():
        if path == "-" or os.path.exists(path):
            return path, rest
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


def _recognise(members: Members) -> Source:
    """OCI where an index names manifests, since that carries digests; else docker; else an empty OCI index."""
    from ocitool.transports import archive

    if archive.is_oci(members):
        source = archive.OciArchive(members)
        if (source.index and source.index.manifests) or not archive.is_docker(members):
            return source
    if archive.is_docker(members):
        return archive.DockerArchive(members)
    raise NotAnImageError(
        "not an image archive: it has neither index.json nor manifest.json nor repositories", members.where
    )
