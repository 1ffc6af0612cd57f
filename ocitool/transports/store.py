"""A layout as a store of many images: what its maintenance needs beneath the documents.

Locks are those of `layout_lock`. Whoever changes names holds the layout's lock shared and the index's lock; whoever removes
blobs holds the layout's lock alone. A blob is never changed in place, only removed or replaced by one with the same bytes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from ocitool.blob import FileBlob, OpenFile, unreadable
from ocitool.digest import Digest, verified
from ocitool.errors import DestinationError, FormatError, IntegrityError, NotFoundError
from ocitool.task import Task
from ocitool.transports import layout, whole
from ocitool.transports.layout_lock import LayoutLock

_KNOWN = ("sha256", "sha512")


class StoredFile(NamedTuple):
    """A blob's file. `key`: device and inode, which hard links share; `links`: names that the file has."""

    digest: Digest
    path: str
    size: int
    key: tuple[int, int]
    links: int
    mode: int
    owner: tuple[int, int]


class Files(NamedTuple):
    """All that stands in `blobs/`, in order. `strangers`: paths that name no blob; nobody here touches them."""

    blobs: tuple[StoredFile, ...]
    strangers: tuple[str, ...]


class Store:
    """A layout that is held: by its lock, shared or (`alone`) exclusive, until the context ends. `look`: nothing will be
    written, so nothing is made or swept either."""

    def __init__(self, directory: str, task: Task, *, alone: bool = False, look: bool = False) -> None:
        if not os.path.isdir(directory):
            if os.path.lexists(directory):
                raise FormatError("not an OCI layout: it is not a directory", directory)
            raise NotFoundError("no such directory", directory)
        if not os.path.lexists(os.path.join(directory, "index.json")):
            raise FormatError(
                "not an OCI layout: it has no index.json", directory,
                hint="without it nothing says which blobs are needed, so none is touched",
            )  # fmt: skip
        if alone and os.path.islink(os.path.join(directory, "blobs")):
            raise DestinationError(
                "its blobs are those of another directory, which other layouts may need", directory,
                hint="collect where the blobs are, with an index of all that needs them",
            )  # fmt: skip
        self.directory = directory
        self._look = look
        self._lock = LayoutLock(directory, task, exclusive=alone)
        self.swept = 0 if look else whole.sweep(directory, partials=alone)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    def source(self) -> layout.Layout:
        """The layout as it is now."""
        return layout.Layout(self.directory)

    @contextlib.contextmanager
    def index(self) -> Iterator[layout.Layout]:
        """The layout, and nobody else changes its names meanwhile."""
        if self._look:
            yield self.source()
            return
        try:
            os.makedirs(os.path.join(self.directory, "blobs"), exist_ok=True)  # it carries the lock
        except OSError as error:
            raise whole.unwritable(self.directory, error) from None
        with self._lock.index():
            yield self.source()

    def replace_index(self, raw: bytes) -> None:
        whole.write_document(self.directory, "index.json", raw)

    def add_layout_file(self) -> None:
        whole.write_document(self.directory, "oci-layout", layout.LAYOUT_FILE)

    def files(self) -> Files:
        return blob_files(self.directory)

    def remove(self, files: tuple[StoredFile, ...], task: Task) -> None:
        """Frees these blobs. Only for who holds the lock alone."""
        for file in files:
            task.check()
            try:
                os.unlink(file.path)
            except FileNotFoundError:
                continue  # somebody who takes no locks
            except OSError as error:
                raise DestinationError(f"cannot be removed: {error.strerror}", file.path) from None
        for directory in {os.path.dirname(file.path) for file in files}:
            whole.sync_directory(directory)


