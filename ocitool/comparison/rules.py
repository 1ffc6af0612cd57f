"""Parses and checks the rules of `--fail-on`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ocitool.byte_sizes import byte_size
from ocitool.comparison.notable_rules import GROUPS, RULES, SEVERITIES, chosen
from ocitool.comparison.result import ConfigChange, Failure, FileChange, Notable, NotCompared, PlatformDiff, Summary
from ocitool.errors import UsageError
from ocitool.patterns import pattern

_GROWTH = pattern(r"(size|transfer):\+([0-9].*)")
_PERCENT = pattern(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)%")


class FailRule(NamedTuple):
    """A rule. `what`: files, config, notable, none, size or transfer. `limit`: bytes, or per cent of the size of the before
    image. `chosen`: the rules and classes of `notable` that meet it; a rule meets it whatever the class of what it found."""

    text: str
    what: str
    limit: float
    percent: bool
    chosen: frozenset[str] = frozenset()

    def meets(self, item: Notable) -> bool:
        """Returns whether a notable change meets the rule; one that the policy accepts meets none."""
        return not item.accepted and (item.rule in self.chosen or item.severity in self.chosen)


def rule(text: str) -> FailRule:
    """Parses a rule. Raises `UsageError`."""
    if text in ("files", "config", "none"):
        return FailRule(text, text, 0, False)
    if ":" not in text or text.startswith("notable:"):
        return notable_rule(text)
    match = _GROWTH.fullmatch(text)
    percent = _PERCENT.fullmatch(match[2]) if match is not None and match[1] == "size" else None
    if match is not None and percent is not None:
        return FailRule(text, match[1], float(percent[1]), True)
    size = byte_size(match[2]) if match is not None else None
    if match is None or size is None:
        raise UsageError(f"invalid rule: {text}", hint=_HINT)
    return FailRule(text, match[1], size, False)


_HINT = (
    "files, config, notable, security, cost, names of rules (setuid,secret-env), none, size:+10MB, size:+5%, transfer:+20MiB"
)


def notable_rule(text: str) -> FailRule:
    """Parses a rule about what is notable: a list of rules and classes, or `notable`. Raises `UsageError`."""
    try:
        return FailRule(text, "notable", 0, False, chosen(text.removeprefix("notable:")))
    except ValueError as error:
        hint = "one of " + ", ".join(("notable", *SEVERITIES, *GROUPS, *sorted(RULES)))
        raise UsageError(f"invalid rule of notable: {error.args[0] or '(empty)'}", hint=hint) from None


def fired(rule: FailRule, found: Sequence[Notable]) -> tuple[tuple[str, int], ...]:
    """Returns the rules of `notable` that meet a rule, the gravest first, each with how often."""
    return tuple(Counter(item.rule for item in found if rule.meets(item)).items())


def _limit(rule: FailRule) -> int | float:
    return rule.limit if rule.percent else int(rule.limit)


def failures(
    rules: Sequence[FailRule], files: Sequence[FileChange], config: Sequence[ConfigChange], notable: Sequence[Notable],
    summary: Summary, before_size: int | None,
) -> Iterator[Failure]:  # fmt: skip
    """Yields the rules that are met. `before_size`: bytes of all files of the before image, needed for rules in per
    cent."""
    counts = {"files": len(files), "config": len(config)}
    for entry in rules:
        if entry.what == "notable":
            yield from failures_alone((entry,), notable, None)
        elif entry.what in counts:
            if counts[entry.what]:
                yield Failure(entry.text, 0, counts[entry.what])
        elif entry.percent:
            grown = 100 * summary.size_delta / before_size if before_size else float(summary.size_delta > 0) * 100
            if grown > entry.limit:
                yield Failure(entry.text, entry.limit, round(grown, 3))
        elif entry.what in ("size", "transfer"):
            actual = summary.size_delta if entry.what == "size" else summary.transfer_bytes
            if actual > entry.limit:
                yield Failure(entry.text, _limit(entry), actual)


def failures_alone(rules: Sequence[FailRule], notable: Sequence[Notable], platform: str | None) -> Iterator[Failure]:
    """Yields the rules that what is notable about one image meets. `platform`: that of the image, if there are several."""
    for entry in rules:
        if by := fired(entry, notable):
            yield Failure(entry.text, 0, sum(count for _, count in by), platform, by)


def not_compared(rules: Sequence[FailRule], others: Sequence[NotCompared]) -> Iterator[Failure]:
    """Yields the rules that images which were not compared may meet. An added image has no size to grow from; a removed one
    has nothing new."""
    for entry in rules:
        for other in others:
            if entry.what in _MET_BY[other.status]:
                yield Failure(entry.text, _limit(entry), None, str(other.platform))


_MET_BY = {
    "changed": frozenset({"files", "config", "notable", "size", "transfer"}),
    "added": frozenset({"files", "config", "notable"}),
    "removed": frozenset({"files", "config"}),
}


def of_indexes(
    rules: Sequence[FailRule], entries: Sequence[PlatformDiff], changes: Sequence[ConfigChange]
) -> Iterator[Failure]:
    """Yields the rules that two indexes meet apart from their compared images: by changes of the documents, and by added,
    removed and missing images."""
    for entry in rules:
        if entry.what == "config" and changes:
            yield Failure(entry.text, 0, len(changes))
        for one in entries:
            if one.status != "both" and entry.what in ("files", "config"):
                yield Failure(entry.text, 0, 1, str(one.platform))
            elif one.status == "added" and entry.what == "notable":
                yield from failures_alone((entry,), one.notable, str(one.platform))
            elif one.status == "both" and one.diff is None and one.before != one.after:
                yield from not_compared((entry,), (NotCompared(one.platform, "changed", one.before, one.after),))
