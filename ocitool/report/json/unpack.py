"""The report of `unpack`."""

from __future__ import annotations

from typing import Any

from ocitool.operations.unpack.editable import Unpacked
from ocitool.report.json.fields import clean, notice_list, platform_fields


def unpack(result: Unpacked) -> dict[str, Any]:
    image = result.image
    return {
        "report": "unpack",
        "version": 1,
        "reference": clean(result.reference),
        "as": result.form,
        "destination": clean(result.destination),
        "digest": str(image.digest) if image.digest else None,
        "imageId": image.image_id,
        "platform": platform_fields(image.platform),
        "rootless": result.owners.rootless,
        "verified": True,
        "entries": result.entries,
        "bytes": {"read": result.read, "written": result.written},
        "notices": notice_list(result.notices),
    }
