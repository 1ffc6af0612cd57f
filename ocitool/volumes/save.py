"""`volume save`: the content of a volume as an artifact, in a layout, an archive or a registry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from ocitool.atomic import SpooledBlob
from ocitool.layers.compress import Compression
from ocitool.pipeline.delivery import deliver
from ocitool.pipeline.image_writer import ImageWriter, WriteOptions, WriteResult
from ocitool.pipeline.session import Session
from ocitool.task import Task
from ocitool.transports.engine.volumes import MountedVolume, existing, mounted
from ocitool.volumes import artifact
from ocitool.volumes.content import Counts, OutOfOrderError, sorted_tar_of, tar_of

if TYPE_CHECKING:
    from ocitool.transports.engine.client import Engine

COMPRESSION = Compression("zstd", 2)
"""Always the same, as equal content is to have one digest. Level 3 makes 4 % less of it, and takes twice the memory."""


class VolumeSaved(NamedTuple):
    """What was saved of a volume. `size`: bytes of its files, of sparse ones their data; `dropped`: what it may have had that
    is not in the tar."""

    name: str
    driver: str
    entries: int
    files: int
    size: int
    helper: str | None
    dropped: tuple[str, ...]


def save(name: str, options: WriteOptions, session: Session, engine: Engine, *, helper: str | None = None) -> WriteResult:
    """Writes the content of a volume as an artifact (`artifact.output`). `helper`: an image with GNU tar, which reads it in a
    container; without one the engine's archive API does, and what that drops is told.

    Nothing of ocitool's is left at the engine, and nothing can be seen at the destination before all is read. Raises
    `NotFoundError` if there is no such volume, `TransportError`, `DestinationError`."""
    task = session.task
    info = existing(engine, name)
    if info.options:
        task.notice(
            "volume", f"{engine.where}: volume {name}: the options of its driver are not saved: {', '.join(info.options)}"
        )
    with ImageWriter(options, session) as writer:
        with mounted(engine, task, name, helper=helper) as volume:
            counts, layer = _layer(volume, writer, task)
            dropped = _dropped(volume, counts)
        if dropped and helper is None:
            text = f"the engine gives no {_listed(dropped)}; --helper IMAGE, with GNU tar in it, gives more"
            task.notice("volume", f"{volume.where}: {text}")
        output = artifact.output(info, layer, whole=helper is not None, where=volume.where)
        details = VolumeSaved(name, info.driver, counts.entries, counts.files, counts.size, helper, dropped)
        return deliver(writer, "volume-save", [output], details)


def _layer(volume: MountedVolume, writer: ImageWriter, task: Task) -> tuple[Counts, SpooledBlob]:
    for read in (tar_of, sorted_tar_of):
        counts = Counts()
        try:
            # Closed at once, also by an error: the container that it reads from must be gone before its image is removed.
            with closing(read(volume.content, task, counts, volume.prefix)) as tar:
                _, blob = writer.layers.compressed(_told(tar, task), COMPRESSION)
        except OutOfOrderError:
            continue
        return counts, blob
    raise AssertionError


def _told(tar: Iterator[bytes | memoryview], task: Task) -> Iterator[bytes | memoryview]:
    for piece in tar:
        task.advance("content", len(piece))
        yield piece


def _dropped(volume: MountedVolume, counts: Counts) -> tuple[str, ...]:
    """Returns what the way that was taken drops, but for what was there after all."""
    return tuple(
        what
        for what in volume.dropped
        if not (what == "fractions of seconds" and counts.fractions) and not ("xattrs" in what and counts.xattrs)
    )


def _listed(words: tuple[str, ...]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
