"""Writes measured numbers into the budget of a policy file; all else in it stays as it is, comments too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ocitool.errors import UsageError
from ocitool.policy.budget import BudgetLine

NEW = ("size", "layers", "waste")
"""The limits of a budget that `--update` begins."""


class UpdatedLimit(NamedTuple):
    """A limit that was written. `before`, `after`: as they are spelled in the file; `before` is None for a new one."""

    name: str
    before: str | None
    after: str


def updated(raw: bytes, lines: Sequence[BudgetLine], where: str, *, headroom: int) -> tuple[bytes, tuple[UpdatedLimit, ...]]:
    """Returns a policy file whose limits are those of `lines`, set to what `limit_for` says, and which of them changed.
    `raw`: the file, empty to begin one. Limits that were not measured, and percentages, are left: of a percentage
    the floor alone is a number of bytes. Raises `UsageError` if the file is not TOML."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        document: Any = tomlkit.parse(raw.decode())
    except (TOMLKitError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"not TOML: {error}", where) from None
    if "budget" not in document:
        document["budget"] = tomlkit.table()
    budget = document["budget"]
    changes = []
    for line in lines:
        limit = line.given
        if not is_written(line):
            continue
        number = limit_for(line, headroom)
        value = number if limit.about.unit == "layers" else _spelled(number)
        table, key = (budget["paths"], limit.glob) if limit.glob is not None else (budget, limit.key)
        before = table.get(key)
        if before is None or str(before) != str(value):
            table[key] = value
            changes.append(UpdatedLimit(limit.name, None if before is None else str(before), str(value)))
    return tomlkit.dumps(document).encode(), tuple(changes)


def is_written(line: BudgetLine) -> bool:
    """Returns whether an update writes a limit: if its value was measured and it is not a percentage."""
    return line.actual is not None and line.given.percent is None


def limit_for(line: BudgetLine, headroom: int) -> int:
    """Returns the limit that an update gives to a measured value: a number of layers as it is, a size with `headroom` per cent
    more, rounded up to three digits. A negative growth counts as none."""
    value = max(0, int(line.actual or 0))
    if line.given.about.unit != "bytes":
        return value
    value += -(-value * headroom // 100)
    step = int(10 ** max(0, len(str(value)) - 3))
    return -(-value // step) * step


def _spelled(size: int) -> str:
    """Returns a size that `limit_for` made, exactly: `412MB`, `1.03GB`."""
    for step, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= step:
            return f"{size // step}.{size % step * 1000 // step:03}".rstrip("0").rstrip(".") + name
    return f"{size}B"
