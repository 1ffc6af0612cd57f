"""What the text reports share: colours, aligned columns, and phrases as escaped text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ocitool.report.escape import clip, clip_difference, shown
from ocitool.report.phrases import Phrase, Quote

INSTRUCTION_WIDTH = 100
"""The length to which an instruction is cut in a line, in characters."""


class Paint:
    """Adds ANSI colours to text if `on`, else returns it as it is. `code`: the number of the colour, as "31" for red."""

    def __init__(self, on: bool) -> None:
        self._on = on

    def __call__(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._on else text

    def bold(self, text: str) -> str:
        return self(text, "1")


def columns(rows: Sequence[Sequence[str]], right: Iterable[int] = (), indent: str = "  ") -> Iterator[str]:
    """Yields the rows with their columns aligned. `right`: the columns that are aligned right."""
    if not rows:
        return
    to_right = set(right)
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        cells = [cell.rjust(width) if at in to_right else cell.ljust(width) for at, (cell, width) in
                 enumerate(zip(row, widths, strict=True))]  # fmt: skip
        yield (indent + "  ".join(cells)).rstrip()


def rendered(phrase: Phrase, instruction: int = INSTRUCTION_WIDTH) -> str:
    """Returns a phrase as text, its quotes escaped, and instructions cut to `instruction` characters."""
    return "".join(one if isinstance(one, str) else _quoted(one, instruction) for one in phrase)


def _quoted(quote: Quote, instruction: int = INSTRUCTION_WIDTH) -> str:
    return clip(shown(quote.raw), instruction) if quote.kind == "instruction" else shown(quote.raw)


def before_and_after(before: Quote | None, after: Quote | None) -> str:
    """Returns both values with an arrow between them, or the only one. Instructions are cut so that the difference stays
    visible."""
    if before is None or after is None:
        return "".join(_quoted(one) for one in (before, after) if one is not None)
    texts = shown(before.raw), shown(after.raw)
    return " -> ".join(clip_difference(*texts, INSTRUCTION_WIDTH) if after.kind == "instruction" else texts)


def escaped_path(path: bytes) -> str:
    """Returns a path of an image with a leading slash, escaped."""
    return shown(b"/" + path)
