"""The files of a layout, for its maintenance: removing blobs, and sharing them between layouts.

Locks are those of `layout_lock`. Changing names needs the shared lock of the layout and that of the index; removing
blobs needs the exclusive lock of the layout. A blob is never changed in place, only removed or replaced by one with the
same bytes.
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

_ALGORITHMS = ("sha256", "sha512")
_CHANGED = "they changed meanwhile"


class StoredFile(NamedTuple):
    """The file of a blob. `key`: device and inode, which hard links have in common; `links`: the number of its hard
    links."""

    digest: Digest
    path: str
    size: int
    key: tuple[int, int]
    links: int
    mode: int
    owner: tuple[int, int]


class BlobFiles(NamedTuple):
    """The content of `blobs/`, sorted. `other_paths`: paths that are not names of blobs; they are never changed."""

    blobs: tuple[StoredFile, ...]
    other_paths: tuple[str, ...]


class LockedLayout:
    """A layout that is locked, shared or `exclusive`, until the context ends. `read_only`: nothing is written, so no
    directory is made and no temporary file removed."""

    def __init__(self, directory: str, task: Task, *, exclusive: bool = False, read_only: bool = False) -> None:
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
        self._read_only = read_only
        try:
            self.at = opened(directory)
        except OSError as error:
            raise atomic.unwritable(directory, error) from None
        blobs = self.at.stat("blobs")
        if exclusive and blobs is not None and stat.S_ISLNK(blobs.st_mode):
            raise DestinationError(
                "its blobs directory is a link to another directory, which other layouts may use", directory,
                hint="collect where the blobs are, with an index of all that needs them",
            )  # fmt: skip
        self._folders: dict[str, OpenDirectory] = {}
        self._lock = LayoutLock(self.at, task, exclusive=exclusive)
        self.swept = 0 if read_only else atomic.sweep(self.at, partials=exclusive)

    def __enter__(self) -> LockedLayout:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    def source(self) -> layout.Layout:
        """Returns the layout as a source, with its current index."""
        return layout.Layout(self.directory, self.at)

    @contextlib.contextmanager
    def index(self) -> Iterator[layout.Layout]:
        """Yields the layout as a source while the index is locked."""
        if self._read_only:
            yield self.source()
            return
        try:
            self.at.make_below("blobs")  # the lock is on this directory
        except OSError as error:
            raise atomic.unwritable(self.directory, error) from None
        with self._lock.index():
            yield self.source()

    def replace_index(self, raw: bytes) -> None:
        atomic.write_document(self.at, "index.json", raw)

    def add_layout_file(self) -> None:
        atomic.write_document(self.at, "oci-layout", layout.LAYOUT_FILE)

    def files(self) -> BlobFiles:
        """Returns the content of `blobs/`. The directories stay open: `remove` and `share` use these, not their paths."""
        try:
            top = self.at.below("blobs")
        except (FileNotFoundError, NotADirectoryError):
            return BlobFiles((), ())
        except OSError as error:
            raise unreadable(self.at.name("blobs"), error) from None
        return _listed(top, self._folders)

    def folder(self, file: StoredFile) -> OpenDirectory:
        """Returns the open directory of a file that `files` returned."""
        return self._folders[file.digest.algorithm]

    def remove(self, files: tuple[StoredFile, ...], task: Task) -> None:
        """Removes these blobs. The lock must be exclusive."""
        for file in files:
            task.check()
            at, name = self.folder(file), file.digest.encoded
            try:
                found = at.stat(name)
                # If it is another file, a process without the lock replaced it.
                if found is not None and (found.st_dev, found.st_ino) == file.key:
                    at.unlink(name)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise DestinationError(f"cannot be removed: {error.strerror}", file.path) from None
        for at in {file.digest.algorithm: self.folder(file) for file in files}.values():
            at.sync()


def blob_files(directory: str) -> BlobFiles:
    """Returns the files of a layout's blobs. Raises `TransportError` if a directory cannot be read."""
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
    other_paths: list[str] = []
    for algorithm, path, status in _children(top):
        if algorithm not in _ALGORITHMS or not stat.S_ISDIR(status.st_mode):
            other_paths.append(path)
            continue
        try:
            folder = held[algorithm] = OpenDirectory(path, top.open(algorithm, os.O_RDONLY | os.O_DIRECTORY))
        except OSError as error:
            raise unreadable(path, error) from None
        for name, below, inner in _children(folder):
            try:
                digest = Digest.parse(f"{algorithm}:{name}")
            except FormatError:
                other_paths.append(below)
                continue
            if not stat.S_ISREG(inner.st_mode):
                other_paths.append(below)
                continue
            blobs.append(
                StoredFile(
                    digest, below, inner.st_size, (inner.st_dev, inner.st_ino), inner.st_nlink, inner.st_mode,
                    (inner.st_uid, inner.st_gid),
                )
            )  # fmt: skip
    return BlobFiles(tuple(blobs), tuple(other_paths))


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


