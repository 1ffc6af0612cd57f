"""`ocitool pull`."""

from __future__ import annotations

from typing import Annotated

import typer

from ocitool.cli import copy, options
from ocitool.cli.access import Access, registries

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
@registries
def command(
    ref: Annotated[
        str,
        typer.Argument(
            metavar="REF", parser=options.at_registry, help="[docker://]HOST/REPO[:TAG|@DIGEST].", show_default=False
        ),
    ],
    dest: options.Dest,
    tag: options.Tag = None,
    compression: options.ConversionOption = None,
    supply: options.With = None,
    tags: copy.Tags = None,
    exclude: copy.Exclude = None,
    strict: copy.Strict = False,
    allow_no_match: options.AllowNoMatch = False,
    referrers: copy.Referrers = False,
    platform: options.PlatformOption = None,
    all_platforms: options.AllPlatforms = False,
    force: options.Force = False,
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
    """Fetch an image from a registry, verified: the short form of `copy docker://REF DEST`."""
    options.one_or_all(platform, all_platforms)
    with options.running(verify=verify, no_cache=no_cache, jobs=jobs, quiet=quiet, access=access) as reading:
        from ocitool.operations import copy

        writing = options.writing(
            dest, tag=tag, compression=compression, force=force, dry_run=dry_run, supplies=supply, report=report
        )
        result = copy.copy(
            [ref], reading, writing, command="pull", platform=platform, all_platforms=all_platforms,
            tags=tags or (), referrers=referrers, allow_no_match=allow_no_match,
            exclude=exclude or (), strict=strict,
        )  # fmt: skip
    options.write_written(result, format, report, quiet=quiet)
    options.end_with_problems(result, format, quiet=quiet)
