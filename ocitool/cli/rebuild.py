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
into NEW's; it also ships what NEW no longer has, below whiteouts, and says what that is.
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
        typer.Option("--against", metavar="OLD", help="Where layers come from; may be repeated.", show_default=False),
    ] = None,
    plan: Annotated[RebuildPlan, typer.Option("--plan", help="How: see below.")] = RebuildPlan.auto,
    strict_times: Annotated[
        bool, typer.Option("--strict-times", help="Layers are equal only with the same modification times.")
    ] = False,
    ignore_path: Annotated[
        list[str] | None, typer.Option("--ignore-path", metavar="GLOB", help="These paths may be OLD's.")
    ] = None,
    allow_no_match: options.AllowNoMatch = False,
    *,
    shared: Shared,
) -> None:
    """Re-uses layers, builds nothing: writes NEW to DEST, made of OLD's layers wherever those are equal, so that a registry or
    host that has OLD needs only what truly changed. Equal means the same paths, types, modes, owners, links, xattrs and
    contents; times do not count. The result is compared with NEW, file by file, before it is written."""
    options.once(new, *(against or ()), *(shared.supply or ()))
    from ocitool.operations.rebuild import RebuildOptions, rebuild

    question = RebuildOptions(tuple(against or ()), plan.value, strict_times, tuple(ignore_path or ()), allow_no_match)
    with shared.running() as reading:
        writing = shared.writing(dest)
        result = rebuild(new, question, reading, writing, platform=shared.platform, all_platforms=shared.all_platforms)
    shared.show_written(result)
