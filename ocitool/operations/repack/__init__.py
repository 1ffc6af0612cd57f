"""`repack`: writes an unpacked image with the changes that were made on disk. Layers in which nothing changed keep their
blobs.

`disk.disk_changes` finds the changes, `trees.plan` decides which layers they go to, and verifies the plan before a byte is
written. An image without any change is written with the digest that it had. `unpacked` reads the directory, and finds the
blobs of the image.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from ocitool.blob import expected_sizes
from ocitool.disk import disk_changes, snapshot
from ocitool.disk.scan_directory import HeldDirectories, open_file, with_holes
from ocitool.errors import NotFoundError, OcitoolError, UsageError
from ocitool.images import drafts, platform_choice
from ocitool.images.drafts import ImageDraft
from ocitool.images.image import Image
from ocitool.layers import tarwriter
from ocitool.layers.entry import Entry, Kind
from ocitool.layers.index import LayerIndex
from ocitool.layers.rewrite import Contents, rewrite_layer, write_new
from ocitool.operations.repack.unpacked import UnpackedBlobs, open_unpacked
from ocitool.pipeline.image_writer import ImageWriter, WriteOptions, WriteResult
from ocitool.pipeline.layer_identity import count_base_layers
from ocitool.pipeline.rewrite import rewrite_one
from ocitool.pipeline.session import Session
from ocitool.pipeline.source_date import clamped, timestamp
from ocitool.task import Task
from ocitool.trees.changes import Change
from ocitool.trees.indexing import Indexer
from ocitool.trees.nodes import Directory, ref_of
from ocitool.trees.plan import Plan, append, rewrite
from ocitool.trees.tree import Tree, node_at

Mode = Literal["rewrite", "append"]
CREATED_BY = "ocitool repack"


class RepackOptions(NamedTuple):
    """source: a reference from which blobs are taken that the destination lacks, before the recorded reference. keep_base:
    an image whose layers are not changed. checksum, dir_times: see `disk_changes.edited_paths`."""

    source: str | None = None
    mode: Mode = "rewrite"
    keep_base: str | None = None
    checksum: bool = False
    dir_times: bool = False


def repack(directory: str, options: RepackOptions, session: Session, write_options: WriteOptions) -> WriteResult:
    """Writes the unpacked image in `directory` with the changes there. Raises `NotFoundError` if its layers are not
    found."""
    if options.mode == "append" and options.keep_base is not None:
        raise UsageError("--keep-base is for --mode rewrite: --mode append keeps every layer")
    found = open_unpacked(directory)
    write_options.target.refuse_inside(found.rootfs)
    references = [one for one in (options.source, found.reference) if one is not None]
    with ImageWriter(write_options, session) as writer:
        blobs = UnpackedBlobs(found, references, writer, session)
        image = blobs.image()
        repacker = _Repacker(image, blobs, options, session, writer)
        return rewrite_one("repack", blobs, image, repacker.repacked, writer, lambda done: (done[0][1], 0))


class RepackReport(NamedTuple):
    """The report. `changed`, `removed`: numbers of paths. `layers`: number of layers that were made, with `size` stored
    bytes, `unpacked` bytes of tars. `appended`: unpacked bytes that `--mode append` would make."""

    mode: Mode
    changed: int
    removed: int
    layers: int
    size: int
    unpacked: int
    appended: int


class _Repacker:
    """Repacks one image."""

    def __init__(
        self, image: Image, blobs: UnpackedBlobs, options: RepackOptions, session: Session, writer: ImageWriter
    ) -> None:
        self._image = image
        self._blobs = blobs
        self._rootfs = blobs.unpacked.rootfs
        self._options = options
        self._session = session
        self._task: Task = session.task
        self._writer = writer
        self._layers = _Layers(image, session)

    def repacked(self, draft: ImageDraft) -> tuple[ImageDraft, RepackReport]:
        """Returns the draft with the changes on disk, and the report."""
        options, image = self._options, draft.image
        keep = 0
        if options.keep_base is not None:
            base = platform_choice.single(self._session.open(options.keep_base, "layers"), None, like=image.platform)
            keep = count_base_layers(image, base, self._task)
        changes = self._changes()
        plan, made, other = Plan({}), 0, 0
        if changes:
            self._blobs.find_index()
            tree = self._layers.tree
            changes = _clamped(changes, tree)
            aside = append(tree, changes)
            plan = aside if options.mode == "append" else rewrite(tree, changes, keep_base=keep)
            with HeldDirectories(self._blobs.unpacked.root.descriptor) as below:
                contents = self._contents(below, changes)
                other = _tar_size(contents(entry)[0] for entry in aside.added or ())
                draft, made = self._made(draft, plan, contents)
        sizes = [draft.layers[number].size for number in plan.edits]
        if plan.added is not None:
            sizes.append(draft.layers[-1].size)
        return draft, RepackReport(
            options.mode, sum(change.entry is not None for change in changes),
            sum(change.entry is None for change in changes), len(sizes), sum(sizes), made, other,
        )  # fmt: skip

    def _changes(self) -> list[Change]:
        """Returns the changes on disk since the image was unpacked."""
        header, rows = snapshot.read(self._blobs.unpacked.snapshot)
        try:
            return list(
                disk_changes.edited_paths(
                    header, rows, self._blobs.unpacked.root.descriptor, self._task, content_of=self._layers.content_of,
                    stored_entry_of=self._layers.stored_entry, checksum=self._options.checksum,
                    dir_times=self._options.dir_times,
                )
            )  # fmt: skip
        except OcitoolError as error:
            raise error.at(self._rootfs) from None

    def _contents(self, below: HeldDirectories, changes: Iterable[Change]) -> Contents:
        """Returns a function that opens the contents of files to write. A file whose bytes did not change is as sparse as
        in its layer, any other as on disk."""
        same = {change.path for change in changes if not change.content}

        def content(entry: Entry) -> tuple[Entry, Iterable[bytes]]:
            if entry.kind != Kind.FILE:
                return entry, ()
            stored = self._layers.stored_entry(entry.path) if entry.path in same else None
            if stored is not None and stored.segments is not None:
                entry = entry._replace(segments=stored.segments, stored=stored.stored)
            else:
                entry = with_holes(below, entry.path, entry)
            return entry, open_file(below, entry.path, entry)

        return content

    def _made(self, draft: ImageDraft, plan: Plan, content: Contents) -> tuple[ImageDraft, int]:
        """Returns the draft with the planned layers, and the number of bytes of their tars."""
        image, writer, size = self._image, self._writer, 0

        def counted(tar: Iterable[bytes]) -> Iterator[bytes]:
            nonlocal size
            for piece in tar:
                size += len(piece)
                yield piece

        self._task.expect(expected_sizes(image.layers[number].blob for number in plan.edits), anew=True)
        for number, edit in sorted(plan.edits.items()):
            layer, index = image.layers[number], self._layers.indexes[number]
            where = f"{image.where}: layer {number}"
            if layer.blob is None:
                raise NotFoundError("the layer is missing, and has to be made again", where)
            tar = rewrite_layer(layer.blob, index, edit, content, self._task, diff_id=layer.diff_id)
            try:
                made = writer.layers.made(counted(tar), writer.layers.codec(layer), image, "rewritten")
            except OcitoolError as error:
                raise error.at(where) from None
            draft = drafts.replaced(draft, number, made)
        if plan.added is not None:
            tar = write_new(plan.added, content)
            made = writer.layers.made(counted(tar), writer.layers.new_codec(image), image, "new")
            entry = {"created": timestamp(), "created_by": CREATED_BY}
            draft = drafts.inserted(draft, len(draft.layers), made, entry)
        return draft, size


class _Layers:
    """The indexes of the layers of an image. They are read when they are needed: for an unchanged image they are not."""

    def __init__(self, image: Image, session: Session) -> None:
        self._image = image
        self._session = session
        self._read: tuple[Indexer, list[LayerIndex]] | None = None
        self._tree: Tree | None = None

    def _all(self) -> tuple[Indexer, list[LayerIndex]]:
        if self._read is None:
            indexer = self._session.indexer()
            self._read = indexer, indexer.indexes(self._image)
        return self._read

    @property
    def indexes(self) -> list[LayerIndex]:
        return self._all()[1]

    @property
    def tree(self) -> Tree:
        if self._tree is None:
            self._tree = Tree(self.indexes)
        return self._tree

    def stored_entry(self, path: bytes) -> Entry | None:
        """Returns the entry of a file as its layer has it; None for anything but a file."""
        ref = self._file(path)
        return None if ref is None else self.tree.entry(ref)

    def content_of(self, path: bytes, entry: Entry) -> bytes | None:
        """Returns the hash of the content of a file in the image. A layer is read once for all its files."""
        ref = self._file(path)
        if ref is None:
            return None
        number, row = self.tree.layer(ref), self.tree.row(ref)
        index = self.indexes[number]
        if index.content(row) is None:
            files = [row for row, kind in enumerate(index.kinds) if kind == Kind.FILE]
            indexer, indexes = self._all()
            index = indexes[number] = indexer.with_hashes(self._image.layers[number], index, files)
        return index.content(row)

    def _file(self, path: bytes) -> int | None:
        """Returns the ref of the file at a path, None for anything but a file."""
        node = node_at(self.tree, path)
        if node is None or isinstance(node, Directory):
            return None
        ref = self.tree.inode(ref_of(node))
        return ref if self.tree.entry(ref).kind == Kind.FILE else None


def _clamped(changes: Iterable[Change], tree: Tree) -> list[Change]:
    """Returns the changes with times of at most `SOURCE_DATE_EPOCH`; times that the image had before stay."""
    found = []
    for change in changes:
        entry = change.entry
        if entry is not None and (mtime := clamped(entry.mtime)) != entry.mtime:
            node = node_at(tree, change.path)
            if node is None or tree.entry(ref_of(node)).mtime != entry.mtime:
                change = change._replace(entry=entry._replace(mtime=mtime))
        found.append(change)
    return found


def _tar_size(entries: Iterable[Entry]) -> int:
    """Returns the number of bytes of a tar of these entries."""
    return len(tarwriter.END) + sum(map(tarwriter.member_size, entries))
