"""Files that a user names in addition to the image: reports, credentials, rows. The path may also lead to a device, a
pipe or an open descriptor.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ocitool.atomic import Temporary, exists, sweep, unwritable, write_all
from ocitool.directories import OpenDirectory, located
from ocitool.errors import DestinationError
from ocitool.patterns import pattern

_DESCRIPTOR = pattern(r"/(?:dev|proc/([^/]+))/fd/(\d{1,9})")
_SYSTEM = pattern(r"/dev/[^/]+|/proc/.*")
_MAX_LINKS = 40
"""Symbolic links that are followed: the limit of the kernel."""
_READER_TIMEOUT = 10
"""Seconds that a pipe may take to get a reader."""


def new_file(path: str, *, force: bool) -> tuple[OpenDirectory, str]:
    """Returns the directory and the name of a file to be made; with `force`, those of the file that a link leads to.
    Raises `DestinationError` if something exists there; with `force`, if it is not a regular file."""
    try:
        above, name = os.path.split(path)
        at, name = located(path) if force else (OpenDirectory(above), name)
        status = at.stat(name)
    except (FileNotFoundError, NotADirectoryError):
        raise DestinationError("its directory does not exist", path) from None
    except OSError as error:
        raise unwritable(path, error) from None
    if status is not None and not force:
        raise exists(path)
    if status is not None and not stat.S_ISREG(status.st_mode):
        raise DestinationError("neither a file nor absent: a device or a pipe is not replaced", path)
    return at, name


@contextmanager
def output_file(path: str, *, private: bool = False, below: OpenDirectory | None = None) -> Iterator[io.RawIOBase]:
    """Yields a stream for the content of the file at `path` (a name in `below`, if that is given).

    A regular file, and one that does not exist yet, appears when the block ends, and not at all if it fails. A symbolic
    link is followed unless it belongs to another user: its target is replaced in its own directory, with its
    permissions. A device, a pipe and an open descriptor of this process (`/dev/stdout`, `/dev/fd/3`) are written to at
    once and never replaced. `private`: only the owner can read the file. Raises `DestinationError`, also for a
    directory."""
    try:
        number = _own_descriptor(path) if below is None else None
        if number is not None:
            stream: int | None = os.dup(number)  # opened again by name, a file would be overwritten from its start
        else:
            at, name = located(path) if below is None else below.located(path)
            path = path if below is None else below.name(path)
            stream = _open_stream(at, name, path)
    except OSError as error:
        raise unwritable(path, error) from None
    if stream is not None:
        try:
            yield _DescriptorWriter(stream, path)
        finally:
            os.close(stream)
        return
    sweep(at)
    temporary = Temporary(at, private=private or at.stat(name) is not None)
    try:
        yield _DescriptorWriter(temporary.descriptor, path)
        keep_mode(temporary, name, private=private)
        temporary.replace(name)
    finally:
        temporary.discard()


def is_replaced(path: str) -> bool:
    """Returns whether `output_file` would replace an existing file."""
    return os.path.isfile(path) and _own_descriptor(path) is None


class _DescriptorWriter(io.RawIOBase):
    """Writes all bytes to a descriptor, and leaves it open when closed. Raises `DestinationError`."""

    def __init__(self, descriptor: int, where: str) -> None:
        self._descriptor, self._where, self._count = descriptor, where, 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        write_all(self._descriptor, view, self._where)
        self._count += len(view)
        return len(view)

    def tell(self) -> int:
        return self._count


def _open_stream(at: OpenDirectory, name: str, path: str) -> int | None:
    """Returns a descriptor if the name is that of a device or a pipe; None for a regular file or nothing. Waits for the
    reader of a pipe, at most `_READER_TIMEOUT` seconds. Raises `OSError`, and what `output_file` raises."""
    status = at.stat(name)
    if status is None or stat.S_ISREG(status.st_mode):
        return None
    if stat.S_ISDIR(status.st_mode):
        raise DestinationError("a directory, where a file is to be written", path)
    pipe = stat.S_ISFIFO(status.st_mode)
    if pipe and at.is_foreign(status):
        raise DestinationError("a pipe of another user, in a directory where others make names", path)
    deadline = time.monotonic() + _READER_TIMEOUT
    while True:
        try:
            descriptor = at.open(name, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError as error:
            if error.errno != errno.ENXIO or not pipe:
                raise
            if time.monotonic() > deadline:
                raise DestinationError("a pipe that is not read", path, hint="start its reader first") from None
            time.sleep(0.02)
            continue
        if not os.path.samestat(os.fstat(descriptor), status):
            os.close(descriptor)
            raise DestinationError("another process replaced it meanwhile", path)
        os.set_blocking(descriptor, True)
        return descriptor


def _own_descriptor(path: str) -> int | None:
    """Returns the number of the descriptor of this process that a path leads to, as `/dev/stdout` does by
    `/proc/self/fd/1`; None for any other path."""
    path = os.path.abspath(path)
    for _ in range(_MAX_LINKS):
        if (named := _DESCRIPTOR.fullmatch(path)) and named[1] in ("self", "thread-self", str(os.getpid()), None):
            return int(named[2])
        try:
            # In a user namespace, links of the system may belong to the overflow user.
            if not _SYSTEM.fullmatch(path) and os.lstat(path).st_uid not in (0, os.geteuid()):
                return None
            path = os.path.abspath(os.path.join(os.path.dirname(path), os.readlink(path)))
        except OSError:
            return None
    return None


def keep_mode(temporary: Temporary, name: str, *, private: bool = False) -> None:
    """Gives a new file the permissions of the one that it replaces, and its owner if this user may: what was not
    readable by all must not become so. `private`: only its owner can read it.

    The old file of another user in a directory where others can make files, as `/tmp`, may have been put there to
    receive the output; then the new one is private."""
    old = temporary.at.stat(name)
    if old is None or not stat.S_ISREG(old.st_mode):
        return
    foreign = temporary.at.is_foreign(old)
    if os.geteuid() == 0 and not foreign:
        with contextlib.suppress(OSError):
            os.fchown(temporary.descriptor, old.st_uid, old.st_gid)
    with contextlib.suppress(OSError):
        os.fchmod(temporary.descriptor, 0o600 if private or foreign else stat.S_IMODE(old.st_mode) & 0o777)
