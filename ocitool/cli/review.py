"""What `diff`, `engine diff` and `volume diff` have in common: the options of a comparison, its report and its exit code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ocitool.cli import options
from ocitool.cli.shared import Shared

if TYPE_CHECKING:
    from ocitool.comparison import Diff, DiffOptions, IndexDiff

_Texts = list[str] | None
_Paths = Annotated[
    _Texts, typer.Option("--path", metavar="GLOB", help="Compare only files that match: a directory, or a glob.")
]
_IgnoredPaths = Annotated[_Texts, typer.Option("--ignore-path", metavar="GLOB", help="Compare all files but those that match.")]
_IgnoreVolatile = Annotated[
    bool, typer.Option("--ignore-volatile", help="Leave out volatile files: caches, logs and the like that differ by build.")
]
_Stat = Annotated[bool, typer.Option("--stat", help="Show totals and layers, no lists.")]
_All = Annotated[bool, typer.Option("--all", help="List all, not only what fits one screen.")]
_Patch = Annotated[bool, typer.Option("--patch", "-p", help="Show unified diffs of changed text files.")]
_Inside = Annotated[
    bool, typer.Option("--inside", help="Look into all changed archives, programs and databases, not only where it is quick.")
]
_Extract = Annotated[
    str | None,
    typer.Option(
        "--extract", metavar="DIR", help="Write both sides of what changed to DIR/before and DIR/after, for other tools."
    ),
]
_Semantic = Annotated[bool, typer.Option("--semantic", help="Ignore times, layer boundaries, the history and compression.")]
_Ignore = Annotated[
    _Texts, typer.Option("--ignore", metavar="FIELD", help="type content mode uid gid mtime linkTarget links xattrs device")
]
_FailOn = Annotated[_Texts, typer.Option("--fail-on", metavar="RULE", help="Exit 1 only for this; see below.")]

OPTIONS: Mapping[str, tuple[Any, Any]] = {
    "path": (_Paths, None),
    "ignore_path": (_IgnoredPaths, None),
    "ignore_volatile": (_IgnoreVolatile, False),
    "allow_no_match": (options.AllowNoMatch, False),
    "stat": (_Stat, False),
    "all": (_All, False),
    "patch": (_Patch, False),
    "inside": (_Inside, False),
    "extract": (_Extract, None),
    "semantic": (_Semantic, False),
    "ignore": (_Ignore, None),
    "fail_on": (_FailOn, None),
    "policy": (options.PolicyOption, None),
    "show_secrets": (options.ShowSecrets, False),
}
"""The options of a comparison, for `with_shared(more=...)`: annotation and default by name."""

RULES = """\b
Exit: 0 no difference, 1 differences. With --fail-on: 1 only when a rule is met.
Rules: files, config, notable, security, cost, RULE,RULE, none, size:+10MB, size:+5%, transfer:+20MiB.
notable is met by what is of the class security or cost. RULE names a rule of notable (setuid,secret-env):
it is met whatever the class. What is of the class info, as ordinary updates bring it, is only shown.
Limits of the [budget] in .ocitool.toml are rules too; what it accepts meets no rule.
"""


def diff_options(given: Mapping[str, Any]) -> DiffOptions:
    """Returns the values of `OPTIONS` as `DiffOptions`; a command may leave `semantic` out. Raises `UsageError` for an invalid
    rule."""
    from ocitool.comparison import DiffOptions
    from ocitool.comparison.rules import rule
    from ocitool.policy.documents import applicable

    policy = applicable(given["policy"])
    texts = given["fail_on"] or (policy.fail_on if policy is not None else ())
    return DiffOptions(
        ignore=tuple(given["ignore"] or ()), semantic=given.get("semantic", False), paths=tuple(given["path"] or ()),
        patch=given["patch"], inside=given["inside"], extract=given["extract"], secrets=given["show_secrets"],
        ignored_paths=tuple(given["ignore_path"] or ()), ignore_volatile=given["ignore_volatile"],
        allow_no_match=given["allow_no_match"], rules=tuple(map(rule, texts)), policy=policy,
    )  # fmt: skip


def finish(result: Diff | IndexDiff, asked: DiffOptions, shared: Shared, *, stat: bool, all: bool) -> None:
    """Shows the report, and ends the command with its exit code."""
    from ocitool import masking

    with masking.revealed(asked.secrets):
        shared.show("diff", result, stat=stat, all=all)
    failed = bool(result.failures) or not (asked.rules or result.identical)
    raise typer.Exit(1 if failed else 0)
