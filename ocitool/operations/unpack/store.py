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

import contextlib
import errno
import fcntl
import json
import os
import shlex
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from ocitool import limits
from ocitool.atomic import write_document
from ocitool.blob import expected_sizes
from ocitool.digest import Digest, wrong_diff_id
from ocitool.directories import OpenDirectory, located
from ocitool.disk import overlay
from ocitool.disk.overlay import WHITEOUT, OverlayDir, OverlayLayer
from ocitool.disk.rootfs import Ownership, Rootfs, private_mode
from ocitool.disk.staging import check_layers
from ocitool.disk.staging_directory import DirectoryMode, StagingDirectory, remove_acls, set_access
from ocitool.errors import DestinationError, FormatError, LimitError, NotFoundError, OcitoolError, UsageError
from ocitool.images import platform_choice, select
from ocitool.images.image import Image, Layer
from ocitool.images.index_children import image_of_child
from ocitool.layers.entry import Entry, Kind, Xattrs
from ocitool.layers.index import LayerIndex
from ocitool.layers.scan import index_layer
from ocitool.layers.tarinput import TarInput
from ocitool.pipeline.session import Session
from ocitool.progress import Notice
from ocitool.task import Task
from ocitool.trees.file_hashes import verified_content
from ocitool.trees.indexing import Indexer, notice_odd_times, readable_blob
from ocitool.trees.tree import Tree

SCHEMA, IMAGE_SCHEMA, VERSION = "ocitool/layers", "ocitool/layers-image", 1
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
    with _opened(dest, owners, mode, task) as store:
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


# The store


@contextmanager
def _opened(dest: str, owners: Ownership, mode: int | None, task: Task) -> Iterator[_Store]:
    """Provides the open store, with a lock against its removal. A new store without any layer is removed after an error."""
    if dest == "-":
        raise UsageError("a store of layers cannot go to standard output", hint="name a new directory or a store")
    try:
        store = _Store(dest, task)
    except OSError as error:
        raise _unusable(error, dest) from None
    try:
        store.begin(owners, mode)
        yield store
    except BaseException:
        store.give_up()
        raise
    finally:
        store.close()


