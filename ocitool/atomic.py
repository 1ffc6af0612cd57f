"""Files that appear whole or not at all: written under a temporary name in the same directory, synced, then renamed.

A temporary file is locked (flock) by its process, for as long as that lives. `sweep` removes temporary files whose lock
is free: their process is dead. A file of a living process is never touched.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from itertools import chain

from ocitool.blob import Blob, FileBlob, OpenFile, label, stream_once
from ocitool.digest import Digest, verified
from ocitool.directories import OpenDirectory, is_private_file
from ocitool.errors import DestinationError, IntegrityError
from ocitool.interrupts import undisturbed, unfinished
from ocitool.patterns import pattern
from ocitool.task import Task

_NAME = pattern(r"\.ocitool-[0-9a-f]{16}\.part")
_PARTIAL = pattern(r"\.ocitool-sha(?:256|512)-[0-9a-f]{64,128}\.partial")
_COPY_STEP = 1 << 26
THREAD_SIZE = 4 << 20
"""Bytes of a blob from which on a second thread is worth its cost."""
_NO_KERNEL_COPY = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM, errno.EIO)
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOENT, errno.EXDEV)
"""Errors of linking an open file on a file system without hard links, or without /proc."""
FICLONE = 0x40049409

_ATTEMPTS = 100
"""Most attempts to make a file that no other process removes or locks at once."""


class Temporary:
    """A temporary file in a directory, which it holds open. End it by `place`, `replace` or `discard`.

    `private`: closed to other users until its mode is set; otherwise it has the mode of any new file. `at`: the
    directory; `name`: the file's name, which is never relied on: what is written, placed and removed is the file that
    was made, not another that got its name.
    """

    at: OpenDirectory
    name: str

    def __init__(self, directory: str | OpenDirectory, *, private: bool = False) -> None:
        self.directory = directory if isinstance(directory, str) else directory.path
        self.descriptor = -1
        self._mode = 0o600 if private else 0o666
        try:
            self.at = OpenDirectory(directory) if isinstance(directory, str) else directory
        except OSError as error:
            raise unwritable(self.directory, error) from None
        try:
            with undisturbed():  # a signal in between would leave a file that nothing removes
                self._make()
        except BaseException:
            self.discard()
            raise

    def _make(self) -> None:
        for _ in range(_ATTEMPTS):
            self.name = f".ocitool-{os.urandom(8).hex()}.part"
            try:
                self.descriptor = self.at.open(self.name, os.O_RDWR | os.O_CREAT | os.O_EXCL, self._mode)
            except OSError as error:
                raise unwritable(self.directory, error) from None
            if lock_new(self.descriptor):
                unfinished.add(self)
                return
            self.close()
        raise DestinationError("another process locks every file that is made here", self.directory)

    @property
    def path(self) -> str:
        """The path it was made at, for messages."""
        return self.at.name(self.name)

    def is_in(self, directory: OpenDirectory) -> bool:
        return self.at is directory

    def write(self, data: bytes | memoryview) -> None:
        write_all(self.descriptor, data, self.directory)

    def append_blob(self, blob: Blob, task: Task) -> None:
        """Appends a blob, as `transfer` does."""
        transfer(blob, self.descriptor, task, where=self.directory)

    def skip(self, count: int) -> int:
        """Leaves `count` bytes free, and returns their offset."""
        return os.lseek(self.descriptor, count, os.SEEK_CUR) - count

    def write_blob_at(self, offset: int, blob: Blob, task: Task) -> None:
        """Writes the blob's verified bytes at an offset. Several threads may do this at once, each in its own range."""
        transfer(blob, self.descriptor, task, where=self.directory, offset=offset)

    def place(self, name: str, at: OpenDirectory | None = None) -> None:
        """Gives the file a name that does not exist yet, in its own directory or another. Raises `DestinationError` if
        it does exist."""
        at = at or self.at
        self._sync()
        try:
            linked = self._link(name, at)
        except FileExistsError:
            raise exists(at.name(name)) from None
        except OSError as error:
            raise unwritable(at.name(name), error) from None
        if not linked:
            if at.stat(name) is not None:
                raise exists(at.name(name))
            self._rename(name, at)
        self._end(at)

    def replace(self, name: str, at: OpenDirectory | None = None, *, durable: bool = True) -> os.stat_result:
        """Gives the file a name, and replaces what has it; returns the file's status. Its bytes are synced; its name is
        only if `durable`: a caller that writes many files syncs their directory once."""
        self._sync()
        try:
            # Other users may be able to rename files here, and not in the other directory: so link by descriptor, not by name.
            linked = at is not None and at is not self.at and self._link(name, at)
        except FileExistsError:
            linked = False
        except OSError as error:
            raise unwritable((at or self.at).name(name), error) from None
        if not linked:
            self._rename(name, at or self.at)
        return self._end(at or self.at, durable=durable)

    def _link(self, name: str, at: OpenDirectory) -> bool:
        """Gives this very file another name; returns False if the file system has no hard links."""
        try:
            os.link(f"/proc/self/fd/{self.descriptor}", name, dst_dir_fd=at.descriptor)
            return True
        except FileExistsError:
            raise
        except OSError as error:
            if error.errno in _NO_LINKS:
                return False
            raise

    def _rename(self, name: str, at: OpenDirectory) -> None:
        try:
            if not self.at.is_named(self.name, self.descriptor):
                raise DestinationError("another process exchanged the file that was made", self.path)
            os.replace(self.name, name, src_dir_fd=self.at.descriptor, dst_dir_fd=at.descriptor)
        except OSError as error:
            raise unwritable(at.name(name), error) from None

    def _end(self, at: OpenDirectory, *, durable: bool = True) -> os.stat_result:
        """Closes a placed file, and returns its status."""
        self._forget()
        placed = os.fstat(self.descriptor)
        self.close()
        if durable:
            at.sync()
        return placed

    def _forget(self) -> None:
        """Removes the temporary name, unless it now belongs to another file."""
        with contextlib.suppress(OSError):
            if self.at.is_named(self.name, self.descriptor):
                self.at.unlink(self.name)

    def discard(self) -> None:
        """Removes the file if it was not placed; does nothing afterwards."""
        if self.descriptor >= 0:
            self._forget()
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
    """A blob being fetched into `directory`, under a name that contains its digest, so that a later process can
    continue it. One process holds it at a time.

    Raises `BlockingIOError` if it cannot be used: another process holds it, it is not a file, or another user could
    change it.
    """

    def __init__(self, directory: str | OpenDirectory, digest: Digest) -> None:
        self._digest = digest
        super().__init__(directory)

    def _make(self) -> None:
        self.name = f".ocitool-{self._digest.algorithm}-{self._digest.encoded}.partial"
        for _ in range(_ATTEMPTS):
            try:
                self.descriptor = self.at.open(self.name, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK)
                if not is_private_file(os.fstat(self.descriptor)):
                    break
                fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self.at.is_named(self.name, self.descriptor):
                    return
            except OSError:
                break
            except BaseException:
                self.close()
                raise
            self.close()  # its owner has just finished, or given it up
        self.close()
        raise BlockingIOError(errno.EAGAIN, "the partial file is not to be had", self.path)

    def fetch(self, blob: Blob, task: Task) -> None:
        """Completes and verifies the file. Its present bytes are hashed, and only the rest is read; if the whole does
        not match the digest, everything is read once more from the start.

        Raises `IntegrityError`, and then nothing is left; after any other error the bytes stay for the next attempt.
        """
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
            for chunk in stream_once(blob, began):
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
    def has_data(self) -> bool:
        """Whether it has anything that another attempt can use."""
        return self.descriptor >= 0 and os.fstat(self.descriptor).st_size > 0

    def discard(self) -> None:
        """Closes it; removes it if it is empty."""
        if self.descriptor >= 0:
            with contextlib.suppress(OSError):
                if not self.has_data:
                    self._forget()
            self.close()


