"""`ocitool edit`."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from ocitool.cli import options
from ocitool.cli.shared import WRITE, Shared, with_shared
from ocitool.images import config_edits

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_EXAMPLES = """\b
Examples:
  ocitool edit image.tar fixed.tar --env LOG=info --unset-env TOKEN
  ocitool edit store:app store/ --user 1000 --cmd '["/app", "--serve"]' --entrypoint '[]'
  ocitool edit --all-platforms store:app store/ --label org.opencontainers.image.version=1.2
  ocitool edit image.tar clean.tar --rm /root/.npmrc           out of every layer, not hidden
  ocitool edit image.tar clean.tar --redact API_TOKEN          its value out of history, configuration, annotations
  ocitool edit image.tar clean.tar --redact API_TOKEN --search and the files named that hold it
  ocitool edit image.tar fixed.tar --add ca.crt:/etc/ssl/certs/ca.crt --layer 0
  ocitool edit image.tar small.tar --drop-layer -1

\b
Layers that neither --rm nor --add changes keep their bytes, unless --compression is given.
"""

Repeated = list[str] | None

_MAX_PATHS = 20
"""Paths that a hint names."""


def settings() -> dict[str, tuple[Any, Any]]:
    """Returns the options of `config_edits.SETTINGS`, by field."""
    found: dict[str, tuple[Any, Any]] = {}
    for one in config_edits.SETTINGS:
        kind: Any = bool if one.metavar is None else list[str] | None if one.many else str | None
        option = typer.Option(*one.option, metavar=one.metavar, help=one.help)
        found[one.field] = Annotated[kind, option], False if one.metavar is None else None
    return found


@app.command(epilog=_EXAMPLES, short_help="Change configuration and contents of an image.")
@with_shared(*WRITE, more=settings())
def command(
    src: options.Src,
    dest: options.Dest,
    rm: Annotated[
        Repeated, typer.Option("--rm", metavar="PATH", help="Take a path and its hard links out of every layer.")
    ] = None,
    rm_content: Annotated[
        bool, typer.Option("--rm-content", help="With --rm: remove other files of the same content too. Without: exit 1.")
    ] = False,
    add: Annotated[
        Repeated, typer.Option("--add", metavar="SRC:PATH", help="Put a file or directory of the host into a layer, as root's.")
    ] = None,
    redact: Annotated[
        Repeated,
        typer.Option("--redact", metavar="NAME|TEXT", help="Take the value of NAME, or TEXT, out of all documents."),
    ] = None,
    search: Annotated[
        bool,
        typer.Option("--search", help="List files that hold what --redact, --unset-env or --rm removes. Also: --rm --search."),
    ] = False,
    layer: Annotated[
        int | None, typer.Option("--layer", metavar="N", help="The layer for --add; 0 is the lowest. Default: the top.")
    ] = None,
    drop_layer: Annotated[
        list[int] | None, typer.Option("--drop-layer", metavar="N", help="Drop a layer of SRC; -1 is the top.")
    ] = None,
    *,
    more: dict[str, Any],
    shared: Shared,
) -> None:
    """Write SRC to DEST with another configuration, or with other files in the layers that it has. An option may be given
    several times. --redact replaces a secret by *** in history, configuration and annotations: the value of the variable or
    build argument of that name, or the text itself. Exit code 1: the image still holds elsewhere what --rm removed, or
    --search found files; 3: --redact found nothing."""
    if "--search" in (rm or ()):
        rm, search = [path for path in rm or () if path != "--search"], True  # `--rm --search`, without a path
    from ocitool.api import arguments
    from ocitool.operations import edit

    content = arguments.content_edits(rm or (), rm_content, add or (), layer, drop_layer or ())
    settings = config_edits.parse(**more)
    with shared.running() as session:
        write_options = shared.write_options(dest)
        result = edit.edit(
            src, settings, content, session, write_options, redaction=edit.Redaction(tuple(redact or ()), search),
            platform=shared.platform, all_platforms=shared.all_platforms,
        )  # fmt: skip
    shared.show_written(result)
    if result.findings:
        _warn(result.details)
    raise typer.Exit(1 if result.findings else 0)


def _warn(report: object) -> None:
    """Prints where the image still holds what was to be removed, also with `--quiet`."""
    from ocitool.layers.entry import shown_path
    from ocitool.operations.edit import EditReport
    from ocitool.report.escape import printed

    assert isinstance(report, EditReport)

    for place in report.same_content:
        text = f"what --rm took out still stands in layer {place.layer} ({printed(shown_path(place.path, None))})"
        print(f"ocitool: error: {text}", file=sys.stderr)
    if report.same_content:
        print("hint: --rm-content takes out every file of that content", file=sys.stderr)
    embedded = report.embedded or ()
    for place in embedded:
        what = "taken out" if report.removed else "redacted"
        text = f"what is {what} still stands in layer {place.layer} ({printed(shown_path(place.path, None))})"
        print(f"ocitool: error: {text}", file=sys.stderr)
    if embedded:
        import shlex

        paths = dict.fromkeys(shown_path(place.path, None) for place in embedded)
        listed = " ".join(f"--rm {shlex.quote(path)}" for path in list(paths)[:_MAX_PATHS])
        more = f" (and {len(paths) - _MAX_PATHS} more)" if len(paths) > _MAX_PATHS else ""
        print(f"hint: {printed(listed)}{more} takes these files out of every layer", file=sys.stderr)
