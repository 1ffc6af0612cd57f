"""The configuration of an image on another base: what the image itself says stays, what it had from the old base follows.

Three values meet for each setting: the old base's, the new base's and the image's. What the image has from the old base becomes
the new one's, what the image says itself stays; where both were changed the image's word counts, and that is a conflict.
Variables, labels, ports and volumes are compared one by one, everything else as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_MEMBERS = ("Labels", "ExposedPorts", "Volumes")
_GONE = object()


def settings(old: Mapping[str, Any], new: Mapping[str, Any], mine: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The `config` section on the new base, and the names of the settings that both the new base and the image changed."""
    made: dict[str, Any] = {}
    conflicts: list[str] = []
    for key in dict.fromkeys((*mine, *new)):
        a, b, c = (section.get(key) for section in (old, new, mine))
        if key == "Env" and all(_is_environment(value) for value in (a, b, c)):
            names = _merged(_variables(a), _variables(b), _variables(c), "Env ", conflicts)
            value: Any = list(names.values()) if names or c == [] else _GONE
        elif key in _MEMBERS and all(value is None or isinstance(value, dict) for value in (a, b, c)):
            members = _merged(a or {}, b or {}, c or {}, f"{key} ", conflicts)
            value = members if members or c == {} else None if key in mine and c is None else _GONE
        else:
            value = _one(old.get(key, _GONE), new.get(key, _GONE), mine.get(key, _GONE), key, conflicts)
        if value is not _GONE:
            made[key] = value
    return made, conflicts


def _merged(
    old: Mapping[str, Any], new: Mapping[str, Any], mine: Mapping[str, Any], prefix: str, conflicts: list[str]
) -> dict[str, Any]:
    """Members one by one, those of the new base first, in its order."""
    found = {}
    for name in dict.fromkeys((*new, *mine)):
        value = _one(old.get(name, _GONE), new.get(name, _GONE), mine.get(name, _GONE), prefix + name, conflicts)
        if value is not _GONE:
            found[name] = value
    return found


def _one(old: Any, new: Any, mine: Any, name: str, conflicts: list[str]) -> Any:
    if _is_nothing(mine) and _is_nothing(old):
        return mine if _is_nothing(new) else new
    if mine == old:
        return new
    if new not in (old, mine) and not (_is_nothing(new) and _is_nothing(old)):
        conflicts.append(name)
    return mine


def _is_nothing(value: Any) -> bool:
    return value is _GONE or value is None


def _is_environment(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(line, str) for line in value))


def _variables(lines: Sequence[str] | None) -> dict[str, str]:
    return {line.partition("=")[0]: line for line in lines or ()}


def own_history(base: Sequence[Mapping[str, Any]], mine: Sequence[dict[str, Any]], layers: int) -> list[dict[str, Any]]:
    """The image's own entries: those behind the base's, where it begins with them, else behind its first `layers` layers."""
    if [_step(entry) for entry in mine[: len(base)]] == [_step(entry) for entry in base]:
        return list(mine[len(base) :])
    made = [at for at, entry in enumerate(mine) if entry.get("empty_layer") is not True]
    return list(mine[made[layers - 1] + 1 :] if layers else mine)


def _step(entry: Mapping[str, Any]) -> tuple[Any, Any, bool]:
    return entry.get("created"), entry.get("created_by"), entry.get("empty_layer") is True
