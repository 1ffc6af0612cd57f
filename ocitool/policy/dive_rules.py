"""Reads `.dive-ci`, the rules of dive, as dive does: a rule that is not in the file has dive's default."""

from __future__ import annotations

from typing import Any

from ocitool.byte_sizes import byte_size
from ocitool.errors import UsageError
from ocitool.patterns import pattern
from ocitool.policy.budget import Budget, Limit

_DEFAULTS: dict[str, Any] = {
    "lowestEfficiency": "0.9",
    "highestWastedBytes": "disabled",
    "highestUserWastedPercent": "0.1",
}
_DISABLED = ("", "disabled", "off", "false")


def dive_budget(raw: bytes, where: str) -> Budget:
    """Returns the rules that are not disabled as limits. `raw`: the file; `where`: its name in errors. Raises `UsageError`."""
    import yaml

    try:
        document = yaml.safe_load(raw)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        problem = getattr(error, "problem", None) or "nested too deep or not text"
        raise UsageError(f"not YAML: {problem}", where) from None
    rules = document.get("rules", {}) if isinstance(document, dict) else document
    if not isinstance(rules or {}, dict):
        raise UsageError("no mapping `rules`", where)
    for key in rules or {}:
        if key not in _DEFAULTS:
            raise UsageError(f"unknown rule {key}", where, hint="one of " + ", ".join(_DEFAULTS))
    given = _DEFAULTS | (rules or {})
    return tuple(limit for key, value in given.items() if (limit := _limit(key, value, where)) is not None)


def _limit(key: str, value: Any, where: str) -> Limit | None:
    text = str(value if value is not None else "").strip()
    if text.lower() in _DISABLED:
        return None
    if key == "highestWastedBytes":
        size = _size(text)
        if size is None:
            raise UsageError(f"{key}: not a size: {text}", where, hint="20MB, 1.5GiB or disabled")
        return Limit(key, size)
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1
    if not 0 <= ratio <= 1:
        raise UsageError(f"{key}: not a number from 0 to 1: {text}", where)
    return Limit(key, least=ratio) if key == "lowestEfficiency" else Limit(key, ratio)


_NUMBER = pattern(r"([0-9]+(?:\.[0-9]+)?) *([kmgtKMGT]?)([iI]?)[bB]?")


def _size(text: str) -> int | None:
    """Returns a size as dive reads it: in either case, and without the B too."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    number, unit, binary = match.groups()
    unit = unit.upper() + binary.lower() if binary else {"": "", "k": "k"}.get(unit.lower(), unit.upper())
    return byte_size(number + unit + "B")
