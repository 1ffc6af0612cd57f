"""The directory that holds layers in overlay form, for all images: its settings, its lock, and its names. See `store`."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ocitool.atomic import write_document
from ocitool.directories import OpenDirectory, located
from ocitool.disk.attributes import Ownership, private_mode
from ocitool.disk.staging_directory import DirectoryMode, StagingDirectory, remove_acls, set_access
from ocitool.errors import DestinationError, UsageError
from ocitool.task import Task

SCHEMA, VERSION = "ocitool/layers", 1


@contextmanager
def open_store(dest: str, owners: Ownership, mode: int | None, task: Task) -> Iterator[LayerStore]:
    """Provides the open store, with a lock against its removal. A new store without any layer is removed after an error."""
    if dest == "-":
        raise UsageError("a store of layers cannot go to standard output", hint="name a new directory or a store")
    try:
        store = LayerStore(dest, task)
    except OSError as error:
        raise unusable(error, dest) from None
    try:
        store.begin(owners, mode)
        yield store
    except BaseException:
        store.give_up()
        raise
    finally:
        store.close()


class LayerStore:
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
            raise unusable(error, self.dest) from None
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
            raise unusable(error, self.at.name(name)) from None
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
            raise unusable(error, self.at.name(name)) from None
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
            raise unusable(error, self.at.name(name)) from None
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
            raise unusable(error, self.at.name("l")) from None
        return {name: f"l/{known[f'../{name}']}" for name in names}


def unusable(error: OSError, where: str) -> DestinationError:
    return DestinationError(f"cannot be written: {error.strerror or error}", where)
