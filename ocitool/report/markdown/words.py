"""What stands on a page in words: all that is of an image escaped, masked and shortened."""

from __future__ import annotations

import json
from typing import Any

from ocitool import masking
from ocitool.images.image import Layer
from ocitool.patterns import pattern
from ocitool.report import escape
from ocitool.report.escape import cell, clip, code, shown
from ocitool.spec.manifest import Platform

_PATH, _INSTRUCTION, _VALUE = 300, 100, 200

_NOP = pattern(r"^/bin/sh -c #\(nop\) +")
_INPUT = pattern(r"\b((?:file|dir|multi):[0-9a-f]{12})[0-9a-f]{52}\b")
_HEAD = pattern(r"(cannot be shared any more: )?built again ")


def plural(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def clipped(text: str | bytes, length: int) -> str:
    """Escaped, then shortened: what is escaped once stays as it is."""
    return clip(shown(text[: length + 1]), length) if len(text) > length else clip(shown(text), length)


def path_text(path: bytes) -> str:
    return clipped(b"/" + path, _PATH)


def short(text: str) -> str:
    return clipped(text, _VALUE)


def instruction(text: str) -> str:
    plain = _NOP.sub("", masking.instruction(text[:20_000]))
    return clipped(_INPUT.sub(r"\1…", plain), _INSTRUCTION)


def made_by(layer: Layer) -> str:
    return cell(instruction(layer.created_by)) if layer.created_by is not None else "unknown"


def platform_text(platform: Platform, span: Any = code) -> str:
    return str(span(short(masking.stated(platform))))


def sentence(text: str, span: Any = code) -> str:
    """A sentence of ours, that may end in an instruction or quote a setting: what is not plainly ours is code."""
    head, after, rest = text.partition(masking.AFTER)
    if after and _HEAD.fullmatch(head):
        return f"{head}{after}{span(instruction(rest))}"
    return text if text in _SENTENCES or _REASON.fullmatch(text) else str(span(short(masking.text(text))))


_SENTENCES = frozenset(
    prefix + reason
    for prefix in ("", "cannot be shared any more: ")
    for reason in (
        "its files changed", "its input changed", "the instruction is new", "built again with equal files",
        "the layer is gone",
    )
)  # fmt: skip
_REASON = pattern(
    r"(cannot be shared any more: )?built again because layer [0-9]+ changed"
    r"(; (its files changed|its input changed|the instruction is new|built again with equal files))?"
)


def value_text(value: Any, name: str = "") -> str:
    """As JSON, a string as it is; masked by the name that it stands under."""
    return plain_text(masking.value(value, name))


def plain_text(value: Any) -> str:
    """As JSON, a string as it is."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def apart(before: str, after: str) -> tuple[str, str]:
    """Two values, escaped, and shortened so that it can be seen that they differ."""
    return escape.apart(shown(before), shown(after), _VALUE)
