"""What a `diff` report says about volatile files, for every format."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import NamedTuple

from ocitool.comparison.result import Diff, VolatileGroup
from ocitool.report.escape import human
from ocitool.report.phrases import Phrase, count_of

TIMES = "SOURCE_DATE_EPOCH, rewrite-timestamp=true"
"""What makes times equal: a variable of the build, and an option of BuildKit's output."""


class VolatileRow(NamedTuple):
    """A class of volatile files, or paths that differ by modification time alone. `fix`: what makes builds equal, empty if
    nothing is known."""

    name: str
    files: str
    size: str
    text: str
    fix: str


class VolatileView(NamedTuple):
    """Volatile files by class. `cost`: what ships again because of them, empty if nothing does. `options`: those that leave out
    the ones that are known by their paths alone, to be pasted; they are ocitool's own text."""

    total: int
    cost: str
    rows: tuple[VolatileRow, ...]
    options: str


def volatile_view(result: Diff) -> VolatileView | None:
    """Returns the volatile files; None if there are none."""
    found = result.volatile
    if not found.groups:
        return None
    rows = [_row(group) for group in found.groups]
    times = result.summary.mtime_only
    if times:
        rows.append(VolatileRow("times", count_of(times, "path"), "", "paths that differ by modification time alone", TIMES))
    size = human(sum(layer.size for layer in found.layers))
    cost = f"because of these alone {count_of(len(found.layers), 'layer')} ({size}) ships again" if found.layers else ""
    if len(found.layers) > 1:
        cost = cost.replace("ships", "ship")
    return VolatileView(sum(group.files for group in found.groups), cost, tuple(rows), ignore_options(found.groups))


def _row(group: VolatileGroup) -> VolatileRow:
    return VolatileRow(group.kind.name, count_of(group.files, "file"), human(group.size), group.kind.text, group.kind.fix)


def ignore_options(groups: Sequence[VolatileGroup]) -> str:
    """Returns the options by which `diff` and `rebuild` pass over these files, quoted for a shell."""
    return " ".join(f"--ignore-path {shlex.quote(glob)}" for group in groups for glob in group.globs)


def all_volatile(result: Diff) -> bool:
    """Returns whether there are volatile files, and no other changes but of modification times."""
    s = result.summary
    changed = s.added + s.removed + s.modified + s.type + s.metadata - s.mtime_only
    return changed > 0 and changed == len(result.volatile.classes)


def volatile_files(result: Diff, where: Phrase = ()) -> Phrase:
    """Returns the sentence on two images of which `all_volatile` is true. `where`: which files were compared, if not all."""
    number, times = len(result.volatile.classes), result.summary.mtime_only
    differ = " differs, volatile" if number == 1 else " differ, all volatile"
    more = f"; {count_of(times, 'path')} by modification time alone" if times else ""
    return (count_of(number, "file"), *where, differ + more)
