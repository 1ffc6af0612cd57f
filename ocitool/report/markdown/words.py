"""Phrases on a page: what is ours as it is, what is quoted in code spans, escaped and shortened."""

from __future__ import annotations

from collections.abc import Callable

from ocitool.report import escape
from ocitool.report.escape import cell, clip, code, shown
from ocitool.report.phrases import Phrase, Quote, QuoteKind

_LENGTHS: dict[QuoteKind, int] = {
    "path": 300, "target": 100, "instruction": 100, "value": 200, "platform": 200, "name": 200, "message": 400,
    "command": 2_000,
}  # fmt: skip
"""Characters of a quote that there is room for."""


def said(phrase: Phrase, span: Callable[[str], str] = code) -> str:
    """With its quotes in code spans. `span`: those of a table are `cell`."""
    return "".join(one if isinstance(one, str) else span(_clipped(one)) for one in phrase)


def _clipped(quote: Quote) -> str:
    """Escaped, then shortened: what is escaped once stays as it is."""
    text, length = quote.raw, _LENGTHS[quote.kind]
    return clip(shown(text[: length + 1]) if len(text) > length else shown(text), length)


def both(before: Quote | None, after: Quote | None) -> tuple[str, str]:
    """Two cells of a table, cut so that it can be seen that they differ."""
    if before is None or after is None:
        texts = [said((one,), cell) if one is not None else "—" for one in (before, after)]
        return texts[0], texts[1]
    cut = escape.apart(shown(before.raw), shown(after.raw), _LENGTHS[after.kind])
    return cell(cut[0]), cell(cut[1])


def titled(words: str) -> str:
    """A title in our own words."""
    return f"**{words[:1].upper()}{words[1:]}**"
