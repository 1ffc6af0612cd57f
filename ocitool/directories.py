"""Directories that are held by a descriptor, and names that are looked up in them.

A path is looked up once. All that follows names one thing in a directory that is held, and follows no link that another user
made: whoever can write in a directory above may put something else at the path meanwhile, and changes nothing by it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from ocitool.errors import DestinationError

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_LINKS = 40
"""Symbolic links that are followed, as many as the kernel follows."""
_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class OpenDirectory:
    """A directory that stays the same one, whatever its path comes to mean; closed when its last user lets go of it.

    `path` is for messages. Without `descriptor`, of which it takes ownership, the path is opened. Methods raise `OSError`."""

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
        """What a name in it is called in messages."""
        return os.path.join(self.path, name)

    def names(self) -> list[str]:
        return os.listdir(self.descriptor)

    def stat(self, name: str) -> os.stat_result | None:
        """What stands under a name, of a link the link itself; None if nothing does."""
        try:
            return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def is_named(self, name: str, descriptor: int) -> bool:
        """Whether a name is that of an open file."""
        found = self.stat(name)
        return found is not None and os.path.samestat(found, os.fstat(descriptor))

    def open(self, name: str, flags: int, mode: int = 0o666) -> int:
        """A descriptor of a file in it; `OSError` with ELOOP for a link."""
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=self.descriptor)

    def read(self, name: str) -> int:
        """A descriptor to read what is no link; of a pipe it does not wait for a writer."""
        return self.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)

    def unlink(self, name: str) -> None:
        os.unlink(name, dir_fd=self.descriptor)

    def located(self, name: str) -> tuple[OpenDirectory, str]:
        """The directory and the name in it that a name leads to, through links. Raises `DestinationError` for a link of
        another user: root's and our own are followed."""
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
        """Where a link leads; None for what is none."""
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
        """A directory in it, or that a link in it leads to, as `located` has it."""
        at, name = self.located(name)
        return OpenDirectory(at.name(name), at.open(name, _OPEN))

    def make_below(self, name: str, mode: int = 0o777) -> OpenDirectory:
        """`below`, of a directory that is made if it is missing."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, mode, dir_fd=self.descriptor)
        return self.below(name)

    def is_foreign(self, status: os.stat_result) -> bool:
        """Whether a file in it may have been put there by any other user: in a directory where others make names, as `/tmp`,
        it is neither ours, nor root's, nor the directory's owner's. The kernel judges by that in sticky directories."""
        here = os.fstat(self.descriptor)
        return bool(here.st_mode & _OTHERS) and status.st_uid not in (0, os.geteuid(), here.st_uid)

    def sync(self) -> None:
        """Makes its names durable, where its file system can."""
        with contextlib.suppress(OSError):
            os.fsync(self.descriptor)


def located(path: str) -> tuple[OpenDirectory, str]:
    """The directory and the name in it that a path leads to, links at its end followed as `OpenDirectory.located` does. Its
    other parts are looked up as any program does."""
    above, name = os.path.split(path.rstrip("/") or "/")
    return OpenDirectory(above).located(name or ".")


def opened(path: str) -> OpenDirectory:
    """The directory that a path names, looked up as `located` does."""
    at, name = located(path)
    return OpenDirectory(path, at.open(name, _OPEN))


def private_directory(path: str) -> OpenDirectory:
    """A directory for one user alone, made if it is missing. Raises `ValueError` that says why it is not: what stands in a
    directory that others can write to may be theirs."""
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
    """`own`, of a directory in one that is."""
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
    """Whether a file is ours alone: no other user made it, may write to it, or has a second name for it."""
    mine = status.st_uid == os.geteuid() and status.st_nlink == 1
    return mine and stat.S_ISREG(status.st_mode) and not status.st_mode & stat.S_IWOTH


def lock_holders(descriptor: int) -> str:
    """The processes that hold a lock of flock(2) on an open file, in words."""
    status = os.fstat(descriptor)
    file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    found: list[str] = []
    with contextlib.suppress(OSError), open("/proc/locks", encoding="ascii", errors="replace") as locks:
        for words in map(str.split, locks):
            if words[1:2] == ["FLOCK"] and words[5:6] == [file] and words[4].isdigit():
                found.append(words[4])
    return f"process {', '.join(dict.fromkeys(found))}" if found else "another process"
