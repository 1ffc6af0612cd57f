"""Renders `diff` as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ocitool.comparison.result import Diff, IndexDiff
from ocitool.report.diff_view import (
    ConfigView,
    DiffView,
    LayerRow,
    PatchView,
    PlatformView,
    diff_view,
    index_view,
)
from ocitool.report.escape import cell, fence
from ocitool.report.files_view import FileRow, FilesView
from ocitool.report.markdown.notable import say_failures, say_notable
from ocitool.report.markdown.page import END, LIMIT, SMALLEST, Page, cut, say_notices, table_row
from ocitool.report.markdown.spans import before_and_after, rendered
from ocitool.report.packages_view import PackagesView
from ocitool.report.phrases import LazyRows, Phrase, count_of
from ocitool.report.sides import CHANGED
from ocitool.report.volatile_view import VolatileView

_PATCH_LINES, _PATCH_LINE = 200, 500
_HINT = " (`ocitool diff --format json` has all)"


def diff_markdown(result: Diff | IndexDiff, *, stat: bool = False) -> str:
    """Returns a review comment. `stat`: only totals, notable changes and layers, without the lists of files and
    settings."""
    page = Page(LIMIT)
    page.say("<!-- ocitool diff -->")
    if isinstance(result, Diff):
        view = diff_view(result, grown=True)
        page.say(f"### {_title(view.verdict)}", "", f"{rendered(view.before)} -> {rendered(view.after)}")
        if view.quiet and not stat:
            _quiet(page, view)
        else:
            page.say("", view.totals)
            _diff(page, view, result, stat)
    else:
        _index(page, result, stat)
    say_notices(page, result.notices)
    return str(page)


def _title(verdict: Phrase) -> str:
    text = rendered(verdict)
    return text[:1].upper() + text[1:]


def _quiet(page: Page, view: DiffView) -> None:
    """Adds what is behind a verdict that says all that is worth saying, folded."""
    if view.not_compared:
        page.say("", rendered(view.not_compared))
    _volatile(page, view.volatile)
    page.say("", "<details><summary>layers, cost and times</summary>", "", view.totals)
    say_notable(page, view.notable, _HINT)
    _layers(page, view.layers)
    _config(page, view.config)
    _paths(page, view.files)
    page.say(*END)


def _diff(page: Page, view: DiffView, result: Diff, stat: bool) -> None:
    if view.not_compared:
        page.say("", rendered(view.not_compared))
    if not stat:
        _packages(page, view.packages)
    say_notable(page, view.notable, _HINT, view.accepted)
    say_failures(page, view.failures)
    _layers(page, view.layers)
    _files(page, view.files)
    if view.extracted:
        page.say("", rendered(view.extracted))
    if stat:
        return
    _config(page, view.config)
    _volatile(page, view.volatile)
    _paths(page, view.files)
    if view.inside is not None:
        from ocitool.report.markdown.inside import say_inside

        say_inside(page, view.inside, _HINT)
    if view.copies is not None:
        from ocitool.report.markdown.copies import say_copies

        say_copies(page, view.copies, _HINT)
    _patches(page, view.patches)


def _packages(page: Page, view: PackagesView) -> None:
    head = ["", "**Packages**", "", "| package | type | change | version | files | size | layer |",
            "| --- | --- | --- | --- | ---: | ---: | ---: |"]  # fmt: skip
    rows = (
        [table_row(
            rendered(row.name, cell) + (f" ({rendered(row.others, cell)})" if row.others else ""), row.type, row.kind,
            rendered(row.version, cell), row.files, row.grown, str(row.layer) if row.layer is not None else "gone",
        )]
        for row in view.rows
    )  # fmt: skip
    tail = ["", *(f"- {rendered(one)}" for one in view.folded)] if view.folded else []
    page.section(head, rows, len(view.rows), "packages", tail=tail, cap=14_000, hint=_HINT)


def _layers(page: Page, layers: LazyRows[LayerRow]) -> None:
    rows = (
        [table_row(
            row.number, rendered(row.made_by, cell), row.status, row.stored + (f" (was {row.was})" if row.was else ""),
            row.by_kind, row.grown, rendered(row.why, cell),
        )]
        for row in layers
    )  # fmt: skip
    head = ["", "**Layers**", "", "| layer | instruction | status | stored | files | size | why |",
            "| --- | --- | --- | ---: | --- | ---: | --- |"]  # fmt: skip
    page.section(head, rows, len(layers), "layers", cap=14_000, hint=_HINT)


def _files(page: Page, view: FilesView) -> None:
    rows = (
        [table_row(row.kind, rendered((row.path,), cell), rendered(row.what, cell), row.grown, _layer(row))]
        for row in view.rows
    )
    head = ["", "**Files**", "", "| change | path | what | size | layer |", "| --- | --- | --- | ---: | ---: |"]
    page.section(head, rows, len(view.rows), "groups of files", cap=8_000, hint=_HINT)


def _layer(row: FileRow) -> str:
    return str(row.layer) if row.layer is not None else "gone"


def _config(page: Page, view: ConfigView) -> None:
    if not view.rows:
        if view.folded:
            page.say("", *(f"- {rendered(one)}" for one in view.folded))
        return
    head = ["", f"<details><summary>{count_of(view.total, 'configuration change')}</summary>", "", *_folded(view.folded)]
    head += ["| change | where | before | after |", "| --- | --- | --- | --- |"]

    def rows() -> Iterator[list[str]]:
        for row in view.rows:
            before, after = before_and_after(row.before, row.after)
            changed = f" {CHANGED}" if row.hidden_change else ""
            yield [table_row(row.kind, rendered(row.where, cell), before, after + changed)]

    page.section(head, rows(), len(view.rows), "configuration changes", tail=END, cap=16_000, hint=_HINT)


def _folded(folded: Sequence[Phrase]) -> list[str]:
    return [*(f"- {rendered(one)}" for one in folded), ""] if folded else []


def _volatile(page: Page, view: VolatileView | None) -> None:
    if view is None:
        return
    cost = f": {view.cost}" if view.cost else ""
    head = ["", f"<details><summary>{count_of(view.total, 'volatile file')}{cost}</summary>", "",
            "| class | files | size | what | to avoid |", "| --- | ---: | ---: | --- | --- |"]  # fmt: skip
    rows = ([table_row(row.name, row.files, row.size, row.text, f"`{row.fix}`" if row.fix else "")] for row in view.rows)
    page.section(
        head,
        rows,
        len(view.rows),
        "classes",
        tail=[*(["", *fence(view.options + "\n", "")] if view.options else []), *END],
        hint=_HINT,
    )


def _paths(page: Page, view: FilesView) -> None:
    """Adds a list of all paths, if the groups do not name each."""
    if len(view.paths) == len(view.rows):
        lines = ([f"- {rendered(one)}"] for one in view.folded)
        page.section([""], lines, len(view.folded), "layers", hint=_HINT)
        return
    head = ["", f"<details><summary>{count_of(view.total, 'changed file')}</summary>", "", *_folded(view.folded)]
    head += ["| path | change | what | size | layer |", "| --- | --- | --- | ---: | ---: |"]
    rows = (
        [table_row(rendered((row.path,), cell), row.kind, rendered(row.what, cell), row.grown, _layer(row))]
        for row in view.paths
    )
    page.section(head, rows, len(view.paths), "changes", tail=END, hint=_HINT)


def _patches(page: Page, patches: LazyRows[PatchView]) -> None:
    head = ["", f"<details><summary>{len(patches):,} {'patch' if len(patches) == 1 else 'patches'}</summary>", ""]
    blocks = map(_patch, patches)
    page.section(head, blocks, len(patches), "patches", tail=END, hint=" (`ocitool diff --patch` has all)")


def _patch(patch: PatchView) -> list[str]:
    name = rendered((patch.path,))
    if patch.withheld:
        return [f"{name}: {patch.withheld}", ""]
    lines, rest = patch.shortened(_PATCH_LINES, _PATCH_LINE)
    return [name, "", *fence("\n".join(lines) + "\n", "diff"), "", *([f"… {rest}", ""] if rest else [])]


def _index(page: Page, result: IndexDiff, stat: bool) -> None:
    view = index_view(result)
    page.say(f"### {_title(view.verdict)}", "", f"{rendered(view.before)} -> {rendered(view.after)}")
    entries = list(view.platforms)
    rows = ([table_row(rendered((entry.platform,), cell), rendered(entry.state, cell))] for entry in entries)
    head = ["", "| platform | result |", "| --- | --- |"]
    page.section(head, rows, len(entries), "platforms", cap=12_000, hint=_HINT)
    say_failures(page, view.failures)
    if not stat:
        _config(page, view.config)
    _platforms(page, [entry for entry in entries if entry.notable or entry.differs], stat)


def _platforms(page: Page, entries: Sequence[PlatformView], stat: bool) -> None:
    """Adds a section for each platform, which gets an equal part of the space that the ones before it left."""
    for position, entry in enumerate(entries):
        part = Page(page.part(len(entries) - position))
        if part.left < SMALLEST:
            page.say(*cut(len(entries) - position, "more platforms", _HINT))
            return
        part.say("", f"#### {rendered((entry.platform,))}", "", f"**{_title(entry.state)}**")
        say_notable(part, entry.notable, _HINT)
        if entry.diff is not None:
            view = diff_view(entry.diff._replace(failures=()), grown=True)
            part.say("", view.totals)
            _diff(part, view, entry.diff, stat)
        page.say(*part.lines)
