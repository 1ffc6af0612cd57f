"""A directory on disk as entries of an image.

Every access uses a descriptor of a directory that was opened without following a link, so nothing outside is read even
if the directory is changed meanwhile; a change that is noticed is a `TransportError`. Memory: the names of the
directories on the walk's current path, and a number for each file with several names.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from ocitool import limits
from ocitool.disk import holes
from ocitool.errors import FormatError, LimitError, TransportError
from ocitool.layers.entry import NUMBERS, WHITEOUT_PREFIX, Entry, Kind, Segments, Xattrs, shown_path
from ocitool.task import Task

_MAX_OPEN = 64
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_STEP = 1 << 20
_KINDS = {
    stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.DIRECTORY, stat.S_IFLNK: Kind.SYMLINK, stat.S_IFCHR: Kind.CHAR,
    stat.S_IFBLK: Kind.BLOCK, stat.S_IFIFO: Kind.FIFO,
}  # fmt: skip
_FILE_SYSTEM_XATTRS = (b"trusted.overlay.", b"user.overlay.", b"btrfs.", b"system.nfs4_acl")
SELINUX = b"security.selinux"
Root = int | str | os.PathLike[str]


def is_file_xattr(xattr: bytes) -> bool:
    """Returns whether an xattr on disk belongs to the file: labels of the host and bookkeeping of a file system do not."""
    return xattr != SELINUX and not xattr.startswith(_FILE_SYSTEM_XATTRS)


class HeldDirectories:
    """Open descriptors of the directories on one path below a root. At most `_MAX_OPEN` are held, however deep the
    path."""

    def __init__(self, root: Root) -> None:
        try:
            self.root = os.dup(root) if isinstance(root, int) else os.open(root, _DIRECTORY & ~os.O_NOFOLLOW)
        except OSError as error:
            where = None if isinstance(root, int) else os.fspath(root)
            raise TransportError(f"cannot be read: {error.strerror}", where) from None
        # (path, descriptor) of nested directories; those above the first were closed again.
        self._held: list[tuple[bytes, int]] = []

    def __enter__(self) -> HeldDirectories:
        return self

    def __exit__(self, *_: object) -> None:
        for _path, descriptor in self._held:
            os.close(descriptor)
        os.close(self.root)
        self._held = []

    def directory(self, path: bytes) -> int:
        """Returns a descriptor of a directory, valid until the next call. Raises `OSError` if there is no such
        directory."""
        held = self._held
        while held and held[-1][0] != path:
            last = held[-1][0]
            if path.startswith(last + b"/"):
                break
            os.close(held.pop()[1])
        if not path:
            return self.root
        at, current = held[-1] if held else (b"", self.root)
        if at == path:
            return current
        for name in path[len(at) + 1 if at else 0 :].split(b"/"):
            if name in (b"", b".", b".."):
                raise OSError(errno.EINVAL, "not a name")
            current = os.open(name, _DIRECTORY, dir_fd=current)
            at = at + b"/" + name if at else name
            held.append((at, current))
            if len(held) > _MAX_OPEN:
                os.close(held.pop(0)[1])
        return current


class WalkedPath(NamedTuple):
    """One path of a walk. `directory`: the descriptor of its parent, valid until the walk goes on; `name`: its name
    there (`.` for the root)."""

    path: bytes
    status: os.stat_result
    directory: int
    name: bytes


class ScannedPath(NamedTuple):
    """One path as an entry. `leader`: for a file with a link count above one, its first name in the walk (perhaps its
    only one); else None."""

    path: bytes
    entry: Entry
    leader: bytes | None


def walk(root: Root, task: Task) -> Iterator[WalkedPath]:
    """Yields everything in a directory, the root first, in the order of `Tree.walk`.

    Sockets are left out, with a notice; a notice also names times that no entry can hold and other file systems that
    are mounted inside. Raises `TransportError` if something cannot be read or changes meanwhile, `LimitError` for a
    path that is too long or deep.
    """
    sockets = odd = 0
    socket = mount = path = odd_path = b""
    try:
        with HeldDirectories(root) as below:
            top = os.fstat(below.root)
            yield WalkedPath(b"", top, below.root, b".")
            stack = [(b"", name) for name in _names(below.root)]
            while stack:
                parent, name = stack.pop()
                path = parent + b"/" + name if parent else name
                at = below.directory(parent)
                status = os.stat(name, dir_fd=at, follow_symlinks=False)
                kind = stat.S_IFMT(status.st_mode)
                if kind == stat.S_IFSOCK:
                    socket, sockets = socket or path, sockets + 1
                    continue
                if len(path) > limits.PATH_LENGTH or path.count(b"/") > limits.PATH_DEPTH:
                    raise LimitError("a path longer or deeper than a layer may hold", shown_path(path))
                if not -NUMBERS <= status.st_mtime_ns < NUMBERS:
                    odd_path, odd = odd_path or path, odd + 1
                yield WalkedPath(path, status, at, name)
                if kind == stat.S_IFDIR:
                    task.check()
                    if status.st_dev != top.st_dev:
                        mount = mount or path
                    stack.extend((path, child) for child in _names(below.directory(path)))
    except OSError as error:
        raise _read_error(path, error) from None
    if sockets:
        more = f" and {sockets - 1} more" if sockets > 1 else ""
        task.notice("socket", f"left out: an image cannot hold the socket {shown_path(socket)}{more}")
    if odd:
        notice_odd_time(odd_path, odd - 1, task)
    if mount:
        task.notice("mount", f"another file system is mounted at {shown_path(mount)}: what it holds counts")


def notice_odd_time(path: bytes, others: int, task: Task) -> None:
    """Adds a notice about a file whose mtime no entry can hold, and `others` more such files."""
    more = f", and of {others:,} more" if others else ""
    text = f"its modification time{more} is not within the years 1677 to 2262: the nearest stands for it"
    task.notice("time", f"{shown_path(path)}: {text}")


def _names(descriptor: int) -> list[bytes]:
    """Returns the names in a directory, the last first."""
    return sorted(map(os.fsencode, os.listdir(descriptor)), reverse=True)


def first_paths(paths: Sequence[bytes]) -> str:
    """Returns the first of many paths, for a message."""
    return ", ".join(map(shown_path, paths[:_MAX_NAMED])) + (", ..." if len(paths) > _MAX_NAMED else "")


_MAX_NAMED = 3


def _read_error(path: bytes, error: OSError) -> TransportError:
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE):
        return TransportError("changed while it was read", shown_path(path))
    return TransportError(f"cannot be read: {error.strerror}", shown_path(path))


def scan(root: Root, task: Task) -> Iterator[ScannedPath]:
    """Yields everything in a directory as entries, in the order of `walk`.

    Every name of a file has the file's own entry: a name whose leader is another path shall become a hard link to that.
    Raises what `walk` raises, and `FormatError` for a name that a layer cannot hold.
    """
    leaders: dict[tuple[int, int], bytes] = {}
    for seen in walk(root, task):
        refuse_whiteout(seen)
        leader = None
        if seen.status.st_nlink > 1 and not stat.S_ISDIR(seen.status.st_mode):
            leader = leaders.setdefault((seen.status.st_dev, seen.status.st_ino), seen.path)
        yield ScannedPath(seen.path, entry_of(seen), leader)


def refuse_whiteout(seen: WalkedPath) -> None:
    """Raises `FormatError` for a name that would be a whiteout in a layer."""
    if seen.name.startswith(WHITEOUT_PREFIX):
        raise FormatError(
            "a name that begins with .wh. means a deleted file in a layer", shown_path(seen.path), hint="rename or remove it"
        )


def entry_of(seen: WalkedPath) -> Entry:
    """Returns the entry of a path as it is on disk; a time out of range becomes the nearest one in range."""
    path, status, at, name = seen
    mode = status.st_mode
    kind = _KINDS[stat.S_IFMT(mode)]
    device = None
    link = b""
    if kind is Kind.CHAR or kind is Kind.BLOCK:
        device = (os.major(status.st_rdev), os.minor(status.st_rdev))
    size = status.st_size if kind is Kind.FILE else 0
    try:
        if kind is Kind.SYMLINK:
            link = os.readlink(name, dir_fd=at)
        xattrs = tuple(item for item in xattrs_at(at, name, mode) if is_file_xattr(item[0]))
    except OSError as error:
        raise _read_error(path, error) from None
    return Entry(
        path, kind, stat.S_IMODE(mode), status.st_uid, status.st_gid, _nearest(status.st_mtime_ns), size, link, 0, size,
        device, xattrs or None, None,
    )  # fmt: skip


def _nearest(mtime: int) -> int:
    return max(-NUMBERS, min(NUMBERS - 1, mtime))


def xattrs_at(at: int, name: bytes, mode: int) -> Xattrs:
    """Returns all xattrs of a name in a directory, sorted; none if the system or the file system does not support them."""
    if not hasattr(os, "listxattr"):
        return ()
    try:
        return _xattrs(b"/proc/self/fd/%d/%b" % (at, name))
    except FileNotFoundError:
        if os.path.exists("/proc/self/fd"):
            raise
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        return ()
    descriptor = os.open(name, _FILE, dir_fd=at)
    try:
        return _xattrs(descriptor)
    finally:
        os.close(descriptor)


def _xattrs(target: bytes | int) -> Xattrs:
    follow = isinstance(target, int)
    try:
        names = os.listxattr(target, follow_symlinks=follow)
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.EPERM):
            return ()
        raise
    if not names:
        return ()
    return tuple(sorted((os.fsencode(name), os.getxattr(target, name, follow_symlinks=follow)) for name in names))


def with_holes(root: Root | HeldDirectories, path: bytes, entry: Entry) -> Entry:
    """Returns the entry of a file below a directory with the holes that it has on disk. Raises as `open_file`."""
    if entry.kind != Kind.FILE or entry.size < holes.MIN_HOLES:
        return entry
    if not isinstance(root, HeldDirectories):
        with HeldDirectories(root) as below:
            return with_holes(below, path, entry)
    with _open_below(root, path) as descriptor:
        return holes.with_holes(descriptor, entry)


def open_file(root: Root | HeldDirectories, path: bytes, entry: Entry) -> Iterator[bytes]:
    """Yields the `entry.size` bytes of a regular file below a directory, of a sparse entry those of its segments; no
    link is followed.

    Raises `TransportError` if there are more or fewer bytes, if a hole has data, if it is not a regular file, or if it
    is written to meanwhile.
    """
    if not isinstance(root, HeldDirectories):
        with HeldDirectories(root) as below:
            yield from open_file(below, path, entry)
        return
    with _open_below(root, path) as descriptor:
        yield from _checked_content(descriptor, entry.size, entry.segments)


def content_at(seen: WalkedPath, segments: Segments | None = None) -> Iterator[bytes]:
    """Yields the bytes of a regular file of a walk, or of these segments of it, as `open_file` does."""
    with _open_at(seen.directory, seen.name, seen.path) as descriptor:
        yield from _checked_content(descriptor, seen.status.st_size, segments)


@contextmanager
def _open_below(below: HeldDirectories, path: bytes) -> Iterator[int]:
    parent, _, name = path.rpartition(b"/")
    try:
        at = below.directory(parent)
    except OSError as error:
        raise _read_error(path, error) from None
    with _open_at(at, name, path) as descriptor:
        yield descriptor


@contextmanager
def _open_at(at: int, name: bytes, path: bytes) -> Iterator[int]:
    """Opens a file; errors name its path."""
    try:
        descriptor = os.open(name, _FILE, dir_fd=at)
    except OSError as error:
        raise _read_error(path, error) from None
    try:
        yield descriptor
    except OSError as error:
        raise _read_error(path, error) from None
    except TransportError as error:
        raise error.at(shown_path(path)) from None
    finally:
        os.close(descriptor)


def _checked_content(descriptor: int, size: int, segments: Segments | None) -> Iterator[bytes]:
    before = os.fstat(descriptor)
    if stat.S_ISREG(before.st_mode) and before.st_size == size:
        wanted = size if segments is None else sum(length for _, length in segments)
        for piece in _all_bytes(descriptor, size) if segments is None else holes.segment_data(descriptor, size, segments):
            wanted -= len(piece)
            yield piece
        after = os.fstat(descriptor)
        more = os.pread(descriptor, 1, size)  # files in /proc have a size of 0 and content
        if not wanted and not more and (after.st_size, after.st_mtime_ns) == (size, before.st_mtime_ns):
            return
    raise TransportError("changed while it was read")


def _all_bytes(descriptor: int, size: int) -> Iterator[bytes]:
    while size and (piece := os.read(descriptor, min(size, _STEP))):
        size -= len(piece)
        yield piece
