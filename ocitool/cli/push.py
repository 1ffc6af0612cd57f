"""`ocitool push`."""

from __future__ import annotations

from typing import Annotated

import typer

from ocitool.cli import copy, options
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
def command(
    src: options.Src,
    ref: Annotated[
        str, typer.Argument(metavar="REF", parser=options.at_registry, help="[docker://]HOST/REPO[:TAG].", show_default=False)
    ],
    tag: options.Tag = None,
    compression: options.ConversionOption = None,
    supply: options.With = None,
    referrers: copy.Referrers = False,
    platform: options.PlatformOption = None,
    all_platforms: options.AllPlatforms = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an index under the tag by one image.")] = False,
    dry_run: options.DryRun = False,
    format: options.FormatOption = options.OutputFormat.text,
    report: options.ReportOption = None,
    verify: options.Verify = False,
    no_cache: copy.NoNotes = False,
    jobs: options.Jobs = 4,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
    *,
    access: Access,
) -> None:
    """Send an image to a registry: the short form of `copy SRC docker://REF`."""
    options.one_or_all(platform, all_platforms)
    with options.running(verify=verify, no_cache=no_cache, jobs=jobs, quiet=quiet, access=access) as reading:
        from ocitool.operations import copy

        writing = options.writing(
            ref, tag=tag, compression=compression, force=force, dry_run=dry_run, supplies=supply, report=report
        )
        result = copy.copy(
            [src], reading, writing, command="push", platform=platform, all_platforms=all_platforms,
            referrers=referrers,
        )  # fmt: skip
    options.write_written(result, format, report, quiet=quiet)
