"""The pools of a running command: one law a test. What could wait for ever runs in `within`."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Barrier, Event, Lock, Thread
from types import SimpleNamespace
from typing import TypeVar
from weakref import WeakSet

import pytest

from ocitool.errors import CancelledError, DestinationError, FormatError
from ocitool.progress import Notice, Progress
from ocitool.task import OneAtATime, Task

R = TypeVar("R")


class RecordingProgress(Progress):
    """Keeps the notices that it is told."""

    def __init__(self, notices: list[Notice]) -> None:
        self._notices = notices

    def notice(self, notice: Notice) -> None:
        self._notices.append(notice)


def within(seconds: float, work: Callable[[], R]) -> R:
    """What `work` returns or raises; a failure when it takes that long."""
    found: list[R] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:
            errors.append(error)

    thread = Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        pytest.fail(f"still waiting after {seconds} s", pytrace=False)
    if errors:
        raise errors[0]
    return found[0]


def test_within_notices_who_waits_for_ever() -> None:
    never = Event()
    with pytest.raises(pytest.fail.Exception):
        within(0.05, never.wait)
    never.set()


def double(number: int) -> int:
    return 2 * number


@pytest.mark.parametrize("cores", [1, 2, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_spread_gives_results_in_order(cores: int, count: int) -> None:
    with Task(cores=cores) as task:
        assert [2 * n for n in range(count)] == list(task.spread(double, range(count)))


def test_spread_gives_results_in_order_however_long_each_takes() -> None:
    def slow(number: int) -> int:
        time.sleep(0.01 if number % 3 == 0 else 0)
        return number

    with Task(cores=3) as task:
        assert list(range(20)) == list(task.spread(slow, range(20)))


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_spread_begins_no_more_than_its_depth(depth: int) -> None:
    given = 0

    def numbers() -> Iterator[int]:
        nonlocal given
        for number in range(30):
            given += 1
            yield number

    with Task(cores=2) as task:
        ahead = []
        for taken, _ in enumerate(task.spread(double, numbers(), depth)):
            ahead.append(given - taken)
        assert depth == max(ahead)


def test_spread_raises_the_first_error_in_its_turn() -> None:
    def picky(number: int) -> int:
        if number >= 3:
            raise FormatError(f"{number}")
        return number

    got = []
    with Task(cores=2) as task, pytest.raises(FormatError, match="3"):
        for number in task.spread(picky, range(10)):
            got.append(number)
    assert [0, 1, 2] == got


def test_spread_passes_an_error_of_its_items_through() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise FormatError("bad")

    with Task(cores=2) as task, pytest.raises(FormatError, match="bad"):
        list(task.spread(double, items()))


@pytest.mark.parametrize("how", ["error", "closed"])
def test_no_block_runs_when_spread_has_ended(how: str) -> None:
    running, lock = 0, Lock()

    def block(number: int) -> int:
        nonlocal running
        with lock:
            running += 1
        time.sleep(0.02)
        with lock:
            running -= 1
        if how == "error" and number == 1:
            raise FormatError("bad")
        return number

    with Task(cores=3) as task:
        results = task.spread(block, range(100))
        assert 0 == next(results)
        if how == "closed":
            results.close()  # type: ignore[attr-defined]
        else:
            with pytest.raises(FormatError):
                list(results)
        assert 0 == running


def test_a_cancelled_spread_stops() -> None:
    with Task(cores=2) as task, pytest.raises(CancelledError):
        for _ in task.spread(double, iter(int, 1)):
            task.cancel()


def test_spread_needs_no_free_thread() -> None:
    stop = Event()

    def stuck() -> Iterator[int]:
        yield 1
        stop.wait()

    def work() -> list[int]:
        with Task(cores=1) as task, task.ahead(stuck()) as items:
            next(items)
            try:
                return list(task.spread(double, range(9)))
            finally:
                stop.set()

    assert [2 * n for n in range(9)] == within(30, work)


def test_spread_computes_what_no_thread_has_begun_rather_than_wait() -> None:
    begun, others = Event(), Event()

    def block(number: int) -> int:
        if number == 0:
            begun.set()
            others.wait()
        others.set()
        return number

    def numbers() -> Iterator[int]:
        yield 0
        begun.wait()  # by the only thread: the taker has to end it
        yield from range(1, 4)

    def work() -> list[int]:
        with Task(cores=1) as task:
            return list(task.spread(block, numbers()))

    assert [0, 1, 2, 3] == within(30, work)


def test_spread_keeps_nothing_of_what_was_taken_though_no_thread_is_free() -> None:
    class Item:
        pass

    alive: WeakSet[Item] = WeakSet()
    stop = Event()

    def items() -> Iterator[Item]:
        for _ in range(100):
            item = Item()
            alive.add(item)
            yield item

    def stuck() -> Iterator[int]:
        yield 1
        stop.wait()

    def work() -> int:
        with Task(cores=1) as task, task.ahead(stuck()) as first:
            next(first)
            try:
                return max(len(alive) for _ in task.spread(lambda item: None, items(), 3))
            finally:
                stop.set()

    assert within(30, work) <= 4


@pytest.mark.parametrize("cores", [1, 2])
def test_spread_may_be_fed_from_ahead_and_feed_another(cores: int) -> None:
    def work() -> int:
        with (
            Task(cores=cores) as task,
            task.ahead(iter(range(200)), 1) as numbers,
            task.ahead(task.spread(double, numbers), 1) as doubled,
            task.ahead(task.spread(double, doubled), 1) as again,
        ):
            return sum(again)

    assert 4 * sum(range(200)) == within(30, work)


def test_many_layers_with_producers_and_blocks_share_one_thread() -> None:
    with Task(cores=1, jobs=4) as task:

        def layer(number: int) -> int:
            with task.ahead(iter(range(100)), 1) as numbers, task.ahead(task.spread(double, numbers), 1) as doubled:
                return number + sum(doubled)

        expected = [number + 2 * sum(range(100)) for number in range(8)]
        assert expected == within(60, lambda: task.map(layer, range(8)))


def test_ahead_gives_everything_once_when_no_thread_is_free() -> None:
    def work() -> list[int]:
        with Task(cores=1) as task, task.ahead(iter(range(5)), 1) as one, task.ahead(iter(range(50)), 1) as two:
            return [next(one), *two, *one]

    assert [0, *range(50), *range(1, 5)] == within(30, work)


def test_an_error_of_ahead_passes_through_when_no_thread_is_free() -> None:
    def bad() -> Iterator[int]:
        yield 1
        raise FormatError("bad")

    def work() -> list[int]:
        with Task(cores=1) as task, task.ahead(iter(range(5)), 1), task.ahead(bad(), 1) as two:
            return list(two)

    with pytest.raises(FormatError, match="bad"):
        within(30, work)


def test_what_a_signal_finds_begun_is_waited_for() -> None:
    """It arrives while the items are handed out: the first runs already, and must not run on behind our back."""
    running: set[int] = set()

    def work(item: int) -> None:
        running.add(item)
        if item == 0:
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        running.discard(item)

    with Task(jobs=2) as task:
        with pytest.raises(KeyboardInterrupt):
            task.map(work, range(50))
        assert set() == running


def test_a_task_ends_although_a_generator_that_produces_ahead_was_left_in_the_middle() -> None:
    def produced(task: Task) -> Iterator[int]:
        with task.ahead(iter(range(50)), 1) as numbers:
            yield from numbers

    def work() -> int:
        with Task() as task:
            left = produced(task)  # as an error's traceback keeps it
            return next(left)

    assert 0 == within(30, work)


# What is done apart


@pytest.mark.parametrize("count", [0, 1, 2, 20])
def test_apart_gives_results_in_order(count: int) -> None:
    with Task() as task:
        assert [2 * n for n in range(count)] == list(task.apart(double, range(count), last=int))


def test_apart_raises_an_error_in_its_turn() -> None:
    def broken(number: int) -> int:
        if number == 2:
            raise FormatError("broken")
        return number

    taken = []
    with Task() as task, pytest.raises(FormatError):
        for number in task.apart(broken, range(9), last=int):
            taken.append(number)
    assert [0, 1] == taken


def test_nothing_waits_for_what_is_done_apart_once_the_task_is_cancelled() -> None:
    begun, going, ended = Event(), Event(), Event()
    with Task() as task:

        def work() -> None:
            with pytest.raises(CancelledError):
                list(task.apart(lambda _: (begun.set(), going.wait(60)), range(3), last=ended.set))

        thread = Thread(target=work)
        thread.start()
        assert begun.wait(10)
        task.cancel()
        thread.join(10)
        assert not thread.is_alive() and not ended.is_set()
    going.set()
    assert ended.wait(10)  # it lets go of what it holds only when it has finished with it


def test_what_was_asked_for_ahead_is_not_begun_once_the_taker_is_gone() -> None:
    going, begun, ended = Event(), list[int](), Event()

    def work(number: int) -> int:
        begun.append(number)
        if number:
            going.wait(10)
        return number

    with Task() as task:
        results = task.apart(work, iter([0, 1, 2]), last=ended.set)
        next(results)
        results.close()  # type: ignore[attr-defined]
        going.set()
        assert ended.wait(10)
    assert begun in ([0], [0, 1])


# Waiting


@pytest.mark.parametrize(("jobs", "small"), [(2, 6), (4, 12), (8, 12), (16, 16)])
def test_more_small_items_than_jobs_are_under_way_besides_the_others(jobs: int, small: int) -> None:
    others = 0 if small == jobs else jobs
    meeting = Barrier(small + others)
    with Task(jobs=jobs) as task:
        task.map(lambda item: meeting.wait(10), list(range(small + others)), lambda item: item >= others)


def test_what_waits_for_an_idle_thread_is_called_once_no_item_waits_for_one() -> None:
    idle, given = Event(), Event()

    def small(item: int) -> bool:
        if item == 5:
            given.set()  # all items before it are with the pool
        return False

    def work(item: int) -> None:
        if item == 0:
            assert given.wait(10)
            task.when_idle(idle.set)
        elif item < 5:
            assert not idle.is_set()
        else:
            assert idle.wait(10)

    with Task(jobs=2) as task:
        task.map(work, list(range(6)), small)


def test_one_job_is_one_item_at_a_time_however_small_it_is() -> None:
    under_way, most, lock = 0, 0, Lock()

    def work(item: int) -> None:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.001)
        with lock:
            under_way -= 1

    with Task(jobs=1) as task:
        task.map(work, list(range(40)), lambda item: item % 2 == 0)
    assert 1 == most


def test_map_within_map_waits_for_no_thread_that_waits_for_it() -> None:
    with Task(jobs=2) as task:

        def outer(number: int) -> int:
            return sum(task.map(double, range(number, number + 5)))

        expected = [sum(double(n) for n in range(one, one + 5)) for one in range(6)]
        assert expected == within(30, lambda: task.map(outer, range(6)))


def cancelled_soon(task: Task, wait: Callable[[], object]) -> float:
    """Seconds until what waits is told that the task is over."""
    Thread(target=lambda: (time.sleep(0.05), task.cancel()), daemon=True).start()
    before = time.monotonic()
    with pytest.raises(CancelledError):
        within(30, wait)
    return time.monotonic() - before


@pytest.mark.parametrize("fails", [False, True])
def test_notices_of_map_stand_in_the_order_of_its_items_however_long_each_takes(fails: bool) -> None:
    """What is said twice stands where it is said first. They are told as they come up."""
    notices: list[Notice] = []
    later = Event()

    def say(item: int) -> None:
        if item == 0:
            assert later.wait(10)
        task.map(lambda one: task.notice("n", f"{item} {one}"), range(2))
        task.notice("n", "both")
        later.set()
        if fails:
            raise OSError

    with Task(jobs=2, progress=RecordingProgress(notices)) as task:
        task.notice("n", "before")
        with suppress(OSError):
            task.map(say, range(2))
        task.notice("n", "behind")
        task.notice("n", "1 0")
        assert ["before", "0 0", "0 1", "both", "1 0", "1 1", "behind"] == [notice.text for notice in task.notices]
    assert ["before", "1 0", "1 1", "both", "0 0", "0 1", "behind"] == [notice.text for notice in notices]


def test_a_function_that_never_ends_is_left_to_itself_when_the_task_is_over() -> None:
    never = Event()
    with Task() as task:
        assert cancelled_soon(task, lambda: task.within(None, never.wait)) < 1
    never.set()


def test_within_gives_the_result_or_raises_the_error() -> None:
    with Task() as task:
        assert 4 == task.within(None, lambda: double(2))
        with pytest.raises(ZeroDivisionError):
            task.within(5, lambda: 1 / 0)
        never = Event()
        with pytest.raises(TimeoutError):
            within(30, lambda: task.within(0.05, never.wait))
        never.set()


def test_what_comes_ahead_is_not_waited_for_when_the_task_is_over() -> None:
    never = Event()

    def stuck() -> Iterator[int]:
        yield 1
        never.wait()

    def work(task: Task) -> None:
        with task.ahead(stuck()) as chunks:
            try:
                list(chunks)
            finally:
                never.set()

    with Task() as task:
        assert cancelled_soon(task, lambda: work(task)) < 1


def test_an_interruption_ends_the_task_before_what_runs_ahead_is_waited_for() -> None:
    """It may wait for a network, which only the end of the task cuts."""
    cut = Event()

    def stuck() -> Iterator[int]:
        yield 1
        cut.wait()

    def work() -> None:
        with Task() as task:
            task.when_cancelled(cut.set)
            with task.ahead(stuck()) as chunks:
                next(chunks)
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        within(30, work)


def test_an_error_of_one_layer_does_not_end_the_task() -> None:
    with Task() as task:
        with pytest.raises(FormatError), task.ahead(iter(range(50)), 1):
            raise FormatError("this one layer")
        task.check()


def test_turns_let_one_in_at_a_time_and_tell_the_others_that_it_was_done() -> None:
    inside: list[int] = []
    most: list[int] = []
    start = Barrier(8, timeout=20)  # one that came when all were through would rightly wait for none

    def work(turns: OneAtATime, number: int) -> bool:
        start.wait()
        with turns.turn("key") as waited:
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.05)
            inside.remove(number)
            return waited

    with Task(jobs=8) as task:
        turns = OneAtATime(task)
        found = within(30, lambda: task.map(lambda number: work(turns, number), range(8)))
        assert 1 == max(most)
        assert 7 == sum(found)


def test_turns_of_other_keys_do_not_wait() -> None:
    with Task() as task:
        turns = OneAtATime(task)
        with turns.turn(1), turns.turn(2) as waited:
            assert not waited


def test_a_turn_is_over_when_it_ended_with_an_error() -> None:
    with Task() as task:
        turns = OneAtATime(task)
        with pytest.raises(FormatError), turns.turn(1):
            raise FormatError("bad")
        with turns.turn(1) as waited:
            assert not waited


def test_a_turn_that_another_thread_has_is_not_waited_for_when_the_task_is_over() -> None:
    never, begun = Event(), Event()
    with Task() as task:
        turns = OneAtATime(task)

        def keep() -> None:
            with turns.turn(1):
                begun.set()
                never.wait()

        def want() -> None:
            with turns.turn(1):
                pass

        Thread(target=keep, daemon=True).start()
        begun.wait(5)
        assert cancelled_soon(task, want) < 1
    never.set()


def test_a_lock_of_another_process_is_not_waited_for_when_the_task_is_over(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    notices: list[Notice] = []
    with open(tmp_path / "file") as mine, open(tmp_path / "file") as other, Task(progress=RecordingProgress(notices)) as task:
        task.flock(mine.fileno(), "store", exclusive=True)
        assert [] == notices
        assert cancelled_soon(task, lambda: task.flock(other.fileno(), "store", exclusive=True)) < 1
        assert [Notice("waiting", f"waiting for process {os.getpid()}, which works on store")] == notices


def test_a_lock_that_is_never_given_up_is_an_error_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever can read a directory can lock it."""
    monkeypatch.setenv("OCITOOL_LOCK_WAIT", "0")
    (tmp_path / "file").touch()
    with open(tmp_path / "file") as mine, open(tmp_path / "file") as other, Task() as task:
        task.flock(mine.fileno(), "store", exclusive=False)
        with pytest.raises(DestinationError, match=f"locked for 0 seconds by process {os.getpid()}") as raised:
            task.flock(other.fileno(), "store", exclusive=True)
    assert "OCITOOL_LOCK_WAIT" in str(raised.value.hint)


def test_a_lock_that_becomes_free_is_taken(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with open(tmp_path / "file") as other, Task() as task:
        with open(tmp_path / "file") as mine:
            task.flock(mine.fileno(), "store", exclusive=False)
            task.flock(other.fileno(), "store", exclusive=False)
            with pytest.raises(BlockingIOError):
                fcntl.flock(other.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        within(30, lambda: task.flock(other.fileno(), "store", exclusive=True))


def test_threads_of_a_pool_share_two_heaps_of_the_c_library(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    library = SimpleNamespace(mallopt=lambda option, value: told.append((option, value)))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    with Task() as task:
        assert [1, 2] == list(task.map(abs, [-1, -2]))
    assert {(-8, 2)} == set(told)


def test_a_c_library_without_the_setting_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())
    with Task() as task:
        assert [1, 2] == list(task.map(abs, [-1, -2]))
