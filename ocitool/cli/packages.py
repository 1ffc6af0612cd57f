"""`ocitool packages`."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, get_args

import typer

from ocitool.cli import options
from ocitool.cli.shared import READ, TALK, Shared, with_shared
from ocitool.packages.package import PackageKind

app = typer.Typer(rich_markup_mode=None, add_completion=False)

PackageType = Enum("PackageType", {kind: kind for kind in get_args(PackageKind)})  # type: ignore[misc]

_EXAMPLES = """\b
Examples:
  ocitool packages image.tar
  ocitool packages --kind deb --kind pypi docker://debian:12
  ocitool packages --format json layout:v1 | jq -r '.packages[].purl'
  ocitool packages --format cyclonedx --report bom.json image.tar
"""


@app.command(epilog=_EXAMPLES, short_help="List the packages that are installed in an image.")
@with_shared("platform", "bill", "report", *READ, *TALK)
def command(
    ref: options.Ref,
    kind: Annotated[
        list[PackageType] | None, typer.Option("--kind", help="Only packages of this kind, named as in package URLs.")
    ] = None,
    *,
    shared: Shared,
) -> None:
    """List the packages that are installed in an image, by the databases in its merged file system. Nothing of the image is
    run.

    A database that cannot be read is a notice. `--format cyclonedx` makes a bill of materials."""
    from ocitool.operations import packages

    kinds: list[PackageKind] | None = [one.value for one in kind] if kind else None
    with shared.running() as session:
        result = packages.packages(ref, session, kinds=kinds, platform=shared.platform)
    shared.show("packages", result)
