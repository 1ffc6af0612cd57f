"""`ocitool cat`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ocitool.cli import options
from ocitool.cli.shared import READ, TALK, Shared, with_shared

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_EXAMPLES = """\b
Examples:
  ocitool cat image.tar /etc/os-release
  ocitool cat --layer 0 image.tar /app/config.toml > before.toml
"""


@app.command(epilog=_EXAMPLES, short_help="Print a file of an image.")
@with_shared("platform", *READ, *TALK)
def command(
    ref: options.Ref,
    path: Annotated[str, typer.Argument(metavar="PATH", help="A file in the image; links are followed.")],
    layer: Annotated[
        int | None, typer.Option("--layer", metavar="N", help="The file as this layer has it; 0 is the lowest, -1 the top.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Print the exact bytes on a terminal too, even binary content.")
    ] = False,
    *,
    shared: Shared,
) -> None:
    """Print a file of the merged file system, or of one layer, byte for byte.

    On a terminal control characters are written out (as \\x1b), and binary content is refused, unless --force is given."""
    from ocitool.operations import listing

    terminal = sys.stdout.isatty()  # no bars then: they would mix with the file, which is printed while it is read
    with shared.running(bars=not terminal) as session:
        options.write_exact(listing.cat(ref, path, session, layer=layer, platform=shared.platform), force=force)
