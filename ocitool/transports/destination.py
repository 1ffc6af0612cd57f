"""From the word for a destination to an open sink."""

from __future__ import annotations

import os
from typing import NamedTuple

from ocitool import reference
from ocitool.blob import Blob
from ocitool.digest import Digest
from ocitool.errors import UsageError
from ocitool.task import Task
from ocitool.transports.layout import stored
from ocitool.transports.sink import Bundle, Fresh, Sink, Stored

_ENDINGS = {".tar": "none", ".tar.gz": "gzip", ".tgz": "gzip", ".tar.zst": "zstd"}


class Destination(NamedTuple):
    """`kind`: `archive`, `layout` or `stdout`; `name`: what the reference itself calls the image, or None."""

    kind: str
    path: str
    name: str | None


def parse(text: str) -> Destination:
    """Raises `UsageError` where the words name no place that can be written to. Looks whether a plain path is a directory."""
    if text == "-":
        return Destination("stdout", "-", None)
    ref = reference.parse(text)
    if ref.transport is not None:
        path, _, name = ref.details.partition(":")
        if name.startswith("@") or not path:
            raise UsageError("a destination takes a name, not a position or digest", text)
        if ref.transport == "docker-archive" and name:
            name = image_name(name)
        elif name and not reference.is_layout_name(name):
            raise UsageError(f"{name} is no name for an image", text)
        return Destination("layout" if ref.transport == "oci" else "archive", path, name or None)
    if text.endswith("/") or os.path.isdir(text):
        return Destination("layout", text.rstrip("/") or "/", None)
    if _ending(text) is not None:
        return Destination("archive", text, None)
    if ".tar" in os.path.basename(text):
        raise UsageError("neither an archive nor a layout", text, hint="archives end in .tar, .tar.gz or .tar.zst")
    raise UsageError(
        "neither an archive nor a layout", text,
        hint=f"{text}.tar is an archive, {text}/ an OCI layout; oci:DIR:TAG and docker-archive:FILE:NAME give names too",
    )  # fmt: skip


def image_name(text: str) -> str:
    """`NAME[:TAG]` in full. `UsageError` for what no engine would take."""
    if not reference.is_image_name(text):
        raise UsageError(f"{text} is no name for an image", hint="NAME[:TAG], in small letters, as in app:1.0 or host/team/app")
    return reference.qualified(text)


def given_name(text: str, kind: str) -> str:
    """The name that a user gives an image, as a destination of this kind is to have it: layouts take bare tags."""
    if kind != "layout":
        return image_name(text)
    if not reference.is_layout_name(text):
        raise UsageError(f"{text} is no name for an image", hint="letters, digits and . _ - : @ + / only")
    return text


def _ending(path: str) -> str | None:
    return next((codec for ending, codec in _ENDINGS.items() if path.endswith(ending)), None)


def open_sink(destination: Destination, task: Task, *, force: bool = False, dry_run: bool = False) -> Sink:
    """Raises `DestinationError` where something stands in the way, `UsageError` where standard output is a terminal. The
    caller closes it. `dry_run`: nothing is written, and what is there already is still known."""
    from ocitool.transports import archive_sink, layout_sink

    kind, path, _ = destination
    if kind == "stdout":
        output = archive_sink.StandardOutput()
        return Rehearsal(path) if dry_run else output
    if kind == "layout":
        if not dry_run:
            return layout_sink.LayoutSink(path, task)
        problem = layout_sink.refused(path)
    else:
        if not dry_run:
            return archive_sink.ArchiveSink(path, force=force, compression=_ending(path) or "none")
        problem = archive_sink.refused(path, force=force)
    if problem is not None:
        raise problem
    return RehearsedLayout(path) if kind == "layout" else Rehearsal(path)


class Rehearsal(Fresh):
    """A destination that only says what writing to it would come to. It holds nothing yet."""

    def __init__(self, where: str) -> None:
        self.where = where

    def write(self, bundle: Bundle, task: Task, *, verify: bool) -> Stored:
        skipped = set()
        for blob in bundle.blobs:
            there = self.blob(blob.digest) if blob.digest else None
            if there is not None and there.digest is not None and there.size == blob.size:
                skipped.add(there.digest)
        return Stored(frozenset(skipped), False)


class RehearsedLayout(Rehearsal):
    """A layout, which keeps the blobs that it has."""

    def blob(self, digest: Digest) -> Blob | None:
        return stored(self.where, digest)
