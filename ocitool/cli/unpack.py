"""`ocitool unpack`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from typing import Annotated, Any

import typer

from ocitool.cli import options
from ocitool.cli.access import Access, registries

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
@registries
def command(
    ref: options.Ref,
    dest: Annotated[str, typer.Argument(metavar="DEST", help="A new or empty directory; for tar a new file, or -.")],
    form: Annotated[UnpackForm, typer.Option("--as", help="What to make.")] = UnpackForm.editable,
    platform: options.PlatformOption = None,
    all_platforms: Annotated[bool, typer.Option("--all-platforms", help="With layers: every image of an index.")] = False,
    rootless: Annotated[
        bool, typer.Option("--rootless", help="All files are your own. The default unless you are root.")
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
            "--mode", metavar="OCTAL",
            help="Mode of DEST. Default: 0700, since others could run the image's setuid files; with rootfs as the image says.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="With tar: replace an existing file.")] = False,
    format: options.FormatOption = options.OutputFormat.text,
    report: options.ReportOption = None,
    no_cache: options.NoCache = False,
    jobs: options.Jobs = 4,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
    *,
    access: Access,
) -> None:
    """Unpack an image; every layer is verified on the way, and DEST is whole or not there."""
    from ocitool.api import arguments

    given = _mode(mode)
    owners = arguments.ownership(
        form.value, dest, platform=platform, all_platforms=all_platforms, rootless=rootless, rootless_xattr=rootless_xattr,
        uid_map=uid_map or (), gid_map=gid_map or (), mode=given, force=force,
    )  # fmt: skip
    opened = arguments.file_mode(given, mode or "")
    with options.running(no_cache=no_cache, jobs=jobs, quiet=quiet, access=access) as reading:
        result: Any
        if form is UnpackForm.layers:
            from ocitool.operations.unpack import store

            what = "store"
            result = store.unpack(
                ref, dest, reading, platform=platform, all_platforms=all_platforms, owners=owners, mode=opened
            )
        elif form is UnpackForm.tar:
            from ocitool.operations.unpack import flat

            options.apart(dest, report)
            what = "flat"
            result = flat.unpack(ref, dest, reading, platform=platform, force=force)
        else:
            from ocitool.operations.unpack import editable

            what = "unpack"
            result = editable.unpack(ref, dest, reading, form=form.value, platform=platform, owners=owners, mode=opened)
    if form is UnpackForm.tar and dest == "-" and report is None:
        return
    if format is options.OutputFormat.json:
        from ocitool.report.json import fields
        from ocitool.report.json.unpack import flat_json, store_json, unpack_json

        fields_of: dict[str, Callable[..., dict[str, Any]]] = {"unpack": unpack_json, "flat": flat_json, "store": store_json}
        options.write([fields.json_text(fields_of[what](result))], report)
    else:
        from ocitool.report.text.unpack import flat_text, store_text, unpack_text

        lines_of: dict[str, Callable[..., Iterator[str]]] = {"unpack": unpack_text, "flat": flat_text, "store": store_text}
        options.write(lines_of[what](result), report)


def _mode(text: str | None) -> int | None:
    """-1 for what is no octal number."""
    if text is None:
        return None
    return int(text, 8) if 0 < len(text) < 5 and set(text) <= set("01234567") else -1
