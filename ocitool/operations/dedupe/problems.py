"""What could not be read: named, and no reason to stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ocitool.errors import CancelledError, OcitoolError, UsageError


class Problem(NamedTuple):
    """What could not be read, and why."""

    where: str
    error: OcitoolError


def plain(error: OcitoolError) -> OcitoolError:
    """The error without what it was raised from: a traceback holds everything that was open there."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


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
        where = error.where or ""
        if self._where not in where:
            error.where = self._where if where in self._where else f"{self._where}: {where}"
        self._take(Problem(self._where, plain(error)))
        return True
