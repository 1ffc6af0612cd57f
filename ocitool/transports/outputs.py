"""Files that a user names beside the image: reports, credentials, rows. What stands there may be no file."""

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
_LINKS = 40
"""Symbolic links that are followed, as many as the kernel follows."""
_READER_PATIENCE = 10
"""Seconds that a pipe may take to find its reader."""


def new_file(path: str, *, force: bool) -> tuple[OpenDirectory, str]:
    """The directory and the name of a file that is to be made, with `force` of the one that a link leads to. Raises
    `DestinationError` if something stands there, with `force` if it is no file."""
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
    """A file to write what belongs at `path` into (a name in `below`, if that is held), for as long as the block runs.

    A regular file, and one that does not exist yet, appears whole when the block ends well, and not at all when it fails. A
    symbolic link is followed, unless another user made it: what it leads to is replaced in its own directory, with the
    permissions it had. A device, a pipe and an open descriptor of this process (`/dev/stdout`, `/dev/fd/3`) are written to as
    the bytes come, and never replaced. `private`: the file is for its owner alone. Raises `DestinationError`, also for a
    directory."""
    try:
        number = _own_descriptor(path) if below is None else None
        if number is not None:
            stream: int | None = os.dup(number)  # opened again by name, a file would be written from its start
        else:
            at, name = located(path) if below is None else below.located(path)
            path = path if below is None else below.name(path)
            stream = _stream(at, name, path)
    except OSError as error:
        raise unwritable(path, error) from None
    if stream is not None:
        try:
            yield _Written(stream, path)
        finally:
            os.close(stream)
        return
    sweep(at)
    temporary = Temporary(at, private=private or at.stat(name) is not None)
    try:
        yield _Written(temporary.descriptor, path)
        keep_mode(temporary, name, private=private)
        temporary.replace(name)
    finally:
        temporary.discard()


def is_replaced(path: str) -> bool:
    """Whether `output_file` would replace a file that stands there now."""
    return os.path.isfile(path) and _own_descriptor(path) is None


class _Written(io.RawIOBase):
    """The bytes go to a descriptor, all of them. Raises `DestinationError`. Closing it leaves the descriptor open."""

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


def _stream(at: OpenDirectory, name: str, path: str) -> int | None:
    """A descriptor to write to, if a name is that of a device or a pipe; None if of a file or of nothing. A pipe waits for its
    reader, `_READER_PATIENCE` seconds at most. Raises `OSError`, and as `output_file`."""
    status = at.stat(name)
    if status is None or stat.S_ISREG(status.st_mode):
        return None
    if stat.S_ISDIR(status.st_mode):
        raise DestinationError("a directory, where a file is to be written", path)
    pipe = stat.S_ISFIFO(status.st_mode)
    if pipe and at.is_foreign(status):
        raise DestinationError("a pipe of another user, in a directory where others make names", path)
    deadline = time.monotonic() + _READER_PATIENCE
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
    """The number of the descriptor that a path names, through links or not: `/dev/stdout` leads to `/proc/self/fd/1`."""
    path = os.path.abspath(path)
    for _ in range(_LINKS):
        if (named := _DESCRIPTOR.fullmatch(path)) and named[1] in ("self", "thread-self", str(os.getpid()), None):
            return int(named[2])
        try:
            # Those of the system are nobody's in a user namespace of its own.
            if not _SYSTEM.fullmatch(path) and os.lstat(path).st_uid not in (0, os.geteuid()):
                return None
            path = os.path.abspath(os.path.join(os.path.dirname(path), os.readlink(path)))
        except OSError:
            return None
    return None


def keep_mode(temporary: Temporary, name: str, *, private: bool = False) -> None:
    """Gives a file that is to replace another of its directory that one's permissions, and its owner where we may: what only
    few might read before is not for all to read now. `private`: it is for its owner alone.

    A file of another user that stands where others make names, as in `/tmp`, may be there to be given what is written."""
    old = temporary.at.stat(name)
    if old is None or not stat.S_ISREG(old.st_mode):
        return
    foreign = temporary.at.is_foreign(old)
    if os.geteuid() == 0 and not foreign:
        with contextlib.suppress(OSError):
            os.fchown(temporary.descriptor, old.st_uid, old.st_gid)
    with contextlib.suppress(OSError):
        os.fchmod(temporary.descriptor, 0o600 if private or foreign else stat.S_IMODE(old.st_mode) & 0o777)
