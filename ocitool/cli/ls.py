"""`ocitool ls`."""

from __future__ import annotations

from typing import Annotated

import typer

from ocitool.cli import options
from ocitool.cli.shared import OUTPUT, READ, TALK, Shared, with_shared

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_EXAMPLES = """\b
Examples:
  ocitool ls image.tar /etc
  ocitool ls --long --recursive image.tar
  ocitool ls --recursive --layer -1 image.tar      what the top layer changes
"""


@app.command(epilog=_EXAMPLES, short_help="List files of an image, or of one layer.")
@with_shared("platform", *OUTPUT, *READ, *TALK)
def command(
    ref: options.Ref,
    path: Annotated[str, typer.Argument(metavar="[PATH]", help="A directory or file in the image.", show_default=False)] = "/",
    layer: Annotated[
        int | None, typer.Option("--layer", metavar="N", help="One layer's entries; 0 is the lowest, -1 the top.")
    ] = None,
    long: Annotated[bool, typer.Option("--long", "-l", help="Show mode, owner, size, time and layer too.")] = False,
    recursive: Annotated[bool, typer.Option("--recursive", "-R", help="List everything below.")] = False,
    *,
    shared: Shared,
) -> None:
    """List the merged file system, or one layer's entries."""
    from ocitool.operations import listing

    with shared.running() as session:
        result = listing.ls(ref, path, session, layer=layer, recursive=recursive, platform=shared.platform)
    shared.show("ls", result, long=long)