def blob_files(directory: str) -> Files:
    """The files of a layout's blobs as they are now. Raises `TransportError` where a directory cannot be read."""
    blobs: list[StoredFile] = []
    strangers: list[str] = []
    top = os.path.join(directory, "blobs")
    for algorithm, path, status in _children(top):
        if algorithm not in _KNOWN or not stat.S_ISDIR(status.st_mode):
            strangers.append(path)
            continue
        for name, below, inner in _children(path):
            try:
                digest = Digest.parse(f"{algorithm}:{name}")
            except FormatError:
                strangers.append(below)
                continue
            if not stat.S_ISREG(inner.st_mode):
                strangers.append(below)
                continue
            blobs.append(
                StoredFile(
                    digest, below, inner.st_size, (inner.st_dev, inner.st_ino), inner.st_nlink, inner.st_mode,
                    (inner.st_uid, inner.st_gid),
                )
            )  # fmt: skip
    return Files(tuple(blobs), tuple(strangers))


def _children(directory: str) -> Iterator[tuple[str, str, os.stat_result]]:
    try:
        with os.scandir(directory) as found:
            children = sorted(found, key=lambda child: child.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise unreadable(directory, error) from None
    for child in children:
        try:
            yield child.name, child.path, child.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise unreadable(child.path, error) from None


def sound(file: StoredFile, task: Task) -> bool:
    """Whether the file's bytes are what its digest says. Reads all of them."""
    blob = FileBlob(OpenFile(file.path), 0, file.size, file.digest)
    try:
        for chunk in verified(blob.chunks(), file.digest, file.size):
            task.check()
            task.advance(file.digest.short, len(chunk), file.size)
    except IntegrityError:
        return False
    return True


def share(kept: StoredFile, other: StoredFile, directory: str) -> str:
    """Makes `other`, a file of the layout `directory`, share its bytes with `kept`: `linked`, or `cloned` where it cannot be a
    hard link and the file system has reflinks; or says why not. Both were found `sound`.

    A hard link has one mode and one owner, so files that differ in them stay two files. At every moment `other.path` is a
    complete blob: the new name is made aside and renamed over it.
    """
    if kept.key[0] != other.key[0]:
        return "they are on different file systems"
    temporary = os.path.join(directory, f".ocitool-{os.urandom(8).hex()}.part")
    alike = stat.S_IMODE(kept.mode) == stat.S_IMODE(other.mode) and kept.owner == other.owner
    if alike:
        try:
            _sync(kept.path)  # whoever wrote it may not have: `other` may be the only copy that survives a power failure
            os.link(kept.path, temporary, follow_symlinks=False)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise whole.unwritable(directory, error) from None
        else:
            return _swap(temporary, kept, other)
    return _clone(kept, other, directory, "they differ in mode or owner" if not alike else "hard links are refused here")


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _swap(temporary: str, kept: StoredFile, other: StoredFile) -> str:
    try:
        made, old = os.lstat(temporary), os.lstat(other.path)
        if (made.st_dev, made.st_ino) != kept.key or (old.st_dev, old.st_ino) != other.key:
            return "they changed meanwhile"
        os.replace(temporary, other.path)
        whole.sync_directory(os.path.dirname(other.path))
        return "linked"
    except FileNotFoundError:
        return "they changed meanwhile"  # a sweeper, or somebody who takes no locks
    except OSError as error:
        raise whole.unwritable(other.path, error) from None
    finally:
        # Also where both names were one file already: then rename does nothing.
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def _clone(kept: StoredFile, other: StoredFile, directory: str, otherwise: str) -> str:
    temporary = whole.Temporary(directory)
    try:
        source = OpenFile(kept.path)
        try:
            fcntl.ioctl(temporary.descriptor, whole.FICLONE, source.descriptor)
        except OSError:
            return otherwise
        status = os.fstat(source.descriptor)
        if (status.st_dev, status.st_ino) != kept.key or status.st_size != kept.size:
            return "they changed meanwhile"
        try:
            if os.geteuid() == 0:
                os.fchown(temporary.descriptor, *other.owner)
            os.fchmod(temporary.descriptor, stat.S_IMODE(other.mode))
        except OSError as error:
            raise whole.unwritable(directory, error) from None
        temporary.replace(other.path)
        return "cloned"
    finally:
        temporary.discard()
