"""`ocitool diff`."""

from __future__ import annotations

from typing import Annotated

import typer

from ocitool import comparison
from ocitool.cli import options
from ocitool.cli.shared import PLATFORMS, READ, REVIEW, Shared, with_shared
from ocitool.comparison.rules import rule

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_EXAMPLES = """\b
Examples:
  ocitool diff old.tar new.tar
  ocitool diff -p --path 'etc/**' old.tar new.tar
  ocitool diff --semantic old.tar new.tar && echo same files, same configuration
  ocitool diff --format markdown --report comment.md old.tar new.tar
  ocitool diff -p --show-secrets old.tar new.tar               passwords, tokens and key files in clear
  ocitool diff --fail-on notable --fail-on size:+5% old.tar new.tar

\b
Exit: 0 no difference, 1 differences. With --fail-on: 1 only when a rule is met.
Rules: files, config, notable, notable:RULE,RULE, none, size:+10MB, size:+5%, transfer:+20MiB.
notable is met by dangers. What only costs bytes (unshared-layer), or what ordinary updates bring,
is shown and meets notable:RULE alone.
"""


@app.command(epilog=_EXAMPLES, short_help="What changed between two images.")
@with_shared(*PLATFORMS, *REVIEW, *READ, "quiet", "no_color", "debug")
def command(
    a: Annotated[str, typer.Argument(metavar="A", help="The image before.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The image after.")],
    path: Annotated[
        list[str] | None, typer.Option("--path", metavar="GLOB", help="Only files that match: a directory, or a glob.")
    ] = None,
    ignore_path: Annotated[
        list[str] | None, typer.Option("--ignore-path", metavar="GLOB", help="All files but those that match.")
    ] = None,
    allow_no_match: options.AllowNoMatch = False,
    stat: Annotated[bool, typer.Option("--stat", help="Totals and layers, no lists.")] = False,
    patch: Annotated[bool, typer.Option("--patch", "-p", help="Unified diffs of changed text files.")] = False,
    semantic: Annotated[
        bool, typer.Option("--semantic", help="Ignore times, layer boundaries, the history and compression.")
    ] = False,
    ignore: Annotated[
        list[str] | None,
        typer.Option("--ignore", metavar="FIELD", help="type content mode uid gid mtime linkTarget links xattrs device"),
    ] = None,
    fail_on: Annotated[
        list[str] | None, typer.Option("--fail-on", metavar="RULE", help="Exit 1 only for this; see below.")
    ] = None,
    show_secrets: options.ShowSecrets = False,
    *,
    shared: Shared,
) -> None:
    """Show what changed between two images: layers, files, configuration, and what caused it."""
    question = comparison.DiffOptions(
        ignore=tuple(ignore or ()), semantic=semantic, paths=tuple(path or ()), patch=patch, secrets=show_secrets,
        ignored_paths=tuple(ignore_path or ()), allow_no_match=allow_no_match,
        rules=tuple(rule(text) for text in fail_on or ()),
    )  # fmt: skip
    with shared.running() as reading:
        result: comparison.Diff | comparison.IndexDiff
        if shared.all_platforms:
            result = comparison.diff_platforms(a, b, question, reading)
        else:
            result = comparison.diff(a, b, question, reading, platform=shared.platform)
    from ocitool import masking

    with masking.revealed(show_secrets):
        shared.show("diff", result, stat=stat)
    failed = bool(result.failures) if question.rules else not result.identical
    raise typer.Exit(1 if failed else 0)
