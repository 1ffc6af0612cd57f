"""`ocitool volume`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ocitool.cli import options, review
from ocitool.cli.shared import OUTPUT, REVIEW, TALK, Shared, with_shared

app = typer.Typer(
    rich_markup_mode=None, add_completion=False, no_args_is_help=True, short_help="Save, restore and compare volumes.",
    help="The volumes of a Docker engine: list them, save one as an artifact that layouts, archives and registries hold, put "
    "it back, and compare what is saved with what is there. What ocitool makes at the engine for this is removed again.",
)  # fmt: skip

Helper = Annotated[
    str | None,
    typer.Option(
        "--helper",
        metavar="IMAGE",
        help="Run GNU tar in a container of this image of the engine: keeps fractions of seconds, all xattrs, and holes.",
    ),
]

_LS = """\b
Examples:
  ocitool volume ls
  ocitool volume ls --no-size                         without adding up what is in them
  ocitool volume ls -H tcp://build.example.com:2376   of another engine
"""


@app.command("ls", epilog=_LS, short_help="List volumes.")
@with_shared(*OUTPUT, *TALK, remote=False, engine=True)
def ls(
    no_size: Annotated[bool, typer.Option("--no-size", help="Do not ask for sizes, which engines add up each time.")] = False,
    *,
    shared: Shared,
) -> None:
    """List the volumes of an engine: driver, labels, size if the engine tells it, and the containers that mount them."""
    with shared.running() as session:
        from ocitool.volumes.listing import volumes

        result = volumes(session.engine(), session.task, sizes=not no_size)
    shared.show("volumes", result)


_SAVE = """\b
Examples:
  ocitool volume save data backup/                     into an OCI layout
  ocitool volume save data data.tar
  ocitool volume save data docker://registry.example.com/volumes/data:monday
  ocitool volume save --helper debian:12 data backup/  with all that a file can have

\b
Equal content makes one digest, whenever it is saved: a volume that did not
change is not sent again. Without --helper the engine reads the content, which
drops fractions of seconds, extended attributes but security.capability, and
sockets; what is dropped is told. A volume that containers write to meanwhile
is not a moment's state: pause them.
"""


@app.command("save", epilog=_SAVE, short_help="Save a volume as an artifact.")
@with_shared("tag", "force", *OUTPUT, "no_notes", *TALK, engine=True)
def save(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A volume of the engine.")],
    destination: options.Dest,
    helper: Helper = None,
    *,
    shared: Shared,
) -> None:
    """Save the content of a volume, with owners, modes, times, links and what it is called, as an OCI artifact. The container
    that reads it is never started, and is removed again."""
    write = shared.write_options(destination)
    with shared.running() as session:
        from ocitool.volumes.save import save

        result = save(name, write, session, session.engine(), helper=helper)
    shared.show_written(result)


_RESTORE = """\b
Examples:
  ocitool volume restore backup/:data data
  ocitool volume restore docker://registry.example.com/volumes/data:monday data-of-monday
  ocitool volume restore --force data.tar data         over what the volume has
  ocitool volume restore --helper debian:12 backup/:data data

\b
All of it is read before anything is written: digests are checked, and entries
that would leave the volume are refused.
"""


@app.command("restore", epilog=_RESTORE, short_help="Put a saved volume back.")
@with_shared(*OUTPUT, "no_notes", *TALK, engine=True)
def restore(
    source: Annotated[str, typer.Argument(metavar="SRC", help="A saved volume: layout, archive or docker://HOST/REPO:TAG.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="The volume; made with the driver and labels of SRC if missing.")],
    force: Annotated[
        bool, typer.Option("--force", help="Write into a volume that is not empty; what is not in SRC stays.")
    ] = False,
    helper: Helper = None,
    *,
    shared: Shared,
) -> None:
    """Put a saved volume into a volume of the engine, which is made if there is none of this name."""
    with shared.running() as session:
        from ocitool.volumes.restore import restore

        result = restore(source, name, session, session.engine(), force=force, helper=helper)
    shared.show("restored", result)


_DIFF = f"""\b
Examples:
  ocitool volume diff backup/:data docker-volume:data        what changed since it was saved
  ocitool volume diff monday.tar tuesday.tar
  ocitool volume diff -p --path 'conf/**' backup/:data docker-volume:data

{review.RULES}"""


# An artifact has no layer boundaries and no history.
_COMPARISON = {name: option for name, option in review.OPTIONS.items() if name != "semantic"}


@app.command("diff", epilog=_DIFF, short_help="What changed between two volumes.")
@with_shared(*REVIEW, "no_notes", "quiet", "no_color", "debug", engine=True, more=_COMPARISON)
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="The volume before: a saved one, or docker-volume:NAME of the engine.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The volume after.")],
    helper: Helper = None,
    *,
    more: dict[str, Any],
    shared: Shared,
) -> None:
    """Show what changed between two volumes, saved ones or those of the engine, as diff shows it of images. If one of them was
    read without --helper, times are compared in whole seconds."""
    diff_options = review.diff_options(more)
    with shared.running() as session:
        from ocitool.volumes.comparing import compare

        result = compare(a, b, diff_options, session, helper=helper)
    review.finish(result, diff_options, shared, stat=more["stat"], all=more["all"])
