"""Renders phrases as Markdown: ocitool's own text as it is, quotes escaped, cut and in code spans."""

from __future__ import annotations

from collections.abc import Callable

from ocitool.report import escape
from ocitool.report.escape import cell, clip, code, shown
from ocitool.report.phrases import Phrase, Quote, QuoteKind

_LENGTHS: dict[QuoteKind, int] = {
    "path": 300, "target": 100, "instruction": 100, "value": 200, "platform": 200, "name": 200, "message": 400,
    "command": 2_000,
}  # fmt: skip
"""The length to which a quote is cut, in characters."""


def rendered(phrase: Phrase, span: Callable[[str], str] = code) -> str:
    """Returns the phrase with its quotes in code spans. `span` makes a code span; in tables it must be `cell`."""
    return "".join(one if isinstance(one, str) else span(_clipped(one)) for one in phrase)


def _clipped(quote: Quote) -> str:
    """Returns the quote escaped and then cut; the span that it goes into leaves escaped text as it is."""
    text, length = quote.raw, _LENGTHS[quote.kind]
    return clip(shown(text[: length + 1]) if len(text) > length else shown(text), length)


def before_and_after(before: Quote | None, after: Quote | None) -> tuple[str, str]:
    """Returns two cells of a table, cut such that the difference stays visible."""
    if before is None or after is None:
        texts = [rendered((one,), cell) if one is not None else "—" for one in (before, after)]
        return texts[0], texts[1]
    cut = escape.clip_difference(shown(before.raw), shown(after.raw), _LENGTHS[after.kind])
    return cell(cut[0]), cell(cut[1])


def titled(text: str) -> str:
    """Returns a heading in bold. The text must not come from an image."""
    return f"**{text[:1].upper()}{text[1:]}**"
