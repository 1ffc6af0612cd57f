"""Files that appear whole or not at all: made under a temporary name beside their place, synced, then renamed.

A temporary is locked (flock) by the process that makes it, for as long as that process lives. `sweep` removes those whose
lock is free: their owner is dead. A live neighbour's is never touched.

`output_file` is for the files that a user names beside the image: reports, credentials, rows. What stands there may be no file.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

from ocitool.blob import Blob, FileBlob, OpenFile, label, passing
from ocitool.digest import Digest, verified
from ocitool.errors import DestinationError, IntegrityError
from ocitool.patterns import pattern
from ocitool.task import Task, undisturbed, unfinished

_NAME = pattern(r"\.ocitool-[0-9a-f]{16}\.part")
_PARTIAL = pattern(r"\.ocitool-sha(?:256|512)-[0-9a-f]{64,128}\.partial")
_COPY_STEP = 1 << 26
_APART = 4 << 20
"""Bytes from which a blob is worth a second thread."""
_NO_KERNEL_COPY = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM, errno.EIO)
FICLONE = 0x40049409

_DESCRIPTOR = pattern(r"/(?:dev|proc/([^/]+))/fd/(\d{1,9})")
_LINKS = 40
"""Symbolic links that are followed, as many as the kernel follows."""
_READER_PATIENCE = 10
"""Seconds that a pipe may take to find its reader."""


class Temporary:
    """A file in the making in `directory`. One of `place`, `replace` and `discard` ends it."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.descriptor = -1
        try:
            with undisturbed():  # what has a name has an owner that removes it
                self._make(directory)
        except BaseException:
            self.discard()
            raise

    def _make(self, directory: str) -> None:
        while True:
            self.path = os.path.join(directory, f".ocitool-{os.urandom(8).hex()}.part")
            try:
                self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            except OSError as error:
                raise unwritable(directory, error) from None
            if claimed(self.descriptor):
                unfinished.add(self)
                return
            self.close()

    def write(self, data: bytes | memoryview) -> None:
        write_all(self.descriptor, data, self.directory)

    def take(self, blob: Blob, task: Task) -> None:
        """Appends a blob, as `transfer` does."""
        transfer(blob, self.descriptor, task, where=self.directory)

    def skip(self, count: int) -> int:
        """Leaves room; where it begins."""
        return os.lseek(self.descriptor, count, os.SEEK_CUR) - count

    def take_at(self, offset: int, blob: Blob, task: Task) -> None:
        """As `take`, to an offset of the file: several threads may, each its own part."""
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            raise unwritable(self.directory, error) from None
        try:
            os.lseek(descriptor, offset, os.SEEK_SET)
            transfer(blob, descriptor, task, where=self.directory)
        finally:
            os.close(descriptor)

    def place(self, path: str) -> None:
        """The file at a path where nothing stands. `DestinationError` where something does."""
        self._sync()
        try:
            os.link(self.path, path)
        except FileExistsError:
            raise exists(path) from None
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
                raise unwritable(path, error) from None
            if os.path.lexists(path):  # a file system without hard links
                raise exists(path) from None
            self.replace(path)
            return
        os.unlink(self.path)
        self.close()
        sync_directory(os.path.dirname(path) or ".")

    def replace(self, path: str) -> None:
        """The file at a path, whatever stands there."""
        self._sync()
        try:
            os.replace(self.path, path)
        except OSError as error:
            raise unwritable(path, error) from None
        self.close()
        sync_directory(os.path.dirname(path) or ".")

    def discard(self) -> None:
        """Removes what was not placed; after that nothing happens."""
        if self.descriptor >= 0:
            with contextlib.suppress(OSError):
                os.unlink(self.path)
            self.close()

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def _sync(self) -> None:
        try:
            os.fsync(self.descriptor)
        except OSError as error:
            raise unwritable(self.directory, error) from None

    def __del__(self) -> None:
        if getattr(self, "descriptor", -1) >= 0:
            self.discard()


