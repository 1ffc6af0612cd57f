"""Blobs of a layout that were hashed before, or as they were written: what is on record here need not be read again before it
is relied on.

A record says that a file held the bytes of its digest when they were hashed, and is believed of that file as it was then: of
the same device, inode, size, mtime and ctime, in nanoseconds. Whatever changes a file gives it another ctime, which no program
can set, and so has a new file under an old inode number. Nothing is recorded, and nothing believed,

- of a file that others than the user may change: one that is not the user's own, or that group or others may write to, or whose
  directory is such a one (an access list that lets others write shows as a right of the group);
- of a file that any process had open for writing when its hashing began: who opened it while it was another's may still map it,
  and what is written to a mapped page gives no ctime until the page is stored;
- of a file that was changed less than `_SETTLED` before its hashing began: a second change within one tick of its clock
  would not show. One that was hashed as it was written by us needs to be older than one tick when it is recorded;
- on a file system that is not known to keep ctimes of its own (`_FILE_SYSTEMS`), as FAT and many of other machines are not;
- in a cache directory that is not the user's own, or is open to others (see `layers.cache`).

Each layout has a file of its own in the cache directory, with a checksum, which is replaced whole. Bounds: `_MOST` blobs a
layout, about 200 bytes each; `_LAYOUTS` layouts; those that were used last stay.
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

_MOST, _LAYOUTS = 50_000, 200
_SETTLED = 2_000_000_000
"""Nanoseconds: no clock of a file system has longer ticks."""
_TICK = 100_000_000
"""Nanoseconds: ten ticks of the clock that Linux takes the times of local files from."""
_FILE_SYSTEMS = frozenset({"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"})
_FORM = b"ocitool-verified-1"


class Verifications:
    """What is on record of one layout. Unless `cached`, or if the cache directory cannot be trusted or written, nothing is
    known and nothing kept. Several threads may use it."""

    def __init__(self, layout: str, *, cached: bool) -> None:
        self._layout = layout
        self.cached = cached
        self._known: dict[str, str] | None = None
        self._new: dict[str, str] = {}

    def has(self, digest: Digest, folder: OpenDirectory, descriptor: int) -> bool:
        """Whether the open file, a blob of this directory, is on record as it is now."""
        if not self.cached:
            return False
        if self._known is None:  # of two threads that are the first, both may read it
            at = _records(self._layout)
            self._known = _read(at, _name(self._layout)) if at is not None else {}
        name, status = str(digest), os.fstat(descriptor)
        if self._known.get(name) != _identity(status) or not _is_own(digest, folder, status):
            return False
        self._new[name] = self._known[name]  # used, so it stays
        return True

    def keep(self, digest: Digest, folder: OpenDirectory, before: os.stat_result, after: os.stat_result, began: int) -> None:
        """Notes that the file of this blob in a directory has this digest. `before`, `after`: what it was when its hashing
        began, at the time `began` in nanoseconds, and when it ended."""
        settled = max(before.st_mtime_ns, before.st_ctime_ns) < began - _SETTLED
        if settled and _identity(before) == _identity(after) and _is_own(digest, folder, after):
            self._new[str(digest)] = _identity(after)

    def keep_written(self, digest: Digest, folder: OpenDirectory, placed: os.stat_result, descriptor: int, at: int) -> None:
        """Notes that a blob was hashed as its file was written, which is open for reading. `placed`: what the file was when it
        had got its name; `at`: the time in nanoseconds. One that was written just then is left to the next run: a change in the
        same tick would not show."""
        status = os.fstat(descriptor)
        settled = status.st_ctime_ns < at - _TICK and is_settled(descriptor)
        if settled and _identity(placed) == _identity(status) and _is_own(digest, folder, status):
            self._new[str(digest)] = _identity(status)

    def save(self) -> None:
        """Writes what is new, beside what other processes have written meanwhile. A full or read-only disk costs the record,
        not the command."""
        before = self._known or {}
        if not self.cached or all(before.get(name) == one for name, one in self._new.items()):
            return
        at, file = _records(self._layout), _name(self._layout)
        if at is not None:
            known = _read(at, file)
            for name in self._new:
                known.pop(name, None)
            known.update(self._new)
            lines = [f"{name} {identity}\n" for name, identity in list(known.items())[-_MOST:]]
            _write(at, file, "".join(lines).encode())
            _trim(at)
        self._new = {}


def now() -> int:
    """For `Verifications.keep`."""
    return time.time_ns()


def is_settled(descriptor: int) -> bool:
    """Whether no process has a file open or mapped for writing, of which the kernel gives no lease to read; False for a file of
    another user, and if its file system has no leases. The descriptor is open for reading alone."""
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)  # ignored, should another process open it this very moment
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except (AttributeError, OSError):
        return False
    return True


def _records(layout: str) -> OpenDirectory | None:
    """The directory of the records; None if it cannot be trusted or written, or there are to be none of this layout."""
    from ocitool.layers.cache import default_directory

    if _file_system(os.path.join(layout, "blobs")) not in _FILE_SYSTEMS:
        return None
    try:
        return private_below(private_directory(default_directory()), "verified")
    except ValueError:
        return None


def _name(layout: str) -> str:
    """The file of a layout's records."""
    return hashlib.sha256(os.fsencode(os.path.realpath(layout))).hexdigest()


def _file_system(path: str) -> str | None:
    """The type of the file system that a directory is on, as Linux tells it: by the number of its mount, since other users may
    mount under names of any characters."""
    try:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with open(f"/proc/self/fdinfo/{directory}", "rb") as told:
                number = next(line.split()[1] for line in told if line.startswith(b"mnt_id:"))
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
    """Whether only the user can change a file, or what stands under its name: the file itself, and no link."""
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
    """What a file says by digest, those used last at the end; nothing if it is not as it was written."""
    try:
        with os.fdopen(at.read(name), "rb") as file:
            if not is_private_file(os.fstat(file.fileno())):
                return {}
            head, body = file.readline(256), file.read(_MOST * 512)
            os.utime(file.fileno())  # used, so it stays
    except OSError:
        return {}
    if head != _head(body):
        return {}
    return dict(line.split(" ", 1) for line in body.decode().splitlines())


def _head(body: bytes) -> bytes:
    return b"%s %s\n" % (_FORM, hashlib.sha256(body).hexdigest().encode())


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
    """Removes the files of the layouts that were used longest ago, beyond the bound; left-over temporaries age like them."""
    with contextlib.suppress(OSError):
        with os.scandir(at.descriptor) as found:
            files = sorted((one.stat(follow_symlinks=False).st_mtime_ns, one.name) for one in found)
        for _, name in files[:-_LAYOUTS]:
            at.unlink(name)
