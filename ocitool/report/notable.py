"""Notable changes as rows: what one step did to many files of a directory is one row, and rows above a number per rule are
only counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ocitool.comparison.notable_rules import RULES, SEVERITIES, Severity
from ocitool.comparison.policies import BUDGET_RULE
from ocitool.comparison.result import Failure, Notable, Quoted
from ocitool.masking.files import secret_path
from ocitool.report.escape import human
from ocitool.report.phrases import Phrase, Quote, exact_quote, made_by, path, platform_quote, sentence
from ocitool.report.sides import pointer_text

_PER_RULE = 15
_INFO = 8
"""Most rows of what ordinary updates bring too."""
_FOLDED = 3
"""Files that one row stands for, at least."""
_NAMED = 3
"""Most files that such a row names."""


class NotableRow(NamedTuple):
    """A notable change. `place`: a path or JSON pointer, empty if the change concerns a layer as a whole; with a slash at
    its end it stands for several files in a directory. `made_by`: the instruction of the layer. `more`: the row only counts
    others, of all rules of the class if `rule` is empty."""

    severity: Severity
    rule: str
    place: Phrase
    layer: int | None
    made_by: Phrase
    text: Phrase
    more: bool = False


class FailureRow(NamedTuple):
    """A rule of `--fail-on` that is met. `of`: the platform, empty if one image was compared with one image."""

    rule: Phrase
    of: Phrase
    met: Phrase


Group = Sequence[Notable]


def notable_rows(notable: Sequence[Notable]) -> Iterator[NotableRow]:
    """Yields the rows by class, costs by their bytes, others in the order of `RULES`; at most `_PER_RULE` for each rule of a
    class, and `_INFO` of the class `info`."""
    by_rule: dict[tuple[Severity, str], list[Notable]] = {}
    for item in notable:
        if not item.accepted:
            by_rule.setdefault((item.severity, item.rule), []).append(item)
    room, left = _INFO, 0
    for items in sorted(by_rule.values(), key=_weight):
        severity, rule = items[0].severity, items[0].rule
        groups = _groups(items)
        shown = groups[: room if severity == "info" else _PER_RULE]
        yield from map(_row, shown)
        rest = groups[len(shown) :]
        if severity == "info":
            room -= len(shown)
            left += sum(map(len, rest))
        elif rest:
            yield NotableRow(severity, rule, (), None, (), (_counted(sum(map(len, rest)), rest),), True)
    if left:
        yield NotableRow("info", "", (), None, (), (_counted(left, ()),), True)


def accepted(notable: Sequence[Notable]) -> Phrase:
    """Returns how many changes the policy accepts, by rule; empty if it accepts none."""
    counts = Counter(item.rule for item in notable if item.accepted)
    listed = ", ".join(f"{rule} {count:,}" for rule, count in sorted(counts.items(), key=lambda pair: _ORDER.get(pair[0], 0)))
    return (f"accepted by the policy: {listed}",) if listed else ()


_ORDER = {rule: position for position, rule in enumerate(RULES)}


def _weight(items: Group) -> tuple[int, int, int]:
    """Returns the place of the changes by one rule among the others."""
    size = _size(items) if items[0].severity == "cost" else 0
    return SEVERITIES.index(items[0].severity), -size, _ORDER.get(items[0].rule, len(_ORDER))


def _groups(items: Group) -> list[Group]:
    """Returns the changes that one row stands for each: what one layer did alike to files of one directory, or to all that was
    deleted with one directory; with too many directories, those below the same two. A path that looks secret is always a
    row by itself. Secrets come first, then the groups of most bytes."""
    for depth in (None, 2, 1):
        found = _grouped(items, depth)
        if len(found) <= _PER_RULE:
            break
    return sorted(found, key=lambda group: (not _is_secret(group[0]), -_size(group)))


def _grouped(items: Group, depth: int | None) -> list[Group]:
    together: dict[object, list[Notable]] = {}
    for number, item in enumerate(items):
        together.setdefault(_key(item, depth) or number, []).append(item)
    found: list[Group] = []
    for group in together.values():
        found += [group] if len(group) >= _FOLDED or group[0].path is None else [[one] for one in group]
    return found


def _key(item: Notable, depth: int | None) -> object | None:
    """Returns what the changes of one row have in common; None for a change that is always a row by itself."""
    if item.pointer is not None or _is_secret(item):
        return None
    if item.path is None:
        return item.said
    if item.acceptance is not None:  # one whose entry has ended says so
        return None
    said = item.said if item.holder is None else (item.text.partition(",")[0], str(item.holder.number))
    return item.layer and item.layer.number, _directory(item, depth), said


def _is_secret(item: Notable) -> bool:
    return item.rule.startswith("secret-") or (item.path is not None and secret_path(item.path))


def _directory(item: Notable, depth: int | None) -> bytes:
    """Returns the directory that a file was deleted with, else its parent directory; of it the first `depth` parts."""
    path = item.path or b""
    directory = path.rpartition(b"/")[0] if item.top in (None, path) else item.top or b""
    return directory if depth is None else b"/".join(directory.split(b"/")[:depth])


def _size(items: Group) -> int:
    return sum(item.size for item in items)


def _row(group: Group) -> NotableRow:
    item = group[0]
    number, made = (item.layer.number, made_by(item.layer)) if item.layer is not None else (None, ())
    if item.path is None and item.pointer is None and item.size:
        return _layers(group)
    if len(group) == 1:
        return NotableRow(item.severity, item.rule, _where(item), number, made, (*said(item.said), *_ended(item)))
    directory = _common([_directory(one, None) for one in group])
    place = (path(directory + b"/" if directory else b""),)
    if item.holder is not None:
        verb = item.text.partition(",")[0]
        summary = f"{len(group):,} files {verb}, but their {human(_size(group))} still ship in layer {item.holder.number}"
        return NotableRow(item.severity, item.rule, place, number, made, (summary,))
    names: list[str | Quote] = []
    for one in group[:_NAMED]:
        assert one.path is not None
        names += [", " if names else ": ", Quote(one.path[len(directory) :].lstrip(b"/"), "path")]
    more = " and others" if len(group) > _NAMED else ""
    return NotableRow(
        item.severity, item.rule, place, number, made, (f"{len(group):,} files: ", *said(item.said), *names, more)
    )


def _ended(item: Notable) -> Phrase:
    """Returns that an entry of the policy accepted the change, if its last day has passed."""
    if item.acceptance is None or not item.acceptance.ended or item.acceptance.entry.until is None:
        return ()
    return (
        f" (was accepted until {item.acceptance.entry.until.isoformat()}: ",
        Quote(item.acceptance.entry.reason, "value"),
        ")",
    )


def _layers(group: Group) -> NotableRow:
    """Returns one row for layers of which the same is to be said."""
    item = group[0]
    assert item.layer is not None
    again = f" ({human(_size(group))} stored again)"
    if len(group) == 1:
        return NotableRow(item.severity, item.rule, (), item.layer.number, made_by(item.layer), (*said(item.said), again))
    return NotableRow(item.severity, item.rule, (), None, (), (f"{len(group)} layers ", *said(item.said), again))


def _common(directories: Sequence[bytes]) -> bytes:
    """Returns the deepest directory that has all of these below it."""
    first, last = min(directories).split(b"/"), max(directories).split(b"/")
    same = next(
        (n for n, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), min(len(first), len(last))
    )
    return b"/".join(first[:same])


def _where(item: Notable) -> Phrase:
    if item.path is not None:
        return (path(item.path),)
    return (Quote(pointer_text(item.pointer), "value"),) if item.pointer is not None else ()


def said(parts: Sequence[str]) -> Phrase:
    """Returns a sentence of a rule as a phrase: what comes from the image is masked and quoted."""
    found: list[str | Quote] = []
    for part in parts:
        found += sentence(part) if isinstance(part, Quoted) else [part]
    return tuple(found)


def _counted(count: int, groups: Sequence[Group]) -> str:
    size = sum(map(_size, groups))
    return f"{count:,} more" + (f", {human(size)}" if size else "") + " (--format json lists all)"


# Rules of --fail-on


def failure_row(failure: Failure) -> FailureRow:
    """Returns a rule of `--fail-on` that is met as a row."""
    of: Phrase = (platform_quote(failure.platform),) if failure.platform is not None else ()
    if failure.actual is None:
        return FailureRow((exact_quote(failure.rule),), of, ("not compared",))
    actual, limit = _amount(failure.rule, failure.actual), _amount(failure.rule, failure.limit)
    if actual == limit:  # of sizes, which are rounded
        actual, limit = (_amount("", side) for side in (failure.actual, failure.limit))
    by = ", ".join(f"{rule} {count:,}" if count > 1 else rule for rule, count in failure.fired)
    return FailureRow((exact_quote(failure.rule),), of, (*actual, " (limit ", *limit, ")" + (f" by {by}" if by else "")))


def _amount(rule: str, value: int | float | str | None) -> Phrase:
    if rule.startswith(BUDGET_RULE) and not isinstance(value, str):
        from ocitool.report.budget_view import amount, unit_of

        return (amount(value, unit_of(rule.removeprefix(BUDGET_RULE))),)
    if isinstance(value, str):
        return (Quote(value, "value"),)
    if value is None:
        return ("none",)
    if rule.endswith("%"):
        return (f"{value:g}%",)
    return (human(int(value)) if rule.startswith(("size:", "transfer:")) else f"{value:,}",)
