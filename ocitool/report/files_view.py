"""What a `diff` report says about files, for every format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from itertools import compress
from operator import attrgetter
from typing import NamedTuple

from ocitool.comparison.result import FileChange, Side, file_size
from ocitool.images.image import Layer
from ocitool.layers.entry import Kind
from ocitool.report.escape import human, signed
from ocitool.report.phrases import LazyRows, Phrase, Quote, count_of, joined, path

_LARGEST = 10
_MAX_MTIME_LINES = 20
"""Layers that have a line each for the number of files that differ by modification time alone; the others share one
line."""


class FileRow(NamedTuple):
    """A changed file. `what`: the values that changed. `grown`: by how many bytes it grew, and how many of them are stored
    anew. `layer`: the number of the layer that made the change, None if that layer is gone."""

    kind: str
    path: Quote
    what: Phrase
    grown: str
    layer: int | None


class FilesView(NamedTuple):
    """Changed files. `total` counts all of them, including those that the sentences of `folded` only count."""

    total: int
    rows: LazyRows[FileRow]
    folded: tuple[Phrase, ...]


# Numbers


KINDS = ("added", "removed", "modified", "type", "metadata")
Counts = dict[int | None, Counter[str]]
"""The number of changed files by layer number (None: the layer is gone) and kind of change; the kind `mtime` is for those
that differ by modification time alone."""


def counts_of(files: Sequence[FileChange]) -> Counts:
    """Counts the changes by layer and kind. There may be hundreds of thousands of files, so no Python statement runs for
    each of them."""
    layers = list(map(attrgetter("layer"), files))
    known: dict[int, Layer | None] = dict(zip(map(id, layers), layers, strict=True))
    keys = zip(map(id, layers), map(attrgetter("kind"), files), map(attrgetter("fields"), files), strict=True)
    found: Counts = {}
    for (layer_id, kind, fields), count in Counter(keys).items():
        layer = known[layer_id]
        of_layer = found.setdefault(layer.number if layer is not None else None, Counter())
        of_layer["mtime" if fields == ("mtime",) else kind] += count
    return found


def growth_of(files: Sequence[FileChange]) -> dict[int | None, int]:
    """Returns, by layer number, by how many bytes files grew; a file with several hard links counts once."""
    found: Counter[int | None] = Counter()
    counted: set[tuple[int, bytes]] = set()
    for _, _, _, before, after, layer in files:
        size = 0
        for sign, side in ((-1, before), (1, after)):
            if side is None:
                continue
            if side.links:
                if (sign, side.links[0]) in counted:
                    continue
                counted.add((sign, side.links[0]))
            size += sign * file_size(side)
        if size:
            found[layer.number if layer is not None else None] += size
    return found


# Rows


def files_view(files: Sequence[FileChange], counts: Counts, elsewhere: Collection[bytes] = ()) -> FilesView:
    """Returns the changed files. Those that differ by modification time alone are counted by layer, not listed, and those
    `elsewhere` in the report are not listed either."""
    listed = list(compress(files, map(("mtime",).__ne__, map(attrgetter("fields"), files))))
    if elsewhere:
        listed = [change for change in listed if change.path not in elsewhere]
    untouched = sorted((number is None, number or 0, kinds["mtime"]) for number, kinds in counts.items() if kinds["mtime"])
    folded = [
        _mtime_only(count, "layers that are gone" if gone else f"layer {number}")
        for gone, number, count in untouched[:_MAX_MTIME_LINES]
    ]
    if rest := untouched[_MAX_MTIME_LINES:]:
        folded.append(_mtime_only(sum(count for _, _, count in rest), count_of(len(rest), "more layer")))
    return FilesView(len(files), LazyRows(listed, _file), tuple(folded))


def _mtime_only(count: int, of: str) -> Phrase:
    return (f"{count_of(count, 'path')} of {of} {'differs' if count == 1 else 'differ'} by modification time alone",)


def largest(files: Sequence[FileChange], elsewhere: Collection[bytes] = ()) -> LazyRows[FileRow]:
    """Returns the changes of most bytes, whether added, removed or stored anew, but those `elsewhere` in the report."""
    import heapq

    heavy = (change for change in files if _weight(change) and change.path not in elsewhere)
    found = heapq.nsmallest(_LARGEST, heavy, key=lambda f: (-_weight(f), f.path))
    return LazyRows(found, _file)


def _weight(change: FileChange) -> int:
    return max(change.stored, abs(change.size_delta))


def _file(change: FileChange) -> FileRow:
    number = change.layer.number if change.layer is not None else None
    return FileRow(change.kind, path(change.path), _changed_values(change), _grown(change), number)


def _grown(change: FileChange) -> str:
    grown = signed(change.size_delta) if change.size_delta else ""
    if change.kind in ("added", "removed") or not change.stored or change.stored == abs(change.size_delta):
        return grown
    if change.kind == "metadata":
        return f"{human(change.stored)} stored again"
    return f"{grown} ({human(change.stored)} stored anew)" if grown else f"{human(change.stored)} replaced"


def _changed_values(change: FileChange) -> Phrase:
    """Returns what changed in a path, with the values before and after."""
    before, after = change.before, change.after
    if before is None or after is None:
        side = before or after
        assert side is not None
        return _side(side)
    if change.kind == "type":
        return (f"{_kind(before)} -> {_kind(after)}",)
    return joined((_field(field, before, after) for field in change.fields), ", ")


def _field(field: str, before: Side, after: Side) -> Phrase:
    a, b = before.entry, after.entry
    if field == "content":
        return (f"content {human(a.size)} -> {human(b.size)}",)
    if field == "mode":
        return (f"mode {a.mode:04o} -> {b.mode:04o}",)
    if field in ("uid", "gid"):
        return (f"{field} {getattr(a, field)} -> {getattr(b, field)}",)
    if field == "linkTarget":
        return ("target ", Quote(a.link, "target"), " -> ", Quote(b.link, "target"))
    if field == "device":
        return (f"device {a.device} -> {b.device}",)
    if field == "xattrs":
        old, new = dict(a.xattrs or ()), dict(b.xattrs or ())
        names = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
        return ("xattrs ", *joined(((Quote(key, "name"),) for key in names), " "))
    if field == "links":
        return (f"{len(before.links) or 1} -> {len(after.links) or 1} names",)
    return (field,)


def _kind(side: Side) -> str:
    return Kind(side.entry.kind).name.lower()


def _side(side: Side) -> Phrase:
    entry = side.entry
    mode = f" {entry.mode:04o}" if entry.mode & 0o7000 else ""
    if entry.kind == Kind.FILE:
        return (human(entry.size) + mode,)
    if entry.kind == Kind.SYMLINK:
        return ("-> ", Quote(entry.link, "target"))
    return (_kind(side) + mode,)
