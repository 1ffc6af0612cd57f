"""A text report that fits one screen: its sections share the lines, and cells are cut to the width."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from ocitool.report.escape import clip
from ocitool.report.text.parts import Paint, columns

LINES, WIDTH = 24, 80
_INDENT = 2


class ScreenPart(NamedTuple):
    """A part of a report. `rows`: cells, the most important row first; `total`: how many rows there are; `what`: what they are,
    in the plural; `notes`: sentences after the rows. `share`: how many lines it gets for each one of a section of share 1.
    `right`: columns that are aligned right. `flexible`: columns that may be cut, in this order, each with the characters that
    are left of it; 0 if it may vanish. `wraps`: if there is room, a row of one cell may have a second line.
    `colours`: by the first character, a mark. `counts`: how many of `what` each row is, if it is not one, and after these the
    notes."""

    title: str
    rows: Iterable[Sequence[str]]
    total: int
    what: str
    notes: Sequence[str] = ()
    share: int = 1
    right: Sequence[int] = ()
    flexible: Sequence[tuple[int, int]] = ()
    wraps: bool = False
    colours: Mapping[str, str] = {}
    counts: Sequence[int] = ()

    @property
    def size(self) -> int:
        """The lines that all of it needs, without the title."""
        return self.total + len(self.notes)


def screen(head: Sequence[str], sections: Sequence[ScreenPart], tail: Sequence[str], paint: Paint) -> Iterator[str]:
    """Yields the lines of a report of at most `LINES` lines and `WIDTH` columns: `head` and `tail` whole, of each section as
    much as its share is. A path or sentence of `head` and `tail` is wrapped, never cut, and may so need more lines."""
    sections = [section for section in sections if section.size]
    top, bottom = ([line for one in lines for line in wrapped(one)] for lines in (head, tail))
    room = LINES - len(top) - len(bottom) - len(sections)
    spare = room - sum(section.size for section in sections)
    tall: dict[int, list[str]] = {}
    for number, section in enumerate(sections):
        if section.wraps and spare > 0:
            lines = list(_wrapped_rows(section, paint))
            if len(lines) - section.total <= spare:
                tall[number] = lines
                spare -= len(lines) - section.total
    gap = spare >= len(sections) + bool(bottom)
    yield from top
    for number, (section, share) in enumerate(zip(sections, _shares(sections, room), strict=True)):
        if gap:
            yield ""
        yield paint.bold(section.title)
        yield from tall.get(number) or _cut(section, share, paint)
    if bottom and gap:
        yield ""
    yield from bottom


def whole(section: ScreenPart, paint: Paint) -> Iterator[str]:
    """Yields a section with all of its rows, after an empty line; nothing if it is empty."""
    if section.size:
        yield ""
        yield paint.bold(section.title)
        yield from _laid_out(list(section.rows), section, paint, None)
        yield from ("  " + note for note in section.notes)


def wrapped(line: str) -> list[str]:
    """Returns a line in pieces of at most `WIDTH` characters. It is broken at spaces only: a longer word, as a path, stays
    whole."""
    if len(line) <= WIDTH:
        return [line]
    indent = " " * (len(line) - len(line.lstrip(" ")))
    return textwrap.wrap(
        line.strip(), WIDTH, initial_indent=indent, subsequent_indent=indent + "  ", break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def _shares(sections: Sequence[ScreenPart], room: int) -> list[int]:
    """Returns how many lines each section gets, at least one."""
    given = [0] * len(sections)
    left = room
    while left > 0 and any(got < section.size for got, section in zip(given, sections, strict=True)):
        for number, section in enumerate(sections):
            more = min(section.share, section.size - given[number], max(left, 0))
            given[number] += more
            left -= more
    return [max(1, got) for got in given]


def _cut(section: ScreenPart, lines: int, paint: Paint) -> Iterator[str]:
    if section.total <= lines:
        yield from _laid_out(list(section.rows), section, paint, WIDTH)
        yield from (clip(" " * _INDENT + note, WIDTH) for note in section.notes[: lines - section.total])
        return
    shown = list(islice(section.rows, lines - 1))
    yield from _laid_out(shown, section, paint, WIDTH)
    left = sum(section.counts[len(shown) :]) if section.counts else section.total - len(shown)
    yield f"  {left:,} {'more ' if shown else ''}{section.what}: --all lists them"


def _wrapped_rows(section: ScreenPart, paint: Paint) -> Iterator[str]:
    """Yields a section with all of its rows, of which each has at most two lines."""
    for (text,) in section.rows:
        first, *more = wrapped(" " * _INDENT + text)
        yield _coloured(clip(first, WIDTH), section, text, paint)
        if more:
            yield clip(" " * (2 * _INDENT) + " ".join(line.strip() for line in more), WIDTH)
    yield from (" " * _INDENT + note for note in section.notes)


def _laid_out(rows: Sequence[Sequence[str]], section: ScreenPart, paint: Paint, width: int | None) -> Iterator[str]:
    laid = [list(row) for row in rows]
    if width is not None:
        _fit(laid, section, width)
    kept = [at for at in range(len(laid[0])) if any(row[at] for row in laid)] if laid else []
    right = [position for position, at in enumerate(kept) if at in section.right]
    alone = all(len(row) == 1 for row in laid)
    spread = columns([[row[at] for at in kept] for row in laid], right, " " * _INDENT)
    lines = (" " * _INDENT + row[0] for row in laid) if alone else spread
    for row, line in zip(rows, lines, strict=True):
        yield _coloured(line, section, row[0], paint)


def _coloured(line: str, section: ScreenPart, first: str, paint: Paint) -> str:
    """Returns a line with its mark, the first character of the row, in the colour of the mark."""
    mark = first[:1]
    colour = section.colours.get(mark)
    return line.replace(mark, paint(mark, colour), 1) if colour else line


def _fit(rows: list[list[str]], section: ScreenPart, width: int) -> None:
    """Cuts cells of the flexible columns until the rows fit the width."""
    for column, least in section.flexible:
        excess = _widest(rows) - width
        if excess <= 0:
            return
        length = max(least, max(len(row[column]) for row in rows) - excess)
        for row in rows:
            row[column] = cut(row[column], length)


def _widest(rows: Sequence[Sequence[str]]) -> int:
    """Returns the length of the longest line that `columns` makes of the rows."""
    if not rows:
        return 0
    kept = [at for at in range(len(rows[0])) if any(row[at] for row in rows)]
    rows = [[row[at] for at in kept] for row in rows]
    widths = [max(len(row[at]) for row in rows) for at in range(len(kept))]
    longest = 0
    for row in rows:
        last = max((at for at, text in enumerate(row) if text), default=0)
        longest = max(longest, _INDENT + sum(widths[:last]) + 2 * last + len(row[last]))
    return longest


def cut(text: str, length: int) -> str:
    """Returns the text cut to a length: a path in its middle, so that its name stays, anything else at its end."""
    if len(text) <= length:
        return text
    if length < 4:
        return ""
    if not text.startswith("/"):
        return clip(text, length)
    end = min(max(len(text) - text.rstrip("/").rfind("/"), length // 2), length - 2)
    return f"{text[: length - end - 1]}…{text[-end:]}"
