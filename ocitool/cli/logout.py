"""`ocitool logout`."""

from __future__ import annotations

from typing import Annotated

import typer

from ocitool.cli import options
from ocitool.cli.access import Access, registries

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_EXAMPLES = """\b
Examples:
  ocitool logout reg.example
"""


@app.command(epilog=_EXAMPLES, short_help="Forget what login kept.")
@registries
def command(
    host: Annotated[
        options.Host,
        typer.Argument(metavar="HOST", parser=options.registry, help="The registry, as in references.", show_default=False),
    ],
    quiet: options.Quiet = False,
    debug: options.Debug = False,
    *,
    access: Access,
) -> None:
    """Forget the name and password that are kept for a registry. Exit code 3: there are none."""
    with options.running(quiet=quiet, access=access) as reading:
        from ocitool.operations import login

        login.logout(host, reading)
    if not quiet:
        print(f"logged out of {host}")
