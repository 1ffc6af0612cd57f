"""The JSON report of `inspect`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ocitool import masking
from ocitool.images.image import Image
from ocitool.operations.inspect import InspectedEntry, InspectedImage, Inspection
from ocitool.report.json.fields import clean, created_by, notice_list, path_fields, platform_fields, stated
from ocitool.spec import mediatypes
from ocitool.spec.manifest import Index

if TYPE_CHECKING:
    from ocitool.comparison.result import Failure, Notable
    from ocitool.operations.packages import InstalledPackages
    from ocitool.trees.waste import Waste


def inspect_json(result: Inspection) -> dict[str, Any]:
    return {
        "report": "inspect",
        "version": 1,
        "reference": clean(result.reference),
        "transport": result.transport,
        "index": _index(result.document, result.entries) if result.document is not None else None,
        "images": [_inspected(item) for item in result.images],
        **_failures(result.failures),
        "problems": [
            {"where": clean(one.where), "text": clean(str(one)), "exitCode": one.exit_code} for one in result.problems
        ],
        "notices": notice_list(result.notices),
    }


def _index(index: Index, entries: Iterable[InspectedEntry]) -> dict[str, Any]:
    return {
        "mediaType": stated(index.media_type),
        "digest": str(index.digest),
        "manifests": [
            {
                "digest": str(entry.digest) if entry.digest is not None else None,
                "mediaType": stated(entry.media_type),
                "size": entry.size,
                "platform": platform_fields(entry.platform) if entry.platform else None,
                "kind": entry.kind,
                "annotations": clean(masking.value(dict(entry.annotations))),
                "present": entry.present,
                "problem": clean(entry.problem),
            }
            for entry in entries
        ],
    }


def _inspected(item: InspectedImage) -> dict[str, Any]:
    image = item.image
    sizes = [facts.uncompressed_size for facts in item.layers]
    unpacked = None if None in sizes else sum(size for size in sizes if size is not None)
    history = image.config.fields.get("history")
    return {
        "tags": [clean(tag) for tag in image.tags],
        "digest": str(image.digest) if image.digest else None,
        "imageId": image.image_id,
        "mediaType": stated(image.media_type),
        "platform": platform_fields(image.platform),
        "created": stated(image.config.created),
        "author": clean(masking.value(image.config.author)),
        "annotations": clean(masking.value(dict(image.manifest.annotations))) if image.manifest else {},
        "config": clean(image.config.settings),
        "configVerbatim": image.described is None,
        "volumes": clean(list(image.config.keys("Volumes"))),
        "exposedPorts": clean(list(image.config.keys("ExposedPorts"))),
        "layers": [
            {
                "index": layer.number,
                "digest": str(layer.digest) if layer.digest else None,
                "diffId": str(layer.diff_id) if layer.diff_id else None,
                "mediaType": stated(layer.media_type),
                "compression": facts.compression if facts.compression in mediatypes.SUFFIXES else None,
                "compressionVerified": layer.blob is not None and not layer.blob.remote and layer.type.content != "encrypted",
                "content": layer.type.content,
                "present": layer.blob is not None,
                "size": layer.size if image.sizes_known else None,
                "uncompressedSize": facts.uncompressed_size,
                "createdBy": created_by(layer.created_by),
                "created": stated(layer.created),
                "files": facts.files,
            }
            for layer, facts in zip(image.layers, item.layers, strict=True)
        ],
        "history": [
            clean(masking.value(entry)) for entry in (history if isinstance(history, list) else ()) if isinstance(entry, dict)
        ],
        "totals": {"layers": len(image.layers), "size": image.size, "uncompressedSize": unpacked},
        "verified": item.verified,
        "missing": [str(digest) for digest in image.missing],
        "waste": _waste(item.waste, image) if item.waste is not None else None,
        **_packages(item.packages),
        **_notable(item.notable),
    }


def _notable(found: Sequence[Notable] | None) -> dict[str, Any]:
    """Returns the field of what is notable, which is there with `--notable` only: it needs the modules of comparisons."""
    if found is None:
        return {"notable": None}
    from ocitool.report.json.notable import notable_fields

    return {"notable": [notable_fields(one) for one in found]}


def _failures(found: Sequence[Failure]) -> dict[str, Any]:
    if not found:
        return {"failures": []}
    from ocitool.report.json.notable import failure_fields

    return {"failures": [failure_fields(one) for one in found]}


def _packages(found: InstalledPackages | None) -> dict[str, Any]:
    """Returns the fields of the packages, which are there with `--packages` only."""
    if found is None:
        return {"distribution": None, "packages": None, "packageProblems": None}
    from ocitool.report.json.packages import installed_fields

    fields = installed_fields(found)
    return {"packageProblems": fields.pop("problems"), **fields}


def _waste(waste: Waste, image: Image) -> dict[str, Any]:
    def cost(kind: Any) -> dict[str, int]:
        files, size = waste.total(kind)
        return {"files": files, "bytes": size}

    from ocitool.report.json.copies import copies_fields  # only with --files

    hiding = sorted({wasted.by for wasted in waste.hidden})
    return {
        "bytes": waste.total()[1],
        "overwritten": cost("overwritten"),
        "deleted": cost("deleted"),
        "copiedUp": cost("copied-up"),
        "byLayer": [
            {
                "index": number,
                "createdBy": created_by(image.layers[number].created_by),
                "overwritten": waste.total("overwritten", number)[1],
                "deleted": waste.total("deleted", number)[1],
                "copiedUp": waste.total("copied-up", number)[1],
            }
            for number in hiding
        ],
        "largest": [{**path_fields(item.path), "size": item.size, "layer": item.layer} for item in waste.largest],
        "deletedButShipped": [
            {**path_fields(item.path), "size": item.size, "layer": item.layer, "deletedBy": item.by}
            for item in waste.hidden
            if item.kind == "deleted"
        ],
        "paths": [
            {**path_fields(item.path), "bytes": item.bytes, "versions": item.versions, "kind": item.kind}
            for item in waste.paths
        ],
        "copies": copies_fields(waste.copies, image),
    }
