"""The JSON report of `validate`."""

from __future__ import annotations

from typing import Any

from ocitool.report.json.fields import clean
from ocitool.validation import Validation


def validate_json(results: list[Validation]) -> dict[str, Any]:
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
        "reference": clean(result.reference),
        "valid": result.valid,
        "findings": [clean(finding._asdict()) for finding in result.findings],
        "checked": {**result.checked._asdict(), "unnamed": result.unnamed},
        "truncated": result.truncated,
    }
