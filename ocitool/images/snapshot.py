"""The snapshot of an unpacked image: what was written where, so that an edit is found without reading every file again.

The file is one zstd frame (with its checksum) of JSON lines. The first is the header, `{"schema": "ocitool/snapshot",
"version": 1, "rootless": ..., "uidMap": [[inside, outside, count], ...], "gidMap": [...], "ownerXattr": ...}`; the last is
`{"entries": N}`. Each line between is one path, as an array:

    [path, kind, mode, uid, gid, mtime, size, [inode, size, mtime, ctime, mode, uid, gid], more]

The first seven are what the image states, the inner array is what lstat said when the unpacking was done. `more` stands only
where needed, an object: `link` (of a symbolic link), `device` ([major, minor]), `xattrs` ([[name, base64], ...]), `leader`
(the first name of a file with several names), `unset` (names of stated xattrs that the disk does not hold).
Names are bytes: one that is UTF-8 is a string, any other an array with its base64 alone, so that each has one spelling.

Lines are in the order of `Tree.walk`, the root (path "") first. Both ways are streams: memory is one block and one line, time
about 5 microseconds an entry. A snapshot lies on the user's disk and may be damaged: whatever is not as written here is a
`FormatError`, a snapshot of another version an `UnsupportedError`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ocitool.images.tree import Tree
from ocitool.layers.entry import Entry

SCHEMA = "ocitool/snapshot"
VERSION = 1


class IdRange(NamedTuple):
    """`count` ids of the image from `inside` on are those of this machine from `outside` on."""

    inside: int
    outside: int
    count: int


class Header(NamedTuple):
    """How the image was unpacked. `owner_xattr`: owners also stand in `user.rootlesscontainers`."""

    rootless: bool = False
    uid_map: tuple[IdRange, ...] = ()
    gid_map: tuple[IdRange, ...] = ()
    owner_xattr: bool = False


class Disk(NamedTuple):
    """What lstat said of a path. mode: with its type. Times are nanoseconds."""

    ino: int
    size: int
    mtime: int
    ctime: int
    mode: int
    uid: int
    gid: int


class Recorded(NamedTuple):
    """One path. entry: what the image states, as `Tree.entry` gives it (of a hard link the file's), with this path; its
    offset, stored and segments are not kept (0, its size, None). leader: the first name of a file with several names,
    which is its own leader. unset: names of stated xattrs that the disk does not hold as stated.
    """

    path: bytes
    entry: Entry
    leader: bytes | None
    disk: Disk
    unset: tuple[bytes, ...] = ()


def write(target: int | str | os.PathLike[str], header: Header, rows: Iterable[Recorded]) -> int:
    """Writes a snapshot to a path (which must not exist) or a descriptor; the number of rows. Rows must be in order."""
    raise NotImplementedError


def read(path: str | os.PathLike[str]) -> tuple[Header, Iterator[Recorded]]:
    """The header, and the rows as they are read. The file is closed when the rows end or are dropped."""
    raise NotImplementedError


def record(tree: Tree, root: int | str | os.PathLike[str], header: Header | None = None) -> Iterator[Recorded]:
    """The rows of a tree that was just unpacked into a directory. Each path is looked at by lstat, no link is followed.

    A path of the tree that is not there is an `IntegrityError`."""
    raise NotImplementedError
