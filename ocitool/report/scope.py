"""What a comparison was about, in words."""

from __future__ import annotations

from ocitool.comparison.result import Diff, IndexDiff
from ocitool.report.phrases import Phrase, joined, reference


def one_of(result: IndexDiff) -> Diff | None:
    """A comparison of two images, which says what all of them were about."""
    return next((entry.diff for entry in result.platforms if entry.diff is not None), None)


def compared(result: Diff) -> Phrase:
    """Which files were compared, empty for all of them."""
    parts: list[Phrase] = []
    if result.paths:
        parts.append(("that matches ", *joined(((reference(glob),) for glob in result.paths), " or ")))
    if result.ignored_paths:
        parts.append(("outside ", *joined(((reference(glob),) for glob in result.ignored_paths), " and ")))
    return joined(parts, " ")


def beside(result: Diff) -> str:
    """What was not compared, though it may differ."""
    return "" if result.settings else "; the configuration was not compared (--path)"
