"""What happens to the work of a command on Ctrl-C, SIGTERM and SIGHUP: signals are read or delayed,
and the work is cut short.

`signals` raises the first signal in the main thread. Here are the cases in which that is not enough: the main thread is in a
call that Python cannot interrupt, or in a block that must not be left half done.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from select import select
from threading import current_thread, main_thread
from typing import NoReturn, Protocol
from weakref import WeakSet

from ocitool import signals

_STEP = 0.1
"""Seconds between two checks whether the main thread has reacted to a signal."""

_STUCK = 0.7
"""Seconds after a signal until a main thread that did not react is assumed to be in a call that cannot be interrupted."""

_SECOND = 1.0
"""Seconds after the first Ctrl-C from which on a second one ends the program at once; before, it counts as the same."""


class Discardable(Protocol):
    """An unfinished file that can be removed."""

    def discard(self) -> None: ...


unfinished: WeakSet[Discardable] = WeakSet()
"""Unfinished files with a name, to be removed if the program ends without unwinding."""


def watch(reader: int, cancel: Callable[[], None]) -> None:
    """Reads the numbers of signals from a pipe until its other end is closed, and closes `reader`; for a thread of its own.

    The first signal calls `cancel` at once. The program is ended if the main thread does not react to it, or if another one
    comes while it cleans up.
    """
    first = 0
    while (number := _next(reader, _STEP if first and not signals.received() else None)) >= 0:
        if number in signals.MESSAGES:
            if not first:
                signals.record_first_time()
                first = number
                cancel()
            elif signals.seconds_since_first() > _SECOND:
                _end(number)
        if first and not signals.received() and not _undisturbed and signals.seconds_since_first() > _STUCK:
            _end(first)
    os.close(reader)


def _next(reader: int, seconds: float | None) -> int:
    """Returns the next signal; 0 if none comes in that time, -1 once the other end is closed."""
    if not select([reader], [], [], seconds)[0]:
        return 0
    number = os.read(reader, 1)
    return number[0] if number else -1


def _end(number: int) -> NoReturn:
    for one in list(unfinished):
        with suppress(Exception):
            one.discard()
    signals.exit_now(number)


_undisturbed = 0
"""Number of `undisturbed` blocks that the main thread is in."""


@contextmanager
def undisturbed() -> Iterator[None]:
    """Delays signals until its block ends."""
    global _undisturbed
    if current_thread() is not main_thread():
        yield
        return
    _undisturbed += 1
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in signals.MESSAGES}
    held = {number: handler for number, handler in before.items() if callable(handler)}
    for number in held:
        signal.signal(number, lambda which, _: came.append(which))
    try:
        yield
    finally:
        _undisturbed -= 1
        for number, handler in held.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])
