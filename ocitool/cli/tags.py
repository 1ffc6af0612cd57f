"""`ocitool tags`."""

from __future__ import annotations

from typing import Annotated

import typer

from ocitool.cli import options
from ocitool.cli.access import Access, registries

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_EXAMPLES = """\b
Examples:
  ocitool tags docker://reg.example/team/app
  ocitool tags --format json docker://alpine | jq -r '.tags[]'
"""


@app.command(epilog=_EXAMPLES, short_help="List the tags of a repository.")
@registries
def command(
    ref: Annotated[
        str, typer.Argument(metavar="REF", parser=options.at_registry, help="[docker://]HOST/REPO.", show_default=False)
    ],
    format: options.FormatOption = options.OutputFormat.text,
    report: options.ReportOption = None,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
    *,
    access: Access,
) -> None:
    """List the tags of a repository, a line each, in the registry's order."""
    with options.running(quiet=quiet, access=access) as reading:
        from ocitool.operations import tags

        result = tags.tags(ref, reading)
    if format is options.OutputFormat.json:
        from ocitool.report.json.tags import tags_json

        options.write(tags_json(result), report)
    else:
        from ocitool.report.text.tags import tags_text

        options.write(tags_text(result), report)
