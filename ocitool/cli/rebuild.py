"""`ocitool rebuild`."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from ocitool.cli import options
from ocitool.cli.shared import WRITE, Shared, with_shared

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
into NEW's; below whiteouts it also ships files that NEW no longer has, and lists them.
"""


class RebuildPlan(Enum):
    auto = "auto"
    as_is = "as-is"
    reuse = "reuse"
    delta = "delta"


@app.command(epilog=_EXAMPLES, short_help="Re-use layers of an older build wherever they are equal.")
@with_shared(*WRITE)
def command(
    new: Annotated[str, typer.Argument(metavar="NEW", help="The image that is wanted.")],
    dest: options.Dest,
    against: Annotated[
        list[str] | None,
        typer.Option("--against", metavar="OLD", help="An image whose layers are re-used. Repeatable.", show_default=False),
    ] = None,
    plan: Annotated[RebuildPlan, typer.Option("--plan", help="The plan; see below.")] = RebuildPlan.auto,
    strict_times: Annotated[
        bool, typer.Option("--strict-times", help="Count modification times when layers are compared.")
    ] = False,
    ignore_path: Annotated[
        list[str] | None, typer.Option("--ignore-path", metavar="GLOB", help="Take these paths from OLD, even if they differ.")
    ] = None,
    allow_no_match: options.AllowNoMatch = False,
    *,
    shared: Shared,
) -> None:
    """Write NEW to DEST with OLD's layers in place of those that equal them, so that a registry or host that has OLD needs
    only what changed. Nothing is built. Equal means the same paths, types, modes, owners, links, xattrs and contents; times
    do not count. The result is compared with NEW, file by file, before it is written."""
    options.once(new, *(against or ()), *(shared.supply or ()))
    from ocitool.operations.rebuild import RebuildOptions, rebuild

    plan_options = RebuildOptions(tuple(against or ()), plan.value, strict_times, tuple(ignore_path or ()), allow_no_match)
    with shared.running() as session:
        write_options = shared.write_options(dest)
        result = rebuild(
            new, plan_options, session, write_options, platform=shared.platform, all_platforms=shared.all_platforms
        )
    shared.show_written(result)