class Partial(Temporary):
    """A blob on its way from a network into `directory`, under a name that says which: what is there when its process dies is
    taken up by the next. Held by one process at a time. `written`: bytes that are there."""

    def __init__(self, directory: str, digest: Digest) -> None:
        self._digest = digest
        super().__init__(directory)

    def _make(self, directory: str) -> None:
        """Raises `BlockingIOError` where another process holds it."""
        self.path = os.path.join(directory, f".ocitool-{self._digest.algorithm}-{self._digest.encoded}.partial")
        while True:
            try:
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                self.descriptor = os.open(self.path, flags, 0o666)
            except OSError as error:
                raise unwritable(directory, error) from None
            try:
                fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(self.descriptor), os.lstat(self.path)):
                    return
            except FileNotFoundError:
                pass  # its owner has just finished, or given it up
            except BaseException:
                self.close()
                raise
            self.close()

    def fetch(self, blob: Blob, task: Task) -> None:
        """The blob in full and verified. What was there is hashed, and only the rest is read; where the whole is not what its
        digest says, and it began with what was there, it is read once more from the start.

        Raises `IntegrityError`, and then nothing is left; after any other error what came stays for the next attempt."""
        began = self._begin(blob)
        try:
            self._fetch(blob, began, task)
        except IntegrityError:
            if not began:
                raise
            self._fetch(blob, 0, task)

    def _begin(self, blob: Blob) -> int:
        there = os.fstat(self.descriptor).st_size
        return there if there <= blob.size else 0

    def _fetch(self, blob: Blob, began: int, task: Task) -> None:
        name, done = self._digest.short, 0
        try:
            os.ftruncate(self.descriptor, began)
            os.lseek(self.descriptor, began, os.SEEK_SET)
        except OSError as error:
            raise unwritable(self.directory, error) from None

        def there() -> Iterator[bytes]:
            file = OpenFile(self.path, descriptor=os.dup(self.descriptor))
            yield from FileBlob(file, 0, began).chunks()

        def coming() -> Iterator[bytes]:
            for chunk in passing(blob, began):
                write_all(self.descriptor, chunk, self.directory)
                yield chunk

        try:
            for chunk in verified(chain(there(), coming()), self._digest, blob.size):
                task.check()
                task.advance(name, len(chunk), blob.size)
                done += len(chunk)
        except IntegrityError:
            task.advance(name, -done, blob.size)
            os.ftruncate(self.descriptor, 0)
            raise

    @property
    def holds(self) -> bool:
        """Whether there is anything in it that another attempt can use."""
        return self.descriptor >= 0 and os.fstat(self.descriptor).st_size > 0

    def discard(self) -> None:
        """Lets go of it; one that holds nothing is removed."""
        if self.descriptor >= 0:
            with contextlib.suppress(OSError):
                if not self.holds:
                    os.unlink(self.path)
            self.close()


class _Nameless(Temporary):
    def __init__(self) -> None:
        try:
            self.path = self.directory = tempfile.gettempdir()
            with tempfile.TemporaryFile() as file:
                self.descriptor = os.dup(file.fileno())
        except OSError as error:
            raise DestinationError(
                f"no temporary file can be made: {error.strerror}", hint="TMPDIR names a directory with room"
            ) from None

    def discard(self) -> None:
        if self.descriptor >= 0:
            self.close()


def nameless() -> Temporary:
    """A temporary in the system's directory for such, where nobody sweeps: it has no name, so nothing is left of it when its
    process dies. It can be read and written, not placed."""
    return _Nameless()


class SpooledBlob(FileBlob):
    """A made blob in its temporary: a destination in the same directory takes the file itself."""

    __slots__ = ("temporary",)

    def __init__(self, temporary: Temporary, digest: Digest) -> None:
        file = OpenFile(temporary.path, descriptor=os.dup(temporary.descriptor))
        super().__init__(file, 0, file.size, digest)
        self.temporary = temporary


