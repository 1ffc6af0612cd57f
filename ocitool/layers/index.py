"""A layer's index: the entries of its tar, in columns.

Columns instead of an object for each entry take about 150 bytes an entry, and are written to and read from the cache one
by one. An index is a value: it is not changed once it is shared.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import repeat
from typing import Literal

from ocitool.digest import Digest
from ocitool.layers.entry import UNKNOWN, Entry, Kind, Segments, Xattrs
from ocitool.layers.paths import Paths
from ocitool.layers.tar_notes import TarNote
from ocitool.layers.tar_runs import Run

Hashed = Literal["none", "some", "all"]
_KINDS = tuple(Kind)


class Links(dict[int, bytes]):
    """The targets of links by row; empty for any other row, which few entries of a layer are not."""

    def __missing__(self, row: int) -> bytes:
        return b""

    def column(self, rows: int) -> Iterator[bytes]:
        """Yields the targets of the first `rows` rows."""
        return map(self.get, range(rows), repeat(b""))


def _narrow(column: array[int]) -> array[int]:
    for code in "BHI":
        with suppress(OverflowError):
            return array(code, column)
    return column


class LayerIndex:
    """Entries in tar order; row numbers count from 0.

    `digest` and `diff_id` are computed from the bytes, or None; they are never what a document states. `size` is the
    length of the uncompressed tar, None if it was not read to the end. `contents` holds the SHA-256 of each file's
    content, 32 bytes a row. A sparse file with more than `MAX_HASHED_HOLES` of holes is hashed as its map and data.
    `sparse` lists all sparse files. `hashed` says which contents are known.
    """

    __slots__ = (
        "codec", "contents", "devices", "diff_id", "digest", "gids", "hashed", "kinds", "links", "modes", "mtimes",
        "notes", "notes_dropped", "offsets", "paths", "size", "sizes", "sparse", "uids", "xattrs",
    )  # fmt: skip

    def __init__(self) -> None:
        self.paths = Paths()
        self.links = Links()
        self.kinds = bytearray()
        self.modes = array("H")
        self.uids = array("q")
        self.gids = array("q")
        self.mtimes = array("q")
        self.sizes = array("q")
        self.offsets = array("q")
        self.contents = bytearray()
        self.devices: dict[int, tuple[int, int]] = {}
        self.xattrs: dict[int, Xattrs] = {}
        self.sparse: dict[int, tuple[Segments, int]] = {}
        self.notes: tuple[TarNote, ...] = ()
        self.notes_dropped = 0
        self.hashed: Hashed = "none"
        self.codec = "none"
        self.digest: Digest | None = None
        self.diff_id: Digest | None = None
        self.size: int | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def add(self, entry: Entry, content: bytes = UNKNOWN) -> None:
        """Adds an entry. Only for the code that builds the index, before it is shared."""
        (path, kind, mode, uid, gid, mtime, size, link, offset, stored, device, xattrs, segments) = entry
        row = len(self.paths)
        self.paths.append(path)
        self.kinds.append(kind)
        self.modes.append(mode)
        self.uids.append(uid)
        self.gids.append(gid)
        self.mtimes.append(mtime)
        self.sizes.append(size)
        self.offsets.append(offset)
        self.contents += content
        if link:
            self.links[row] = link
        if device is not None:
            self.devices[row] = device
        if xattrs is not None:
            self.xattrs[row] = xattrs
        if segments is not None:
            self.sparse[row] = (segments, stored)

    def extend(self, run: Run) -> None:
        """Adds the entries of a run, as `add` does."""
        row = len(self.paths)
        self.paths.extend(run.paths)
        self.links.update((row + number, link) for number, link in run.links.items() if link)
        self.kinds += run.kinds
        self.modes += run.modes
        self.uids += run.uids
        self.gids += run.gids
        self.mtimes += run.mtimes
        self.sizes += run.sizes
        self.offsets += run.offsets
        self.contents += run.contents

    def complete(self) -> None:
        """Gives the columns of numbers as few bytes a value as they need, for the code that has added the last entry."""
        for name in ("uids", "gids", "sizes", "offsets"):
            setattr(self, name, _narrow(getattr(self, name)))

    def entry(self, row: int) -> Entry:
        """Returns the entry of a row."""
        size = self.sizes[row]
        segments, stored = self.sparse.get(row, (None, size))
        return Entry(
            self.paths[row], _KINDS[self.kinds[row]], self.modes[row], self.uids[row], self.gids[row], self.mtimes[row],
            size, self.links[row], self.offsets[row], stored, self.devices.get(row), self.xattrs.get(row), segments,
        )  # fmt: skip

    def __iter__(self) -> Iterator[Entry]:
        return map(self.entry, range(len(self)))

    def stored(self, row: int) -> int:
        """Returns the bytes of an entry's content in the tar; of a sparse file only its data."""
        return self.sparse[row][1] if row in self.sparse else self.sizes[row]

    def rows_of(self, kind: int) -> Iterator[int]:
        """Yields the rows of one kind, ascending."""
        row = self.kinds.find(kind)
        while row >= 0:
            yield row
            row = self.kinds.find(kind, row + 1)

    def content(self, row: int) -> bytes | None:
        """Returns the SHA-256 of a file's content; None if it is not known."""
        value = bytes(self.contents[32 * row : 32 * row + 32])
        return None if value == UNKNOWN else value

    def has_map_hash(self, row: int) -> bool:
        """Returns whether the content hash covers map and data of a sparse file, because its holes are too large to hash."""
        return row in self.sparse and self.sizes[row] - self.sparse[row][1] > MAX_HASHED_HOLES

    def with_contents(self, found: Iterable[tuple[int, bytes]]) -> LayerIndex:
        """Returns a copy that also knows these (row, SHA-256) pairs; all other columns are shared."""
        copy = LayerIndex.__new__(LayerIndex)
        for name in LayerIndex.__slots__:
            setattr(copy, name, getattr(self, name))
        copy.contents = bytearray(self.contents)
        for row, content in found:
            copy.contents[32 * row : 32 * row + 32] = content
        if copy.hashed == "none":
            copy.hashed = "some"
        return copy


MAX_HASHED_HOLES = 1 << 30
"""Bytes of holes in one file up to which they are hashed as zeros."""

MAX_LAYER_HOLES = 4 << 30
"""Bytes of holes that may be hashed for one layer: an entry of one block can claim `MAX_HASHED_HOLES` of them."""
