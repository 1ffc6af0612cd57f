"""`ocitool catalog`."""

from __future__ import annotations

from typing import Annotated

import typer

from ocitool.cli import options
from ocitool.cli.shared import OUTPUT, TALK, Shared, with_shared

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_EXAMPLES = """\b
Examples:
  ocitool catalog docker://reg.example
"""


@app.command(epilog=_EXAMPLES, short_help="List the repositories of a registry.")
@with_shared(*OUTPUT, *TALK, engine=False)
def command(
    host: Annotated[
        options.Host,
        typer.Argument(metavar="HOST", parser=options.registry, help="[docker://]HOST[:PORT].", show_default=False),
    ],
    *,
    shared: Shared,
) -> None:
    """List the repositories of a registry, one on each line. Not every registry has a catalog, or lets users read it."""
    with shared.running() as session:
        from ocitool.operations import tags

        result = tags.catalog(host, session)
    shared.show("catalog", result)
