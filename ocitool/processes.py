"""Worker processes, for work that threads would do in turns."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from threading import Lock
from types import ModuleType
from typing import Any

from ocitool.interrupts import undisturbed
from ocitool.task import start_thread


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
        """Submits a call. May start a process: Ctrl-C is none of its affairs, from its first moment on."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            with _without_program():
                return super().submit(*args, **more)
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
