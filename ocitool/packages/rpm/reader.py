"""The reader of rpm's databases."""

from __future__ import annotations

from collections.abc import Iterator

from ocitool.layers.entry import Entry
from ocitool.packages.package import DatabaseError, Package
from ocitool.packages.path_budget import PathBudget
from ocitool.packages.rpm import berkeley, ndb, sqlite
from ocitool.packages.rpm.header import read_package

DIRECTORIES = frozenset({b"var/lib/rpm", b"usr/lib/sysimage/rpm", b"usr/share/rpm"})
"""Where rpm keeps its database: by default; in Fedora since 36 and SUSE; in images made by rpm-ostree."""

_SQLITE, _LOG, _NDB, _BERKELEY = b"rpmdb.sqlite", b"rpmdb.sqlite-wal", b"Packages.db", b"Packages"
_NAMES = (_SQLITE, _LOG, _NDB, _BERKELEY)

_UNREADABLE = 1_000
"""Most headers of one database that cannot be read and are passed over."""


class RpmReader:
    """Reads rpm's databases in one merged tree. The database is its directory.

    If a directory holds several formats, the newest counts: rpm leaves the old file when it converts its database. Memory:
    the files, the one that is read twice, and the packages.
    """

    def __init__(self) -> None:
        self._files: dict[bytes, dict[bytes, bytes]] = {}
        self._budget = PathBudget()

    def database_of(self, path: bytes, entry: Entry) -> bytes | None:
        directory, _, name = path.rpartition(b"/")
        return directory if name in _NAMES and directory in DIRECTORIES else None

    def add(self, path: bytes, content: bytes) -> None:
        directory, _, name = path.rpartition(b"/")
        self._files.setdefault(directory, {})[name] = content

    def packages(self) -> Iterator[Package]:
        """Yields the packages of all databases. A header that cannot be read is passed over: the error at the end counts
        them. A database with `_UNREADABLE` of them is given up."""
        reasons: list[str] = []
        while self._files:
            directory, files = self._files.popitem()
            database, headers = _headers(directory, files)
            most = len(reasons) + _UNREADABLE
            try:
                for blob in headers:
                    try:
                        package = read_package(blob, database, self._budget)
                    except DatabaseError as error:
                        reasons.append(str(error))
                        if len(reasons) == most:
                            break
                        continue
                    if package is not None:
                        yield package
            except DatabaseError as error:
                reasons.append(str(error))
        if reasons:
            raise DatabaseError(reasons[0] if len(reasons) == 1 else f"{len(reasons)} problems, first: {reasons[0]}")


def _headers(directory: bytes, files: dict[bytes, bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Returns the file of a directory that counts, and its headers."""
    if _SQLITE in files:
        name, found = _SQLITE, sqlite.header_blobs(files.pop(_SQLITE), files.pop(_LOG, b""))
    elif _NDB in files:
        name, found = _NDB, ndb.header_blobs(files.pop(_NDB))
    elif _BERKELEY in files:
        name, found = _BERKELEY, berkeley.header_blobs(files.pop(_BERKELEY))
    else:  # A log alone: its database was removed or could not be read.
        name, found = _LOG, iter(())
    return directory + b"/" + name, found
