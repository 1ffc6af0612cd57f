"""The JSON report of `ls`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ocitool.operations.listing import File, Listing
from ocitool.report.json.fields import TYPES, attributes, clean, dumped, layer_fields, link_fields, notice_list, path_fields


def ls_json(result: Listing) -> Iterator[str]:
    """Yields the report line by line, one for each entry: a listing may hold millions."""
    head = {
        "report": "ls",
        "version": 1,
        "reference": clean(result.reference),
        "imageId": result.image.image_id,
        "layer": result.layer,
        "verified": result.verified,
    }
    yield dumped(head)[:-1] + ', "entries": ['
    line: str | None = None
    for item in result.items:
        if line is not None:
            yield line + ","
        line = dumped(_item(item))
    if line is not None:
        yield line
    yield f'], "notices": {dumped(notice_list(result.notices))}}}'


def _item(item: File) -> dict[str, Any]:
    return {
        **path_fields(item.path),
        "type": TYPES[item.entry.kind],
        **attributes(item.entry),
        **link_fields(item.links),
        "layer": layer_fields(item.layer),
    }
