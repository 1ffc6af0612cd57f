"""`ocitool edit`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ocitool.cli import options
from ocitool.cli.access import Access, registries
from ocitool.errors import UsageError

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
Layers that no --rm and --add is about keep their very bytes, but for --compression.
"""

Words = list[str] | None

_NAMED = 20
"""Paths that a hint names."""


@app.command(epilog=_EXAMPLES, short_help="Change configuration and contents of an image.")
@registries
def command(
    src: options.Src,
    dest: options.Dest,
    env: Annotated[Words, typer.Option("--env", "-e", metavar="K=V", help="Set a variable.")] = None,
    unset_env: Annotated[Words, typer.Option("--unset-env", metavar="K", help="Remove a variable.")] = None,
    label: Annotated[Words, typer.Option("--label", "-l", metavar="K=V", help="Set a label.")] = None,
    unset_label: Annotated[Words, typer.Option("--unset-label", metavar="K", help="Remove a label.")] = None,
    annotation: Annotated[Words, typer.Option("--annotation", metavar="K=V", help="Set an annotation of the manifest.")] = None,
    unset_annotation: Annotated[Words, typer.Option("--unset-annotation", metavar="K", help="Remove an annotation.")] = None,
    cmd: Annotated[
        str | None, typer.Option("--cmd", metavar="JSON|LINE", help="What runs: a JSON array, else a line for the shell.")
    ] = None,
    unset_cmd: Annotated[bool, typer.Option("--unset-cmd", help="Remove the command.")] = False,
    entrypoint: Annotated[
        str | None, typer.Option("--entrypoint", metavar="JSON|LINE", help="What always runs; the command is left as it is.")
    ] = None,
    unset_entrypoint: Annotated[bool, typer.Option("--unset-entrypoint", help="Remove the entrypoint.")] = False,
    user: Annotated[str | None, typer.Option("--user", metavar="USER[:GROUP]", help="Who runs it; '' removes.")] = None,
    workdir: Annotated[str | None, typer.Option("--workdir", metavar="PATH", help="Where it runs; '' removes.")] = None,
    expose: Annotated[Words, typer.Option("--expose", metavar="PORT[/PROTO]", help="Add a port, or a range of them.")] = None,
    unset_expose: Annotated[Words, typer.Option("--unset-expose", metavar="PORT[/PROTO]", help="Remove ports.")] = None,
    volume: Annotated[Words, typer.Option("--volume", metavar="PATH", help="Declare a volume.")] = None,
    unset_volume: Annotated[Words, typer.Option("--unset-volume", metavar="PATH", help="Remove a volume.")] = None,
    unset_healthcheck: Annotated[bool, typer.Option("--unset-healthcheck", help="Remove the health check.")] = False,
    stop_signal: Annotated[
        str | None, typer.Option("--stop-signal", metavar="SIGNAL", help="What ends it; '' removes.")
    ] = None,
    created: Annotated[str | None, typer.Option("--created", metavar="TIME", help="RFC 3339, or @SECONDS.")] = None,
    rm: Annotated[
        Words, typer.Option("--rm", metavar="PATH", help="Take a path and its hard links out of every layer.")
    ] = None,
    rm_content: Annotated[
        bool, typer.Option("--rm-content", help="With --rm: also every other file of the same content. Without: exit 1.")
    ] = False,
    add: Annotated[
        Words, typer.Option("--add", metavar="SRC:PATH", help="A file or directory of the host into a layer, as root's.")
    ] = None,
    redact: Annotated[
        Words,
        typer.Option("--redact", metavar="NAME|TEXT", help="Take the value of NAME, or TEXT, out of all documents."),
    ] = None,
    search: Annotated[
        bool,
        typer.Option("--search", help="Name files holding what --redact, --unset-env or --rm takes out. Also: --rm --search."),
    ] = False,
    layer: Annotated[
        int | None, typer.Option("--layer", metavar="N", help="The layer for --add; 0 is the lowest. Default: the top.")
    ] = None,
    drop_layer: Annotated[
        list[int] | None, typer.Option("--drop-layer", metavar="N", help="Drop a layer of SRC; -1 is the top.")
    ] = None,
    tag: options.Tag = None,
    compression: options.CompressionOption = None,
    supply: options.With = None,
    platform: options.PlatformOption = None,
    all_platforms: options.AllPlatforms = False,
    force: options.Force = False,
    dry_run: options.DryRun = False,
    format: options.FormatOption = options.OutputFormat.text,
    report: options.ReportOption = None,
    verify: options.Verify = False,
    no_cache: options.NoCache = False,
    jobs: options.Jobs = 4,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
    *,
    access: Access,
) -> None:
    """Write SRC to DEST with another configuration, or with other files in the layers that it has. An option may be given
    several times. --redact puts *** in the place of a secret: that is the value of a variable or build argument by its name,
    or the text itself, in history, configuration and annotations. Exit code 1: what --rm took out still stands elsewhere in
    the image, or --search found files; 3: --redact found nothing."""
    options.one_or_all(platform, all_platforms)
    if layer is not None and not add:
        raise UsageError("--layer is for --add")
    if "--search" in (rm or ()):
        rm, search = [path for path in rm or () if path != "--search"], True  # `--rm --search`, without a path
    if rm_content and not rm:
        raise UsageError("--rm-content is for --rm")
    from ocitool.api import arguments
    from ocitool.images import config_edits
    from ocitool.operations import edit

    asked = config_edits.parse(
        env=env or (), unset_env=unset_env or (), labels=label or (), unset_labels=unset_label or (),
        annotations=annotation or (), unset_annotations=unset_annotation or (), cmd=cmd, unset_cmd=unset_cmd,
        entrypoint=entrypoint, unset_entrypoint=unset_entrypoint, user=user, workdir=workdir, expose=expose or (),
        unset_expose=unset_expose or (), volumes=volume or (), unset_volumes=unset_volume or (),
        unset_healthcheck=unset_healthcheck, stop_signal=stop_signal, created=created,
    )  # fmt: skip
    content = edit.ContentEdits(
        arguments.removed_paths(rm or ()), rm_content, tuple(map(edit.parse_addition, add or ())), layer,
        tuple(drop_layer or ()),
    )  # fmt: skip
    with options.running(verify=verify, no_cache=no_cache, jobs=jobs, quiet=quiet, access=access) as reading:
        writing = options.writing(
            dest, tag=tag, compression=compression, force=force, dry_run=dry_run, supplies=supply, report=report
        )
        result = edit.edit(
            src, asked, content, reading, writing, redaction=edit.Redaction(tuple(redact or ()), search),
            platform=platform, all_platforms=all_platforms,
        )  # fmt: skip
    options.write_written(result, format, report, quiet=quiet)
    if result.findings:
        _warn(result.details)
    raise typer.Exit(1 if result.findings else 0)


def _warn(report: object) -> None:
    """Said whatever is quiet: the image holds what was to be gone."""
    from ocitool.operations.edit import EditReport
    from ocitool.report.escape import printed

    assert isinstance(report, EditReport)

    def shown(path: bytes) -> str:
        return "/" + path.decode("utf-8", "replace")

    for place in report.same_content:
        text = f"what --rm took out still stands in layer {place.layer} ({printed(shown(place.path))})"
        print(f"ocitool: error: {text}", file=sys.stderr)
    if report.same_content:
        print("hint: --rm-content takes out every file of that content", file=sys.stderr)
    embedded = report.embedded or ()
    for place in embedded:
        what = "taken out" if report.removed else "redacted"
        text = f"what is {what} still stands in layer {place.layer} ({printed(shown(place.path))})"
        print(f"ocitool: error: {text}", file=sys.stderr)
    if embedded:
        import shlex

        paths = dict.fromkeys(shown(place.path) for place in embedded)
        words = " ".join(f"--rm {shlex.quote(path)}" for path in list(paths)[:_NAMED])
        more = f" (and {len(paths) - _NAMED} more)" if len(paths) > _NAMED else ""
        print(f"hint: {printed(words)}{more} takes these files out of every layer", file=sys.stderr)
