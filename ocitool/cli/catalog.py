"""`ocitool catalog`."""

from __future__ import annotations

from typing import Annotated

import typer

from ocitool.cli import options
from ocitool.cli.access import Access, registries

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_EXAMPLES = """\b
Examples:
  ocitool catalog docker://reg.example
"""


@app.command(epilog=_EXAMPLES, short_help="List the repositories of a registry.")
@registries
def command(
    host: Annotated[
        options.Host,
        typer.Argument(metavar="HOST", parser=options.registry, help="[docker://]HOST[:PORT].", show_default=False),
    ],
    format: options.FormatOption = options.OutputFormat.text,
    report: options.ReportOption = None,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
    *,
    access: Access,
) -> None:
    """List the repositories of a registry, a line each. Not every registry keeps a catalogue, or shows it."""
    with options.running(quiet=quiet, access=access) as reading:
        from ocitool.operations import tags

        result = tags.catalog(host, reading)
    if format is options.OutputFormat.json:
        from ocitool.report.json.tags import catalog_json

        options.write(catalog_json(result), report)
    else:
        from ocitool.report.text.tags import catalog_text

        options.write(catalog_text(result), report)
