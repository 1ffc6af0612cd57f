"""Renders `budget` as text."""

from __future__ import annotations

from collections.abc import Iterator

from ocitool.operations.budget import BudgetReport
from ocitool.report.budget_view import budget_view
from ocitool.report.text.parts import Paint, columns, rendered

_COLOURS = {"kept": "32", "exceeded": "31", "not-checked": "33"}


def budget_text(result: BudgetReport, paint: Paint) -> Iterator[str]:
    view = budget_view(result)
    yield paint(rendered(view.verdict), "32" if view.kept else "31")
    rows = [
        (
            paint(row.status.replace("-", " "), _COLOURS[row.status]),
            rendered(row.name),
            row.actual,
            row.limit,
            rendered(row.note),
        )
        for row in view.rows
    ]
    yield from columns(rows, right=(2,))
