"""The options of `diff`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ocitool.comparison import rules
from ocitool.comparison.policies import check_policy
from ocitool.errors import UsageError
from ocitool.trees.compare import FIELDS

if TYPE_CHECKING:
    from ocitool.policy.documents import Policy


class DiffOptions(NamedTuple):
    """What to compare. `ignore`: fields of files to ignore. `semantic`: ignore times, layer boundaries and compression.
    `paths`: globs of the files to compare, empty for all. `ignored_paths`: globs of files to leave out. `patch`: make
    patches of text files. `allow_no_match`: a glob may match nothing."""

    ignore: tuple[str, ...] = ()
    semantic: bool = False
    paths: tuple[str, ...] = ()
    patch: bool = False
    inside: bool = False
    """Look into all changed files of known formats, not only where it is quick."""
    extract: str | None = None
    """The directory to which both sides of what changed are written."""
    secrets: bool = False
    """Show files that look secret in patches."""
    rules: tuple[rules.FailRule, ...] = ()
    ignored_paths: tuple[str, ...] = ()
    allow_no_match: bool = False
    ignore_volatile: bool = False
    """Leave out volatile files."""
    policy: Policy | None = None
    """What the repository accepts and allows."""

    def check(self) -> None:
        """Raises `UsageError` for an unknown field in `ignore`, and for an unknown rule in the policy."""
        if self.policy is not None:
            check_policy(self.policy)
        for field in self.ignore:
            if field not in FIELDS:
                raise UsageError(f"--ignore {field}: invalid field of a file", hint="one of " + ", ".join(FIELDS))

    @property
    def ignored(self) -> frozenset[str]:
        """The fields of files to ignore, with what `semantic` adds."""
        return frozenset(self.ignore) | ({"mtime"} if self.semantic else frozenset())

    @property
    def settings(self) -> bool:
        """Whether the configuration is compared: not with `--path`, unless a rule of `--fail-on` is about it."""
        return not self.paths or any(rule.what == "config" for rule in self.rules)
