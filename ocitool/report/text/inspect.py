"""Renders `inspect` as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ocitool.operations.inspect import Inspection
from ocitool.report.inspect_view import ImageView, InspectView, NamedValue, inspect_view
from ocitool.report.phrases import Quote, joined
from ocitool.report.text.parts import Paint, columns, rendered

if TYPE_CHECKING:
    from ocitool.report.waste_view import WasteView


def inspect_text(result: Inspection, paint: Paint) -> Iterator[str]:
    view = inspect_view(result)
    if view.head is not None:
        yield paint.bold(f"{rendered((view.reference,))}  {view.head.title}")
        yield f"  {rendered((view.head.media_type,))}  {view.head.digest}"
        yield from columns(
            [[rendered(one.what), one.short, one.state, _names(one.tags) or rendered(one.media_type)] for one in view.entries]
        )
        yield ""
    for image in view.images:
        yield from _image(view, image, paint)
    if view.failures:
        from ocitool.report.text.notable import failure_lines

        yield from failure_lines(view.failures, paint)
    if view.problems:
        yield paint.bold(view.problems_title)
        yield from (f"  {rendered((one,))}" for one in view.problems)


def _names(names: tuple[Quote, ...]) -> str:
    return rendered(joined(((one,) for one in names), ", "))


def _image(view: InspectView, image: ImageView, paint: Paint) -> Iterator[str]:
    yield paint.bold(f"{_names(image.tags) or rendered((view.reference,))}  {rendered(image.what)}  ({image.transport})")
    yield from columns([[name, rendered(fact)] for name, fact in image.facts])
    settings = [
        *([name.lower(), rendered((value,))] for name, value in image.settings),
        *(["env", _setting(one)] for one in image.variables),
        *([name.lower(), _names(keys)] for name, keys in image.keys),
        *(["label", _setting(one)] for one in image.labels),
    ]
    if settings:
        yield ""
        yield from columns(settings)
    if image.notable is not None:
        from ocitool.report.text.notable import notable_lines

        yield from notable_lines(image.notable, paint, image.accepted, nothing="nothing is notable")
    yield ""
    rows = [["layer", "size", "unpacked", "codec", "digest", "instruction"]]
    for one in image.layers:
        rows.append([one.number, one.size, one.unpacked, one.codec, rendered(one.digest), rendered(one.made_by)])
    yield from columns(rows, right=(0, 1, 2))
    if image.unpaired:
        yield "  " + image.unpaired
    if image.waste is not None:
        yield from _waste(image.waste, paint)
    if image.packages is not None:
        from ocitool.report.text.packages import installed_rows

        yield ""
        yield paint.bold("  " + rendered(image.packages.total))
        yield from installed_rows(image.packages, "    ")
    yield ""


def _setting(one: NamedValue) -> str:
    return rendered((one.value,) if one.name is None else (one.name, "=", one.value))


def _waste(waste: WasteView, paint: Paint) -> Iterator[str]:
    yield ""
    yield paint.bold("  " + waste.title)
    yield from columns([[f"layer {one.layer}", one.deeds, rendered(one.made_by)] for one in waste.layers], indent="    ")
    if waste.paths:
        yield "  paths with the most hidden bytes:"
        rows = [[one.size, one.kind, one.copies, rendered((one.path,))] for one in waste.paths]
        yield from columns(rows, right=(0,), indent="    ")
    if waste.largest:
        yield "  largest files:"
        rows = [[one.size, f"layer {one.layer}", rendered((one.path,))] for one in waste.largest]
        yield from columns(rows, right=(0,), indent="    ")
    if waste.copies is not None:
        from ocitool.report.text.copies import copies_text

        yield from copies_text(waste.copies, paint, "  ")
