"""Masks secrets in the documents of an image for all reports. Secrets are recognised by names, by their position in
commands, and by the form of tokens.

The same functions serve text, Markdown and JSON. What a reviewer must see stays visible: in a command line only the secret
word itself is masked. `revealed` turns masking off (`--show-secrets`).

`worth` decides whether a value can hold a secret at all; only then the other modules are imported. `names` knows the names
of secrets, `commands` the options and arguments of commands that are secrets; `search` finds secrets in any text, `lines`
and `words` in shell commands, `values` in the values of documents, `files` in paths and contents of files.
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
    """Turns masking off in its block, if `on`."""
    if not on:
        return nullcontext()
    from ocitool.masking import values

    return values.revealed()


def variable(name: str, value: str) -> str:
    """Returns the value of a variable or label, masked by its name."""
    if not may_hold(value, name):
        return value
    from ocitool.masking import values

    return values.variable(name, value)


def text(text: str) -> str:
    """Returns a text of any kind, masked."""
    if not may_hold(text):
        return text
    from ocitool.masking import values

    return values.text(text)


def stated(value: object) -> str:
    """Returns free text of a document, such as a platform, masked."""
    return text(str(value))


def instruction(line: str) -> str:
    """Returns an instruction of a history, masked. The last ones are cached, since reports show them with each file."""
    if not _worth(line):
        return line
    from ocitool.masking import values

    return values.instruction(line)


_worth = lru_cache(64)(worth)


def reason(sentence: str) -> str:
    """Returns one of ocitool's sentences, which may end in an instruction, masked."""
    head, after, rest = sentence.partition(AFTER)
    return f"{head}{after}{instruction(rest)}" if after else text(sentence)


def addresses(text: str) -> str:
    """Returns one of ocitool's sentences with passwords and signatures in URLs masked, even within `revealed`."""
    if "://" not in text:
        return text
    from ocitool.masking.lines import MASK
    from ocitool.masking.search import hide_urls

    return hide_urls(text, lambda _: MASK)


def value(value: Any, name: str = "") -> Any:
    """Returns a JSON value of a document, masked. `name`: the name of its key."""
    if not may_hold(value, name):
        return value
    from ocitool.masking import values

    return values.value(value, name)


def changed_secret(before: Any, after: Any, name: str = "") -> bool:
    """Returns whether two values differ in masked parts, or differ but look the same when masked."""
    if not (may_hold(before, name) or may_hold(after)):
        return False
    from ocitool.masking import values

    return values.changed_secret(before, after, name)


def hidden(value: Any, name: str = "") -> list[str]:
    """Returns the masked parts of a value of a document, in order."""
    if not may_hold(value, name):
        return []
    from ocitool.masking.lines import Masker
    from ocitool.masking.values import masked

    masker = Masker()
    masked(masker, value, name)
    return masker.hidden
