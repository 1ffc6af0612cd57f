"""Two lists of packages compared: what was upgraded, downgraded, added, removed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cmp_to_key
from typing import Literal, NamedTuple

from ocitool.packages import versions
from ocitool.packages.package import Package

PackageChangeKind = Literal["upgraded", "downgraded", "changed", "added", "removed"]
"""`changed`: the version is another and neither is known to be newer, or the architecture is another."""


class PackageChange(NamedTuple):
    """A package that differs. `before`: None if it was added; `after`: None if it was removed."""

    kind: PackageChangeKind
    before: Package | None
    after: Package | None

    @property
    def package(self) -> Package:
        """The package as it is after the change; as it was, if it was removed."""
        package = self.after or self.before
        assert package is not None
        return package


def package_changes(before: Sequence[Package], after: Sequence[Package]) -> tuple[PackageChange, ...]:
    """Returns the differences of two lists, in the order of kind, namespace and name.

    Several packages of one name stand side by side as kernels, architectures of multiarch and copies below several
    `node_modules` do. What is on both sides in one version and architecture is no change, wherever it is. The rest is
    paired by architecture and place, by either, then newest with newest; what finds no partner was added or removed.
    """
    groups: dict[tuple[str, str, str], tuple[list[Package], list[Package]]] = {}
    for side, packages in enumerate((before, after)):
        for package in packages:
            groups.setdefault((package.kind, package.namespace, package.name), ([], []))[side].append(package)
    found: list[PackageChange] = []
    for key in sorted(groups):
        old, new = groups[key]
        if old != new:
            found += _of_one_name(old, new)
    return tuple(found)


def _of_one_name(old: Sequence[Package], new: Sequence[Package]) -> Iterator[PackageChange]:
    common = Counter(map(_version, old)) & Counter(map(_version, new))
    if common:
        old, new = _without(old, common), _without(new, common)
    for key in (_architecture_and_place, _place, _architecture):
        pairs, old, new = _paired(old, new, key)
        for a, b in pairs:
            yield PackageChange(_kind(a, b), a, b)
    old, new = _newest_first(old), _newest_first(new)
    for a, b in zip(old, new, strict=False):
        yield PackageChange(_kind(a, b), a, b)
    for package in old[len(new) :]:
        yield PackageChange("removed", package, None)
    for package in new[len(old) :]:
        yield PackageChange("added", None, package)


def _version(package: Package) -> tuple[str, str]:
    return package.version, package.architecture


def _place(package: Package) -> bytes:
    return package.directory if package.directory is not None else package.database


def _architecture(package: Package) -> str:
    return package.architecture


def _architecture_and_place(package: Package) -> tuple[str, bytes]:
    return package.architecture, _place(package)


def _without(packages: Sequence[Package], counts: Counter[tuple[str, str]]) -> list[Package]:
    """Returns the packages but for so many of each version and architecture."""
    left = counts.copy()
    kept = []
    for package in packages:
        if left[_version(package)] > 0:
            left[_version(package)] -= 1
        else:
            kept.append(package)
    return kept


def _paired(
    old: Sequence[Package], new: Sequence[Package], key: Callable[[Package], object]
) -> tuple[list[tuple[Package, Package]], list[Package], list[Package]]:
    """Returns pairs of equal key, the newest with the newest, and what is left on each side."""
    waiting: dict[object, list[Package]] = {}
    for package in reversed(_newest_first(new)):
        waiting.setdefault(key(package), []).append(package)
    pairs, left = [], []
    for package in _newest_first(old):
        partners = waiting.get(key(package))
        if partners:
            pairs.append((package, partners.pop()))
        else:
            left.append(package)
    return pairs, left, [package for partners in waiting.values() for package in partners]


def _newest_first(packages: Sequence[Package]) -> list[Package]:
    if len(packages) < 2:
        return list(packages)
    found = sorted(packages, key=_place)
    found.sort(key=cmp_to_key(_order), reverse=True)
    return found


def _order(a: Package, b: Package) -> int:
    return versions.compare(a.kind, a.version, b.version) or 0


def _kind(before: Package, after: Package) -> PackageChangeKind:
    order = versions.compare(before.kind, before.version, after.version)
    return "upgraded" if order == -1 else "downgraded" if order == 1 else "changed"
