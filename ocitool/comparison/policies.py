"""What the policy of a repository says of a comparison: which notable changes it accepts, and which limits are kept."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from ocitool.comparison.notable_rules import GROUPS, RULES
from ocitool.comparison.result import Failure, Notable, Summary
from ocitool.errors import UsageError
from ocitool.images.image import Image
from ocitool.trees.indexing import Indexer

if TYPE_CHECKING:
    from ocitool.policy.budget import BudgetLine
    from ocitool.policy.documents import Policy

BUDGET_RULE = "budget:"
"""What the rule of a failure begins with that is a limit of the budget."""


def check_policy(policy: Policy) -> None:
    """Raises `UsageError` for a rule that does not exist, in an entry that accepts it or in `fail-on`: it would never count."""
    from ocitool.comparison.rules import rule

    for text in policy.fail_on:
        try:
            rule(text)
        except UsageError as error:
            raise UsageError(f"fail-on: {error.what}", policy.path, hint=error.hint) from None
    for entry in policy.accept:
        if entry.rule not in RULES and entry.rule not in GROUPS:
            hint = "one of " + ", ".join((*GROUPS, *sorted(RULES)))
            raise UsageError(f"accept entry {entry.number}: invalid rule {entry.rule}", policy.path, hint=hint)


def with_acceptances(found: Sequence[Notable], policy: Policy | None) -> tuple[Notable, ...]:
    """Returns the notable changes, each with the entry that accepts it, if any; those that are accepted come last."""
    if policy is None or not policy.accept:
        return tuple(found)
    from ocitool.policy.acceptance import Acceptances

    entries = [entry._replace(rule=rule) for entry in policy.accept for rule in GROUPS.get(entry.rule, (entry.rule,))]
    acceptances = Acceptances(entries, datetime.date.today())
    judged = [item._replace(acceptance=acceptances.of(item.rule, item.path, item.key)) for item in found]
    return tuple(sorted(judged, key=lambda item: item.accepted))


def needs_size_before(policy: Policy | None) -> bool:
    """Returns whether a limit depends on the size of the image before, for which all of its layers must be indexed."""
    return policy is not None and any(limit.key == "growth" and limit.percent is not None for limit in policy.budget)


def budget_lines(
    policy: Policy, after: Image, summary: Summary, before_size: int | None, indexer: Indexer
) -> Iterator[BudgetLine]:
    """Yields each limit of the budget with what was measured. `before_size`: bytes of all files of the image before, None if
    they are not known. Layers are read only for limits that are about their files."""
    from ocitool.policy.budget import check
    from ocitool.policy.measures import measured, reads_layers, with_baseline

    own = [limit for limit in policy.budget if not limit.about.baseline]
    indexes = indexer.indexes(after) if reads_layers(tuple(own)) else None
    measures = measured(policy.budget, after, indexes)
    measures = with_baseline(measures, summary.size_delta, before_size, summary.transfer_bytes)
    yield from check(policy.budget, measures)


def budget_failures(lines: Iterable[BudgetLine]) -> Iterator[Failure]:
    """Yields a failure for each limit that is exceeded."""
    for line in lines:
        if line.status == "exceeded":
            yield Failure(BUDGET_RULE + line.given.name, line.limit, line.actual)