class _Store:
    """The directory of the store, which is made if it is missing, held by its descriptor. All processes that use it hold a
    shared lock; the one that creates or removes it an exclusive one. Its content is trusted, so it must belong to the
    user."""

    def __init__(self, dest: str, task: Task) -> None:
        self.dest = dest
        self._task = task
        self._parent, self._name = located(dest)
        self.at = self._parent.make_below(self._name, 0o700)
        self.at.path = dest
        status = os.fstat(self.at.descriptor)
        if status.st_uid != os.geteuid() or status.st_mode & stat.S_IWOTH:
            raise DestinationError(
                "the store belongs to another user, or all users may write to it", dest, hint="name a new directory"
            )

    def close(self) -> None:
        """Releases the lock."""
        with contextlib.suppress(OSError):
            fcntl.flock(self.at.descriptor, fcntl.LOCK_UN)

    def begin(self, owners: Ownership, mode: int | None) -> None:
        """Writes the files of a new store, or checks the settings of an existing one. Raises `DestinationError`."""
        settings = {
            "schema": SCHEMA, "version": VERSION, "rootless": owners.rootless, "ownerXattr": owners.owner_xattr,
            "uidMap": [list(one) for one in owners.uid_map], "gidMap": [list(one) for one in owners.gid_map],
        }  # fmt: skip
        try:
            while True:
                self._task.flock(self.at.descriptor, self.dest, exclusive=True)
                if self.at.stat("store.json") is None:
                    if any(".ocitool-" not in name for name in self.at.names()):
                        raise DestinationError(
                            "the directory is not a store of layers", self.dest, hint="name a new or empty directory"
                        )
                    remove_acls(self.at.descriptor)
                    set_access(self.at.descriptor, private_mode(owners) if mode is None else DirectoryMode(mode))
                    write_document(self.at, "store.json", json.dumps(settings).encode() + b"\n")
                for name in ("sha256", "l", "images"):
                    self.folder(name)
                with os.fdopen(self.at.read("store.json"), "rb") as file:
                    found = json.loads(file.read(1 << 20))
                self._task.flock(self.at.descriptor, self.dest, exclusive=False)
                if self.at.stat("store.json") is not None:  # between two locks another process may have removed it
                    break
        except OSError as error:
            raise _unusable(error, self.dest) from None
        except ValueError:
            found = None
        if found != settings:
            raise DestinationError(
                "the store has other settings of owners, or another version", self.dest,
                hint="--rootless and the id maps must be those with which it was made",
            )  # fmt: skip

    def give_up(self) -> None:
        """Removes a store without any layer, unless another process uses it."""
        with contextlib.suppress(OSError):
            fcntl.flock(self.at.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for name in ("images", "l", "sha256"):
                os.rmdir(name, dir_fd=self.at.descriptor)
            self.at.unlink("store.json")
            os.rmdir(self._name, dir_fd=self._parent.descriptor)

    def folder(self, name: str) -> OpenDirectory:
        """Opens a directory of the store, which is made if it is missing. Raises `DestinationError` if other users can
        write to it."""
        try:
            found = self.at.make_below(name, 0o755)
            status = os.fstat(found.descriptor)
        except OSError as error:
            raise _unusable(error, self.at.name(name)) from None
        if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise DestinationError(
                "the directory belongs to another user, or other users may write to it", self.at.name(name),
                hint="name a new store",
            )  # fmt: skip
        return found

    def has(self, name: str) -> bool:
        """Returns whether the store has a directory of this name (`sha256/HEX`, `images/HEX`)."""
        folder, name = name.split("/", 1)
        try:
            found = self.folder(folder).stat(name)
        except OSError as error:
            raise _unusable(error, self.at.name(name)) from None
        return found is not None and stat.S_ISDIR(found.st_mode)

    def keep(self, work: StagingDirectory, made: bytes, name: str) -> bool:
        """Moves a finished directory to its final name. Returns False if the store has it already."""
        above, last = name.split("/", 1)
        folder = self.folder(above)
        try:
            os.rename(made, last, src_dir_fd=work.descriptor, dst_dir_fd=folder.descriptor)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return False
            raise _unusable(error, self.at.name(name)) from None
        return True

    def links(self, names: Sequence[str]) -> dict[str, str]:
        """Returns the short name of each of these directories; makes those that are missing."""
        try:
            folder = self.folder("l")
            self._task.flock(folder.descriptor, self.dest, exclusive=True)
            known = {os.readlink(name, dir_fd=folder.descriptor): name for name in folder.names() if name.isdigit()}
            last = max((int(name) for name in known.values()), default=0)
            for name in names:
                target = f"../{name}"
                if target not in known:
                    last += 1
                    os.symlink(target, str(last), dir_fd=folder.descriptor)
                    known[target] = str(last)
        except OSError as error:
            raise _unusable(error, self.at.name("l")) from None
        return {name: f"l/{known[f'../{name}']}" for name in names}


# One image


class _ImageStore:
    """Writes one image to the store. `read`: stored bytes of layers that were read."""

    def __init__(
        self, store: _Store, image: Image, work: StagingDirectory, rootfs: Rootfs, indexer: Indexer, task: Task
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

        def keep(row: int, entry: Entry, tar: TarInput) -> None:
            self.rootfs.stage(number << _SHIFT | row, entry, tar.pieces)

        try:
            blob, algorithm = readable_blob(layer)
            index = index_layer(blob, self.task, algorithm=algorithm, keep=keep)
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
        shared = Counter(overlay.file_refs(form.root))
        mark = b"user.overlay.opaque" if rootfs.owners.rootless else b"trusted.overlay.opaque"
        rootfs.begin(b"%d" % form.number)
        path: list[tuple[OverlayDir, Iterator[tuple[bytes, OverlayDir | int]]]] = [
            (form.root, iter(form.root.children.items()))
        ]
        while path:
            for name, child in path[-1][1]:
                if isinstance(child, OverlayDir):
                    rootfs.enter(name)
                    path.append((child, iter(child.children.items())))
                    break
                if child == WHITEOUT:
                    rootfs.whiteout(name)
                else:
                    rootfs.put(name, _key(child, form), overlay.entry_of(indexes, child), shared=shared[child] > 1)
            else:
                over, _ = path.pop()
                entry = overlay.entry_of(indexes, over.ref)
                if not path and rootfs.owners.rootless:
                    entry = entry._replace(mode=entry.mode | 0o700)  # otherwise it could not be renamed
                extra: Xattrs = ((mark, b"y"),) if over.opaque else ()
                rootfs.leave(entry, extra)

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


def _unusable(error: OSError, where: str) -> DestinationError:
    return DestinationError(f"cannot be written: {error.strerror or error}", where)
