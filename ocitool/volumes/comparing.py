"""`volume diff`: a saved volume, or one of an engine, compared with another."""

from __future__ import annotations

import json
import os
from array import array
from contextlib import closing
from typing import NamedTuple

from ocitool.atomic import anonymous_temporary
from ocitool.blob import Blob, FileBlob, OpenFile
from ocitool.comparison import Diff, DiffOptions, diff_images
from ocitool.digest import Digest
from ocitool.errors import FormatError, UnsafeError
from ocitool.images.image import Image, Layer
from ocitool.layers.cache import IndexCache
from ocitool.layers.index import LayerIndex
from ocitool.layers.scan import index_layer
from ocitool.pipeline.session import Session
from ocitool.spec.manifest import Config, Platform
from ocitool.task import Task
from ocitool.transports.engine.volumes import VolumeInfo, check_name, existing, mounted
from ocitool.trees.indexing import Indexer
from ocitool.volumes import artifact
from ocitool.volumes.content import Checker, Counts, OutOfOrderError, joined, sorted_tar_of, tar_of

LIVE = "docker-volume:"
"""What stands before the name of a volume of the engine."""


class _Side(NamedTuple):
    """What is compared. `whole`: whether it was read so that nothing was dropped."""

    word: str
    where: str
    info: VolumeInfo
    blob: Blob
    digest: Digest | None
    whole: bool


def compare(before: str, after: str, options: DiffOptions, session: Session, *, helper: str | None = None) -> Diff:
    """Returns the differences of two volumes: `docker-volume:NAME` is one of the engine, anything else refers to a saved one.

    `helper`: as for `save`, of those of the engine. If one of the two was read without a helper, what the engine's archive API
    drops (fractions of seconds, extended attributes) is not compared. Raises what reading them raises."""
    options.check()
    sides = [_side(word, session, helper) for word in (before, after)]
    narrow = not all(side.whole for side in sides)
    if narrow and any(side.whole for side in sides):
        text = "one of the volumes was read without a helper: times are compared in whole seconds, and of extended attributes"
        session.task.notice("volume", f"{text} only security.capability")
    indexer = _VolumeIndexer(session.task, narrow=narrow)
    found = diff_images(before, after, _image(sides[0]), _image(sides[1]), options, session, indexer)
    identical = not found.files and not found.config  # whatever the bytes of the tars are, which nothing shares
    notable = tuple(one for one in found.notable if one.rule != "unshared-layer")
    return found._replace(identical=identical, verified=True, notable=notable)


def _side(word: str, session: Session, helper: str | None) -> _Side:
    if not word.startswith(LIVE):
        saved = artifact.read(word, session)
        return _Side(word, saved.where, saved.info, saved.layer, saved.digest, saved.whole)
    name = check_name(word.removeprefix(LIVE))
    engine = session.engine()
    info = existing(engine, name)
    with mounted(engine, session.task, name, helper=helper) as volume:
        for read in (tar_of, sorted_tar_of):
            temporary = anonymous_temporary()
            try:
                with closing(read(volume.content, session.task, Counts(), volume.prefix)) as tar:
                    for piece in joined(tar):
                        session.task.advance("content", len(piece))
                        temporary.write(piece)
                file = OpenFile(temporary.path, descriptor=os.dup(temporary.descriptor))
                return _Side(word, volume.where, info, FileBlob(file, 0, file.size), None, helper is not None)
            except OutOfOrderError:
                continue
            finally:
                temporary.discard()
    raise AssertionError


def _image(side: _Side) -> Image:
    """Returns a volume as an image of one layer, whose configuration is what is known of it."""
    fields = {"driver": side.info.driver, "labels": dict(side.info.labels)}
    layer = Layer(0, side.blob, side.digest and side.blob.digest, None, side.blob.size, artifact.LAYER_TYPE, None, None)
    config = Config(json.dumps(fields, sort_keys=True).encode(), fields)
    return Image(
        side.where, "volume", (side.info.name,), side.digest, None, config, str(config.digest), (layer,),
        Platform(None, None, None), True, True,
    )  # fmt: skip


class _VolumeIndexer(Indexer):
    """Reads layers as archives of files, in which no name is a whiteout. `narrow`: leaves out what not both sides have."""

    def __init__(self, task: Task, *, narrow: bool) -> None:
        super().__init__(IndexCache(None), task, verify=True)
        self._narrow = narrow

    def _read_hashed(self, blob: Blob, algorithm: str) -> LayerIndex:
        index = index_layer(blob, self.task, algorithm=algorithm, whiteouts=False)
        checker = Checker()
        try:
            for entry in index:
                checker.checked(entry)
        except (FormatError, UnsafeError) as error:
            error.where = error.where or "volume"
            raise
        if self._narrow:
            index.mtimes = array("q", (time // 1_000_000_000 * 1_000_000_000 for time in index.mtimes))
            kept = (
                (row, tuple(one for one in pairs if one[0] == b"security.capability")) for row, pairs in index.xattrs.items()
            )
            index.xattrs = {row: pairs for row, pairs in kept if pairs}
        return index

    def _read_listing(self, blob: Blob, algorithm: str) -> LayerIndex:
        return self._read_hashed(blob, algorithm)

    def _read_unhashed(self, blob: Blob, algorithm: str) -> LayerIndex:
        return self._read_hashed(blob, algorithm)
