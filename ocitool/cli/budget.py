"""`ocitool budget`."""

from __future__ import annotations

from typing import Annotated

import typer

from ocitool.cli import options
from ocitool.cli.shared import READ, REVIEW, Shared, with_shared
from ocitool.operations import budget

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_EXAMPLES = """\b
Examples:
  ocitool budget --update image.tar                            begin a budget in .ocitool.toml
  ocitool budget image.tar
  ocitool budget --against old.tar new.tar                     growth and transfer too
  ocitool budget --policy .dive-ci image.tar

\b
Exit: 0 if every limit is kept, 1 if one is exceeded.
"""


@app.command(epilog=_EXAMPLES, short_help="Hold an image against limits of size, layers and waste.")
@with_shared("platform", "dry_run", *REVIEW, *READ, "quiet", "no_color", "debug")
def command(
    ref: options.Ref,
    against: Annotated[
        str | None, typer.Option("--against", metavar="REF", help="The image before: checks growth and transfer too.")
    ] = None,
    policy: options.PolicyOption = None,
    update: Annotated[
        bool, typer.Option("--update", help="Write what is measured into the policy; begin a budget if it has none.")
    ] = False,
    headroom: Annotated[
        int, typer.Option("--headroom", metavar="PERCENT", min=0, max=1000, help="With --update: how much more a size may be.")
    ] = 5,
    *,
    shared: Shared,
) -> None:
    """Hold an image against the [budget] of .ocitool.toml, or against the rules of a .dive-ci file.

    The file is looked for in the current directory and above it, up to the top of the repository."""
    with shared.running() as session:
        result = budget.budget(
            ref,
            session,
            against=against,
            policy=policy,
            update=update,
            headroom=headroom,
            dry_run=shared.dry_run,
            platform=shared.platform,
        )
    shared.show("budget", result)
    raise typer.Exit(0 if result.kept else 1)
