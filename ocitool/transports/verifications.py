"""Blobs of a layout that were hashed before: what is on record here need not be read again before it is relied on.

A record says that a file held the bytes of its digest when they were hashed, and is believed of that file as it was then: of
the same device, inode, size, mtime and ctime, in nanoseconds. Whatever changes a file gives it another ctime, which no program
can set, and so has a new file under an old inode number. Nothing is recorded, and nothing believed,

- of a file that others than the user may change: one that is not the user's own, or that group or others may write to, or whose
  directory is such a one (an access list that lets others write shows as a right of the group);
- of a file that was changed less than `_SETTLED` before its hashing began: a second change within one tick of its clock
  would not show;
- in a cache directory that is not the user's own, or is open to others (see `layers.cache`).

Each layout has a file of its own in the cache directory, with a checksum, which is replaced whole. Bounds: `_MOST` blobs a
layout, about 200 bytes each; `_LAYOUTS` layouts; those that were used last stay.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import time

from ocitool.digest import Digest

_MOST, _LAYOUTS = 50_000, 200
_SETTLED = 2_000_000_000
"""Nanoseconds: no clock of a file system has longer ticks."""
_FORM = b"ocitool-verified-1"


class Verifications:
    """What is on record of one layout. Unless `cached`, or if the cache directory cannot be trusted or written, nothing is
    known and nothing kept. Several threads may use it."""

    def __init__(self, layout: str, *, cached: bool) -> None:
        self._layout = layout
        self._cached = cached
        self._known: dict[str, str] | None = None
        self._new: dict[str, str] = {}

    def has(self, digest: Digest, path: str, descriptor: int) -> bool:
        """Whether the open file at this path is on record as it is now."""
        if not self._cached:
            return False
        if self._known is None:  # of two threads that are the first, both may read it
            place = _place(self._layout)
            self._known = _read(place) if place is not None else {}
        name, status = str(digest), os.fstat(descriptor)
        if self._known.get(name) != _identity(status) or not _is_own(path, status):
            return False
        self._new[name] = self._known[name]  # used, so it stays
        return True

    def keep(self, digest: Digest, path: str, before: os.stat_result, after: os.stat_result, began: int) -> None:
        """Notes that the file at a path has this digest. `before`, `after`: what it was when its hashing began, at the time
        `began` in nanoseconds, and when it ended."""
        settled = max(before.st_mtime_ns, before.st_ctime_ns) < began - _SETTLED
        if settled and _identity(before) == _identity(after) and _is_own(path, after):
            self._new[str(digest)] = _identity(after)

    def save(self) -> None:
        """Writes what is new, beside what other processes have written meanwhile. A full or read-only disk costs the record,
        not the command."""
        before = self._known or {}
        if not self._cached or all(before.get(name) == one for name, one in self._new.items()):
            return
        place = _place(self._layout)
        if place is not None:
            known = _read(place)
            for name in self._new:
                known.pop(name, None)
            known.update(self._new)
            lines = [f"{name} {identity}\n" for name, identity in list(known.items())[-_MOST:]]
            _write(place, "".join(lines).encode())
            _trim(os.path.dirname(place))
        self._new = {}


def now() -> int:
    """For `Verifications.keep`."""
    return time.time_ns()


def _place(layout: str) -> str | None:
    """The file of a layout's records."""
    from ocitool.layers.cache import default_directory, refused

    cache = default_directory()
    if refused(cache, "verified") is not None:
        return None
    return os.path.join(cache, "verified", hashlib.sha256(os.fsencode(os.path.realpath(layout))).hexdigest())


def _identity(status: os.stat_result) -> str:
    return f"{status.st_dev} {status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def _is_own(path: str, status: os.stat_result) -> bool:
    """Whether only the user can change a file, or what stands under its name."""
    with contextlib.suppress(OSError):
        directory = os.stat(os.path.dirname(path))
        return stat.S_ISREG(status.st_mode) and all(
            one.st_uid == os.geteuid() and not one.st_mode & (stat.S_IWGRP | stat.S_IWOTH) for one in (status, directory)
        )
    return False


def _read(path: str) -> dict[str, str]:
    """What a file says by digest, those used last at the end; nothing if it is not as it was written."""
    try:
        with open(path, "rb") as file:
            head, body = file.readline(256), file.read(_MOST * 512)
        os.utime(path)  # used, so it stays
    except OSError:
        return {}
    if head != _head(body):
        return {}
    return dict(line.split(" ", 1) for line in body.decode().splitlines())


def _head(body: bytes) -> bytes:
    return b"%s %s\n" % (_FORM, hashlib.sha256(body).hexdigest().encode())


def _write(path: str, body: bytes) -> None:
    temporary = f"{path}.{os.urandom(8).hex()}"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(_head(body) + body)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def _trim(directory: str) -> None:
    """Removes the files of the layouts that were used longest ago, beyond the bound; left-over temporaries age like them."""
    with contextlib.suppress(OSError):
        with os.scandir(directory) as found:
            files = sorted((one.stat(follow_symlinks=False).st_mtime_ns, one.path) for one in found)
        for _, path in files[:-_LAYOUTS]:
            os.unlink(path)
