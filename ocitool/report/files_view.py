"""What a `diff` report says about files, for every format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from operator import attrgetter
from typing import NamedTuple

from ocitool.comparison.result import Diff, FieldChange, FileChange, FileGroup, Side, file_size
from ocitool.images.image import Layer
from ocitool.layers.entry import Kind
from ocitool.report.escape import human, signed
from ocitool.report.phrases import LazyRows, Phrase, Quote, count_of, joined, path
from ocitool.trees.compare import differing

_MAX_MTIME_LINES = 20
"""Layers that have a line each for the number of files that differ by modification time alone; the others share one
line."""


class FileRow(NamedTuple):
    """A changed file, or what happened to many of them. `path`: with `/**` for all below a directory, `/*` for all right in
    it. `what`: the values that changed, or how many files. `grown`: by how many bytes it grew, and how many are stored anew.
    `layer`: the number of the layer that made the change, None if that layer is gone."""

    kind: str
    path: Quote
    what: Phrase
    grown: str
    layer: int | None


class FilesView(NamedTuple):
    """Changed files. `total` counts all of them, including those that the sentences of `folded` only count. `rows`: what
    happened to them, by bytes; `paths`: a row for each of them; `every`: a row for each changed path, also for those that
    packages explain and volatile ones, which are not in `total`."""

    total: int
    rows: LazyRows[FileRow]
    paths: LazyRows[FileRow]
    every: LazyRows[FileRow]
    folded: tuple[Phrase, ...]
    counts: Sequence[int]
    """How many changes each of `rows` is, and last those of `folded` together."""


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


def files_view(result: Diff) -> FilesView:
    """Returns the changed files that are in a group, by what happened to them. Those that differ by modification time alone
    are counted by layer, not listed."""
    groups, numbers = result.groups.groups, result.groups.numbers
    shown = [group for group in groups if group.kind != "mtime"]
    times = sorted((_number(group.layer) is None, _number(group.layer) or 0, group.paths) for group in groups[len(shown) :])
    folded = [
        _mtime_only(count, "layers that are gone" if gone else f"layer {number}")
        for gone, number, count in times[:_MAX_MTIME_LINES]
    ]
    if rest := times[_MAX_MTIME_LINES:]:
        folded.append(_mtime_only(sum(count for _, _, count in rest), count_of(len(rest), "more layer")))
    counts = [*(group.paths for group in shown), sum(count for _, _, count in times)]
    every = _listed(result)
    paths = [position for position in every if numbers[position] >= 0]
    row = partial(_path, result)
    rows = LazyRows(shown, partial(_group, result))
    return FilesView(sum(counts), rows, LazyRows(paths, row), LazyRows(every, row), tuple(folded), counts)


def _listed(result: Diff) -> list[int]:
    """Returns the positions of the changes that have a row of their own: those with more than another modification time, and
    of renamed paths the new ones."""
    files, sources = result.files, result.groups.sources
    told = {source for n, source in enumerate(sources) if source >= 0 and files[n].kind == "added"}
    return [
        n
        for n, (kind, fields) in enumerate(map(attrgetter("kind", "fields"), files))
        if fields != ("mtime",) and not (n in told and kind == "removed")
    ]


def _mtime_only(count: int, of: str) -> Phrase:
    return (f"{count_of(count, 'path')} of {of} {'differs' if count == 1 else 'differ'} by modification time alone",)


def _number(layer: Layer | None) -> int | None:
    return layer.number if layer is not None else None


def _path(result: Diff, position: int) -> FileRow:
    """Returns the row of one path."""
    change, sources = result.files[position], result.groups.sources
    if sources and sources[position] >= 0 and change.kind == "added":
        return _renamed(result.files[sources[position]], change)
    return FileRow(change.kind, path(change.path), _changed_values(change), _grown(change), _number(change.layer))


def _renamed(source: FileChange, change: FileChange) -> FileRow:
    """Returns the row of a renamed path. `source`: the change of the path before."""
    both = change._replace(kind="metadata", before=source.before, fields=_renamed_fields(source.before, change.after))
    what = joined([("from ", path(source.path)), *([_changed_values(both)] if both.fields else [])], ", ")
    return FileRow("renamed", path(change.path), what, _grown(both), _number(change.layer))


def _renamed_fields(before: Side | None, after: Side | None) -> tuple[str, ...]:
    """Returns the fields in which the two sides of a renamed path differ, without times."""
    if before is None or after is None:
        return ()
    a, b = before.entry, after.entry
    if a.kind == Kind.DIRECTORY:
        return differing(a, b, True, ("mtime",))
    return differing(a, b, a.size == b.size and before.content == after.content, ("mtime",))


def _group(result: Diff, group: FileGroup) -> FileRow:
    if group.span == "path" and group.kind == "renamed":
        return _renamed(result.files[result.groups.sources[group.first]], result.files[group.first])
    if group.span == "path":
        return _path(result, group.first)
    below = b"*" if group.span == "files" else b"**"
    place, *before = (path(one + b"/" + below if one else below) for one in (group.path, group.source) if one is not None)
    what: list[Phrase] = [("from ", one) for one in before]
    what.append(
        (f"{_counted(group)} ", *joined(map(_common_field, group.fields), ", ")) if group.fields else (_counted(group),)
    )
    grown = signed(group.size_delta) if abs(group.size_delta) * 100 >= max(group.shipped, 1) else ""
    if group.shipped and group.kind != "added":
        again = "again" if group.kind in ("metadata", "renamed") else "anew"
        grown = f"{human(group.shipped)} stored {again}" + (f" ({grown})" if grown else "")
    if grown:
        what.append((grown,))
    if group.edited:
        what.append((f"{group.edited:,} with other content",))
    if group.largest >= 0 and group.kind != "renamed":
        name = result.files[group.largest].path.removeprefix(group.path).lstrip(b"/")
        what.append(("most of it ", Quote(name, "path")))
    size = human(group.shipped) if group.shipped else signed(group.size_delta) if group.size_delta else ""
    return FileRow(group.kind, place, joined(what, ", "), size, _number(group.layer))


_DONE = {"renamed": "", "modified": "replaced", "type": "of another type", "metadata": "with other metadata"}


def _counted(group: FileGroup) -> str:
    """Returns how many paths a group has, and what happened to them."""
    if group.kind == "mixed":
        return ", ".join(f"{count:,} {_DONE.get(kind, kind)}" for kind, count in group.counts.items() if count)
    directories = f"{group.directories:,} {'directory' if group.directories == 1 else 'directories'}"
    named = count_of(group.files, "file") if group.files else directories
    if group.files and group.directories and group.kind != "renamed":  # directories that moved with their files go unsaid
        named += f" and {directories}"
    return named if group.fields else f"{named} {_DONE.get(group.kind, group.kind)}".strip()


def _common_field(change: FieldChange) -> Phrase:
    if change.before is None or change.after is None:
        return (change.field,)
    return (_number_change(change.field, change.before, change.after),)


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
    if field in ("mode", "uid", "gid"):
        return (_number_change(field, getattr(a, field), getattr(b, field)),)
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


def _number_change(field: str, before: int, after: int) -> str:
    return f"{field} {before:04o} -> {after:04o}" if field == "mode" else f"{field} {before} -> {after}"


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
