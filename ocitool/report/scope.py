"""What a comparison was about, in words."""

from __future__ import annotations

from ocitool.operations.diff.result import Diff, IndexDiff


def one_of(result: IndexDiff) -> Diff | None:
    """A comparison of two images, which says what all of them were about."""
    return next((entry.diff for entry in result.platforms if entry.diff is not None), None)


def compared(result: Diff) -> str:
    """Which files were compared, empty for all of them. Unescaped."""
    parts = [f"that matches {' or '.join(result.paths)}"] if result.paths else []
    if result.ignored_paths:
        parts.append(f"outside {' and '.join(result.ignored_paths)}")
    return " ".join(parts)


def beside(result: Diff) -> str:
    """What was not compared, though it may differ."""
    return "" if result.settings else "; the configuration was not compared (--path)"
