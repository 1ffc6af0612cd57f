"""What is said of a long run: how much is done, how fast, how long it will take."""

from __future__ import annotations

import pytest

from ocitool.cli import progress
from ocitool.cli.progress import Lines, Pace
from ocitool.task import Counted, Task


def test_a_long_run_tells_layers_bytes_rate_and_time_left() -> None:
    pace = Pace()
    pace.line("layers", 0, 120, 0, 4_000_000_000, now=100.0)
    line = pace.line("layers", 37, 120, 1_000_000_000, 4_000_000_000, now=110.0)
    assert "layers: 37 of 120, 1.0 GB of 4.0 GB, 100.0 MB/s, 30 s left" == line


def test_without_bytes_it_goes_by_numbers() -> None:
    pace = Pace()
    assert "images: 0 of 500" == pace.line("images", 0, 500, 0, 0, now=1.0)
    assert "images: 125 of 500, 62.5/s, 6 s left" == pace.line("images", 125, 500, 0, 0, now=3.0)


def test_what_begins_anew_is_timed_anew() -> None:
    pace = Pace()
    pace.line("layers", 0, 2, 0, 0, now=0.0)
    pace.line("layers", 0, 4, 0, 0, now=100.0)
    assert "layers: 2 of 4, 1.0/s, 2 s left" == pace.line("layers", 2, 4, 0, 0, now=102.0)


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    moment = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: moment[0])
    lines = Lines()
    for done in range(31):
        moment[0] = float(done)
        lines.counted("layers", done, 60, 0, 0)
    assert [
        "ocitool: layers: 10 of 60, 1.0/s, 50 s left", "ocitool: layers: 20 of 60, 1.0/s, 40 s left",
        "ocitool: layers: 30 of 60, 1.0/s, 30 s left",
    ] == capsys.readouterr().err.splitlines()  # fmt: skip


@pytest.mark.parametrize(("total", "told"), [(3, [0, 1, 2, 3]), (1, [])])
def test_things_are_counted_where_there_are_several(total: int, told: list[int]) -> None:
    seen: list[int] = []
    with Task(counted=lambda what, done, total, size, whole: seen.append(done)) as task:
        counted = Counted("images", total, task)
        for _ in range(total):
            counted.one_more()
    assert told == seen
