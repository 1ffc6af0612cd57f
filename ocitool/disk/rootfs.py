"""The one class that creates files in a root file system; everything that unpacks an image uses it.

Contents are written first, each to a staging file with all its attributes, while the layers are read. When the merged
tree is known, its directories are made and the staged files are renamed into them. The kernel never resolves a path of
an image: every call names one new file in a directory that this class made and holds by a descriptor. So no link of an
image is followed, whatever its layers contain.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from threading import Condition
from typing import NamedTuple

from ocitool.disk.snapshot import CAPABILITY, ROOTLESS, IdRange, capability_for_namespace, owner_xattr
from ocitool.disk.staging_directory import OPEN_DIRECTORY, DirectoryMode, DirectoryStack
from ocitool.errors import CancelledError, DestinationError, FormatError, OcitoolError, UsageError
from ocitool.interrupts import undisturbed
from ocitool.layers.entry import Entry, Kind, Segments, Xattrs, shown_path
from ocitool.task import Task
from ocitool.trees.nodes import Directory
from ocitool.trees.tree import Tree

ReadContent = Callable[[int], Iterable[bytes | memoryview]]
"""A function from a number of bytes to that many next bytes of a file's content, in chunks."""

_STAGING = b"staging"
_STEP = 0.1
_PIECE = 1 << 20
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NEVER_SET = frozenset({b"security.selinux"})
_MAJORS, _MINORS = 1 << 12, 1 << 20
_NOT_STORED = (errno.EOPNOTSUPP, errno.ENOTSUP)
_FILE, _SYMLINK, _HARDLINK, _CHAR, _BLOCK, _FIFO = (
    Kind.FILE, Kind.SYMLINK, Kind.HARDLINK, Kind.CHAR, Kind.BLOCK, Kind.FIFO,
)  # fmt: skip


class Ownership(NamedTuple):
    """The owners of the files that are made.

    `rootless`: all belong to the user, no device is made, and only xattrs `user.*` are set. Otherwise owners are exact,
    with the image's ids shifted by the maps, if any. `owner_xattr`: rootless files and directories carry the image's
    owner in `user.rootlesscontainers`.
    """

    rootless: bool = False
    uid_map: tuple[IdRange, ...] = ()
    gid_map: tuple[IdRange, ...] = ()
    owner_xattr: bool = False


def private_mode(owners: Ownership) -> DirectoryMode:
    """Returns the mode of a directory that closes the root file system in it to other users, who could use its setuid
    files and devices.

    With id maps the container's root must pass through it, so its group gets access, as containerd does.
    """
    ids = () if owners.rootless or not owners.uid_map else owners.gid_map  # else the image's root is the machine's
    group = next((one.outside for one in ids if one.inside == 0), None)
    return DirectoryMode(0o700) if group is None else DirectoryMode(0o710, group)


def parse_map(words: Sequence[str], flag: str) -> tuple[IdRange, ...]:
    """Parses id ranges, each CONTAINER:HOST[:SIZE]. `flag` names the option in errors.

    Raises `UsageError` for anything else, and for ranges that overlap.
    """
    found: list[IdRange] = []
    for word in words:
        parts = word.split(":")
        if len(parts) not in (2, 3) or not all(part.isascii() and part.isdigit() and len(part) < 11 for part in parts):
            raise UsageError(f"{flag} {word}: invalid id map", hint="CONTAINER:HOST[:SIZE], as in 0:100000:65536")
        inside, outside, size = int(parts[0]), int(parts[1]), int(parts[2]) if len(parts) == 3 else 1
        if not size or max(inside, outside) + size > 1 << 32:
            raise UsageError(f"{flag} {word}: invalid range of ids")
        for other in found:
            for start, its in ((inside, other.inside), (outside, other.outside)):
                if start < its + other.size and its < start + size:
                    raise UsageError(f"{flag} {word}: overlaps with another range")
        found.append(IdRange(inside, outside, size))
    return tuple(found)


