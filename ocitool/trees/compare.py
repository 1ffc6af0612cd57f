"""Comparison of entries: of two layers, or of the two sides of one path."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from ocitool.layers.entry import Entry, Kind
from ocitool.layers.index import LayerIndex

_WHITEOUT = int(Kind.WHITEOUT)

FIELDS = ("type", "content", "mode", "uid", "gid", "mtime", "linkTarget", "links", "xattrs", "device")
"""What a path has besides its name; the names are those of the JSON report."""


def differing(a: Entry, b: Entry, same_content: bool, ignore: Collection[str] = ()) -> tuple[str, ...]:
    """Returns the fields in which two entries differ, in the order of `FIELDS`; never `links`.

    `same_content` counts for two files only. If the type differs, it is the only field returned. `ignore`: fields left
    out.
    """
    if a.kind != b.kind:
        return () if "type" in ignore else ("type",)
    found = []
    if a.kind == Kind.FILE and not same_content and "content" not in ignore:
        found.append("content")
    if a.kind != Kind.SYMLINK and a.mode != b.mode and "mode" not in ignore:
        found.append("mode")
    if a.uid != b.uid and "uid" not in ignore:
        found.append("uid")
    if a.gid != b.gid and "gid" not in ignore:
        found.append("gid")
    if a.mtime != b.mtime and "mtime" not in ignore:
        found.append("mtime")
    if a.link != b.link and "linkTarget" not in ignore:
        found.append("linkTarget")
    if a.xattrs != b.xattrs and "xattrs" not in ignore:
        found.append("xattrs")
    if a.device != b.device and "device" not in ignore:
        found.append("device")
    return tuple(found)


class LayerChange(NamedTuple):
    """A path that differs between two layers: its row in each, None if it is not there, and the fields that differ."""

    path: bytes
    before: int | None
    after: int | None
    fields: tuple[str, ...]


Key = bytes | tuple[bytes, int]
"""A path, or a path and the kind of a whiteout or opaque marker, which have names of their own."""


def rows_by_path(index: LayerIndex) -> dict[Key, int]:
    """Returns the row that counts for each path: of duplicates the last."""
    special = int(Kind.WHITEOUT)
    return {
        (path, kind) if kind >= special else path: row
        for row, (path, kind) in enumerate(zip(index.paths, index.kinds, strict=True))
        if kind != Kind.METADATA
    }


def _rows_by_prefix(index: LayerIndex) -> dict[bytes, array[int]]:
    """Returns the rows of each directory: one dictionary of all paths would take as much memory as the index."""
    prefixes, metadata = index.paths.prefixes, Kind.METADATA
    found: dict[int, array[int]] = {}
    for row, (number, kind) in enumerate(zip(index.paths.prefix_of, index.kinds, strict=True)):
        if kind != metadata:
            rows = found.get(number)
            if rows is None:
                rows = found[number] = array("I")
            rows.append(row)
    return {prefixes[number]: rows for number, rows in found.items()}


def _pairs(a: LayerIndex, b: LayerIndex) -> Iterator[tuple[int | None, int | None]]:
    """Yields the rows that count for each path of either layer (`rows_by_path`), None if it has none."""
    elsewhere = _rows_by_prefix(b)
    for prefix, rows in _rows_by_prefix(a).items():
        others = _by_name(b, elsewhere.pop(prefix, ()))
        for key, row in _by_name(a, rows).items():
            yield row, others.pop(key, None)
        for row in others.values():
            yield None, row
    for rows in elsewhere.values():
        for row in _by_name(b, rows).values():
            yield None, row


def _by_name(index: LayerIndex, rows: Iterable[int]) -> dict[Key, int]:
    names, kinds, special = index.paths.names, index.kinds, int(Kind.WHITEOUT)
    return {(names[row], kinds[row]) if kinds[row] >= special else names[row]: row for row in rows}


def order_free_hash(index: LayerIndex) -> int:
    """Returns a hash of all paths, kinds and sizes that does not depend on their order.

    Layers of equal entries have equal hashes; unequal ones may too. It holds within one process only, as `hash` of
    bytes does.
    """
    return sum(map(hash, zip(index.paths, index.kinds, index.sizes, strict=True)))


def rows_to_hash(a: LayerIndex, b: LayerIndex) -> tuple[list[int], list[int]]:
    """Returns the rows of either layer whose contents `compare` needs and that are not known: files of one path and
    size in both."""
    found: tuple[list[int], list[int]] = ([], [])
    for row, other in _pairs(a, b):
        if row is None or other is None:
            continue
        if a.kinds[row] != Kind.FILE or b.kinds[other] != Kind.FILE or a.sizes[row] != b.sizes[other]:
            continue
        if a.content(row) is None:
            found[0].append(row)
        if b.content(other) is None:
            found[1].append(other)
    return found


def equal_rows(a: LayerIndex, i: int, b: LayerIndex, j: int, *, times: bool = True) -> bool:
    """Whether two rows are equal in all columns (without `times`: all but mtime). Faster than comparing `Entry` values."""
    return (
        (not times or a.mtimes[i] == b.mtimes[j])
        and a.kinds[i] == b.kinds[j]
        and a.modes[i] == b.modes[j]
        and a.sizes[i] == b.sizes[j]
        and a.uids[i] == b.uids[j]
        and a.gids[i] == b.gids[j]
        and a.links.get(i) == b.links.get(j)
        and a.contents[32 * i : 32 * i + 32] == b.contents[32 * j : 32 * j + 32]
        and a.xattrs.get(i) == b.xattrs.get(j)
        and a.devices.get(i) == b.devices.get(j)
    )


def compare(a: LayerIndex, b: LayerIndex, ignore: Collection[str] = ()) -> list[LayerChange]:
    """Returns the paths in which layer `b` differs from layer `a`, regardless of order; an empty list for layers of
    equal entries.

    The contents of the rows that `rows_to_hash` returns must be known. Hard links compare by their target's name,
    whiteouts by path. Changes are in the order of the rows of `a`, then those of `b` alone.
    """
    times = "mtime" not in ignore
    if _equal_columns(a, b, times=times, contents="content" not in ignore):
        return []
    found = []
    for row, other in _pairs(a, b):
        if row is None or other is None:
            path = a.paths[row] if row is not None else b.paths[other or 0]
            found.append(LayerChange(path, row, other, ()))
            continue
        if a.kinds[row] >= _WHITEOUT or equal_rows(a, row, b, other, times=times):
            continue  # a whiteout has nothing but its path
        same = a.sizes[row] == b.sizes[other] and a.content(row) == b.content(other)
        fields = differing(a.entry(row), b.entry(other), same, ignore)
        if fields:
            found.append(LayerChange(a.paths[row], row, other, fields))
    found.sort(key=lambda change: (change.before is None, change.after if change.before is None else change.before))
    return found


def _equal_columns(a: LayerIndex, b: LayerIndex, *, times: bool, contents: bool) -> bool:
    """Returns whether two layers have equal entries in the same order, as a rebuilt layer has that differs in times alone."""
    return (
        a.kinds == b.kinds
        and a.sizes == b.sizes
        and a.modes == b.modes
        and a.uids == b.uids
        and a.gids == b.gids
        and a.links == b.links
        and a.xattrs == b.xattrs
        and a.devices == b.devices
        and (not times or a.mtimes == b.mtimes)
        and (not contents or a.contents == b.contents)
        and a.paths == b.paths
    )
