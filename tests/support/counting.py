"""How much work something is, in calls of functions: a number that a busy machine does not change."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any


def calls(work: Callable[[], object]) -> int:
    """The calls that `work` makes in all threads, of functions in Python and of built-in ones. What happens within a built-in
    one, as a comparison of all items of a list, is not seen."""
    counted = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal counted
        if event in ("call", "c_call"):
            counted += 1

    before = sys.getprofile()
    threading.setprofile(count)
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
        threading.setprofile(None)
    return counted


def growth(work: Callable[[int], Callable[[], object]], size: int) -> float:
    """How many times as many calls are added as the size doubles twice: 2 if the work is linear, 4 if it is quadratic. What it
    costs at any size is left out, and so is what only its first run costs."""
    work(1)()
    one, two, four = (calls(work(count)) for count in (size, 2 * size, 4 * size))
    return (four - two) / max(1, two - one)
