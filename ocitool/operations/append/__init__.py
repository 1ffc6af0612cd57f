"""`append`: one more layer, made of a directory, a tar, or what a container wrote to its overlay.

A tar's bytes stay as they are; of a directory see `directory`. `SOURCE_DATE_EPOCH` is the latest time that a file made here may
have. The layers below are looked into for what the new ones change of them, which is told. If they cannot be read, or would be
fetched from a registry for this alone, that is told instead.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal, NamedTuple

from ocitool.blob import FileBlob, expected
from ocitool.disk.overlay import self_contained
from ocitool.disk.overlay_changes import Member, layer_members
from ocitool.errors import (
    DestinationError,
    FormatError,
    IntegrityError,
    LimitError,
    NotFoundError,
    OcitoolError,
    UnsafeError,
    UsageError,
)
from ocitool.images import drafts
from ocitool.images.drafts import ImageDraft
from ocitool.images.image import Image
from ocitool.layers import codecs, tarwriter
from ocitool.layers.entry import Kind, shown_path
from ocitool.layers.index import LayerIndex
from ocitool.layers.scan import index_layer
from ocitool.operations.append import directory
from ocitool.operations.append.directory import Placement
from ocitool.operations.append.overwritten import overwritten
from ocitool.pipeline.image_writer import ImageWriter, WriteOptions, WriteResult
from ocitool.pipeline.rewrite import rewrite
from ocitool.pipeline.session import Session
from ocitool.pipeline.source_date import clamped, timestamp
from ocitool.task import Task
from ocitool.transports.layout import opened_file
from ocitool.transports.sink import OutputLayer
from ocitool.trees.indexing import notice_odd_times
from ocitool.trees.tree import Tree


class LayerInput(NamedTuple):
    """What becomes a layer: a directory or a tar (`layer`), or an overlayfs upper directory (`upperdir`). `placing`: of a
    directory."""

    kind: Literal["layer", "upperdir"]
    path: str
    placing: Placement = Placement()


def append(
    reference: str, additions: Sequence[LayerInput], reading: Session, writing: WriteOptions, *, message: str | None = None,
    platform: str | None = None, all_platforms: bool = False,
) -> WriteResult:  # fmt: skip
    """The image with these layers on top, the first lowest. With `all_platforms` every image of an index gets them.

    `FormatError` for what no layer can hold, `UnsafeError` for a tar whose entries leave the root.
    """
    if not additions:
        raise UsageError("nothing to append", hint="--layer DIR, --layer TAR or --upperdir DIR")
    for addition in additions:
        _check(addition)
        if os.path.isdir(addition.path):
            writing.target.refuse_inside(addition.path)
    opened = reading.open(reference, "layers")
    with ImageWriter(writing, reading, platform=platform) as writer:
        maker = _Maker(additions, writer, reading, message)
        return rewrite(
            "append", opened, maker.appended, writer, lambda _: (None, 0), platform=platform, all_platforms=all_platforms
        )


def _check(addition: LayerInput) -> None:
    flag = f"--{addition.kind}"
    if addition.placing != Placement() and os.path.isfile(addition.path):
        raise UsageError(
            "--to, --owner, --keep-owner and --dirs-from-layer are for directories, and a tar is kept as it is",
            addition.path, hint="append the tar by itself",
        )  # fmt: skip
    if not os.path.exists(addition.path):
        raise NotFoundError(f"{flag}: no such file or directory", addition.path)
    if os.path.isdir(addition.path):
        return
    if addition.kind == "upperdir":
        raise UsageError(f"{flag}: no directory", addition.path)
    if not os.path.isfile(addition.path):
        raise UsageError(f"{flag}: neither a directory nor a file", addition.path)


class _Maker:
    """Makes each layer once for each codec that the images want it in."""

    def __init__(self, additions: Sequence[LayerInput], writer: ImageWriter, reading: Session, message: str | None) -> None:
        self._additions = additions
        self._writer = writer
        self._reading = reading
        self._task: Task = reading.task
        self._message = message
        self._created = timestamp()
        self._made: dict[tuple[object, ...], OutputLayer] = {}
        self._indexes: dict[str, LayerIndex] = {}

    def appended(self, draft: ImageDraft) -> tuple[ImageDraft, None]:
        image = draft.image
        tree = self._tree(image)
        for addition in self._additions:
            history = {"created": self._created, "created_by": _created_by(addition)}
            if self._message is not None:
                history["comment"] = self._message
            draft = drafts.inserted(draft, len(draft.layers), self._output_layer(addition, image, tree), history)
        return draft, None

    def _tree(self, image: Image) -> Tree | None:
        """The image's file system; None if it cannot be looked into, which is told, or nothing asks for it."""
        layers = [one for one in self._additions if one.kind == "layer"]
        if not layers:
            return None
        needed = any(os.path.isdir(one.path) and not one.placing.directories for one in layers)
        why = "its layers are at a registry"
        if needed or not any(layer.blob is not None and layer.blob.remote for layer in image.layers):
            try:
                return Tree(self._reading.indexer().indexes(image))
            except (FormatError, LimitError, NotFoundError, UnsafeError) as error:
                why = error.what
        kept = ", and directories that it has get the attributes on disk" if needed else ""
        self._task.notice("overwritten", f"{image.where}: what it has where files are put was not looked at{kept}: {why}")
        return None

    def _output_layer(self, addition: LayerInput, image: Image, tree: Tree | None) -> OutputLayer:
        try:
            return self._make(addition, image, tree)
        except OcitoolError as error:
            if not isinstance(error, DestinationError | UsageError) and (error.where is None or error.where.startswith("/")):
                error.prefixed(addition.path)
            raise

    def _make(self, addition: LayerInput, image: Image, tree: Tree | None) -> OutputLayer:
        if addition.kind == "upperdir":
            codec = self._codec(None, image)
            key: tuple[object, ...] = (addition, codec)
            if key not in self._made:
                tar = tarwriter.write(map(_clamped, layer_members(addition.path, self._task)))
                self._made[key] = self._writer.layers.made(tar, codec, image, "new")
        elif os.path.isfile(addition.path):
            file = opened_file(addition.path)
            blob = FileBlob(file, 0, file.size)
            codec = self._codec(blob, image)
            key = (addition, codec)
            if key not in self._made:
                self._made[key] = self._of_tar(addition, blob, codec, image)
            self._told(addition, self._indexes[addition.path], tree)
        else:
            codec = self._codec(None, image)
            index = LayerIndex()
            below = Tree(()) if tree is None else tree
            for entry in directory.entries(addition.path, addition.placing, below, self._task):
                index.add(entry)
            # Images whose directories are alike share the layer.
            said = tuple(index.entry(row) for row in index.rows_of(Kind.DIRECTORY))
            key = (addition, codec, said)
            if key not in self._made:
                tar = tarwriter.write(directory.members(addition.path, addition.placing, below, self._task))
                self._made[key] = self._writer.layers.made(tar, codec, image, "new")
            self._told(addition, index, tree)
        return self._made[key]._replace(media_type=drafts.layer_type(image, codec))

    def _told(self, addition: LayerInput, index: LayerIndex, tree: Tree | None) -> None:
        """Says what a layer changes of the image, and puts it on the tree for the next one."""
        if not len(index):
            self._task.notice("empty", f"{addition.path} holds nothing: the layer is empty")
        if tree is not None:
            overwritten(index, tree).tell(addition.path, self._task)
            tree.add(index)

    def _codec(self, blob: FileBlob | None, image: Image) -> str:
        """What was asked for, else the tar's own, else that of the image's top-most layer."""
        own = codecs.of(blob) if blob is not None else "none"
        return self._writer.layers.new_codec(image, own if own in codecs.WRITERS else None)

    def _of_tar(self, addition: LayerInput, blob: FileBlob, codec: str, image: Image) -> OutputLayer:
        """Read twice: to see that it is a layer at all, then to store it."""
        self._task.expect(expected([blob]))
        index = self._indexes[addition.path] = index_layer(blob, self._task)
        if not index.size:
            raise FormatError("an empty file is no layer", addition.path, hint="tar -cf FILE -T /dev/null makes an empty layer")
        notice_odd_times(index, addition.path, self._task)
        Tree([index], missing_base=True)  # says what is unsafe
        if not self_contained(index):
            self._task.notice(
                "portable", "the tar leaves out directories that its files are in, has links to what stands later or nowhere, "
                "or names a path twice: engines differ on such layers",
            )  # fmt: skip
        made = self._writer.layers.made(codecs.decode(blob.chunks(), codecs.of(blob)), codec, image, "new")
        if made.diff_id != index.diff_id:
            raise IntegrityError("changed while it was read")
        return made


def _name(path: str) -> str:
    """The last part of the path: where it stood on this machine is nobody's business."""
    return os.fsencode(os.path.basename(os.path.abspath(path))).decode("utf-8", "replace")


def _created_by(addition: LayerInput) -> str:
    to = f" --to {shown_path(addition.placing.to)}" if addition.placing.to else ""
    return f"ocitool append --{addition.kind} {_name(addition.path)}{to}"


def _clamped(member: Member) -> Member:
    entry, content = member
    return entry._replace(mtime=clamped(entry.mtime)), content
