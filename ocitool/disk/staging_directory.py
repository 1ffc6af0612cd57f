"""Directories that appear whole or not at all: made under a temporary name beside the destination, renamed at the end.

A temporary `.NAME.ocitool-XXXXXXXXXXXXXXXX` is locked (flock) by the process that makes it, for as long as that lives.
A temporary whose lock is free is left from a dead process: the next run beside it removes it, unless other users can
rename files there. One that is locked is never touched.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
from types import TracebackType
from typing import NamedTuple

from ocitool import signals
from ocitool.atomic import lock_new, unwritable, write_all
from ocitool.directories import OpenDirectory, located
from ocitool.errors import DestinationError
from ocitool.interrupts import undisturbed
from ocitool.patterns import byte_pattern

OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PATTERN = byte_pattern(rb"\..+\.ocitool-[0-9a-f]{16}", re.DOTALL)
_NAME_LENGTH = 200
_CLEANUP_TIME = 0.6
"""Seconds after Ctrl-C or SIGTERM in which the unfinished directory may be removed: the command shall end within one."""
_ATTEMPTS = 100
MAX_OPEN = 64
"""Directories of one path that are open at once."""


class StagingDirectory:
    """A private directory beside `destination`, which must be absent or an empty directory; `DestinationError`
    otherwise.

    A context manager: a directory that was not published by then is removed at its end. `descriptor` is the
    directory's. `at`: the directory of the destination, if it is open already.
    """

    def __init__(self, destination: str, at: OpenDirectory | None = None) -> None:
        self.destination = destination
        self.descriptor = self._parent = -1
        self._temporary = b""
        self._at = at

    def __enter__(self) -> StagingDirectory:
        try:
            self._locate()
            if _is_safe_from_others(self._parent):
                _sweep(self._parent)
            if not any(self._make() for _ in range(_ATTEMPTS)):
                raise DestinationError("another process locks every directory that is made here", self.destination)
        except FileNotFoundError:
            self._clean_up()
            raise DestinationError("its directory does not exist", self.destination) from None
        except OSError as error:
            self._clean_up()
            raise unwritable(self.destination, error) from None
        except BaseException:
            self._clean_up()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._clean_up()

    def _clean_up(self) -> None:
        with undisturbed():
            if self.descriptor >= 0:
                with contextlib.suppress(OSError):
                    remove(self._parent, self._temporary, self.descriptor)
                os.close(self.descriptor)
            self.descriptor = self._parent = -1
            self._at = None

    def _locate(self) -> None:
        """Opens the directory of the destination, and checks the destination itself."""
        if self._at is not None:
            name = os.path.basename(self.destination)
        else:
            self._at, name = located(self.destination)
            if name in (".", ".."):
                self._at, name = located(os.path.realpath(self.destination))
        self._parent, self._name = self._at.descriptor, os.fsencode(name)
        _check_destination(self._at, name, self.destination)

    def publish(self, name: bytes | None = None, access: DirectoryMode | None = None) -> int:
        """Renames the directory (or `name` in it, instead) to the destination, in one step, and returns its mode.

        `access` sets its mode; by default it is that of any new directory, and `name` keeps its own.
        """
        try:
            if name is None:
                set_access(self.descriptor, access or DirectoryMode(0o777 & ~self.umask))
                if not self._is_unchanged():
                    raise DestinationError("another process exchanged what was made", self.destination)
                os.rename(self._temporary, self._name, src_dir_fd=self._parent, dst_dir_fd=self._parent)
            else:
                if access is not None:
                    os.chmod(name, access.mode, dir_fd=self.descriptor)
                os.rename(name, self._name, src_dir_fd=self.descriptor, dst_dir_fd=self._parent)
            with contextlib.suppress(OSError):  # some file systems cannot
                os.fsync(self._parent)
            return stat.S_IMODE(os.stat(self._name, dir_fd=self._parent, follow_symlinks=False).st_mode)
        except OSError as error:
            raise unwritable(self.destination, error) from None

    def write(self, name: str, data: bytes) -> None:
        """Writes a small file in the directory, synced."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(name, flags, 0o666, dir_fd=self.descriptor)
            try:
                write_all(descriptor, data, os.path.join(self.destination, name))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise unwritable(os.path.join(self.destination, name), error) from None

    def mkdir(self, name: str) -> None:
        try:
            os.mkdir(name, 0o777, dir_fd=self.descriptor)
        except OSError as error:
            raise unwritable(os.path.join(self.destination, name), error) from None

    @property
    def path(self) -> str:
        """Its temporary path, until it is published."""
        assert self._at is not None
        return self._at.name(os.fsdecode(self._temporary))

    def _is_unchanged(self) -> bool:
        """Returns whether the temporary name still is that of the directory that was made."""
        found = os.stat(self._temporary, dir_fd=self._parent, follow_symlinks=False)
        return os.path.samestat(found, os.fstat(self.descriptor))

    def _make(self) -> bool:
        """Makes the temporary directory and locks it. Returns False if another process removed or locked it before the
        lock was taken."""
        with undisturbed():
            self._temporary = b"." + self._name[:_NAME_LENGTH] + b".ocitool-" + os.urandom(8).hex().encode()
            os.mkdir(self._temporary, 0o777, dir_fd=self._parent)
            try:
                descriptor = os.open(self._temporary, OPEN_DIRECTORY, dir_fd=self._parent)
            except FileNotFoundError:
                return False
            except OSError:  # a umask that takes our own rights away
                os.rmdir(self._temporary, dir_fd=self._parent)
                raise
            if os.fstat(descriptor).st_uid != os.geteuid():
                os.close(descriptor)
                raise DestinationError("another process exchanged what was made", self.destination)
            # A setgid parent, or a default access list of it, would affect every file made below.
            self.umask = 0o777 & ~os.fstat(descriptor).st_mode
            remove_acls(descriptor)
            os.fchmod(descriptor, 0o700)
            if lock_new(descriptor):
                self.descriptor = descriptor
                return True
            os.close(descriptor)
            return False


