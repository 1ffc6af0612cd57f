"""Which notable changes a repository accepts, for how long and why."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import NamedTuple

from ocitool.globs import Matcher


class Accept(NamedTuple):
    """An `[[accept]]` entry. `rule`: the rule of the notable change. `path`: a glob of its path; `name`: the name of a
    variable, label, port, volume or package; with neither, every change by the rule. `until`: the last day on which it
    counts, None for ever. `number`: its position in the file, from 1."""

    rule: str
    path: str | None
    name: str | None
    reason: str
    until: datetime.date | None
    number: int


class Acceptance(NamedTuple):
    """The entry that names a notable change. `ended`: its last day has passed, so that it accepts nothing any more."""

    entry: Accept
    ended: bool


class Acceptances:
    """Finds the entry that accepts a notable change. `today`: the day on which entries must not have ended."""

    def __init__(self, entries: Sequence[Accept], today: datetime.date) -> None:
        self._by_rule: dict[str, list[tuple[Accept, Matcher | None]]] = {}
        for entry in entries:
            glob = Matcher([entry.path]) if entry.path is not None else None
            self._by_rule.setdefault(entry.rule, []).append((entry, glob))
        self._today = today

    def of(self, rule: str, path: bytes | None, name: str | None) -> Acceptance | None:
        """Returns the first entry that names the change and has not ended, else one that has ended, else None. `path`: without
        leading slash."""
        ended = None
        for entry, glob in self._by_rule.get(rule, ()):
            if glob is not None and (path is None or not glob.matches(path)):
                continue
            if entry.name is not None and entry.name != name:
                continue
            if entry.until is None or entry.until >= self._today:
                return Acceptance(entry, False)
            ended = ended or Acceptance(entry, True)
        return ended
