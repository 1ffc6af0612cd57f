"""Results as the JSON reports that scripts rely on; `schemas/report-*.json` say what each holds.

Paths begin with `/`. One that is not UTF-8 has U+FFFD in it, and its bytes stand beside it in base64.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Iterator
from typing import Any

from ocitool.images.image import Image, Layer
from ocitool.images.select import Listed
from ocitool.layers.entry import Entry, Kind
from ocitool.operations.diff.result import Diff, FileChange, IndexDiff, LayerPair, Side
from ocitool.operations.inspect import Inspected, Inspection, Waste
from ocitool.operations.listing import Item, Listing
from ocitool.operations.validate import Validation
from ocitool.spec.manifest import Index, Platform
from ocitool.task import Notice

_TYPES = ("file", "directory", "symlink", "hardlink", "char", "block", "fifo", "whiteout", "opaque", "file", "file")


def text(report: dict[str, Any]) -> str:
    return json.dumps(report, ensure_ascii=True, indent=2)


def inspect(result: Inspection) -> dict[str, Any]:
    return {
        "report": "inspect",
        "version": 1,
        "reference": _clean(result.reference),
        "transport": result.transport,
        "index": _index(result.index, result.entries) if result.index is not None else None,
        "images": [_inspected(item) for item in result.images],
        "notices": _notices(result.notices),
    }


def _index(index: Index, entries: Iterable[Listed]) -> dict[str, Any]:
    return {
        "mediaType": _clean(index.media_type),
        "digest": str(index.digest),
        "manifests": [
            {
                "digest": str(entry.descriptor.digest),
                "mediaType": _clean(entry.descriptor.media_type),
                "size": entry.descriptor.size,
                "platform": _platform(entry.descriptor.platform) if entry.descriptor.platform else None,
                "kind": entry.kind,
                "annotations": _clean(entry.descriptor.annotations),
                "present": entry.present,
            }
            for entry in entries
        ],
    }


def _inspected(item: Inspected) -> dict[str, Any]:
    image = item.image
    sizes = [facts.uncompressed_size for facts in item.layers]
    unpacked = None if None in sizes else sum(size for size in sizes if size is not None)
    history = image.config.fields.get("history")
    return {
        "tags": [_clean(tag) for tag in image.tags],
        "digest": str(image.digest) if image.digest else None,
        "imageId": image.image_id,
        "mediaType": _clean(image.media_type),
        "platform": _platform(image.platform),
        "created": _clean(image.config.created),
        "author": _clean(image.config.author),
        "annotations": _clean(image.manifest.annotations) if image.manifest else {},
        "config": _clean(image.config.settings),
        "volumes": _clean(list(image.config.keys("Volumes"))),
        "exposedPorts": _clean(list(image.config.keys("ExposedPorts"))),
        "layers": [
            {
                "index": layer.number,
                "digest": str(layer.digest) if layer.digest else None,
                "diffId": str(layer.diff_id) if layer.diff_id else None,
                "mediaType": _clean(layer.media_type),
                "compression": facts.compression if facts.compression in ("none", "gzip", "zstd") else None,
                "compressionVerified": layer.blob is not None,
                "present": layer.blob is not None,
                "size": layer.size,
                "uncompressedSize": facts.uncompressed_size,
                "createdBy": _clean(layer.created_by),
                "created": _clean(layer.created),
                "files": facts.files,
            }
            for layer, facts in zip(image.layers, item.layers, strict=True)
        ],
        "history": [_clean(entry) for entry in history if isinstance(entry, dict)] if isinstance(history, list) else [],
        "totals": {"layers": len(image.layers), "size": image.size, "uncompressedSize": unpacked},
        "verified": item.verified,
        "missing": [str(digest) for digest in image.missing],
        "waste": _waste(item.waste, image) if item.waste is not None else None,
    }


def _waste(waste: Waste, image: Image) -> dict[str, Any]:
    def cost(kind: Any) -> dict[str, int]:
        files, size = waste.total(kind)
        return {"files": files, "bytes": size}

    guilty = sorted({wasted.by for wasted in waste.hidden})
    return {
        "bytes": waste.total()[1],
        "overwritten": cost("overwritten"),
        "deleted": cost("deleted"),
        "copiedUp": cost("copied-up"),
        "byLayer": [
            {
                "index": number,
                "createdBy": _clean(image.layers[number].created_by),
                "overwritten": waste.total("overwritten", number)[1],
                "deleted": waste.total("deleted", number)[1],
                "copiedUp": waste.total("copied-up", number)[1],
            }
            for number in guilty
        ],
        "largest": [{**_path(item.path), "size": item.size, "layer": item.layer} for item in waste.largest],
        "deletedButShipped": [
            {**_path(item.path), "size": item.size, "layer": item.layer, "deletedBy": item.by}
            for item in waste.hidden
            if item.kind == "deleted"
        ],
        "paths": [
            {**_path(item.path), "bytes": item.bytes, "versions": item.versions, "kind": item.kind} for item in waste.paths
        ],
    }


def ls(result: Listing) -> Iterator[str]:
    """In lines, one an entry: a listing may hold millions."""
    head = {
        "report": "ls",
        "version": 1,
        "reference": _clean(result.reference),
        "imageId": result.image.image_id,
        "layer": result.layer,
        "verified": result.verified,
    }
    yield json.dumps(head)[:-1] + ', "entries": ['
    line: str | None = None
    for item in result.items:
        if line is not None:
            yield line + ","
        line = json.dumps(_item(item))
    if line is not None:
        yield line
    yield f'], "notices": {json.dumps(_notices(result.notices))}}}'


def _item(item: Item) -> dict[str, Any]:
    return {
        **_path(item.path),
        "type": _TYPES[item.entry.kind],
        **_attributes(item.entry),
        "links": [_path(link)["path"] for link in item.links],
        "layer": _layer(item.layer),
    }


def diff(result: Diff | IndexDiff) -> dict[str, Any]:
    if isinstance(result, Diff):
        return {"report": "diff", "version": 1, **_diff(result)}
    return {
        "report": "diff",
        "version": 1,
        "identical": result.identical,
        "verified": result.verified,
        "platforms": [
            {
                "platform": _platform(entry.platform),
                "status": entry.status,
                "diff": _diff(entry.diff) if entry.diff is not None else None,
            }
            for entry in result.platforms
        ],
        "config": [_config(change) for change in result.config],
        "notices": _notices(result.notices),
    }


def _diff(result: Diff) -> dict[str, Any]:
    layers, size = result.shared
    summary = result.summary
    return {
        "identical": result.identical,
        "verified": result.verified,
        "before": _image(result.before_reference, result.before),
        "after": _image(result.after_reference, result.after),
        "layers": [_pair(pair) for pair in result.layers],
        "shared": {"layers": layers, "bytes": size},
        "config": [_config(change) for change in result.config],
        "files": [_change(change) for change in result.files],
        "packages": None,
        "notable": [
            {
                "rule": item.rule,
                **(_path(item.path) if item.path is not None else {"path": None}),
                "pointer": _clean(item.pointer),
                "layer": _layer(item.layer),
            }
            for item in result.notable
        ],
        "failures": [{"rule": item.rule, "limit": item.limit, "actual": item.actual} for item in result.failures],
        "summary": {
            "added": summary.added,
            "removed": summary.removed,
            "modified": summary.modified,
            "type": summary.type,
            "metadata": summary.metadata,
            "mtimeOnly": summary.mtime_only,
            "sizeDelta": summary.size_delta,
            "transferBytes": summary.transfer_bytes,
            "transferEstimated": summary.transfer_estimated,
        },
        "patch": None
        if result.patches is None
        else [{**_path(patch.path), "text": _clean(patch.text)} for patch in result.patches],
        "notices": _notices(result.notices),
    }


def _image(reference: str, image: Image) -> dict[str, Any]:
    return {
        "reference": _clean(reference),
        "tags": [_clean(tag) for tag in image.tags],
        "digest": str(image.digest) if image.digest else None,
        "imageId": image.image_id,
        "platform": _platform(image.platform),
        "layers": len(image.layers),
        "size": image.size,
    }


def _pair(pair: LayerPair) -> dict[str, Any]:
    def side(layer: Layer | None) -> dict[str, Any] | None:
        if layer is None:
            return None
        return {
            "index": layer.number,
            "digest": str(layer.digest) if layer.digest else None,
            "diffId": str(layer.diff_id) if layer.diff_id else None,
            "size": layer.size,
            "mediaType": _clean(layer.media_type),
            "createdBy": _clean(layer.created_by),
            "created": _clean(layer.created),
        }

    cause = pair.cause
    return {
        "status": pair.status,
        "before": side(pair.before),
        "after": side(pair.after),
        "reason": _clean(pair.reason),
        "rebuiltBecauseOf": None
        if cause is None
        else {"side": "after", "index": cause.number, "createdBy": _clean(cause.created_by)},
    }


def _config(change: Any) -> dict[str, Any]:
    return {
        "document": change.document,
        "pointer": _clean(change.pointer),
        "key": _clean(change.key),
        "kind": change.kind,
        "before": _clean(change.before),
        "after": _clean(change.after),
    }


def _change(change: FileChange) -> dict[str, Any]:
    return {
        **_path(change.path),
        "kind": change.kind,
        "fields": list(change.fields),
        "before": _side(change.before),
        "after": _side(change.after),
        "layer": _layer(change.layer),
        "renamedFrom": None,
    }


def _side(side: Side | None) -> dict[str, Any] | None:
    if side is None:
        return None
    kind = Kind.FILE if side.entry.kind == Kind.HARDLINK else side.entry.kind
    return {
        "type": _TYPES[kind],
        **_attributes(side.entry),
        "digest": f"sha256:{side.content.hex()}" if side.content else None,
        "links": [_path(link)["path"] for link in side.links],
    }


def _attributes(entry: Entry) -> dict[str, Any]:
    found: dict[str, Any] = {
        "size": entry.size,
        "mode": f"{entry.mode:04o}",
        "uid": entry.uid,
        "gid": entry.gid,
        "mtime": time(entry.mtime),
        "linkTarget": None,
        "device": {"major": entry.device[0], "minor": entry.device[1]} if entry.device else None,
        "xattrs": {
            name.decode("utf-8", "replace"): b64encode(value).decode("ascii") for name, value in entry.xattrs or ()
        },
    }
    if entry.kind in (Kind.SYMLINK, Kind.HARDLINK):
        target = b"/" + entry.link if entry.kind == Kind.HARDLINK else entry.link
        found["linkTarget"] = target.decode("utf-8", "replace")
        if not _is_utf8(target):
            found["linkTargetBase64"] = b64encode(target).decode("ascii")
    return found


def _path(path: bytes) -> dict[str, str]:
    path = b"/" + path
    if _is_utf8(path):
        return {"path": path.decode("utf-8")}
    return {"path": path.decode("utf-8", "replace"), "pathBase64": b64encode(path).decode("ascii")}


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def time(nanoseconds: int) -> str | None:
    """RFC 3339 with what fraction there is; None for years that it cannot write."""
    from datetime import UTC, datetime, timedelta

    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    except OverflowError:
        return None
    digits = f".{fraction:09d}".rstrip("0") if fraction else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}{digits}Z" if moment.year > 999 else None


def _layer(layer: Layer | None) -> dict[str, Any] | None:
    if layer is None:
        return None
    diff_id = str(layer.diff_id) if layer.diff_id else None
    return {"index": layer.number, "diffId": diff_id, "createdBy": _clean(layer.created_by)}


def _platform(platform: Platform) -> dict[str, Any]:
    return {"os": _clean(platform.os), "architecture": _clean(platform.architecture), "variant": _clean(platform.variant)}


def _notices(notices: Iterable[Notice]) -> list[dict[str, str]]:
    return [{"code": notice.code, "text": _clean(notice.text)} for notice in notices]


def _clean(value: Any) -> Any:
    """The value without lone surrogates, which no UTF-8 text can hold: they come from file names and JSON escapes."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value


def validation(results: list[Validation]) -> dict[str, Any]:
    if len(results) == 1:
        return {"report": "validate", "version": 1, **_validation(results[0])}
    return {
        "report": "validate",
        "version": 1,
        "valid": all(result.valid for result in results),
        "results": [_validation(result) for result in results],
    }


def _validation(result: Validation) -> dict[str, Any]:
    return {
        "reference": _clean(result.reference),
        "valid": result.valid,
        "findings": [
            {"rule": f.rule, "severity": f.severity, "subject": _clean(f.subject), "message": _clean(f.message)}
            for f in result.findings
        ],
        "checked": result.checked._asdict(),
        "truncated": result.truncated,
    }