def claimed(descriptor: int) -> bool:
    """Locks a temporary that was just made. False where a sweeper came between: what it removed, or is about to, is no use
    to anyone. On a file system without locks nobody sweeps."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN)
    return os.fstat(descriptor).st_nlink > 0


def sweep(directory: str, *, partials: bool = False) -> int:
    """Removes the temporaries of this directory whose owners are dead, and with `partials` what is left of blobs on their
    way; how many there were."""
    try:
        names = os.listdir(directory)
    except OSError:
        return 0
    wanted = (_NAME, _PARTIAL) if partials else (_NAME,)
    return sum(_sweep(os.path.join(directory, name)) for name in names if any(one.fullmatch(name) for one in wanted))


def _sweep(path: str) -> bool:
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(path)
                return True
        finally:
            os.close(descriptor)
    return False


def transfer(blob: Blob, descriptor: int, task: Task, *, where: str) -> None:
    """Writes the blob's bytes at the descriptor's position, and hashes the very bytes that it writes: of a large blob on this
    machine while another thread reads and writes on, of one that the file system cloned after that. A made blob was hashed
    when it was made. Raises `IntegrityError`, `DestinationError`, `TransportError`."""
    name = label(blob)
    if isinstance(blob, SpooledBlob) and _kernel_copy(blob, descriptor, task, name, where):
        return
    if isinstance(blob, FileBlob) and _cloned(blob, descriptor):
        _hash(FileBlob(OpenFile(where, descriptor=os.dup(descriptor)), 0, blob.size, blob.digest).chunks(), blob, task)
        return
    remote = blob.remote
    written = _written(passing(blob), descriptor, where)
    if remote or blob.size < _APART:
        _hash(written, blob, task)
    else:
        with task.ahead(written) as chunks:
            _hash(chunks, blob, task)
    if remote:
        task.arrived("fetched", name, blob.size)


def _hash(chunks: Iterable[bytes], blob: Blob, task: Task) -> None:
    """Raises `IntegrityError` unless these are the blob's bytes."""
    for chunk in verified(chunks, blob.digest, blob.size):
        task.check()
        task.advance(label(blob), len(chunk), blob.size)


def _written(chunks: Iterable[bytes], descriptor: int, where: str) -> Iterator[bytes]:
    """The chunks, each once it is written: by a descriptor of its own, as a thread that is left to itself may still write."""
    own = os.dup(descriptor)
    try:
        for chunk in chunks:
            write_all(own, chunk, where)
            yield chunk
    finally:
        os.close(own)


def _cloned(blob: FileBlob, descriptor: int) -> bool:
    """Whether the file system has given the file, which was empty, the bytes of a blob that is a whole file, as a reflink."""
    if blob.offset or not blob.size or os.fstat(blob.descriptor).st_size != blob.size:
        return False
    if os.lseek(descriptor, 0, os.SEEK_CUR):
        return False
    try:
        fcntl.ioctl(descriptor, FICLONE, blob.descriptor)
    except OSError:
        return False
    if os.lseek(descriptor, 0, os.SEEK_END) != blob.size:  # it was cut off a moment ago
        raise IntegrityError(f"{blob.size} bytes are stated, and there are others now")
    return True


def _kernel_copy(blob: FileBlob, descriptor: int, task: Task, name: str, where: str) -> bool:
    """Whether the kernel copied the bytes, unread; if the file systems cannot, nothing was copied."""
    if not hasattr(os, "copy_file_range") or not blob.size:
        return False
    source = blob.descriptor
    if _cloned(blob, descriptor):
        task.advance(name, blob.size, blob.size)
        return True
    done = 0
    while done < blob.size:
        task.check()
        try:
            count = os.copy_file_range(source, descriptor, min(_COPY_STEP, blob.size - done), blob.offset + done)
        except OSError as error:
            if error.errno in _NO_KERNEL_COPY and not done:
                return False
            blob.pread(1 << 16, done)  # raises where it is the source that cannot be read
            raise unwritable(where, error) from None
        if not count:
            if not done:
                return False
            raise IntegrityError(f"{done} bytes where {blob.size} are stated")
        done += count
        task.advance(name, count, blob.size)
    return True