class DirectoryMode(NamedTuple):
    """Access to a directory: its mode, and the group that it is given to, if any."""

    mode: int
    group: int | None = None


def remove_acls(directory: int) -> None:
    """Removes the access lists that a directory inherited: a umask does not limit a default access list."""
    for name in ("system.posix_acl_default", "system.posix_acl_access"):
        with contextlib.suppress(OSError):
            os.removexattr(directory, name)


def set_access(directory: int, access: DirectoryMode) -> None:
    """Sets group and mode of a directory."""
    if access.group is not None:
        os.fchown(directory, -1, access.group)
    os.fchmod(directory, access.mode)


def _check_destination(at: OpenDirectory, name: str, shown: str) -> None:
    status = at.stat(name)
    if status is None:
        return
    if not stat.S_ISDIR(status.st_mode):
        raise DestinationError("exists, and is not a directory", shown)
    if at.below(name).names():
        raise DestinationError("exists, and is not empty", shown, hint="name a new directory, or empty this one")
    if status.st_dev != os.fstat(at.descriptor).st_dev:
        raise DestinationError("is a mount point, which no directory can replace", shown, hint="name a directory in it")
    here = os.stat(".")
    if (here.st_dev, here.st_ino) == (status.st_dev, status.st_ino):
        raise DestinationError("the current directory cannot be replaced", shown, hint="name a new directory")


def _is_safe_from_others(parent: int) -> bool:
    """Returns whether no other user can rename our files in a directory. Otherwise a temporary's name may belong to any
    directory of ours that was moved there, with mounts in it."""
    status = os.fstat(parent)
    closed = not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or bool(status.st_mode & stat.S_ISVTX)
    return closed and status.st_uid in (0, os.geteuid())


def _sweep(parent: int) -> None:
    with contextlib.suppress(OSError):
        for name in os.listdir(parent):
            path = os.fsencode(name)
            if _PATTERN.fullmatch(path):
                with contextlib.suppress(OSError):
                    _sweep_one(parent, path)


