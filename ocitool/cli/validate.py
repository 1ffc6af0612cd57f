"""`ocitool validate`."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from ocitool import validation
from ocitool.cli import options
from ocitool.cli.shared import OUTPUT, Shared, with_shared
from ocitool.validation.bare import document_file

app = typer.Typer(rich_markup_mode=None, add_completion=False)


class DocumentKind(Enum):
    descriptor = "descriptor"
    manifest = "manifest"
    index = "index"
    config = "config"
    layout = "layout"
    docker_manifest = "docker-manifest"
    docker_manifest_list = "docker-manifest-list"


_EXAMPLES = """\b
Examples:
  ocitool validate image.tar
  ocitool validate --format json layout/ other.tar
  ocitool validate --as manifest manifest.json
  ocitool inspect --raw config image.tar | ocitool validate --as config -

\b
Exit: 0 if no finding has severity error (warnings do not count), else 1.
"""


@app.command(epilog=_EXAMPLES, short_help="Check images deeply.")
@with_shared(*OUTPUT, "jobs", "quiet", "no_color", "debug")
def command(
    refs: Annotated[list[str], typer.Argument(metavar="REF...", help="Images, or documents with --as.")],
    as_: Annotated[DocumentKind | None, typer.Option("--as", help="Check a file that holds one document of this kind.")] = None,
    *,
    shared: Shared,
) -> None:
    """Check images deeply: schemas, digests, sizes, diff_ids, history, tar rules. Reads and hashes everything."""
    options.once(*refs)
    with shared._replace(no_cache=True).running() as session:
        if as_ is not None:
            results = [validation.validate_document(as_.value, document_file(ref), ref) for ref in refs]
        else:
            results = [validation.validate(ref, session.task, session.registries, session.engines) for ref in refs]
    shared.show("validate", results)
    raise typer.Exit(0 if all(result.valid for result in results) else 1)
