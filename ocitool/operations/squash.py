"""`squash`: the upper layers of an image as one; its merged file system stays exactly as it is.

The indexes say what is visible, two trees what one layer must say of it (`images.changeset`); then the layers are read once
more, and their visible contents go straight into the new one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ocitool import masking
from ocitool.blob import expected
from ocitool.errors import OcitoolError, UnsupportedError, UsageError
from ocitool.images import drafts, select
from ocitool.images.drafts import ImageDraft
from ocitool.images.image import Image, Layer
from ocitool.layers.entry import Kind
from ocitool.layers.index import LayerIndex
from ocitool.operations.listing import layer_of
from ocitool.pipeline.fallback_blobs import images_of
from ocitool.pipeline.image_writer import ImageWriter, WriteOptions, WriteResult
from ocitool.pipeline.indexed_image import refuse_unreadable
from ocitool.pipeline.layer_identity import base_layers, common_base, identified
from ocitool.pipeline.rewrite import rewrite
from ocitool.pipeline.session import Session
from ocitool.pipeline.source_date import made_at
from ocitool.spec.manifest import BASE_DIGEST, BASE_NAME
from ocitool.task import Task
from ocitool.transports.sink import OutputImage, OutputLayer
from ocitool.trees import changeset_tar
from ocitool.trees.changeset import Changeset, changeset, content_size, rows_to_hash
from ocitool.trees.indexing import Indexer
from ocitool.trees.tree import Directory, Tree


class SquashRange(NamedTuple):
    """What is squashed: from a layer on, or so many at the top, or what stands above a base; nothing said: all."""

    first: int | None = None
    last: int | None = None
    keep_base: str | None = None


def squash(
    reference: str, extent: SquashRange, reading: Session, writing: WriteOptions, *, platform: str | None = None,
    all_platforms: bool = False,
) -> WriteResult:  # fmt: skip
    """The image, or with `all_platforms` every image of an index, with fewer layers. `UsageError` for a base that is none and
    for layers that are not there."""
    if sum(one is not None for one in extent) > 1:
        raise UsageError("--from, --last and --keep-base exclude each other")
    opened = reading.open(reference, "layers")
    with ImageWriter(writing, reading, platform=platform) as writer:
        squasher = _Squasher(extent, reading, writer)

        def summary(done: Sequence[tuple[OutputImage, SquashedImage | None]]) -> tuple[SquashReport, int]:
            return SquashReport(tuple(told for _, told in done if told is not None)), 0

        return rewrite("squash", opened, squasher.squashed, writer, summary, platform=platform, all_platforms=all_platforms)


class SharingLost(NamedTuple):
    """An image with which layers are no longer shared, and what they weigh; None if that is not known."""

    image: str
    layers: int | None
    size: int | None


class SquashedImage(NamedTuple):
    """What became of one image: `layers` of its layers, from number `first` on, are `into` layers now, with so many `entries`.
    Saved are bytes: `stored`, and unpacked ones of files that were `hidden` or `duplicate`."""

    reference: str
    platform: str
    first: int
    layers: int
    into: int
    entries: int
    stored: int
    hidden: int
    duplicate: int
    lost: tuple[SharingLost, ...]


class SquashReport(NamedTuple):
    squashed: tuple[SquashedImage, ...]


class _Squasher:
    def __init__(self, extent: SquashRange, reading: Session, writer: ImageWriter) -> None:
        self._extent = extent
        self._reading = reading
        self._task: Task = reading.task
        self._writer = writer
        self._indexer: Indexer = reading.indexer()

    def squashed(self, draft: ImageDraft) -> tuple[ImageDraft, SquashedImage | None]:
        image = draft.image
        kept = self._kept(image)
        merged = image.layers[kept:]
        if len(merged) < 2:
            text = f"{image.where}: {len(merged)} of its {len(image.layers)} layers: nothing to squash"
            self._task.notice("squash", text)
            return draft, None
        for layer in image.layers:
            refuse_unreadable(image, layer)
        for layer in merged:
            _refuse_foreign(image, layer)
        indexes = self._indexer.indexes(image, image.layers[:kept]) + self._indexer.unhashed_indexes(image, merged)
        upper = Tree(self._decided(image, indexes, kept) if kept else indexes)
        changes = changeset(Tree(upper.indexes[:kept]) if kept else None, upper)
        made = self._layer(image, kept, changes, upper)
        below = draft._replace(layers=draft.layers[:kept])
        draft = drafts.squashed(below, len(image.layers), made, _entry(merged, image))
        return draft, self._told(image, kept, upper, changes, made)

    def _layer(self, image: Image, kept: int, changes: Changeset, upper: Tree) -> OutputLayer | None:
        """The new layer; None where the kept ones are all that is visible. The old ones are read in any case: what their
        indexes say may never have been hashed."""
        self._task.expect(expected(layer.blob for layer in image.layers[kept:]), anew=True)
        tar = changeset_tar.tar_chunks(changes, image, upper, self._task, lowest=kept)
        try:
            if changes or not kept:
                return self._writer.layers.made(tar, self._writer.layers.new_codec(image), image, "squashed")
            for _ in tar:
                pass
        except OcitoolError as error:
            raise error.at(image.where) from None
        return None

    def _kept(self, image: Image) -> int:
        """How many layers stay as they are."""
        first, last, base = self._extent
        if first is not None:
            return layer_of(image, first).number
        if last is not None:
            if not 1 <= last <= len(image.layers):
                raise UsageError(f"--last {last}: the image has {len(image.layers)} layers", image.where)
            return len(image.layers) - last
        if base is not None:
            found = select.single(self._reading.open(base, "layers"), None, like=image.platform)
            return base_layers(image, self._writer.blobs.completed(found), self._task)
        return 0

    def _decided(self, image: Image, indexes: list[LayerIndex], kept: int) -> list[LayerIndex]:
        """The indexes with the contents known that decide whether a file is what the kept layers have there already. Layers
        that are listed twice share an index."""
        below, above = rows_to_hash(Tree(indexes[:kept]), Tree(indexes))
        wanted: dict[int, set[int]] = {}
        for number, rows in (*enumerate(below), *enumerate(above)):
            wanted.setdefault(id(indexes[number]), set()).update(rows)
        known: dict[int, LayerIndex] = {}
        for layer, index in zip(image.layers, indexes, strict=True):
            if id(index) not in known:
                known[id(index)] = self._indexer.with_hashes(layer, index, sorted(wanted.get(id(index), ())))
        return [known[id(index)] for index in indexes]

    def _told(self, image: Image, kept: int, upper: Tree, changes: Changeset, made: OutputLayer | None) -> SquashedImage:
        held = sum(map(content_size, upper.indexes[kept:]))
        written = changes.size(upper, kept)
        duplicate = _visible(upper, kept) - written if kept else 0
        stored = sum(layer.size for layer in image.layers[kept:]) - (made.size if made is not None else 0)
        return SquashedImage(
            image.where, masking.stated(image.platform), kept, len(image.layers) - kept, 0 if made is None else 1,
            len(changes), stored, held - written - duplicate, duplicate, tuple(self._lost(image, kept)),
        )  # fmt: skip

    def _lost(self, image: Image, kept: int) -> Iterator[SharingLost]:
        """The images whose layers were shared until now: those that `--with` names, and the one that annotations name."""
        known = False
        for reference in self._writer.options.fallback:
            bases = images_of(self._reading.open(reference, "layers"))
            shared = max((common_base(*identified((image, base), self._indexer)) for base in bases), default=0)
            if shared > kept:
                known = True
                yield SharingLost(reference, shared - kept, sum(layer.size for layer in image.layers[kept:shared]))
        annotations = image.manifest.annotations if image.manifest else {}
        named = annotations.get(BASE_NAME) or annotations.get(BASE_DIGEST)
        if named and not known and not kept:
            yield SharingLost(named, None, None)


def _visible(tree: Tree, lowest: int) -> int:
    """Bytes of the files that are visible from these layers on, each once whatever its names."""
    inodes = {tree.inode(node) for _, node in tree.walk() if not isinstance(node, Directory)}
    rows = ((tree.indexes[tree.layer(inode)], tree.row(inode)) for inode in inodes if tree.layer(inode) >= lowest)
    return sum(index.stored(row) for index, row in rows if index.kinds[row] == Kind.FILE)


def _refuse_foreign(image: Image, layer: Layer) -> None:
    """A layer that must not be passed on is no part of a new one."""
    if image.is_foreign(layer):
        text = "a foreign layer: its bytes are kept elsewhere and do not go into another one"
        raise UnsupportedError(text, f"{image.where}: layer {layer.number}")


def _entry(merged: Sequence[Layer], image: Image) -> dict[str, Any]:
    """What the history says: which layers, by their numbers alone. Instructions are not repeated: they may hold secrets, and
    would outlive their entries here. Its time is that of the newest, so that the same image gives the same bytes."""
    times = [layer.created for layer in merged if layer.created]
    created = made_at(times[-1] if times else image.config.created)
    entry: dict[str, Any] = {"created": created} if created else {}
    entry["created_by"] = f"ocitool squash --from {merged[0].number}"
    entry["comment"] = f"layers {merged[0].number} to {merged[-1].number} in one"
    return entry
