"""Tells which changes of files are noise of the build: volatile files (`ocitool/volatile.py`), and what they cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from ocitool.comparison.result import FileChange, LayerPair, PackageDiff, VolatileFiles, VolatileGroup
from ocitool.images.image import Layer
from ocitool.layers.entry import Entry, Kind
from ocitool.packages.package import PackageKind
from ocitool.packages.readers import READERS, SYSTEM_KINDS
from ocitool.task import Task
from ocitool.trees.file_contents import contents
from ocitool.volatile import CLASSES, LARGEST, ContentRule, VolatileClass, essence, ignore_glob, volatile_class

_FIELDS = frozenset(("content", "mtime", "links"))
"""Fields in which a volatile file may differ."""
_PROGRAM = 0o6111
"""Bits of the mode that only programs have."""


def volatile_files(
    files: Sequence[FileChange], pairs: Sequence[LayerPair], packages: PackageDiff | None, task: Task
) -> VolatileFiles:
    """Returns the changes that are noise of the build, and do not follow from those of `packages`.

    A program is never noise, nor a file whose mode or owner changed. For a class with a rule about contents both files are
    read, unless one is in a layer that both images have: then it was not built twice. Time is linear in the changes; memory:
    a class name for each volatile file."""
    same = _unchanged_kinds(packages)
    found: dict[bytes, VolatileClass] = {}
    doubtful: list[tuple[FileChange, VolatileClass]] = []
    for change in files:
        known = None if change.only_mtime else volatile_class(change.path)
        if known is None or not _may_be_noise(change) or (packages is not None and packages.explains(change.path)):
            continue
        if known.rule is None or (known.rule == "packages" and database_kind(change.path) in same):
            found[change.path] = known
        elif known.rule != "packages":
            doubtful.append((change, known))
    if doubtful:
        found.update((change.path, known) for change, known in _alike(doubtful, pairs, task))
    alike = tuple(_built_alike(files, pairs, found))
    classes = {path: known.name for path, known in found.items()}
    return VolatileFiles(classes, tuple(_groups(files, found)), alike)


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
    changes: Sequence[tuple[FileChange, VolatileClass]], pairs: Sequence[LayerPair], task: Task
) -> Iterator[tuple[FileChange, VolatileClass]]:
    """Yields the changes whose contents differ only as the rule of their class lets them."""
    shared = {id(layer) for pair in pairs if pair.status == "shared" for layer in (pair.before, pair.after)}
    read: list[tuple[FileChange, VolatileClass]] = []
    sides: list[tuple[Layer, Entry]] = []
    for change, known in changes:
        both = [
            (side.holder, side.entry) for side in (change.before, change.after)
            if side is not None and side.entry.kind == Kind.FILE and side.entry.size <= LARGEST
            and side.holder is not None and side.holder.blob is not None and id(side.holder) not in shared
        ]  # fmt: skip
        if len(both) == 2:
            read.append((change, known))
            sides += both
    digests: list[bytes | None] = [None] * len(sides)
    for position, content in contents(sides, task):
        digests[position] = essence(cast("ContentRule", read[position // 2][1].rule), content)
    for number, one in enumerate(read):
        if digests[2 * number] == digests[2 * number + 1] is not None:
            yield one


def _built_alike(
    files: Sequence[FileChange], pairs: Sequence[LayerPair], found: Mapping[bytes, VolatileClass]
) -> Iterator[Layer]:
    """Yields the layers that ship again though nothing in them changed but times and volatile files, as far as the merged
    file system shows it."""
    changed = {id(change.layer) for change in files if not change.only_mtime and change.path not in found}
    for pair in pairs:
        if pair.after is not None and pair.status in ("equivalent", "changed") and id(pair.after) not in changed:
            yield pair.after


def _groups(files: Sequence[FileChange], found: Mapping[bytes, VolatileClass]) -> Iterator[VolatileGroup]:
    """Yields the classes with their changes, those of most bytes first."""
    counts: dict[str, int] = {}
    sizes: dict[str, int] = {}
    globs: dict[str, dict[str, None]] = {}
    for change in files if found else ():
        known = found.get(change.path)
        if known is not None:
            counts[known.name] = counts.get(known.name, 0) + 1
            sizes[known.name] = sizes.get(known.name, 0) + change.stored
            globs.setdefault(known.name, {})[ignore_glob(change.path) or ""] = None
    for one in sorted(CLASSES, key=lambda one: -sizes.get(one.name, 0)):
        if one.name in counts:
            yield VolatileGroup(one, counts[one.name], sizes[one.name], tuple(globs[one.name]) if one.rule is None else ())
