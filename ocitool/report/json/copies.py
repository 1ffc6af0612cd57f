"""Copy-on-write in JSON: the same object in the reports of `inspect` and of `engine diff`."""

from __future__ import annotations

from typing import Any

from ocitool.images.image import Image
from ocitool.report.json.fields import created_by, path_fields
from ocitool.trees.copied_files import CopiedFiles, CopyCost


def copies_fields(copied: CopiedFiles, image: Image) -> dict[str, Any]:
    """Returns the copies that layers of an image have of files in lower layers."""
    return {
        **_cost(copied.cost()),
        "byLayer": [
            {"index": number, "createdBy": created_by(image.layers[number].created_by), **_cost(cost)}
            for number, cost in copied.costs().items()
        ],
        "list": [
            {**path_fields(one.path), "size": one.size, "layer": one.by, "from": one.source, "changed": list(one.changed)}
            for one in copied.files
        ],
    }


def _cost(cost: CopyCost) -> dict[str, Any]:
    return {
        "files": cost.files,
        "bytes": cost.bytes,
        "contentUnchanged": {"files": cost.unchanged_files, "bytes": cost.unchanged_bytes},
    }
