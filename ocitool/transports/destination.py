"""From the word for a destination to an open sink."""

from __future__ import annotations

import os
import tempfile
from typing import NamedTuple

from ocitool import reference
from ocitool.blob import Blob
from ocitool.digest import Digest
from ocitool.errors import UsageError
from ocitool.task import Task
from ocitool.transports.layout import stored
from ocitool.transports.sink import Bundle, Sink, Stored
from ocitool.transports.whole import Temporary

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
        return Destination("layout" if ref.transport == "oci" else "archive", path, name or None)
    if text.endswith("/") or os.path.isdir(text):
        return Destination("layout", text.rstrip("/") or "/", None)
    if _ending(text) is not None:
        return Destination("archive", text, None)
    raise UsageError(
        "neither an archive nor a layout", text,
        hint=f"{text}.tar is an archive, {text}/ an OCI layout; oci:DIR:TAG and docker-archive:FILE:NAME give names too",
    )  # fmt: skip


def _ending(path: str) -> str | None:
    return next((codec for ending, codec in _ENDINGS.items() if path.endswith(ending)), None)


def open_sink(destination: Destination, task: Task, *, force: bool = False, dry_run: bool = False) -> Sink:
    """Raises `DestinationError` where something stands in the way. The caller closes it. `dry_run`: nothing is written, and
    what is there already is still known."""
    from ocitool.transports.archive_sink import ArchiveSink, StandardOutput

    if destination.kind == "layout":
        from ocitool.transports.layout_sink import LayoutSink

        return Rehearsal(destination.path, layout=True) if dry_run else LayoutSink(destination.path, task)
    if dry_run:
        return Rehearsal(destination.path, layout=False)
    if destination.kind == "stdout":
        return StandardOutput()
    return ArchiveSink(destination.path, force=force, compression=_ending(destination.path) or "none")


class Rehearsal:
    """A destination that only says what writing to it would come to."""

    transport = "none"

    def __init__(self, path: str, *, layout: bool) -> None:
        self.where = path
        self._layout = layout

    def blob(self, digest: Digest) -> Blob | None:
        return stored(self.where, digest) if self._layout else None

    def spool(self) -> Temporary:
        return Temporary(tempfile.gettempdir())

    def write(self, bundle: Bundle, task: Task, *, verify: bool) -> Stored:
        there = (self.blob(blob.digest) for blob in bundle.blobs if blob.digest)
        return Stored(frozenset(blob.digest for blob in there if blob is not None and blob.digest), False)

    def close(self) -> None:
        pass
