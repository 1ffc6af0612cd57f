"""The content of a report on a budget, for every format."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from ocitool.policy.budget import DIVE_KEYS, KEYS, BudgetLine, Status, Unit
from ocitool.report.escape import human
from ocitool.report.phrases import Phrase, Quote, count_of, exact_quote

if TYPE_CHECKING:
    from ocitool.operations.budget import BudgetReport


class LimitRow(NamedTuple):
    """A limit. `actual`, `limit`: amounts with their unit; `note`: why it was not checked, or what an update did."""

    name: Phrase
    actual: str
    limit: str
    status: Status
    note: Phrase


class BudgetView(NamedTuple):
    """The report. `verdict`: the first line."""

    verdict: Phrase
    kept: bool
    rows: tuple[LimitRow, ...]


def budget_view(result: BudgetReport) -> BudgetView:
    """Returns the report on a budget."""
    over = sum(line.status == "exceeded" for line in result.lines)
    unchecked = sum(line.status == "not-checked" for line in result.lines)
    checked = len(result.lines) - unchecked
    found = f"{over} of {count_of(checked, 'limit')} exceeded" if over else f"{count_of(checked, 'limit')} kept"
    rest = f", {unchecked} not checked" if unchecked else ""
    verdict: Phrase = (exact_quote(result.reference), f": {found}{rest} (", exact_quote(result.policy), ")")
    return BudgetView(verdict, result.kept, tuple(_rows(result)))


def _rows(result: BudgetReport) -> Iterator[LimitRow]:
    written = {one.name: one for one in result.updated or ()}
    for line in result.lines:
        given = line.given
        name: Phrase = (given.key,) if given.glob is None else (given.key + " ", Quote(given.glob, "value"))
        note: Phrase = ()
        if line.status == "not-checked":
            note = ("needs --against",) if given.about.baseline else ("not measured",)
        elif (change := written.get(given.name)) is not None:
            note = ("new",) if change.before is None else ("was ", Quote(change.before, "value"))
        yield LimitRow(name, amount(line.actual, given.about.unit), bound(line), line.status, note)


def amount(value: int | float | None, unit: Unit) -> str:
    """Returns a measured value or a limit with its unit."""
    if value is None:
        return "-"
    if unit == "ratio":
        return f"{value:.3f}"
    return human(int(value)) if unit == "bytes" else f"{value:,}"


def unit_of(name: str) -> Unit:
    """Returns the unit of a limit by its name (`Limit.name`)."""
    key = name.partition(" ")[0]
    found = KEYS.get(key) or DIVE_KEYS.get(key)
    return found.unit if found is not None else "bytes"


def bound(line: BudgetLine) -> str:
    """Returns what a value must not pass."""
    given = line.given
    if given.least is not None:
        return f"at least {amount(given.least, given.about.unit)}"
    if given.percent is None:
        return f"at most {amount(line.limit, given.about.unit)}"
    share = f"{given.percent:g}%, or {human(int(given.most))}"
    return f"at most {share}" if line.limit is None else f"at most {amount(line.limit, given.about.unit)} ({share})"
