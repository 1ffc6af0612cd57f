"""Tells which changes of files are noise of the build: volatile files (`ocitool/volatile.py`), and what they cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import cast

from ocitool.comparison.result import FileChange, LayerPair, PackageDiff, VolatileFiles, VolatileGroup
from ocitool.images.image import Layer
from ocitool.layers.entry import Entry, Kind
from ocitool.packages.package import PackageKind
from ocitool.packages.readers import READERS, SYSTEM_KINDS
from ocitool.task import Task
from ocitool.trees.file_contents import contents
from ocitool.volatile import CLASSES, LARGEST, ContentRule, VolatilePlace, essence, volatile_place

_FIELDS = frozenset(("content", "mtime", "links"))
"""Fields in which a volatile file may differ."""
_PROGRAM = 0o6111
"""Bits of the mode that only programs have."""


def volatile_files(
    files: Sequence[FileChange], pairs: Sequence[LayerPair], packages: PackageDiff | None, task: Task, *, whole: bool,
    but: Container[bytes | None] = (),
) -> VolatileFiles:  # fmt: skip
    """Returns the changes that are noise of the build, and do not follow from those of `packages`. `whole`: the files are all
    that changed, so that they show which layers were built alike. `but`: paths that are never noise.

    A program is never noise, nor a file whose mode or owner changed. For a class with a rule about contents both files are
    read, unless one is in a layer that both images have: then it was not built twice. Time is linear in the changes; memory:
    a class name for each volatile file."""
    same = _unchanged_kinds(packages)
    found: dict[bytes, VolatilePlace] = {}
    doubtful: list[tuple[FileChange, VolatilePlace]] = []
    for change in files:
        place = None if change.only_mtime else volatile_place(change.path)
        if (
            place is None
            or change.path in but
            or not _may_be_noise(change)
            or (packages is not None and packages.explains(change.path))
        ):
            continue
        rule = place.kind.rule
        if rule is None or (rule == "packages" and database_kind(change.path) in same):
            found[change.path] = place
        elif rule != "packages":
            doubtful.append((change, place))
    if doubtful:
        found.update((change.path, place) for change, place in _alike(doubtful, pairs, task))
    groups = tuple(_groups(files, found))
    classes = {path: place.kind.name for path, place in found.items()}
    return VolatileFiles(classes, groups, tuple(_built_alike(files, pairs, classes)) if whole else ())


def _unchanged_kinds(packages: PackageDiff | None) -> frozenset[PackageKind]:
    """Returns the kinds of packages of a distribution of which none changed. Without a reader of a kind it is not known."""
    if packages is None or not packages.whole:
        return frozenset()
    return (SYSTEM_KINDS & READERS.keys()) - {one.change.package.kind for one in packages.changed}


def database_kind(path: bytes) -> PackageKind:
    """Returns the kind of packages in a database at a path of the class `package-database`."""
    return "deb" if path.startswith(b"var/lib/dpkg/") else "apk" if b"lib/apk/" in path else "rpm"


def _may_be_noise(change: FileChange) -> bool:
    """Returns whether a change at a volatile path may be noise, by what changed."""
    if change.kind == "modified":
        return _FIELDS.issuperset(change.fields) and change.after is not None and is_data(change.after.entry)
    side = change.after or change.before
    return change.kind in ("added", "removed") and side is not None and is_data(side.entry)


def is_data(entry: Entry) -> bool:
    """Returns whether an entry can be volatile by what it is: a file that is no program, or a directory."""
    return not entry.xattrs and (entry.kind == Kind.DIRECTORY or (entry.kind == Kind.FILE and not entry.mode & _PROGRAM))


def _alike(
    changes: Sequence[tuple[FileChange, VolatilePlace]], pairs: Sequence[LayerPair], task: Task
) -> Iterator[tuple[FileChange, VolatilePlace]]:
    """Yields the changes whose contents differ only as the rule of their class lets them."""
    shared = {id(layer) for pair in pairs if pair.status == "shared" for layer in (pair.before, pair.after)}
    read: list[tuple[FileChange, VolatilePlace]] = []
    sides: list[tuple[Layer, Entry]] = []
    for change, place in changes:
        both = [
            (side.holder, side.entry) for side in (change.before, change.after)
            if side is not None and side.entry.kind == Kind.FILE and side.entry.size <= LARGEST
            and side.holder is not None and side.holder.blob is not None and id(side.holder) not in shared
        ]  # fmt: skip
        if len(both) == 2:
            read.append((change, place))
            sides += both
    digests: list[bytes | None] = [None] * len(sides)
    for position, content in contents(sides, task):
        digests[position] = essence(cast("ContentRule", read[position // 2][1].kind.rule), content)
    for number, one in enumerate(read):
        if digests[2 * number] == digests[2 * number + 1] is not None:
            yield one


def _built_alike(files: Sequence[FileChange], pairs: Sequence[LayerPair], volatile: Container[bytes]) -> Iterator[Layer]:
    """Yields the layers that ship again though nothing in them changed but times and volatile files, as far as the merged
    file system shows it."""
    changed = {id(change.layer) for change in files if not change.only_mtime and change.path not in volatile}
    for pair in pairs:
        if pair.after is not None and pair.status in ("equivalent", "changed") and id(pair.after) not in changed:
            yield pair.after


def _groups(files: Sequence[FileChange], found: Mapping[bytes, VolatilePlace]) -> Iterator[VolatileGroup]:
    """Yields the classes with their changes, those of most bytes first."""
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    globs: dict[str, dict[str, None]] = {}
    for change in files if found else ():
        place = found.get(change.path)
        if place is not None:
            name = place.kind.name
            counts[name] += 1
            sizes[name] += change.stored
            globs.setdefault(name, {})[place.glob] = None
    for one in sorted(CLASSES, key=lambda one: -sizes[one.name]):
        if counts[one.name]:
            yield VolatileGroup(one, counts[one.name], sizes[one.name], tuple(globs[one.name]) if one.rule is None else ())
