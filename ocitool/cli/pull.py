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
Layers that the layout has, or that --with names, are not fetched. What came
before a network failed, or Ctrl-C, stays in a layout: the same command goes on.
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
    with shared.running() as reading:
        from ocitool.operations import copy

        writing = shared.writing(dest)
        result = copy.copy(
            [ref], reading, writing, command="pull", platform=shared.platform, all_platforms=shared.all_platforms,
            tags=tags or (), referrers=referrers, allow_no_match=allow_no_match,
            exclude=exclude or (), strict=strict,
        )  # fmt: skip
    shared.show_written(result)
    options.end_with_problems(result, shared.format, quiet=shared.quiet)
