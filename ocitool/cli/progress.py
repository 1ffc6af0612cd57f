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


class Lines:
    """A line a notice, and one for each blob that crossed a network."""

    advance = expect = None

    def __init__(self) -> None:
        self._lock = Lock()

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
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

        progress = Progress(
            TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
            TimeRemainingColumn(), console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip
        progress.start()
        return progress
