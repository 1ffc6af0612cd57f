"""What could not be read or copied: named, and no reason to stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ocitool.errors import CancelledError, OcitoolError, UsageError
from ocitool.task import Task


class Problem(NamedTuple):
    """What could not be read or copied, and why."""

    where: str
    error: OcitoolError


def without_context(error: OcitoolError) -> OcitoolError:
    """The error without what it was raised from: a traceback holds everything that was open there."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def problem_at(where: str, error: OcitoolError) -> Problem:
    """An error as a problem of a place, which its text names too."""
    inner = error.where or ""
    if where not in inner:
        error.where = where if inner in where else f"{where}: {inner}"
    return Problem(where, without_context(error))


class Tolerant:
    """A context in which an error is a problem of a place, and not raised: all but wrong words and the end of the task."""

    def __init__(self, where: str, take: Callable[[Problem], None]) -> None:
        self._where = where
        self._take = take

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, OcitoolError) or isinstance(error, CancelledError | UsageError):
            return False
        self._take(problem_at(self._where, error))
        return True


def refuse_nothing(left: Sequence[object], problems: Sequence[Problem], task: Task) -> None:
    """Raises the first of the problems if nothing else is left; the others are told."""
    if not left and problems:
        for one in problems[1:]:
            task.notice("problem", str(one.error))
        raise problems[0].error
