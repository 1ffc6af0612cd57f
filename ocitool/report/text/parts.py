"""What the text reports share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ocitool import masking
from ocitool.patterns import pattern
from ocitool.report.escape import clip, shown

INSTRUCTION = 100
"""Characters of an instruction that a line shows."""
_HASH = pattern(r"\b((?:file|dir|multi):[0-9a-f]{12})[0-9a-f]{52}\b")
_NOISE = pattern(r"^(?:/bin/sh -c #\(nop\) +|/bin/sh -c )|(?<!\s)\s++# buildkit$")


class Paint:
    """ANSI colours, or none."""

    def __init__(self, on: bool) -> None:
        self._on = on

    def __call__(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._on else text

    def bold(self, text: str) -> str:
        return self(text, "1")


def columns(rows: Sequence[Sequence[str]], right: Iterable[int] = (), indent: str = "  ") -> Iterator[str]:
    """Rows with their columns aligned; the last column is never padded."""
    if not rows:
        return
    to_right = set(right)
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        cells = [cell.rjust(width) if at in to_right else cell.ljust(width) for at, (cell, width) in
                 enumerate(zip(row, widths, strict=True))]  # fmt: skip
        yield (indent + "  ".join(cells)).rstrip()


def instruction(text: str | None, width: int = INSTRUCTION) -> str:
    """The beginning of an instruction on one line, without what builders wrap around it."""
    return clip(full_instruction(text), width)


def full_instruction(text: str | None) -> str:
    if not text:
        return "-"
    return shown(" ".join(masking.instruction(_HASH.sub(r"\1", _NOISE.sub("", text))).split()))


def shown_path(path: bytes) -> str:
    return shown(b"/" + path)


def value_text(value: Any) -> str:
    """A JSON value on one line."""
    import json

    return shown(value) if isinstance(value, str) else shown(json.dumps(value, ensure_ascii=False))


def count_of(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")
