"""From the word for a destination to an open sink."""

from __future__ import annotations

import os
from typing import NamedTuple

from ocitool import reference
from ocitool.errors import UsageError
from ocitool.task import Task
from ocitool.transports.sink import Sink

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


def open_sink(destination: Destination, task: Task, *, force: bool = False) -> Sink:
    """Raises `DestinationError` where something stands in the way. The caller closes it."""
    if destination.kind == "layout":
        from ocitool.transports.layout_sink import LayoutSink

        return LayoutSink(destination.path, task)
    from ocitool.transports.archive_sink import ArchiveSink, StandardOutput

    if destination.kind == "stdout":
        return StandardOutput()
    return ArchiveSink(destination.path, force=force, compression=_ending(destination.path) or "none")
