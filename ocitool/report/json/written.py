"""The JSON report of every command that writes images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ocitool.layers.entry import shown_path
from ocitool.pipeline.image_writer import WriteResult
from ocitool.report.json.fields import clean, json_text, notice_list, path_fields, platform_fields, stated
from ocitool.transports.sink import OutputImage

if TYPE_CHECKING:
    from ocitool.operations.edit import EditReport
    from ocitool.operations.rebase import BaseImage, RebaseReport
    from ocitool.operations.rebuild import DeltaReport, RebuildReport, Suggestion
    from ocitool.operations.repack import RepackReport
    from ocitool.operations.squash import SquashReport
    from ocitool.volumes.save import VolumeSaved


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
                "lent": result.from_fallback,
            },
            "engines": list(result.engines),
            "details": clean(_DETAILS[result.command](result.details)) if result.details is not None else None,
            "unchanged": result.unchanged,
            "problems": [
                {"where": clean(one.where), "text": clean(str(one.error)), "exitCode": one.error.exit_code}
                for one in result.problems
            ],
            "notices": notice_list(result.notices),
        }
    )


def _squashed(report: SquashReport) -> dict[str, Any]:
    return {
        "squashed": [
            {
                "reference": one.reference, "platform": one.platform, "from": one.first, "layers": one.layers,
                "into": one.into, "entries": one.entries,
                "saved": {"stored": one.stored, "hidden": one.hidden, "duplicate": one.duplicate},
                "lost": [{"image": lost.image, "layers": lost.layers, "size": lost.size} for lost in one.lost],
            }
            for one in report.squashed
        ]
    }  # fmt: skip


def _rebased(report: RebaseReport) -> dict[str, Any]:
    return {
        "rebased": [
            {
                "reference": one.reference, "platform": one.platform, "oldBase": _base(one.old_base),
                "newBase": _base(one.new_base),
                "conflicts": [
                    {**path_fields(found.path), "base": found.base, "app": found.app, "layer": found.layer}
                    for found in one.conflicts
                ],
                "settings": list(one.settings),
                "directories": [{**path_fields(found.path), "layer": found.layer} for found in one.directories],
            }
            for one in report.rebased
        ]
    }  # fmt: skip


def _base(base: BaseImage) -> dict[str, Any]:
    return {"image": base.image, "digest": str(base.digest) if base.digest is not None else None, "layers": base.layers}


def _rebuilt(report: RebuildReport) -> dict[str, Any]:
    return {
        "rebuilt": [
            {
                "reference": one.reference, "platform": one.platform, "against": list(one.against), "plan": one.plan,
                "plans": [
                    {"plan": plan.plan, "transfer": plan.transfer, "estimated": plan.estimated} for plan in one.plans
                ],
                "layers": [
                    {
                        "index": number, "match": layer.how,
                        "old": {"image": layer.image, "layer": layer.layer} if layer.image is not None else None,
                    }
                    for number, layer in enumerate(one.layers)
                ],
                "ignored": list(map(path_fields, one.ignored)),
                "equalPyc": list(map(path_fields, one.equal_pyc)),
                "stalePyc": list(map(path_fields, one.stale_pyc)),
                "delta": _delta(one.delta) if one.delta is not None else None,
                "suggestion": _suggestion(one.suggestion) if one.suggestion is not None else None,
            }
            for one in report.rebuilt
        ]
    }  # fmt: skip


def _suggestion(found: Suggestion) -> dict[str, Any]:
    return {"ignorePaths": list(found.globs), "layers": list(found.layers), "saves": found.saves}


def _delta(delta: DeltaReport) -> dict[str, Any]:
    files = [{**path_fields(one.path), "size": one.size, "layer": one.layer, "kind": one.kind} for one in delta.hidden]
    hidden = {"size": sum(one.size for one in delta.hidden), "files": files}
    return {"against": delta.against, "deltas": delta.deltas, "hidden": hidden}


def _repacked(report: RepackReport) -> dict[str, Any]:
    return {
        "mode": report.mode, "changed": report.changed, "removed": report.removed,
        "remade": {"layers": report.layers, "size": report.size, "uncompressedSize": report.unpacked},
        "append": {"uncompressedSize": report.appended},
    }  # fmt: skip


def _edited(report: EditReport) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if report.removed:
        found["removed"] = [shown_path(path, None) for path in report.removed]
        found["sameContent"] = [{"layer": one.layer, "path": shown_path(one.path, None)} for one in report.same_content]
    if report.redacted is not None:
        found["redacted"] = [{"option": n, "places": list(places)} for n, places in enumerate(report.redacted, 1)]
    if report.embedded is not None:
        found["embedded"] = [{"layer": one.layer, "path": shown_path(one.path, None)} for one in report.embedded]
    return found


def _volume_saved(report: VolumeSaved) -> dict[str, Any]:
    return {
        "volume": {
            "name": report.name, "driver": report.driver, "entries": report.entries, "files": report.files,
            "size": report.size, "helper": report.helper, "dropped": list(report.dropped),
        }
    }  # fmt: skip


_DETAILS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "edit": _edited, "repack": _repacked, "squash": _squashed, "rebuild": _rebuilt, "rebase": _rebased,
    "volume-save": _volume_saved,
}  # fmt: skip
"""What a command adds to the report, by the name of the command."""


def _root(root: OutputImage) -> dict[str, Any]:
    return {
        "digest": str(root.digest),
        "mediaType": stated(root.media_type),
        "names": clean(list(root.names)),
        "references": clean(list(root.references)),
        "platforms": [platform_fields(one) for one in root.platforms] if root.platforms is not None else None,
        "subject": str(root.subject) if root.subject is not None else None,
        "artifactType": clean(root.kind),
    }


def _image(image: OutputImage) -> dict[str, Any]:
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