class Rootfs:
    """Makes root file systems in the private directory `work` (a descriptor, not owned) from one stock of staged files.

    `stage` and `copy_staged` may be called from several threads, everything else from one. `begin` makes a root the
    current directory; `enter` makes a directory in the current one, `put` and `whiteout` make names in it, `leave` sets
    its attributes and returns to its parent, until the root is left too. `place_tree` does all of that for a merged
    tree.

    At most a few dozen descriptors are open. The memory is that of one path. All methods raise `DestinationError` if
    the file system refuses.
    """

    def __init__(self, work: int, owners: Ownership, task: Task) -> None:
        self.owners = owners
        self.bytes_written = 0
        """Bytes of file contents written so far."""
        self._work = work
        self._task = task
        self._ids: dict[tuple[int, int], tuple[int, int]] = {}
        self._not_set: Counter[str] = Counter()
        self._lock = Condition()
        self._staging_now = 0
        self._closed = False
        self._stack: DirectoryStack | None = None
        self._staging = -1
        try:
            os.mkdir(_STAGING, 0o700, dir_fd=work)
            self._staging = os.open(_STAGING, OPEN_DIRECTORY, dir_fd=work)
            self._own, self._umask = self._probe()
        except OSError as error:
            raise self._error(error, b"") from None

    def _probe(self) -> tuple[tuple[int, int], int]:
        """Returns owner and umask of files made here, found by making one."""
        descriptor = os.open(b"probe", _CREATE, 0o777, dir_fd=self._staging)
        status = os.fstat(descriptor)
        os.close(descriptor)
        os.unlink(b"probe", dir_fd=self._staging)
        return (status.st_uid, status.st_gid), 0o777 & ~status.st_mode

    def __enter__(self) -> Rootfs:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def clear(self) -> None:
        """Removes the staged files that are left, and the staging directory: nothing more can be staged."""
        try:
            with os.scandir(self._staging) as left:
                for item in left:
                    os.unlink(item.name, dir_fd=self._staging)
            os.rmdir(_STAGING, dir_fd=self._work)
        except OSError as error:
            raise self._error(error, b"") from None

    def close(self) -> None:
        """Closes all descriptors once no thread is staging; threads that still stage are cancelled."""
        with undisturbed(), self._lock:
            self._closed = True
            while self._staging_now:  # only after an error: whatever those threads wait for ends with the task
                self._task.cancel()
                self._lock.wait(_STEP)
        if self._stack is not None:
            self._stack.close()
            os.close(self._stack.current)
            self._stack = None
        if self._staging >= 0:
            os.close(self._staging)
            self._staging = -1

    # Contents, from several threads

    def stage(self, ref: int, entry: Entry, take: ReadContent) -> None:
        """Stages a regular file with all its attributes; `put` finds it by `ref`. `take` gives its content."""
        with self._lock:
            if self._closed:
                raise CancelledError("interrupted")
            self._staging_now += 1
        try:
            self._stage(ref, entry, take)
        finally:
            with self._lock:
                self._staging_now -= 1
                self.bytes_written += entry.stored
                if self._closed:
                    self._lock.notify_all()

    def copy_staged(self, ref: int, other: int, entry: Entry) -> None:
        """Stages one more file, `other`, with the content of the file staged as `ref`."""
        try:
            descriptor = os.open(b"%x" % ref, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._staging)
        except OSError as error:
            raise self._error(error, entry.path) from None
        offsets = iter([offset for offset, length in entry.segments or ((0, entry.stored),) if length])

        def take(size: int) -> Iterator[bytes]:
            at = next(offsets)
            while size and (piece := os.pread(descriptor, min(size, _PIECE), at)):
                at, size = at + len(piece), size - len(piece)
                yield piece

        try:
            self.stage(other, entry, take)
        finally:
            os.close(descriptor)

    def _stage(self, ref: int, entry: Entry, take: ReadContent) -> None:
        mode = self._file_mode(entry.mode)
        made = mode & 0o777 | 0o600
        try:
            descriptor = os.open(b"%x" % ref, _CREATE, made, dir_fd=self._staging)
            try:
                if entry.segments is not None:
                    self._sparse(descriptor, entry.segments, entry.size, take)
                elif entry.stored:
                    for piece in take(entry.stored):
                        _write(descriptor, piece)
                self._set_attributes(descriptor, entry, mode, made & ~self._umask)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self._error(error, entry.path) from None

    def _sparse(self, descriptor: int, segments: Segments, size: int, take: ReadContent) -> None:
        for offset, length in segments:
            if length:
                os.lseek(descriptor, offset, os.SEEK_SET)
                for piece in take(length):
                    _write(descriptor, piece)
        os.ftruncate(descriptor, size)

    # Attributes

    def _file_mode(self, mode: int) -> int:
        """Returns the mode on disk: without root's rights, a file that its owner may not read could not be packed
        again."""
        return mode | 0o600 if self.owners.rootless and not mode & 0o400 else mode

    def _directory_mode(self, mode: int) -> int:
        return mode | 0o700 if self.owners.rootless and mode & 0o500 != 0o500 else mode

    def _owner(self, entry: Entry) -> tuple[int, int]:
        if self.owners.rootless:
            return self._own
        key = (entry.uid, entry.gid)
        found = self._ids.get(key)
        if found is None:
            if len(self._ids) > 1 << 16:
                self._ids.clear()
            found = self._ids[key] = (
                _mapped(self.owners.uid_map, entry.uid, "user", entry.path),
                _mapped(self.owners.gid_map, entry.gid, "group", entry.path),
            )
        return found

    def _set_attributes(self, descriptor: int, entry: Entry, mode: int, made: int) -> None:
        """Sets all attributes of an open file or directory, in an order in which none undoes another: a change of owner
        clears setuid and capabilities, a mode may forbid setting xattrs. `made`: the mode it was created with."""
        owner = self._owner(entry)
        if owner != self._own:
            os.fchown(descriptor, *owner)
        if entry.xattrs is not None:
            self._set_xattrs(descriptor, entry.xattrs, entry.path)
        if self.owners.owner_xattr and (entry.uid or entry.gid):
            self._set_owner_xattr(descriptor, entry.uid, entry.gid)
        if mode != made:
            os.fchmod(descriptor, mode)
        os.utime(descriptor, ns=(entry.mtime, entry.mtime))

    def _set_xattrs(self, target: int | bytes, xattrs: Xattrs, path: bytes) -> None:
        for name, value in xattrs:
            if name == CAPABILITY and self.owners.uid_map and not self.owners.rootless:
                value = capability_for_namespace(value, lambda number: _mapped(self.owners.uid_map, number, "user", path))
            if name in _NEVER_SET:
                self._count("selinux")
            elif self.owners.rootless and not name.startswith(b"user."):
                self._count("xattrs-not-allowed")
            elif not (self.owners.owner_xattr and name == ROOTLESS):  # `_set_owner_xattr` uses that name
                self._set_xattr(target, name, value)

    def _set_owner_xattr(self, descriptor: int, uid: int, gid: int) -> None:
        if 0 <= uid < 1 << 32 and 0 <= gid < 1 << 32:
            self._set_xattr(descriptor, ROOTLESS, owner_xattr(uid, gid))
        else:
            self._count("owners-out-of-range")

    def _set_xattr(self, target: int | bytes, name: bytes, value: bytes) -> None:
        try:
            if isinstance(target, int):
                os.setxattr(target, name, value)
            else:
                os.setxattr(target, name, value, follow_symlinks=False)
        except OSError as error:
            if error.errno in _NOT_STORED or (self.owners.rootless and error.errno in (errno.EPERM, errno.EACCES)):
                self._count("xattrs-not-stored")
                return
            raise

    def _count(self, what: str) -> None:
        with self._lock:
            self._not_set[what] += 1

    # Building a root

    def begin(self, name: bytes, *, at: int | None = None) -> None:
        """Makes a new root directory in `work`, or in the directory open as `at`, and makes it the current one."""
        assert self._stack is None
        parent = self._work if at is None else at
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
            self._stack = DirectoryStack(os.open(name, OPEN_DIRECTORY, dir_fd=parent))
        except OSError as error:
            raise self._error(error, b"") from None

    def enter(self, name: bytes) -> None:
        """Makes a new directory in the current one, and makes it the current one."""
        chain = self._open_stack()
        try:
            os.mkdir(name, 0o700, dir_fd=chain.current)
            chain.enter(name)
        except OSError as error:
            raise self._error(error, self._path(name)) from None

    def leave(self, entry: Entry, extra: Xattrs = ()) -> None:
        """Sets the final attributes of the current directory, and returns to its parent.

        `extra`: xattrs beyond the entry's; here it is an error if they cannot be set.
        """
        chain = self._open_stack()
        try:
            for name, value in extra:
                os.setxattr(chain.current, name, value)
            self._set_attributes(chain.current, entry, self._directory_mode(entry.mode), 0o700 & ~self._umask)
            if chain.names:
                chain.leave()
            else:
                os.close(chain.current)
                self._stack = None
        except OSError as error:
            raise self._error(error, self._path()) from None

    def put(self, name: bytes, ref: int, entry: Entry, *, shared: bool = False) -> None:
        """Makes a name that is not a directory in the current directory.

        `ref` and `entry` are those of the file itself, not of a hard link to it. `shared`: it has other names too.
        """
        here = self._open_stack().current
        try:
            if entry.kind == _FILE:
                if shared:
                    os.link(b"%x" % ref, name, src_dir_fd=self._staging, dst_dir_fd=here, follow_symlinks=False)
                else:
                    os.rename(b"%x" % ref, name, src_dir_fd=self._staging, dst_dir_fd=here)
            elif shared:
                staged = b"%x" % ref
                if not _exists(staged, self._staging):
                    self._special(staged, self._staging, entry)
                os.link(staged, name, src_dir_fd=self._staging, dst_dir_fd=here, follow_symlinks=False)
            else:
                self._special(name, here, entry)
        except OSError as error:
            raise self._error(error, self._path(name)) from None

    def whiteout(self, name: bytes) -> None:
        """Makes a whiteout of overlayfs: a character device 0/0 in the current directory."""
        try:
            os.mknod(name, stat.S_IFCHR | 0o600, os.makedev(0, 0), dir_fd=self._open_stack().current)
        except OSError as error:
            raise self._error(error, self._path(name)) from None

    def _special(self, name: bytes, where: int, entry: Entry) -> None:
        kind = entry.kind
        mode = self._file_mode(entry.mode)
        if kind == _SYMLINK:
            if not entry.link:
                raise FormatError("a symbolic link without a target", shown_path(self._path(name)))
            os.symlink(entry.link, name, dir_fd=where)
        elif kind == _FIFO:
            os.mkfifo(name, 0o600, dir_fd=where)
        elif kind in (_CHAR, _BLOCK):
            assert entry.device is not None
            if self.owners.rootless:
                self._count("devices")
                os.close(os.open(name, _CREATE, 0o600, dir_fd=where))
            else:
                major, minor = entry.device
                if major >= _MAJORS or minor >= _MINORS:
                    raise DestinationError(f"device {major}:{minor} is out of the kernel's range", shown_path(self._path(name)))
                kind_bits = stat.S_IFCHR if kind == _CHAR else stat.S_IFBLK
                os.mknod(name, kind_bits | 0o600, os.makedev(major, minor), dir_fd=where)
        else:
            raise FormatError("a hard link without a target", shown_path(self._path(name)))
        owner = self._owner(entry)
        if owner != self._own:
            os.chown(name, *owner, dir_fd=where, follow_symlinks=False)
        if entry.xattrs is not None:
            # There is no call for a name in a directory; the last component is not followed.
            self._set_xattrs(b"/proc/self/fd/%d/%s" % (where, name), entry.xattrs, entry.path)
        if kind != _SYMLINK and mode != 0o600 & ~self._umask:
            os.chmod(name, mode, dir_fd=where)
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=where, follow_symlinks=False)

    def place_tree(self, tree: Tree, name: bytes = b"rootfs") -> int:
        """Makes the whole tree as the directory `name`, and returns the number of its paths. All its files must be
        staged."""
        self.begin(name)
        directories: list[Directory] = [tree.root]
        below: list[Iterator[tuple[bytes, Directory | int]]] = [iter(tree.root.children.items())]
        indexes, inode_of, shared_refs = tree.indexes, tree.inode, tree.shared
        put, enter = self.put, self.enter
        rename, staging = os.rename, self._staging
        count = 0
        while below:
            for child, node in below[-1]:
                count += 1
                if isinstance(node, Directory):
                    enter(child)
                    directories.append(node)
                    below.append(iter(node.children.items()))
                    break
                ref = inode_of(node)
                shared = ref in shared_refs
                if not shared and indexes[tree.layer(ref)].kinds[tree.row(ref)] == _FILE:
                    try:  # as `put`, without the cost of making an `Entry`
                        rename(b"%x" % ref, child, src_dir_fd=staging, dst_dir_fd=self._here)
                    except OSError as error:
                        raise self._error(error, self._path(child)) from None
                else:
                    put(child, ref, tree.entry(ref), shared=shared)
            else:
                below.pop()
                self.leave(tree.entry(directories.pop().ref))
                if not count & 255:
                    self._task.check()
        self.clear()
        return count

    def notice_unset(self) -> None:
        """Adds notices of what could not be made as the image states it."""
        for code, count in self._not_set.items():
            self._task.notice(code, _NOTICES[code].format(count, "" if count == 1 else "s"))

    @property
    def _here(self) -> int:
        assert self._stack is not None
        return self._stack.current

    def _open_stack(self) -> DirectoryStack:
        assert self._stack is not None
        return self._stack

    def _path(self, name: bytes | None = None) -> bytes:
        names = self._stack.names if self._stack is not None else []
        return b"/".join([*names, name] if name is not None else names)

    def _error(self, error: OSError, path: bytes) -> OcitoolError:
        """Returns an error of the operating system as one of ours."""
        why = error.strerror or str(error)
        if error.errno in (errno.EPERM, errno.EINVAL) and not self.owners.rootless:
            return DestinationError(
                f"cannot be made as the image states it: {why}", shown_path(path),
                hint="--rootless makes all files your own, and needs no rights",
            )  # fmt: skip
        return DestinationError(f"cannot be written: {why}", shown_path(path))


