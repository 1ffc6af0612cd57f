"""Phrases on a page: what is ours as it is, what is quoted in code spans, escaped and shortened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ocitool import masking
from ocitool.images.image import Layer
from ocitool.report import escape, phrases
from ocitool.report.escape import cell, clip, code, shown
from ocitool.report.phrases import Phrase, Quote, QuoteKind
from ocitool.spec.manifest import Platform

_LENGTHS: dict[QuoteKind, int] = {
    "path": 300, "target": 100, "instruction": 100, "value": 200, "platform": 200, "name": 200, "message": 400,
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


def plural(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def clipped(text: str | bytes, length: int) -> str:
    """Escaped, then shortened: what is escaped once stays as it is."""
    return clip(shown(text[: length + 1]), length) if len(text) > length else clip(shown(text), length)


def path_text(path: bytes) -> str:
    return clipped(b"/" + path, 300)


def short(text: str) -> str:
    return clipped(text, 200)


def instruction(text: str | None) -> str:
    return "".join(one if isinstance(one, str) else _clipped(one) for one in phrases.instruction(text))


def made_by(layer: Layer) -> str:
    return said(phrases.made_by(layer), cell)


def platform_text(platform: Platform, span: Callable[[str], str] = code) -> str:
    return said((phrases.platform(platform),), span)


def value_text(value: Any, name: str = "") -> str:
    """As JSON, a string as it is; masked by the name that it stands under."""
    return phrases.plain(masking.value(value, name))
