"""`ocitool append`."""

from __future__ import annotations

from typing import Annotated

import typer

from ocitool.cli import options
from ocitool.cli.shared import WRITE, Shared, with_shared
from ocitool.layers import codecs

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_EXAMPLES = """\b
Examples:
  ocitool append image.tar new.tar --layer rootfs/        the directory's files, owned by root
  ocitool append image.tar new.tar --layer dist/ --to /srv/app --owner 1000:1000
  ocitool append layout:app layout:app --layer fix.tar    a tar, whiteouts and all
  ocitool append image.tar new.tar --upperdir upper/      what a container wrote to its overlay

\b
Of --layer DIR:
  Directories that the image has keep their mode, owner, extended attributes
  and time. New directories and all files have the mode and time that they have
  on disk and belong to root. Overwritten files of the image are listed.
"""


_TARS = ", ".join(("plain", *codecs.CODECS))


@app.command(epilog=_EXAMPLES, short_help="Put one more layer on an image.")
@with_shared(*WRITE)
def command(
    src: options.Src,
    dest: options.Dest,
    layer: Annotated[
        list[str] | None,
        typer.Option("--layer", metavar="DIR|TAR", help=f"A directory, or a tar ({_TARS}). Repeatable."),
    ] = None,
    upperdir: Annotated[
        list[str] | None,
        typer.Option("--upperdir", metavar="DIR", help="An overlayfs upper directory, put above all of --layer. Repeatable."),
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="PATH", help="Put what --layer DIR holds into this directory of the image.")
    ] = None,
    owner: Annotated[
        str | None, typer.Option("--owner", metavar="UID[:GID]", help="Owner of what --layer DIR holds. Default: 0:0.")
    ] = None,
    keep_owner: Annotated[bool, typer.Option("--keep-owner", help="Keep the owners that --layer DIR has on disk.")] = False,
    dirs_from_layer: Annotated[
        bool,
        typer.Option("--dirs-from-layer", help="Give directories of the image the mode, owner and time that they have in DIR."),
    ] = False,
    message: Annotated[str | None, typer.Option("--message", "-m", metavar="TEXT", help="A comment for the history.")] = None,
    *,
    shared: Shared,
) -> None:
    """Write SRC to DEST with more layers on top. The layers of SRC, and a tar given as a layer, keep their bytes. Whiteout
    devices and opaque marks of an upper directory become whiteouts of the layer."""
    from ocitool.api import arguments
    from ocitool.operations import append

    additions = arguments.layer_inputs(
        layer or (), upperdir or (), to=to, owner=owner, keep_owner=keep_owner, dirs_from_layer=dirs_from_layer
    )
    with shared.running() as session:
        write_options = shared.write_options(dest)
        result = append.append(
            src,
            additions,
            session,
            write_options,
            message=message,
            platform=shared.platform,
            all_platforms=shared.all_platforms,
        )
    shared.show_written(result)
