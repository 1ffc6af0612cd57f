"""What reports say, as values: our own words, and quotes of an image, which each format escapes in its own way.

A view (`diff_view`, `inspect_view`, `dedupe_view`) is made of phrases, numbers and rows of them. It decides what is said, what
is masked and what is folded; a format decides where it stands, how quotes are escaped, and how much there is room for.
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
    """What an image, a server or a command line says: masked already, not yet escaped or shortened. `kind`: what it is, by
    which a format knows how much of it there is room for."""

    raw: str | bytes
    kind: QuoteKind


Phrase = tuple[str | Quote, ...]
"""A sentence or part of one. A `str` in it is our own text; text of an image is a `Quote`."""

UNKNOWN: Phrase = ("-",)

Row = TypeVar("Row")


class LazyRows(Generic[Row]):
    """Rows that are made one by one as a format has room for them: of a hundred thousand files few are shown. Each pass over
    them makes them again."""

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


def name(text: str) -> Quote:
    """A name that was given to something, without secrets."""
    return Quote(masking.text(text), "name")


def reference(text: str) -> Quote:
    """As it was given to us."""
    return Quote(text, "name")


def platform(platform: Platform | str) -> Quote:
    return Quote(masking.stated(platform), "platform")


def value(value: Any, name: str = "") -> Quote:
    """A value of a document, masked by the name of its key."""
    return Quote(plain(masking.value(value, name)), "value")


def plain(value: Any) -> str:
    """As JSON on one line, a string as it is."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


_HASH = pattern(r"\b((?:file|dir|multi):[0-9a-f]{12})[0-9a-f]{52}\b")
_NOISE = pattern(r"^(?:/bin/sh -c #\(nop\) +|/bin/sh -c )|(?<!\s)\s++# buildkit$")
"""What builders wrap around an instruction."""


def instruction(text: str | None) -> Phrase:
    """An instruction of the history on one line, without what builders wrap around it."""
    if not text:
        return UNKNOWN
    return (Quote(" ".join(masking.instruction(_HASH.sub(r"\1", _NOISE.sub("", text))).split()), "instruction"),)


def made_by(layer: Layer) -> Phrase:
    return instruction(layer.created_by)


# Sentences of operations


def sentence(text: str) -> Phrase:
    """A sentence of ours that may end in an instruction or quote a setting: what is not plainly ours is a quote."""
    head, after, rest = text.partition(masking.AFTER)
    if after and _HEAD.fullmatch(head):
        return (head + after, *instruction(rest))
    return (text,) if text in _SENTENCES or _REASON.fullmatch(text) else (Quote(masking.reason(text), "value"),)


_HEAD = pattern(r"(cannot be shared any more: )?built again ")
_SENTENCES = frozenset(
    prefix + reason
    for prefix in ("", "cannot be shared any more: ")
    for reason in (
        "its files changed", "its input changed", "the instruction is new", "built again with equal files",
        "the layer is gone", "stored anew",
    )
)  # fmt: skip
_REASON = pattern(
    r"stored as [a-z]+, was [a-z]+|(cannot be shared any more: )?built again because layer [0-9]+ changed"
    r"(; (its files changed|its input changed|the instruction is new|built again with equal files))?"
)
