"""Phrases for what a comparison covered: which files, and whether the configuration."""

from __future__ import annotations

from ocitool.comparison.result import Diff, IndexDiff
from ocitool.report.phrases import Phrase, exact_quote, joined


def any_diff(result: IndexDiff) -> Diff | None:
    """Returns the comparison of some platform, or None if none was compared. All of them have the same scope."""
    return next((entry.diff for entry in result.platforms if entry.diff is not None), None)


def compared_files(result: Diff) -> Phrase:
    """Returns which files were compared, empty for all files."""
    parts: list[Phrase] = []
    if result.paths:
        parts.append(("that matches ", *joined(((exact_quote(glob),) for glob in result.paths), " or ")))
    left_out: list[Phrase] = [(exact_quote(glob),) for glob in result.ignored_paths]
    if result.ignored_volatile:
        left_out.append(("volatile paths",))
    if left_out:
        parts.append(("outside ", *joined(left_out, " and ")))
    return joined(parts, " ")


def config_remark(result: Diff) -> str:
    """Returns a remark if the configuration was not compared, else an empty string."""
    return "" if result.settings else "; the configuration was not compared (--path)"
