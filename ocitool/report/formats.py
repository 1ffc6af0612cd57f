"""The table of report formats and the table of reports, and how a renderer is found.

The renderer of a report is the function `REPORT_FORMAT` in the module `report/FORMAT/MODULE.py`: `diff_markdown` is in
`report/markdown/diff.py`. A new format is an entry here and a package of renderers.
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


class PackagesFormat(Enum):
    """The formats of a list of packages."""

    text = "text"
    json = "json"
    cyclonedx = "cyclonedx"


AnyFormat = OutputFormat | ReviewFormat | PackagesFormat


class Format(NamedTuple):
    """A format. view_options: the options of `Report.view` that its renderers accept. prose: it is for people, not for
    programs: with `--quiet` it is written only if `--report` names a file, and it lists the problems of a command."""

    view_options: frozenset[str]
    prose: bool


FORMATS = {
    "text": Format(frozenset({"paint", "stat", "all", "long"}), prose=True),
    "json": Format(frozenset({"rows"}), prose=False),
    "markdown": Format(frozenset({"stat"}), prose=True),
    "cyclonedx": Format(frozenset(), prose=False),
}


class Report(NamedTuple):
    """The renderers of a report. module: their module. view: the options they accept: `paint` (colours), `stat` (totals
    alone), `all` (every row), `long`, `rows` (what makes a list of very many values). review: the report has the formats of
    `ReviewFormat`; packages: those of `PackagesFormat`."""

    module: str
    view: tuple[str, ...] = ()
    review: bool = False
    packages: bool = False

    @property
    def formats(self) -> frozenset[str]:
        """The names of the formats that the report has."""
        of: type[Enum] = PackagesFormat if self.packages else ReviewFormat if self.review else OutputFormat
        return frozenset(one.value for one in of)


REPORTS = {
    "inspect": Report("inspect", ("paint",), review=True),
    "diff": Report("diff", ("paint", "stat", "all", "rows"), review=True),
    "dedupe": Report("dedupe", ("paint",), review=True),
    "budget": Report("budget", ("paint",), review=True),
    "validate": Report("validate", ("paint",)),
    "ls": Report("ls", ("long",)),
    "packages": Report("packages", packages=True),
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
    "containers": Report("engine"),
    "df": Report("engine"),
    "volumes": Report("volume"),
    "restored": Report("volume"),
}


def lines(report: str, result: Any, format: str, *, colour: bool = False, **view: bool) -> Iterable[str]:
    """Returns the lines of a report in a format. `view`: the options of `Report.view`, but for `paint`, which `colour`
    decides, and `rows`.

    Raises `UsageError` if the report does not have the format."""
    entry = REPORTS[report]
    if format not in entry.formats:
        *most, last = (name for name, one in REPORTS.items() if format in one.formats)
        raise UsageError(f"--format {format} is for results of {', '.join(most)}{' and ' if most else ''}{last}")
    taken: dict[str, Any] = {name: view.get(name, False) for name in entry.view if name in FORMATS[format].view_options}
    if "paint" in taken:
        from ocitool.report.text.parts import Paint

        taken["paint"] = Paint(colour)
    if "rows" in taken:
        from ocitool.report.json.fields import JsonRows

        taken["rows"] = JsonRows
    made = renderer(report, format)(result, **taken)
    if isinstance(made, dict):
        from ocitool.report.json.fields import json_lines

        return json_lines(made)
    return [made] if isinstance(made, str) else made


def renderer(report: str, format: str) -> Any:
    """Returns the function that renders a report in a format."""
    module = import_module(f"ocitool.report.{format}.{REPORTS[report].module}")
    return getattr(module, f"{report}_{format}")
