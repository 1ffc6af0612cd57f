"""`ocitool logout`."""

from __future__ import annotations

from typing import Annotated

import typer

from ocitool.cli import options as o
from ocitool.cli.access import Access, registries

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_EXAMPLES = """\b
Examples:
  ocitool logout reg.example
"""


@app.command(epilog=_EXAMPLES, short_help="Forget what login kept.")
@registries
def logout(
    host: Annotated[
        o.Host, typer.Argument(metavar="HOST", parser=o.registry, help="The registry, as in references.", show_default=False)
    ],
    quiet: o.Quiet = False,
    debug: o.Debug = False,
    *,
    access: Access,
) -> None:
    """Forget the name and password that are kept for a registry. Exit code 3: there are none."""
    with o.running(quiet=quiet, access=access) as reading:
        from ocitool.operations import login as operation

        operation.logout(host, reading)
    if not quiet:
        print(f"logged out of {host}")
