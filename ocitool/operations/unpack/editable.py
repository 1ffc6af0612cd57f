"""`unpack --as editable`, `rootfs` and `bundle`: writes the merged root file system, and the files that repacking needs.

    DEST/rootfs/                the file system
    DEST/image/manifest.json    the bytes of the manifest, if there is one
    DEST/image/config.json      the bytes of the configuration
    DEST/image/reference.json   the reference of the image, and how it was unpacked
    DEST/image/snapshot         the state of the files: see `ocitool.disk.snapshot`
    DEST/config.json            for a bundle: the configuration of the runtime

Everything is made in a staging directory beside DEST and renamed at the end, so that DEST is whole or absent.
"""

from __future__ import annotations

import json
import os
from typing import Any, Literal, NamedTuple

from ocitool.disk import snapshot
from ocitool.disk.attributes import Ownership, private_mode
from ocitool.disk.rootfs import Rootfs
from ocitool.disk.staging import check_layers, stage_image
from ocitool.disk.staging_directory import OPEN_DIRECTORY, DirectoryMode, StagingDirectory
from ocitool.errors import DestinationError, OcitoolError
from ocitool.images.image import Image
from ocitool.layers.entry import Kind
from ocitool.pipeline.session import Session
from ocitool.progress import Notice
from ocitool.reference import parse
from ocitool.task import Task
from ocitool.trees.tree import Tree

Form = Literal["editable", "rootfs", "bundle"]
SCHEMA = "ocitool/unpacked"
VERSION = 1
_MAX_LABELS = 5


class UnpackResult(NamedTuple):
    """The result. `mode`: the mode of the destination. `entries`: number of paths, without the root. `read`: stored bytes
    of layers that were read; `written`: bytes of contents."""

    reference: str
    form: Form
    destination: str
    image: Image
    owners: Ownership
    mode: int
    entries: int
    read: int
    written: int
    notices: tuple[Notice, ...]


def unpack(
    reference: str, dest: str, session: Session, *, form: Form = "editable", platform: str | None = None, owners: Ownership,
    mode: int | None = None,
) -> UnpackResult:  # fmt: skip
    """Unpacks the image into `dest`, which must be absent or an empty directory. `dest` gets `mode`; by default it is
    closed to other users, unless it is the root of the file system itself. Every layer is verified; if anything fails,
    nothing is left.

    Raises `DestinationError` before anything is read if the destination cannot be used."""
    task = session.task
    with StagingDirectory(dest) as work:
        image = session.image(reference, platform)
        check_layers(image)
        with Rootfs(work.descriptor, owners, task) as rootfs:
            tree, read = stage_image(image, rootfs, task)
            entries = rootfs.place_tree(tree)
            written = rootfs.bytes_written
            _notice_rootless(rootfs, form, task)
        access = DirectoryMode(mode) if mode is not None else None if form == "rootfs" else private_mode(owners)
        if mode is None and access is not None and access.group is not None and any(index.devices for index in tree.indexes):
            access = DirectoryMode(0o700)
            task.notice("devices", "closed to the container's root too, which could use the image's devices; --mode opens it")
        if form == "rootfs":
            mode = work.publish(b"rootfs", access)
            if mode & 0o001 and (privileged := _privileged_files(tree, owners)):
                what = f"mode {mode:04o}: other users can use the image's {privileged}; --mode 0700 closes the directory"
                task.notice("setuid", what)
        else:
            root = os.open(b"rootfs", OPEN_DIRECTORY, dir_fd=work.descriptor)
            try:
                _describe(work, root, reference, image, tree, owners)
                if form == "bundle":
                    work.write("config.json", _runtime_config(image, owners, root, task))
            finally:
                os.close(root)
            mode = work.publish(access=access)
    return UnpackResult(reference, form, dest, image, owners, mode, entries, read, written, tuple(task.notices))


def _notice_rootless(rootfs: Rootfs, form: Form, task: Task) -> None:
    """Adds notices of what could not be set on disk: owners, id maps, and what `rootfs` recorded."""
    if rootfs.owners.rootless:
        kept = "are recorded beside them"
        if form == "rootfs":
            kept = "are recorded in user.rootlesscontainers" if rootfs.owners.owner_xattr else "are lost"
        task.notice("rootless", f"rootless: all files are your own; the image's owners {kept}")
        if form != "bundle" and (rootfs.owners.uid_map or rootfs.owners.gid_map):
            task.notice("id-maps", "rootless: the id maps are recorded, but change no owner")
    rootfs.notice_unset()


