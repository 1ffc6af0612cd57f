"""Shows the progress of a command on standard error: bars on a terminal, else lines."""

from __future__ import annotations

import sys
import time
from threading import Lock
from typing import TYPE_CHECKING

from ocitool.progress import Notice, Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    import rich.progress

_PATIENCE = 0.7
"""Seconds before bars appear."""

_BLOBS = "layers"

_DOCUMENT = 10 << 10
"""Blobs of fewer bytes, mostly manifests and configurations, are counted by their bytes only, not as blobs."""

_STEP = 10.0
"""Seconds between two lines on the progress of a long run."""


class Pace:
    """Measures the speed of named activities, each from its beginning."""

    def __init__(self) -> None:
        self._begun: dict[str, float] = {}

    def begin(self, what: str, now: float) -> None:
        self._begun.setdefault(what, now)

    def begin_anew(self, what: str, now: float) -> None:
        self._begun[what] = now

    def line(self, what: str, done: int, total: int, size: int, whole: int, now: float) -> str:
        """Returns `layers: 37 of 120, 1.2 GB of 4.0 GB, 85.0 MB/s, 33 s left`; speed and time are by bytes if sizes are
        known."""
        from ocitool.report.escape import human

        if not done and not size:
            self._begun[what] = now
        seconds = now - self._begun.setdefault(what, now)
        parts = [f"{what}: {done:,} of {total:,}"]
        part, all_of_it = (size, whole) if whole else (done, total)
        if whole:
            parts.append(f"{human(size)} of {human(whole)}")
        elif size:  # the total is not known, as for standard input
            parts.append(human(size))
            part, all_of_it, whole = size, size, size
        if seconds > 0 and part:
            rate = part / seconds
            parts.append(f"{human(round(rate))}/s" if whole else f"{rate:,.1f}/s")
            if left := all_of_it - part:
                parts.append(f"{max(1, left / rate):,.0f} s left")
        return ", ".join(parts)


