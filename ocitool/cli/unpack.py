"""`ocitool unpack`."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

import typer

from ocitool.cli import options
from ocitool.cli.shared import OUTPUT, TALK, Shared, with_shared

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_EXAMPLES = """\b
Examples:
  ocitool unpack image.tar work                    work/rootfs, to be edited and repacked
  ocitool unpack --as rootfs image.tar root        the file system alone
  ocitool unpack --as bundle layout:tag bundle     for crun run or runc run
  ocitool unpack --as layers image.tar store       each layer once, for overlay mounts
  ocitool unpack --as tar image.tar flat.tar
"""


class UnpackForm(Enum):
    editable = "editable"
    rootfs = "rootfs"
    bundle = "bundle"
    layers = "layers"
    tar = "tar"


@app.command(epilog=_EXAMPLES, short_help="Take an image apart into files.")
@with_shared("platform", *OUTPUT, "no_cache", "jobs", *TALK)
def command(
    ref: options.Ref,
    dest: Annotated[str, typer.Argument(metavar="DEST", help="A new or empty directory; for tar a new file, or -.")],
    form: Annotated[UnpackForm, typer.Option("--as", help="What to make.")] = UnpackForm.editable,
    all_platforms: Annotated[bool, typer.Option("--all-platforms", help="With --as layers: every image of an index.")] = False,
    rootless: Annotated[
        bool, typer.Option("--rootless", help="Make all files your own. The default unless you are root.")
    ] = False,
    rootless_xattr: Annotated[
        bool, typer.Option("--rootless-xattr", help="Rootless: keep owners in user.rootlesscontainers too.")
    ] = False,
    uid_map: Annotated[
        list[str] | None, typer.Option("--uid-map", metavar="CONTAINER:HOST[:SIZE]", help="Shift user ids. Repeatable.")
    ] = None,
    gid_map: Annotated[
        list[str] | None, typer.Option("--gid-map", metavar="CONTAINER:HOST[:SIZE]", help="Shift group ids. Repeatable.")
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(
            "--mode",
            metavar="OCTAL",
            help="Mode of DEST. Default: 0700, since others could run the image's setuid files; with rootfs as the image says.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="With --as tar: replace an existing file.")] = False,
    *,
    shared: Shared,
) -> None:
    """Unpack an image. Every layer is verified on the way; if that fails, DEST does not appear."""
    from ocitool.api import arguments

    directory_mode = _mode(mode)
    owners = arguments.ownership(
        form.value, dest, platform=shared.platform, all_platforms=all_platforms, rootless=rootless,
        rootless_xattr=rootless_xattr, uid_map=uid_map or (), gid_map=gid_map or (), mode=directory_mode, force=force,
    )  # fmt: skip
    directory_mode = arguments.file_mode(directory_mode, mode or "")
    with shared.running() as session:
        result: Any
        if form is UnpackForm.layers:
            from ocitool.operations.unpack import store

            report = "store"
            result = store.unpack(
                ref, dest, session, platform=shared.platform, all_platforms=all_platforms, owners=owners, mode=directory_mode
            )
        elif form is UnpackForm.tar:
            from ocitool.operations.unpack import flat

            options.check_outputs(dest, shared.report)
            report = "flat"
            result = flat.unpack(ref, dest, session, platform=shared.platform, force=force)
        else:
            from ocitool.operations.unpack import editable

            report = "unpack"
            result = editable.unpack(
                ref, dest, session, form=form.value, platform=shared.platform, owners=owners, mode=directory_mode
            )
    if form is UnpackForm.tar and dest == "-" and shared.report is None:
        return
    shared.show(report, result)


def _mode(text: str | None) -> int | None:
    """Returns the value of one to four octal digits, or -1 for any other text."""
    if text is None:
        return None
    return int(text, 8) if 0 < len(text) < 5 and set(text) <= set("01234567") else -1
