"""`ocitool repack`."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from ocitool.cli import options
from ocitool.cli.shared import OUTPUT, READ, TALK, Shared, with_shared

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_EXAMPLES = """\b
Examples:
  ocitool unpack image.tar work && vi work/rootfs/etc/motd && ocitool repack work fixed.tar
  ocitool repack work store/ --tag app:2 --mode append     one more layer, all others as they are
  ocitool repack work fixed.tar --keep-base debian.tar     never touch the base's layers
  ocitool repack work fixed.tar --source image.tar         if the image was moved

\b
A changed file is changed in the layer it comes from; a layer in which nothing changed keeps its blob.
"""


class RepackMode(Enum):
    rewrite = "rewrite"
    append = "append"


@app.command(epilog=_EXAMPLES, short_help="Put an edited unpacked image together again.")
@with_shared("tag", "compression", "force", "dry_run", *OUTPUT, *READ, *TALK)
def command(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="A directory that ocitool unpack made.")],
    dest: options.Dest,
    source: Annotated[str | None, typer.Option("--source", metavar="REF", help="The image, if it was moved since.")] = None,
    mode: Annotated[
        RepackMode, typer.Option("--mode", help="Change layers, or append one with all changes.")
    ] = RepackMode.rewrite,
    keep_base: Annotated[
        str | None, typer.Option("--keep-base", metavar="REF", help="Keep all layers of this image as they are.")
    ] = None,
    checksum: Annotated[bool, typer.Option("--checksum", help="Compare the content of every file.")] = False,
    dir_times: Annotated[
        bool, typer.Option("--dir-times", help="Take times from disk for directories in which something changed.")
    ] = False,
    *,
    shared: Shared,
) -> None:
    """Write the image in DIR to DEST, with the changes in DIR/rootfs. Without any change, the digest is that of the
    unpacked image."""
    from ocitool.operations.repack import RepackOptions, repack

    repack_options = RepackOptions(source, mode.value, keep_base, checksum, dir_times)
    with shared.running() as session:
        write_options = shared.write_options(dest)
        result = repack(directory, repack_options, session, write_options)
    shared.show_written(result)
