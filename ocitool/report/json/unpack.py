"""The JSON reports of `unpack`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ocitool.report.json.fields import clean, notice_list, platform_fields

if TYPE_CHECKING:
    from ocitool.images.image import Image
    from ocitool.operations.unpack.editable import UnpackResult
    from ocitool.operations.unpack.flat import FlatResult
    from ocitool.operations.unpack.store import StoredImage, StoreResult


def unpack_json(result: UnpackResult) -> dict[str, Any]:
    return {
        **_head(result.reference, result.form, result.destination, result.image),
        "rootless": result.owners.rootless,
        "mode": f"{result.mode:04o}",
        "verified": True,
        "entries": result.entries,
        "bytes": {"read": result.read, "written": result.written},
        "notices": notice_list(result.notices),
    }


def flat_json(result: FlatResult) -> dict[str, Any]:
    return {
        **_head(result.reference, "tar", result.destination, result.image),
        "rootless": False,
        "mode": None,
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


def store_json(result: StoreResult) -> dict[str, Any]:
    return {
        "report": "unpack",
        "version": 1,
        "reference": clean(result.reference),
        "as": "layers",
        "destination": clean(result.destination),
        "rootless": result.owners.rootless,
        "mode": f"{result.mode:04o}",
        "verified": True,
        "images": [_stored(image) for image in result.images],
        "bytes": {"read": result.read, "written": result.written},
        "notices": notice_list(result.notices),
    }


def _stored(stored: StoredImage) -> dict[str, Any]:
    image = stored.image
    return {
        "tags": [clean(tag) for tag in image.tags],
        "digest": str(image.digest) if image.digest else None,
        "imageId": image.image_id,
        "platform": platform_fields(image.platform),
        "options": clean(stored.options),
        "mount": clean(stored.command),
        "layers": [
            {
                "index": layer.number,
                "diffId": str(layer.diff_id),
                "chainId": str(layer.chain_id),
                "directory": layer.directory,
                "link": layer.link,
                "origin": "new" if layer.fresh else "kept",
            }
            for layer in stored.layers
        ],
    }
