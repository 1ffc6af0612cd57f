"""A page of limited length that consists of whole blocks, and the tables and notices on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ocitool.progress import Notice
from ocitool.report.markdown.spans import rendered
from ocitool.report.phrases import Quote

LIMIT = 60_000
"""Characters of a report. GitHub refuses comments above 65,536."""

_RESERVE = 1_500
"""Characters of a page reserved for the notes on what was left out, about 150 for each section."""

SMALLEST = 4_000
"""Characters that the part for one platform or image gets at least; if fewer are left, the part is left out."""

END = ("", "</details>")
"""The lines that close a `<details>` section."""


class Page:
    """Lines of limited total length. A section is added whole, or shortened with a note on the rest, or replaced by such a
    note."""

    def __init__(self, limit: int) -> None:
        self.lines: list[str] = []
        self.left = limit

    def __str__(self) -> str:
        return "\n".join(self.lines) + "\n"

    @property
    def room(self) -> int:
        """Characters that sections may still use."""
        return self.left - _RESERVE

    def say(self, *lines: str) -> bool:
        """Adds all of the lines or none, also from the reserve. Returns whether they fitted."""
        cost = _cost(lines)
        if cost > self.left:
            return False
        self.lines += lines
        self.left -= cost
        return True

    def section(
        self, head: Sequence[str], rows: Iterable[Sequence[str]], total: int, what: str, *, tail: Sequence[str] = (),
        cap: int = LIMIT, hint: str = "",
    ) -> None:  # fmt: skip
        """Adds a section. `rows`: blocks of lines, which are taken one by one as long as they fit; `total`: their number;
        `what`: what they are, for the note on the rest; `cap`: characters that the section may use."""
        if not total:
            return
        room = min(self.room, cap) - _cost(head) - _cost(tail) - _cost(cut(total, what, hint))
        body: list[str] = []
        count = 0
        for row in rows:
            cost = _cost(row)
            if cost > room:
                break
            room -= cost
            body += row
            count += 1
        if not count:
            self.say(*cut(total, what, hint))
            return
        rest = cut(total - count, f"more {what}", hint) if count < total else []
        self.say(*head, *body, *rest, *tail)

    def part(self, left: int) -> int:
        """Returns the characters for the next of `left` parts of this page: an equal part of the space that is left."""
        return min(self.room, max(SMALLEST, self.room // left))


def _cost(lines: Iterable[str]) -> int:
    return sum(len(line) + 1 for line in lines)


def cut(count: int, what: str, hint: str) -> list[str]:
    """Returns the note that some rows are not shown."""
    return ["", f"… {count:,} {what} not shown{hint}"]


def say_notices(page: Page, notices: Sequence[Notice]) -> None:
    rows = ([f"- {rendered((Quote(notice.text, 'message'),))}"] for notice in notices)
    page.section(["", "**Notices**", ""], rows, len(notices), "notices", cap=5_000)


def table_row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
