"""`ocitool copy`, and the options that `pull` and `push` share with it."""

from __future__ import annotations

from typing import Annotated

import typer

from ocitool.cli import options
from ocitool.cli.shared import OUTPUT, PLATFORMS, TALK, Shared, with_shared
from ocitool.errors import UsageError

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_EXAMPLES = """\b
Examples:
  ocitool copy image.tar layout/                         an archive into an OCI layout
  ocitool copy --all-platforms layout/:app app.tar.zst   an index and all its images
  ocitool copy a.tar b.tar c.tar store/                  three images that share their layers
  ocitool copy --compression zstd image.tar small.tar
  ocitool copy new.tar delta.tar --omit old.tar          without what the other side has
  ocitool copy delta.tar new.tar --with old.tar          complete and verified, over there
  ocitool copy docker://reg.example/app:1 docker://reg.example/prod/app:1
  ocitool copy --tags 'v1.*' --exclude '*-rc*' docker://reg.example/app store/
  ocitool copy store/ docker://mirror.example/team/      all of it, each under its name
  ocitool copy docker-daemon:app:1 docker://reg.example/app:1

\b
If the network fails or Ctrl-C is pressed, a layout keeps what has arrived, and
the same command continues from there.
"""

Tags = Annotated[
    list[str] | None,
    typer.Option("--tags", metavar="GLOB", help="Copy these tags of a repository that is named without a tag."),
]
Exclude = Annotated[
    list[str] | None, typer.Option("--exclude", metavar="GLOB", help="Leave out these of the tags that --tags selects.")
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Stop at the first tag of --tags that cannot be copied, instead of continuing.")
]
Referrers = Annotated[
    bool, typer.Option("--referrers", help="Also copy what refers to the images: signatures, SBOMs, attestations.")
]
FromFile = Annotated[
    options.FileLines | None,
    typer.Option(
        "--from-file", metavar="FILE", parser=options.listed, help="More sources, one on each line; # begins a comment."
    ),
]


@app.command(epilog=_EXAMPLES, short_help="Copy images between archives, layouts and registries.")
@with_shared("tag", "conversion", "supply", *PLATFORMS, "force", "dry_run", *OUTPUT, "verify", "jobs", *TALK, "no_notes")
def command(
    refs: Annotated[list[str], typer.Argument(metavar="SRC... DEST", help="Images, and where they go.", show_default=False)],
    omit: Annotated[
        list[str] | None,
        typer.Option("--omit", metavar="REF|@FILE", help="Leave out layers that this image, or list of digests, has."),
    ] = None,
    tags: Tags = None,
    exclude: Exclude = None,
    strict: Strict = False,
    allow_no_match: options.AllowNoMatch = False,
    from_file: FromFile = None,
    referrers: Referrers = False,
    *,
    shared: Shared,
) -> None:
    """Copy images, their layers and documents byte for byte, to where DEST says: an archive (*.tar, .tar.gz, .tar.zst,
    docker-archive:FILE, oci-archive:FILE, - for standard output), an OCI layout (a directory, oci:DIR:TAG), a Docker engine
    (docker-daemon:NAME:TAG), or a registry (docker://HOST/REPO:TAG; docker://HOST/PREFIX/ keeps the images' own names below
    PREFIX)."""
    sources, dest = [*refs[:-1], *(from_file or ())], refs[-1]
    if not sources:
        raise UsageError("copy needs a source and a destination", hint="ocitool copy SRC DEST")
    with shared.running() as session:
        from ocitool.operations import copy

        omitted = copy.omitted(omit or (), session)
        write_options = shared.write_options(dest, omit=frozenset().union(*omitted.values()))
        result = copy.copy(
            sources,
            session,
            write_options,
            platform=shared.platform,
            all_platforms=shared.all_platforms,
            tags=tags or (),
            referrers=referrers,
            omit=omitted,
            allow_no_match=allow_no_match,
            exclude=exclude or (),
            strict=strict,
        )
    shared.show_written(result)
    options.end_with_problems(result, shared.format, quiet=shared.quiet)
