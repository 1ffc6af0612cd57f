"""The rows of copy-on-write in reports: files of lower layers that upper layers contain again, and what that costs."""

from __future__ import annotations

from typing import NamedTuple

from ocitool.images.image import Image
from ocitool.report.escape import human
from ocitool.report.phrases import LazyRows, Phrase, Quote, count_of, made_by, path
from ocitool.trees.copied_files import CopiedFile, CopiedFiles, CopyCost

_MAX_FILES = 10
_FIELD_NAMES = {"uid": "owner", "gid": "group", "mtime": "time", "xattrs": "attributes"}


class CopyLayerRow(NamedTuple):
    layer: int
    cost: str
    made_by: Phrase


class CopiedFileRow(NamedTuple):
    """`changed`: what differs from the lower layer's file."""

    size: str
    layer: int
    source: int
    changed: str
    path: Quote


class CopiesView(NamedTuple):
    """`more`: how many files are not listed."""

    title: str
    layers: LazyRows[CopyLayerRow]
    files: LazyRows[CopiedFileRow]
    more: int


def copies_view(copied: CopiedFiles, image: Image, top: int = _MAX_FILES) -> CopiesView:
    costs = copied.costs()
    return CopiesView(
        f"copied up (copy-on-write): {_cost(copied.cost())}",
        LazyRows(list(costs), lambda number: CopyLayerRow(number, _cost(costs[number]), made_by(image.layers[number]))),
        LazyRows(copied.files[:top], _file), max(0, len(copied.files) - top),
    )  # fmt: skip


def _cost(cost: CopyCost) -> str:
    text = f"{human(cost.bytes)} in {count_of(cost.files, 'file')}"
    if not cost.unchanged_files:
        return text
    return f"{text}, content unchanged in {count_of(cost.unchanged_files, 'file')} ({human(cost.unchanged_bytes)})"


def _file(one: CopiedFile) -> CopiedFileRow:
    changed = ", ".join(_FIELD_NAMES.get(field, field) for field in one.changed) or "names"
    return CopiedFileRow(human(one.size), one.by, one.source, changed, path(one.path))
