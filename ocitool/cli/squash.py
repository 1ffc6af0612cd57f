"""`ocitool squash`."""

from __future__ import annotations

from typing import Annotated

import typer

from ocitool.cli import options
from ocitool.cli.shared import WRITE, Shared, with_shared

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_EXAMPLES = """\b
Examples:
  ocitool squash image.tar small.tar                       all layers into one
  ocitool squash image.tar small.tar --from 2              layers 0 and 1 stay as they are
  ocitool squash image.tar small.tar --last 3
  ocitool squash image.tar small.tar --keep-base debian.tar
  ocitool squash store:app store/ --tag app:flat --compression zstd:9
  ocitool squash image.tar small.tar --dry-run --with debian.tar    what it saves and what it costs

\b
The merged file system stays exactly the same. Layers that are kept keep their bytes, so they are still shared.
"""


@app.command(epilog=_EXAMPLES, short_help="Make one layer of many.")
@with_shared(*WRITE)
def command(
    src: options.Src,
    dest: options.Dest,
    first: Annotated[
        int | None, typer.Option("--from", metavar="N", help="Squash layer N and all above it; 0 is the lowest, -1 the top.")
    ] = None,
    last: Annotated[int | None, typer.Option("--last", metavar="N", help="Squash the N top-most layers.")] = None,
    keep_base: Annotated[
        str | None, typer.Option("--keep-base", metavar="REF", help="Squash the layers above those of this image.")
    ] = None,
    *,
    shared: Shared,
) -> None:
    """Write SRC to DEST with its layers, or the upper ones, as one layer. Shows what that saves (files that later layers
    delete, overwrite or copy), and which layers are no longer shared with the base or with what --with names."""
    options.once(src, keep_base, *(shared.supply or ()))
    from ocitool.operations.squash import SquashRange, squash

    with shared.running() as session:
        write_options = shared.write_options(dest)
        layers = SquashRange(first, last, keep_base)
        result = squash(src, layers, session, write_options, platform=shared.platform, all_platforms=shared.all_platforms)
    shared.show_written(result)
