"""What `diff` and `engine diff` have in common: the options of a comparison, and what ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ocitool.cli.shared import Shared

if TYPE_CHECKING:
    from ocitool.comparison import Diff, DiffOptions, IndexDiff

Words = list[str] | None

Paths = Annotated[Words, typer.Option("--path", metavar="GLOB", help="Only files that match: a directory, or a glob.")]
IgnoredPaths = Annotated[Words, typer.Option("--ignore-path", metavar="GLOB", help="All files but those that match.")]
Stat = Annotated[bool, typer.Option("--stat", help="Totals and layers, no lists.")]
Patch = Annotated[bool, typer.Option("--patch", "-p", help="Unified diffs of changed text files.")]
Semantic = Annotated[bool, typer.Option("--semantic", help="Ignore times, layer boundaries, the history and compression.")]
Ignore = Annotated[
    Words, typer.Option("--ignore", metavar="FIELD", help="type content mode uid gid mtime linkTarget links xattrs device")
]
FailOn = Annotated[Words, typer.Option("--fail-on", metavar="RULE", help="Exit 1 only for this; see below.")]

RULES = """\b
Exit: 0 no difference, 1 differences. With --fail-on: 1 only when a rule is met.
Rules: files, config, notable, notable:RULE,RULE, none, size:+10MB, size:+5%, transfer:+20MiB.
notable is met by dangers. What only costs bytes (unshared-layer), or what ordinary updates bring,
is shown and meets notable:RULE alone.
"""


def question(
    path: Words, ignore_path: Words, patch: bool, semantic: bool, ignore: Words, fail_on: Words, *, secrets: bool,
    allow_no_match: bool,
) -> DiffOptions:  # fmt: skip
    """Returns what these options ask for. Raises `UsageError` for an invalid rule."""
    from ocitool.comparison import DiffOptions
    from ocitool.comparison.rules import rule

    return DiffOptions(
        ignore=tuple(ignore or ()), semantic=semantic, paths=tuple(path or ()), patch=patch, secrets=secrets,
        ignored_paths=tuple(ignore_path or ()), allow_no_match=allow_no_match,
        rules=tuple(rule(text) for text in fail_on or ()),
    )  # fmt: skip


def finish(result: Diff | IndexDiff, asked: DiffOptions, shared: Shared, *, stat: bool) -> None:
    """Shows the report, and ends the command with its exit code."""
    from ocitool import masking

    with masking.revealed(asked.secrets):
        shared.show("diff", result, stat=stat)
    failed = bool(result.failures) if asked.rules else not result.identical
    raise typer.Exit(1 if failed else 0)