def is_intact(store: LockedLayout, file: StoredFile, task: Task) -> bool:
    """Reads a blob's file and returns whether its bytes match its digest."""
    opened = _open_listed(store, file)
    return _is_intact(FileBlob(opened, 0, file.size, file.digest), file, task)


def _open_listed(store: LockedLayout, file: StoredFile) -> OpenFile:
    """Opens the file that has a listed name now, in the directory in which it was listed."""
    try:
        return OpenFile(file.path, descriptor=store.folder(file).read(file.digest.encoded))
    except OSError as error:
        raise unreadable(file.path, error) from None


def _is_intact(blob: FileBlob, file: StoredFile, task: Task) -> bool:
    try:
        for chunk in verified(blob.chunks(), file.digest, file.size):
            task.check()
            task.advance(file.digest.short, len(chunk), file.size)
    except IntegrityError:
        return False
    return True


def share(kept: tuple[LockedLayout, StoredFile], other: tuple[LockedLayout, StoredFile], task: Task) -> str:
    """Makes `other` share its bytes with `kept`. Returns `linked`; `cloned` if it cannot be a hard link and the file
    system has reflinks; or the reason why neither is possible. Each is a file and the layout that it belongs to, and
    both were found to be intact.

    A hard link has one mode and one owner. So files that differ in these are not linked, nor is one with an access
    control list, which may let more users change it. The name of `other` leads to a complete blob at every moment: the
    new file is made beside it and renamed over it."""
    (_, first), (store, second) = kept, other
    if first.key[0] != second.key[0]:
        return "they are on different file systems"
    source = _open_listed(*kept)
    status = os.fstat(source.descriptor)
    if (status.st_dev, status.st_ino, status.st_size) != (*first.key, first.size):
        return _CHANGED
    same_attributes = stat.S_IMODE(first.mode) == stat.S_IMODE(second.mode) and first.owner == second.owner
    has_acl = _has_acl(source)
    if same_attributes and not has_acl:
        temporary = f".ocitool-{os.urandom(8).hex()}.part"
        try:
            os.fsync(source.descriptor)  # its writer may not have: without this, a power failure could lose the only copy
            os.link(
                first.digest.encoded, temporary, src_dir_fd=kept[0].folder(first).descriptor,
                dst_dir_fd=store.at.descriptor, follow_symlinks=False,
            )  # fmt: skip
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise atomic.unwritable(store.directory, error) from None
        else:
            return _swap(temporary, first, store, second)
    reason = "they differ in mode or owner" if not same_attributes else "hard links are refused here"
    reason = "an access list says who else may change it" if same_attributes and has_acl else reason
    return _clone(source, first, store, second, reason, task)


def _has_acl(file: OpenFile) -> bool:
    """Returns whether a file has an access control list, which its mode does not show."""
    try:
        return "system.posix_acl_access" in os.listxattr(file.descriptor)
    except OSError:
        return False


def _is_same_file(at: OpenDirectory, name: str, file: StoredFile) -> bool:
    found = at.stat(name)
    return found is not None and (found.st_dev, found.st_ino) == file.key


def _swap(temporary: str, kept: StoredFile, store: LockedLayout, other: StoredFile) -> str:
    folder, name = store.folder(other), other.digest.encoded
    try:
        if not _is_same_file(store.at, temporary, kept) or not _is_same_file(folder, name, other):
            return _CHANGED  # removed as an abandoned file, or changed by a process without the lock
        os.replace(temporary, name, src_dir_fd=store.at.descriptor, dst_dir_fd=folder.descriptor)
        folder.sync()
        return "linked"
    except FileNotFoundError:
        return _CHANGED
    except OSError as error:
        raise atomic.unwritable(other.path, error) from None
    finally:
        # Needed even after a rename: if both names were one file already, rename does nothing.
        with contextlib.suppress(OSError):
            store.at.unlink(temporary)


def _clone(source: OpenFile, kept: StoredFile, store: LockedLayout, other: StoredFile, reason: str, task: Task) -> str:
    """Clones the bytes of `kept` over `other`. They are hashed again: until they are cloned, the owner of `kept` can
    change them."""
    temporary = atomic.Temporary(store.at)
    try:
        try:
            fcntl.ioctl(temporary.descriptor, atomic.FICLONE, source.descriptor)
        except OSError:
            return reason
        made = OpenFile(temporary.path, descriptor=os.dup(temporary.descriptor))
        if made.size != kept.size or not _is_intact(FileBlob(made, 0, made.size, kept.digest), kept, task):
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
