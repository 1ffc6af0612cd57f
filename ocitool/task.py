"""What a running command carries: its thread pools, which are the only ones of the program, and its cancellation.

A `Task` is passed to everything that may take long. Pools are made on first use, so that quick commands do not pay for
them. Layers run on the I/O pool, blocks (read, hash, inflate, deflate) on the CPU pool: a block never waits for a
layer's result, only for its consumer, so the two pools never deadlock. A producer of `ahead` may occupy a CPU thread
for as long as its consumer takes; therefore a consumer of `spread` computes a block itself if no thread has begun it,
instead of waiting. For the same reason, `map` within `map` uses no other thread.

All threads of the program are started in this module, and all waiting is here: in steps, with `check` after each, so
that it ends with the task. (`processes` waits for worker processes, which it ends itself.) A lock is held for a few
assignments, never during a read, a request or another thread's work; work that several threads want, and one of them
shall do, uses `OneAtATime`.
"""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from threading import Event, Lock, Semaphore, Thread, current_thread, local, main_thread
from typing import TYPE_CHECKING, Any, TypeVar

from ocitool import interrupts, limits, signals
from ocitool.allocation import keep_freed_memory
from ocitool.directories import lock_holders
from ocitool.errors import CancelledError, DestinationError
from ocitool.interrupts import undisturbed
from ocitool.progress import Notice, Progress, Reporter
from ocitool.shared_counts import Expansion

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor
    from queue import SimpleQueue

T = TypeVar("T")
R = TypeVar("R")
_PATIENCE = 0.02  # seconds in which a free thread should have begun a producer
_STEP = 0.1  # seconds between two checks for cancellation while waiting
_SMALL_JOBS = 12  # crane fetches all layers of an image at once, podman six
_GRACE = 0.5  # seconds after a signal in which blocks and layers may end and clean up


