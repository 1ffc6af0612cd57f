"""The part of an `inspect --files` report on bytes that an image ships but hides."""

from __future__ import annotations

from typing import NamedTuple

from ocitool.images.image import Image
from ocitool.report.copies_view import CopiesView, copies_view
from ocitool.report.escape import human
from ocitool.report.phrases import LazyRows, Phrase, Quote, count_of, made_by, path
from ocitool.trees.waste import HiddenKind, LargestFile, Waste, WastedPath

_VERBS: tuple[tuple[HiddenKind, str], ...] = (
    ("overwritten", "overwrites"), ("deleted", "deletes"), ("copied-up", "copies up"),
)  # fmt: skip


class WastedRow(NamedTuple):
    """How much a layer hides of the layers below. `deeds`: bytes by kind, as in `deletes 3.1 MB`."""

    layer: int
    deeds: str
    made_by: Phrase


class WastedPathRow(NamedTuple):
    size: str
    kind: str
    copies: str
    path: Quote


class LargeFileRow(NamedTuple):
    size: str
    layer: int
    path: Quote


class WasteView(NamedTuple):
    title: str
    layers: LazyRows[WastedRow]
    paths: LazyRows[WastedPathRow]
    largest: LazyRows[LargeFileRow]
    copies: CopiesView | None


def waste_view(waste: Waste, image: Image) -> WasteView:
    """Returns the part as values that a format lays out."""
    files, size = waste.total()

    def row(number: int) -> WastedRow:
        sums = ((verb, waste.total(kind, number)) for kind, verb in _VERBS)
        return WastedRow(number, ", ".join(f"{verb} {human(size)}" for verb, (count, size) in sums if count),
                         made_by(image.layers[number]))  # fmt: skip

    return WasteView(
        f"hidden, but shipped: {human(size)} in {count_of(files, 'file')}", LazyRows(sorted({by for _, by in waste.sums}), row),
        LazyRows(waste.paths, _path), LazyRows(waste.largest, _large),
        copies_view(waste.copies, image, waste.top) if waste.copies.files else None,
    )  # fmt: skip


def _path(one: WastedPath) -> WastedPathRow:
    return WastedPathRow(human(one.bytes), one.kind, f"{one.versions}x", path(one.path))


def _large(one: LargestFile) -> LargeFileRow:
    return LargeFileRow(human(one.size), one.layer, path(one.path))
