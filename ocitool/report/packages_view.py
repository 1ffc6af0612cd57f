"""What a `diff` report says about packages, for every format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from ocitool.comparison.result import ChangedPackage, Diff, FileChange, PackageDiff
from ocitool.packages.changes import PackageChangeKind
from ocitool.packages.package import Package
from ocitool.report.escape import human, signed
from ocitool.report.phrases import LazyRows, Phrase, Quote, count_of, joined

_KINDS: tuple[PackageChangeKind, ...] = ("downgraded", "upgraded", "changed", "added", "removed")
_WORDS: dict[PackageChangeKind, str] = {"changed": "with another version"}
_MAX_NAMES = 8
"""Names of packages that one row lists beside its own."""


class PackageRow(NamedTuple):
    """A changed package, or several that were built from one source and changed alike. `name`: of the source if there are
    several; `others`: their own names. `version`: before and after; `files`: the number of files it explains; `grown`: by how
    many bytes these grew, empty if they did not. `layer`: the number of the layer that changed it, None if that layer is
    gone."""

    kind: str
    type: str
    name: Phrase
    version: Phrase
    others: Phrase
    files: str
    grown: str
    layer: int | None


class PackagesView(NamedTuple):
    """Changed packages. `total` counts all of them; a row may stand for several. `types`: whether there are several types of
    packages. `folded`: what follows from these changes."""

    total: int
    types: bool
    rows: LazyRows[PackageRow]
    folded: tuple[Phrase, ...]


def packages_view(result: Diff) -> PackagesView:
    """Returns the changed packages: downgrades first, and then those that changed most files."""
    found = result.packages or PackageDiff()
    together: dict[object, list[ChangedPackage]] = {}
    for one in found.changed:
        together.setdefault(_alike(one), []).append(one)
    groups = sorted(together.values(), key=lambda group: (_KINDS.index(group[0].change.kind), -sum(one.files for one in group)))
    types = len({one.change.package.kind for one in found.changed}) > 1
    return PackagesView(len(found.changed), types, LazyRows(groups, _row), tuple(_folded(found, result.files)))


def packages_verdict(found: PackageDiff) -> Phrase:
    """Returns how many packages changed, by kind of change."""
    kinds = Counter(one.change.kind for one in found.changed)
    counts = [f"{kinds[kind]:,} {_WORDS.get(kind, kind)}" for kind in _KINDS if kinds[kind]]
    number, _, rest = counts[0].partition(" ")
    return (f"{number} {'package' if number == '1' else 'packages'} {rest}", *(f", {one}" for one in counts[1:]))


def full_name(package: Package) -> str:
    """Returns the name of a package, after its scope (npm) or group (Maven)."""
    if not package.namespace:
        return package.name
    return f"{package.namespace}{':' if package.kind == 'maven' else '/'}{package.name}"


def _alike(one: ChangedPackage) -> object:
    """Returns what is equal for packages that share a row: those of one source, or copies of one package, with the same
    versions before and after."""
    change, package = one.change, one.change.package
    versions = [side.version if side is not None else None for side in (change.before, change.after)]
    return change.kind, package.kind, package.source or full_name(package), *versions


def _row(group: Sequence[ChangedPackage]) -> PackageRow:
    change = group[0].change
    package = change.package
    names = sorted({full_name(one.change.package) for one in group})
    name = full_name(package) if len(names) == 1 else package.source or package.name
    grown = sum(one.grown for one in group)
    numbers = Counter(one.layer.number for one in group if one.layer is not None)
    return PackageRow(
        change.kind, package.kind, (Quote(name, "name"),), _versions(change.before, change.after), _others(names, len(group)),
        count_of(sum(one.files for one in group), "file"), signed(grown) if grown else "",
        numbers.most_common(1)[0][0] if numbers else None,
    )  # fmt: skip


def _versions(before: Package | None, after: Package | None) -> Phrase:
    sides = [(Quote(side.version, "value"),) for side in (before, after) if side is not None]
    same = before is not None and after is not None and before.version == after.version
    if same and before is not None and after is not None:
        sides = [(Quote(f"{side.version} ({side.architecture})", "value"),) for side in (before, after)]
    return joined(sides, " -> ")


def _others(names: Sequence[str], count: int) -> Phrase:
    """Returns the names of several packages in one row, or how many copies of one there are."""
    if len(names) == 1:
        return (f"{count:,} copies",) if count > 1 else ()
    more = [(f"{len(names) - _MAX_NAMES:,} more",)] if len(names) > _MAX_NAMES else []
    return joined([*((Quote(name, "name"),) for name in names[:_MAX_NAMES]), *more], ", ")


def _folded(found: PackageDiff, files: Sequence[FileChange]) -> list[Phrase]:
    """Returns how many databases, logs and caches follow, and what they store anew."""
    if not found.followers:
        return []
    size = sum(change.stored for change in files if change.path in found.followers and change.after is not None)
    count = len(found.followers)
    text = f"{count:,} files of databases, logs and caches follow" if count > 1 else "1 file of their database follows"
    return [(text + (f" ({human(size)})" if size else ""),)]
