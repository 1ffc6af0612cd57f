"""`ocitool logout`."""

from __future__ import annotations

from typing import Annotated

import typer

from ocitool.cli import options
from ocitool.cli.shared import TALK, Shared, with_shared

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_EXAMPLES = """\b
Examples:
  ocitool logout reg.example
"""


@app.command(epilog=_EXAMPLES, short_help="Remove the credentials that login kept.")
@with_shared(*TALK, engine=False)
def command(
    host: Annotated[
        options.Host,
        typer.Argument(metavar="HOST", parser=options.registry, help="The registry, as in references.", show_default=False),
    ],
    *,
    shared: Shared,
) -> None:
    """Remove the user name and password that are kept for a registry. Exit code 3: none are kept."""
    with shared.running() as session:
        from ocitool.operations import login

        login.logout(host, session)
    if not shared.quiet:
        print(f"logged out of {host}")
