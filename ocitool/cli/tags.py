"""`ocitool tags`."""

from __future__ import annotations

from typing import Annotated

import typer

from ocitool.cli import options as o
from ocitool.cli.access import Access, registries

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_EXAMPLES = """\b
Examples:
  ocitool tags docker://reg.example/team/app
  ocitool tags --format json docker://alpine | jq -r '.tags[]'
"""


@app.command(epilog=_EXAMPLES, short_help="List the tags of a repository.")
@registries
def tags(
    ref: Annotated[str, typer.Argument(metavar="REF", parser=o.at_registry, help="[docker://]HOST/REPO.", show_default=False)],
    format: o.FormatOption = o.OutputFormat.text,
    report: o.ReportOption = None,
    quiet: o.Quiet = False,
    debug: o.Debug = False,
    *,
    access: Access,
) -> None:
    """List the tags of a repository, a line each, in the registry's order."""
    with o.running(quiet=quiet, access=access) as reading:
        from ocitool.operations import tags as operation

        result = operation.tags(ref, reading)
    if format is o.OutputFormat.json:
        from ocitool.report.json.tags import tags as lines
    else:
        from ocitool.report.text.tags import tags as lines
    o.write(lines(result), report)
