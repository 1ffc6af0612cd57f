"""`ocitool inspect`."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Annotated, Any

import typer

from ocitool.cli import options
from ocitool.cli.shared import PLATFORMS, READ, REVIEW, Shared, with_shared
from ocitool.operations import inspect

app = typer.Typer(rich_markup_mode=None, add_completion=False)


class Raw(Enum):
    manifest = "manifest"
    config = "config"
    index = "index"


_EXAMPLES = """\b
Examples:
  ocitool inspect image.tar
  ocitool inspect --files --top 20 image.tar
  ocitool inspect --format json layout:v1 | jq '.images[].layers'
  ocitool inspect --raw config image.tar
  docker save app | ocitool inspect -
  ocitool inspect --fail-on security image.tar

Rules of --fail-on: notable (security and cost), security, cost, or names of rules (setuid,secret-env).
"""


@app.command(epilog=_EXAMPLES, short_help="What an image is, layer by layer.")
@with_shared(*PLATFORMS, *REVIEW, *READ, "quiet", "no_color", "debug")
def command(
    ref: options.Ref,
    files: Annotated[bool, typer.Option("--files", help="Read the layers: show counts, waste and largest files.")] = False,
    packages: Annotated[
        bool, typer.Option("--packages", help="Read the layers: list the packages that are installed.")
    ] = False,
    top: Annotated[int, typer.Option("--top", metavar="N", min=0, help="How many of the largest to list.")] = 10,
    raw: Annotated[Raw | None, typer.Option("--raw", help="Print this document's exact bytes.")] = None,
    digest: Annotated[
        bool, typer.Option("--digest", help="Print only the digest of what REF names, of --platform's manifest or of --raw.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="With --raw: print the exact bytes on a terminal too, even binary content.")
    ] = False,
    notable: Annotated[
        bool, typer.Option("--notable", help="Read the layers: show keys, setuid files and what else a reviewer must see.")
    ] = False,
    fail_on: Annotated[
        list[str] | None, typer.Option("--fail-on", metavar="RULE", help="Exit 1 for this, as --notable finds it; see below.")
    ] = None,
    policy: options.PolicyOption = None,
    show_secrets: options.ShowSecrets = False,
    *,
    shared: Shared,
) -> None:
    """Show what an image is, layer by layer. Opens no layer unless --files, --packages, --notable or --verify is given.

    Of a store everything is listed; the exit code is 1 if something in it could not be read, or a rule is met."""
    with shared.running() as session:
        data: bytes | None = None
        if raw is not None:
            data, known = inspect.raw(ref, raw.value, session, shared.platform)
        elif digest:
            known = inspect.digest(ref, session, shared.platform)
        else:
            result = inspect.inspect(
                ref, session, files=files, packages=packages, top=top, platform=shared.platform,
                all_platforms=shared.all_platforms, notable=notable, **_judged_by(notable, fail_on or (), policy),
            )  # fmt: skip
    if digest:
        print(known)
        return
    if data is not None:
        options.write_exact([data], force=force)
        return
    from ocitool import masking

    with masking.revealed(show_secrets):
        shared.show("inspect", result)
    if result.problems or result.failures:
        raise typer.Exit(1)


def _judged_by(notable: bool, texts: Sequence[str], path: str | None) -> dict[str, Any]:
    """Returns the rules and the policy by which `inspect` judges what is notable; none if it looks for nothing notable."""
    if not (notable or texts):
        return {}
    from ocitool.comparison.policies import check_policy  # `inspect` alone compares nothing
    from ocitool.comparison.rules import notable_rule, rule
    from ocitool.policy.documents import applicable

    policy = applicable(path)
    if policy is not None:
        check_policy(policy)
    rules = tuple(map(notable_rule, texts))
    if not texts and policy is not None:
        rules = tuple(one for one in map(rule, policy.fail_on) if one.what == "notable")
    return {"rules": rules, "policy": policy}
