"""The configuration of an image on another base: the image's own settings stay, inherited ones follow the new base.

A three-way merge: each setting has a value in the old base, the new base and the image. If the image's value is the old
base's, the result is the new base's; otherwise the image's value stays, and if the new base changed it too, that is a
conflict. Variables, labels, ports and volumes are merged one by one, everything else as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_MEMBERS = ("Labels", "ExposedPorts", "Volumes")
_NOT_INHERITED = ("Image", "Hostname", "Domainname", "OnBuild")
"""Settings that are never inherited: what old builders recorded, and triggers, which ran during the build."""
_UNSET = object()


def merge_settings(old: Mapping[str, Any], new: Mapping[str, Any], mine: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Returns the merged `config` section, and the names of the settings that both the new base and the image changed.

    `old`, `new`, `mine`: the `config` section of the old base, the new base and the image.
    """
    made: dict[str, Any] = {}
    conflicts: list[str] = []
    for key in dict.fromkeys((*mine, *new)):
        a, b, c = (section.get(key, _UNSET) for section in (old, new, mine))
        value: Any
        if a == b or key in _NOT_INHERITED or (key == "Cmd" and old.get("Entrypoint") != mine.get("Entrypoint")):
            value = c  # an entrypoint of the image's own takes no arguments from a base
        elif a == c:
            value = b
        else:
            value = _merge_setting(key, _or_unset(a), _or_unset(b), _or_unset(c), conflicts)
            value = c if value is _UNSET and _or_unset(c) is _UNSET else value
        if value is not _UNSET:
            made[key] = value
    return made, conflicts


def _merge_setting(key: str, old: Any, new: Any, mine: Any, conflicts: list[str]) -> Any:
    """Returns the merged value of a setting that has three different values."""
    three = (old, new, mine)
    if key == "Env" and all(one is _UNSET or _is_environment(one) for one in three):
        return list(_merge_members(_variables(old), _variables(new), _variables(mine), "Env ", conflicts).values()) or _UNSET
    if key in _MEMBERS and all(one is _UNSET or isinstance(one, dict) for one in three):
        old, new, mine = ({} if one is _UNSET else one for one in three)
        return _merge_members(old, new, mine, f"{key} ", conflicts) or _UNSET
    return _merge_value(old, new, mine, key, conflicts)


def _merge_members(
    old: Mapping[str, Any], new: Mapping[str, Any], mine: Mapping[str, Any], prefix: str, conflicts: list[str]
) -> dict[str, Any]:
    """Merges members one by one; those of the new base come first, in its order."""
    found = {}
    for name in dict.fromkeys((*new, *mine)):
        value = _merge_value(old.get(name, _UNSET), new.get(name, _UNSET), mine.get(name, _UNSET), prefix + name, conflicts)
        if value is not _UNSET:
            found[name] = value
    return found


def _merge_value(old: Any, new: Any, mine: Any, name: str, conflicts: list[str]) -> Any:
    if mine == old:
        return new
    if new not in (old, mine):
        conflicts.append(name)
    return mine


def _or_unset(value: Any) -> Any:
    """Returns the value; `_UNSET` if it is absent, null or empty."""
    return value or _UNSET


def _is_environment(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(line, str) for line in value)


def _variables(lines: Any) -> dict[str, str]:
    return {} if lines is _UNSET else {line.partition("=")[0]: line for line in lines}


def own_history(base: Sequence[Mapping[str, Any]], mine: Sequence[dict[str, Any]], layers: int) -> list[dict[str, Any]]:
    """Returns the image's own history entries: those after the base's if it begins with these, else those after its
    first `layers` layers."""
    if [_build_step(entry) for entry in mine[: len(base)]] == [_build_step(entry) for entry in base]:
        return list(mine[len(base) :])
    made = [at for at, entry in enumerate(mine) if entry.get("empty_layer") is not True]
    return list(mine[made[layers - 1] + 1 :] if layers else mine)


def _build_step(entry: Mapping[str, Any]) -> tuple[Any, Any, bool]:
    return entry.get("created"), entry.get("created_by"), entry.get("empty_layer") is True
