"""`inspect` as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ocitool.operations.inspect import Inspection
from ocitool.report.inspect_view import ImageView, InspectView, NamedValue, inspect_view
from ocitool.report.phrases import Quote, joined
from ocitool.report.text.parts import Paint, columns, said

if TYPE_CHECKING:
    from ocitool.report.waste_view import WasteView


def inspect_text(result: Inspection, paint: Paint) -> Iterator[str]:
    view = inspect_view(result)
    if view.head is not None:
        yield paint.bold(f"{said((view.reference,))}  {view.head.title}")
        yield f"  {said((view.head.media_type,))}  {view.head.digest}"
        yield from columns(
            [[said(one.what), one.short, one.state, _names(one.tags) or said(one.media_type)] for one in view.entries]
        )
        yield ""
    for image in view.images:
        yield from _image(view, image, paint)
    if view.problems:
        yield paint.bold(view.problems_title)
        yield from (f"  {said((one,))}" for one in view.problems)


def _names(names: tuple[Quote, ...]) -> str:
    return said(joined(((one,) for one in names), ", "))


def _image(view: InspectView, image: ImageView, paint: Paint) -> Iterator[str]:
    yield paint.bold(f"{_names(image.tags) or said((view.reference,))}  {said(image.what)}  ({image.transport})")
    yield from columns([[name, said(fact)] for name, fact in image.facts])
    settings = [
        *([name.lower(), said((value,))] for name, value in image.settings),
        *(["env", _setting(one)] for one in image.variables),
        *([name.lower(), _names(keys)] for name, keys in image.keys),
        *(["label", _setting(one)] for one in image.labels),
    ]
    if settings:
        yield ""
        yield from columns(settings)
    yield ""
    rows = [["layer", "size", "unpacked", "codec", "digest", "instruction"]]
    for one in image.layers:
        rows.append([one.number, one.size, one.unpacked, one.codec, said(one.digest), said(one.made_by)])
    yield from columns(rows, right=(0, 1, 2))
    if image.unpaired:
        yield "  " + image.unpaired
    if image.waste is not None:
        yield from _waste(image.waste, paint)
    yield ""


def _setting(one: NamedValue) -> str:
    return said((one.value,) if one.name is None else (one.name, "=", one.value))


def _waste(waste: WasteView, paint: Paint) -> Iterator[str]:
    yield ""
    yield paint.bold("  " + waste.title)
    yield from columns([[f"layer {one.layer}", one.deeds, said(one.made_by)] for one in waste.layers], indent="    ")
    if waste.paths:
        yield "  paths with the most hidden bytes:"
        rows = [[one.size, one.kind, one.copies, said((one.path,))] for one in waste.paths]
        yield from columns(rows, right=(0,), indent="    ")
    if waste.largest:
        yield "  largest files:"
        rows = [[one.size, f"layer {one.layer}", said((one.path,))] for one in waste.largest]
        yield from columns(rows, right=(0,), indent="    ")
    if waste.copies is not None:
        from ocitool.report.text.copies import copies_text

        yield from copies_text(waste.copies, paint, "  ")