_NOTICES = {
    "selinux": "{} SELinux label{} not set: they are the machine's own to give",
    "xattrs-not-allowed": "{} extended attribute{} that only root may set: left out",
    "xattrs-not-stored": "{} extended attribute{} that the destination's file system does not take: left out",
    "owners-out-of-range": "{} owner{} of numbers that user.rootlesscontainers cannot hold: left out",
    "devices": "{} device{} that only root may make: empty files stand for them",
}


def _write(descriptor: int, piece: bytes | memoryview) -> None:
    done = os.write(descriptor, piece)
    while done < len(piece):
        piece = memoryview(piece)[done:]
        done = os.write(descriptor, piece)


def _exists(name: bytes, where: int) -> bool:
    try:
        os.stat(name, dir_fd=where, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _mapped(ranges: tuple[IdRange, ...], number: int, what: str, path: bytes) -> int:
    for inside, outside, size in ranges:
        if inside <= number < inside + size:
            return outside + number - inside
    if ranges:
        raise DestinationError(
            f"{what} {number} is not in the id map", shown_path(path),
            hint=f"a --{what[0]}id-map that covers it, or --rootless",
        )  # fmt: skip
    if not 0 <= number < (1 << 32) - 1:
        raise DestinationError(f"{what} {number} is out of range", shown_path(path), hint="--rootless records it instead")
    return number