def write_all(descriptor: int, data: bytes | memoryview, where: str) -> None:
    """Raises `DestinationError` with `where`; `BrokenPipeError` as it is."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except BrokenPipeError:
        raise
    except OSError as error:
        raise unwritable(where, error) from None


def write_document(directory: str, name: str, data: bytes) -> None:
    """A small file, whole, over the old one."""
    temporary = Temporary(directory)
    try:
        temporary.write(data)
        temporary.replace(os.path.join(directory, name))
    finally:
        temporary.discard()


@contextmanager
def output_file(path: str, *, private: bool = False) -> Iterator[io.RawIOBase]:
    """A file to write what belongs at `path` into, for as long as the block runs.

    A regular file, and one that does not exist yet, appears whole when the block ends well, and not at all when it fails. A
    symbolic link is followed: what it leads to is replaced in its own directory, with the permissions it had. A device, a pipe
    and an open descriptor of this process (`/dev/stdout`, `/dev/fd/3`) are written to as the bytes come, and never replaced.
    `private`: the file is for its owner alone. Raises `DestinationError`, also for a directory."""
    try:
        descriptor = _stream(path)
    except OSError as error:
        raise unwritable(path, error) from None
    if descriptor is not None:
        try:
            yield _Written(descriptor, path)
        finally:
            os.close(descriptor)
        return
    target = os.path.realpath(path)
    sweep(os.path.dirname(target))
    temporary = Temporary(os.path.dirname(target))
    try:
        keep_mode(temporary, target)
        if private:  # whatever the old one was
            os.fchmod(temporary.descriptor, 0o600)
        yield _Written(temporary.descriptor, path)
        temporary.replace(target)
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


def _stream(path: str) -> int | None:
    """A descriptor to write to, if a path leads to a device, a pipe or an open descriptor of this process; None if to a file or
    to nothing. A pipe waits for its reader, `_READER_PATIENCE` seconds at most. Raises `OSError`, and as `output_file`."""
    number = _own_descriptor(path)
    if number is not None:
        return os.dup(number)  # opened again by name, a file would be written from its start
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise DestinationError("a directory, where a file is to be written", path)
    if stat.S_ISREG(mode):
        return None
    deadline = time.monotonic() + _READER_PATIENCE
    while True:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno != errno.ENXIO or not stat.S_ISFIFO(mode):
                raise
            if time.monotonic() > deadline:
                raise DestinationError("a pipe that is not read", path, hint="start its reader first") from None
            time.sleep(0.02)
            continue
        os.set_blocking(descriptor, True)
        return descriptor


def _own_descriptor(path: str) -> int | None:
    """The number of the descriptor that a path names, through links or not: `/dev/stdout` leads to `/proc/self/fd/1`."""
    path = os.path.abspath(path)
    for _ in range(_LINKS):
        if (named := _DESCRIPTOR.fullmatch(path)) and named[1] in ("self", "thread-self", str(os.getpid()), None):
            return int(named[2])
        try:
            path = os.path.abspath(os.path.join(os.path.dirname(path), os.readlink(path)))
        except OSError:
            return None
    return None


def keep_mode(temporary: Temporary, path: str) -> None:
    """Gives a file that is to replace another that one's permissions, and its owner where we may: what only few might read
    before is not for all to read now."""
    with contextlib.suppress(FileNotFoundError):
        old = os.stat(path)
        mode = stat.S_IMODE(old.st_mode) & 0o777
        with contextlib.suppress(OSError):
            os.fchmod(temporary.descriptor, mode & 0o700)
            if os.geteuid() == 0:
                os.fchown(temporary.descriptor, old.st_uid, old.st_gid)
            os.fchmod(temporary.descriptor, mode)


def sync_directory(path: str) -> None:
    """Makes the names in a directory durable, where its file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def exists(path: str) -> DestinationError:
    return DestinationError("exists already", path, hint="--force replaces it")


def unwritable(path: str, error: OSError) -> DestinationError:
    return DestinationError(f"cannot be written: {error.strerror or error}", path)

