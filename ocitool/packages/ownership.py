"""Which package installed a path: by the file lists of databases, then by the directories of packages.

Databases spell paths as their packages have them. If a directory of such a path is a symbolic link in the tree, as in a
merged `/usr` (dpkg lists `/bin/ls`, the tree has `usr/bin/ls`), the path is looked up through the tree.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Protocol

from ocitool.errors import LimitError
from ocitool.packages.package import Package
from ocitool.patterns import byte_pattern

_COMPILED = byte_pattern(rb"(.*/)?__pycache__/([^/]+?)\.[^./]+(?:\.opt-[12])?\.pyc", re.DOTALL)
"""A file that Python compiled from a module beside it (PEP 3147), by which the package is found that has the module."""


class LinkResolver(Protocol):
    """What knows the links of directories: a merged tree."""

    def real_path(self, path: bytes) -> bytes | None:
        """Returns a path with the links in its directories followed; None if its directory does not exist."""


def owners(packages: Sequence[Package], tree: LinkResolver, paths: Collection[bytes]) -> dict[bytes, tuple[Package, ...]]:
    """Returns the packages that installed each of these paths of a tree (or that its databases list though it has them
    not), in the order of `packages`; a path that no package has is not in it.

    A file is listed by one package, as a rule; a directory by all that have files in it. A path that is not listed belongs to
    the package of the nearest directory above it that is a package's own (`Package.directory`). Time: each listed path once.
    Memory: grows with `paths`, not with the lists.
    """
    wanted: dict[bytes, list[Package]] = {path: [] for path in paths}
    sources: dict[bytes, bytes] = {}
    for path in paths:
        compiled = _COMPILED.fullmatch(path)
        if compiled is not None:
            source = (compiled[1] or b"") + compiled[2] + b".py"
            sources[path] = source
            wanted.setdefault(source, [])
    places = RealPaths(tree)
    for package in packages:
        for path in package.files:
            found = wanted.get(places.of(path))
            if found is not None and not (found and found[-1] is package):
                found.append(package)
    directories = {places.of(package.directory): package for package in packages if package.directory}
    result = {}
    for path in paths:
        listed = wanted[path] or wanted[sources.get(path, path)]
        if listed:
            result[path] = tuple(listed)
            continue
        for above in _upwards(path) if directories else ():
            package_above = directories.get(above)
            if package_above is not None:
                result[path] = (package_above,)
                break
    return result


class RealPaths:
    """Looks paths up in a tree: links in their directories are followed, the last name is not. What a directory leads to is
    kept, since lists of files name each directory many times."""

    def __init__(self, tree: LinkResolver) -> None:
        self._tree = tree
        self._parents: dict[bytes, bytes] = {}

    def of(self, path: bytes) -> bytes:
        """Returns the real path; the path itself if its directory does not exist."""
        parent, slash, name = path.rpartition(b"/")
        if not slash:
            return path
        real = self._parents.get(parent)
        if real is None:
            try:
                found = self._tree.real_path(path)
            except LimitError:  # a hostile list that leads through links again and again
                found = None
            real = parent if found is None else found.rpartition(b"/")[0]
            self._parents[parent] = real
        return real + slash + name if real else name


def _upwards(path: bytes) -> Iterator[bytes]:
    """Yields a path and the directories above it, without the root."""
    while path:
        yield path
        path = path.rpartition(b"/")[0]
