"""The memory of the paths that a reader lists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ocitool import limits
from ocitool.packages.package import DatabaseError

_OVERHEAD = 64
"""Memory of a path in addition to its length."""


class PathBudget:
    """Counts the paths of all packages of one reader, and their memory: a small file can name one long directory for each of
    a million files. Bounds: `limits.PACKAGE_FILES`, `limits.PACKAGE_PATH_MEMORY`."""

    def __init__(self) -> None:
        self._paths = limits.PACKAGE_FILES
        self._memory = limits.PACKAGE_PATH_MEMORY

    def take(self, paths: int, length: int) -> None:
        """Counts paths that have so many bytes together, before they are made. Raises `DatabaseError`."""
        self.check(paths)
        self._paths -= paths
        self._memory -= length + paths * _OVERHEAD
        if self._memory < 0:
            raise DatabaseError(f"the paths of packages' files take more than {limits.PACKAGE_PATH_MEMORY} bytes")

    def check(self, paths: int) -> None:
        """Raises `DatabaseError` if so many more paths are too many."""
        if paths > self._paths:
            raise DatabaseError(f"packages list more than {limits.PACKAGE_FILES} files")

    def taken(self, paths: Iterable[bytes]) -> Iterator[bytes]:
        """Yields paths, each counted before."""
        for path in paths:
            self.take(1, len(path))
            yield path
