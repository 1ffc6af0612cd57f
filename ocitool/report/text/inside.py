"""Renders what changed inside files as text."""

from __future__ import annotations

from collections.abc import Iterator

from ocitool.report.inside_view import InsideView
from ocitool.report.text.parts import Paint, rendered

INSIDE_MARKS = {"added": ("A", "32"), "removed": ("D", "31"), "modified": ("M", "33")}
"""The mark and the colour of each kind of change."""


def inside_text(view: InsideView, paint: Paint) -> Iterator[str]:
    """Yields a line for each file and each part, empty if nothing can be said."""
    if not view.rows and not view.rest:
        return
    yield ""
    yield paint.bold("inside files")
    for row in view.rows:
        yield f"  {rendered((row.path,))}: {rendered(row.summary)}"
        for line in row.lines:
            yield f"    {paint(*INSIDE_MARKS[line.kind])} {rendered(line.what)}"
        if row.more:
            yield f"    and {row.more}"
    yield from (f"  {one}" for one in view.rest)
