"""Renders `diff` as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ocitool.comparison.notable_rules import Severity
from ocitool.comparison.result import Diff, IndexDiff
from ocitool.report.diff_view import (
    ConfigRow,
    ConfigView,
    DiffView,
    LayerRow,
    PatchView,
    diff_view,
    index_view,
)
from ocitool.report.escape import clip_difference, shown
from ocitool.report.files_view import FilesView
from ocitool.report.inside_view import InsideView
from ocitool.report.notable import NotableRow
from ocitool.report.packages_view import PackageRow, PackagesView
from ocitool.report.phrases import LazyRows, Phrase
from ocitool.report.sides import CHANGED
from ocitool.report.text.inside import INSIDE_MARKS
from ocitool.report.text.notable import failure_lines, notable_lines
from ocitool.report.text.parts import Paint, before_and_after, rendered
from ocitool.report.text.screen import WIDTH, ScreenPart, cut, screen, whole
from ocitool.report.volatile_view import VolatileView

_INSTRUCTION = 60
_PLACE = 44
"""Characters of the path of a notable change on a screen."""

_SEVERITIES: dict[Severity, tuple[str, str]] = {"security": ("!", "31"), "cost": ("$", "33"), "info": ("i", "36")}
"""A mark and its colour."""

_MARKS = {"added": "A", "removed": "D", "modified": "M", "mixed": "M", "type": "T", "metadata": "m", "renamed": "R"}
_COLOURS = {"A": "32", "D": "31", "M": "33", "T": "33", "m": "36", "R": "36"}


def diff_text(result: Diff | IndexDiff, paint: Paint, *, stat: bool = False, all: bool = False) -> Iterator[str]:
    """Yields the lines of a report that fits one screen for each pair of images. `all`: every row of every section. `stat`:
    totals, notable changes and layers only."""
    if isinstance(result, Diff):
        yield from _diff(diff_view(result), paint, stat, all)
        return
    view = index_view(result)
    yield paint.bold(f"{rendered(view.before)} -> {rendered(view.after)}")
    yield "  " + rendered(view.verdict)
    yield from failure_lines(view.failures, paint)
    yield from whole(_config(view.config), paint)
    for entry in view.platforms:
        yield ""
        state = ("on both sides",) if entry.diff is not None else entry.state
        yield paint.bold(f"{rendered((entry.platform,))}: {rendered(state)}")
        yield from notable_lines(entry.notable, paint)
        if entry.diff is not None:
            yield from _diff(diff_view(entry.diff._replace(failures=())), paint, stat, all)


def _diff(view: DiffView, paint: Paint, stat: bool, all: bool) -> Iterator[str]:
    head = [f"{rendered(view.before)} -> {rendered(view.after)}", "  " + rendered(view.verdict)]
    if view.not_compared:
        head.append("  " + rendered(view.not_compared))
    failures = list(failure_lines(view.failures, paint))
    lines = _whole(view, head, failures, paint, stat) if all or stat else _on_screen(view, [*head, *failures], paint)
    yield paint.bold(next(lines))
    yield from lines
    if view.extracted:
        yield ""
        yield rendered(view.extracted)
    if stat:
        return
    if view.inside is not None and (all or view.inside.thorough):
        from ocitool.report.text.inside import inside_text

        yield from inside_text(view.inside, paint)
    if view.copies is not None:
        from ocitool.report.text.copies import copies_text

        yield ""
        yield from copies_text(view.copies, paint)
    for patch in view.patches:
        yield ""
        yield from _patch(patch, paint)


def _on_screen(view: DiffView, head: Sequence[str], paint: Paint) -> Iterator[str]:
    noise = _volatile(view.volatile)._replace(notes=())
    if view.quiet:
        yield from screen(head, [noise], [], paint) if noise.size else head
        return
    sections = [
        _packages(view.packages), _notable_in_short(view.notable, view.accepted), _files(view.files), _inside(view.inside),
        _config(view.config, WIDTH - 2), noise, _layers(view.layers, everything=False),
    ]  # fmt: skip
    yield from screen(head, sections, ["cost: " + view.totals], paint)


def _whole(view: DiffView, head: Sequence[str], failures: Sequence[str], paint: Paint, stat: bool) -> Iterator[str]:
    yield from (*head, "  " + view.totals, *failures)
    layers = _layers(view.layers, everything=True)
    if not stat:
        yield from whole(_packages(view.packages), paint)
    yield from notable_lines(view.notable, paint, view.accepted)
    lists = [_files(view.files, every=True), _config(view.config), _volatile(view.volatile), layers]
    for section in [layers] if stat else lists:
        yield from whole(section, paint)


def _packages(view: PackagesView) -> ScreenPart:
    rows = (
        [rendered(row.name), rendered(row.version), row.files, row.grown, _package_note(row, view.types)] for row in view.rows
    )
    return ScreenPart(
        "packages", rows, len(view.rows), "packages", [rendered(one) for one in view.folded], 3, (2, 3),
        ((3, 0), (4, 0), (0, 16), (1, 24)),
    )  # fmt: skip


def _package_note(row: PackageRow, types: bool) -> str:
    """Returns what stands after a package: its names if it is several, its type if there are others."""
    kind = "" if row.kind == "upgraded" else f"{row.kind} "
    others = rendered(row.others)
    return " ".join(filter(None, (kind.strip(), row.type if types else "", others)))


def _notable_in_short(notable: Sequence[NotableRow], accepted: Phrase) -> ScreenPart:
    """Returns the section with rows that are sentences, which need less room than columns."""
    rows = [[_short(row)] for row in notable]
    marks = {row.severity: _SEVERITIES[row.severity] for row in notable}
    remarks = [", ".join(f"{mark} {severity}" for severity, (mark, _) in marks.items()), rendered(accepted)]
    title = "; ".join(filter(None, remarks))  # in it the remark is seen however full the screen is
    return ScreenPart(
        f"notable ({cut(title, WIDTH - 10)})" if title else "notable", rows, len(rows), "notable changes", [], 6, (),
        ((0, 40),), "security" in marks, dict(_SEVERITIES.values()),
    )  # fmt: skip


def _short(row: NotableRow) -> str:
    place = f" {cut(rendered(row.place), _PLACE)}" if row.place else ""
    layer = f" (layer {row.layer})" if row.layer is not None else ""
    rule = f"{row.rule}{place}: " if row.rule else ""  # a row that counts others of several rules has none
    text = f"{_SEVERITIES[row.severity][0]} {rule}{rendered(row.text)}"
    return text + layer if len(text + layer) <= WIDTH - 2 else text


def _inside(view: InsideView | None) -> ScreenPart:
    """Returns the section on the inside of files; it is empty if that was asked for, since all of it stands below then."""
    rows: list[list[str]] = []
    for row in () if view is None or view.thorough else view.rows:
        rows.append([f"{rendered((row.path,))}: {rendered(row.summary)}"])
        rows += ([f"  {INSIDE_MARKS[line.kind][0]} {rendered(line.what)}"] for line in row.lines)
    notes = view.rest if view is not None and rows else ()
    return ScreenPart("inside files", rows, len(rows), "lines", notes, 2, (), ((0, 40),))


def _layers(rows: LazyRows[LayerRow], everything: bool) -> ScreenPart:
    table = [
        [row.number, row.status, row.stored, row.changes, rendered(row.made_by, _INSTRUCTION),
         f"({rendered(row.why)})" if row.why else ""]
        for row in rows if everything or row.status != "shared" or row.changes or row.why
    ]  # fmt: skip
    return ScreenPart("layers", table, len(table), "layers", (), 1, (0, 2), ((4, 20), (5, 0), (4, 10)))


def _config(view: ConfigView, width: int | None = None) -> ScreenPart:
    rows = ([_setting(row, width)] for row in view.rows)
    notes = [rendered(one) for one in view.folded]
    return ScreenPart("configuration", rows, len(view.rows), "settings", notes, 1, (), ((0, 30),), False, _COLOURS)


def _setting(row: ConfigRow, width: int | None) -> str:
    """Returns a changed setting. `width`: the characters of the line, in which the difference stays visible."""
    where = f"{_MARKS[row.kind]} {rendered(row.where)}: "
    changed = f" {CHANGED}" if row.hidden_change else ""
    values = before_and_after(row.before, row.after)
    if width is not None and len(where + values + changed) > width and row.before is not None and row.after is not None:
        room = max(10, (width - len(where + changed) - 4) // 2)
        values = " -> ".join(clip_difference(shown(row.before.raw), shown(row.after.raw), room))
    return where + values + changed


def _volatile(view: VolatileView | None) -> ScreenPart:
    if view is None:
        return ScreenPart("volatile", (), 0, "")
    rows = [[row.name, row.files, row.size, row.fix] for row in view.rows]
    title = "volatile" + (f": {view.cost}" if view.cost else "")
    return ScreenPart(title, rows, len(rows), "classes", [view.options] if view.options else [], 1, (1, 2), ((3, 20),))


def _files(view: FilesView, every: bool = False) -> ScreenPart:
    """Returns what happened to files, or with `every` a row for each of them."""
    listed = view.every if every else view.rows
    rows = (
        [_MARKS[row.kind], rendered((row.path,)), f"layer {row.layer}" if row.layer is not None else "layer gone",
         rendered(row.what)]
        for row in listed
    )  # fmt: skip
    return ScreenPart(
        "files", rows, len(listed), "changes", [rendered(one) for one in view.folded], 2, (),
        ((3, 24), (2, 0), (1, 24), (3, 12)), False, _COLOURS, () if every else view.counts,
    )  # fmt: skip


def _patch(patch: PatchView, paint: Paint) -> Iterator[str]:
    if patch.withheld:
        yield f"{rendered((patch.path,))}: {patch.withheld}"
        return
    for line in patch.lines:
        colour = {"+": "32", "-": "31", "@": "36"}.get(line[:1])
        yield paint(shown(line), colour) if colour else shown(line)
