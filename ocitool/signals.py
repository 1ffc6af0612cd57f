"""Handling of Ctrl-C, SIGTERM and SIGHUP, from the first line of the program to its last.

Before and after a command there is nothing to clean up, so the program ends at once. During a command the first signal
is raised in the main thread, as `KeyboardInterrupt` or `Terminated`, which unwinds it; further signals change nothing
here (`interrupts.watch` reads them). An exception that Python drops, because it was raised in a destructor, is
raised again.

Imported before everything else, so it imports almost nothing itself.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` takes 2 ms to import, in which a traceback would answer Ctrl-C
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

MESSAGES = {_signal.SIGINT: "interrupted", _signal.SIGTERM: "terminated", _signal.SIGHUP: "hung up"}

_RAISE_DELAY = 0.01
"""Seconds after which an exception that was dropped is raised again."""

_received = 0
_received_at = 0.0
_running = False


class Terminated(BaseException):
    """SIGTERM or SIGHUP came: clean up as for Ctrl-C, and exit 143 or 129."""


def install() -> None:
    """Installs the handlers, except for signals that the program was started to ignore."""
    for number in MESSAGES:
        if _signal.getsignal(number) != _signal.SIG_IGN:
            _signal.signal(number, _handle_signal)


def command_started() -> None:
    """From now on a command runs, in which signals are raised."""
    global _running
    sys.unraisablehook = _handle_unraisable
    _running = True


def command_ended() -> None:
    """From now on nothing is left to clean up: a signal ends the program at once."""
    global _running
    _running = False


def is_command_running() -> bool:
    """Whether a command runs whose signals are raised in it."""
    return _running


def received() -> int:
    """Returns the signal that ends the command; 0 if none was received."""
    return _received


def seconds_since_first() -> float:
    """Returns the seconds since the first signal; 0 if none was received."""
    return time.monotonic() - _received_at if _received_at else 0.0


def record_first(number: int) -> None:
    """Records the time of the first signal."""
    global _received_at
    _received_at = _received_at or time.monotonic()


def exit_now(number: int) -> NoReturn:
    """Ends the program at once, with one line and the exit code of the signal."""
    clear = b"\r\x1b[K\x1b[?25h" if os.isatty(2) else b""  # of bars, which hide the cursor
    try:  # noqa: SIM105  (contextlib is not loaded yet)
        os.write(2, clear + b"ocitool: error: %s\n" % MESSAGES[number].encode())
    except OSError:  # the exit code says it too
        pass
    os._exit(128 + number)


def _handle_signal(number: int, _: object) -> None:
    global _received
    if not _running:
        exit_now(number)
    if not _received:
        _received = number
        record_first(number)
        raise KeyboardInterrupt if number == _signal.SIGINT else Terminated


def _handle_unraisable(what: Any) -> None:
    """Handles exceptions that Python cannot raise, as in a destructor."""
    if what.exc_type is not KeyboardInterrupt and what.exc_type is not Terminated:
        sys.__unraisablehook__(what)
    elif _running and _received:
        _signal.signal(_signal.SIGALRM, _raise_again)
        _signal.setitimer(_signal.ITIMER_REAL, _RAISE_DELAY)


def _raise_again(*_: object) -> None:
    if _running:
        raise KeyboardInterrupt if _received == _signal.SIGINT else Terminated
