"""`append`: one more layer, made of a directory, a tar, or what a container wrote to its overlay.

A directory's files come as they are on disk, a tar's bytes as they are in the tar; `SOURCE_DATE_EPOCH` is the latest time that
a file made here may have. The layers below are not looked into.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from ocitool.blob import FileBlob, OpenFile
from ocitool.errors import DestinationError, IntegrityError, NotFoundError, OcitoolError, UsageError
from ocitool.images import dirscan
from ocitool.images import draft as drafts
from ocitool.images.draft import Documents, Piece
from ocitool.images.image import Image
from ocitool.images.overlay import self_contained
from ocitool.images.tree import Tree
from ocitool.images.upper import Member, members
from ocitool.layers import codec as codecs
from ocitool.layers import tarwriter
from ocitool.layers.entry import Kind
from ocitool.layers.scan import scan
from ocitool.operations import revising
from ocitool.operations.dates import clamped, timestamp
from ocitool.operations.reading import Reading
from ocitool.operations.writing import Writer, Writing, Written, refuse_inside
from ocitool.task import Task


class Addition(NamedTuple):
    """What becomes a layer: a directory or a tar (`layer`), or an overlayfs upper directory (`upperdir`)."""

    kind: Literal["layer", "upperdir"]
    path: str


def append(
    reference: str, additions: Sequence[Addition], reading: Reading, writing: Writing, *, message: str | None = None,
    platform: str | None = None, all_platforms: bool = False,
) -> Written:  # fmt: skip
    """The image with these layers on top, the first lowest. With `all_platforms` every image of an index gets them.

    `FormatError` for what no layer can hold, `UnsafeError` for a tar whose entries leave the root.
    """
    if not additions:
        raise UsageError("nothing to append", hint="--layer DIR, --layer TAR or --upperdir DIR")
    for addition in additions:
        _check(addition)
        if os.path.isdir(addition.path):
            refuse_inside(writing.destination, addition.path)
    opened = reading.open(reference, "layers")
    with Writer(writing, reading) as writer:
        maker = _Maker(additions, writer, reading.task, message)
        output = revising.output(opened, writer, maker.appended, platform, all_platforms)
        return writer.deliver("append", [output])


def _check(addition: Addition) -> None:
    flag = f"--{addition.kind}"
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

    def __init__(self, additions: Sequence[Addition], writer: Writer, task: Task, message: str | None) -> None:
        self._additions = additions
        self._writer = writer
        self._task = task
        self._message = message
        self._created = timestamp()
        self._made: dict[tuple[Addition, str], Piece] = {}

    def appended(self, image: Image) -> Documents:
        draft = drafts.start(image, self._writer.pieces_as_asked(image))
        for addition in self._additions:
            history = {"created": self._created, "created_by": f"ocitool append --{addition.kind} {_name(addition.path)}"}
            if self._message is not None:
                history["comment"] = self._message
            draft = drafts.inserted(draft, len(draft.pieces), self._piece(addition, image), history)
        return drafts.finish(draft)

    def _piece(self, addition: Addition, image: Image) -> Piece:
        try:
            return self._make(addition, image)
        except OcitoolError as error:
            if not isinstance(error, DestinationError) and (error.where is None or error.where.startswith("/")):
                error.below(addition.path)
            raise

    def _make(self, addition: Addition, image: Image) -> Piece:
        writer = self._writer
        blob = None
        if os.path.isfile(addition.path):
            file = OpenFile(addition.path)
            blob = FileBlob(file, 0, file.size)
        codec = self._codec(blob, image)
        key = (addition, codec)
        if key not in self._made:
            if blob is not None:
                self._made[key] = self._of_tar(blob, codec, image)
            else:
                found = _members(addition, self._task)
                self._made[key] = writer.layer(tarwriter.write(map(_clamped, found)), codec, image, "new")
        return self._made[key]._replace(media_type=drafts.layer_type(image, codec))

    def _codec(self, blob: FileBlob | None, image: Image) -> str:
        """What was asked for, else the tar's own, else that of the image's top-most layer."""
        own = codecs.of(blob) if blob is not None else "none"
        if own in ("gzip", "zstd") and self._writer.writing.compression is None:
            return own
        return self._writer.new_codec(image)

    def _of_tar(self, blob: FileBlob, codec: str, image: Image) -> Piece:
        """Read twice: to see that it is a layer at all, then to store it."""
        index = scan(blob, self._task)
        Tree([index], missing_base=True)  # says what is unsafe
        if not self_contained(index):
            self._task.notice(
                "portable", "the tar leaves out directories that its files are in, has links to what stands later or nowhere, "
                "or names a path twice: engines differ on such layers",
            )  # fmt: skip
        piece = self._writer.layer(codecs.decode(blob.chunks(), codecs.of(blob)), codec, image, "new")
        if piece.diff_id != index.diff_id:
            raise IntegrityError("changed while it was read")
        return piece


def _name(path: str) -> str:
    """The last part of the path: where it stood on this machine is nobody's business."""
    return os.fsencode(os.path.basename(os.path.abspath(path))).decode("utf-8", "replace")


def _members(addition: Addition, task: Task) -> Iterable[Member]:
    if addition.kind == "upperdir":
        return members(addition.path, task)
    return _plain(addition.path, task)


def _plain(path: str, task: Task) -> Iterator[Member]:
    """A directory as it stands, but for its root, whose attributes are those of whoever made it."""
    with dirscan.Below(path) as below:
        for at, entry, leader in dirscan.scan(path, task):
            if leader is not None and leader != at:
                link = entry._replace(kind=Kind.HARDLINK, link=leader, size=0, stored=0, device=None)
                yield link, iter(())
            elif at:
                entry = dirscan.with_holes(below, at, entry)
                yield entry, dirscan.open_file(below, at, entry) if entry.kind == Kind.FILE else iter(())


def _clamped(member: Member) -> Member:
    entry, content = member
    return entry._replace(mtime=clamped(entry.mtime)), content
