"""The JSON report of `diff`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ocitool import masking
from ocitool.comparison.result import (
    ConfigChange,
    Diff,
    FileChange,
    IndexDiff,
    LayerPair,
    PackageDiff,
    Side,
    VolatileGroup,
)
from ocitool.digest import Digest
from ocitool.images.image import Image, Layer
from ocitool.layers.entry import Kind
from ocitool.report.json.budget import limit_json
from ocitool.report.json.fields import (
    TYPES,
    attributes,
    clean,
    created_by,
    layer_fields,
    link_fields,
    notice_list,
    path_fields,
    platform_fields,
    stated,
)
from ocitool.report.json.groups import group_fields, groups_fields
from ocitool.report.json.notable import failure_fields, notable_fields
from ocitool.report.packages_view import full_name
from ocitool.report.sides import pointer_text, sides

_VERSION = 2
"""Since 2, `packages` may be a list, and every file has `package`."""


def diff_json(result: Diff | IndexDiff, rows: Callable[[Iterator[Any]], Any] = list) -> dict[str, Any]:
    """Returns the report. `rows` makes the value of `files`, which may be millions."""
    if isinstance(result, Diff):
        return {"report": "diff", "version": _VERSION, **_diff(result, rows)}
    return {
        "report": "diff",
        "version": _VERSION,
        "identical": result.identical,
        "verified": result.verified,
        "before": {"reference": clean(result.before_reference), "digest": _digest(result.before_digest)},
        "after": {"reference": clean(result.after_reference), "digest": _digest(result.after_digest)},
        "platforms": [
            {
                "platform": platform_fields(entry.platform),
                "status": entry.status,
                "before": str(entry.before) if entry.before else None,
                "after": str(entry.after) if entry.after else None,
                "notable": [notable_fields(item) for item in entry.notable],
                "diff": _diff(entry.diff, rows) if entry.diff is not None else None,
            }
            for entry in result.platforms
        ],
        "config": [_config(change) for change in result.config],
        "failures": [failure_fields(item) for item in result.failures],
        "notices": notice_list(result.notices),
    }


def _diff(result: Diff, rows: Callable[[Iterator[Any]], Any]) -> dict[str, Any]:
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
        "compared": {
            "paths": [clean(glob) for glob in result.paths],
            "ignoredPaths": [clean(glob) for glob in result.ignored_paths],
            "config": result.settings,
            "ignoredVolatile": result.ignored_volatile,
        },
        "files": rows({**_change(change, result), **group_fields(result, n)} for n, change in enumerate(result.files)),
        "groups": groups_fields(result),
        "packages": _packages(result.packages),
        "volatile": [_volatile(group) for group in result.volatile.groups],
        "notable": [notable_fields(item) for item in result.notable],
        "failures": [failure_fields(item) for item in result.failures],
        "policy": clean(result.policy),
        "budget": None if result.budget is None else [limit_json(line) for line in result.budget],
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
            "renamed": summary.renamed,
            "builtAlike": {
                "layers": len(result.volatile.layers),
                "bytes": sum(layer.size for layer in result.volatile.layers),
            },
        },
        "patch": None
        if result.patches is None
        else [{**path_fields(patch.path), "text": clean(patch.text), "withheld": patch.withheld} for patch in result.patches],
        "notCompared": [
            {
                "platform": platform_fields(one.platform),
                "status": one.status,
                "before": str(one.before) if one.before else None,
                "after": str(one.after) if one.after else None,
            }
            for one in result.not_compared
        ],
        **_copied(result),
        **_inside(result),
        **_extracted(result),
        "notices": notice_list(result.notices),
    }


def _volatile(group: VolatileGroup) -> dict[str, Any]:
    kind = group.kind
    return {
        "class": kind.name, "files": group.files, "bytes": group.size, "text": kind.text, "advice": kind.fix or None,
        "ignorePaths": list(group.globs),
    }  # fmt: skip


def _copied(result: Diff) -> dict[str, Any]:
    """What a container copied up; nothing for two images."""
    if result.copied is None:
        return {}
    from ocitool.report.json.copies import copies_fields

    return {"copiedUp": copies_fields(result.copied, result.after)}


def _inside(result: Diff) -> dict[str, Any]:
    """How far files were looked into; nothing if no content changed."""
    if result.inside is None:
        return {}
    return {"inside": {"all": result.inside.thorough, "leftOut": result.inside.left_out}}


def _extracted(result: Diff) -> dict[str, Any]:
    """What was written of both sides; nothing unless that was requested."""
    found = result.extracted
    if found is None:
        return {}
    return {"extracted": {
        "directory": clean(found.directory), "before": found.before, "after": found.after, "bytes": found.bytes,
        "links": found.links, "leftOut": found.special, "secret": found.secret,
    }}  # fmt: skip


def _inside_of(path: bytes, result: Diff) -> dict[str, Any]:
    if result.inside is None or path not in result.inside.files:
        return {}
    from ocitool.report.json.inside import inside_fields

    return {"inside": inside_fields(result.inside.files[path])}


def _digest(digest: Digest | None) -> str | None:
    return str(digest) if digest is not None else None


def _image(reference: str, image: Image) -> dict[str, Any]:
    return {
        "reference": clean(reference),
        "tags": [clean(tag) for tag in image.tags],
        "digest": str(image.digest) if image.digest else None,
        "imageId": image.image_id,
        "platform": platform_fields(image.platform),
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
            "mediaType": stated(layer.media_type),
            "createdBy": created_by(layer.created_by),
            "created": stated(layer.created),
        }

    cause = pair.cause
    return {
        "status": pair.status,
        "before": side(pair.before),
        "after": side(pair.after),
        "reason": clean(masking.reason(pair.reason)) if pair.reason is not None else None,
        "rebuiltBecauseOf": None
        if cause is None
        else {"side": "after", "index": cause.number, "createdBy": created_by(cause.created_by)},
    }


def _config(change: ConfigChange) -> dict[str, Any]:
    found = sides(change)
    return {
        "document": change.document,
        "pointer": clean(pointer_text(change.pointer)),
        "key": clean(change.key and masking.text(change.key)),
        "kind": change.kind,
        "before": clean(found.before),
        "after": clean(found.after),
        "hiddenChange": found.changed,
    }


def _packages(found: PackageDiff | None) -> list[dict[str, Any]] | None:
    if found is None or not found.changed:
        return None if found is None else []
    from ocitool.packages.purl import package_url  # its library is not needed otherwise

    made = []
    for change, files, grown, layer in found.changed:
        old, new, package = change.before, change.after, change.package
        made.append({
            "type": package.kind,
            "name": clean(full_name(package)),
            "purl": package_url(package, found.before if new is None else found.after),
            "kind": change.kind,
            "before": clean(old.version) if old is not None else None,
            "after": clean(new.version) if new is not None else None,
            "source": clean(package.source) if package.source else None,
            "files": files,
            "sizeDelta": grown,
            "layer": layer_fields(layer),
        })  # fmt: skip
    return made


def _change(change: FileChange, result: Diff) -> dict[str, Any]:
    packages = result.packages
    follows = packages.followers.get(change.path) if packages is not None else None
    return {
        **path_fields(change.path),
        "kind": change.kind,
        "fields": list(change.fields),
        "before": _side(change.before),
        "after": _side(change.after),
        "layer": layer_fields(change.layer),
        "volatile": result.volatile.classes.get(change.path),
        "package": packages.owners.get(change.path) if packages is not None else None,
        **({"followsPackages": follows} if follows is not None else {}),
        **_inside_of(change.path, result),
    }


def _side(side: Side | None) -> dict[str, Any] | None:
    if side is None:
        return None
    kind = Kind.FILE if side.entry.kind == Kind.HARDLINK else side.entry.kind
    return {
        "type": TYPES[kind],
        **attributes(side.entry),
        "digest": f"sha256:{side.content.hex()}" if side.content else None,
        **link_fields(side.links),
    }
