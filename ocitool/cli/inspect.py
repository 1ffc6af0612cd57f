"""`ocitool inspect`."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from ocitool.cli import options
from ocitool.cli.access import Access, registries
from ocitool.operations import inspect

app = typer.Typer(rich_markup_mode=None, add_completion=False)


class Raw(Enum):
    manifest = "manifest"
    config = "config"
    index = "index"


_EXAMPLES = """\b
Examples:
  ocitool inspect image.tar
  ocitool inspect --files --top 20 image.tar
  ocitool inspect --format json layout:v1 | jq '.images[].layers'
  ocitool inspect --raw config image.tar
  docker save app | ocitool inspect -
"""


@app.command(epilog=_EXAMPLES, short_help="What an image is, layer by layer.")
@registries
def command(
    ref: options.Ref,
    files: Annotated[bool, typer.Option("--files", help="Read the layers: counts, waste, largest files.")] = False,
    top: Annotated[int, typer.Option("--top", metavar="N", min=0, help="How many of the largest to list.")] = 10,
    raw: Annotated[Raw | None, typer.Option("--raw", help="Print this document's exact bytes.")] = None,
    digest: Annotated[
        bool, typer.Option("--digest", help="Print the digest alone of what REF names, of --platform's manifest or of --raw.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="With --raw: print on a terminal byte for byte too, and binary content.")
    ] = False,
    show_secrets: options.ShowSecrets = False,
    platform: options.PlatformOption = None,
    all_platforms: options.AllPlatforms = False,
    format: options.ReviewFormatOption = options.ReviewFormat.text,
    report: options.ReportOption = None,
    verify: options.Verify = False,
    no_cache: options.NoCache = False,
    jobs: options.Jobs = 4,
    quiet: options.Quiet = False,
    no_color: options.NoColor = False,
    debug: options.Debug = False,
    *,
    access: Access,
) -> None:
    """Show what an image is, layer by layer. Opens no layer unless --files or --verify asks.

    Of a store everything is listed; exit code 1 where something of it could not be read."""
    options.one_or_all(platform, all_platforms)
    with options.running(verify=verify, no_cache=no_cache, jobs=jobs, quiet=quiet, access=access) as reading:
        data: bytes | None = None
        if raw is not None:
            data, known = inspect.raw(ref, raw.value, reading, platform)
        elif digest:
            known = inspect.digest(ref, reading, platform)
        else:
            result = inspect.inspect(
                ref, reading, files=files, top=top, platform=platform, all_platforms=all_platforms
            )
    if digest:
        print(known)
        return
    if data is not None:
        options.write_exact([data], force=force)
        return
    from ocitool import masking

    with masking.revealed(show_secrets):
        if format is options.ReviewFormat.json:
            from ocitool.report.json.fields import json_text
            from ocitool.report.json.inspect import inspect_json

            options.write([json_text(inspect_json(result))], report)
        elif format is options.ReviewFormat.markdown:
            from ocitool.report import markdown

            options.write([markdown.inspect_markdown(result)], report)
        else:
            from ocitool.report.text.inspect import inspect_text
            from ocitool.report.text.parts import Paint

            options.write(inspect_text(result, Paint(options.colour(no_color, report))), report)
    if result.problems:
        raise typer.Exit(1)
