"""Notable changes as rows: what one step did to many files is one row, and rows above a number per rule are only
counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ocitool.comparison.notable import RULES
from ocitool.comparison.result import Notable
from ocitool.masking.files import secret_path
from ocitool.report.escape import human
from ocitool.report.phrases import Phrase, Quote, made_by, path, sentence
from ocitool.report.sides import pointer_text

_PER_RULE = 15


class NotableRow(NamedTuple):
    """A notable change. `place`: a path or JSON pointer, empty if the change concerns a layer as a whole; with a slash at
    its end it stands for all files that were in a directory. `made_by`: the instruction of the layer. `more`: the row only
    counts others."""

    rule: str
    place: Phrase
    layer: int | None
    made_by: Phrase
    text: Phrase
    more: bool = False


_NO_QUOTES = frozenset(RULES) - {"user-root", "port", "volume", "unshared-layer", "interpreter", "package-file-changed"}
"""Rules whose sentences contain no text of an image."""


def notable_rows(notable: Sequence[Notable]) -> Iterator[NotableRow]:
    """Yields the rows in the order of `RULES`, gravest first, at most `_PER_RULE` for each rule."""
    by_rule: dict[str, list[Notable]] = {}
    for item in notable:
        by_rule.setdefault(item.rule, []).append(item)
    order = {rule: position for position, rule in enumerate(RULES)}
    for rule in sorted(by_rule, key=lambda rule: order.get(rule, len(order))):
        groups = _groups(by_rule[rule])
        for group in groups[:_PER_RULE]:
            yield _row(group)
        rest = groups[_PER_RULE:]
        if rest:
            yield NotableRow(rule, (), None, (), (_counted(sum(map(len, rest)), rest),), True)


def _groups(items: Sequence[Notable]) -> list[list[Notable]]:
    """Groups the files that one layer deleted with one directory, or from one directory; every other change, and every path
    that looks secret, is a group by itself. Secrets come first, then the groups of most bytes."""
    together: dict[object, list[Notable]] = {}
    for number, item in enumerate(items):
        if item.path is None or item.layer is None or item.holder is None or secret_path(item.path):
            key: object = number
        else:
            key = (item.layer.number, item.holder.number, _place(item), item.text.partition(",")[0])
        together.setdefault(key, []).append(item)
    return sorted(together.values(), key=lambda group: (not _secret(group), -sum(item.size for item in group)))


def _secret(group: Sequence[Notable]) -> bool:
    return group[0].path is not None and secret_path(group[0].path)


def _place(item: Notable) -> bytes:
    """Returns the directory that a file was deleted with, else its parent directory."""
    path = item.path or b""
    return path.rpartition(b"/")[0] if item.top in (None, path) else item.top or b""


def _row(group: Sequence[Notable]) -> NotableRow:
    item = group[0]
    number, made = (item.layer.number, made_by(item.layer)) if item.layer is not None else (None, ())
    if len(group) == 1 or item.holder is None:
        text: Phrase = (item.text,) if item.rule in _NO_QUOTES else sentence(item.text)
        return NotableRow(item.rule, _where(item), number, made, text)
    place = _place(item)
    size = sum(one.size for one in group)
    verb = item.text.partition(",")[0]
    summary = f"{len(group):,} files {verb}, but their {human(size)} still ship in layer {item.holder.number}"
    return NotableRow(item.rule, (path(place + b"/" if place else b""),), number, made, (summary,))


def _where(item: Notable) -> Phrase:
    if item.path is not None:
        return (path(item.path),)
    return (Quote(pointer_text(item.pointer), "value"),) if item.pointer is not None else ()


def _counted(count: int, groups: Sequence[Sequence[Notable]]) -> str:
    size = sum(item.size for group in groups for item in group)
    return f"{count:,} more" + (f", {human(size)}" if size else "") + " (--format json lists all)"
