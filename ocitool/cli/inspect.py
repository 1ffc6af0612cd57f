"""`ocitool inspect`."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from ocitool.cli import options as o
from ocitool.cli.access import Access, registries
from ocitool.operations import inspect as operation

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
def inspect(
    ref: o.Ref,
    files: Annotated[bool, typer.Option("--files", help="Read the layers: counts, waste, largest files.")] = False,
    top: Annotated[int, typer.Option("--top", metavar="N", min=0, help="How many of the largest to list.")] = 10,
    raw: Annotated[Raw | None, typer.Option("--raw", help="Print this document's exact bytes.")] = None,
    digest: Annotated[
        bool, typer.Option("--digest", help="Print the digest alone of what REF names, of --platform's manifest or of --raw.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="With --raw: print on a terminal byte for byte too, and binary content.")
    ] = False,
    show_secrets: o.ShowSecrets = False,
    platform: o.PlatformOption = None,
    all_platforms: o.AllPlatforms = False,
    format: o.ReviewFormatOption = o.ReviewFormat.text,
    report: o.ReportOption = None,
    verify: o.Verify = False,
    no_cache: o.NoCache = False,
    jobs: o.Jobs = 4,
    quiet: o.Quiet = False,
    no_color: o.NoColor = False,
    debug: o.Debug = False,
    *,
    access: Access,
) -> None:
    """Show what an image is, layer by layer. Opens no layer unless --files or --verify asks.

    Of a store everything is listed; exit code 1 where something of it could not be read."""
    o.one_or_all(platform, all_platforms)
    with o.running(verify=verify, no_cache=no_cache, jobs=jobs, quiet=quiet, access=access) as reading:
        data: bytes | None = None
        if raw is not None:
            data, known = operation.raw(ref, raw.value, reading, platform)
        elif digest:
            known = operation.digest(ref, reading, platform)
        else:
            result = operation.inspect(
                ref, reading, files=files, top=top, platform=platform, all_platforms=all_platforms
            )
    if digest:
        print(known)
        return
    if data is not None:
        o.write_exact([data], force=force)
        return
    from ocitool import masking

    with masking.revealed(show_secrets):
        if format is o.ReviewFormat.json:
            from ocitool.report.json.fields import text as json_text
            from ocitool.report.json.inspect import inspect as fields

            o.write([json_text(fields(result))], report)
        elif format is o.ReviewFormat.markdown:
            from ocitool.report import markdown

            o.write([markdown.inspect(result)], report)
        else:
            from ocitool.report.text import inspect as text
            from ocitool.report.text.parts import Paint

            o.write(text.inspect(result, Paint(o.colour(no_color, report))), report)
    if result.problems:
        raise typer.Exit(1)
