"""Renders a result as the commands print it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from ocitool import credentials
from ocitool.api.arguments import one_of
from ocitool.errors import UsageError

if TYPE_CHECKING:
    from ocitool.comparison import Diff, IndexDiff
    from ocitool.containers.disk_usage import EngineUsage
    from ocitool.containers.listing import ContainerList
    from ocitool.dedupe import Deduped
    from ocitool.operations.budget import BudgetReport
    from ocitool.operations.inspect import Inspection
    from ocitool.operations.packages import ImagePackages
    from ocitool.operations.tags import Tags
    from ocitool.operations.unpack.editable import UnpackResult
    from ocitool.operations.unpack.flat import FlatResult
    from ocitool.operations.unpack.store import StoreResult
    from ocitool.pipeline.image_writer import WriteResult
    from ocitool.validation import Validation

Format = Literal["text", "json", "markdown", "cyclonedx"]


def render(
    result: Inspection | ImagePackages | Diff | IndexDiff | BudgetReport | Validation | Deduped | Tags | WriteResult
    | UnpackResult | StoreResult | FlatResult | ContainerList | EngineUsage,
    format: Format = "text", *, show_secrets: bool = False, stat: bool = False,
) -> str:  # fmt: skip
    """Returns the report of a result as its command prints it: text, JSON that is valid by the schema of the report, or
    Markdown (for results of `inspect`, `diff`, `budget` and `dedupe`), or CycloneDX (for those of `packages`).

    Text of an image is escaped, and what looks like a secret is `***` unless `show_secrets`. `stat`: of a diff only totals
    and layers, no lists. Raises `UsageError` for any value that is not a result of a function of `ocitool`."""
    from ocitool import masking
    from ocitool.report import formats

    report = _REPORTS.get(type(result).__name__)
    if report is None:
        raise UsageError(f"no report exists for a value of type {type(result).__name__}")
    one_of("--format", format, get_args(Format))
    with masking.revealed(show_secrets):
        made = formats.lines(report, [result] if report == "validate" else result, format, stat=stat)
        return "".join(credentials.masked(line) + "\n" for line in made)


_REPORTS = {
    "Inspection": "inspect",
    "ImagePackages": "packages",
    "Diff": "diff",
    "IndexDiff": "diff",
    "BudgetReport": "budget",
    "Validation": "validate",
    "Deduped": "dedupe",
    "Tags": "tags",
    "WriteResult": "written",
    "UnpackResult": "unpack",
    "FlatResult": "flat",
    "StoreResult": "store",
    "ContainerList": "containers",
    "EngineUsage": "df",
}
"""Reports by class name of the result. Class names occur once in ocitool; names, unlike classes, need no import of all
results."""
