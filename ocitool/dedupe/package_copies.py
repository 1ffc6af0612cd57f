"""Packages that several layers hold: each copy with its bytes, and what one copy would save.

They are looked for in a layer only if a file of its databases occurs elsewhere too: a package of which there is one copy
has no such file. If the cache has not kept the contents of these files, the layer is read a second time. What a layer
holds is told by its own files alone: the lists of files in its databases, and the directories of packages, as far as the
layer has these files. Go modules and Java archives are passed over: they are parts of files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ocitool import limits
from ocitool.dedupe.collection import Collection, StoredBlob
from ocitool.dedupe.repeated_files import DistinctContents, FileLocation
from ocitool.layers.entry import Entry, Kind
from ocitool.layers.index import LayerIndex
from ocitool.limits import GiB
from ocitool.packages.ownership import owners
from ocitool.packages.package import Package, PackageKind
from ocitool.packages.readers import READERS, SYSTEM_KINDS, readers

KINDS: tuple[PackageKind, ...] = tuple(kind for kind in READERS if kind not in ("golang", "maven"))
"""Kinds of packages that consist of files."""

MAX_READ = 16 * GiB
"""Stored bytes of layers that are read for their packages, the largest layers first."""

_ANY = Entry(b"", Kind.FILE, 0o644, 0, 0, 0, 0)
"""Stands for the entries of files that readers are asked for: those of `KINDS` go by paths alone."""

_PLACES = 10
"""Most locations that are listed for one package."""

_MERGED = frozenset((b"bin", b"sbin", b"lib", b"lib32", b"lib64", b"libx32"))
"""Directories that are links into `usr` in most distributions; databases may name files by them."""


class RepeatedPackage(NamedTuple):
    """A version of a package of which there are several copies.

    - package: the first copy, without its list of files. copies: number of them, by layer and database; layers: of layers
      that hold one; images: of images with such a layer.
    - bytes: of the files of all copies, unpacked. saves: those of them that are the same in several copies, but one.
    - locations: the databases that record some of the copies.
    """

    package: Package
    copies: int
    layers: int
    images: int
    bytes: int
    saves: int
    locations: tuple[FileLocation, ...]


class PackageTotals(NamedTuple):
    """The repeated packages, those that would save most first. `total`, `saves`: of all of them; `left_out`: the number of
    layers that were not read for their packages, because they are too many."""

    total: int
    saves: int
    top: tuple[RepeatedPackage, ...]
    left_out: int


class _Copy(NamedTuple):
    layer: StoredBlob
    package: Package
    bytes: int


class _Found(NamedTuple):
    """What was found of a version of a package. `contents`: for contents that occur in several layers or places, the size
    and how many files of the package have it."""

    copies: list[_Copy]
    contents: dict[bytes, list[int]]


class PackageCopies:
    """Collects the packages of layers, in any order; the result does not depend on it.

    Memory: about 150 bytes for each repeated content of a package that several layers hold, and the rows of one layer."""

    def __init__(self, collection: Collection, contents: DistinctContents) -> None:
        self._collection = collection
        self._contents = contents
        self._found: dict[tuple[str, ...], _Found] = {}

    def database_rows(self, index: LayerIndex) -> list[int]:
        """Returns the rows of the files of databases in a layer, in the order of their offsets; none if no content of one of
        them occurs elsewhere."""
        asked = [reader.database_of for reader in readers(KINDS).values()]

        def records(row: int) -> bool:
            return any(database_of(index.paths[row], _ANY) is not None for database_of in asked)

        rows = list(index.rows_of(Kind.FILE))
        if not any(self._contents.times(index, row) > 1 and records(row) for row in rows):
            return []
        found = [row for row in rows if index.sizes[row] <= limits.DATABASE_FILE and row not in index.sparse and records(row)]
        return sorted(found, key=index.offsets.__getitem__)

    def add(self, layer: StoredBlob, index: LayerIndex, packages: Sequence[Package]) -> None:
        """Adds the packages that the databases of a layer record."""
        rows = {index.paths[row]: row for row in index.rows_of(Kind.FILE)}
        ordered = sorted(packages, key=lambda package: package.kind not in SYSTEM_KINDS)
        held: dict[int, tuple[Package, list[int]]] = {}
        for path, owning in owners(ordered, _LayerAlone(rows), rows).items():
            held.setdefault(id(owning[0]), (owning[0], []))[1].append(rows[path])
        for package, mine in held.values():
            key = (package.kind, package.namespace, package.name, package.version, package.architecture)
            found = self._found.setdefault(key, _Found([], {}))
            found.copies.append(_Copy(layer, package._replace(files=()), sum(index.sizes[row] for row in mine)))
            for row in mine:
                content = index.content(row)
                if content is not None and self._contents.times(index, row) > 1:
                    found.contents.setdefault(content, [index.sizes[row], 0])[1] += 1

    def totals(self, top: int, left_out: int) -> PackageTotals:
        """Returns the result. `top`: number of packages that are listed; `left_out`: of layers that were not read."""
        repeated = [one for found in self._found.values() if (one := self._repeated(found)) is not None]
        repeated.sort(key=lambda one: (-one.saves, one.package))
        return PackageTotals(len(repeated), sum(one.saves for one in repeated), tuple(repeated[:top]), left_out)

    def _repeated(self, found: _Found) -> RepeatedPackage | None:
        """Returns the package if there are several copies of it. A layer that changed a few files of a package, and whose
        database tells of all of it, has no copy: one has at least half the bytes of the largest."""
        saves = sum(size * (count - 1) for size, count in found.contents.values() if count)
        least = max(copy.bytes for copy in found.copies) / 2
        copies = [copy for copy in found.copies if copy.bytes >= least]
        if len(copies) < 2 or not saves:
            return None
        copies.sort(key=lambda copy: (copy.layer.key, copy.package.database))
        layers = {copy.layer for copy in copies}
        return RepeatedPackage(
            copies[0].package, len(copies), len(layers), len({number for layer in layers for number in layer.users}),
            sum(copy.bytes for copy in copies), saves,
            tuple(FileLocation(copy.layer, copy.package.database) for copy in copies[:_PLACES]),
        )  # fmt: skip


class _LayerAlone:
    """Looks paths up among the files of one layer, of which the links of directories are not known: if it has nothing in
    `lib`, what is said to be there is in `usr/lib`."""

    def __init__(self, paths: Mapping[bytes, int]) -> None:
        tops = {path.partition(b"/")[0] for path in paths if b"/" in path}
        self._moved = _MERGED - tops

    def real_path(self, path: bytes) -> bytes | None:
        return b"usr/" + path if path.partition(b"/")[0] in self._moved else path
