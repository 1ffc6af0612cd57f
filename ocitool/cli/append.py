"""`ocitool append`."""

from __future__ import annotations

from typing import Annotated

import typer

from ocitool.cli import options as o
from ocitool.cli.access import Access, registries

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_EXAMPLES = """\b
Examples:
  ocitool append image.tar new.tar --layer rootfs/        the directory's files, as they are
  ocitool append layout:app layout:app --layer fix.tar    a tar, whiteouts and all
  ocitool append image.tar new.tar --upperdir upper/      what a container wrote to its overlay
"""


@app.command(epilog=_EXAMPLES, short_help="Put one more layer on an image.")
@registries
def append(
    src: o.Src,
    dest: o.Dest,
    layer: Annotated[
        list[str] | None,
        typer.Option("--layer", metavar="DIR|TAR", help="A directory, or a tar (plain, gzip, zstd, xz, bzip2). Repeatable."),
    ] = None,
    upperdir: Annotated[
        list[str] | None,
        typer.Option("--upperdir", metavar="DIR", help="An overlayfs upper directory; above what --layer gives. Repeatable."),
    ] = None,
    message: Annotated[str | None, typer.Option("--message", "-m", metavar="TEXT", help="A comment for the history.")] = None,
    tag: o.Tag = None,
    compression: o.CompressionOption = None,
    supply: o.With = None,
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
    *,
    access: Access,
) -> None:
    """Write SRC to DEST with layers on top; all that it had is copied byte for byte. Owners, modes and times of a directory's
    files are those on disk; whiteout devices and opaque marks of an upper directory become the layer's."""
    o.one_or_all(platform, all_platforms)
    from ocitool.operations import append as operation

    additions = [operation.Addition("layer", path) for path in layer or ()]
    additions += [operation.Addition("upperdir", path) for path in upperdir or ()]
    with o.running(verify=verify, jobs=jobs, quiet=quiet, access=access) as reading:
        writing = o.writing(dest, tag=tag, compression=compression, force=force, dry_run=dry_run, supplies=supply)
        result = operation.append(
            src, additions, reading, writing, message=message, platform=platform, all_platforms=all_platforms
        )
    o.write_written(result, format, report, quiet=quiet)
