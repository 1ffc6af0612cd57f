"""Renders `dedupe` as text: the sums first, with bars, then tables, then what could be saved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ocitool.dedupe import Deduped
from ocitool.report.dedupe_view import AdviceRow, ContentsView, DedupeView, ImageRow, Sum, Table, dedupe_view
from ocitool.report.escape import human
from ocitool.report.text.parts import Paint, columns, rendered

_WIDTH = 24
_INSTRUCTION = 60
_COMMAND = 1_000
"""Characters of a command that are shown. A longer one, which names many images, is too long to copy from a terminal."""


def dedupe_text(result: Deduped, paint: Paint) -> Iterator[str]:
    view = dedupe_view(result)
    yield paint.bold(f"{view.images}, {view.layers}")
    yield from _sums(view.sums)
    yield from _images(view, paint)
    yield from _table(
        view.shared, paint, ["saved", "size", "images", "layer", "instruction", ""],
        ([one.saved, one.size, one.images, rendered((one.layer,)), rendered(one.made_by, _INSTRUCTION), rendered(one.users)]
         for one in view.shared.rows), right=(0, 1, 2),
    )  # fmt: skip
    yield from _table(
        view.bases, paint, ["base", "", "size", "images", ""],
        (["  " * one.depth + rendered(one.name), one.layers, one.size, one.images, rendered(one.users)]
         for one in view.bases.rows),
        right=(2, 3),
    )  # fmt: skip
    yield from _table(
        view.equal, paint, ["stored", "codecs", "images", "diff_id"],
        ([one.sizes, one.codecs, one.images, rendered((one.diff_id,))] for one in view.equal.rows), right=(2,),
    )  # fmt: skip
    if view.contents is not None:
        yield from _contents(view.contents, paint)
    yield from _advice(view.advice, paint)
    if view.problems.total:
        yield ""
        yield paint.bold(view.problems.title)
        yield from (f"  {rendered((one,))}" for one in view.problems.rows)


def bar(part: int, whole: int, width: int = _WIDTH) -> str:
    """Returns a bar of `width` characters filled to `part / whole`, in steps of an eighth of a character."""
    eighths = round(8 * width * part / whole) if whole else 0
    full, rest = divmod(eighths, 8)
    return ("█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")).ljust(width, "·")


def _sums(sums: Sequence[Sum]) -> Iterator[str]:
    yield from columns([[one.name, human(one.size), bar(one.size, one.whole), one.remark] for one in sums], right=(1,))


def _rest(table: Table[Any]) -> Iterator[str]:
    if table.total > len(table.rows):
        yield f"  and {table.total - len(table.rows):,} more (--top {table.total}, or --format json)"


def _table(
    table: Table[Any], paint: Paint, head: list[str], rows: Iterable[list[str]], right: Sequence[int], more: str = ""
) -> Iterator[str]:
    if not table.rows:
        return
    yield ""
    yield paint.bold(table.title + more)
    yield from columns([head, *rows], right=right)
    yield from _rest(table)


def _images(view: DedupeView, paint: Paint) -> Iterator[str]:
    where, there = (" in one layout; what holds them on disk", " there") if view.scattered else ("", "")
    legend = f": █ bytes of their own, ░ shared with others{where}; what deleting one frees{there}"
    head = ["", "own", "shared", *(["on disk"] if view.scattered else []), "frees", ""]
    rows = (
        [_own_bar(one), one.own, one.shared, *([one.held] if one.held is not None else []), one.frees, rendered(one.name)]
        for one in view.largest.rows
    )
    yield from _table(view.largest, paint, head, rows, range(1, len(head) - 1), legend)


def _own_bar(row: ImageRow) -> str:
    """Returns a bar of an image's own bytes, then of those it shares."""
    own = round(_WIDTH * row.share.own / row.largest) if row.largest else 0
    both = round(_WIDTH * row.share.size / row.largest) if row.largest else 0
    return "█" * own + "░" * (both - own) + "·" * (_WIDTH - both)


def _contents(view: ContentsView, paint: Paint) -> Iterator[str]:
    yield ""
    yield paint.bold(view.title)
    yield from _sums(view.sums)
    yield from _table(
        view.packages, paint, ["saves", "package", "", ""],
        ([one.saves, rendered(one.name), one.kind, one.copies] for one in view.packages.rows), right=(0,),
    )  # fmt: skip
    if view.packages.rows and view.top:
        yield ""
        yield paint.bold("files that repeat most")
    for one in view.top:
        yield f"  {one.saves}: {one.size}, {one.times} times"
        yield from (f"    {rendered((layer,))}  {rendered((place,))}" for layer, place in one.places)


def _advice(table: Table[AdviceRow], paint: Paint) -> Iterator[str]:
    yield ""
    yield paint.bold(table.title)
    for one in table.rows:
        command, note = one.shortened_command(_COMMAND)
        yield f"  {one.number}. {one.about}{one.saves}  {one.kind}: {rendered((one.text,))}{one.remarks}"
        yield f"    {rendered((command,))}{note}"
    yield from _rest(table)
