"""`ocitool rebase`."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from ocitool.cli import options
from ocitool.cli.shared import WRITE, Shared, with_shared

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_EXAMPLES = """\b
Examples:
  ocitool rebase app.tar fixed.tar --old-base debian-12.1.tar --new-base debian-12.2.tar
  ocitool rebase docker://reg.example/app:1 docker://reg.example/app:2      by the image's annotations
  ocitool rebase store:app store/ --old-base store:base-1 --new-base store:base-2 --tag app:2
  ocitool rebase app.tar fixed.tar --old-base a.tar --new-base b.tar --fail-on conflict

\b
Annotations: org.opencontainers.image.base.name names the new base in a registry; org.opencontainers.image.base.digest the
old one, which is looked for in the store of the image and in what --with names before the registry is asked.
"""


class ConflictRule(Enum):
    none = "none"
    conflict = "conflict"


@app.command(epilog=_EXAMPLES, short_help="Put an image's own layers on another base.")
@with_shared(*WRITE)
def command(
    src: options.Src,
    dest: options.Dest,
    old_base: Annotated[
        str | None, typer.Option("--old-base", metavar="REF", help="The base of SRC. Default: what its annotation names.")
    ] = None,
    new_base: Annotated[
        str | None, typer.Option("--new-base", metavar="REF", help="The base of DEST. Default: what SRC's annotation names.")
    ] = None,
    fail_on: Annotated[
        ConflictRule,
        typer.Option("--fail-on", metavar="RULE", help="conflict: exit 1 on conflicts, though the image is written."),
    ] = ConflictRule.none,
    *,
    shared: Shared,
) -> None:
    """Write SRC to DEST with the layers of the new base in place of those of the old one. SRC's own layers keep their
    bytes. Only if such a layer lists a directory with the mode, owner or extended attributes of the old base, and the new
    base changed these, the layer is made again with those of the new base, and named. History and settings follow: what SRC
    has from the old base (variables, labels, command ...) becomes that of the new one, what SRC set itself stays. Files and
    attributes of directories that both the new base and SRC's own layers changed are listed; SRC's are kept. --compression
    converts SRC's own layers; those of the base stay the same blobs, if they are blobs (the layers of a docker save archive
    are not)."""
    options.once(src, old_base, new_base, *(shared.supply or ()))
    from ocitool.operations.rebase import BaseReferences, rebase

    with shared.running() as session:
        write_options = shared.write_options(dest)
        result = rebase(
            src, BaseReferences(old_base, new_base), session, write_options, platform=shared.platform,
            all_platforms=shared.all_platforms, fail_on_conflict=fail_on is ConflictRule.conflict,
        )  # fmt: skip
    shared.show_written(result)
    raise typer.Exit(1 if result.findings else 0)
