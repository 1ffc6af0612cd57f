"""Records of blobs of a layout that were hashed, so that later runs need not read them again before they rely on them.

A record says that a file had the bytes of its digest when it was hashed. It is valid while the file has the same device,
inode, size, mtime and ctime, in nanoseconds: every change of a file changes its ctime, which no program can set, and so does
a new file with an old inode number. Nothing is recorded or used

- for a file that other users may change: one of another owner, or that group or others may write to, or in such a directory
  (an access control list that lets others write shows in the rights of the group);
- for a file that any process had open for writing when hashing began: a process that opened it while another user owned it
  may still have it mapped, and writing to a mapped page changes the ctime only when the page is stored;
- for a file that changed less than `_SETTLED` before hashing began: a second change within one tick of the clock would not
  show. A file that was hashed while it was written must be older than one tick when it is recorded;
- on a file system that is not known to keep its own ctimes (`_FILE_SYSTEMS`), as FAT and many network file systems do not;
- in a cache directory that is not private to the user (see `layers.cache`).

Each layout has one file in the cache directory, with a checksum, which is replaced as a whole. Bounds: `_MAX_BLOBS` blobs for
a layout, about 200 bytes each; `_MAX_LAYOUTS` layouts. The most recently used ones are kept.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import signal
import stat
import time

from ocitool.digest import Digest
from ocitool.directories import OpenDirectory, is_private_file, private_below, private_directory

_MAX_BLOBS, _MAX_LAYOUTS = 50_000, 200
_SETTLED = 2_000_000_000
"""Nanoseconds: longer than a tick of the clock of any file system."""
_TICK = 100_000_000
"""Nanoseconds: ten ticks of the clock from which Linux takes the times of local files."""
_FILE_SYSTEMS = frozenset({"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"})
_FORMAT = b"ocitool-verified-1"


class Verifications:
    """The records of one layout. Without `cached`, or if the cache directory cannot be trusted or written, there are
    none. Used by several threads."""

    def __init__(self, layout: str, *, cached: bool) -> None:
        self._layout = layout
        self.cached = cached
        self._known: dict[str, str] | None = None
        self._new: dict[str, str] = {}

    def has(self, digest: Digest, folder: OpenDirectory, descriptor: int) -> bool:
        """Returns whether the open file, a blob in this directory, has a valid record."""
        if not self.cached:
            return False
        if self._known is None:  # two threads may both read the file, which does no harm
            at = _records(self._layout)
            self._known = _read(at, _name(self._layout)) if at is not None else {}
        name, status = str(digest), os.fstat(descriptor)
        if self._known.get(name) != _identity(status) or not _is_own(digest, folder, status):
            return False
        self._new[name] = self._known[name]  # recently used, so it is kept
        return True

    def record(self, digest: Digest, folder: OpenDirectory, before: os.stat_result, after: os.stat_result, began: int) -> None:
        """Records that a blob's file was hashed. `before`, `after`: its status when hashing began, at the time `began`
        in nanoseconds, and when it ended."""
        settled = max(before.st_mtime_ns, before.st_ctime_ns) < began - _SETTLED
        if settled and _identity(before) == _identity(after) and _is_own(digest, folder, after):
            self._new[str(digest)] = _identity(after)

    def record_written(self, digest: Digest, folder: OpenDirectory, placed: os.stat_result, descriptor: int, at: int) -> None:
        """Records that a blob was hashed while its file was written. `placed`: the status of the file when it got its
        name; `descriptor`: the file, open for reading; `at`: the time in nanoseconds. A file that was written just
        before is not recorded: a change in the same tick would not show."""
        status = os.fstat(descriptor)
        settled = status.st_ctime_ns < at - _TICK and is_settled(descriptor)
        if settled and _identity(placed) == _identity(status) and _is_own(digest, folder, status):
            self._new[str(digest)] = _identity(status)

    def save(self) -> None:
        """Writes the new records, merged with those that other processes wrote meanwhile. If the disk is full or
        read-only, the records are lost, and the command goes on."""
        before = self._known or {}
        if not self.cached or all(before.get(name) == one for name, one in self._new.items()):
            return
        at, file = _records(self._layout), _name(self._layout)
        if at is not None:
            known = _read(at, file)
            for name in self._new:
                known.pop(name, None)
            known.update(self._new)
            lines = [f"{name} {identity}\n" for name, identity in list(known.items())[-_MAX_BLOBS:]]
            _write(at, file, "".join(lines).encode())
            _trim(at)
        self._new = {}


def now() -> int:
    """Returns the time for `Verifications.record`."""
    return time.time_ns()


def is_settled(descriptor: int) -> bool:
    """Returns whether no process has a file open or mapped for writing, in which case the kernel grants a read lease;
    False for a file of another user, and on file systems without leases. The descriptor must be open for reading only."""
    try:
        # If another process opens the file just now, the kernel sends this signal, which is ignored by default.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except (AttributeError, OSError):
        return False
    return True


def _records(layout: str) -> OpenDirectory | None:
    """Returns the directory of the records; None if it cannot be trusted or written, or the layout is on a file system
    without records."""
    from ocitool.layers.cache import default_directory

    if _file_system(os.path.join(layout, "blobs")) not in _FILE_SYSTEMS:
        return None
    try:
        return private_below(private_directory(default_directory()), "verified")
    except ValueError:
        return None


def _name(layout: str) -> str:
    """Returns the name of a layout's file of records."""
    return hashlib.sha256(os.fsencode(os.path.realpath(layout))).hexdigest()


