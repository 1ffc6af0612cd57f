"""Renders what changed inside files as Markdown."""

from __future__ import annotations

from ocitool.report.inside_view import InsideRow, InsideView
from ocitool.report.markdown.page import END, Page
from ocitool.report.markdown.spans import rendered
from ocitool.report.phrases import count_of


def say_inside(page: Page, view: InsideView, hint: str) -> None:
    """Adds a folded section with an entry for each file. `hint`: where the rest is found, if the page has no room."""
    head = ["", f"<details><summary>{count_of(len(view.rows), 'changed file')} looked into</summary>", ""]
    tail = ["", *(f"- {one}" for one in view.rest), *END] if view.rest else END
    page.section(head, map(_block, view.rows), len(view.rows), "files", tail=tail, cap=14_000, hint=hint)


def _block(row: InsideRow) -> list[str]:
    lines = [f"  - {line.kind}: {rendered(line.what)}" for line in row.lines]
    return [f"- {rendered((row.path,))}: {rendered(row.summary)}", *lines, *([f"  - and {row.more}"] if row.more else [])]
