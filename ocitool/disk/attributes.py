"""Owners, modes, times and extended attributes of files that are made, as the image states them or as the user may set them."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Sequence
from threading import Lock
from typing import NamedTuple

from ocitool.disk.snapshot import CAPABILITY, ROOTLESS, IdRange, capability_for_namespace, owner_xattr
from ocitool.disk.staging_directory import DirectoryMode
from ocitool.errors import DestinationError, OcitoolError, UsageError
from ocitool.layers.entry import Entry, Xattrs, shown_path
from ocitool.task import Task

_NEVER_SET = frozenset({b"security.selinux"})
_NOT_STORED = (errno.EOPNOTSUPP, errno.ENOTSUP)


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


class Attributes:
    """Sets the attributes of files. Its methods may be called from several threads.

    `own`: owner and group of a file that this process makes, `umask`: the bits that a new file does not get.
    """

    def __init__(self, owners: Ownership, own: tuple[int, int], umask: int) -> None:
        self.owners = owners
        self.own = own
        self.umask = umask
        self._ids: dict[tuple[int, int], tuple[int, int]] = {}
        self._not_set: Counter[str] = Counter()
        self._lock = Lock()

    def file_modes(self, mode: int) -> tuple[int, int]:
        """Returns the mode of a regular file, and the one to create it with."""
        mode = self.file_mode(mode)
        return mode, mode & 0o777 | 0o600

    def file_mode(self, mode: int) -> int:
        """Returns the mode on disk: without root's rights, a file that its owner may not read could not be packed
        again."""
        return mode | 0o600 if self.owners.rootless and not mode & 0o400 else mode

    def directory_mode(self, mode: int) -> int:
        return mode | 0o700 if self.owners.rootless and mode & 0o500 != 0o500 else mode

    def owner(self, uid: int, gid: int, path: bytes) -> tuple[int, int]:
        """Returns the owner on disk. `path`: for errors."""
        if self.owners.rootless:
            return self.own
        key = (uid, gid)
        found = self._ids.get(key)
        if found is None:
            if len(self._ids) > 1 << 16:
                self._ids.clear()
            found = self._ids[key] = (
                _mapped(self.owners.uid_map, uid, "user", path),
                _mapped(self.owners.gid_map, gid, "group", path),
            )
        return found

    def set(self, descriptor: int, entry: Entry, mode: int, made: int) -> None:
        """Sets all attributes of an open file or directory, in an order in which none undoes another: a change of owner
        clears setuid and capabilities, a mode may forbid setting xattrs. `made`: the mode it was created with."""
        owner = self.owner(entry.uid, entry.gid, entry.path)
        if owner != self.own:
            os.fchown(descriptor, *owner)
        if entry.xattrs is not None:
            self.set_xattrs(descriptor, entry.xattrs, entry.path)
        self.set_plain(descriptor, entry.uid, entry.gid, entry.mtime, mode, made)

    def set_plain(self, descriptor: int, uid: int, gid: int, mtime: int, mode: int, made: int) -> None:
        """As `set`, for a file without xattrs that has its owner."""
        if self.owners.owner_xattr and (uid or gid):
            self._set_owner_xattr(descriptor, uid, gid)
        if mode != made:
            os.fchmod(descriptor, mode)
        os.utime(descriptor, ns=(mtime, mtime))

    def set_xattrs(self, target: int | bytes, xattrs: Xattrs, path: bytes) -> None:
        for name, value in xattrs:
            if name == CAPABILITY and self.owners.uid_map and not self.owners.rootless:
                value = capability_for_namespace(value, lambda number: _mapped(self.owners.uid_map, number, "user", path))
            if name in _NEVER_SET:
                self.count("selinux")
            elif self.owners.rootless and not name.startswith(b"user."):
                self.count("xattrs-not-allowed")
            elif not (self.owners.owner_xattr and name == ROOTLESS):  # `_set_owner_xattr` uses that name
                self._set_xattr(target, name, value)

    def _set_owner_xattr(self, descriptor: int, uid: int, gid: int) -> None:
        if 0 <= uid < 1 << 32 and 0 <= gid < 1 << 32:
            self._set_xattr(descriptor, ROOTLESS, owner_xattr(uid, gid))
        else:
            self.count("owners-out-of-range")

    def _set_xattr(self, target: int | bytes, name: bytes, value: bytes) -> None:
        try:
            if isinstance(target, int):
                os.setxattr(target, name, value)
            else:
                os.setxattr(target, name, value, follow_symlinks=False)
        except OSError as error:
            if error.errno in _NOT_STORED or (self.owners.rootless and error.errno in (errno.EPERM, errno.EACCES)):
                self.count("xattrs-not-stored")
                return
            raise

    def count(self, what: str) -> None:
        with self._lock:
            self._not_set[what] += 1

    def notice_unset(self, task: Task) -> None:
        """Adds notices of what could not be made as the image states it."""
        for code, count in self._not_set.items():
            task.notice(code, _NOTICES[code].format(count, "" if count == 1 else "s"))

    def error(self, error: OSError, path: bytes) -> OcitoolError:
        """Returns the `OcitoolError` to raise for an error of the operating system."""
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
    "devices": "{} device{} that only root may make: empty files are made instead",
}


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
