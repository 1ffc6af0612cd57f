"""`ocitool catalog`."""

from __future__ import annotations

from typing import Annotated

import typer

from ocitool.cli import options as o
from ocitool.cli.access import Access, registries

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_EXAMPLES = """\b
Examples:
  ocitool catalog docker://reg.example
"""


@app.command(epilog=_EXAMPLES, short_help="List the repositories of a registry.")
@registries
def catalog(
    host: Annotated[
        o.Host, typer.Argument(metavar="HOST", parser=o.registry, help="[docker://]HOST[:PORT].", show_default=False)
    ],
    format: o.FormatOption = o.OutputFormat.text,
    report: o.ReportOption = None,
    quiet: o.Quiet = False,
    debug: o.Debug = False,
    *,
    access: Access,
) -> None:
    """List the repositories of a registry, a line each. Not every registry keeps a catalogue, or shows it."""
    with o.running(quiet=quiet, access=access) as reading:
        from ocitool.operations import tags as operation

        result = operation.catalog(host, reading)
    if format is o.OutputFormat.json:
        from ocitool.report.json.tags import catalog as lines
    else:
        from ocitool.report.text.tags import catalog as lines
    o.write(lines(result), report)
