"""The packages of a merged tree. Each layer is read once, for all databases of all kinds together."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from ocitool import limits
from ocitool.images.image import Layer
from ocitool.layers.entry import Entry, Kind
from ocitool.packages import os_release
from ocitool.packages.package import DatabaseError, DatabaseProblem, Package, PackageKind, PackageList, PackageReader
from ocitool.packages.readers import SYSTEM_KINDS, readers
from ocitool.task import Task
from ocitool.trees.file_contents import contents
from ocitool.trees.indexing import Indexer
from ocitool.trees.nodes import Directory
from ocitool.trees.tree import Tree, node_at

Databases = Mapping[PackageKind, Collection[bytes]]
"""Databases by kind, each by the path that names it (see `PackageReader.database_of`)."""


class _File(NamedTuple):
    """A file to be read. `ref`: that of its inode; `kinds`: those whose readers want it, none for `os-release`."""

    path: bytes
    ref: int
    entry: Entry
    kinds: tuple[PackageKind, ...]


def installed(
    tree: Tree,
    layers: Sequence[Layer],
    task: Task,
    *,
    kinds: Collection[PackageKind] | None = None,
    only: Databases | None = None,
    indexer: Indexer | None = None,
) -> PackageList:
    """Returns the packages that the databases of a tree record.

    `layers`: those of the tree's indexes. `kinds`: kinds of packages, all by default. `only`: read no other databases than
    these (see `databases_of`), and look for files of databases only where these are. `indexer`: made the indexes; contents
    that it has kept are not read again. A database that cannot be read is one of the `problems`. Memory: one file or the
    kept contents of one layer, and what the readers keep; files are read up to `limits.DATABASE_FILE`, packages up to
    `limits.PACKAGES`. Raises what reading a layer raises.
    """
    wanted = readers(kinds if only is None else only.keys() if kinds is None else only.keys() & set(kinds))
    problems: list[DatabaseProblem] = []
    files: list[_File] = []
    named: dict[PackageKind, bytes] = {}
    holes = 0
    for path, ref, entry, asking in _candidates(tree, wanted, only):
        for kind, database in asking.items():
            named.setdefault(kind, database)
        holes += entry.size - entry.stored
        if entry.size > limits.DATABASE_FILE:
            problems.append(DatabaseProblem(path, f"it is larger than {limits.DATABASE_FILE} bytes"))
        elif holes > limits.DATABASE_FILE:
            problems.append(DatabaseProblem(path, f"sparse files with more than {limits.DATABASE_FILE} bytes of holes"))
        else:
            files.append(_File(path, ref, entry, tuple(asking)))
    release = _release_file(tree) if SYSTEM_KINDS & named.keys() else None
    if release is not None:
        files.append(release)
    distribution = None
    for file, content in _contents(files, tree, layers, task, indexer):
        if not file.kinds:
            distribution = os_release.distribution(content)
        for kind in file.kinds:
            _add(wanted[kind], file.path, content, problems)
    return PackageList(_packages(wanted, named, problems), tuple(sorted(problems)), distribution)


def recorded(files: Iterable[tuple[Entry, bytes]], kinds: Collection[PackageKind] | None = None) -> PackageList:
    """Returns the packages that regular files record, given with their contents, as far as these files tell; files of no
    database are passed over. Problems as by `installed`; the distribution is not known."""
    wanted = readers(kinds)
    problems: list[DatabaseProblem] = []
    named: dict[PackageKind, bytes] = {}
    for entry, content in files:
        for kind, reader in wanted.items():
            database = reader.database_of(entry.path, entry)
            if database is not None:
                named.setdefault(kind, database)
                _add(reader, entry.path, content, problems)
    return PackageList(_packages(wanted, named, problems), tuple(sorted(problems)))


def databases_of(files: Iterable[tuple[bytes, Entry]], kinds: Collection[PackageKind] | None = None) -> Databases:
    """Returns the databases to which files belong, given by path and entry; entries that are no regular files are passed
    over."""
    askers = [(kind, reader.database_of) for kind, reader in readers(kinds).items()]
    found: dict[PackageKind, set[bytes]] = {}
    for path, entry in files:
        if entry.kind == Kind.FILE:
            for kind, database_of in askers:
                database = database_of(path, entry)
                if database is not None:
                    found.setdefault(kind, set()).add(database)
    return found


def _contents(
    files: Iterable[_File], tree: Tree, layers: Sequence[Layer], task: Task, indexer: Indexer | None
) -> Iterator[tuple[_File, bytes]]:
    """Yields files with their contents: those that were kept with the indexes, and then the others, layer by layer."""
    by_layer: dict[int, list[_File]] = {}
    for file in files:
        by_layer.setdefault(Tree.layer(file.ref), []).append(file)
    others: list[_File] = []
    for number, found in by_layer.items():
        kept = indexer.kept_contents(tree.indexes[number]) if indexer is not None else {}
        for file in found:
            content = kept.get(Tree.row(file.ref))
            if content is None:
                others.append(file)
            else:
                yield file, content
    for position, content in contents([(layers[Tree.layer(file.ref)], file.entry) for file in others], task):
        yield others[position], content


def _candidates(
    tree: Tree, wanted: Mapping[PackageKind, PackageReader], only: Databases | None
) -> Iterator[tuple[bytes, int, Entry, dict[PackageKind, bytes]]]:
    """Yields the files of databases, each once: path, ref of the inode, entry, and its database by kind."""
    if only is None:
        places = [(b"", tuple(wanted))]
    else:
        kinds_at: dict[bytes, tuple[PackageKind, ...]] = {}
        for kind in wanted:
            for place in _topmost(only[kind]):
                kinds_at[place] = (*kinds_at.get(place, ()), kind)
        places = sorted(kinds_at.items())
    for place, kinds in places:
        askers = [(kind, wanted[kind].database_of) for kind in kinds]
        for path, ref in _regular_files(tree, place):
            entry = tree.entry(ref)
            asking = {}
            for kind, database_of in askers:
                database = database_of(path, entry)
                if database is not None and (only is None or database in only[kind]):
                    asking[kind] = database
            if asking:
                yield path, ref, entry, asking


def _topmost(paths: Collection[bytes]) -> Iterator[bytes]:
    """Yields the paths that are not below another of them."""
    last = None
    for path in sorted(paths, key=lambda path: path.split(b"/")):
        if last is None or not (path == last or path.startswith(last + b"/")):
            yield path
            last = path


def _regular_files(tree: Tree, place: bytes) -> Iterator[tuple[bytes, int]]:
    """Yields the regular files at a path and below it: path, and ref of the inode."""
    node = node_at(tree, place)
    found = tree.walk(node, place) if isinstance(node, Directory) else () if node is None else ((place, node),)
    for path, one in found:
        if not isinstance(one, Directory):
            inode = tree.inode(one)
            if tree.indexes[Tree.layer(inode)].kinds[Tree.row(inode)] == Kind.FILE:
                yield path, inode


def _release_file(tree: Tree) -> _File | None:
    """Returns the file that states the distribution, None if there is none of a sensible size."""
    for path in os_release.PATHS:
        node = tree.find(path, follow=True)
        if node is not None and not isinstance(node, Directory):
            entry = tree.entry(node)
            if entry.kind == Kind.FILE and entry.size <= limits.DOCUMENT_SIZE:
                return _File(path, tree.inode(node), entry, ())
    return None


def _add(reader: PackageReader, path: bytes, content: bytes, problems: list[DatabaseProblem]) -> None:
    try:
        reader.add(path, content)
    except DatabaseError as error:
        problems.append(DatabaseProblem(path, str(error)))


def _packages(
    wanted: Mapping[PackageKind, PackageReader], named: Mapping[PackageKind, bytes], problems: list[DatabaseProblem]
) -> tuple[Package, ...]:
    """Returns the packages of all readers, in order. `named`: a database of each kind, by which problems are named."""
    packages: list[Package] = []
    for kind, database in named.items():
        packages += _read(wanted[kind], database, problems, limits.PACKAGES - len(packages))
    return tuple(sorted(packages, key=_order))


def _read(reader: PackageReader, database: bytes, problems: list[DatabaseProblem], most: int) -> list[Package]:
    """Returns the packages of a reader, at most so many. `database`: what problems name, for they are not of a single
    file."""
    found: list[Package] = []
    packages = reader.packages()
    try:
        for package in islice(packages, most):
            found.append(package)
        if next(packages, None) is not None:
            problems.append(DatabaseProblem(database, f"more than {limits.PACKAGES} packages"))
    except DatabaseError as error:
        problems.append(DatabaseProblem(database, str(error)))
    return found


def _order(package: Package) -> tuple[str | bytes, ...]:
    return (package.kind, package.namespace, package.name, package.database, package.version, package.architecture)
