"""`unpack --as layers`: writes layers in overlayfs form to a store, in which each layer is once for all images.

    DEST/store.json              how owners are set: the same for all layers
    DEST/sha256/HEX/             a layer: by diff_id if it is self-contained, else by chain ID
    DEST/l/N -> ../sha256/HEX    short names, because mount options must fit one page
    DEST/images/HEX.json         an image: its layers, and the options of its mount
    DEST/images/HEX/             the directories of its mount: upper, work, and the mount point merged

The directory of a layer appears by a rename and is never changed afterwards: if it exists, it is complete, and of two
processes that make the same one the second discards its own. What a process that died was making, the next one removes.
"""

from __future__ import annotations

import json
import os
import shlex
import stat
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from ocitool import limits
from ocitool.atomic import write_document
from ocitool.blob import expected_sizes
from ocitool.digest import Digest, wrong_diff_id
from ocitool.disk import overlay
from ocitool.disk.attributes import Ownership
from ocitool.disk.overlay import WHITEOUT, OverlayDir, OverlayLayer
from ocitool.disk.rootfs import Rootfs
from ocitool.disk.staged_files import NamedFile
from ocitool.disk.staging import check_layers
from ocitool.disk.staging_directory import StagingDirectory
from ocitool.errors import DestinationError, FormatError, LimitError, NotFoundError, OcitoolError
from ocitool.images import platform_choice, select
from ocitool.images.image import Image, Layer
from ocitool.images.index_children import image_of_child
from ocitool.layers.entry import Entry, Kind, Xattrs
from ocitool.layers.index import LayerIndex
from ocitool.layers.scan import index_layer
from ocitool.operations.unpack.layer_store import LayerStore, open_store
from ocitool.pipeline.session import Session
from ocitool.progress import Notice
from ocitool.task import Task
from ocitool.trees.file_hashes import verified_content
from ocitool.trees.indexing import Indexer, notice_odd_times, readable_blob
from ocitool.trees.tree import Tree

IMAGE_SCHEMA, VERSION = "ocitool/layers-image", 1
_SHIFT = 32
_VALUE = 255


class StoredLayer(NamedTuple):
    """A layer in the store; `directory` and `link` are relative to the store. `fresh`: this run made it. A layer that no
    mount needs, since the same one occurs again above it, has a link too."""

    number: int
    diff_id: Digest
    chain_id: Digest
    directory: str
    link: str
    fresh: bool


class StoredImage(NamedTuple):
    """An image in the store. `options`: the mount options, with paths relative to the store; None for an image without
    layers. `command`: the whole mount command for a shell."""

    image: Image
    name: str
    layers: tuple[StoredLayer, ...]
    options: str | None
    command: str | None


class StoreResult(NamedTuple):
    """The result. `mode`: the mode of the store's directory. `read`: stored bytes of layers; `written`: bytes of
    contents."""

    reference: str
    destination: str
    images: tuple[StoredImage, ...]
    owners: Ownership
    mode: int
    read: int
    written: int
    notices: tuple[Notice, ...]


def unpack(
    reference: str, dest: str, session: Session, *, platform: str | None = None, all_platforms: bool = False, owners: Ownership,
    mode: int | None = None,
) -> StoreResult:  # fmt: skip
    """Writes the layers of the image to the store `dest`, which is made if it does not exist, with `mode` or closed to
    other users. A layer that the store has is not read, unless a layer above it needs its files or its entries.

    Raises `DestinationError` if `dest` is something else, or a store with other settings of owners."""
    task = session.task
    with open_store(dest, owners, mode, task) as store:
        images = list(_images(reference, session, platform, all_platforms))
        for image in images:
            check_layers(image)
        indexer = session.indexer()
        read = written = 0
        stored = []
        for image in images:
            with (
                StagingDirectory(os.path.join(dest, "layer"), store.at) as work,
                Rootfs(work.descriptor, owners, task) as rootfs,
            ):
                image_store = _ImageStore(store, image, work, rootfs, indexer, task)
                stored.append(image_store.run())
                read += image_store.read
                written += rootfs.bytes_written
                rootfs.notice_unset()
        mode = stat.S_IMODE(os.fstat(store.at.descriptor).st_mode)
    if owners.rootless:
        how = "mount inside a user namespace (unshare --user --map-root-user --mount)"
        task.notice("rootless", f"rootless: all files are your own; {how}")
    return StoreResult(reference, dest, tuple(stored), owners, mode, read, written, tuple(task.notices))


