"""A page within a budget of characters, made of whole blocks, and the tables and notices on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ocitool.report.markdown.words import said
from ocitool.report.phrases import Quote
from ocitool.task import Notice

LIMIT = 60_000
"""Characters of a report. GitHub refuses comments above 65,536."""

_RESERVE = 1_500
"""Characters of a page kept for saying what was left out, about 150 a section."""

SMALLEST = 4_000
"""Characters that a platform's or image's own page takes at least."""

END = ("", "</details>")
"""What closes a section that folds."""


class Page:
    """Lines within a budget. A section comes whole, or shorter with a word about the rest, or not at all and says so."""

    def __init__(self, limit: int) -> None:
        self.lines: list[str] = []
        self.left = limit

    def __str__(self) -> str:
        return "\n".join(self.lines) + "\n"

    @property
    def room(self) -> int:
        return self.left - _RESERVE

    def say(self, *lines: str) -> bool:
        """All of them or none; may use the reserve."""
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
        """`rows`: blocks of lines, taken one by one as long as they fit; `total`: how many there are; `cap`: characters
        that the section may take."""
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
        """Characters for one of `left` pages within this one: an equal part of what the ones before it left."""
        return min(self.room, max(SMALLEST, self.room // left))


def _cost(lines: Iterable[str]) -> int:
    return sum(len(line) + 1 for line in lines)


def cut(count: int, what: str, hint: str) -> list[str]:
    return ["", f"… {count:,} {what} not shown{hint}"]


def say_notices(page: Page, notices: Sequence[Notice]) -> None:
    rows = ([f"- {said((Quote(notice.text, 'message'),))}"] for notice in notices)
    page.section(["", "**Notices**", ""], rows, len(notices), "notices", cap=5_000)


def table_row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
