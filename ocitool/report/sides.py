"""The two sides of a changed setting, with secrets masked alike in every report."""

from __future__ import annotations

from typing import Any, NamedTuple

from ocitool import masking
from ocitool.comparison.result import ConfigChange, Patch

CHANGED = "(value changed)"
"""Said of a secret that differs: both sides of it are shown as `***`."""


class Sides(NamedTuple):
    """`changed`: something that is hidden on both sides differs."""

    before: Any
    after: Any
    changed: bool


def sides(change: ConfigChange) -> Sides:
    name = change.name
    both = (change.before, change.after)
    before, after = (masking.value(side, name) for side in both)
    return Sides(before, after, masking.changed_secret(*both, name))


def pointer_text(pointer: str) -> str:
    """A pointer as it is shown: a label's own name may hold a secret."""
    return "/".join(_escaped(masking.text(_unescaped(part))) for part in pointer.split("/"))


def _unescaped(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")


def _escaped(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")


def withheld(patch: Patch) -> str:
    """Why a patch shows nothing, and what shows it."""
    why = "its path is one that secrets have" if patch.withheld == "path" else "it holds a private key or a token"
    return f"content withheld, {why} (--show-secrets shows it)"
