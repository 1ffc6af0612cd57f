"""The formats of reports: one entry each, and which renderer makes which report in each of them.

The renderer of a report is `REPORT_FORMAT`, in the module that the report has in the package of the format: `diff_markdown` in
`report/markdown/diff.py`. A new format is an entry here, and a package of renderers.
"""

from collections.abc import Iterable
from enum import Enum
from importlib import import_module
from typing import Any, NamedTuple

from ocitool.errors import UsageError


class OutputFormat(Enum):
    """The formats of every report."""

    text = "text"
    json = "json"


class ReviewFormat(Enum):
    """The formats of reports that are read in a review."""

    text = "text"
    json = "json"
    markdown = "markdown"


class Format(NamedTuple):
    """understands: what of a view its renderers take. prose: whether it is for people: a quiet command writes it only where it
    was sent to, and names its problems in it."""

    understands: frozenset[str]
    prose: bool


FORMATS = {
    "text": Format(frozenset({"paint", "stat", "long"}), prose=True),
    "json": Format(frozenset(), prose=False),
    "markdown": Format(frozenset({"stat"}), prose=True),
}


class Report(NamedTuple):
    """Where a report's renderers are, and what of a view they take: `paint` (colours), `stat` (totals alone), `long`."""

    module: str
    view: tuple[str, ...] = ()
    review: bool = False


REPORTS = {
    "inspect": Report("inspect", ("paint",), review=True),
    "diff": Report("diff", ("paint", "stat"), review=True),
    "dedupe": Report("dedupe", ("paint",), review=True),
    "validate": Report("validate", ("paint",)),
    "ls": Report("ls", ("long",)),
    "tags": Report("tags"),
    "catalog": Report("tags"),
    "written": Report("written"),
    "unpack": Report("unpack"),
    "flat": Report("unpack"),
    "store": Report("unpack"),
    "rm": Report("layout"),
    "gc": Report("layout"),
    "link": Report("layout"),
    "normalize": Report("layout"),
}


def lines(report: str, result: Any, format: str, *, colour: bool = False, **view: bool) -> Iterable[str]:
    """The lines of a report in a format. `view`: as `Report` names it, without `paint`, which `colour` says.

    Raises `UsageError` if the report has no such format."""
    entry = REPORTS[report]
    if format not in {one.value for one in (ReviewFormat if entry.review else OutputFormat)}:
        *most, last = (name for name, one in REPORTS.items() if one.review)
        raise UsageError(f"--format {format} is for results of {', '.join(most)} and {last}")
    taken: dict[str, Any] = {name: view.get(name, False) for name in entry.view if name in FORMATS[format].understands}
    if "paint" in taken:
        from ocitool.report.text.parts import Paint

        taken["paint"] = Paint(colour)
    made = renderer(report, format)(result, **taken)
    if isinstance(made, dict):
        from ocitool.report.json.fields import json_text

        return [json_text(made)]
    return [made] if isinstance(made, str) else made


def renderer(report: str, format: str) -> Any:
    """The function that makes a report in a format."""
    module = import_module(f"ocitool.report.{format}.{REPORTS[report].module}")
    return getattr(module, f"{report}_{format}")
