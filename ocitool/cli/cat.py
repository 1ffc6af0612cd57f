"""`ocitool cat`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ocitool.cli import options
from ocitool.cli.access import Access, registries
from ocitool.operations import listing

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_EXAMPLES = """\b
Examples:
  ocitool cat image.tar /etc/os-release
  ocitool cat --layer 0 image.tar /app/config.toml > before.toml
"""


@app.command(epilog=_EXAMPLES, short_help="Print a file of an image.")
@registries
def command(
    ref: options.Ref,
    path: Annotated[str, typer.Argument(metavar="PATH", help="A file in the image; links are followed.")],
    layer: Annotated[
        int | None, typer.Option("--layer", metavar="N", help="The file as this layer has it; 0 is the lowest, -1 the top.")
    ] = None,
    platform: options.PlatformOption = None,
    verify: options.Verify = False,
    no_cache: options.NoCache = False,
    jobs: options.Jobs = 4,
    force: Annotated[bool, typer.Option("--force", help="Print on a terminal byte for byte too, and binary content.")] = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
    *,
    access: Access,
) -> None:
    """Print a file of the merged file system, or of one layer, byte for byte.

    On a terminal control characters are written out (as \\x1b), and binary content is refused, unless --force is given."""
    terminal = sys.stdout.isatty()  # the file is printed while it is read: there it would stand among the bars
    with options.running(verify=verify, no_cache=no_cache, jobs=jobs, quiet=quiet, bars=not terminal, access=access) as reading:
        options.write_exact(listing.cat(ref, path, reading, layer=layer, platform=platform), force=force)
