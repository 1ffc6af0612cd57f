"""The JSON report of `budget`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ocitool.report.json.fields import clean

if TYPE_CHECKING:
    from ocitool.operations.budget import BudgetReport
    from ocitool.policy.budget import BudgetLine


def budget_json(result: BudgetReport) -> dict[str, Any]:
    image = result.image
    return {
        "report": "budget",
        "version": 1,
        "reference": clean(result.reference),
        "against": clean(result.against),
        "policy": clean(result.policy),
        "kept": result.kept,
        "digest": str(image.digest) if image.digest is not None else None,
        "imageId": image.image_id,
        "limits": [limit_json(line) for line in result.lines],
        "updated": None if result.updated is None else [clean(one._asdict()) for one in result.updated],
    }


def limit_json(line: BudgetLine) -> dict[str, Any]:
    given = line.given
    return {
        "key": given.key,
        "path": clean(given.glob),
        "unit": given.about.unit,
        "limit": line.limit,
        "limitIs": "most" if given.least is None else "least",
        "percent": given.percent,
        "actual": line.actual,
        "status": line.status,
    }
