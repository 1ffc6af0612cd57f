"""`ocitool pull`."""

from __future__ import annotations

from typing import Annotated

import typer

from ocitool.cli import copy, options
from ocitool.cli.shared import OUTPUT, PLATFORMS, TALK, Shared, with_shared

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_EXAMPLES = """\b
Examples:
  ocitool pull alpine:3.20 alpine.tar                      from Docker Hub
  ocitool pull reg.example/team/app:1.0 store/
  ocitool pull --all-platforms --referrers reg.example/app@sha256:4f06... store/
  ocitool pull reg.example/app:2 app.tar --with app-1.tar  only layers that differ

\b
Layers that the layout or a source of --with has are not fetched. If the network
fails or Ctrl-C is pressed, a layout keeps what has arrived: the same command
continues from there.
"""


@app.command(epilog=_EXAMPLES, short_help="Fetch an image from a registry.")
@with_shared("tag", "conversion", "supply", *PLATFORMS, "force", "dry_run", *OUTPUT, "verify", "no_notes", "jobs", *TALK)
def command(
    ref: Annotated[
        str,
        typer.Argument(
            metavar="REF", parser=options.at_registry, help="[docker://]HOST/REPO[:TAG|@DIGEST].", show_default=False
        ),
    ],
    dest: options.Dest,
    tags: copy.Tags = None,
    exclude: copy.Exclude = None,
    strict: copy.Strict = False,
    allow_no_match: options.AllowNoMatch = False,
    referrers: copy.Referrers = False,
    *,
    shared: Shared,
) -> None:
    """Fetch an image from a registry, verified: the short form of `copy docker://REF DEST`."""
    with shared.running() as session:
        from ocitool.operations import copy

        write_options = shared.write_options(dest)
        result = copy.copy(
            [ref], session, write_options, command="pull", platform=shared.platform, all_platforms=shared.all_platforms,
            tags=tags or (), referrers=referrers, allow_no_match=allow_no_match,
            exclude=exclude or (), strict=strict,
        )  # fmt: skip
    shared.show_written(result)
    options.end_with_problems(result, shared.format, quiet=shared.quiet)