def _images(reference: str, session: Session, platform: str | None, all_platforms: bool) -> Iterator[Image]:
    opened = session.open(reference, "layers")
    if not all_platforms:
        yield platform_choice.single(opened, platform)
        return
    found = select.targets(opened)
    if not found:
        raise NotFoundError("it holds no image", opened.source.where)
    for target in found:
        if target.image is not None:
            yield target.image
            continue
        for have, entry in platform_choice.platforms(opened.source, target):
            if entry.present:
                yield image_of_child(opened.source, entry, entry.tags)
            else:
                session.task.notice("missing", f"the manifest for {have} is not here")


class _ImageStore:
    """Writes one image to the store. `read`: stored bytes of layers that were read."""

    def __init__(
        self, store: LayerStore, image: Image, work: StagingDirectory, rootfs: Rootfs, indexer: Indexer, task: Task
    ) -> None:  # fmt: skip
        self.store = store
        self.image = image
        self.work = work
        self.rootfs = rootfs
        self.indexer = indexer
        self.task = task
        self.read = 0
        self._staged: set[int] = set()
        self._first: list[int] = []
        """For each layer the number of its first occurrence: it is read once, and its files are staged there."""

    def run(self) -> StoredImage:
        """Writes the missing layers and the record of the image. Raises what reading layers raises."""
        image = self.image
        diff_ids = [layer.diff_id for layer in image.layers if layer.diff_id is not None]
        if len(diff_ids) < len(image.layers):
            raise FormatError("invalid diff_id", image.where)
        chains = overlay.chain_ids(diff_ids)
        there = {n for n in range(len(diff_ids)) if any(map(self.store.has, overlay.possible_names(diff_ids[n], chains[n])))}
        self.task.expect(expected_sizes(layer.blob for layer in image.layers if layer.number not in there))
        first: dict[tuple[object, ...], int] = {}
        for layer in image.layers:
            bytes_of = layer.digest or (layer.blob.identity if layer.blob is not None else None) or layer.number
            self._first.append(first.setdefault((bytes_of, layer.diff_id), layer.number))
        distinct = [layer for layer in image.layers if self._first[layer.number] == layer.number]
        read = self.task.map(lambda layer: self._index(layer, layer.number in there), distinct)
        found = {layer.number: index for layer, index in zip(distinct, read, strict=True)}
        indexes = [found[number] for number in self._first]
        made = overlay.overlay_layers(indexes, diff_ids)
        wanted = list({form.name: form for form in reversed(made) if not self.store.has(form.name)}.values())
        self._stage_shared(wanted, indexes)
        fresh = set()
        for form in wanted:
            self.task.check()
            self._build(form, indexes)
            if self.store.keep(self.work, b"%d" % form.number, form.name):
                fresh.add(form.number)
        self.rootfs.clear()
        links = self.store.links([form.name for form in made])
        layers = tuple(
            StoredLayer(n, diff_ids[n], chains[n], form.name, links[form.name], n in fresh) for n, form in enumerate(made)
        )
        return self._record(layers, [links[name] for name in overlay.stack_names(made)], Tree(indexes))

    def _index(self, layer: Layer, there: bool) -> LayerIndex:
        """Returns the verified index of a layer. If its directory is missing, its files are staged in the same pass."""
        image, number = self.image, layer.number
        if there:
            return self.indexer.computed_indexes([(image, layer)])[0]

        try:
            blob, algorithm = readable_blob(layer)
            with self.rootfs.layer(number) as files:
                index = index_layer(blob, self.task, algorithm=algorithm, keep=files)
            notice_odd_times(index, f"{image.where}: layer {number}", self.task)
            if index.diff_id != layer.diff_id:
                raise wrong_diff_id(index.diff_id, layer.diff_id)
        except OcitoolError as error:
            raise error.at(f"{image.where}: layer {number}") from None
        self.read += layer.size
        self._staged.add(number)
        return index

    def _stage_shared(self, wanted: Sequence[OverlayLayer], indexes: Sequence[LayerIndex]) -> None:
        """Stages the files that these directories need and that are not staged yet: targets of hard links in lower layers,
        and files of a layer that the store has under its other name, or that occurs again. A layer is read once more at
        most.

        Raises `LimitError` if copies of staged files take more than `limits.EXPANSION`."""
        copies = 0
        waiting: dict[int, dict[int, list[int]]] = {}
        for form in wanted:
            keys: set[int] = set()
            for ref in overlay.file_refs(form.root):
                layer, row = overlay.layer_of(ref), overlay.row_of(ref)
                copies += layer != form.number
                key = _key(ref, form)
                if (layer == form.number and layer in self._staged) or key in keys or indexes[layer].kinds[row] != Kind.FILE:
                    continue
                keys.add(key)
                waiting.setdefault(self._first[layer], {}).setdefault(row, []).append(key)
        if copies:
            plural = "s" if copies > 1 else ""
            self.task.notice(
                "copies",
                f"{copies} hard link{plural} to files of lower layers became copies, since overlayfs has no such links",
            )
        for number, rows in waiting.items():
            if number not in self._staged:
                self._stage(number, {row: keys[0] for row, keys in rows.items()}, indexes)
            for row, staged in rows.items():
                self._copy(staged, Tree.ref(number, row), indexes[number].entry(row))

    def _stage(self, number: int, rows: dict[int, int], indexes: Sequence[LayerIndex]) -> None:
        layer, index = self.image.layers[number], indexes[number]
        with verified_content(self.image, layer, index, self.task) as tar:
            for row in sorted(rows):
                entry = index.entry(row)
                tar.skip(entry.offset - tar.offset)
                self.rootfs.stage(rows[row], entry, tar.pieces)
        self.read += layer.size

    def _copy(self, keys: Sequence[int], staged: int, entry: Entry) -> None:
        """Copies a staged file to all of these keys. It is staged under `staged`, or, if its layer was read again, under
        the first key."""
        source, others = (keys[0], keys[1:]) if Tree.layer(staged) not in self._staged else (staged, keys)
        for key in others:
            self.task.check()
            if self.task.count_expansion(entry.stored) > limits.EXPANSION:
                raise LimitError(f"copies of files of lower layers take more than {limits.EXPANSION} bytes", self.image.where)
            self.rootfs.copy_staged(source, key, entry)

    def _build(self, form: OverlayLayer, indexes: Sequence[LayerIndex]) -> None:
        """Makes the directory of a layer in the staging directory, under its number."""
        rootfs = self.rootfs
        shared = {ref for ref, count in Counter(overlay.file_refs(form.root)).items() if count > 1}
        mark = b"user.overlay.opaque" if rootfs.owners.rootless else b"trusted.overlay.opaque"
        self._fill(form.root, b"%d" % form.number, form, shared, indexes)
        path = [(form.root, iter(form.root.children.items()))]
        while path:
            for name, child in path[-1][1]:
                if isinstance(child, OverlayDir):
                    self._fill(child, name, form, shared, indexes)
                    path.append((child, iter(child.children.items())))
                    break
            else:
                over, _ = path.pop()
                entry = overlay.entry_of(indexes, over.ref)
                if not path and rootfs.owners.rootless:
                    entry = entry._replace(mode=entry.mode | 0o700)  # otherwise it could not be renamed
                extra: Xattrs = ((mark, b"y"),) if over.opaque else ()
                rootfs.leave(entry, extra)

    def _fill(
        self, over: OverlayDir, name: bytes, form: OverlayLayer, shared: Collection[int], indexes: Sequence[LayerIndex]
    ) -> None:  # fmt: skip
        """Makes a directory with all but the directories in it."""
        self.task.check()
        rootfs = self.rootfs
        files: list[NamedFile] = []
        others: list[tuple[bytes, int]] = []
        for child, ref in over.children.items():
            if isinstance(ref, OverlayDir):
                continue
            if ref == WHITEOUT or ref in shared:
                others.append((child, ref))
                continue
            index, row = indexes[overlay.layer_of(ref)], overlay.row_of(ref)
            if index.kinds[row] == Kind.FILE:
                files.append((child, _key(ref, form), index.paths[row]))
            else:
                others.append((child, ref))
        rest = rootfs.begin(name, files) if over is form.root else rootfs.enter(name, files)
        for child, key, _ in rest:
            ref = over.children[child]
            assert not isinstance(ref, OverlayDir)
            rootfs.put(child, key, overlay.entry_of(indexes, ref))
        for child, ref in others:
            if ref == WHITEOUT:
                rootfs.whiteout(child)
            else:
                rootfs.put(child, _key(ref, form), overlay.entry_of(indexes, ref), shared=ref in shared)

    def _record(self, layers: tuple[StoredLayer, ...], stack: Sequence[str], tree: Tree) -> StoredImage:
        """Writes the record of the image and the directories of its mount. `stack`: the short names of its layers, the top
        one first."""
        image = self.image
        name = image.config.digest.encoded[:64]
        self._make_mount_directories(f"images/{name}", tree)
        options, command = self._mount(f"images/{name}", stack)
        record: dict[str, Any] = {
            "schema": IMAGE_SCHEMA, "version": VERSION, "imageId": image.image_id,
            "digest": str(image.digest) if image.digest else None, "tags": list(image.tags), "platform": str(image.platform),
            "layers": [
                {"diffId": str(one.diff_id), "chainId": str(one.chain_id), "directory": one.directory, "link": one.link}
                for one in layers
            ],
            "options": options, "merged": f"images/{name}/merged",
        }  # fmt: skip
        write_document(self.store.folder("images"), f"{name}.json", json.dumps(record, indent=2).encode() + b"\n")
        return StoredImage(image, name, layers, options, command)

    def _mount(self, place: str, stack: Sequence[str]) -> tuple[str | None, str | None]:
        """Returns the mount options for these layers, and the whole command; None, None if there are no layers."""
        if not stack:
            self.task.notice("empty", "an image without layers: there is nothing to mount")
            return None, None
        lower = ":".join(stack)
        options = f"lowerdir={lower},upperdir={place}/upper,workdir={place}/work"
        if self.rootfs.owners.rootless:
            options += ",userxattr"
        if len(options) >= overlay.MOUNT_OPTIONS_SIZE:
            self.task.notice("options", f"{len(stack)} layers: the mount options are longer than the kernel accepts")
        where = shlex.quote(os.path.abspath(self.store.dest))
        # Since 2.39 util-linux uses another system call, which accepts only 255 bytes for a value (its issue 2287).
        old = "LIBMOUNT_FORCE_MOUNT2=always " if len(lower) > _VALUE else ""
        return options, f"cd {where} && {old}mount -t overlay overlay -o {options} {place}/merged"

    def _make_mount_directories(self, name: str, tree: Tree) -> None:
        """Makes the directories that a mount needs. If they exist, they are not touched: their content is the user's. The
        upper directory gets the attributes of the image's root, which the mount shows."""
        place = os.path.join(self.store.dest, name)
        try:
            with StagingDirectory(place, self.store.folder("images")) as work:
                with Rootfs(work.descriptor, self.rootfs.owners, self.task) as rootfs:
                    rootfs.begin(b"upper")
                    rootfs.leave(tree.entry(tree.root.ref))
                    rootfs.clear()
                for made in ("work", "merged"):
                    work.mkdir(made)
                work.publish()
        except DestinationError:
            if not self.store.has(f"{name}/upper"):  # if it has, they existed, or another process made them first
                raise


def _key(ref: int, form: OverlayLayer) -> int:
    """Returns the key of a staged file: the copy of a file of a lower layer has a separate key for each layer that needs
    it."""
    return ref if overlay.layer_of(ref) == form.number else ref | (form.number + 1) << 2 * _SHIFT
