"""`ocitool push`."""

from __future__ import annotations

from typing import Annotated

import typer

from ocitool.cli import copy as c
from ocitool.cli import options as o
from ocitool.cli.access import Access, registries

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_EXAMPLES = """\b
Examples:
  ocitool push app.tar reg.example/team/app:1.0
  ocitool push store:app reg.example/team/app --tag 1.0 --tag latest
  ocitool push --all-platforms layout:app reg.example/app:1.0

\b
Blobs that the repository has are not sent, those of its neighbours mounted.
The tag is set last. Plain layers of `docker save` archives are compressed
(--compression says how).
"""


@app.command(epilog=_EXAMPLES, short_help="Send an image to a registry.")
@registries
def push(
    src: o.Src,
    ref: Annotated[
        str, typer.Argument(metavar="REF", parser=o.at_registry, help="[docker://]HOST/REPO[:TAG].", show_default=False)
    ],
    tag: o.Tag = None,
    compression: o.CompressionOption = None,
    supply: o.With = None,
    referrers: c.Referrers = False,
    platform: o.PlatformOption = None,
    all_platforms: o.AllPlatforms = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an index under the tag by one image.")] = False,
    dry_run: o.DryRun = False,
    format: o.FormatOption = o.OutputFormat.text,
    report: o.ReportOption = None,
    verify: o.Verify = False,
    no_cache: c.NoNotes = False,
    jobs: o.Jobs = 4,
    quiet: o.Quiet = False,
    debug: o.Debug = False,
    *,
    access: Access,
) -> None:
    """Send an image to a registry: the short form of `copy SRC docker://REF`."""
    o.one_or_all(platform, all_platforms)
    with o.running(verify=verify, no_cache=no_cache, jobs=jobs, quiet=quiet, access=access) as reading:
        from ocitool.operations import copy as operation

        writing = o.writing(
            ref, tag=tag, compression=compression, force=force, dry_run=dry_run, supplies=supply, report=report
        )
        result = operation.copy(
            [src], reading, writing, command="push", platform=platform, all_platforms=all_platforms,
            referrers=referrers,
        )  # fmt: skip
    o.write_written(result, format, report, quiet=quiet)
