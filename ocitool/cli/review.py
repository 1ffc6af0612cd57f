"""What `diff` and `engine diff` have in common: the options of a comparison, its report and its exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ocitool.cli.shared import Shared

if TYPE_CHECKING:
    from ocitool.comparison import Diff, DiffOptions, IndexDiff

Texts = list[str] | None

Paths = Annotated[Texts, typer.Option("--path", metavar="GLOB", help="Compare only files that match: a directory, or a glob.")]
IgnoredPaths = Annotated[Texts, typer.Option("--ignore-path", metavar="GLOB", help="Compare all files but those that match.")]
Stat = Annotated[bool, typer.Option("--stat", help="Show totals and layers, no lists.")]
Patch = Annotated[bool, typer.Option("--patch", "-p", help="Show unified diffs of changed text files.")]
Semantic = Annotated[bool, typer.Option("--semantic", help="Ignore times, layer boundaries, the history and compression.")]
Ignore = Annotated[
    Texts, typer.Option("--ignore", metavar="FIELD", help="type content mode uid gid mtime linkTarget links xattrs device")
]
FailOn = Annotated[Texts, typer.Option("--fail-on", metavar="RULE", help="Exit 1 only for this; see below.")]

RULES = """\b
Exit: 0 no difference, 1 differences. With --fail-on: 1 only when a rule is met.
Rules: files, config, notable, notable:RULE,RULE, none, size:+10MB, size:+5%, transfer:+20MiB.
notable is met by dangers only. Changes that only cost bytes (unshared-layer), and those of ordinary
updates, are shown, and meet notable:RULE alone.
"""


def diff_options(
    path: Texts, ignore_path: Texts, patch: bool, semantic: bool, ignore: Texts, fail_on: Texts, *, secrets: bool,
    allow_no_match: bool,
) -> DiffOptions:  # fmt: skip
    """Returns these options as `DiffOptions`. Raises `UsageError` for an invalid rule."""
    from ocitool.comparison import DiffOptions
    from ocitool.comparison.rules import rule

    return DiffOptions(
        ignore=tuple(ignore or ()), semantic=semantic, paths=tuple(path or ()), patch=patch, secrets=secrets,
        ignored_paths=tuple(ignore_path or ()), allow_no_match=allow_no_match,
        rules=tuple(rule(text) for text in fail_on or ()),
    )  # fmt: skip


def finish(result: Diff | IndexDiff, options: DiffOptions, shared: Shared, *, stat: bool) -> None:
    """Shows the report, and ends the command with its exit code."""
    from ocitool import masking

    with masking.revealed(options.secrets):
        shared.show("diff", result, stat=stat)
    failed = bool(result.failures) if options.rules else not result.identical
    raise typer.Exit(1 if failed else 0)
