"""Errors that do not end a command: images or files that could not be read or copied while others can."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ocitool.errors import CancelledError, OcitoolError, UsageError
from ocitool.task import Task


class Problem(NamedTuple):
    """The place of something that could not be read or copied, and the error."""

    where: str
    error: OcitoolError


def without_context(error: OcitoolError) -> OcitoolError:
    """Returns the error without traceback and causes: they would keep open files and other objects alive."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def problem_at(where: str, error: OcitoolError) -> Problem:
    """Returns an error as a problem of a place. The error's `where` gets the place as well."""
    inner = error.where or ""
    if where not in inner:
        error.where = where if inner in where else f"{where}: {inner}"
    return Problem(where, without_context(error))


class Tolerant:
    """A context manager that passes an error to `take` as a problem of a place. `UsageError`, `CancelledError` and
    errors of other kinds are raised."""

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
    """Raises the first of the problems if nothing is left; the others become notices."""
    if not left and problems:
        for one in problems[1:]:
            task.notice("problem", str(one.error))
        raise problems[0].error
