"""`ocitool ls`."""

from __future__ import annotations

from typing import Annotated

import typer

from ocitool.cli import options
from ocitool.cli.access import Access, registries
from ocitool.operations import listing

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_EXAMPLES = """\b
Examples:
  ocitool ls image.tar /etc
  ocitool ls --long --recursive image.tar
  ocitool ls --recursive --layer -1 image.tar      what the top layer changes
"""


@app.command(epilog=_EXAMPLES, short_help="List files of an image, or of one layer.")
@registries
def command(
    ref: options.Ref,
    path: Annotated[str, typer.Argument(metavar="[PATH]", help="A directory or file in the image.", show_default=False)] = "/",
    layer: Annotated[
        int | None, typer.Option("--layer", metavar="N", help="One layer's entries; 0 is the lowest, -1 the top.")
    ] = None,
    long: Annotated[bool, typer.Option("--long", "-l", help="Mode, owner, size, time and layer too.")] = False,
    recursive: Annotated[bool, typer.Option("--recursive", "-R", help="Everything below.")] = False,
    platform: options.PlatformOption = None,
    format: options.FormatOption = options.OutputFormat.text,
    report: options.ReportOption = None,
    verify: options.Verify = False,
    no_cache: options.NoCache = False,
    jobs: options.Jobs = 4,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
    *,
    access: Access,
) -> None:
    """List the merged file system, or one layer's entries."""
    with options.running(verify=verify, no_cache=no_cache, jobs=jobs, quiet=quiet, access=access) as reading:
        result = listing.ls(ref, path, reading, layer=layer, recursive=recursive, platform=platform)
    if format is options.OutputFormat.json:
        from ocitool.report.json.ls import ls_json

        options.write(ls_json(result), report)
    else:
        from ocitool.report.text.ls import ls_text

        options.write(ls_text(result, long=long), report)
