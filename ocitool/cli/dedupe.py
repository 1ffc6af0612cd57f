"""`ocitool dedupe`."""

from __future__ import annotations

from typing import Annotated

import typer

from ocitool.cli import options
from ocitool.cli.shared import READ, REVIEW, Shared, with_shared

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_EXAMPLES = """\b
Examples:
  ocitool dedupe store/ old.tar new.tar                  what they share, and what more could be saved
  ocitool dedupe images/                                 every archive and layout below a directory
  ocitool dedupe docker://reg.example --repos 'team/*'
  ocitool dedupe docker://reg.example/app --tags 'v1.*' --format markdown
  ocitool dedupe store/ --files --top 20                 and which files repeat
  ocitool dedupe store/ --zstd 9                         and what zstd would save
  ocitool dedupe store/ --export rows/                   every file of every layer, as Parquet
  ocitool dedupe docker://reg.example --repos '*' --state seen/    again each night, with one request a tag
  ocitool dedupe docker://reg.example --repos '*' --files --cluster tcp://scheduler:8786
"""


@app.command(epilog=_EXAMPLES, short_help="What many images share, and what more could be saved.")
@with_shared(*REVIEW, *READ, "quiet", "no_color", "debug")
def command(
    refs: Annotated[
        list[str],
        typer.Argument(
            metavar="REF...", help="Images: archives, layouts, directories of them, docker://HOST/REPO:TAG.", show_default=False
        ),
    ],
    files: Annotated[bool, typer.Option("--files", help="Read each layer: repeated files and packages, more advice.")] = False,
    repos: Annotated[
        list[str] | None, typer.Option("--repos", metavar="GLOB", help="Take these repositories of docker://HOST.")
    ] = None,
    tags: Annotated[
        list[str] | None, typer.Option("--tags", metavar="GLOB", help="Take these tags of a repository named without a tag.")
    ] = None,
    allow_no_match: options.AllowNoMatch = False,
    zstd: Annotated[
        int | None,
        typer.Option("--zstd", metavar="LEVEL", min=1, max=19, help="Compress gzip layers to learn what zstd would save."),
    ] = None,
    export: Annotated[
        str | None, typer.Option("--export", metavar="DIR", help="Write every file of every layer there, as Parquet.")
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option("--cluster", metavar="ADDRESS", help="Read layers on a Dask cluster that has access to them."),
    ] = None,
    state: Annotated[
        str | None,
        typer.Option("--state", metavar="DIR", help="Keep manifests and configurations there; fetch none of them twice."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first source that cannot be read.")] = False,
    top: Annotated[int, typer.Option("--top", metavar="N", min=0, help="How many of each kind text and tables list.")] = 10,
    *,
    shared: Shared,
) -> None:
    """Show what many images share and what that saves: by layer, by common base, by image, and what deleting an image would
    really free; then what more could be saved, each with the command that does it. Bytes count as in one layout that holds
    all of the images; the sizes of archives on disk are listed too. Reads no layer unless --files, --zstd, --export or
    --verify is given. A source that cannot be read is named, and the exit code is 1."""
    options.once(*refs)
    with shared.running() as session:
        from ocitool.dedupe import DedupeOptions, RepositoryFilter, dedupe

        choice = RepositoryFilter(tuple(repos or ()), tuple(tags or ()), allow_no_match)
        result = dedupe(refs, DedupeOptions(choice, files, export, zstd, cluster, strict, top, state), session)
    shared.show("dedupe", result)
    if result.problems:
        raise typer.Exit(1)
