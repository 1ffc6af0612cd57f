"""Alignment of two lists of lines: by difflib if that is fast enough, else by the lines that occur once in both.

difflib visits every pair of equal lines for each run that it finds. These steps are counted, up to `STEPS` for each
line. Beyond that, lines that are unique on both sides are used as anchors (as in `git diff --patience`), and what is
between anchors is aligned on its own. Time and memory are linear in the number of lines.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import Match, SequenceMatcher
from itertools import accumulate

STEPS = 100
"""Pairs of equal lines that may be visited for each line of the two lists."""

FREE = 100_000
"""Pairs that may be visited in addition, whatever the lists."""

_LEVELS = 8
"""Most levels of anchors between anchors."""


class Alignment(SequenceMatcher[str]):
    """An alignment of `a` and `b`. `coarse`: some lines may count as removed and added although a longer comparison
    could match them."""

    def __init__(self, a: Sequence[str], b: Sequence[str], *, autojunk: bool = True) -> None:
        self.a, self.b = a, b
        super().__init__(None, a, b, autojunk)
        self.coarse = False
        self.steps = 0
        self._most = FREE + STEPS * (len(a) + len(b))
        self._pairs: list[int] | None = None
        self._blocks: list[Match] | None = None

    def find_longest_match(self, alo: int = 0, ahi: int | None = None, blo: int = 0, bhi: int | None = None) -> Match:
        """Does what difflib's method does, but raises `_TooMany` if it would take too many steps."""
        ahi = len(self.a) if ahi is None else ahi
        if self._pairs is None:
            found: dict[str, list[int]] = self.b2j  # type: ignore[attr-defined]
            self._pairs = list(accumulate((1 + len(found.get(line, ())) for line in self.a), initial=0))
        self.steps += self._pairs[ahi] - self._pairs[alo]
        if self.steps > self._most:
            raise _TooMany
        return super().find_longest_match(alo, ahi, blo, bhi)

    def get_matching_blocks(self) -> list[Match]:
        if self._blocks is None:
            try:
                self._blocks = super().get_matching_blocks()
            except _TooMany:
                self._blocks = self._by_anchors()
        return self._blocks

    def _by_anchors(self) -> list[Match]:
        """Returns matching blocks as difflib does: equal lines at both ends of a range, then anchors between, level by
        level."""
        a, b = self.a, self.b
        found: list[Match] = []
        todo = [(0, len(a), 0, len(b), _LEVELS)]
        while todo:
            i, to_i, j, to_j, levels = todo.pop()
            same = 0
            while i + same < to_i and j + same < to_j and a[i + same] == b[j + same]:
                same += 1
            found.append(Match(i, j, same))
            i, j = i + same, j + same
            same = 0
            while to_i - same > i and to_j - same > j and a[to_i - same - 1] == b[to_j - same - 1]:
                same += 1
            to_i, to_j = to_i - same, to_j - same
            found.append(Match(to_i, to_j, same))
            if i == to_i or j == to_j:
                continue
            anchors = _anchors(a[i:to_i], b[j:to_j]) if levels else []
            if not anchors and to_i - i + to_j - j > (len(a) + len(b)) * 3 // 4:
                self.coarse = True  # the range is most of the lists, for which difflib took too long already
                continue
            if not anchors:
                self._coarsely(i, to_i, j, to_j, found)
                continue
            starts = [(i, j), *((i + x + 1, j + y + 1) for x, y in anchors)]
            ends = [*((i + x, j + y) for x, y in anchors), (to_i, to_j)]
            found += [Match(i + x, j + y, 1) for x, y in anchors]
            for (x, y), (to_x, to_y) in zip(starts, ends, strict=True):
                todo.append((x, to_x, y, to_y, levels - 1))
        return list(_joined(sorted(one for one in found if one.size), len(a), len(b)))

    def _coarsely(self, i: int, to_i: int, j: int, to_j: int, found: list[Match]) -> None:
        """Aligns the lines between anchors with difflib if that is fast enough, else leaves them unmatched."""
        between = Alignment(self.a[i:to_i], self.b[j:to_j], autojunk=False)
        try:
            found += [Match(i + x, j + y, size) for x, y, size in SequenceMatcher.get_matching_blocks(between)]
        except _TooMany:
            self.coarse = True


class _TooMany(Exception):
    """Raised if difflib would take too many steps."""


def _anchors(a: Sequence[str], b: Sequence[str]) -> list[tuple[int, int]]:
    """Returns the positions of lines that occur once in each list: the longest sequence that has the same order in both."""
    once = Counter(b)
    place = {line: j for j, line in enumerate(b) if once[line] == 1}
    counted = Counter(a)
    pairs = [(i, place[line]) for i, line in enumerate(a) if counted[line] == 1 and line in place]
    tails: list[int] = []
    ends: list[int] = []
    before: list[int] = []
    for number, (_, j) in enumerate(pairs):
        at = bisect_left(tails, j)
        before.append(ends[at - 1] if at else -1)
        tails[at : at + 1] = [j]
        ends[at : at + 1] = [number]
    chosen: list[tuple[int, int]] = []
    number = ends[-1] if ends else -1
    while number >= 0:
        chosen.append(pairs[number])
        number = before[number]
    return chosen[::-1]


def _joined(found: Sequence[Match], a: int, b: int) -> Iterator[Match]:
    """Yields adjacent matches joined; the last one is empty, as difflib's."""
    i = j = size = 0
    for one in found:
        if (i + size, j + size) == (one.a, one.b):
            size += one.size
            continue
        if size:
            yield Match(i, j, size)
        i, j, size = one
    if size:
        yield Match(i, j, size)
    yield Match(a, b, 0)


def unified(path: str, a: Sequence[str], b: Sequence[str]) -> tuple[Iterator[str], Alignment]:
    """Returns the lines of a unified diff, as `difflib.unified_diff` writes it, and the alignment it comes from."""
    alignment = Alignment(a, b)
    return _unified(path, alignment), alignment


def _unified(path: str, alignment: Alignment) -> Iterator[str]:
    a, b = alignment.a, alignment.b
    for number, group in enumerate(alignment.get_grouped_opcodes(3)):
        if not number:
            yield f"--- a/{path}"
            yield f"+++ b/{path}"
        first, last = group[0], group[-1]
        yield f"@@ -{_range(first[1], last[2])} +{_range(first[3], last[4])} @@"
        for tag, i, to_i, j, to_j in group:
            if tag == "equal":
                yield from (f" {line}" for line in a[i:to_i])
                continue
            yield from (f"-{line}" for line in a[i:to_i])
            yield from (f"+{line}" for line in b[j:to_j])


def _range(start: int, stop: int) -> str:
    """Returns the line range of a hunk's header, as diff(1) writes it."""
    length = stop - start
    if length == 1:
        return str(start + 1)
    return f"{start + 1 if length else start},{length}"