class _Anonymous(Temporary):
    def __init__(self) -> None:
        try:
            self.directory = tempfile.gettempdir()
            with tempfile.TemporaryFile() as file:
                self.descriptor = os.dup(file.fileno())
        except OSError as error:
            raise DestinationError(
                f"no temporary file can be made: {error.strerror}", hint="TMPDIR names a directory with room"
            ) from None

    @property
    def path(self) -> str:
        return self.directory

    def is_in(self, directory: OpenDirectory) -> bool:
        return False

    def discard(self) -> None:
        self.close()


def anonymous_temporary() -> Temporary:
    """Returns a temporary file without a name, in the system's temporary directory: nothing is left of it if the
    process dies. It cannot be placed."""
    return _Anonymous()


class SpooledBlob(FileBlob):
    """A blob in its temporary file: a destination in the same directory takes the file itself."""

    __slots__ = ("temporary",)

    def __init__(self, temporary: Temporary, digest: Digest) -> None:
        file = OpenFile(temporary.path, descriptor=os.dup(temporary.descriptor))
        super().__init__(file, 0, file.size, digest)
        self.temporary = temporary


class ReceivedBlob(FileBlob):
    """A blob without a digest, in its temporary file, whose bytes were hashed as they were received: `hashed`."""

    __slots__ = ("hashed", "temporary")

    def __init__(self, temporary: Temporary, hashed: Digest) -> None:
        file = OpenFile(temporary.path, descriptor=os.dup(temporary.descriptor))
        super().__init__(file, 0, file.size)
        self.temporary = temporary
        self.hashed = hashed

    def with_digest(self, digest: Digest | None) -> FileBlob:
        """Returns it with this digest: if that is its own, as a blob that is not hashed again."""
        return SpooledBlob(self.temporary, digest) if digest == self.hashed else super().with_digest(digest)


