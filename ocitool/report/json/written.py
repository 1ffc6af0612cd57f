"""The report of every command that writes images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ocitool.pipeline.image_writer import WriteResult, WrittenImage, WrittenRoot
from ocitool.report.json.fields import clean, json_text, notice_list, path_fields, platform_fields, stated


def written_json(result: WriteResult) -> Iterator[str]:
    yield json_text(
        {
            "report": result.command,
            "version": 1,
            "destination": clean(result.destination),
            "dryRun": result.dry_run,
            "verified": result.verified,
            "roots": [_root(root) for root in result.roots],
            "images": [_image(image) for image in result.images],
            "bytes": {
                "kept": result.kept,
                "written": result.written,
                "transferred": result.transferred,
                "skipped": result.skipped,
                "omitted": result.omitted,
                "lent": result.lent,
            },
            "engines": list(result.engines),
            "details": _details(dict(result.details)) if result.details is not None else None,
            "unchanged": result.unchanged,
            "problems": [
                {"where": clean(one.where), "text": clean(str(one.error)), "exitCode": one.error.exit_code}
                for one in result.problems
            ],
            "notices": notice_list(result.notices),
        }
    )


def _details(value: Any) -> Any:
    """What one command tells, where a path is its bytes."""
    if isinstance(value, dict):
        path = value.get("path")
        fields = path_fields(path) if isinstance(path, bytes) else {}
        return {**fields, **{key: _details(item) for key, item in value.items() if key not in fields}}
    return [_details(item) for item in value] if isinstance(value, list | tuple) else clean(value)


def _root(root: WrittenRoot) -> dict[str, Any]:
    return {
        "digest": str(root.digest),
        "mediaType": stated(root.media_type),
        "names": clean(list(root.names)),
        "references": clean(list(root.references)),
        "platforms": [platform_fields(one) for one in root.platforms] if root.platforms is not None else None,
        "subject": str(root.subject) if root.subject is not None else None,
        "artifactType": clean(root.kind),
    }


def _image(image: WrittenImage) -> dict[str, Any]:
    return {
        "digest": str(image.digest),
        "imageId": str(image.image_id),
        "tags": clean(list(image.names)),
        "platform": platform_fields(image.platform) if image.platform else None,
        "layers": [
            {
                "index": number,
                "digest": str(layer.digest),
                "diffId": str(layer.diff_id) if layer.diff_id else None,
                "size": layer.size,
                "origin": layer.origin,
            }
            for number, layer in enumerate(image.layers)
        ],
    }
