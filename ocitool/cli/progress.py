"""What is seen of a running command on standard error: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import time
from threading import Lock
from typing import TYPE_CHECKING

from ocitool.task import Notice

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_PATIENCE = 0.7
"""Seconds before bars appear."""

_TOTAL = "total"

_STEP = 10.0
"""Seconds between two lines about how far a long run is."""


class Pace:
    """How fast something goes, since none of it was done."""

    def __init__(self) -> None:
        self._begun: dict[str, float] = {}

    def line(self, what: str, done: int, total: int, size: int, whole: int, now: float) -> str:
        """`layers: 37 of 120, 1.2 GB of 4.0 GB, 85.0 MB/s, 33 s left`; by bytes where they are known."""
        from ocitool.report.escape import human

        if not done:
            self._begun[what] = now
        seconds = now - self._begun.setdefault(what, now)
        parts = [f"{what}: {done:,} of {total:,}"]
        part, all_of_it = (size, whole) if whole else (done, total)
        if whole:
            parts.append(f"{human(size)} of {human(whole)}")
        if seconds > 0 and part:
            rate = part / seconds
            parts.append(f"{human(round(rate))}/s" if whole else f"{rate:,.1f}/s")
            parts.append(f"{(all_of_it - part) / rate:,.0f} s left")
        return ", ".join(parts)


class Lines:
    """A line a notice, one for each blob that crossed a network, and one now and then of a run that takes long."""

    advance = expect = None

    def __init__(self) -> None:
        self._lock = Lock()
        self._pace = Pace()
        self._last = time.monotonic()

    def counted(self, what: str, done: int, total: int, size: int, whole: int) -> None:
        """A line now and then."""
        now = time.monotonic()
        with self._lock:
            line = self._pace.line(what, done, total, size, whole, now)
            due = now - self._last >= _STEP
            if due:
                self._last = now
        if due:
            self._say(line)

    def tell(self, notice: Notice) -> None:
        self._say(f"note: {notice.text}")

    def arrived(self, done: str, label: str, size: int) -> None:
        from ocitool.report.escape import human

        self._say(f"{done} {label} ({human(size)})")

    def close(self) -> None:
        pass

    def _say(self, text: str) -> None:
        from ocitool.report.escape import shown

        with self._lock:
            print(f"ocitool: {shown(text)}", file=sys.stderr)


class Bars:
    """Told from several threads what was read. A bar for each label that is under way, and one for all: of what is expected,
    where that is known, else of what has begun."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._started = time.monotonic()
        self._seen: dict[str, tuple[int, int | None]] = {}
        self._bars: dict[str, TaskID] = {}
        self._expected = 0
        self._pace = Pace()
        self._counts: dict[str, TaskID] = {}
        self._progress: Progress | None = None

    def advance(self, label: str, done: int, total: int | None) -> None:
        with self._lock:
            before, _ = self._seen.get(label, (0, None))
            self._seen[label] = (before + done, total)
            if time.monotonic() - self._started < _PATIENCE:
                return
            if self._progress is None:
                self._progress = self._start()
            for name, (count, size) in self._seen.items():
                self._bar(name, size)
                if name == label or count == size:
                    self._progress.update(self._bars[name], completed=count, visible=count != size)
            if len(self._seen) > 1 and all(size is not None for _, size in self._seen.values()):
                done = sum(count for count, _ in self._seen.values())
                whole = max(self._expected, sum(size or 0 for _, size in self._seen.values()))
                self._bar(_TOTAL, whole)
                self._progress.update(self._bars[_TOTAL], total=whole, completed=done)

    def counted(self, what: str, done: int, total: int, size: int, whole: int) -> None:
        """The bar of a long run: its words say all, so the columns of bytes stay empty."""
        now = time.monotonic()
        with self._lock:
            line = self._pace.line(what, done, total, size, whole, now)
            if now - self._started < _PATIENCE:
                return
            if self._progress is None:
                self._progress = self._start()
            if what not in self._counts:
                self._counts[what] = self._progress.add_task(line, total=whole or total, counted=True)
            self._progress.update(
                self._counts[what], description=line, completed=size if whole else done, total=whole or total,
                visible=done != total,
            )  # fmt: skip

    def expect(self, count: int) -> None:
        with self._lock:
            self._expected += count

    def tell(self, notice: Notice) -> None:
        from ocitool.report.escape import shown

        with self._lock:
            text = f"ocitool: note: {shown(notice.text)}"
            if self._progress is not None:
                self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)
            else:
                print(text, file=sys.stderr)

    def arrived(self, done: str, label: str, size: int) -> None:
        """The bar says it."""

    def close(self) -> None:
        with self._lock:
            if self._progress is not None:
                self._progress.stop()
                self._progress = None

    def _bar(self, name: str, size: int | None) -> None:
        from ocitool.report.escape import shown

        assert self._progress is not None
        if name not in self._bars:
            self._bars[name] = self._progress.add_task(shown(name), total=size)

    def _start(self) -> Progress:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            ProgressColumn,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
        from rich.progress import Task as Bar
        from rich.text import Text

        class OfBytes(ProgressColumn):
            """A column of the bars that count bytes."""

            def __init__(self, column: ProgressColumn) -> None:
                super().__init__()
                self._column = column

            def render(self, task: Bar) -> Text:
                return Text() if task.fields.get("counted") else Text.assemble(self._column.render(task))  # type: ignore[arg-type]

        progress = Progress(
            TextColumn("{task.description}", markup=False), BarColumn(),
            *map(OfBytes, (DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())),
            console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip
        progress.start()
        return progress
