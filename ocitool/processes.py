"""Worker processes, for work that threads would do in turns."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import get_context, parent_process
from threading import Lock
from types import ModuleType
from typing import Any

from ocitool.errors import TransportError
from ocitool.interrupts import undisturbed
from ocitool.task import start_thread

_STEP = 0.1
"""Seconds between two looks at what a caller waits for."""


@contextmanager
def processes(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Yields a pool of that many worker processes, which end with the block, and with this process however it ends.

    They are started anew, not forked: other threads may hold locks. They do not run the program that this process runs.
    """
    pool = _Pool(workers, get_context("spawn"), _end_with_parent)
    try:
        yield pool
    except BaseException:
        with undisturbed():
            for process in list((pool._processes or {}).values()):
                process.kill()
            pool.shutdown(wait=True)
        raise
    pool.shutdown(wait=True)


class _Pool(ProcessPoolExecutor):
    def submit(self, *args: Any, **more: Any) -> Any:
        """Submits a call. May start a process."""
        with _starting():
            return super().submit(*args, **more)


class Worker:
    """A process that runs calls one after another, on open files of this process. It begins with the first call, and ends with
    `close`, and with this process however it ends. One thread uses it at a time."""

    def __init__(self) -> None:
        self._process: Any = None
        self._connection: Any = None

    def call(
        self, function: Callable[..., Sequence[bytes]], files: Sequence[int], arguments: tuple[Any, ...],
        waiting: Callable[[], object],
    ) -> list[bytes]:  # fmt: skip
        """Returns what `function` of a module returns there. Its arguments are a list of descriptors, which it owns, of the
        same files as `files`, and `arguments`. `waiting` is called while it runs, every tenth of a second.

        Raises what the function raises, `TransportError` if the process dies, and what `waiting` raises, after which the
        process is gone."""
        from multiprocessing.reduction import send_handle

        try:
            if self._process is None:
                self._start()
            self._connection.send((function, arguments, len(files)))
            for descriptor in files:
                send_handle(self._connection, descriptor, self._process.pid)
            while not self._connection.poll(_STEP):
                waiting()
            answer = self._connection.recv()
            if isinstance(answer, int):
                return [self._connection.recv_bytes() for _ in range(answer)]
        except (EOFError, OSError):
            self.close()
            hint = "run the same command again"
            raise TransportError("a process that works on layers died", hint=hint) from None
        except BaseException:
            self.close()
            raise
        assert isinstance(answer, Exception)
        raise answer

    def close(self) -> None:
        """Ends the process, whatever it does."""
        process, connection, self._process, self._connection = self._process, self._connection, None, None
        with undisturbed():
            if process is not None:
                process.kill()
                process.join()
                process.close()
                connection.close()

    def _start(self) -> None:
        context = get_context("spawn")
        self._connection, other = context.Pipe()
        with other, undisturbed():
            process = context.Process(target=_serve, args=(other,), daemon=True)
            with _starting():
                process.start()
            self._process = process


def _serve(connection: Any) -> None:
    """Runs the calls of a `Worker` in its process."""
    from multiprocessing.reduction import recv_handle

    _end_with_parent()
    with suppress(EOFError):
        while True:
            function, arguments, count = connection.recv()
            files = [recv_handle(connection) for _ in range(count)]
            try:
                made = function(files, *arguments)
            except Exception as error:
                connection.send(error)
                continue
            connection.send(len(made))
            for piece in made:
                connection.send_bytes(piece)


@contextmanager
def _starting() -> Iterator[None]:
    """Starts a process in its block. Ctrl-C is none of its affairs, from its first moment on."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with _without_program():
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_programs: list[ModuleType] = []
"""The program that this process runs, once for each thread that is in `_without_program`."""
_exchanging = Lock()


@contextmanager
def _without_program() -> Iterator[None]:
    """Hides the program that runs here from a process that is started in its block, which would import it as its own
    `__main__`: of a script that calls us that would run everything a second time."""
    with _exchanging:
        program = _programs[0] if _programs else sys.modules["__main__"]
        nameless = ModuleType("__main__")  # other threads find in it what the program has
        vars(nameless).update((name, it) for name, it in vars(program).items() if name not in ("__file__", "__spec__"))
        sys.modules["__main__"] = nameless
        _programs.append(program)
    try:
        yield
    finally:
        with _exchanging:
            program = _programs.pop()
            if not _programs:
                sys.modules["__main__"] = program


def _end_with_parent() -> None:
    """Prepares a worker process: it ignores the terminal's signals, which its parent handles, and ends if the parent
    does."""
    for number in (signal.SIGINT, signal.SIGHUP):  # a terminal sends them to all its processes
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = parent_process()
    if parent is not None:

        def watch() -> None:
            parent.join()
            signal.raise_signal(signal.SIGKILL)

        start_thread(watch)
