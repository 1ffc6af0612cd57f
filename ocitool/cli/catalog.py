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
@with_shared(*OUTPUT, *TALK)
def command(
    host: Annotated[
        options.Host,
        typer.Argument(metavar="HOST", parser=options.registry, help="[docker://]HOST[:PORT].", show_default=False),
    ],
    *,
    shared: Shared,
) -> None:
    """List the repositories of a registry, a line each. Not every registry keeps a catalogue, or shows it."""
    with shared.running() as reading:
        from ocitool.operations import tags

        result = tags.catalog(host, reading)
    shared.show("catalog", result)
