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

from ocitool import atomic
from ocitool.blob import FileBlob, OpenFile, unreadable
from ocitool.digest import Digest, verified
from ocitool.directories import OpenDirectory, opened
from ocitool.errors import DestinationError, FormatError, IntegrityError, NotFoundError
from ocitool.task import Task
from ocitool.transports import layout
from ocitool.transports.layout_lock import LayoutLock

_KNOWN = ("sha256", "sha512")
_CHANGED = "they changed meanwhile"


class StoredFile(NamedTuple):
    """A blob's file. `key`: device and inode, which hard links share; `links`: names that the file has."""

    digest: Digest
    path: str
    size: int
    key: tuple[int, int]
    links: int
    mode: int
    owner: tuple[int, int]


class BlobFiles(NamedTuple):
    """All that stands in `blobs/`, in order. `strangers`: paths that name no blob; nobody here touches them."""

    blobs: tuple[StoredFile, ...]
    strangers: tuple[str, ...]


class HeldLayout:
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
        self.directory = directory
        self._look = look
        try:
            self.at = opened(directory)
        except OSError as error:
            raise atomic.unwritable(directory, error) from None
        blobs = self.at.stat("blobs")
        if alone and blobs is not None and stat.S_ISLNK(blobs.st_mode):
            raise DestinationError(
                "its blobs directory is a link to another directory, which other layouts may use", directory,
                hint="collect where the blobs are, with an index of all that needs them",
            )  # fmt: skip
        self._held: dict[str, OpenDirectory] = {}
        self._lock = LayoutLock(self.at, task, exclusive=alone)
        self.swept = 0 if look else atomic.sweep(self.at, partials=alone)

    def __enter__(self) -> HeldLayout:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    def source(self) -> layout.Layout:
        """The layout as it is now."""
        return layout.Layout(self.directory, self.at)

    @contextlib.contextmanager
    def index(self) -> Iterator[layout.Layout]:
        """The layout, and nobody else changes its names meanwhile."""
        if self._look:
            yield self.source()
            return
        try:
            self.at.make_below("blobs")  # it carries the lock
        except OSError as error:
            raise atomic.unwritable(self.directory, error) from None
        with self._lock.index():
            yield self.source()

    def replace_index(self, raw: bytes) -> None:
        atomic.write_document(self.at, "index.json", raw)

    def add_layout_file(self) -> None:
        atomic.write_document(self.at, "oci-layout", layout.LAYOUT_FILE)

    def files(self) -> BlobFiles:
        """What stands in `blobs/` now. The directories are held: what is removed or shared later is in them."""
        try:
            top = self.at.below("blobs")
        except (FileNotFoundError, NotADirectoryError):
            return BlobFiles((), ())
        except OSError as error:
            raise unreadable(self.at.name("blobs"), error) from None
        return _listed(top, self._held)

    def folder(self, file: StoredFile) -> OpenDirectory:
        """The directory of a file that `files` listed."""
        return self._held[file.digest.algorithm]

    def remove(self, files: tuple[StoredFile, ...], task: Task) -> None:
        """Frees these blobs. Only for who holds the lock alone."""
        for file in files:
            task.check()
            at, name = self.folder(file), file.digest.encoded
            try:
                found = at.stat(name)
                if found is not None and (found.st_dev, found.st_ino) == file.key:  # else of somebody who takes no locks
                    at.unlink(name)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise DestinationError(f"cannot be removed: {error.strerror}", file.path) from None
        for at in {file.digest.algorithm: self.folder(file) for file in files}.values():
            at.sync()


def blob_files(directory: str) -> BlobFiles:
    """The files of a layout's blobs as they are now. Raises `TransportError` where a directory cannot be read."""
    path = os.path.join(directory, "blobs")
    try:
        top = OpenDirectory(path)
    except (FileNotFoundError, NotADirectoryError):
        return BlobFiles((), ())
    except OSError as error:
        raise unreadable(path, error) from None
    return _listed(top, {})


def _listed(top: OpenDirectory, held: dict[str, OpenDirectory]) -> BlobFiles:
    """`held` is given the directory of each algorithm."""
    blobs: list[StoredFile] = []
    strangers: list[str] = []
    for algorithm, path, status in _children(top):
        if algorithm not in _KNOWN or not stat.S_ISDIR(status.st_mode):
            strangers.append(path)
            continue
        try:
            folder = held[algorithm] = OpenDirectory(path, top.open(algorithm, os.O_RDONLY | os.O_DIRECTORY))
        except OSError as error:
            raise unreadable(path, error) from None
        for name, below, inner in _children(folder):
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
    return BlobFiles(tuple(blobs), tuple(strangers))


def _children(at: OpenDirectory) -> Iterator[tuple[str, str, os.stat_result]]:
    try:
        with os.scandir(at.descriptor) as found:
            names = sorted(child.name for child in found)
    except OSError as error:
        raise unreadable(at.path, error) from None
    for name in names:
        try:
            status = at.stat(name)
        except OSError as error:
            raise unreadable(at.name(name), error) from None
        if status is not None:
            yield name, at.name(name), status


