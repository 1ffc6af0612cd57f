"""`ocitool diff`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ocitool import comparison
from ocitool.cli import review
from ocitool.cli.shared import PLATFORMS, READ, REVIEW, Shared, with_shared

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_EXAMPLES = f"""\b
Examples:
  ocitool diff old.tar new.tar
  ocitool diff -p --path 'etc/**' old.tar new.tar
  ocitool diff --semantic old.tar new.tar && echo same files, same configuration
  ocitool diff --format markdown --report comment.md old.tar new.tar
  ocitool diff -p --show-secrets old.tar new.tar               passwords, tokens and key files in clear
  ocitool diff --fail-on notable --fail-on size:+5% old.tar new.tar
  ocitool diff --fail-on setuid,secret-env old.tar new.tar

{review.RULES}"""


@app.command(epilog=_EXAMPLES, short_help="What changed between two images.")
@with_shared(*PLATFORMS, *REVIEW, *READ, "quiet", "no_color", "debug", more=review.OPTIONS)
def command(
    a: Annotated[str, typer.Argument(metavar="A", help="The image before.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The image after.")],
    *,
    more: dict[str, Any],
    shared: Shared,
) -> None:
    """Show what changed between two images: layers, files, configuration, and what caused it."""
    diff_options = review.diff_options(more)
    with shared.running() as session:
        result: comparison.Diff | comparison.IndexDiff
        if shared.all_platforms:
            result = comparison.diff_platforms(a, b, diff_options, session)
        else:
            result = comparison.diff(a, b, diff_options, session, platform=shared.platform)
    review.finish(result, diff_options, shared, stat=more["stat"], all=more["all"])
