"""The paths of a layer's entries, in a column that holds the path of each directory once."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from operator import add, eq
from typing import overload


class Paths(Sequence[bytes]):
    """Paths by row. Only the code that builds an index changes them.

    The path of a row is `prefixes[prefix_of[row]] + names[row]`; a prefix is empty or ends in a slash. Entries of one
    directory share its prefix, and merged trees take the names as their keys: a path itself exists only while it is used.
    """

    __slots__ = ("_last", "_last_number", "_numbers", "names", "prefix_of", "prefixes")

    def __init__(self, paths: Iterable[bytes] = ()) -> None:
        self.names: list[bytes] = []
        self.prefix_of = array("I")
        self.prefixes: list[bytes] = []
        self._numbers: dict[bytes, int] = {}
        self._last: bytes | None = None
        self._last_number = 0
        self.extend(paths)

    @classmethod
    def of_columns(cls, names: list[bytes], prefix_of: array[int], prefixes: list[bytes]) -> Paths:
        """Returns paths that have these columns. Raises `ValueError` if the columns do not fit each other."""
        if len(names) != len(prefix_of) or (names and max(prefix_of) >= len(prefixes)):
            raise ValueError("columns of unequal length")
        made = cls()
        made.names, made.prefix_of, made.prefixes = names, prefix_of, prefixes
        made._numbers = {prefix: number for number, prefix in enumerate(prefixes)}
        return made

    def of_runs(self, runs: Iterable[tuple[int, int]]) -> Paths:
        """Returns the paths of some rows, given as (start, stop) ranges."""
        names: list[bytes] = []
        prefix_of = array("I")
        for start, stop in runs:
            names += self.names[start:stop]
            prefix_of += self.prefix_of[start:stop]
        return Paths.of_columns(names, prefix_of, self.prefixes.copy())

    def append(self, path: bytes) -> None:
        """Adds the path of the next row."""
        cut = path.rfind(b"/") + 1
        self.names.append(path[cut:])
        prefix = path[:cut]
        if prefix != self._last:
            self._last, self._last_number = prefix, self._number(prefix)
        self.prefix_of.append(self._last_number)

    def extend(self, paths: Iterable[bytes]) -> None:
        """Adds the paths of the next rows."""
        add_name, add_number = self.names.append, self.prefix_of.append
        last, number = b"", 0
        for path in paths:
            parent, slash, name = path.rpartition(b"/")
            if parent != last or not parent:
                last, number = parent, self._number(parent + slash)
            add_name(name)
            add_number(number)

    def __setitem__(self, row: int, path: bytes) -> None:
        cut = path.rfind(b"/") + 1
        self.names[row] = path[cut:]
        self.prefix_of[row] = self._number(path[:cut])

    def _number(self, prefix: bytes) -> int:
        number = self._numbers.setdefault(prefix, len(self.prefixes))
        if number == len(self.prefixes):
            self.prefixes.append(prefix)
        return number

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, row: int) -> bytes: ...
    @overload
    def __getitem__(self, row: slice) -> list[bytes]: ...
    def __getitem__(self, row: int | slice) -> bytes | list[bytes]:
        if isinstance(row, slice):
            return [self[at] for at in range(*row.indices(len(self)))]
        return self.prefixes[self.prefix_of[row]] + self.names[row]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Paths):
            return NotImplemented
        if self.names != other.names:
            return False
        same = self.prefix_of == other.prefix_of and self.prefixes == other.prefixes
        return same or all(map(eq, self, other))

    __hash__ = None  # type: ignore[assignment]  # as a list

    def __iter__(self) -> Iterator[bytes]:
        return map(add, map(self.prefixes.__getitem__, self.prefix_of), self.names)


def share_names(columns: Iterable[Paths]) -> None:
    """Makes equal names of all columns one object; the columns are equal to what they were. Two builds of an image have most
    names in common, and a name takes half of what an entry takes in a tree."""
    known: dict[bytes, bytes] = {}
    for paths in columns:
        paths.names = [known.setdefault(name, name) for name in paths.names]
