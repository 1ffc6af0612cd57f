"""Finds renamed and moved files and directories among the paths that only one of two images has.

1. A content that one path of each side has tells a renamed file; of a content that several paths have, those are paired
   that alone share a name, or a name and the directories right above it.
2. A directory moved if more than half of its files did, each to the same name below the same other directory, and these
   are more than half of the files there. Contents that several paths have and that were not paired do not count.
3. Of the contents that several paths have, those below moved directories are paired, then what is the last on both sides of
   one name, one directory, or at all. The rest stays added and removed.
4. With a directory move its directories, links, devices and empty files, and the files whose content changed.

Empty files are never renamed without their directory, contents of less than `SMALLEST` bytes only under the same name: they
are equal by chance.

What is found in one direction is found in the other. Time and memory are linear in the paths and their directories: about
4 us and 250 bytes for each path that only one image has.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from ocitool.comparison.result import FileChange, Side
from ocitool.layers.entry import Kind

SMALLEST = 32
"""Bytes from which on a content alone says that two paths are one file."""

_SUFFIX = 8
"""Names at the end of a path that are compared to tell copies of one content apart."""

_DEEPEST = 64
"""Directories above a file that tells where they moved. Deeper ones move only with those above them: in a hostile image each
file could have a thousand."""


def find_renames(files: Sequence[FileChange]) -> array[int]:
    """Returns, for each change, the position of the change whose path it was before, -1 for none; an empty array if nothing
    was renamed. `files`: the changes in the order of paths; a content counts only if `Side.content` has it."""
    search = _Search(files)
    search.pair_contents()
    if search.contents or search.to:
        search.pair_by_suffixes()
        search.find_moved_directories()
        search.pair_by_directories()
        search.pair_last_ones()
    sources = array("q", [-1]) * len(files) if search.to else array("q")
    for before, after in search.to.items():
        sources[after] = before
    return sources


class _Search:
    """The positions of changes that are not yet paired, and those that are. `old`, `new`: the sides of the paths before and
    after."""

    def __init__(self, files: Sequence[FileChange]) -> None:
        self.paths = [change.path for change in files]
        self.old = {n: change.before for n, change in enumerate(files) if change.kind in ("removed", "type")}
        self.new = {n: change.after for n, change in enumerate(files) if change.kind in ("added", "type")}
        self.to: dict[int, int] = {}
        """Positions of renamed paths before and after; `taken` has those after."""
        self.taken: set[int] = set()
        self.moved: dict[bytes, bytes] = {}
        old, new = _by_content(self.old), _by_content(self.new)
        self.contents = [(old[content], new[content]) for content in old if content in new]
        """The positions of each content that both sides have."""

    def _pair(self, before: int, after: int) -> None:
        self.to[before] = after
        self.taken.add(after)

    # Files

    def pair_contents(self) -> None:
        """Pairs the contents that one path of each side has."""
        several = []
        for old, new in self.contents:
            if len(old) == len(new) == 1:
                if self._is_telling(old[0]) or name_of(self.paths[old[0]]) == name_of(self.paths[new[0]]):
                    self._pair(old[0], new[0])
            else:
                several.append((old, new))
        self.contents = several

    def _is_telling(self, position: int) -> bool:
        side = self.old[position]
        return side is not None and side.entry.size >= SMALLEST

    def pair_by_suffixes(self) -> None:
        """Pairs, of each content that several paths have, the two that alone end with the same names: with one, else with
        two, and so on."""
        groups = self.contents
        for depth in range(1, _SUFFIX + 1):
            deeper = []
            for old, new in groups:
                by_old, by_new = (self._grouped(side, partial(_suffix, depth=depth)) for side in (old, new))
                for end, those in by_old.items():
                    others = by_new.get(end)
                    if others is None:
                        continue
                    if len(those) == len(others) == 1:
                        self._pair(those[0], others[0])
                    else:
                        deeper.append((those, others))
            groups = deeper

    def pair_last_ones(self) -> None:
        """Pairs, of each content that several paths have, those that are the last on both sides of one name, then of one
        directory, then at all."""
        for old, new in self.contents:
            for key in (name_of, directory_of, _any):
                if key is not name_of and not self._is_telling(old[0]):
                    break
                left = self._grouped((n for n in new if n not in self.taken), key)
                for value, those in self._grouped((n for n in old if n not in self.to), key).items():
                    others = left.get(value, ())
                    if len(those) == len(others) == 1:
                        self._pair(those[0], others[0])

    def _grouped(self, positions: Iterable[int], key: Callable[[bytes], bytes]) -> dict[bytes, list[int]]:
        found: dict[bytes, list[int]] = {}
        for n in positions:
            found.setdefault(key(self.paths[n]), []).append(n)
        return found

    # Directories

    def find_moved_directories(self) -> None:
        """Finds the directories most of whose files moved together."""
        unclear = {n for old, new in self.contents for n in old if n not in self.to}
        unclear |= {n for old, new in self.contents for n in new if n not in self.taken}
        known = _Directories()
        old, new = (
            known.below(self.paths[n] for n, one in side.items() if n not in unclear and _has_content(one))
            for side in (self.old, self.new)
        )
        paths = self.paths
        moves = known.moves((paths[before], paths[after]) for before, after in self.to.items())
        for (before, after), count in moves.items():
            if 2 * count > old[before] and 2 * count > new[after]:
                self.moved[known.paths[before]] = known.paths[after]

    def pair_by_directories(self) -> None:
        """Pairs what is below directories that moved, and these themselves: first equal contents, then the rest."""
        if not self.moved:
            return
        there, back = _Mapping(self.moved), _Mapping({after: before for before, after in self.moved.items()})
        at = {self.paths[n]: n for n in self.new if n not in self.taken}
        for n, before in self.old.items():
            path = there.of(self.paths[n]) if n not in self.to else None
            after = at.get(path) if path is not None else None
            if path is None or after is None or back.of(path) != self.paths[n]:
                continue
            if _is_alike(before, self.new[after]):
                self._pair(n, after)


class _Directories:
    """Directories by number, each after the one it is in; the root is 0. Files that are deeper than `_DEEPEST` count
    nowhere."""

    def __init__(self) -> None:
        self.paths = [b""]
        self._parents = [0]
        self._depths = [0]
        self._numbers = {b"": 0}

    def _number(self, path: bytes) -> int:
        """Returns the number of a directory."""
        missing = []
        while path not in self._numbers:
            missing.append(path)
            path = directory_of(path)
        number = self._numbers[path]
        for path in reversed(missing):
            self.paths.append(path)
            self._parents.append(number)
            self._depths.append(self._depths[number] + 1)
            number = self._numbers[path] = len(self.paths) - 1
        return number

    def below(self, files: Iterable[bytes]) -> Counter[int]:
        """Returns how many files are in each directory and below it."""
        counts = Counter(filter(self._is_counted, (self._number(directory_of(path)) for path in files)))
        for number in range(len(self.paths) - 1, 0, -1):
            if number in counts:
                counts[self._parents[number]] += counts[number]
        return counts

    def _is_counted(self, number: int) -> bool:
        return self._depths[number] <= _DEEPEST

    def moves(self, files: Iterable[tuple[bytes, bytes]]) -> Counter[tuple[int, int]]:
        """Returns how many files moved from each directory, or below it, to the same path below another one. `files`: paths
        before and after."""
        counts: Counter[tuple[int, int]] = Counter()
        for old, new in files:
            if name_of(old) == name_of(new):
                before, after = self._number(directory_of(old)), self._number(directory_of(new))
                if before != after and self._is_counted(before) and self._is_counted(after):
                    counts[before, after] += 1
        for pair in [*counts]:
            above = self._above(pair)
            while above is not None and above not in counts:
                counts[above] = 0
                above = self._above(above)
        for pair in sorted(counts, reverse=True):
            above = self._above(pair)
            if above is not None:
                counts[above] += counts[pair]
        return counts

    def _above(self, pair: tuple[int, int]) -> tuple[int, int] | None:
        """Returns the directories above two of one name; None if there is no move to see in them."""
        before, after = pair
        above = self._parents[before], self._parents[after]
        if not before or not after or above[0] == above[1] or name_of(self.paths[before]) != name_of(self.paths[after]):
            return None
        return above


class _Mapping:
    """What paths became with the directories above them that moved. Directories are computed once each."""

    def __init__(self, moved: Mapping[bytes, bytes]) -> None:
        self._known: dict[bytes, bytes | None] = {b"": None, **moved}

    def of(self, path: bytes) -> bytes | None:
        """Returns the path after the moves, None if no directory above it moved; of a directory that moved its new path."""
        if path in self._known:
            return self._known[path]
        directory, _, name = path.rpartition(b"/")
        unknown = []
        while directory not in self._known:
            unknown.append(directory)
            directory = directory_of(directory)
        above = self._known[directory]
        for directory in reversed(unknown):
            above = self._known[directory] = _joined(above, name_of(directory))
        return _joined(above, name)


def _joined(directory: bytes | None, name: bytes) -> bytes | None:
    if directory is None:
        return None
    return directory + b"/" + name if directory else name


# Paths and sides


def name_of(path: bytes) -> bytes:
    """Returns the last name of a path."""
    return path.rpartition(b"/")[2]


def directory_of(path: bytes) -> bytes:
    """Returns the directory of a path, empty for the root and what is right in it."""
    return path.rpartition(b"/")[0]


def _suffix(path: bytes, depth: int) -> bytes:
    """Returns the last `depth` names of a path."""
    return b"/".join(path.rsplit(b"/", depth)[-depth:])


def _any(path: bytes) -> bytes:
    return b""


def _by_content(sides: Mapping[int, Side | None]) -> dict[bytes, list[int]]:
    """Returns the positions of each content that is known and not empty."""
    found: dict[bytes, list[int]] = {}
    for n, side in sides.items():
        if side is not None and side.content is not None and side.entry.size:
            found.setdefault(side.content, []).append(n)
    return found


def _has_content(side: Side | None) -> bool:
    return side is not None and side.entry.kind == Kind.FILE and side.entry.size > 0


def _is_alike(before: Side | None, after: Side | None) -> bool:
    """Returns whether two paths of one name below a directory that moved are of one type."""
    if before is None or after is None:
        return False
    return before.entry.kind == after.entry.kind and before.entry.device == after.entry.device
