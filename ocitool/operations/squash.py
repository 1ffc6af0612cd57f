"""`squash`: makes one layer of the upper layers of an image; its merged file system stays exactly as it is.

The indexes show which files are visible, and the difference of two trees (`trees.changeset`) is the content of the new
layer. Then the layers are read once more, and their visible contents are copied into the new one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ocitool import masking
from ocitool.blob import expected_sizes
from ocitool.errors import OcitoolError, UnsupportedError, UsageError
from ocitool.images import drafts, platform_choice
from ocitool.images.drafts import ImageDraft
from ocitool.images.image import Image, Layer
from ocitool.layers.entry import Kind
from ocitool.layers.index import LayerIndex
from ocitool.operations.listing import layer_by_number
from ocitool.pipeline.fallback_blobs import images_of
from ocitool.pipeline.image_writer import ImageWriter, WriteOptions, WriteResult
from ocitool.pipeline.indexed_image import refuse_unreadable
from ocitool.pipeline.layer_identity import common_base_length, count_base_layers, with_diff_ids
from ocitool.pipeline.rewrite import rewrite
from ocitool.pipeline.session import Session
from ocitool.pipeline.source_date import made_at
from ocitool.spec.manifest import BASE_DIGEST, BASE_NAME
from ocitool.task import Task
from ocitool.transports.sink import OutputImage, OutputLayer
from ocitool.trees import changeset_tar
from ocitool.trees.changeset import Changeset, changeset, content_size, rows_to_hash
from ocitool.trees.indexing import Indexer
from ocitool.trees.nodes import Directory
from ocitool.trees.tree import Tree


class SquashRange(NamedTuple):
    """The layers to squash: from layer `first` on, or the `last` top-most ones, or those above a base; without any of
    these, all."""

    first: int | None = None
    last: int | None = None
    keep_base: str | None = None


def squash(
    reference: str, layers: SquashRange, session: Session, write_options: WriteOptions, *, platform: str | None = None,
    all_platforms: bool = False,
) -> WriteResult:  # fmt: skip
    """Writes the image, or with `all_platforms` every image of an index, with the layers squashed. Raises `UsageError` for
    an invalid range, or if `keep_base` is not the base of the image."""
    if sum(one is not None for one in layers) > 1:
        raise UsageError("--from, --last and --keep-base exclude each other")
    opened = session.open(reference, "layers")
    with ImageWriter(write_options, session, platform=platform) as writer:
        squasher = _Squasher(layers, session, writer)

        def summary(done: Sequence[tuple[OutputImage, SquashedImage | None]]) -> tuple[SquashReport, int]:
            return SquashReport(tuple(report for _, report in done if report is not None)), 0

        return rewrite("squash", opened, squasher.squashed, writer, summary, platform=platform, all_platforms=all_platforms)


class SharingLost(NamedTuple):
    """An image that no longer shares layers with the result: their number and stored bytes; None if not known."""

    image: str
    layers: int | None
    size: int | None


class SquashedImage(NamedTuple):
    """The report on one image: `layers` layers, from number `first` on, became `into` layers (0 or 1) with `entries`
    entries. Bytes saved: `stored`, and unpacked bytes of `hidden` files and of `duplicate` ones."""

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
    """The reports on all images in which layers were squashed."""

    squashed: tuple[SquashedImage, ...]


class _Squasher:
    """Squashes the images of one command, one after another."""

    def __init__(self, layers: SquashRange, session: Session, writer: ImageWriter) -> None:
        self._extent = layers
        self._session = session
        self._task: Task = session.task
        self._writer = writer
        self._indexer: Indexer = session.indexer()

    def squashed(self, draft: ImageDraft) -> tuple[ImageDraft, SquashedImage | None]:
        """Returns the draft with one layer in place of several, and the report; None if there is nothing to squash."""
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
        upper = Tree(self._with_compared_hashes(image, indexes, kept) if kept else indexes)
        changes = changeset(Tree(upper.indexes[:kept]) if kept else None, upper)
        made = self._layer(image, kept, changes, upper)
        below = draft._replace(layers=draft.layers[:kept])
        draft = drafts.squashed(below, len(image.layers), made, _entry(merged, image))
        return draft, self._report(image, kept, upper, changes, made)

    def _layer(self, image: Image, kept: int, changes: Changeset, upper: Tree) -> OutputLayer | None:
        """Returns the new layer; None if it would be empty above the kept ones. The old layers are read in any case, since
        they may not have been verified yet."""
        self._task.expect(expected_sizes(layer.blob for layer in image.layers[kept:]), anew=True)
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
        """Returns the number of layers that are not squashed. Raises `UsageError`."""
        first, last, base = self._extent
        if first is not None:
            return layer_by_number(image, first).number
        if last is not None:
            if not 1 <= last <= len(image.layers):
                raise UsageError(f"--last {last}: the image has {len(image.layers)} layers", image.where)
            return len(image.layers) - last
        if base is not None:
            found = platform_choice.single(self._session.open(base, "layers"), None, like=image.platform)
            return count_base_layers(image, self._writer.blobs.with_missing_layers(found), self._task)
        return 0

    def _with_compared_hashes(self, image: Image, indexes: list[LayerIndex], kept: int) -> list[LayerIndex]:
        """Returns the indexes with the hashes that are needed to decide whether a file equals the one of the kept layers. A
        layer that is listed twice keeps one index object."""
        below, above = rows_to_hash(Tree(indexes[:kept]), Tree(indexes))
        wanted: dict[int, set[int]] = {}
        for number, rows in (*enumerate(below), *enumerate(above)):
            wanted.setdefault(id(indexes[number]), set()).update(rows)
        known: dict[int, LayerIndex] = {}
        for layer, index in zip(image.layers, indexes, strict=True):
            if id(index) not in known:
                known[id(index)] = self._indexer.with_hashes(layer, index, sorted(wanted.get(id(index), ())))
        return [known[id(index)] for index in indexes]

    def _report(self, image: Image, kept: int, upper: Tree, changes: Changeset, made: OutputLayer | None) -> SquashedImage:
        held = sum(map(content_size, upper.indexes[kept:]))
        written = changes.size(upper, kept)
        duplicate = _visible(upper, kept) - written if kept else 0
        stored = sum(layer.size for layer in image.layers[kept:]) - (made.size if made is not None else 0)
        return SquashedImage(
            image.where, masking.stated(image.platform), kept, len(image.layers) - kept, 0 if made is None else 1,
            len(changes), stored, held - written - duplicate, duplicate, tuple(self._lost(image, kept)),
        )  # fmt: skip

    def _lost(self, image: Image, kept: int) -> Iterator[SharingLost]:
        """Yields the images that shared squashed layers: those that `--with` names, else the base that annotations name."""
        known = False
        for reference in self._writer.options.fallback:
            bases = images_of(self._session.open(reference, "layers"))
            shared = max((common_base_length(*with_diff_ids((image, base), self._indexer)) for base in bases), default=0)
            if shared > kept:
                known = True
                yield SharingLost(reference, shared - kept, sum(layer.size for layer in image.layers[kept:shared]))
        annotations = image.manifest.annotations if image.manifest else {}
        named = annotations.get(BASE_NAME) or annotations.get(BASE_DIGEST)
        if named and not known and not kept:
            yield SharingLost(named, None, None)


def _visible(tree: Tree, lowest: int) -> int:
    """Returns the bytes of the visible files of the layers from `lowest` on; a file with several names counts once."""
    inodes = {tree.inode(node) for _, node in tree.walk() if not isinstance(node, Directory)}
    rows = ((tree.indexes[tree.layer(inode)], tree.row(inode)) for inode in inodes if tree.layer(inode) >= lowest)
    return sum(index.stored(row) for index, row in rows if index.kinds[row] == Kind.FILE)


def _refuse_foreign(image: Image, layer: Layer) -> None:
    """Raises `UnsupportedError` for a foreign layer, whose content must not be distributed as a part of another layer."""
    if image.is_foreign(layer):
        text = "a foreign layer cannot be squashed: its content must not become part of another layer"
        raise UnsupportedError(text, f"{image.where}: layer {layer.number}")


def _entry(merged: Sequence[Layer], image: Image) -> dict[str, Any]:
    """Returns the history entry, which has the numbers of the layers. Their instructions are not repeated, since they may
    hold secrets. Its time is that of the newest layer, so that the same image gives the same bytes."""
    times = [layer.created for layer in merged if layer.created]
    created = made_at(times[-1] if times else image.config.created)
    entry: dict[str, Any] = {"created": created} if created else {}
    entry["created_by"] = f"ocitool squash --from {merged[0].number}"
    entry["comment"] = f"layers {merged[0].number} to {merged[-1].number} in one"
    return entry
