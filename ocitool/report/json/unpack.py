"""The report of `unpack`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ocitool.report.json.fields import clean, notice_list, platform_fields

if TYPE_CHECKING:
    from ocitool.images.image import Image
    from ocitool.operations.unpack.editable import Unpacked
    from ocitool.operations.unpack.flat import Flat


def unpack(result: Unpacked) -> dict[str, Any]:
    return {
        **_head(result.reference, result.form, result.destination, result.image),
        "rootless": result.owners.rootless,
        "verified": True,
        "entries": result.entries,
        "bytes": {"read": result.read, "written": result.written},
        "notices": notice_list(result.notices),
    }


def flat(result: Flat) -> dict[str, Any]:
    return {
        **_head(result.reference, "tar", result.destination, result.image),
        "rootless": False,
        "verified": True,
        "entries": result.entries,
        "bytes": {"read": None, "written": result.size},
        "notices": notice_list(result.notices),
    }


def _head(reference: str, form: str, destination: str, image: Image) -> dict[str, Any]:
    return {
        "report": "unpack",
        "version": 1,
        "reference": clean(reference),
        "as": form,
        "destination": clean(destination),
        "digest": str(image.digest) if image.digest else None,
        "imageId": image.image_id,
        "platform": platform_fields(image.platform),
    }
