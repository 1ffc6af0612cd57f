"""`ocitool tags`."""

from __future__ import annotations

from typing import Annotated

import typer

from ocitool.cli import options
from ocitool.cli.shared import OUTPUT, TALK, Shared, with_shared

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_EXAMPLES = """\b
Examples:
  ocitool tags docker://reg.example/team/app
  ocitool tags --format json docker://alpine | jq -r '.tags[]'
"""


@app.command(epilog=_EXAMPLES, short_help="List the tags of a repository.")
@with_shared(*OUTPUT, *TALK, engine=False)
def command(
    ref: Annotated[
        str, typer.Argument(metavar="REF", parser=options.at_registry, help="[docker://]HOST/REPO.", show_default=False)
    ],
    *,
    shared: Shared,
) -> None:
    """List the tags of a repository, one on each line, in the registry's order."""
    with shared.running() as session:
        from ocitool.operations import tags

        result = tags.tags(ref, session)
    shared.show("tags", result)