class _BlobProgress:
    """The progress of all blobs of one name and size: the bytes done, and how many such blobs are expected."""

    __slots__ = ("done", "times", "total")

    def __init__(self, total: int | None) -> None:
        self.total = total
        self.done = self.times = 0

    def numbers(self) -> tuple[int, int, int, int, int]:
        """Returns: complete blobs, all blobs, bytes done, all bytes, and bytes done of blobs whose size is not known."""
        if not self.total:
            return 0, 0, 0, 0, self.done
        times = max(self.times, -(-self.done // self.total))
        if self.total < _DOCUMENT:
            return 0, 0, self.done, times * self.total, 0
        return self.done // self.total, times, self.done, times * self.total, 0


class TransferProgress:
    """Sums up the bytes of blobs that were read or written, and the bytes that are expected. A blob that is transferred
    more than once counts each time, so that a total is never exceeded; a negative count takes bytes back. If everything
    expected is done when more is announced, counting starts from zero."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._parts: dict[tuple[str, int | None], _BlobProgress] = {}
        self._sum = [0] * 5

    def add(self, label: str, count: int, total: int | None) -> None:
        self._change(label, total, count, 0)

    def expect(self, blobs: Sequence[tuple[str, int]], times: int = 1, anew: bool = False) -> bool:
        """Announces blobs, each of which is transferred `times` times. Returns whether counting starts from zero."""
        anew = anew or (times > 0 and self._sum[2] == self._sum[3])
        if anew:
            self._forget()
        for label, size in blobs:
            self._change(label, size, 0, times)
        return anew

    def _change(self, label: str, total: int | None, count: int, times: int) -> None:
        part = self._parts.get((label, total))
        if part is None:
            part = self._parts[label, total] = _BlobProgress(total)
        before = part.numbers()
        part.done = max(0, part.done + count)
        part.times = max(0, part.times + times)
        self._sum = [old + new - was for old, new, was in zip(self._sum, part.numbers(), before, strict=True)]

    @property
    def numbers(self) -> tuple[int, int, int, int]:
        """Complete blobs, all blobs, bytes done, and all bytes (0 if that is not known)."""
        through, blobs, done, whole, unknown = self._sum
        if whole:
            return through, blobs, done, whole
        return 0, sum(part.done > 0 for part in self._parts.values()), unknown, 0


class Shown(Progress):
    """What bars and lines have in common."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._pace = Pace()
        self._moved = TransferProgress()

    def expect(self, blobs: Sequence[tuple[str, int]], times: int, anew: bool) -> None:
        with self._lock:
            if self._moved.expect(blobs, times, anew):
                self._pace.begin_anew(_BLOBS, time.monotonic())

    def close(self) -> None:
        """Removes the bars at the end of the command."""


class Lines(Shown):
    """Prints a line for each notice, for each blob that a network transferred, and every `_STEP` seconds of a long run."""

    def __init__(self) -> None:
        super().__init__()
        self._counting = False
        self._last = time.monotonic()

    def advance(self, label: str, done: int, total: int | None) -> None:
        """Prints a line every `_STEP` seconds, unless the command counts something itself (`count`)."""
        now = time.monotonic()
        with self._lock:
            self._moved.add(label, done, total)
            self._pace.begin(_BLOBS, now)
            due = now - self._last >= _STEP and not self._counting
            if due:
                self._last = now
                line = self._pace.line(_BLOBS, *self._moved.numbers, now)
        if due:
            self._say(line)

    def count(self, what: str, done: int, total: int, size: int, whole: int) -> None:
        """Prints a line every `_STEP` seconds."""
        now = time.monotonic()
        with self._lock:
            self._counting = True
            line = self._pace.line(what, done, total, size, whole, now)
            due = now - self._last >= _STEP
            if due:
                self._last = now
        if due:
            self._say(line)

    def notice(self, notice: Notice) -> None:
        self._say(f"note: {notice.text}")

    def transferred(self, done: str, label: str, size: int) -> None:
        from ocitool.report.escape import human

        self._say(f"{done} {label} ({human(size)})")

    def _say(self, text: str) -> None:
        from ocitool.report.escape import printed

        with self._lock:
            print(f"ocitool: {printed(text)}", file=sys.stderr)


class Bars(Shown):
    """Shows one bar for all bytes read and written, and one for each thing that a command counts. Several threads may call
    it."""

    def __init__(self) -> None:
        super().__init__()
        self._started = time.monotonic()
        self._counts: dict[str, rich.progress.TaskID] = {}
        self._progress: rich.progress.Progress | None = None

    def advance(self, label: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        with self._lock:
            self._moved.add(label, done, total)
            self._pace.begin(_BLOBS, now)
            if now - self._started < _PATIENCE or self._counts.keys() - {_BLOBS}:
                return
            through, blobs, size, whole = self._moved.numbers
            self._show(_BLOBS, self._pace.line(_BLOBS, through, blobs, size, whole, now), size, whole or None)

    def count(self, what: str, done: int, total: int, size: int, whole: int) -> None:
        """Shows the bar of what the command counts, which takes the place of the bar of bytes."""
        now = time.monotonic()
        with self._lock:
            line = self._pace.line(what, done, total, size, whole, now)
            if now - self._started >= _PATIENCE:
                self._show(what, line, size if whole else done, whole or total, visible=done != total)

    def notice(self, notice: Notice) -> None:
        from ocitool.report.escape import printed

        with self._lock:
            text = f"ocitool: note: {printed(notice.text)}"
            if self._progress is not None:
                self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)
            else:
                print(text, file=sys.stderr)

    def close(self) -> None:
        with self._lock:
            if self._progress is not None:
                self._progress.stop()
                self._progress = None

    def _show(self, what: str, line: str, done: int, total: int | None, *, visible: bool = True) -> None:
        if self._progress is None:
            self._progress = self._start()
        if what not in self._counts:
            self._counts[what] = self._progress.add_task(line, total=total)
        self._progress.update(self._counts[what], description=line, completed=done, total=total, visible=visible)

    def _start(self) -> rich.progress.Progress:
        from rich import progress as bars
        from rich.console import Console

        progress = bars.Progress(
            bars.TextColumn("{task.description}", markup=False), bars.BarColumn(),
            console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip
        progress.start()
        return progress
