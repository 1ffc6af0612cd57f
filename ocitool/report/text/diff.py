"""Renders `diff` as text."""

from __future__ import annotations

from collections.abc import Iterator

from ocitool.comparison.result import Diff, IndexDiff
from ocitool.report.diff_view import (
    ConfigView,
    DiffView,
    PatchView,
    diff_view,
    index_view,
)
from ocitool.report.escape import shown
from ocitool.report.files_view import FilesView
from ocitool.report.phrases import count_of
from ocitool.report.sides import CHANGED
from ocitool.report.text.notable import failure_lines, notable_lines
from ocitool.report.text.parts import Paint, before_and_after, columns, rendered
from ocitool.report.volatile_view import VolatileView

_FILES = 200
_INSTRUCTION = 60
_MARKS = {"added": "A", "removed": "D", "modified": "M", "mixed": "M", "type": "T", "metadata": "m", "renamed": "R"}
_COLOURS = {"A": "32", "D": "31", "M": "33", "T": "33", "m": "36", "R": "36"}


def diff_text(result: Diff | IndexDiff, paint: Paint, *, stat: bool = False) -> Iterator[str]:
    if isinstance(result, Diff):
        yield from _diff(diff_view(result), paint, stat)
        return
    view = index_view(result)
    yield paint.bold(f"{rendered(view.before)} -> {rendered(view.after)}")
    yield "  " + rendered(view.verdict)
    yield from failure_lines(view.failures, paint)
    yield from _config(view.config, paint)
    for entry in view.platforms:
        yield ""
        state = ("on both sides",) if entry.diff is not None else entry.state
        yield paint.bold(f"{rendered((entry.platform,))}: {rendered(state)}")
        yield from notable_lines(entry.notable, paint)
        if entry.diff is not None:
            yield from _diff(diff_view(entry.diff._replace(failures=())), paint, stat)


def _diff(view: DiffView, paint: Paint, stat: bool) -> Iterator[str]:
    yield paint.bold(f"{rendered(view.before)} -> {rendered(view.after)}")
    yield "  " + rendered(view.verdict)
    yield "  " + view.totals
    if view.not_compared:
        yield paint("  " + rendered(view.not_compared), "33")
    yield from failure_lines(view.failures, paint)
    yield from notable_lines(view.notable, paint, view.accepted)
    yield ""
    yield paint.bold("layers")
    table = []
    for row in view.layers:
        why = f"({rendered(row.why)})" if row.why else ""
        table.append([row.number, row.status, row.stored, row.changes, rendered(row.made_by, _INSTRUCTION), why])
    yield from columns(table, right=(0, 2))
    if view.extracted:
        yield ""
        yield rendered(view.extracted)
    if stat:
        return
    yield from _config(view.config, paint)
    yield from _volatile(view.volatile, paint)
    yield from _files(view.files, paint)
    if view.inside is not None:
        from ocitool.report.text.inside import inside_text

        yield from inside_text(view.inside, paint)
    if view.copies is not None:
        from ocitool.report.text.copies import copies_text

        yield ""
        yield from copies_text(view.copies, paint)
    for patch in view.patches:
        yield ""
        yield from _patch(patch, paint)


def _config(view: ConfigView, paint: Paint) -> Iterator[str]:
    if not view.total:
        return
    yield ""
    yield paint.bold("configuration")
    for row in view.rows:
        mark = _MARKS[row.kind]
        changed = f" {CHANGED}" if row.hidden_change else ""
        yield f"  {paint(mark, _COLOURS[mark])} {rendered(row.where)}: {before_and_after(row.before, row.after)}{changed}"
    yield from ("  " + rendered(one) for one in view.folded)


def _volatile(view: VolatileView | None, paint: Paint) -> Iterator[str]:
    if view is None:
        return
    yield ""
    yield paint.bold("volatile") + (f": {view.cost}" if view.cost else "")
    yield from columns([[row.name, row.files, row.size, row.fix] for row in view.rows], right=(1, 2))
    if view.options:
        yield f"  {view.options}"


def _files(view: FilesView, paint: Paint) -> Iterator[str]:
    if not view.rows and not view.folded:
        return
    yield ""
    yield paint.bold("files")
    marks: list[str] = []
    table: list[list[str]] = []
    for row in view.rows.first(_FILES):
        marks.append(_MARKS[row.kind])
        layer = f"layer {row.layer}" if row.layer is not None else "layer gone"
        table.append([marks[-1], rendered((row.path,)), layer, rendered(row.what)])
    for mark, line in zip(marks, columns(table), strict=True):
        yield line.replace(mark, paint(mark, _COLOURS[mark]), 1)
    if len(view.rows) > _FILES:
        yield f"  and {count_of(len(view.rows) - _FILES, 'more change')}: --format json lists all"
    yield from ("  " + rendered(one) for one in view.folded)


def _patch(patch: PatchView, paint: Paint) -> Iterator[str]:
    if patch.withheld:
        yield f"{rendered((patch.path,))}: {patch.withheld}"
        return
    for line in patch.lines:
        colour = {"+": "32", "-": "31", "@": "36"}.get(line[:1])
        yield paint(shown(line), colour) if colour else shown(line)
