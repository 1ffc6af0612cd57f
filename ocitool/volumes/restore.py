"""`volume restore`: a saved volume back into a volume of an engine."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from ocitool.atomic import SpooledBlob, anonymous_temporary, transfer
from ocitool.blob import Blob
from ocitool.digest import verified
from ocitool.errors import DestinationError, FormatError, IntegrityError, OcitoolError, UnsafeError
from ocitool.layers import codecs
from ocitool.layers.tarinput import ChunkInput
from ocitool.pipeline.session import Session
from ocitool.progress import Notice
from ocitool.task import Task
from ocitool.transports.engine.volumes import MountedVolume, check_name, find, mounted
from ocitool.volumes import artifact
from ocitool.volumes.artifact import SavedVolume
from ocitool.volumes.content import Counts, checked_counts, joined, members

if TYPE_CHECKING:
    from ocitool.transports.engine.client import Engine


class VolumeRestored(NamedTuple):
    """What was put into a volume. `created`: whether the volume was made; `size`: bytes of its files."""

    reference: str
    engine: str
    name: str
    driver: str
    created: bool
    digest: str
    entries: int
    files: int
    size: int
    helper: str | None
    notices: tuple[Notice, ...]


def restore(
    reference: str, name: str, session: Session, engine: Engine, *, force: bool = False, helper: str | None = None
) -> VolumeRestored:
    """Puts a saved volume into the volume `name`, which is made with its driver and labels if there is none.

    All of it is read first: digests, and that no entry leads out of the volume. `force`: it may have content already, which
    stays but for what is replaced; else that is refused (`DestinationError`). `helper`: an image with GNU tar, which
    writes it in a container. A volume that was made is removed again if it cannot be filled. Raises `UsageError` for what is no
    saved volume, `IntegrityError`, `UnsafeError`, `NotFoundError`, `TransportError`."""
    task = session.task
    check_name(name)
    saved = artifact.read(reference, session)
    layer = _at_hand(saved, task)
    counts = _verified(saved, layer, task)
    there = find(engine, name)
    creates = saved.info._replace(name=name) if there is None else None
    with mounted(engine, task, name, helper=helper, creates=creates) as volume:
        if there is not None and not force and not volume.is_empty():
            raise DestinationError("the volume is not empty", volume.where, hint="--force puts the files over what it has")
        if counts.sparse and helper is None:
            task.notice("volume", f"{volume.where}: sparse files get all of their bytes; --helper IMAGE keeps the holes")
        if counts.early and helper is None:
            task.notice("volume", f"{volume.where}: times before 1970 may become 1970; --helper IMAGE keeps them")
        try:
            with closing(_tar(saved, layer, volume, task)) as tar:
                volume.fill(joined(tar))
        except OcitoolError as error:
            if there is not None and error.hint is None:
                error.hint = f"the volume {name} has a part of it now; the same with --force completes it"
            raise
    driver = there.driver if there is not None else saved.info.driver
    return VolumeRestored(
        reference, engine.where, name, driver, there is None, str(saved.digest), counts.entries, counts.files, counts.size,
        helper, tuple(task.notices),
    )  # fmt: skip


def _at_hand(saved: SavedVolume, task: Task) -> Blob:
    """Returns the layer on this machine: it is read twice."""
    if not saved.layer.remote:
        return saved.layer
    temporary = anonymous_temporary()
    try:
        transfer(saved.layer, temporary.descriptor, task, where=saved.where)
        assert saved.layer.digest is not None
        return SpooledBlob(temporary, saved.layer.digest)
    except BaseException:
        temporary.discard()
        raise


def _unpacked(saved: SavedVolume, layer: Blob, task: Task) -> Iterator[bytes]:
    """Yields the bytes of the tar. Raises `IntegrityError` at the latest when they end."""
    chunks = verified(layer.chunks(), saved.layer.digest, saved.layer.size)
    return codecs.decode(_checked(chunks, task), "zstd", task)


def _checked(chunks: Iterator[bytes], task: Task) -> Iterator[bytes]:
    for chunk in chunks:
        task.check()
        yield chunk


def _verified(saved: SavedVolume, layer: Blob, task: Task) -> Counts:
    """Reads all of a saved volume, and returns what is in it. Raises `IntegrityError`, `UnsafeError`, `FormatError`,
    `LimitError`."""
    try:
        return checked_counts(ChunkInput(_unpacked(saved, layer, task)), layer.size)
    except (FormatError, UnsafeError) as error:
        for _ in verified(layer.chunks(), saved.layer.digest, saved.layer.size):
            task.check()  # raises if it is damaged, which is why it cannot be read
        error.where = f"{saved.where}: {error.where}" if error.where else saved.where
        raise
    except IntegrityError as error:
        raise error.at(saved.where) from None


def _tar(saved: SavedVolume, layer: Blob, volume: MountedVolume, task: Task) -> Generator[bytes | memoryview]:
    for piece in members(ChunkInput(_unpacked(saved, layer, task)), source=layer.size, prefix=volume.prefix):
        task.advance("content", len(piece))
        yield piece
