"""Looks into changed files. Each layer is read once for all of them, and one file is in memory at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from ocitool import limits
from ocitool.comparison.inside.content import InnerContent, InnerPart, Room
from ocitool.comparison.inside.formats import content_of
from ocitool.comparison.inside.values import FileInside, InnerChange, InnerFact, Insides
from ocitool.comparison.result import FileChange, Side
from ocitool.images.image import Layer
from ocitool.layers.entry import Entry, Kind
from ocitool.pipeline.layer_identity import layer_identity
from ocitool.task import Task
from ocitool.trees.file_contents import contents

QUICK_BYTES = limits.INNER_QUICK
"""Bytes that are unpacked at most, for all files together, unless all files are asked for: those up to the end of the last file
in each compressed layer, and those of the files in others."""

QUICK_FILES = 200
"""Files that are looked into at most, unless all are asked for."""

FILES = 10_000
"""Files that are looked into at most."""

_HELD = 1_000_000
"""Most parts of files that wait for their other side: about 200 bytes each."""

_HOLES = 16 << 20
"""Most bytes of holes of a sparse file: they are filled with zeros."""

KEPT = 1_000
"""Most changed parts, and most changed facts, that are kept of one file: the heaviest."""

_ENDINGS = frozenset(
    b"jar war ear jpi hpi zip whl egg nupkg apk deb udeb tar tgz tbz tbz2 txz tzst gz xz bz2 zst a o ko node so db sqlite "
    b"sqlite3 db3 gdbm mo wasm class".split()
)
"""Endings of names of files in which there is likely something to see; `.so` may be followed by a version."""


class _Pair(NamedTuple):
    path: bytes
    before: tuple[Layer, Entry]
    after: tuple[Layer, Entry]


def look_inside(
    files: Sequence[FileChange], task: Task, *, thorough: bool = False,
    shared: Collection[str | None] = (), explained: Collection[bytes] = (),
) -> Insides:  # fmt: skip
    """Returns what changed inside files whose content changed. A file with several names is looked into under one of them.

    Without `thorough` only where it is quick: files that nothing else explains (`explained` has the paths of those), that
    are likely of a known format by name or mode, in layers that one image alone has (`shared` has the identities of the
    others) and that are on this machine, up to `QUICK_FILES` and `QUICK_BYTES`. Files are read up to
    `limits.DATABASE_FILE`, and are in memory one at a time. Raises what reading a layer raises."""
    changed = _changed(files, likely=not thorough)
    pairs, left_out = _within_limits(changed) if thorough else _quick(changed, shared, explained)
    found: dict[int, FileInside] = {}
    waiting: dict[int, InnerContent | None] = {}
    held, dropped = 0, set[int]()
    room = Room(limits.EXPANSION) if thorough else Room()
    sides = [side for pair in pairs for side in (pair.before, pair.after)]
    for position, data in contents(sides, task):
        number = position // 2
        if number in dropped:
            continue
        content = content_of(data, room)
        del data
        if number not in waiting:
            if content is not None and held + len(content.parts) > _HELD:
                dropped.add(number)
                continue
            waiting[number] = content
            held += len(content.parts) if content is not None else 0
            continue
        other = waiting.pop(number)
        held -= len(other.parts) if other is not None else 0
        old, new = (content, other) if position % 2 == 0 else (other, content)
        if old is not None and new is not None:
            found[number] = compare_contents(old, new)
    order = sorted(found, key=lambda number: (-max(side[1].size for side in pairs[number][1:]), pairs[number].path))
    return Insides({pairs[number].path: found[number] for number in order}, left_out + len(dropped), thorough)


def _changed(files: Sequence[FileChange], *, likely: bool) -> Iterator[_Pair]:
    """Yields the files whose content changed, with where both sides are; a file with several names once. `likely`: only those
    that are likely of a known format."""
    seen: set[tuple[int, int, int, int]] = set()
    for path, kind, fields, before, after, _ in files:
        if kind != "modified" or before is None or after is None or "content" not in fields:
            continue
        if likely and not (after.entry.mode & 0o111 or path.rpartition(b".")[2].lower() in _ENDINGS or b".so." in path):
            continue
        old, new = _stored(before), _stored(after)
        if old is not None and new is not None:
            key = id(old[0]), old[1].offset, id(new[0]), new[1].offset
            if key not in seen:
                seen.add(key)
                yield _Pair(path, old, new)


def _stored(side: Side) -> tuple[Layer, Entry] | None:
    if side.holder is None or side.holder.blob is None or side.entry.kind != Kind.FILE or not side.entry.size:
        return None
    return side.holder, side.entry


def _fits(pair: _Pair) -> bool:
    """Returns whether a file is small enough, and has few enough holes, to be read."""
    return all(
        entry.size <= limits.DATABASE_FILE and entry.size - entry.stored <= _HOLES for _, entry in (pair.before, pair.after)
    )


def _within_limits(changed: Iterator[_Pair]) -> tuple[list[_Pair], int]:
    """Returns the files up to the limits, and how many are beyond them."""
    found: list[_Pair] = []
    left_out = 0
    for pair in changed:
        if len(found) < FILES and _fits(pair):
            found.append(pair)
        else:
            left_out += 1
    return found, left_out


def _quick(changed: Iterator[_Pair], shared: Collection[str | None], explained: Collection[bytes]) -> tuple[list[_Pair], int]:
    """Returns the files that can be looked into quickly, and how many cannot."""
    found: list[_Pair] = []
    left_out = 0
    ends: dict[int, int] = {}  # by layer: bytes to be unpacked of it
    total = 0
    for pair in changed:
        if pair.path in explained:
            continue
        sides = (pair.before, pair.after)
        if len(found) < QUICK_FILES and _fits(pair) and all(_is_near(layer, shared) for layer, _ in sides):
            further = {
                id(layer): max(entry.offset + entry.stored, ends.get(id(layer), 0)) if layer.compression != "none"
                else entry.stored + ends.get(id(layer), 0)
                for layer, entry in sides
            }  # fmt: skip
            more = sum(end - ends.get(layer, 0) for layer, end in further.items())
            if total + more <= QUICK_BYTES:
                ends |= further
                total += more
                found.append(pair)
                continue
        left_out += 1
    return found, left_out


def _is_near(layer: Layer, shared: Collection[str | None]) -> bool:
    return layer.blob is not None and not layer.blob.remote and layer_identity(layer) not in shared


def compare_contents(before: InnerContent, after: InnerContent) -> FileInside:
    """Returns what changed from one content to another. Of files of different formats the parts are not compared."""
    note = after.note or before.note
    if before.format != after.format:
        fact = InnerFact("format", before.format, after.format)
        return FileInside(after.format, after.word, (fact,), (), 0, 0, 0, "", note)
    names = dict.fromkeys((*before.facts, *after.facts))
    facts = [
        InnerFact(name, before.facts.get(name), after.facts.get(name)) for name in names
        if before.facts.get(name) != after.facts.get(name)
    ]  # fmt: skip
    parts = [] if before.note or after.note else sorted(_parts(before.parts, after.parts), key=_weight)
    kinds = [part.kind for part in parts]
    same = "" if parts or note or not before.parts else _same(before, facts)
    return FileInside(
        after.format, after.word, tuple(facts[:KEPT]), tuple(parts[:KEPT]), kinds.count("added"), kinds.count("removed"),
        kinds.count("modified"), same, note,
    )  # fmt: skip


def _parts(before: dict[bytes, InnerPart], after: dict[bytes, InnerPart]) -> Iterator[InnerChange]:
    for name, part in after.items():
        was = before.get(name)
        if was is None:
            yield InnerChange("added", name, None, part.size)
        elif was != part:
            yield InnerChange("modified", name, was.size, part.size)
    for name, part in before.items():
        if name not in after:
            yield InnerChange("removed", name, part.size, None)


def _weight(part: InnerChange) -> tuple[bool, int, bytes]:
    return part.kind == "modified", -abs((part.after or 0) - (part.before or 0)), part.name


def _same(content: InnerContent, facts: Sequence[InnerFact]) -> str:
    """Returns why a file differs though none of its parts does."""
    if content.word == "section":
        return "" if facts else "no section differs: only headers, or bytes between sections"
    return "no member differs: only their order, times, attributes or compression"
