"""Notable changes, and the rules of `--fail-on` that are met, as parts of Markdown reports."""

from __future__ import annotations

from collections.abc import Sequence

from ocitool.report.markdown.page import Page
from ocitool.report.markdown.spans import rendered
from ocitool.report.notable import FailureRow, NotableRow
from ocitool.report.phrases import LazyRows, Phrase


def say_notable(page: Page, notable: Sequence[NotableRow], hint: str, accepted: Phrase = ()) -> None:
    lines = ([_notable_line(row)] for row in notable)
    page.section(["", "**Notable**", ""], lines, len(notable), "notable changes", cap=14_000, hint=hint)
    if accepted:
        page.say("", rendered(accepted))


def _notable_line(row: NotableRow) -> str:
    if row.more:
        return f"- {row.severity}{f' **{row.rule}**' if row.rule else ''}: {rendered(row.text)}"
    parts = [f"- {row.severity} **{row.rule}**", rendered(row.place), rendered(row.text)]
    if row.layer is not None:
        parts += [f"· layer {row.layer}", rendered(row.made_by)]
    return " ".join(filter(None, parts))


def say_failures(page: Page, failures: LazyRows[FailureRow] | Sequence[FailureRow]) -> None:
    rows = ([f"- {': '.join(map(rendered, filter(None, failure)))}"] for failure in failures)
    page.section(["", "**Rules that are met (`--fail-on`)**", ""], rows, len(failures), "rules", cap=3_000)
