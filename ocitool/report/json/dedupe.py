"""The JSON report of `dedupe`, made line by line, since it is long for ten thousand images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ocitool.dedupe import Deduped
from ocitool.dedupe.advice import digest_of
from ocitool.dedupe.collection import StoredBlob
from ocitool.dedupe.package_copies import PackageTotals
from ocitool.dedupe.repeated_files import FileLocation
from ocitool.report.json.fields import clean, created_by, dumped, notice_list, path_fields, stated
from ocitool.report.packages_view import full_name


def dedupe_json(result: Deduped) -> Iterator[str]:
    """Yields the lines of one JSON object: one line for each field, and for each item of a list."""
    parts = list(_parts(result))
    yield "{"
    for number, (name, value) in enumerate(parts):
        end = "," if number < len(parts) - 1 else ""
        if isinstance(value, Iterator):
            yield f'  "{name}": ['
            before = None
            for item in value:
                if before is not None:
                    yield f"    {before},"
                before = dumped(item)
            if before is not None:
                yield f"    {before}"
            yield f"  ]{end}"
        else:
            yield f'  "{name}": {dumped(value)}{end}'
    yield "}"


def _parts(result: Deduped) -> Iterator[tuple[str, Any]]:
    collection = result.collection
    members = collection.members
    under = {number: at for at, base in enumerate(result.bases) for number in base.users}  # the last one is the longest
    yield "report", "dedupe"
    yield "version", 1
    yield "references", clean(list(result.given))
    yield "images", (
        {
            "reference": clean(one.reference), "also": clean(one.also), "kind": one.kind,
            "transport": one.first.source.transport.name,
            "digest": str(one.digest) if one.digest else None, "imageId": clean(one.image_id),
            "platforms": [stated(stack.platform) for stack in one.platform_images],
            "layers": sum(len(stack.layers) for stack in one.platform_images), "base": under.get(one.number),
            **result.shares[one.number]._asdict(), "tags": clean(one.tags),
            "onDisk": result.on_disk[one.number][0], "frees": result.on_disk[one.number][1],
        }
        for one in members
    )  # fmt: skip
    yield "layers", {"references": result.references, "unique": result.layers}
    yield "bytes", {
        "referenced": result.referenced, "unique": result.unique, "saved": result.saved,
        "onDisk": result.disk.on_disk, "atRegistries": result.disk.at_registries,
    }  # fmt: skip
    yield "sharedLayers", (
        {
            **_layer(layer), "size": layer.size, "saved": layer.saved,
            "createdBy": created_by(layer.created_by), "images": clean(collection.references(layer.users)),
        }
        for layer in result.shared
    )  # fmt: skip
    yield "bases", (
        {
            "name": clean(base.name), "chainId": base.chain_id, "layers": len(base.layers), "size": base.size,
            "saved": base.saved, "on": base.parent, "images": clean(collection.references(base.users)),
        }
        for base in result.bases
    )  # fmt: skip
    yield "equalUncompressed", (
        {
            "diffId": one.diff_id, "digests": [str(digest_of(blob)) for blob in one.blobs],
            "sizes": [blob.size for blob in one.blobs], "images": clean(collection.references(one.users)),
        }
        for one in result.equal
    )  # fmt: skip
    yield "files", _files(result)
    yield "packages", _packages(result.packages)
    yield "advice", (
        {
            "kind": one.kind, "saves": one.saves, "estimated": one.estimated, "images": clean(list(one.images)),
            "text": clean(one.text), "command": clean(one.command), "onDisk": one.saves if one.on_disk is None else one.on_disk,
            "insteadOf": list(one.instead),
        }
        for one in result.advice
    )  # fmt: skip
    yield (
        "problems",
        (
            {"where": clean(one.where), "text": clean(str(one.error)), "exitCode": one.error.exit_code}
            for one in result.problems
        ),
    )
    yield "verified", result.verified
    yield "notices", notice_list(result.notices)


def _layer(layer: StoredBlob) -> dict[str, Any]:
    return {
        "digest": str(layer.digest) if layer.digest else None,
        "diffId": str(layer.diff_id) if layer.diff_id else None,
    }


def _files(result: Deduped) -> dict[str, Any] | None:
    totals = result.totals
    if totals is None:
        return None
    return {
        "references": totals.references,
        "unique": totals.unique,
        "bytes": totals.bytes,
        "uniqueBytes": totals.unique_bytes,
        "top": [
            {
                "digest": f"sha256:{one.content.hex()}", "size": one.size, "count": one.times, "saves": one.saves,
                "places": _places(one.locations),
            }
            for one in totals.top
        ],
    }  # fmt: skip


def _places(locations: Sequence[FileLocation]) -> list[dict[str, Any]]:
    return [{"layer": clean(spot.layer.key), **path_fields(spot.path)} for spot in locations]


def _packages(found: PackageTotals | None) -> dict[str, Any] | None:
    if found is None:
        return None
    from ocitool.packages.purl import package_url  # its library is not needed otherwise

    return {
        "count": found.total,
        "saves": found.saves,
        "layersLeftOut": found.left_out,
        "top": [
            {
                "type": one.package.kind, "name": clean(full_name(one.package)), "version": clean(one.package.version),
                "purl": package_url(one.package), "copies": one.copies, "layers": one.layers, "images": one.images,
                "bytes": one.bytes, "saves": one.saves, "places": _places(one.locations),
            }
            for one in found.top
        ],
    }  # fmt: skip
