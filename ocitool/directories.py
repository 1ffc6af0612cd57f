"""Directories held by a descriptor, and names looked up in them.

A path is looked up once. Everything after that names a file in a directory that is held open, and follows no link that
another user made: a user who can write to a parent directory may put something else at the path meanwhile, without
effect.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from ocitool.errors import DestinationError

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_LINKS = 40
"""Most symbolic links that are followed for one path, as in the kernel."""
_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class OpenDirectory:
    """An open directory, which stays the same whatever its path leads to later; closed with the last reference to it.

    `path` is for messages. A given `descriptor` becomes its own; otherwise the path is opened. Methods raise `OSError`.
    """

    __slots__ = ("descriptor", "path")

    def __init__(self, path: str, descriptor: int | None = None) -> None:
        self.path = path
        self.descriptor = -1
        self.descriptor = os.open(path or ".", _OPEN) if descriptor is None else descriptor

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def name(self, name: str) -> str:
        """Returns the path of a name in it, for messages."""
        return os.path.join(self.path, name)

    def names(self) -> list[str]:
        return os.listdir(self.descriptor)

    def stat(self, name: str) -> os.stat_result | None:
        """Returns the status of a name, of a link the link's own; None if it does not exist."""
        try:
            return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def is_named(self, name: str, descriptor: int) -> bool:
        """Returns whether a name leads to this open file."""
        found = self.stat(name)
        return found is not None and os.path.samestat(found, os.fstat(descriptor))

    def open(self, name: str, flags: int, mode: int = 0o666) -> int:
        """Opens a file in it, and returns the descriptor. Raises `OSError` with ELOOP for a link."""
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=self.descriptor)

    def read(self, name: str) -> int:
        """Opens a file in it for reading; for a pipe it does not wait for a writer."""
        return self.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)

    def unlink(self, name: str) -> None:
        os.unlink(name, dir_fd=self.descriptor)

    def located(self, name: str) -> tuple[OpenDirectory, str]:
        """Follows the links at a name in it, and returns the final directory and the name there.

        Links of root and of the user are followed; one of another user raises `DestinationError`.
        """
        at = self
        for _ in range(_LINKS):
            target = at._target(name)
            if target is None:
                return at, name
            above, name = os.path.split(target.rstrip("/") or "/")
            path = os.path.normpath(os.path.join(at.path, above))
            at = OpenDirectory(path, os.open(above or ".", _OPEN, dir_fd=at.descriptor))
            name = name or "."
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))

    def _target(self, name: str) -> str | None:
        """Returns the target of a link; None if the name is not a link."""
        found = self.stat(name)
        if found is None or not stat.S_ISLNK(found.st_mode):
            return None
        handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.descriptor)
        try:
            if os.fstat(handle).st_uid not in (0, os.geteuid()):
                raise DestinationError(
                    "a symbolic link of another user, which is not followed", self.name(name), hint="name what it leads to"
                )
            return os.readlink("", dir_fd=handle)
        finally:
            os.close(handle)

    def below(self, name: str) -> OpenDirectory:
        """Opens a directory in it, or one that a link in it leads to, as `located` does."""
        at, name = self.located(name)
        return OpenDirectory(at.name(name), at.open(name, _OPEN))

    def make_below(self, name: str, mode: int = 0o777) -> OpenDirectory:
        """As `below`, and makes the directory if it is missing."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, mode, dir_fd=self.descriptor)
        return self.below(name)

    def is_foreign(self, status: os.stat_result) -> bool:
        """Returns whether another user may have put a file with this status here: the directory is writable by others, as
        `/tmp`, and the file belongs neither to us, nor to root, nor to the directory's owner. The kernel uses the same
        rule in sticky directories."""
        here = os.fstat(self.descriptor)
        return bool(here.st_mode & _OTHERS) and status.st_uid not in (0, os.geteuid(), here.st_uid)

    def sync(self) -> None:
        """Makes its names durable, if its file system supports that."""
        with contextlib.suppress(OSError):
            os.fsync(self.descriptor)


def located(path: str) -> tuple[OpenDirectory, str]:
    """Returns the directory and the name in it that a path leads to; links at its end are followed as
    `OpenDirectory.located` does, its other parts as usual."""
    above, name = os.path.split(path.rstrip("/") or "/")
    return OpenDirectory(above).located(name or ".")


def opened(path: str) -> OpenDirectory:
    """Opens the directory of a path, which is looked up as `located` does."""
    at, name = located(path)
    return OpenDirectory(path, at.open(name, _OPEN))


def private_directory(path: str) -> OpenDirectory:
    """Opens a directory that only this user can access, and makes it if it is missing.

    Raises `ValueError` with the reason if others can write to it, since its files may then be theirs.
    """
    try:
        os.makedirs(os.path.dirname(path.rstrip("/")) or ".", mode=0o700, exist_ok=True)
        at, name = located(path)
        found = at.make_below(name, 0o700)
    except DestinationError as error:
        raise ValueError(f"the cache directory {path} is not used: it leads through {error.what}") from None
    except OSError as error:
        raise ValueError(f"the cache directory {path} cannot be used: {error.strerror}") from None
    return _own(found, path)


def private_below(at: OpenDirectory, name: str) -> OpenDirectory:
    """As `private_directory`, for a directory in one that is private."""
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=at.descriptor)
        found = OpenDirectory(at.name(name), at.open(name, _OPEN))
    except OSError as error:
        raise ValueError(f"the cache directory {at.name(name)} cannot be used: {error.strerror}") from None
    return _own(found, found.path)


def _own(at: OpenDirectory, shown: str) -> OpenDirectory:
    status = os.fstat(at.descriptor)
    if status.st_uid != os.geteuid() or status.st_mode & _OTHERS:
        raise ValueError(f"the cache directory {shown} is open to others and is not used")
    return at


def is_private_file(status: os.stat_result) -> bool:
    """Returns whether a file belongs to this user alone: no other user can write to it, and it has no second name."""
    mine = status.st_uid == os.geteuid() and status.st_nlink == 1
    return mine and stat.S_ISREG(status.st_mode) and not status.st_mode & stat.S_IWOTH


def lock_holders(descriptor: int) -> str:
    """Returns a text that names the processes which hold a lock of flock(2) on an open file."""
    status = os.fstat(descriptor)
    file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    found: list[str] = []
    with contextlib.suppress(OSError), open("/proc/locks", encoding="ascii", errors="replace") as locks:
        for words in map(str.split, locks):
            if words[1:2] == ["FLOCK"] and words[5:6] == [file] and words[4].isdigit():
                found.append(words[4])
    return f"process {', '.join(dict.fromkeys(found))}" if found else "another process"
