"""What a `diff` report says about the inside of changed files, for every format."""

from __future__ import annotations

from typing import NamedTuple

from ocitool.comparison.inside.values import FileInside, InnerChange, InnerFact, Insides
from ocitool.report.escape import human, signed
from ocitool.report.phrases import LazyRows, Phrase, Quote, count_of, joined, masked_quote, path, value_quote

_FILES, _LINES = 3, 5
"""Files that are shown, and lines for each of them, unless all was asked for."""

_ALL_FILES, _ALL_LINES = 50, 30
"""The same if it was."""


class InsideLine(NamedTuple):
    """A fact or a part that changed."""

    kind: str
    what: Phrase


class InsideRow(NamedTuple):
    """A file: its format and what changed in it, in short and by line. `more`: how many lines are left out, empty if none."""

    path: Quote
    summary: Phrase
    lines: tuple[InsideLine, ...]
    more: str


class InsideView(NamedTuple):
    """The files, the largest first. `rest`: what is not shown, or was not looked into; empty if nothing. `thorough`: it was
    asked for."""

    rows: LazyRows[InsideRow]
    rest: tuple[str, ...]
    thorough: bool


def inside_view(insides: Insides) -> InsideView:
    """Returns the report. Without `thorough` it is short, and leaves out files of which nothing can be said."""
    files = [(name, one) for name, one in insides.files.items() if insides.thorough or one.facts or one.parts or one.same]
    most, lines = (_ALL_FILES, _ALL_LINES) if insides.thorough else (_FILES, _LINES)
    rest = []
    if len(files) > most:
        hint = "--format json has all" if insides.thorough else "--inside shows more"
        rest.append(f"and the inside of {count_of(len(files) - most, 'more file')}: {hint}")
    if insides.left_out and insides.thorough:
        rest.append(f"{count_of(insides.left_out, 'changed file')} not looked into: too many, or too large")
    elif insides.left_out and files:
        rest.append(f"{count_of(insides.left_out, 'changed file')} not looked into: --inside does")
    return InsideView(LazyRows(files[:most], lambda item: _row(item[0], item[1], lines)), tuple(rest), insides.thorough)


def _row(name: bytes, inside: FileInside, most: int) -> InsideRow:
    lines = [_fact(one) for one in inside.facts] + [_part(one) for one in inside.parts]
    total = len(inside.facts) + inside.added + inside.removed + inside.modified
    more = total - min(len(lines), most)
    return InsideRow(path(name), _summary(inside), tuple(lines[:most]), f"{more:,} more" if more else "")


def _summary(inside: FileInside) -> Phrase:
    counts = [(inside.added, "added"), (inside.removed, "removed"), (inside.modified, "changed")]
    told: list[Phrase] = []
    if any(number for number, _ in counts):
        word = inside.word if sum(number for number, _ in counts) == 1 else f"{inside.word}s"
        told.append((f"{word}: " + ", ".join(f"{number:,} {kind}" for number, kind in counts if number),))
    if inside.same:
        told.append((inside.same,))
    if inside.note:
        told.append(("not compared: ", Quote(inside.note, "message")))
    return (inside.format, *((", ", *joined(told, "; ")) if told else ()))


def _fact(fact: InnerFact) -> InsideLine:
    kind = "added" if fact.before is None else "removed" if fact.after is None else "modified"
    values = [
        (value_quote(value, fact.name),) if value else ("none",) for value in (fact.before, fact.after) if value is not None
    ]
    return InsideLine(kind, (masked_quote(fact.name), ": ", *joined(values, " -> ")))


def _part(part: InnerChange) -> InsideLine:
    before, after = part.before, part.after
    if before is None or after is None:
        sizes = human(after or before or 0)
    elif before == after:
        sizes = f"{human(after)}, other content"
    else:
        alike = human(before) == human(after)
        sizes = f"{human(after)} ({signed(after - before)})" if alike else f"{human(before)} -> {human(after)}"
    return InsideLine(part.kind, (Quote(part.name, "path"), f" {sizes}"))
