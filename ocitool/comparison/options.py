"""The options of `diff`."""

from __future__ import annotations

from typing import NamedTuple

from ocitool.comparison import rules
from ocitool.errors import UsageError
from ocitool.trees.compare import FIELDS


class DiffOptions(NamedTuple):
    """What to compare. `paths`: globs of the files to compare, all without them. `ignored_paths`: globs of files to
    leave out. `semantic`: times, layer boundaries and compression are ignored. `allow_no_match`: a glob may match
    nothing."""

    ignore: tuple[str, ...] = ()
    semantic: bool = False
    paths: tuple[str, ...] = ()
    patch: bool = False
    secrets: bool = False
    """Whether patches show files that look secret."""
    rules: tuple[rules.FailRule, ...] = ()
    ignored_paths: tuple[str, ...] = ()
    allow_no_match: bool = False

    def check(self) -> None:
        """Raises `UsageError` for a field that files do not have."""
        for field in self.ignore:
            if field not in FIELDS:
                raise UsageError(f"files have no field {field}", hint=", ".join(FIELDS))

    @property
    def ignored(self) -> frozenset[str]:
        return frozenset(self.ignore) | ({"mtime"} if self.semantic else frozenset())

    @property
    def settings(self) -> bool:
        """Whether the configuration is compared: not if only some files are asked for, unless a rule is about it."""
        return not self.paths or any(rule.what == "config" for rule in self.rules)