class Task(Reporter):
    """One run of a command: its thread pools, its notices, and its cancellation. `progress` is told how far it is."""

    def __init__(self, *, jobs: int = 4, progress: Progress | None = None, cores: int | None = None) -> None:
        super().__init__(progress)
        self.jobs = max(1, jobs)
        self.small_jobs = self.jobs if self.jobs == 1 else max(self.jobs, min(3 * self.jobs, _SMALL_JOBS))
        self.cores = cores or _cores()
        self.expansion = Expansion()
        self._stopped = Event()
        self._endings: list[Callable[[], None]] = []
        self._making = Lock()
        self._cpu: ThreadPoolExecutor | None = None
        self._io: dict[int, ThreadPoolExecutor] = {}
        self._this = local()  # `mapping`: this thread is one of an I/O pool's

    def __enter__(self) -> Task:
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()
        for pool in (*self._io.values(), self._cpu):
            if pool is not None:  # interrupted, whatever could end has done so: see `_wait_until_done`
                pool.shutdown(wait=not signals.seconds_since_first(), cancel_futures=True)

    def count_expansion(self, count: int) -> int:
        """Counts bytes that were unpacked beyond the allowed ratio, and returns their number so far."""
        return self.expansion.add(count)

    def cancel(self) -> None:
        """Cancels the task: `check` raises from now on, and all waiting ends."""
        self._stopped.set()
        for ending in self._endings:
            ending()

    def when_cancelled(self, ending: Callable[[], None]) -> None:
        """Calls `ending` when the task is cancelled or over, to wake threads that wait for something else than this
        task."""
        self._endings.append(ending)

    def pause(self, seconds: float) -> None:
        """Waits. Raises `CancelledError` as soon as the task is cancelled."""
        self._stopped.wait(seconds)
        self.check()

    def check(self) -> None:
        """Raises `CancelledError` if the task is cancelled. Called between blocks."""
        if self._stopped.is_set():
            raise CancelledError("interrupted")

    def flock(self, descriptor: int, where: str, *, exclusive: bool) -> None:
        """Takes a lock of flock(2). `where` names it in messages.

        A notice is shown if it must wait for another process. It waits no longer than `limits.lock_wait`, since any
        process that can read a directory can hold its lock. Raises `DestinationError`, `CancelledError`.
        """
        import fcntl

        how = (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB
        patience, deadline = limits.lock_wait(), 0.0
        while True:
            try:
                fcntl.flock(descriptor, how)
                return
            except BlockingIOError:
                pass
            except OSError as error:
                raise DestinationError(f"it cannot be locked: {error.strerror}", where) from None
            now = time.monotonic()
            if not deadline:
                deadline = now + patience
                self.remark("waiting", f"waiting for {lock_holders(descriptor)}, which works on {where}")
            if now >= deadline:
                raise DestinationError(
                    f"locked for {patience} seconds by {lock_holders(descriptor)}", where,
                    hint="run this when that has ended; OCITOOL_LOCK_WAIT is for how many seconds a lock is waited for",
                )  # fmt: skip
            self._stopped.wait(_STEP / 2)
            self.check()

    def map(self, function: Callable[[T], R], items: Sequence[T], small: Callable[[T], bool] | None = None) -> list[R]:
        """Returns the results in order, computed on the I/O pool, `jobs` at a time; and besides them `small_jobs` of
        those items that are `small`, which mostly wait for a network. If `jobs` is 1, one item at a time.

        The first error stops the others, and is raised once none of them runs any more. Called from a thread of a
        pool, everything is computed in that thread: the threads it would wait for may be waiting for it.
        """
        if len(items) < 2 or getattr(self._this, "mapping", False):
            return [function(item) for item in items]
        from queue import SimpleQueue

        futures: list[Future[R]] = []
        done: SimpleQueue[Future[R]] = SimpleQueue()
        heard: list[dict[Notice, None]] = [{} for _ in items]

        def listened(item: T, notices: dict[Notice, None]) -> R:
            self.keep_apart(notices)
            return function(item)

        try:
            with undisturbed():  # what is begun is known, and waited for
                for item, notices in zip(items, heard, strict=True):
                    threads = self.small_jobs if small is not None and small(item) else self.jobs
                    futures.append(self._io_pool(threads).submit(listened, item, notices))
            for future in futures:
                future.add_done_callback(done.put)
            for _ in futures:
                self._next(done).result()
            return [future.result() for future in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            self.cancel()
            for future in futures:
                _wait_until_done(future)
            raise
        finally:
            for notices in heard:
                self.keep(list(notices))  # after a signal, a layer may still be under way

    def _next(self, queue: SimpleQueue[T]) -> T:
        """Returns the next item of a queue. Raises `CancelledError`."""
        from queue import Empty

        while True:
            try:
                return queue.get(timeout=_STEP)
            except Empty:
                self.check()

    @contextmanager
    def ahead(self, chunks: Iterable[T], depth: int = 4) -> Iterator[Iterator[T]]:
        """Yields the chunks, produced on the CPU pool up to `depth` ahead of the consumer; errors pass through.

        Leaving the block stops the producer and waits for it, so that the file it reads may be closed. If every thread
        is busy, perhaps with a producer whose consumer is this one's producer, the consumer produces the chunks itself.
        """
        from queue import Empty, SimpleQueue

        queue: SimpleQueue[tuple[bool, T | BaseException | None]] = SimpleQueue()
        slots = Semaphore(depth)
        gone = Event()

        def produce() -> None:
            try:
                for chunk in chunks:
                    while not slots.acquire(timeout=_STEP):
                        self.check()  # the consumer may never return: an error's traceback can keep its generator alive
                    if gone.is_set():
                        return
                    queue.put((True, chunk))
                queue.put((False, None))
            except BaseException as error:  # handed to the consumer, whichever it is
                queue.put((False, error))

        def consume() -> Iterator[T]:
            assert future is not None
            while True:
                try:
                    more, value = queue.get(timeout=_STEP if future.running() else _PATIENCE)
                except Empty:
                    self.check()
                    if future.cancel():
                        yield from chunks
                        return
                    continue
                if not more:
                    if isinstance(value, BaseException):
                        raise value
                    return
                slots.release()
                yield value  # type: ignore[misc]

        future: Future[None] | None = None
        try:
            with undisturbed():
                future = self._cpu_pool().submit(produce)
            yield consume()
        except BaseException as error:
            self._interrupted(error)
            raise
        finally:
            gone.set()
            slots.release()
            if future is not None and not future.cancel():
                _wait_until_done(future)

    def spread(self, function: Callable[[T], R], items: Iterable[T], depth: int = 0, *, waits: bool = False) -> Iterator[R]:
        """Yields the results in order, computed on the CPU pool, at most `depth` (default: two more than cores) begun
        and not yet taken. `waits`: on the I/O pool, for a function that waits for a network.

        `items` is read by the consumer's thread. The first error, of `items` or of a block, is raised in its turn;
        then, and if the iterator is closed, no block is left running. The consumer computes blocks that no thread has
        begun instead of waiting. Without `waits`, `function` must only compute.
        """
        from concurrent.futures import Future

        pool, depth, lock = self._io_pool(self.jobs) if waits else self._cpu_pool(), depth or self.cores + 2, Lock()
        untaken: deque[Future[R]] = deque()
        unbegun: deque[tuple[T, Future[R]]] = deque()
        calls = 0  # on the pool, and not yet answered: never more than blocks wait, however many the consumer computed

        def compute(item: T, future: Future[R]) -> None:
            try:
                result = function(item)
            except BaseException as error:  # raised by `result()`
                future.set_exception(error)
            else:
                future.set_result(result)

        def answer() -> None:
            nonlocal calls
            with lock:
                calls -= 1
                if not unbegun:
                    return
                block = unbegun.popleft()
                block[1].set_running_or_notify_cancel()
            compute(*block)

        def begin(item: T) -> None:
            nonlocal calls
            future: Future[R] = Future()
            untaken.append(future)
            with lock:
                unbegun.append((item, future))
                calls, call = max(calls, len(unbegun)), calls < len(unbegun)
            if call:
                pool.submit(answer)

        def take() -> R:
            while not untaken[0].done():
                with lock:
                    if not unbegun:
                        break
                    block = unbegun.popleft()  # pending until it is done, so nothing waits for it if this is interrupted
                compute(*block)
            while True:
                try:
                    result = untaken[0].result(_STEP)
                except TimeoutError:
                    if untaken[0].done():  # the block's own
                        raise
                    self.check()
                else:
                    untaken.popleft()
                    return result

        try:
            for item in items:
                self.check()
                begin(item)
                if len(untaken) == depth:
                    yield take()
            while untaken:
                self.check()
                yield take()
        finally:
            with lock:
                unbegun.clear()
            while untaken:
                future = untaken.popleft()
                if not future.cancel():
                    _wait_until_done(future)

    def apart(self, function: Callable[[T], R], items: Iterable[T], last: Callable[[], object]) -> Iterator[R]:
        """Yields the results in order, computed one after another on a thread of their own, one item ahead of the
        consumer: for calls that may take long and cannot be interrupted. `items` is read by the consumer's thread.

        The consumer can be interrupted, by an exception and by the end of the task. The thread is then abandoned: it
        ends its call, calls `last`, and drops both functions. Nothing waits for it.
        """
        from queue import Empty, SimpleQueue

        todo: SimpleQueue[tuple[T] | None] = SimpleQueue()
        done: SimpleQueue[tuple[R | None, BaseException | None]] = SimpleQueue()
        over = Event()

        def work() -> None:
            while (item := todo.get()) is not None:
                if over.is_set():
                    continue
                try:
                    done.put((function(*item), None))
                except BaseException as error:  # raised by the waiting thread
                    done.put((None, error))
            with suppress(Exception):
                last()

        def take() -> R:
            while True:
                self.check()
                with suppress(Empty):
                    result, error = done.get(timeout=_STEP)
                    break
            if error is not None:
                raise error
            return result  # type: ignore[return-value]

        start_thread(work)
        try:
            coming = 0
            for item in items:
                todo.put((item,))
                coming += 1
                if coming == 2:
                    yield take()
                    coming -= 1
            if coming:
                yield take()
        finally:
            over.set()
            todo.put(None)

    @property
    def workers(self) -> int:
        """Number of processes that work on layers at once."""
        return min(self.cores, self.jobs)

    def _interrupted(self, error: BaseException) -> None:
        """Cancels the task on Ctrl-C and termination, before waiting for other threads, which may wait for a network."""
        if not isinstance(error, Exception | GeneratorExit):
            self.cancel()

    def within(self, seconds: float | None, function: Callable[[], R]) -> R:
        """Returns the result of a function that may never end, and that cannot be interrupted.

        Raises `TimeoutError` after that many seconds, `CancelledError` as `check` does; the function is then abandoned
        on its thread.
        """
        from queue import Empty, SimpleQueue

        answer: SimpleQueue[tuple[R | None, BaseException | None]] = SimpleQueue()

        def run() -> None:
            try:
                answer.put((function(), None))
            except BaseException as error:  # raised by the waiting thread
                answer.put((None, error))

        start_thread(run)
        until = None if seconds is None else time.monotonic() + seconds
        while True:
            try:
                result, error = answer.get(timeout=_STEP)
                break
            except Empty:
                self.check()
                if until is not None and time.monotonic() >= until:
                    raise TimeoutError(f"no answer in {seconds:.0f} s") from None
        if error is not None:
            raise error
        return result  # type: ignore[return-value]

    def when_idle(self, function: Callable[[], object]) -> None:
        """Calls a short function on the I/O pool, once a thread of it has nothing else to do."""
        self._io_pool(self.jobs).submit(function)

    def _io_pool(self, threads: int) -> ThreadPoolExecutor:
        with self._making:
            made = self._io[threads] = self._io.get(threads) or _pool(threads, partial(setattr, self._this, "mapping", True))
            return made

    def _cpu_pool(self) -> ThreadPoolExecutor:
        with self._making:
            self._cpu = self._cpu or _pool(self.cores)
            return self._cpu


class OneAtATime:
    """Work that several threads want and one of them does; the others wait for it, holding no lock."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._lock = Lock()
        self._under_way: dict[Hashable, Event] = {}

    @contextmanager
    def turn(self, key: Hashable) -> Iterator[bool]:
        """Runs its block in one thread at a time for each key, and gives it whether another thread was in it before:
        that thread's work need not be repeated.

        Raises `CancelledError` instead of waiting if the task is cancelled. The block may read, and send requests. It
        must not take another turn, so that every wait is for one thread only.
        """
        waited = False
        while True:
            with self._lock:
                other = self._under_way.get(key)
                if other is None:
                    mine = self._under_way[key] = Event()
                    break
            waited = True
            while not other.wait(_STEP):
                self._task.check()
        try:
            yield waited
        finally:
            with self._lock:
                del self._under_way[key]
            mine.set()


def _wait_until_done(future: Future[Any]) -> None:
    """Waits until a future does not run any more; after a signal no longer than `_GRACE`."""
    while not future.done() and signals.seconds_since_first() < _GRACE:
        with suppress(TimeoutError):
            future.exception(timeout=_STEP)


@contextmanager
def handling_signals(task: Task) -> Iterator[None]:
    """Cancels the task at once on a signal, also while the main thread is in a call that Python cannot interrupt, as
    the look-up of a host name.

    If that call does not end soon, the program ends without it; a second Ctrl-C ends the program if what the first one
    began takes long. Does nothing unless a command of the program runs in this thread.
    """
    if not signals.is_command_running() or current_thread() is not main_thread():
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    start_thread(lambda: interrupts.watch(reader, task.cancel))
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writer)


def start_thread(function: Callable[[], object]) -> None:
    """Calls a function in a thread of its own, for which the end of the program does not wait."""
    Thread(target=function, daemon=True).start()


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1


def _pool(threads: int, begin: Callable[[], None] | None = None) -> ThreadPoolExecutor:
    """Returns a thread pool. Each of its threads calls `begin` first."""
    from concurrent.futures import ThreadPoolExecutor

    keep_freed_memory()
    return ThreadPoolExecutor(threads, initializer=begin)
