"""Notable changes, and the rules of `--fail-on` that are met, as parts of JSON reports."""

from __future__ import annotations

from typing import Any

from ocitool import masking
from ocitool.comparison.result import Failure, Notable, Quoted
from ocitool.policy.acceptance import Acceptance
from ocitool.report.json.fields import clean, layer_fields, path_fields, stated
from ocitool.report.sides import pointer_text


def notable_fields(item: Notable) -> dict[str, Any]:
    return {
        "rule": item.rule,
        **(path_fields(item.path) if item.path is not None else {"path": None}),
        "pointer": clean(pointer_text(item.pointer)) if item.pointer is not None else None,
        "layer": layer_fields(item.layer),
        "severity": item.severity,
        "message": clean("".join(masking.reason(part) if isinstance(part, Quoted) else part for part in item.said)),
        "key": clean(item.key and masking.text(item.key)),
        "bytes": item.size,
        "shippedBy": layer_fields(item.holder),
        "accepted": _acceptance(item.acceptance),
    }


def _acceptance(found: Acceptance | None) -> dict[str, Any] | None:
    if found is None:
        return None
    until = found.entry.until
    return {
        "entry": found.entry.number,
        "reason": clean(found.entry.reason),
        "until": until.isoformat() if until is not None else None,
        "ended": found.ended,
    }


def failure_fields(item: Failure) -> dict[str, Any]:
    return {
        "rule": item.rule,
        "limit": item.limit,
        "actual": item.actual,
        "platform": stated(item.platform),
        "firedBy": [{"rule": rule, "count": count} for rule, count in item.fired],
    }