def _file_system(path: str) -> str | None:
    """Returns the type of the file system of a directory on Linux. It is found by the number of the mount: other users
    may mount under names with any characters."""
    try:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with open(f"/proc/self/fdinfo/{directory}", "rb") as fdinfo:
                number = next(line.split()[1] for line in fdinfo if line.startswith(b"mnt_id:"))
        finally:
            os.close(directory)
        with open("/proc/self/mountinfo", "rb") as mounts:
            for line in mounts:
                mount, _, what = line.partition(b" - ")
                if mount.startswith(number + b" "):
                    return what.split(b" ")[0].decode("ascii", "replace")
    except (OSError, StopIteration):
        pass
    return None


def _identity(status: os.stat_result) -> str:
    return f"{status.st_dev} {status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def _is_own(digest: Digest, folder: OpenDirectory, status: os.stat_result) -> bool:
    """Returns whether only the user can change a file and what its name leads to: the file itself, not a link."""
    with contextlib.suppress(OSError):
        named, directory = folder.stat(digest.encoded), os.fstat(folder.descriptor)
        return (
            named is not None
            and os.path.samestat(named, status)
            and status.st_dev == directory.st_dev
            and all(
                one.st_uid == os.geteuid() and not one.st_mode & (stat.S_IWGRP | stat.S_IWOTH) for one in (status, directory)
            )
        )
    return False


def _read(at: OpenDirectory, name: str) -> dict[str, str]:
    """Returns the records in a file by digest, the most recently used last; none if the checksum does not match."""
    try:
        with os.fdopen(at.read(name), "rb") as file:
            if not is_private_file(os.fstat(file.fileno())):
                return {}
            head, body = file.readline(256), file.read(_MAX_BLOBS * 512)
            os.utime(file.fileno())  # recently used, so it is kept
    except OSError:
        return {}
    if head != _head(body):
        return {}
    return dict(line.split(" ", 1) for line in body.decode().splitlines())


def _head(body: bytes) -> bytes:
    return b"%s %s\n" % (_FORMAT, hashlib.sha256(body).hexdigest().encode())


def _write(at: OpenDirectory, name: str, body: bytes) -> None:
    temporary = f"{name}.{os.urandom(8).hex()}"
    try:
        with os.fdopen(at.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(_head(body) + body)
        os.replace(temporary, name, src_dir_fd=at.descriptor, dst_dir_fd=at.descriptor)
    except OSError:
        with contextlib.suppress(OSError):
            at.unlink(temporary)


def _trim(at: OpenDirectory) -> None:
    """Removes the files of the least recently used layouts beyond the bound; abandoned temporary files age in the same
    way."""
    with contextlib.suppress(OSError):
        with os.scandir(at.descriptor) as found:
            files = sorted((one.stat(follow_symlinks=False).st_mtime_ns, one.name) for one in found)
        for _, name in files[:-_MAX_LAYOUTS]:
            at.unlink(name)
