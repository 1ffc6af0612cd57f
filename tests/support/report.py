"""Reports as the command printed them, held against their schemas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ocitool.spec import schema

WRITERS = ("copy", "pull", "push", "repack", "append", "edit", "squash", "rebuild", "rebase", "engine-commit")
"""Commands that write images: one schema, `report-written`, is for all of them."""


class Printed(Protocol):
    code: int

    def json(self) -> Any: ...


def report_of(result: Printed, *codes: int) -> Any:
    """The JSON report of a run that ended with one of these codes (0 when none is given); it validates."""
    assert result.code in (codes or (0,)), str(result)
    found = result.json()
    name = "written" if found["report"] in WRITERS else found["report"]
    problems = [f"{p.pointer}: {p.message}" for p in schema.problems(f"report-{name}", found)]
    assert problems == [], f"{problems}\n{result}"
    return found


def done(run: Callable[..., Printed], *words: str, code: int = 0) -> Any:
    """The JSON report of a command that ended with this code."""
    return report_of(run(*words, "--format", "json"), code)
