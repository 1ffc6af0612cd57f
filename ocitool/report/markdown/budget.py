"""Renders `budget` as Markdown."""

from __future__ import annotations

from ocitool.operations.budget import BudgetReport
from ocitool.report.budget_view import budget_view
from ocitool.report.escape import cell
from ocitool.report.markdown.page import LIMIT, Page, say_notices, table_row
from ocitool.report.markdown.spans import rendered

_MARKS = {"kept": "✓", "exceeded": "**exceeded**", "not-checked": "not checked"}


def budget_markdown(result: BudgetReport) -> str:
    """Returns a review comment."""
    view = budget_view(result)
    page = Page(LIMIT)
    page.say("<!-- ocitool budget -->", f"### {rendered(view.verdict)}")
    rows = (
        [
            table_row(
                rendered(row.name, cell),
                row.actual,
                row.limit,
                " ".join((_MARKS[row.status], rendered(row.note, cell))).rstrip(),
            )
        ]
        for row in view.rows
    )
    head = ["", table_row("limit of", "is", "may be", ""), table_row("---", "--:", "---", "---")]
    page.section(head, rows, len(view.rows), "limits")
    say_notices(page, result.notices)
    return str(page)
