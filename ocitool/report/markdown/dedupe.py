"""Renders `dedupe` as Markdown: the tables of the text report, within the size of a review comment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ocitool.dedupe import Deduped
from ocitool.report.dedupe_view import AdviceRow, ContentsView, DedupeView, RepeatedRow, Sum, Table, dedupe_view
from ocitool.report.escape import cell, code, human
from ocitool.report.markdown.page import END, LIMIT, Page, say_notices, table_row
from ocitool.report.markdown.spans import rendered, titled
from ocitool.report.phrases import count_of
from ocitool.report.text.dedupe import bar

_COMMAND = 2_000
_HINT = " (`ocitool dedupe --format json` has all)"


def dedupe_markdown(result: Deduped) -> str:
    view = dedupe_view(result)
    page = Page(LIMIT)
    page.say("<!-- ocitool dedupe -->", f"### {view.images}", "", view.layers, "", *_sums(view.sums))
    _advice(page, view.advice)
    _images(page, view)
    _table(
        page, view.shared, "shared layers", 10_000, "| saved | size | images | layer | instruction | in |",
        (table_row(
            one.saved, one.size, one.images, rendered((one.layer,), cell), rendered(one.made_by, cell),
            rendered(one.users, cell),
        ) for one in view.shared.rows),
    )  # fmt: skip
    _table(
        page, view.bases, "bases", 8_000, "| base | layers | size | images | in |",
        (table_row(rendered(one.name, cell), one.layers, one.size, one.images, rendered(one.users, cell))
         for one in view.bases.rows),
    )  # fmt: skip
    _table(
        page, view.equal, "layers", 8_000, "| stored | codecs | images | diff_id |",
        (table_row(one.sizes, one.codecs, one.images, rendered((one.diff_id,), cell)) for one in view.equal.rows),
    )  # fmt: skip
    if view.contents is not None:
        _contents(page, view.contents)
    problems = ([f"- {rendered((one,))}"] for one in view.problems.rows)
    head = ["", titled(view.problems.title), ""]
    page.section(head, problems, view.problems.total, "problems", cap=10_000, hint=_HINT)
    say_notices(page, [one for one in result.notices if one.code != "unreadable"])
    return str(page)


def _sums(sums: Sequence[Sum]) -> list[str]:
    rows = [table_row(one.name, human(one.size), code(bar(one.size, one.whole)), one.remark) for one in sums]
    return ["| | | | |", "| --- | ---: | --- | --- |", *rows]


_LEFT = frozenset(
    ("image", "layer", "instruction", "in", "base", "stored", "codecs", "diff_id", "places", "package", "type", "copies")
)
"""Columns that are aligned left; all others hold numbers."""


def _heads(head: str) -> list[str]:
    rule = ["---" if name.strip() in _LEFT else "---:" for name in head.strip("|").split("|")]
    return [head, table_row(*rule)]


def _table(page: Page, table: Table[Any], what: str, cap: int, head: str, rows: Iterable[str], more: str = "") -> None:
    heads = ["", titled(table.title) + more, "", *_heads(head)]
    page.section(heads, ([row] for row in rows), table.total, what, cap=cap, hint=_HINT)


def _advice(page: Page, table: Table[AdviceRow]) -> None:
    if not table.total:
        page.say("", titled(table.title))
    page.section(
        ["", titled(table.title)], map(_advice_block, table.rows), table.total, "pieces of advice", cap=15_000, hint=_HINT
    )


def _advice_block(one: AdviceRow) -> list[str]:
    command, note = one.shortened_command(_COMMAND)
    saves = f"{one.number}. {one.about}**{one.saves}**, {one.kind}: {rendered((one.text,))}{one.remarks}"
    return ["", saves, "", f"   {rendered((command,))}{note}"]


def _images(page: Page, view: DedupeView) -> None:
    disk = " on disk |" if view.scattered else ""
    rows = (
        table_row(rendered(one.name, cell), one.own, one.shared, *([one.held] if one.held is not None else []), one.frees)
        for one in view.largest.rows
    )
    more = ", own and shared as in one layout" if view.scattered else ""
    _table(page, view.largest, "images", 10_000, f"| image | own | shared |{disk} deleting frees |", rows, more)


def _contents(page: Page, view: ContentsView) -> None:
    page.say("", titled(view.title), "", *_sums(view.sums))
    _table(
        page, view.packages, "packages", 10_000, "| saves | package | type | copies |",
        (table_row(one.saves, rendered(one.name, cell), one.kind, one.copies) for one in view.packages.rows),
    )  # fmt: skip
    head = ["", f"<details><summary>{count_of(len(view.top), 'file')} that repeat most</summary>", "",
            *_heads("| repeated | size | times | places |")]  # fmt: skip
    page.section(head, map(_repeated, view.top), len(view.top), "files", tail=END, cap=10_000, hint=_HINT)


def _repeated(one: RepeatedRow) -> list[str]:
    places = ", ".join(f"{rendered((layer,), cell)} {rendered((place,), cell)}" for layer, place in one.places)
    return [table_row(one.saves, one.size, one.times, places)]
