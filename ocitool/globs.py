"""Globs over paths. They match whole paths, with or without the leading slash; `**` crosses directories, `*` does not.
A path without any of `*?[`, or with a slash at its end, matches itself and everything below it.

A glob that matches nothing is most likely misspelt, and a report about nothing would mislead: see `refuse_unmatched`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence

from ocitool.errors import UsageError
from ocitool.task import Task


def matcher(globs: Sequence[str]) -> Callable[[bytes], bool]:
    """Returns a test whether a path (without leading slash) matches one of the globs; without globs it is always true.
    Its time is linear in the path."""
    return Matcher(globs).matches if globs else lambda path: True


class Matcher:
    """Tests paths against several globs. Raises `UsageError` for an invalid glob."""

    def __init__(self, globs: Sequence[str]) -> None:
        if "" in globs:  # most likely a shell variable that is not set
            raise UsageError("an empty path", hint="/ is the whole image")
        atoms = [_atoms(glob) for glob in globs]
        try:
            pattern = re.compile(b"|".join(b"(?:%s)" % _pattern(one) for one in atoms), re.DOTALL)
        except re.error as error:
            raise UsageError(f"not a glob: {error}", " ".join(globs)) from None
        self._fullmatch = pattern.fullmatch
        self._atoms = atoms
        self._late: Automaton | None = None
        stars = max(map(_stars, atoms))
        self._short = _LONGEST if stars < 2 else int(_TRIES ** (1 / stars))

    @property
    def _automaton(self) -> Automaton:
        """Made on first use, since most paths are short enough for the regular expression."""
        if self._late is None:
            self._late = Automaton(self._atoms)
        return self._late

    def matches(self, path: bytes) -> bool:
        if len(path) > self._short:  # backtracking of the regular expression could take too long
            return self._automaton.matches(path)
        return self._fullmatch(path) is not None

    def reaches(self, path: bytes) -> bool:
        """Returns whether the path, or a directory above it, matches. The time is linear in the path."""
        return self._automaton.reaches(path)


_TRIES = 10_000
"""Most ways to place the stars in a path that the regular expression may try."""

_LONGEST = 1 << 62


def expression(glob: str) -> bytes:
    """Returns a regular expression without groups for the whole paths that a glob matches, with `re.DOTALL`. Its time is linear
    in the path only if the glob has few stars: for globs of the code, not of a user."""
    return _pattern(_atoms(glob))


def unmatched(globs: Iterable[str], paths: Iterable[bytes]) -> list[str]:
    """Returns the globs that match none of these paths (without leading slash), nor a directory above one of them."""
    left = {glob: Matcher([glob]) for glob in globs}
    seen: set[bytes] = set()
    for path in paths:
        if len(path) > _DEEP:
            for glob in [glob for glob, one in left.items() if one.reaches(path)]:
                del left[glob]
            continue
        while left and path not in seen:
            seen.add(path)
            for glob in [glob for glob, one in left.items() if one.matches(path)]:
                del left[glob]
            path = path.rpartition(b"/")[0]
        if not left:
            break
    return list(left)


_DEEP = 256
"""Bytes of a path beyond which its parents are not tested one by one, which takes time quadratic in the path."""


class NothingMatches(UsageError):
    """A glob matches none of the names that it selects from."""

    def __init__(self, what: str, where: str | None = None) -> None:
        super().__init__(what, where, hint="correct it, or let --allow-no-match go on with a note")


def nothing_matches(what: str, globs: Sequence[str], where: str) -> NothingMatches:
    """Returns the error for globs of which none matches a `what` there."""
    return NothingMatches(f"no {what} matches {' or '.join(globs)}", where)


def refuse_unmatched(globs: Collection[str], option: str, what: str, task: Task, *, allowed: bool) -> None:
    """Raises `NothingMatches` if there are globs that match no `what`; with `allowed`, adds a notice instead."""
    if not globs:
        return
    text = f"{option} {' '.join(globs)} matches no {what}"
    if allowed:
        task.notice("no-match", text)
        return
    if any(glob.startswith("!") for glob in globs) and "path" in option:
        raise UsageError(text, hint="! is part of the name: it does not negate; --ignore-path GLOB leaves paths out")
    raise NothingMatches(text)


_Atom = tuple[str, bytes]
"""A part of a glob: its kind, and for `one` (a single byte) the expression of that byte. `name`: any bytes within a name;
`any`: any bytes; `dirs`: any number of directories; `below`: nothing, or a slash and anything."""

_PATTERNS = {"name": b"[^/]*", "any": b".*", "dirs": b"(?:[^/]+/)*", "below": b"(?:/.*)?"}


def _pattern(atoms: Sequence[_Atom]) -> bytes:
    return b"".join(text if kind == "one" else _PATTERNS[kind] for kind, text in atoms)


def _stars(atoms: Sequence[_Atom]) -> int:
    """Returns how many stars of a glob a regular expression may have to place in all ways: those within one name, and
    those across directories. A leading `**/` and a trailing `**` can be placed in one way only."""
    most = count = crossing = 0
    for number, (kind, text) in enumerate(atoms):
        if kind == "name":
            count += 1
        elif kind == "any" or (kind == "dirs" and number):
            crossing += number < len(atoms) - 1
        elif text == b"/":
            count = 0
        most = max(most, count)
    return most + crossing


def _atoms(glob: str) -> list[_Atom]:
    text = glob.encode("utf-8", "surrogateescape")
    while text[:1] == b"/" or text[:2] == b"./" or text == b".":
        text = text[1:]
    below = not text or text.endswith(b"/") or not any(char in text for char in b"*?[")
    text = text.rstrip(b"/")
    out: list[_Atom] = []
    at = 0
    while at < len(text):
        char = text[at : at + 1]
        if text[at : at + 3] == b"**/":
            out.append(("dirs", b""))
            at += 3
        elif text[at : at + 2] == b"**":
            out.append(("any", b""))
            at += 2
        elif char == b"*":
            out.append(("name", b""))
            at += 1
        elif char == b"?":
            out.append(("one", b"[^/]"))
            at += 1
        elif char == b"[" and (end := text.find(b"]", at + 2)) > 0:
            inner = text[at + 1 : end]
            negated = inner[:1] in (b"!", b"^")
            body = (inner[1:] if negated else inner).replace(b"\\", b"\\\\").replace(b"[", b"\\[").replace(b"^", b"\\^")
            out.append(("one", b"[" + (b"^/" if negated else b"") + body + b"]"))
            at = end + 1
        else:
            out.append(("one", re.escape(char)))
            at += 1
    if below:
        out.append(("below", b"") if out else ("any", b""))
    return out


class Automaton:
    """A nondeterministic automaton for several globs. It reads a path once, without backtracking.

    A set of states is the bits of an integer. Transitions are remembered, up to `KEPT` of them.
    """

    KEPT = 20_000

    def __init__(self, globs: Sequence[Sequence[_Atom]]) -> None:
        self.moves: list[list[tuple[frozenset[int], int]]] = []
        self.skips: list[int | None] = []
        starts, ends = 0, 0
        for atoms in globs:
            starts |= 1 << len(self.moves)
            for kind, text in atoms:
                self._add(kind, text)
            ends |= 1 << self._state()
        self._ends = ends
        self._start = self._closed(starts)
        self._known: dict[tuple[int, int], int] = {}

    def matches(self, path: bytes) -> bool:
        return bool(self._over(path)[0] & self._ends)

    def reaches(self, path: bytes) -> bool:
        return self._over(path)[1]

    def _over(self, path: bytes) -> tuple[int, bool]:
        """Returns the states after a path, and whether a final state was reached at one of its slashes or at its end."""
        states, reached = self._start, False
        for byte in path:
            if byte == _SLASH:
                reached = reached or bool(states & self._ends)
            found = self._known.get((states, byte))
            if found is None:
                found = self._next(states, byte)
            states = found
            if not states:
                break
        return states, reached or bool(states & self._ends)

    def _state(self) -> int:
        self.moves.append([])
        self.skips.append(None)
        return len(self.moves) - 1

    def _add(self, kind: str, text: bytes) -> None:
        here = self._state()
        if kind == "one":
            matches = re.compile(text, re.DOTALL).fullmatch
            self.moves[here].append((frozenset(n for n in range(256) if matches(bytes((n,)))), here + 1))
            return
        if kind == "name" or kind == "any":
            self.moves[here].append((_NAME if kind == "name" else _ALL, here))
            self.skips[here] = here + 1
            return
        inside = self._state()
        self.skips[here] = inside + 1
        if kind == "dirs":
            self.moves[here].append((_NAME, inside))
            self.moves[inside] += [(_NAME, inside), (_ALL - _NAME, here)]
        else:
            self.moves[here].append((_ALL - _NAME, inside))
            self.moves[inside].append((_ALL, inside))
            self.skips[inside] = inside + 1

    def _closed(self, states: int) -> int:
        """Returns these states, and those that can be reached from them without a byte, which have higher numbers."""
        for state, skip in enumerate(self.skips):
            if skip is not None and states >> state & 1:
                states |= 1 << skip
        return states

    def _next(self, states: int, byte: int) -> int:
        found = 0
        for state, moves in enumerate(self.moves):
            if states >> state & 1:
                for bytes_, to in moves:
                    if byte in bytes_:
                        found |= 1 << to
        found = self._closed(found)
        if len(self._known) >= self.KEPT:
            self._known.clear()
        self._known[states, byte] = found
        return found


_SLASH = ord("/")
_ALL = frozenset(range(256))
_NAME = _ALL - {_SLASH}
