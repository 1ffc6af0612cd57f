"""Groups the changed paths by what happened to them: what was moved together, got the same metadata, or lies below one
directory.

1. What was renamed, by the directory that moved.
2. Paths of one layer whose metadata changed in the same way.
3. Paths that differ by modification time alone, by layer.
4. All other changes of one layer below one directory: the highest that is none of `SHARED`, or the deepest that has them all.

If few rows remain, small groups are listed path by path instead. Time and memory are linear in the paths: about 2 us and 40
bytes for each beside what `renames` takes, 400 bytes for each group.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Container, Iterator, Sequence
from typing import NamedTuple, get_args

from ocitool.comparison.renames import directory_of, find_renames, name_of
from ocitool.comparison.result import (
    ChangeKind,
    FieldChange,
    FileChange,
    FileGroup,
    FileGroups,
    GroupKind,
    Side,
    Span,
    file_size,
)
from ocitool.layers.entry import Kind

SHARED = frozenset({b"", b"usr", b"usr/local", b"var", b"opt", b"srv", b"home", b"mnt"})
"""Directories whose children have nothing to do with each other: no group is all that changed below one of them."""

ROWS = 10
"""Groups up to which small ones are listed path by path."""

_FEW = 3
"""Paths of one kind of metadata change, or right in a directory of `SHARED`, that are not worth a group if there is room."""

_KINDS: tuple[ChangeKind, ...] = get_args(ChangeKind)
_NUMBERS = ("mode", "uid", "gid")
_NOT_STORED = (("mtime",), ("links",))
"""Changes of these fields alone store no content again, as in `FileChange.stored`."""


_Move = tuple[bytes, bytes]
"""The paths of a directory before and after."""


class _Draft(NamedTuple):
    """A group to be. `members`: positions of all its changes, in the order of paths; `pairs`: of renamed paths, the positions
    before and after; `move`: the directories that they were in."""

    kind: GroupKind | None
    members: list[int]
    span: Span = "tree"
    pairs: Sequence[tuple[int, int]] = ()
    move: _Move = (b"", b"")

    @property
    def size(self) -> int:
        return len(self.pairs or self.members)


def grouped(files: Sequence[FileChange], explains: Callable[[bytes], bool] | None = None) -> FileGroups:
    """Returns the groups. `files`: the changes in the order of paths. `explains`: whether something else tells of the change
    of a path, which then is in no group."""
    explained = {n for n, change in enumerate(files) if explains(change.path)} if explains is not None else frozenset[int]()
    sources = find_renames(files)
    drafts = list(_drafts(files, sources, explained))
    counted: set[tuple[int, bytes]] = set()
    made = [(_group(files, draft, counted), draft.members) for draft in _listed(drafts)]
    made.sort(key=lambda pair: (pair[0].kind == "mtime", -pair[0].weight, pair[0].path))
    numbers = array("q", [-1]) * len(files)
    for number, (_, members) in enumerate(made):
        for position in members:
            numbers[position] = number
    return FileGroups(tuple(group for group, _ in made), numbers, sources)


# Which changes are a group


def _drafts(files: Sequence[FileChange], sources: Sequence[int], explained: Container[int]) -> Iterator[_Draft]:
    """Yields the groups, the small ones not yet taken apart."""
    taken: set[int] = set()
    for draft in _renamed(files, sources, explained):
        taken.update(draft.members)
        yield draft
    times: dict[int, list[int]] = {}
    alike: dict[tuple[object, ...], list[int]] = {}
    others: dict[int, list[int]] = {}
    for position, change in enumerate(files):
        if position in taken or position in explained:
            continue
        layer = _number(change)
        if change.fields == ("mtime",):
            times.setdefault(layer, []).append(position)
        elif change.kind == "metadata":
            alike.setdefault((layer, *_values(change)), []).append(position)
        else:
            others.setdefault(layer, []).append(position)
    yield from (_Draft("mtime", members) for members in times.values())
    for members in alike.values():
        if len(members) > 1:
            yield from _of_layer(files, members, "metadata")
        else:
            others.setdefault(_number(files[members[0]]), []).extend(members)
    for members in others.values():
        members.sort()
        yield from _of_layer(files, members)


def _of_layer(files: Sequence[FileChange], members: Sequence[int], kind: GroupKind | None = None) -> Iterator[_Draft]:
    """Yields the groups of what one layer changed alike (`kind`), or otherwise."""
    alone: dict[bytes, list[int]] = {}
    for below in _by_directory(files, members):
        if len(below) > 1:
            yield _Draft(kind, below)
        else:
            alone.setdefault(directory_of(files[below[0]].path), []).extend(below)
    for directory, those in alone.items():
        if directory in SHARED and len(those) > _FEW:
            yield _Draft(kind, those, "files")
        else:
            yield from (_Draft(kind, [position]) for position in those)


def _number(change: FileChange) -> int:
    """Returns the number of the layer that made a change, -1 if that cannot be said."""
    return -1 if change.layer is None else change.layer.number


def _values(change: FileChange) -> Iterator[object]:
    """Yields what tells equal changes of metadata: fields with their values before and after, times left out."""
    assert change.before is not None
    assert change.after is not None
    for field in change.fields:
        if field == "mtime":
            continue
        yield field
        if field in (*_NUMBERS, "xattrs"):
            yield getattr(change.before.entry, field), getattr(change.after.entry, field)


def _by_directory(files: Sequence[FileChange], members: Sequence[int]) -> Iterator[list[int]]:
    """Yields the changes below each directory that is not one of `SHARED`; a path right in one of these is by itself."""
    found: dict[bytes, list[int]] = {}
    for position in members:
        path = files[position].path
        end = path.find(b"/")
        while end >= 0 and path[:end] in SHARED:
            end = path.find(b"/", end + 1)
        found.setdefault(path if end < 0 else path[:end], []).append(position)
    yield from found.values()


def _renamed(files: Sequence[FileChange], sources: Sequence[int], explained: Container[int]) -> list[_Draft]:
    """Returns the groups of what was renamed: by the top-most directory that moved whole, else by the directories before and
    after."""
    directories: dict[bytes, tuple[bytes, _Move]] = {}  # what directories became, and the top-most that moved with each
    found: dict[tuple[int, _Move, Span], tuple[list[int], list[tuple[int, int]]]] = {}
    for after, before in enumerate(sources):
        if before < 0:
            continue
        old, new = files[before].path, files[after].path
        at, to = directory_of(old), directory_of(new)
        became, top = directories.get(at, (None, None))
        if became != to or name_of(old) != name_of(new):
            top = None
        if _is_directory(files[after].after):
            top = top or (old, new)
            directories[old] = new, top
        sides = (before, files[before].kind == "removed"), (after, files[after].kind == "added")
        members = [position for position, alone in sides if alone and position not in explained]
        if members:
            key: tuple[int, _Move, Span] = (_number(files[after]), top or (at, to), "files" if top is None else "tree")
            held = found.setdefault(key, ([], []))
            held[0].extend(members)
            held[1].append((before, after))
    return [_Draft("renamed", sorted(members), span, pairs, move) for (_, move, span), (members, pairs) in found.items()]


def _listed(drafts: Sequence[_Draft]) -> Iterator[_Draft]:
    """Yields the groups; small ones are taken apart, the smallest first, as long as there are at most `ROWS`."""
    rows = sum(draft.kind != "mtime" for draft in drafts)
    for draft in sorted(drafts, key=lambda draft: draft.size):
        parts = _parts(draft) if rows <= ROWS else ()
        if len(parts) > 1 and rows + len(parts) - 1 <= ROWS:
            rows += len(parts) - 1
            yield from parts
        else:
            yield draft


def _parts(draft: _Draft) -> Sequence[_Draft]:
    """Returns the paths of a group as groups of their own; nothing if the group says more than they do, or is large."""
    size = draft.size
    if size > (ROWS if draft.kind is None else _FEW) or draft.kind == "mtime" or (draft.pairs and draft.span == "tree"):
        return ()
    if draft.pairs:
        members = set(draft.members)
        return [_Draft("renamed", [one for one in pair if one in members], "files", [pair]) for pair in draft.pairs]
    return [_Draft(None, [member]) for member in draft.members]


# What is said of a group


def _group(files: Sequence[FileChange], draft: _Draft, counted: set[tuple[int, bytes]]) -> FileGroup:
    """Returns the group. `counted`: side and first name of the files with several names whose bytes other groups have."""
    counts = dict.fromkeys(_KINDS, 0)
    directories = shipped = delta = most = total = 0
    largest = -1
    for position in draft.members:
        _, its_kind, fields, before, after, _ = files[position]
        counts[its_kind] += 1
        directories += _is_directory(after or before)
        old, new = _new_bytes(0, before, counted), _new_bytes(1, after, counted)
        delta += new - old
        if fields not in _NOT_STORED:
            shipped += new
            total += new or old
            if (new or old) > most:
                most, largest = new or old, position
    if draft.pairs:
        directories = sum(_is_directory(files[after].after) for _, after in draft.pairs)
    paths = draft.size
    kinds = [kind for kind in _KINDS if counts[kind]]
    kind: GroupKind = draft.kind or (files[draft.members[0]].kind if len(kinds) == 1 else "mixed")
    first = files[draft.pairs[0][1] if draft.pairs else draft.members[0]]
    path, span, source = _place(files, draft)
    return FileGroup(
        kind, path, span, source, first.layer, draft.pairs[0][1] if draft.pairs else draft.members[0], counts,
        len(draft.pairs), sum(_is_edited(files[before].before, files[after].after) for before, after in draft.pairs),
        paths - directories, directories, shipped, delta,
        tuple(_fields(first)) if kind == "metadata" and draft.kind == kind else (),
        largest if paths > 1 and 2 * most >= total else -1,
    )  # fmt: skip


def _place(files: Sequence[FileChange], draft: _Draft) -> tuple[bytes, Span, bytes | None]:
    """Returns the path of a group, which paths the group has, and the path before a move."""
    if draft.pairs:
        (old, new) = (files[position].path for position in draft.pairs[0])
        return (new, "path", old) if draft.size == 1 else (draft.move[1], draft.span, draft.move[0])
    first, last = files[draft.members[0]].path, files[draft.members[-1]].path
    if len(draft.members) == 1:
        return first, "path", None
    return (directory_of(first), "files", None) if draft.span == "files" else (_common_directory(first, last), "tree", None)


def _common_directory(first: bytes, last: bytes) -> bytes:
    """Returns the deepest directory that has both paths and, since they are the first and last of a walk, all between
    them. The first may be that directory."""
    names = []
    for one, other in zip(first.split(b"/"), last.split(b"/"), strict=False):
        if one != other:
            break
        names.append(one)
    return b"/".join(names)


def _fields(change: FileChange) -> Iterator[FieldChange]:
    assert change.before is not None
    assert change.after is not None
    for field in change.fields:
        sides = (change.before.entry, change.after.entry) if field in _NUMBERS else (None, None)
        yield FieldChange(field, *(getattr(side, field, None) for side in sides))


def _new_bytes(which: int, side: Side | None, counted: set[tuple[int, bytes]]) -> int:
    """Returns the bytes of a side's content, 0 if another name of the file was counted."""
    if side is None:
        return 0
    if side.links:
        if (which, side.links[0]) in counted:
            return 0
        counted.add((which, side.links[0]))
    return file_size(side)


def _is_edited(before: Side | None, after: Side | None) -> bool:
    """Returns whether the content of a renamed file or link changed with its name."""
    if before is None or after is None:
        return False
    a, b = before.entry, after.entry
    return (a.size, a.link, before.content) != (b.size, b.link, after.content)


def _is_directory(side: Side | None) -> bool:
    return side is not None and side.entry.kind == Kind.DIRECTORY
