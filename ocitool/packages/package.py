"""An installed package, a list of them, and what each reader of a kind of database provides."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple, Protocol

from ocitool.layers.entry import Entry

PackageKind = Literal["deb", "apk", "rpm", "pypi", "conda", "npm", "gem", "golang", "maven"]
"""Kinds of packages, named as the types of package URLs (purl)."""


class Package(NamedTuple):
    """An installed package. `database`: the path of the file that records it. `namespace`: as in a package URL: the scope of
    npm, the group of Maven; a distribution adds its own. `files`: the paths it installed, as its database spells them but
    without a leading slash, empty if the database does not list them; `directory`: a directory that holds all of its
    files and those of no other package but the ones in directories below it, None if there is none. Names of files and
    `database` have no leading slash."""

    kind: PackageKind
    name: str
    version: str
    database: bytes
    namespace: str = ""
    architecture: str = ""
    source: str = ""
    """The name of the source package, if it is another than `name`; `source_version`: its version, if it is another."""
    source_version: str = ""
    license: str = ""
    files: tuple[bytes, ...] = ()
    directory: bytes | None = None


class DatabaseProblem(NamedTuple):
    """A database that could not be read, or not wholly. `reason`: a phrase without the path."""

    path: bytes
    reason: str


class Distribution(NamedTuple):
    """The distribution of a tree, by its `os-release`. `id`: such as `debian`; `version`: `VERSION_ID`, empty if it states
    none, as rolling distributions do."""

    id: str
    version: str


class PackageList(NamedTuple):
    """The packages of a tree, in the order of kind, namespace, name and database. `distribution`: that of the tree, which
    package URLs of deb, apk and rpm name; None if it states none, or there is no package of these kinds."""

    packages: tuple[Package, ...]
    problems: tuple[DatabaseProblem, ...]
    distribution: Distribution | None = None


class DatabaseError(ValueError):
    """A file is not a database of the kind that its path says, or passes a limit. The text says why, without the path."""


class PackageReader(Protocol):
    """Reads the databases of one kind in one merged tree. A reader is made for one tree, without arguments, and used once.

    The caller asks `database_of` for each regular file of the tree, gives the whole contents of all files of the databases
    that it needs to `add`, one at a time and in any order, and then takes `packages`.
    """

    def database_of(self, path: bytes, entry: Entry) -> bytes | None:
        """Returns the directory or file that names the database this file belongs to, None if its content is not needed.
        All files of a database are at that path or below it.

        If one file of a database differs between two trees, all files of that database are read, on both sides."""

    def add(self, path: bytes, content: bytes) -> None:
        """Takes the content of a file. Raises `DatabaseError`."""

    def packages(self) -> Iterator[Package]:
        """Yields the packages of all files that were added. Raises `DatabaseError`; packages before it still count."""