def sound(store: HeldLayout, file: StoredFile, task: Task) -> bool:
    """Whether the bytes of what now has a file's name are what its digest says. Reads all of them."""
    opened = _opened(store, file)
    return _sound(FileBlob(opened, 0, file.size, file.digest), file, task)


def _opened(store: HeldLayout, file: StoredFile) -> OpenFile:
    """What has a listed file's name now, in the directory where it was listed."""
    try:
        return OpenFile(file.path, descriptor=store.folder(file).read(file.digest.encoded))
    except OSError as error:
        raise unreadable(file.path, error) from None


def _sound(blob: FileBlob, file: StoredFile, task: Task) -> bool:
    try:
        for chunk in verified(blob.chunks(), file.digest, file.size):
            task.check()
            task.advance(file.digest.short, len(chunk), file.size)
    except IntegrityError:
        return False
    return True


def share(kept: tuple[HeldLayout, StoredFile], other: tuple[HeldLayout, StoredFile], task: Task) -> str:
    """Makes `other` share its bytes with `kept`: `linked`, or `cloned` where it cannot be a hard link and the file system has
    reflinks; or says why not. Each is a file and the layout that it was listed in, and both were found `sound`.

    A hard link has one mode and one owner, so files that differ in them stay two files, and so does one with an access list, by
    which more users might change it. At every moment the name of `other` is that of a complete blob: the new one is made aside
    and renamed over it.
    """
    (_, first), (store, second) = kept, other
    if first.key[0] != second.key[0]:
        return "they are on different file systems"
    source = _opened(*kept)
    status = os.fstat(source.descriptor)
    if (status.st_dev, status.st_ino, status.st_size) != (*first.key, first.size):
        return _CHANGED
    alike = stat.S_IMODE(first.mode) == stat.S_IMODE(second.mode) and first.owner == second.owner
    listed = _has_acl(source)
    if alike and not listed:
        temporary = f".ocitool-{os.urandom(8).hex()}.part"
        try:
            os.fsync(source.descriptor)  # its writer may not have: `other` may be the only copy that survives a power failure
            os.link(
                first.digest.encoded, temporary, src_dir_fd=kept[0].folder(first).descriptor,
                dst_dir_fd=store.at.descriptor, follow_symlinks=False,
            )  # fmt: skip
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise atomic.unwritable(store.directory, error) from None
        else:
            return _swap(temporary, first, store, second)
    otherwise = "they differ in mode or owner" if not alike else "hard links are refused here"
    otherwise = "an access list says who else may change it" if alike and listed else otherwise
    return _clone(source, first, store, second, otherwise, task)


def _has_acl(file: OpenFile) -> bool:
    """Whether an access list says who else may read or write a file: its mode does not tell of whom."""
    try:
        return "system.posix_acl_access" in os.listxattr(file.descriptor)
    except OSError:
        return False


def _is(at: OpenDirectory, name: str, file: StoredFile) -> bool:
    found = at.stat(name)
    return found is not None and (found.st_dev, found.st_ino) == file.key


def _swap(temporary: str, kept: StoredFile, store: HeldLayout, other: StoredFile) -> str:
    folder, name = store.folder(other), other.digest.encoded
    try:
        if not _is(store.at, temporary, kept) or not _is(folder, name, other):
            return _CHANGED  # by a sweeper, or a process that takes no locks
        os.replace(temporary, name, src_dir_fd=store.at.descriptor, dst_dir_fd=folder.descriptor)
        folder.sync()
        return "linked"
    except FileNotFoundError:
        return _CHANGED
    except OSError as error:
        raise atomic.unwritable(other.path, error) from None
    finally:
        # Also where both names were one file already: then rename does nothing.
        with contextlib.suppress(OSError):
            store.at.unlink(temporary)


def _clone(source: OpenFile, kept: StoredFile, store: HeldLayout, other: StoredFile, otherwise: str, task: Task) -> str:
    """The copy is hashed again: until it is one, the owner of `kept` can change it."""
    temporary = atomic.Temporary(store.at)
    try:
        try:
            fcntl.ioctl(temporary.descriptor, atomic.FICLONE, source.descriptor)
        except OSError:
            return otherwise
        made = OpenFile(temporary.path, descriptor=os.dup(temporary.descriptor))
        if made.size != kept.size or not _sound(FileBlob(made, 0, made.size, kept.digest), kept, task):
            return _CHANGED
        try:
            if os.geteuid() == 0:
                os.fchown(temporary.descriptor, *other.owner)
            os.fchmod(temporary.descriptor, stat.S_IMODE(other.mode))
        except OSError as error:
            raise atomic.unwritable(store.directory, error) from None
        temporary.replace(other.digest.encoded, store.folder(other))
        return "cloned"
    finally:
        temporary.discard()
