"""Secrets in what an image says of itself: found by names, by places and by the look of tokens, and hidden in every report.

One set of functions for text, Markdown and JSON. Nothing is hidden that a reviewer must see: of a command line only
the secret's own word goes. `revealed` turns all of it off (`--show-secrets`).

A value that can hold no secret (`may_hold`) is given back at once: reading command lines is loaded when there is one to read.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

from ocitool.masking.worth import AFTER, may_hold, worth

__all__ = [
    "AFTER", "addresses", "changed_secret", "hidden", "instruction", "reason", "revealed", "stated", "text", "value",
    "variable",
]  # fmt: skip


def revealed(on: bool = True) -> AbstractContextManager[None]:
    """Reports that are drawn inside show secrets as they are."""
    if not on:
        return nullcontext()
    from ocitool.masking import values

    return values.revealed()


def variable(name: str, value: str) -> str:
    """The value of a variable, label or the like."""
    if not may_hold(value, name):
        return value
    from ocitool.masking import values

    return values.variable(name, value)


def text(text: str) -> str:
    """A text of any kind."""
    if not may_hold(text):
        return text
    from ocitool.masking import values

    return values.text(text)


def stated(value: object) -> str:
    """As `text`, what a document states of itself in free words, as its platform."""
    return text(str(value))


def instruction(line: str) -> str:
    """An instruction of a history, as builders write it. The last few are remembered: reports show one with each file."""
    if not _worth(line):
        return line
    from ocitool.masking import values

    return values.instruction(line)


_worth = lru_cache(64)(worth)


def reason(sentence: str) -> str:
    """A sentence of ours that may end in an instruction."""
    head, after, rest = sentence.partition(AFTER)
    return f"{head}{after}{instruction(rest)}" if after else text(sentence)


def addresses(text: str) -> str:
    """A sentence of ours without the passwords and signatures of the addresses that it names, whatever is revealed."""
    if "://" not in text:
        return text
    from ocitool.masking.lines import MASK
    from ocitool.masking.search import hide_urls

    return hide_urls(text, lambda _: MASK)


def value(value: Any, name: str = "") -> Any:
    """A value of a document, by the name that it stands under: the JSON value that is shown in its place."""
    if not may_hold(value, name):
        return value
    from ocitool.masking import values

    return values.value(value, name)


def changed_secret(before: Any, after: Any, name: str = "") -> bool:
    """Whether of two values that are shown something differs in what is hidden of both, or they differ and look the same."""
    if not (may_hold(before, name) or may_hold(after)):
        return False
    from ocitool.masking import values

    return values.changed_secret(before, after, name)


def hidden(value: Any, name: str = "") -> list[str]:
    """What of a value of a document is hidden, in its order."""
    if not may_hold(value, name):
        return []
    from ocitool.masking.lines import Masker
    from ocitool.masking.values import masked

    masker = Masker()
    masked(masker, value, name)
    return masker.hidden
