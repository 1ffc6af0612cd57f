"""Which packages changed between two images, and which changed files that explains.

Only if a database of packages differs, the packages of both sides are read. Whether one does is seen from the files that
changed; layers are read again for the databases alone, each once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ocitool.comparison.files import ComparedFiles
from ocitool.comparison.followers import is_follower
from ocitool.comparison.result import ChangedPackage, FileChange, Notable, PackageDiff, Quoted, file_size
from ocitool.images.image import Image, Layer
from ocitool.layers.entry import Entry, Kind
from ocitool.packages.changes import PackageChange, package_changes
from ocitool.packages.installed import Databases, databases_of, installed
from ocitool.packages.ownership import owners
from ocitool.packages.package import Package, PackageKind, PackageList
from ocitool.packages.readers import SYSTEM_KINDS
from ocitool.patterns import byte_pattern
from ocitool.trees.indexing import Indexer
from ocitool.trees.tree import Tree

_ARCHIVES: frozenset[PackageKind] = frozenset({"golang", "maven"})
"""Kinds whose database is the very file that the packages are built into."""

_MAX_PROBLEMS = 3


class AlteredFile(NamedTuple):
    """A file that changed, though the package that installed it did not."""

    change: FileChange
    package: Package


class ComparedPackages(NamedTuple):
    """The changed packages, and the changed files of packages that did not change."""

    packages: PackageDiff
    altered: tuple[AlteredFile, ...]


def compare_packages(before: Image, after: Image, compared: ComparedFiles, indexer: Indexer) -> ComparedPackages | None:
    """Returns the packages that changed; None if no file of a database did. Adds a notice for each database that cannot be
    read. Raises what reading a layer raises.

    Time grows with the changed files and with the files that the databases list. Memory grows with the changed files and
    the databases."""
    databases = databases_of(_entries(compared.files))
    if not databases:
        return None
    trees = _trees(before, after, compared, databases, indexer)
    task = indexer.task

    def read(side: tuple[Tree, Sequence[Layer]]) -> PackageList:
        return installed(side[0], side[1], task, only=databases, indexer=indexer)

    old, new = task.map(read, trees)
    for image, found in ((before, old), (after, new)):
        for text in _problems(found):
            task.notice("packages", f"{image.where}: {text}")
    unread = _unread(old, new) | _unread(new, old)
    a, b = ([package for package in side.packages if package.kind not in unread] for side in (old, new))
    changes = package_changes(a, b)
    explained, altered = _attributed(compared.files, changes, (a, b), (trees[0][0], trees[1][0]))
    changes, explained = _without_parts(changes, explained)
    explained.update(_directories(compared.files, explained))
    followers = dict(_followers(compared.files, explained, {change.package.kind for change in changes}))
    packages = tuple(_changed_packages(compared.files, changes, explained))
    return ComparedPackages(
        PackageDiff(packages, explained, followers, old.distribution, new.distribution, not (old.problems or new.problems)),
        tuple(one for one in altered if one.change.path not in followers),
    )


def _unread(found: PackageList, other: PackageList) -> set[PackageKind]:
    """Returns the kinds of which `found` has no package, for their database cannot be read, and `other` has some: these were
    not removed."""
    kinds = {package.kind for package in found.packages}
    places = {problem.path for problem in found.problems}
    lost = [package for package in other.packages if package.kind not in kinds] if places else ()
    return {package.kind for package in lost if not places.isdisjoint((package.database, package.database.rpartition(b"/")[0]))}


def _problems(found: PackageList) -> Iterator[str]:
    """Yields what could not be read, at most a few with their path."""
    for path, reason in found.problems[:_MAX_PROBLEMS]:
        yield f"/{path.decode('utf-8', 'backslashreplace')}: {reason}; not all of its packages are compared"
    more = len(found.problems) - _MAX_PROBLEMS
    if more > 0:
        yield f"{more:,} more files of package databases could not be read wholly"


def _entries(files: Iterable[FileChange]) -> Iterator[tuple[bytes, Entry]]:
    """Yields path and entry of each side of the changes that may be those of a database."""
    for path, _, fields, old, new, _ in files:
        if fields != ("mtime",):
            if old is not None:
                yield path, old.entry
            if new is not None:
                yield path, new.entry


def _trees(
    before: Image, after: Image, compared: ComparedFiles, databases: Databases, indexer: Indexer
) -> tuple[tuple[Tree, Sequence[Layer]], tuple[Tree, Sequence[Layer]]]:
    """Returns the merged trees in which the databases are found, each with its layers.

    Without the common base the databases of the packages of a distribution are not whole: their lists of files, and the
    file that names the distribution, lie in layers below. The other kinds have a file or directory for each package, and
    if the common base was left out, both sides list the same paths above it."""
    a, b = compared.trees
    if compared.whole or SYSTEM_KINDS.isdisjoint(databases):
        cut = len(before.layers) - len(a.indexes)
        return (a, before.layers[cut:]), (b, after.layers[cut:])
    return (Tree(indexer.indexes(before)), before.layers), (Tree(indexer.indexes(after)), after.layers)


def _attributed(
    files: Sequence[FileChange], changes: Sequence[PackageChange], packages: tuple[Sequence[Package], Sequence[Package]],
    trees: tuple[Tree, Tree],
) -> tuple[dict[bytes, int], list[AlteredFile]]:  # fmt: skip
    """Returns, by path, the position of the change that explains the change of the path, and the changed files of packages
    that did not change. A file of such a package of the distribution is one of these even if another package lists it too."""
    positions: dict[int, int] = {}
    explained: dict[bytes, int] = {}
    for position, changed in enumerate(changes):
        for package in (changed.before, changed.after):
            if package is not None:
                positions[id(package)] = position
                if package.kind in _ARCHIVES:
                    explained.setdefault(package.database, position)
    old = owners(packages[0], trees[0], [change.path for change in files if change.before is not None])
    new = owners(packages[1], trees[1], [change.path for change in files if change.after is not None])
    altered: list[AlteredFile] = []
    for change in files:
        there, were = new.get(change.path, ()), old.get(change.path, ())
        causes = [positions[id(package)] for package in (*there, *were) if id(package) in positions]
        if change.after is not None and _is_altered(change):  # a package that is gone changes no file that is left
            causes = [position for position in causes if changes[position].after is not None]
        if causes and change.path not in explained:
            explained[change.path] = min(causes, key=lambda position: changes[position].package.kind not in SYSTEM_KINDS)
        of_system = [package for package in there or were if package.kind in SYSTEM_KINDS]
        unchanged = [package for package in of_system if id(package) not in positions]
        if not of_system and change.path not in explained:
            unchanged = [package for package in (*there, *were) if id(package) not in positions]
        if unchanged and _is_altered(change):
            altered.append(AlteredFile(change, unchanged[0]))
    return explained, altered


def _without_parts(
    changes: tuple[PackageChange, ...], explained: dict[bytes, int]
) -> tuple[tuple[PackageChange, ...], dict[bytes, int]]:
    """Returns the changes without those of packages that another changed package brings, and the explained paths by the new
    positions. Debian's `python3-yaml` and conda's `numpy` are distributions of Python as well: what records these is a file
    of the other, which names the cause."""

    def whole(position: int, changed: PackageChange) -> int:
        records = [one.database for one in (changed.before, changed.after) if one is not None and one.kind not in _ARCHIVES]
        causes = {explained.get(path, position) for path in records}
        return position if position in causes or not causes else min(causes)

    wholes = [whole(position, changed) for position, changed in enumerate(changes)]
    causes = [cause if wholes[cause] == cause else position for position, cause in enumerate(wholes)]
    kept = [position for position, cause in enumerate(causes) if position == cause]
    if len(kept) == len(changes):
        return changes, explained
    at = {position: new for new, position in enumerate(kept)}
    return tuple(changes[position] for position in kept), {path: at[causes[cause]] for path, cause in explained.items()}


def _directories(files: Sequence[FileChange], explained: Mapping[bytes, int]) -> dict[bytes, int]:
    """Returns directories that no package lists, and that came, went, or got another time because of what is in them: each with
    the package that explains all that changed below it, or one of several."""
    found: dict[bytes, int] = {}
    inside: dict[bytes, int | None] = {}
    for change in reversed(files):  # what is in a directory comes before it
        path = change.path
        position = explained.get(path)
        below = inside.get(path)
        if position is None and below is not None and (change.kind in ("added", "removed") or change.only_mtime):
            position = found[path] = below
        parent = path.rpartition(b"/")[0]
        inside[parent] = position if inside.get(parent, position) is not None else None
    return found


def _is_altered(change: FileChange) -> bool:
    """Returns whether more than times changed, of something else than a directory. What Python compiled again, with another
    time of its source in it, is no change of the package."""
    side = change.before or change.after
    assert side is not None
    return side.entry.kind != Kind.DIRECTORY and not change.only_mtime and not change.path.endswith(b".pyc")


def _followers(
    files: Iterable[FileChange], explained: Mapping[bytes, int], kinds: Iterable[PackageKind]
) -> Iterator[tuple[bytes, PackageKind]]:
    """Yields the changed databases, logs and caches of the kinds of which packages changed, each with its kind."""
    ordered = sorted(kinds)
    for change in files if ordered else ():
        if change.path not in explained:
            for kind in ordered:
                if is_follower(kind, change.path):
                    yield change.path, kind
                    break


def _changed_packages(
    files: Iterable[FileChange], changes: Sequence[PackageChange], explained: Mapping[bytes, int]
) -> Iterator[ChangedPackage]:
    """Yields the changed packages with what they did: files, bytes, and the layer that has most of them."""
    count: Counter[int] = Counter()
    grown: Counter[int] = Counter()
    layers: dict[int, Counter[int]] = {}
    by_id: dict[int, Layer | None] = {}
    counted: set[tuple[int, bytes]] = set()
    archives: dict[bytes, Layer | None] = {c.package.database: None for c in changes if c.package.kind in _ARCHIVES}
    for change in files:
        if change.path in archives:
            archives[change.path] = change.layer  # of all packages in it, though only one of them explains it
        position = explained.get(change.path)
        if position is None:
            continue
        count[position] += 1
        by_id[id(change.layer)] = change.layer
        layers.setdefault(position, Counter())[id(change.layer)] += 1
        for sign, side in ((-1, change.before), (1, change.after)):
            if side is not None and side.links:
                if (sign, side.links[0]) in counted:
                    continue
                counted.add((sign, side.links[0]))
            grown[position] += sign * file_size(side)
    for position, changed in enumerate(changes):
        found = layers.get(position)
        layer = by_id[found.most_common(1)[0][0]] if found else archives.get(changed.package.database)
        yield ChangedPackage(changed, count[position], grown[position], layer)


# Notable

_PROGRAMS = byte_pattern(
    rb"((usr/(local/)?)?(s?bin|libexec|lib[^/]*)|opt)/.*|(.*/)?(site-packages|dist-packages|node_modules|gems)/.*", re.DOTALL
)
_TEXTS = byte_pattern(
    rb"(usr/(local/)?)?(share|lib)/(doc|man|info|locale|licenses|doc-base)/.*|.*\.(md|txt|rst|html)", re.DOTALL
)


def altered_notables(altered: Iterable[AlteredFile]) -> Iterator[Notable]:
    """Yields what is notable about files that changed though their package did not. Programs and libraries are `security`;
    settings, documents, and what only has another mode or owner are what an ordinary build changes."""
    for change, package in altered:
        grave = change.kind != "metadata" and _PROGRAMS.fullmatch(change.path) and not _TEXTS.fullmatch(change.path)
        what = {"added": "new", "removed": "removed", "metadata": "has other metadata"}.get(change.kind, "changed")
        said = (f"{what}, but its package ", Quoted(f"{package.name} {package.version}"), " is the same")
        yield Notable("package-file-changed", change.path, None, change.layer, said, "security" if grave else "info")
