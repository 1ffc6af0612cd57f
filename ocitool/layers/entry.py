"""One entry of a layer's tar, and the kinds of entries.

Sources: image-spec layer.md ("Whiteouts", "Opaque Whiteout"); POSIX pax and ustar for the fields.
"""

from enum import IntEnum
from typing import NamedTuple


class Kind(IntEnum):
    """The kind of an entry of a layer. The last four occur in layers only, not in a merged file system."""

    FILE = 0
    DIRECTORY = 1
    SYMLINK = 2
    HARDLINK = 3
    CHAR = 4
    BLOCK = 5
    FIFO = 6
    WHITEOUT = 7
    """`path` is the hidden path, without the `.wh.` prefix."""
    OPAQUE = 8
    """`path` is the directory whose lower children are hidden."""
    METADATA = 9
    """Another `.wh..wh.*` name: bookkeeping of AUFS, not a file of the image."""
    INVALID = 10
    """A whiteout without a name (`.wh.`), of `.` or of `..`: `path` is the name as it is in the tar."""


NUMBERS = 1 << 63
"""Bound of owners, times and sizes, which an index holds in 64 bits: `-NUMBERS <= value < NUMBERS`."""
UNKNOWN = bytes(32)
"""The hash, in an index, of a file's content that is not hashed, and of entries that are not files."""
WHITEOUT_PREFIX = b".wh."
OPAQUE_NAME = b".wh..wh..opq"

Xattrs = tuple[tuple[bytes, bytes], ...]
Segments = tuple[tuple[int, int], ...]
"""The data of a sparse file as (offset in the file, length) pairs, ascending; all else is a hole."""


class Entry(NamedTuple):
    """One member of a layer.

    - path: without leading or trailing slash, `.` and `..` resolved; empty for the root. A path that leaves the root
      keeps its leading `../`.
    - mtime: nanoseconds since the epoch.
    - size: bytes of the content as read, a sparse file's with its holes.
    - link: the target, as written for a symlink, normalised like `path` for a hard link.
    - offset: of the stored data in the uncompressed tar; stored: its length there.
    - device: (major, minor) of a device, else None.
    - xattrs: sorted by name; None if there are none.
    - segments: None unless sparse.
    """

    path: bytes
    kind: Kind
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int
    link: bytes = b""
    offset: int = 0
    stored: int = 0
    device: tuple[int, int] | None = None
    xattrs: Xattrs | None = None
    segments: Segments | None = None


def normalise(name: bytes) -> bytes:
    """Returns the normal form of a path: `./a`, `a`, `/a`, `a/` and `b/../a` become `a`; `../a` stays, since it leaves
    the root."""
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b".." and parts and parts[-1] != b"..":
            parts.pop()
        elif part and part != b".":
            parts.append(part)
    return b"/".join(parts)


def escapes(path: bytes) -> bool:
    """Returns whether a normalised path leaves the root."""
    return path == b".." or path.startswith(b"../")


def path_text(path: bytes) -> str:
    """Returns a path as text, with a leading slash. A byte that is not UTF-8 becomes a lone surrogate, as by
    `os.fsdecode`."""
    return "/" + path.decode("utf-8", "surrogateescape")


def shown_path(path: bytes, most: int | None = 500) -> str:
    """Returns a path as text for a message, with a leading slash: at most its first `most` bytes; None: all of it, for a
    report or a command. It is escaped only when it is printed."""
    return "/" + path[:most].decode("utf-8", "replace")
