"""Copy-on-write as text, in the reports of `inspect --files` and of `engine diff`."""

from __future__ import annotations

from collections.abc import Iterator

from ocitool.report.copies_view import CopiesView
from ocitool.report.text.parts import Paint, columns, rendered

_INSTRUCTION = 60


def copies_text(view: CopiesView, paint: Paint, indent: str = "") -> Iterator[str]:
    """Yields what was copied up: by layer, and the largest files with what changed of them."""
    yield paint.bold(indent + view.title)
    rows = [[f"layer {one.layer}", one.cost, rendered(one.made_by, _INSTRUCTION)] for one in view.layers]
    yield from columns(rows, indent=indent + "  ")
    if view.files:
        yield indent + "largest copies, and what changed:"
        rows = [[one.size, f"layer {one.layer}", f"of {one.source}", one.changed, rendered((one.path,))] for one in view.files]
        yield from columns(rows, right=(0,), indent=indent + "  ")
    if view.more:
        yield f"{indent}  and {view.more:,} more: --format json lists all"