def _privileged_files(tree: Tree, owners: Ownership) -> str:
    """Returns the kinds of files in the layers that give their users more rights; empty if there are none."""
    found: dict[str, None] = {}
    for index in tree.indexes:
        if any(mode & 0o6000 and kind == Kind.FILE for mode, kind in zip(index.modes, index.kinds, strict=True)):
            found["setuid files"] = None
        if not owners.rootless and any(name == snapshot.CAPABILITY for pairs in index.xattrs.values() for name, _ in pairs):
            found["files with capabilities"] = None
        if not owners.rootless and index.devices:
            found["devices"] = None
    return ", ".join(found)


def _describe(work: StagingDirectory, root: int, reference: str, image: Image, tree: Tree, owners: Ownership) -> None:
    """Writes the folder `image`. `root`: descriptor of the directory of the file system."""
    work.mkdir("image")
    if image.manifest is not None:
        work.write("image/manifest.json", image.manifest.raw)
    work.write("image/config.json", image.config.raw)
    text = json.dumps(provenance(reference, image, owners), indent=2) + "\n"
    work.write("image/reference.json", text.encode())
    header = snapshot.SnapshotHeader(owners.rootless, owners.uid_map, owners.gid_map, owners.owner_xattr)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        target = os.open("image/snapshot", flags, 0o666, dir_fd=work.descriptor)
        try:
            snapshot.write_tree(target, header, tree, root)
            os.fsync(target)
        finally:
            os.close(target)
    except OSError as error:
        raise DestinationError(f"cannot be written: {error.strerror or error}", work.destination) from None


def provenance(reference: str, image: Image, owners: Ownership) -> dict[str, Any]:
    """Returns the content of `image/reference.json`."""
    manifest = image.manifest
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "reference": absolute(reference),
        "transport": image.transport,
        "manifestDescriptor": None
        if manifest is None
        else {"mediaType": manifest.media_type, "digest": str(image.digest), "size": len(manifest.raw)},
        "platform": {
            "os": image.platform.os,
            "architecture": image.platform.architecture,
            "variant": image.platform.variant,
            "osVersion": image.platform.os_version,
            "osFeatures": list(image.platform.os_features),
        },
        "tags": list(image.tags),
        "rootless": owners.rootless,
        "uidMap": [list(one) for one in owners.uid_map],
        "gidMap": [list(one) for one in owners.gid_map],
        "layers": [
            {
                "digest": str(layer.digest) if layer.digest else None,
                "diffId": str(layer.diff_id),
                "mediaType": layer.media_type,
                "size": layer.size,
            }
            for layer in image.layers
        ],
    }


def absolute(reference: str) -> str | None:
    """Returns the reference in a form that is valid from any directory; None for standard input."""
    parsed = parse(reference)
    for path, rest in parsed.splits():
        if path == "-":
            return None
        if os.path.exists(path):
            prefix = (parsed.transport.prefix if parsed.transport is not None else None) or ""
            return prefix + os.path.abspath(path) + (f":{rest}" if rest is not None else "")
    return reference


def _runtime_config(image: Image, owners: Ownership, root: int, task: Task) -> bytes:
    """Returns the `config.json` of a bundle; adds a notice of labels that do not become annotations."""
    from ocitool.operations.unpack.bundle import runtime_config, runtime_labels

    if left_out := runtime_labels(image.config):
        more = f" and {len(left_out) - _MAX_LABELS} more" if len(left_out) > _MAX_LABELS else ""
        labels = ", ".join(left_out[:_MAX_LABELS]) + more
        task.notice("annotations", f"labels that would make a runtime act on the host are left out of the bundle: {labels}")
    try:
        return runtime_config(
            image.config, rootless=owners.rootless, uid_map=owners.uid_map, gid_map=owners.gid_map, rootfs=root
        )
    except OcitoolError as error:
        raise error.at(image.where) from None
