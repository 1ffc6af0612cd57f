"""Handling of Ctrl-C, SIGTERM and SIGHUP, from the first line of the program to its last.

Before and after a command there is nothing to clean up, so the program ends at once. During a command the first signal
is raised in the main thread, as `KeyboardInterrupt` or `Terminated`, which unwinds it; further signals change nothing
here (`interrupts.watch` reads them). An exception that Python drops, because it was raised in a destructor, is
raised again.

Imported before everything else, so it imports almost nothing itself.
"""

from __future__ import annotations

# `signal` takes 2 ms to import, and until `install` is called, Ctrl-C prints a traceback.
import _signal  # type: ignore[import-not-found]
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

MESSAGES = {_signal.SIGINT: "interrupted", _signal.SIGTERM: "terminated", _signal.SIGHUP: "hung up"}

_RAISE_DELAY = 0.01
"""Seconds until an exception that Python dropped is raised again."""

_received = 0
"""The number of the signal that was raised in the command; 0 before."""
_received_at = 0.0
"""The time of the first signal, by the monotonic clock; 0 before."""
_running = False
"""Whether a command runs, so that a signal is raised in it; otherwise a signal ends the program at once."""


class Terminated(BaseException):
    """Raised for SIGTERM and SIGHUP: the command cleans up as after Ctrl-C, and exits with 143 or 129."""


def install() -> None:
    """Installs the handlers, but not for signals that the parent process lets the program ignore (as `nohup` does)."""
    for number in MESSAGES:
        if _signal.getsignal(number) != _signal.SIG_IGN:
            _signal.signal(number, _handle_signal)


def command_started() -> None:
    """Switches to raising signals in the main thread: a command begins, which cleans up after itself."""
    global _running
    sys.unraisablehook = _handle_unraisable
    _running = True


def command_ended() -> None:
    """Switches to ending the program at once on a signal: nothing is left to clean up."""
    global _running
    _running = False


def is_command_running() -> bool:
    """Returns whether a command runs, so that signals are raised in the main thread."""
    return _running


def received() -> int:
    """Returns the number of the signal that was raised in the command; 0 if none was."""
    return _received


def seconds_since_first() -> float:
    """Returns the seconds since the first signal; 0 if none was received."""
    return time.monotonic() - _received_at if _received_at else 0.0


def record_first_time() -> None:
    """Records the time, unless an earlier signal did."""
    global _received_at
    _received_at = _received_at or time.monotonic()


def exit_now(number: int) -> NoReturn:
    """Ends the program at once, with one line on standard error and exit code 128 + `number`."""
    clear = b"\r\x1b[K\x1b[?25h" if os.isatty(2) else b""  # progress bars, and show the cursor that they hide
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
        record_first_time()
        raise KeyboardInterrupt if number == _signal.SIGINT else Terminated


def _handle_unraisable(what: Any) -> None:
    """Handles an exception that Python drops, since it was raised in a destructor: a signal's is raised again soon."""
    if what.exc_type is not KeyboardInterrupt and what.exc_type is not Terminated:
        sys.__unraisablehook__(what)
    elif _running and _received:
        _signal.signal(_signal.SIGALRM, _raise_again)
        _signal.setitimer(_signal.ITIMER_REAL, _RAISE_DELAY)


def _raise_again(*_: object) -> None:
    if _running:
        raise KeyboardInterrupt if _received == _signal.SIGINT else Terminated
