"""Progress bars on a terminal, once something takes longer than a moment."""

from __future__ import annotations

import time
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_PATIENCE = 0.7
"""Seconds before bars appear."""


class Bars:
    """Told from several threads what was read. One bar a label, a total where it is known."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._started = time.monotonic()
        self._seen: dict[str, tuple[int, int | None]] = {}
        self._bars: dict[str, TaskID] = {}
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
                if name not in self._bars:
                    from ocitool.report.escape import shown

                    self._bars[name] = self._progress.add_task(shown(name), total=size)
                if name == label or count == size:
                    self._progress.update(self._bars[name], completed=count)

    def close(self) -> None:
        with self._lock:
            if self._progress is not None:
                self._progress.stop()

    def _start(self) -> Progress:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

        progress = Progress(
            TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
            TimeRemainingColumn(), console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip
        progress.start()
        return progress
