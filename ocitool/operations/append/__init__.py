"""`append`: puts a layer on an image, made of a directory, a tar, or what a container wrote to its overlay.

The bytes of a tar stay as they are; for a directory see `directory`. Times of files are at most `SOURCE_DATE_EPOCH`.
Notices list what the new layers change of those below. If the lower layers cannot be read, or would have to be fetched from
a registry for this, a notice says so instead.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal, NamedTuple

from ocitool.blob import FileBlob, expected_sizes
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
    """What a layer is made of: a directory or a tar (`layer`), or an overlayfs upper directory (`upperdir`). `placement`:
    where and with which owner a directory is put into the image."""

    kind: Literal["layer", "upperdir"]
    path: str
    placement: Placement = Placement()


def append(
    reference: str, additions: Sequence[LayerInput], session: Session, write_options: WriteOptions, *,
    message: str | None = None, platform: str | None = None, all_platforms: bool = False,
) -> WriteResult:  # fmt: skip
    """Writes the image with these layers on top, the first lowest. With `all_platforms`, puts them on every image of an
    index.

    Raises `FormatError` for a file that a layer cannot hold, `UnsafeError` for a tar whose entries leave the root.
    """
    if not additions:
        raise UsageError("nothing to append", hint="--layer DIR, --layer TAR or --upperdir DIR")
    for addition in additions:
        _check(addition)
        if os.path.isdir(addition.path):
            write_options.target.refuse_inside(addition.path)
    opened = session.open(reference, "layers")
    with ImageWriter(write_options, session, platform=platform) as writer:
        maker = _LayerMaker(additions, writer, session, message)
        return rewrite(
            "append", opened, maker.appended, writer, lambda _: (None, 0), platform=platform, all_platforms=all_platforms
        )


def _check(addition: LayerInput) -> None:
    """Raises `UsageError` or `NotFoundError` for a path that cannot become a layer."""
    flag = f"--{addition.kind}"
    if addition.placement != Placement() and os.path.isfile(addition.path):
        raise UsageError(
            "--to, --owner, --keep-owner and --dirs-from-layer are for directories, and a tar is kept as it is",
            addition.path, hint="append the tar by itself",
        )  # fmt: skip
    if not os.path.exists(addition.path):
        raise NotFoundError(f"{flag}: no such file or directory", addition.path)
    if os.path.isdir(addition.path):
        return
    if addition.kind == "upperdir":
        raise UsageError(f"{flag}: not a directory", addition.path)
    if not os.path.isfile(addition.path):
        raise UsageError(f"{flag}: neither a directory nor a file", addition.path)


class _LayerMaker:
    """Makes each layer once for each codec that the images need."""

    def __init__(self, additions: Sequence[LayerInput], writer: ImageWriter, session: Session, message: str | None) -> None:
        self._additions = additions
        self._writer = writer
        self._session = session
        self._task: Task = session.task
        self._message = message
        self._created = timestamp()
        self._made: dict[tuple[object, ...], OutputLayer] = {}
        self._indexes: dict[str, LayerIndex] = {}

    def appended(self, draft: ImageDraft) -> tuple[ImageDraft, None]:
        """Returns the draft with the layers on top, as the change of `rewrite`."""
        image = draft.image
        tree = self._tree(image)
        for addition in self._additions:
            history = {"created": self._created, "created_by": _created_by(addition)}
            if self._message is not None:
                history["comment"] = self._message
            draft = drafts.inserted(draft, len(draft.layers), self._output_layer(addition, image, tree), history)
        return draft, None

    def _tree(self, image: Image) -> Tree | None:
        """Returns the merged file system of the image; None if it is not needed, or cannot be read, which is a notice."""
        layers = [one for one in self._additions if one.kind == "layer"]
        if not layers:
            return None
        needed = any(os.path.isdir(one.path) and not one.placement.directories for one in layers)
        why = "its layers are at a registry"
        if needed or not any(layer.blob is not None and layer.blob.remote for layer in image.layers):
            try:
                return Tree(self._session.indexer().indexes(image))
            except (FormatError, LimitError, NotFoundError, UnsafeError) as error:
                why = error.what
        kept = ", and directories that it has get the attributes on disk" if needed else ""
        self._task.notice("overwritten", f"{image.where}: whether files of it are overwritten was not checked{kept}: {why}")
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
            self._notice_changes(addition, self._indexes[addition.path], tree)
        else:
            codec = self._codec(None, image)
            index = LayerIndex()
            below = Tree(()) if tree is None else tree
            for entry in directory.entries(addition.path, addition.placement, below, self._task):
                index.add(entry)
            # The entries of directories depend on the image below; images with equal ones share the layer.
            directories = tuple(index.entry(row) for row in index.rows_of(Kind.DIRECTORY))
            key = (addition, codec, directories)
            if key not in self._made:
                tar = tarwriter.write(directory.members(addition.path, addition.placement, below, self._task))
                self._made[key] = self._writer.layers.made(tar, codec, image, "new")
            self._notice_changes(addition, index, tree)
        return self._made[key]._replace(media_type=drafts.layer_type(image, codec))

    def _notice_changes(self, addition: LayerInput, index: LayerIndex, tree: Tree | None) -> None:
        """Adds notices of what a layer changes of the image, and adds the layer to the tree for the next one."""
        if not len(index):
            self._task.notice("empty", f"{addition.path} holds no file: the layer is empty")
        if tree is not None:
            overwritten(index, tree).notice(addition.path, self._task)
            tree.add(index)

    def _codec(self, blob: FileBlob | None, image: Image) -> str:
        """Returns the codec that was requested, else that of the tar, else that of the image's top layer."""
        own = codecs.detected(blob) if blob is not None else "none"
        return self._writer.layers.new_codec(image, own if own in codecs.WRITERS else None)

    def _of_tar(self, addition: LayerInput, blob: FileBlob, codec: str, image: Image) -> OutputLayer:
        """Makes a layer of a tar, which is read twice: to check that it is a layer, then to store it. Raises `FormatError`,
        `UnsafeError`, and `IntegrityError` if it changed in between."""
        self._task.expect(expected_sizes([blob]))
        index = self._indexes[addition.path] = index_layer(blob, self._task)
        if not index.size:
            raise FormatError(
                "an empty file is not a tar", addition.path, hint="tar -cf FILE -T /dev/null makes an empty layer"
            )
        notice_odd_times(index, addition.path, self._task)
        Tree([index], missing_base=True)  # raises `UnsafeError`
        if not self_contained(index):
            self._task.notice(
                "portable", "the tar leaves out parent directories, has hard links to later or missing files, "
                "or names a path twice: engines differ on such layers",
            )  # fmt: skip
        made = self._writer.layers.made(codecs.decode(blob.chunks(), codecs.detected(blob)), codec, image, "new")
        if made.diff_id != index.diff_id:
            raise IntegrityError("changed while it was read")
        return made


def _name(path: str) -> str:
    """Returns the last part of a path: the history of a published image should not tell the directories of this machine."""
    return os.fsencode(os.path.basename(os.path.abspath(path))).decode("utf-8", "replace")


def _created_by(addition: LayerInput) -> str:
    to = f" --to {shown_path(addition.placement.to)}" if addition.placement.to else ""
    return f"ocitool append --{addition.kind} {_name(addition.path)}{to}"


def _clamped(member: Member) -> Member:
    entry, content = member
    return entry._replace(mtime=clamped(entry.mtime)), content
