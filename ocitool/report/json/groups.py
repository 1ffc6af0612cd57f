"""JSON of the groups of changed files of `diff`."""

from __future__ import annotations

from typing import Any

from ocitool.comparison.result import Diff, FieldChange, FileGroup
from ocitool.report.json.fields import layer_fields, path_fields


def groups_fields(result: Diff) -> list[dict[str, Any]]:
    """Returns the groups in their order, which `group_fields` refers to."""
    return [_group(result, group) for group in result.groups.groups]


def group_fields(result: Diff, position: int) -> dict[str, Any]:
    """Returns what a changed file was before, and the number of its group."""
    groups = result.groups
    source = groups.sources[position] if groups.sources else -1
    number = groups.numbers[position] if groups.numbers else -1
    return {
        **source_fields(result.files[source].path if source >= 0 else None),
        "group": number if number >= 0 else None,
    }


def source_fields(path: bytes | None) -> dict[str, Any]:
    """Returns the path that something was before."""
    if path is None:
        return {"renamedFrom": None}
    return {name.replace("path", "renamedFrom"): text for name, text in path_fields(path).items()}


def _group(result: Diff, group: FileGroup) -> dict[str, Any]:
    return {
        "kind": group.kind,
        **path_fields(group.path),
        "span": group.span,
        **source_fields(group.source),
        "layer": layer_fields(group.layer),
        "counts": {**group.counts, "renamed": group.renamed, "edited": group.edited},
        "files": group.files,
        "directories": group.directories,
        "bytes": group.shipped,
        "sizeDelta": group.size_delta,
        "fields": [_field(change) for change in group.fields],
        "largest": path_fields(result.files[group.largest].path) if group.largest >= 0 else None,
    }


def _field(change: FieldChange) -> dict[str, Any]:
    sides = (change.before, change.after)
    before, after = (f"{side:04o}" if change.field == "mode" and side is not None else side for side in sides)
    return {"field": change.field, "before": before, "after": after}
