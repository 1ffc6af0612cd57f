"""The value of a changed setting before and after, with secrets masked in the same way in every report."""

from __future__ import annotations

from typing import Any, NamedTuple

from ocitool import masking
from ocitool.comparison.result import ConfigChange, Patch

CHANGED = "(value changed)"
"""Follows a secret that differs, since both sides of it are shown as `***`."""


class Sides(NamedTuple):
    """The two values, masked. `changed`: they differ in something that is masked on both sides."""

    before: Any
    after: Any
    changed: bool


def sides(change: ConfigChange) -> Sides:
    """Returns both values of a change, masked by the name of the setting."""
    name = change.name
    both = (change.before, change.after)
    before, after = (masking.value(side, name) for side in both)
    return Sides(before, after, masking.changed_secret(*both, name))


def pointer_text(pointer: str) -> str:
    """Returns a JSON pointer with each part masked: the name of a label may hold a secret."""
    return "/".join(_escaped(masking.text(_unescaped(part))) for part in pointer.split("/"))


def _unescaped(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")


def _escaped(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")


def withheld(patch: Patch) -> str:
    """Returns why a patch is withheld, and which option shows it."""
    why = "its path is one that secrets have" if patch.withheld == "path" else "it holds a private key or a token"
    return f"content withheld, {why} (--show-secrets shows it)"
