"""What is said of a long run: how much is done, how fast, how long it will take."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ocitool.cli import progress
from ocitool.cli.progress import Lines, Pace, TransferProgress
from ocitool.progress import Counter, Progress
from ocitool.task import Task


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
        lines.count("layers", done, 60, 0, 0)
    assert [
        "ocitool: layers: 10 of 60, 1.0/s, 50 s left", "ocitool: layers: 20 of 60, 1.0/s, 40 s left",
        "ocitool: layers: 30 of 60, 1.0/s, 30 s left",
    ] == capsys.readouterr().err.splitlines()  # fmt: skip


@pytest.mark.parametrize(("total", "expected"), [(3, [0, 1, 2, 3]), (1, [])])
def test_things_are_counted_where_there_are_several(total: int, expected: list[int]) -> None:
    seen: list[int] = []

    class Seen(Progress):
        def count(self, what: str, done: int, total: int, size: int, whole: int) -> None:
            seen.append(done)

    with Task(progress=Seen()) as task:
        counted = Counter("images", total, task)
        for _ in range(total):
            counted.one_more()
    assert expected == seen


# Bytes that move

MB = 10**6


def moved(*steps: tuple[str, int, int | None], expected: Sequence[tuple[str, int]] = ()) -> tuple[int, int, int, int]:
    one = TransferProgress()
    one.expect(expected)
    for label, count, total in steps:
        one.add(label, count, total)
    return one.numbers


def test_layers_of_one_name_each_have_their_own_total() -> None:
    assert (1, 2, 456 * MB, 571 * MB) == moved(("layer", 171 * MB, 171 * MB), ("layer", 285 * MB, 400 * MB))
    assert (2, 3, 25 * MB, 30 * MB) == moved(*[("layer", 5 * MB, 10 * MB)] * 5)


def test_what_is_expected_is_the_total_from_the_first_byte() -> None:
    expected = [(name, 10 * MB) for name in "abcde"]
    assert (0, 5, MB, 50 * MB) == moved(("a", MB, 10 * MB), expected=expected)
    assert (5, 5, 50 * MB, 50 * MB) == moved(*[(name, 10 * MB, 10 * MB) for name in "edcba"], expected=expected)


def test_what_comes_unexpected_is_added() -> None:
    assert (1, 2, 10 * MB, 30 * MB) == moved(("a", 10 * MB, 10 * MB), expected=[("b", 20 * MB)])


def test_documents_count_by_their_bytes_alone() -> None:
    assert (0, 1, 500, MB + 500) == moved(("config", 500, 500), expected=[("config", 500), ("layer", MB)])


def test_what_need_not_come_is_taken_off() -> None:
    one = TransferProgress()
    one.expect([("a", 10 * MB), ("b", 20 * MB)])
    one.add("a", MB, 10 * MB)
    one.expect([("b", 20 * MB)], -1)
    assert (0, 1, MB, 10 * MB) == one.numbers


def test_what_is_expected_once_all_is_through_is_counted_from_zero() -> None:
    one = TransferProgress()
    one.expect([("a", 10 * MB)])
    one.add("a", 10 * MB, 10 * MB)
    assert one.expect([("b", 20 * MB)])
    assert (0, 1, 0, 20 * MB) == one.numbers


def test_what_is_expected_while_something_is_under_way_is_counted_with_it() -> None:
    one = TransferProgress()
    one.expect([("a", 10 * MB)])
    one.add("a", MB, 10 * MB)
    assert not one.expect([("b", 20 * MB)])
    assert (0, 2, MB, 30 * MB) == one.numbers


def test_content_without_a_total_changes_no_total() -> None:
    assert (1, 1, MB, MB) == moved(("compare", 7 * MB, None), ("a", MB, MB))


def test_bytes_that_are_taken_back_count_no_more() -> None:
    assert (0, 1, 2 * MB, 10 * MB) == moved(("a", 9 * MB, 10 * MB), ("a", -9 * MB, 10 * MB), ("a", 2 * MB, 10 * MB))


def test_a_total_that_is_not_known_is_not_made_up() -> None:
    assert (0, 1, 7 * MB, 0) == moved(("-", 7 * MB, None))
    assert "layers: 0 of 1, 7.0 MB, 7.0 MB/s" == after_a_second("layers", 0, 1, 7 * MB, 0)


def test_no_time_is_left_only_at_the_end() -> None:
    assert after_a_second("layers", 1, 2, 999 * MB, 1000 * MB).endswith(", 1 s left")
    assert "left" not in after_a_second("layers", 2, 2, 1000 * MB, 1000 * MB)


def after_a_second(what: str, done: int, total: int, size: int, whole: int) -> str:
    pace = Pace()
    pace.begin(what, 0.0)
    return pace.line(what, done, total, size, whole, 1.0)


def test_a_log_says_how_far_bytes_are_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    lines = Lines()
    for _ in range(25):
        lines.advance("a", MB, 25 * MB)
        now[0] += 1
    assert [
        "ocitool: layers: 0 of 1, 11.0 MB of 25.0 MB, 1.1 MB/s, 13 s left",
        "ocitool: layers: 0 of 1, 21.0 MB of 25.0 MB, 1.1 MB/s, 4 s left",
    ] == capsys.readouterr().err.splitlines()
