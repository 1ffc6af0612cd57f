"""`ocitool push`."""

from __future__ import annotations

from typing import Annotated

import typer

from ocitool.cli import copy, options
from ocitool.cli.shared import OUTPUT, PLATFORMS, TALK, Shared, with_shared

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_EXAMPLES = """\b
Examples:
  ocitool push app.tar reg.example/team/app:1.0
  ocitool push store:app reg.example/team/app --tag 1.0 --tag latest
  ocitool push --all-platforms layout:app reg.example/app:1.0

\b
Blobs that the repository has are not sent; blobs of other repositories of the
registry are mounted. The tag is set last. Plain layers of `docker save` archives
are compressed (--compression says how).
"""


@app.command(epilog=_EXAMPLES, short_help="Send an image to a registry.")
@with_shared("tag", "conversion", "supply", *PLATFORMS, "dry_run", *OUTPUT, "verify", "no_notes", "jobs", *TALK)
def command(
    src: options.Src,
    ref: Annotated[
        str, typer.Argument(metavar="REF", parser=options.at_registry, help="[docker://]HOST/REPO[:TAG].", show_default=False)
    ],
    referrers: copy.Referrers = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an index under the tag by one image.")] = False,
    *,
    shared: Shared,
) -> None:
    """Send an image to a registry: the short form of `copy SRC docker://REF`."""
    with shared.running() as session:
        from ocitool.operations import copy

        write_options = shared._replace(force=force).write_options(ref)
        result = copy.copy(
            [src], session, write_options, command="push", platform=shared.platform, all_platforms=shared.all_platforms,
            referrers=referrers,
        )  # fmt: skip
    shared.show_written(result)
