"""`ocitool copy`."""

from __future__ import annotations

from typing import Annotated

import typer

from ocitool.cli import options as o
from ocitool.errors import UsageError

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_EXAMPLES = """\b
Examples:
  ocitool copy image.tar layout/                         an archive into an OCI layout
  ocitool copy --all-platforms layout/:app app.tar.zst   an index and all its images
  ocitool copy a.tar b.tar c.tar store/                  three images that share their layers
  ocitool copy --compression zstd image.tar small.tar
  ocitool copy new.tar delta.tar --omit old.tar          without what the other side has
  ocitool copy delta.tar new.tar --with old.tar          complete and verified, over there
"""


@app.command(epilog=_EXAMPLES, short_help="Copy images between archives and layouts.")
def copy(
    refs: Annotated[list[str], typer.Argument(metavar="SRC... DEST", help="Images, and where they go.", show_default=False)],
    tag: o.Tag = None,
    compression: o.CompressionOption = None,
    supply: o.With = None,
    omit: Annotated[
        list[str] | None,
        typer.Option("--omit", metavar="REF|@FILE", help="Leave out layers that the other side has: an image, or a list."),
    ] = None,
    platform: o.PlatformOption = None,
    all_platforms: o.AllPlatforms = False,
    force: o.Force = False,
    dry_run: o.DryRun = False,
    format: o.FormatOption = o.Format.text,
    report: o.ReportOption = None,
    verify: o.Verify = False,
    jobs: o.Jobs = 4,
    quiet: o.Quiet = False,
    debug: o.Debug = False,
) -> None:
    """Copy images, their layers and documents byte for byte, to where DEST says: an archive (*.tar, .tar.gz, .tar.zst,
    docker-archive:FILE, oci-archive:FILE, - for standard output) or an OCI layout (a directory, oci:DIR:TAG)."""
    if len(refs) < 2:
        raise UsageError("copy needs a source and a destination", hint="ocitool copy SRC DEST")
    o.one_or_all(platform, all_platforms)
    with o.running(verify=verify, jobs=jobs, quiet=quiet) as reading:
        from ocitool.operations import copy as operation

        writing = o.writing(
            refs[-1], tag=tag, compression=compression, force=force, dry_run=dry_run, supplies=supply,
            omit=operation.omitted(omit or (), reading),
        )  # fmt: skip
        result = operation.copy(refs[:-1], reading, writing, platform=platform, all_platforms=all_platforms)
    o.write_written(result, format, report, quiet=quiet)