def _sweep_one(parent: int, name: bytes) -> None:
    descriptor = os.open(name, OPEN_DIRECTORY, dir_fd=parent)
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid():
            return
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove(parent, name, descriptor)
    finally:
        os.close(descriptor)


def remove(parent: int, name: bytes, directory: int) -> None:
    """Removes the directory `name` in `parent`, open as `directory`, and everything below it, however deep and whatever
    the modes.

    No link is followed. If the name now belongs to another directory, nothing is removed. After Ctrl-C or SIGTERM only
    as much is removed as time allows; a later run removes the rest.
    """
    status = os.fstat(directory)
    try:
        named = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return
    if (named.st_dev, named.st_ino) != (status.st_dev, status.st_ino):
        return
    chain = DirectoryStack(directory)
    todo: list[list[bytes]] = [_remove_files(directory)]
    try:
        while True:
            if signals.seconds_since_first() > _CLEANUP_TIME:
                return
            if todo[-1]:
                chain.enter(todo[-1].pop())
                todo.append(_remove_files(chain.current))
            elif len(todo) == 1:
                break
            else:
                below = chain.leave()
                todo.pop()
                os.rmdir(below, dir_fd=chain.current)
    finally:
        chain.close()
    os.rmdir(name, dir_fd=parent)


def _remove_files(directory: int) -> list[bytes]:
    """Removes all but the directories in a directory, and returns the names of those."""
    if os.fstat(directory).st_mode & 0o700 != 0o700:
        os.fchmod(directory, 0o700)
    below = []
    with os.scandir(directory) as found:
        for count, item in enumerate(found):
            if not count & 255 and signals.seconds_since_first() > _CLEANUP_TIME:
                break
            if item.is_dir(follow_symlinks=False):
                below.append(os.fsencode(item.name))
            else:
                os.unlink(item.name, dir_fd=directory)
    return below


class DirectoryStack:
    """The directories from a start down to the current one; at most `MAX_OPEN` of them are open, whatever the depth.

    Only real directories are entered, no links. A parent that was closed is opened again through `..`, and must be the
    same directory.
    """

    def __init__(self, start: int) -> None:
        self.current = start
        self.names: list[bytes] = []
        self._start = start
        self._open: list[int] = [start]  # -1 once closed
        self._known: list[tuple[int, int]] = [(0, 0)]

    def enter(self, name: bytes) -> None:
        """Makes a directory in the current one the current one."""
        try:
            descriptor = os.open(name, OPEN_DIRECTORY, dir_fd=self.current)
        except PermissionError:
            descriptor = _open_made_accessible(name, self.current)
        depth = len(self._open)
        if depth > MAX_OPEN:
            old = depth - MAX_OPEN
            if self._open[old] >= 0:
                status = os.fstat(self._open[old])
                self._known[old] = (status.st_dev, status.st_ino)
                os.close(self._open[old])
                self._open[old] = -1
        self._open.append(descriptor)
        self._known.append((0, 0))
        self.names.append(name)
        self.current = descriptor

    def leave(self) -> bytes:
        """Returns to the parent; returns the name of the directory that was left."""
        depth = len(self._open) - 2
        if self._open[depth] < 0:
            descriptor = os.open("..", OPEN_DIRECTORY, dir_fd=self.current)
            status = os.fstat(descriptor)
            self._open[depth] = descriptor
            if (status.st_dev, status.st_ino) != self._known[depth]:
                raise DestinationError("another process moves directories in it", os.fsdecode(b"/".join(self.names)))
        os.close(self._open.pop())
        self._known.pop()
        self.current = self._open[-1]
        return self.names.pop()

    def close(self) -> None:
        """Closes all but the start, which the caller owns."""
        while len(self._open) > 1:
            descriptor = self._open.pop()
            if descriptor >= 0:
                os.close(descriptor)
        self.names.clear()
        self.current = self._start


def _open_made_accessible(name: bytes, parent: int) -> int:
    """Opens a directory that even its owner may not search, after making it accessible."""
    handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        os.chmod(f"/proc/self/fd/{handle}", 0o700)
        return os.open(name, OPEN_DIRECTORY, dir_fd=parent)
    finally:
        os.close(handle)
