"""Sentences of reports as values: ocitool's own text, and quotes of an image, which each format escapes in its own way.

A view (`diff_view`, `inspect_view`, `dedupe_view`) consists of phrases, numbers and rows of them. The view decides the
wording, what is masked and what is folded; a format decides the layout, how quotes are escaped, and to what length they are
cut.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from ocitool import masking
from ocitool.images.image import Layer
from ocitool.patterns import pattern
from ocitool.spec.manifest import Platform

QuoteKind = Literal["path", "target", "instruction", "value", "platform", "name", "message", "command"]


class Quote(NamedTuple):
    """Text of an image, a server or a command line: masked already, not yet escaped or cut. A format cuts it to a length
    that depends on `kind`."""

    raw: str | bytes
    kind: QuoteKind


Phrase = tuple[str | Quote, ...]
"""A sentence or part of one. A `str` in it is ocitool's own text; text of an image is a `Quote`."""

UNKNOWN: Phrase = ("-",)

Row = TypeVar("Row")


class LazyRows(Generic[Row]):
    """Rows that are made one by one, only as far as a format has room: of a hundred thousand files few are shown. Each
    iteration makes them again."""

    __slots__ = ("_items", "_make")

    def __init__(self, items: Sequence[Any], make: Callable[[Any], Row]) -> None:
        self._items = items
        self._make = make

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Row]:
        return map(self._make, self._items)

    def first(self, count: int) -> Iterator[Row]:
        return islice(self, count)


def count_of(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def joined(phrases: Iterable[Phrase], between: str) -> Phrase:
    found: list[str | Quote] = []
    for phrase in phrases:
        if found:
            found.append(between)
        found += phrase
    return tuple(found)


# Quotes


def path(path: bytes) -> Quote:
    return Quote(b"/" + path, "path")


def masked_quote(text: str) -> Quote:
    """Returns a name in a document as a quote, with secrets masked."""
    return Quote(masking.text(text), "name")


def exact_quote(text: str) -> Quote:
    """Returns a reference, digest or rule as a quote, unmasked: the user typed it, or it holds no free text."""
    return Quote(text, "name")


def platform_quote(platform: Platform | str) -> Quote:
    return Quote(masking.stated(platform), "platform")


def value_quote(value: Any, name: str = "") -> Quote:
    """Returns a value of a document as a quote. `name`, the name of its key, decides what is masked."""
    return Quote(plain(masking.value(value, name)), "value")


def plain(value: Any) -> str:
    """Returns a string as it is, any other value as JSON on one line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


_HASH = pattern(r"\b((?:file|dir|multi):[0-9a-f]{12})[0-9a-f]{52}\b")
_NOISE = pattern(r"^(?:/bin/sh -c #\(nop\) +|/bin/sh -c )|(?<!\s)\s++# buildkit$")
"""What builders put around an instruction in `created_by`."""


def instruction(text: str | None) -> Phrase:
    """Returns `created_by` of a history entry on one line, masked, without what builders put around the instruction."""
    if not text:
        return UNKNOWN
    return (Quote(" ".join(masking.instruction(_HASH.sub(r"\1", _NOISE.sub("", text))).split()), "instruction"),)


def made_by(layer: Layer) -> Phrase:
    return instruction(layer.created_by)


# Sentences of operations


def sentence(text: str) -> Phrase:
    """Returns a sentence that an operation wrote, and that may quote an instruction or setting: all but the known texts is
    a quote."""
    head, after, rest = text.partition(masking.AFTER)
    if after and _HEAD.fullmatch(head):
        return (head + after, *instruction(rest))
    return (text,) if text in _SENTENCES or _REASON.fullmatch(text) else (Quote(masking.reason(text), "value"),)


_HEAD = pattern(r"built again ")
_SENTENCES = frozenset((
    "its files changed", "its input changed", "the instruction is new", "built again with equal files", "the layer is gone",
    "stored anew",
))  # fmt: skip
_REASON = pattern(
    r"stored as [a-z]+, was [a-z]+|built again because layer [0-9]+ changed"
    r"(; (its files changed|its input changed|the instruction is new|built again with equal files))?"
)