def lock_new(descriptor: int) -> bool:
    """Locks a new temporary. Returns False if another process's `sweep` came first, so that the file is, or will be,
    removed. A file system without locks counts as locked: nothing is swept there."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN)
    return os.fstat(descriptor).st_nlink > 0


def sweep(directory: str | OpenDirectory, *, partials: bool = False) -> int:
    """Removes temporary files of dead processes from this directory, with `partials` also partly fetched blobs; returns
    their number."""
    try:
        at = OpenDirectory(directory) if isinstance(directory, str) else directory
        names = at.names()
    except OSError:
        return 0
    wanted = (_NAME, _PARTIAL) if partials else (_NAME,)
    return sum(_sweep(at, name) for name in names if any(one.fullmatch(name) for one in wanted))


def _sweep(at: OpenDirectory, name: str) -> bool:
    with contextlib.suppress(OSError):
        descriptor = at.read(name)
        try:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if at.is_named(name, descriptor):
                    at.unlink(name)
                    return True
        finally:
            os.close(descriptor)
    return False


def transfer(blob: Blob, descriptor: int, task: Task, *, where: str, offset: int | None = None) -> None:
    """Writes the blob's bytes at the descriptor's position, or at `offset`, which leaves the position.

    It hashes the very bytes that it writes: those of a large local blob in another thread, those that the file system
    cloned afterwards. A `SpooledBlob` was hashed when it was made. Raises `IntegrityError`, `DestinationError`,
    `TransportError`.
    """
    name = label(blob)
    if offset is None and isinstance(blob, SpooledBlob) and _kernel_copy(blob, descriptor, task, name, where):
        return
    if offset is None and isinstance(blob, FileBlob) and _cloned(blob, descriptor):
        _hash(FileBlob(OpenFile(where, descriptor=os.dup(descriptor)), 0, blob.size, blob.digest).chunks(), blob, task)
        return
    remote = blob.remote
    written = _written(stream_once(blob), descriptor, where, offset)
    if remote or blob.size < THREAD_SIZE:
        _hash(written, blob, task)
    else:
        with task.ahead(written) as chunks:
            _hash(chunks, blob, task)
    if remote:
        task.transferred("fetched", name, blob.size)


def _hash(chunks: Iterable[bytes], blob: Blob, task: Task) -> None:
    """Raises `IntegrityError`, with the file's path, unless these are the blob's bytes."""
    done = 0
    try:
        for chunk in verified(chunks, blob.digest, blob.size):
            task.check()
            done += len(chunk)
            task.advance(label(blob), len(chunk), blob.size)
    except IntegrityError as error:
        task.advance(label(blob), -done, blob.size)
        if isinstance(blob, FileBlob) and blob.path is not None:
            error.at(blob.path)
        raise


def _written(chunks: Iterable[bytes], descriptor: int, where: str, offset: int | None) -> Iterator[bytes]:
    """Yields the chunks, each after it was written. It writes through a duplicate of the descriptor, since a thread that
    is abandoned may still write when the caller has closed its own."""
    own = os.dup(descriptor)
    try:
        for chunk in chunks:
            write_all(own, chunk, where, offset)
            offset = None if offset is None else offset + len(chunk)
            yield chunk
    finally:
        os.close(own)


def _cloned(blob: FileBlob, descriptor: int) -> bool:
    """Clones the blob's file into the empty destination file (reflink); returns whether it did."""
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
    """Copies the bytes in the kernel, unread; returns whether it did. If the file systems cannot, nothing is copied."""
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


def write_all(descriptor: int, data: bytes | memoryview, where: str, offset: int | None = None) -> None:
    """Writes all bytes at the descriptor's position, or at an offset. Raises `DestinationError` with `where`, and
    `BrokenPipeError` unchanged."""
    view = memoryview(data)
    try:
        while view:
            count = os.write(descriptor, view) if offset is None else os.pwrite(descriptor, view, offset)
            offset = None if offset is None else offset + count
            view = view[count:]
    except BrokenPipeError:
        raise
    except OSError as error:
        raise unwritable(where, error) from None


def write_document(directory: str | OpenDirectory, name: str, data: bytes) -> None:
    """Writes a small file, which replaces the old one as a whole."""
    temporary = Temporary(directory)
    try:
        temporary.write(data)
        temporary.replace(name)
    finally:
        temporary.discard()


def exists(path: str) -> DestinationError:
    return DestinationError("exists already", path, hint="--force replaces it")


def unwritable(path: str, error: OSError) -> DestinationError:
    return DestinationError(f"cannot be written: {error.strerror or error}", path)
