"""`ocitool rebuild`."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from ocitool.cli import options as o
from ocitool.cli.access import Access, registries

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_EXAMPLES = """\b
Examples:
  ocitool rebuild new.tar same.tar --against old.tar --dry-run     what an update would cost, by three plans
  ocitool rebuild new.tar docker://reg.example/app:2 --against docker://reg.example/app:1
  ocitool rebuild new.tar same.tar --against old.tar \\
      --ignore-path 'var/cache/apt/*.bin' --ignore-path 'var/log/**' --ignore-path var/cache/ldconfig/aux-cache
  ocitool rebuild new.tar delta.tar --against old.tar --plan delta

\b
auto takes the smaller of as-is and reuse. delta keeps all layers of OLD and adds one that turns OLD's file system
into NEW's; it also ships what NEW no longer has, below whiteouts, and says what that is.
"""


class RebuildPlan(Enum):
    auto = "auto"
    as_is = "as-is"
    reuse = "reuse"
    delta = "delta"


@app.command(epilog=_EXAMPLES, short_help="Re-use layers of an older build wherever they are equal.")
@registries
def rebuild(
    new: Annotated[str, typer.Argument(metavar="NEW", help="The image that is wanted.")],
    dest: o.Dest,
    against: Annotated[
        list[str] | None,
        typer.Option("--against", metavar="OLD", help="Where layers come from; may be repeated.", show_default=False),
    ] = None,
    plan: Annotated[RebuildPlan, typer.Option("--plan", help="How: see below.")] = RebuildPlan.auto,
    strict_times: Annotated[
        bool, typer.Option("--strict-times", help="Layers are equal only with the same modification times.")
    ] = False,
    ignore_path: Annotated[
        list[str] | None, typer.Option("--ignore-path", metavar="GLOB", help="These paths may be OLD's.")
    ] = None,
    allow_no_match: o.AllowNoMatch = False,
    tag: o.Tag = None,
    compression: o.CompressionOption = None,
    supply: o.With = None,
    platform: o.PlatformOption = None,
    all_platforms: o.AllPlatforms = False,
    force: o.Force = False,
    dry_run: o.DryRun = False,
    format: o.FormatOption = o.OutputFormat.text,
    report: o.ReportOption = None,
    verify: o.Verify = False,
    no_cache: o.NoCache = False,
    jobs: o.Jobs = 4,
    quiet: o.Quiet = False,
    debug: o.Debug = False,
    *,
    access: Access,
) -> None:
    """Re-uses layers, builds nothing: writes NEW to DEST, made of OLD's layers wherever those are equal, so that a registry or
    host that has OLD needs only what truly changed. Equal means the same paths, types, modes, owners, links, xattrs and
    contents; times do not count. The result is compared with NEW, file by file, before it is written."""
    o.one_or_all(platform, all_platforms)
    o.once(new, *(against or ()), *(supply or ()))
    from ocitool.operations.rebuild import RebuildOptions
    from ocitool.operations.rebuild import rebuild as operation

    question = RebuildOptions(tuple(against or ()), plan.value, strict_times, tuple(ignore_path or ()), allow_no_match)
    with o.running(verify=verify, no_cache=no_cache, jobs=jobs, quiet=quiet, access=access) as reading:
        writing = o.writing(
            dest, tag=tag, compression=compression, force=force, dry_run=dry_run, supplies=supply, report=report
        )
        result = operation(new, question, reading, writing, platform=platform, all_platforms=all_platforms)
    o.write_written(result, format, report, quiet=quiet)
