"""What is notable about changed settings: the documents of two images."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ocitool import masking
from ocitool.comparison import path_roles
from ocitool.comparison.config_changes import BOOKKEEPING, escaped
from ocitool.comparison.result import ConfigChange, NotableFact, Quoted
from ocitool.images.image import Image
from ocitool.patterns import pattern
from ocitool.spec.manifest import Config

_COMMANDS = ("Entrypoint", "Cmd", "Shell", "Healthcheck", "OnBuild")
_LARGEST_USER = (1 << 31) - 1

Placed = Iterator[tuple[str, NotableFact]]
"""Findings, each with the JSON pointer of the setting."""


def of_config(before: Image, after: Image, *, alone: bool) -> Placed:
    """Yields what is notable about the settings as a whole. `alone`: the image is compared with none, so settings
    that every image has are not notable."""
    yield from _of_user(before.config, after.config, alone=alone)
    known = {finding for _, finding in _exploits(before.config)}
    yield from ((pointer, finding) for pointer, finding in _exploits(after.config) if finding not in known)
    if alone:
        return
    for name, rule, what in (("ExposedPorts", "port", "new port "), ("Volumes", "volume", "new volume ")):
        for key in sorted(set(after.config.keys(name)) - set(before.config.keys(name))):
            yield f"/config/{name}/{escaped(key)}", NotableFact(rule, (what, Quoted(key)), key=key)
    if before.layers or before.config.fields:  # else all of it is new, and so are its commands
        for name in _COMMANDS:
            one, other = (_command(image.config.settings, name) for image in (before, after))
            if one != other:
                what = "changed" if one and other else "is new" if other else "is gone"
                yield f"/config/{name}", NotableFact("command", (f"{name} {what}",), key=name)


def _of_user(before: Config, after: Config, *, alone: bool) -> Placed:
    old, new = (str(config.settings.get("User") or "") for config in (before, after))
    if alone:
        if _is_root(new):
            yield "/config/User", NotableFact("user-root", ("USER is root",), "info")
    elif _is_root(new) and not _is_root(old):
        yield "/config/User", NotableFact("user-root", ("USER was ", Quoted(old), " and is root now"))
    elif new != old and not _is_root(new) and not _is_root(old):
        yield "/config/User", NotableFact("user", ("USER was ", Quoted(old), " and is ", Quoted(new), " now"))


def _command(settings: Mapping[str, object], name: str) -> object:
    found = settings.get(name) or None
    return found.get("Test") or None if isinstance(found, dict) else found


def _is_root(user: str) -> bool:
    """Returns whether a `USER` is root, with any group: `0`, `root:app` and an empty string are."""
    name = user.partition(":")[0]
    return name == "root" or not name.strip("0")


# Content that engines were exploited by


def _exploits(config: Config) -> Placed:
    settings = config.settings
    for position, item in enumerate(_list(settings.get("Env"))):
        name, equals, value = str(item).partition("=")
        if not equals or not name:
            yield _exploit(f"Env/{position}", "an entry without = takes the value of the host", name, "CVE-2026-57231", name)
        elif name == "HOME" and re.search(r"[\r\n]", value):
            what = "a line break in HOME adds lines to /etc/passwd"
            yield _exploit(f"Env/{position}", what, "", "CVE-2022-4318, CVE-2026-15809", name)
    labels = settings.get("Labels")
    for name in labels if isinstance(labels, dict) else ():
        if name.startswith("containerd.io/restart."):
            what = "a label of containerd's restart monitor may run a program of the host"
            yield _exploit(f"Labels/{escaped(name)}", what, "", "CVE-2026-53488", name)
    for name, advisory in (("WorkingDir", "CVE-2024-21626"), ("Entrypoint", "CVE-2019-5736"), ("Cmd", "CVE-2019-5736")):
        stated = settings.get(name)
        first: object = next(iter(_list(stated)), stated)
        if isinstance(first, str) and path_roles.of_process(first):
            yield _exploit(name, f"{name} is a file of a process", first, advisory)
    for volume in config.keys("Volumes"):
        if found := _of_volume(volume):
            yield _exploit(f"Volumes/{escaped(volume)}", found[0], "", found[1], volume)
    user = str(settings.get("User") or "")
    if any(len(part) > 9 and part.isdecimal() and int(part[:20]) > _LARGEST_USER for part in user.split(":")):
        yield _exploit("User", "a number above 2147483647 may run as root", user, "CVE-2024-40635, CVE-2026-46680")


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _exploit(place: str, what: str, shown: str, advisory: str, key: str | None = None) -> tuple[str, NotableFact]:
    quoted = (": ", Quoted(shown)) if shown else ()
    return f"/config/{place}", NotableFact("engine-exploit", (f"{what} ({advisory})", *quoted), key=key)


def _of_volume(volume: str) -> tuple[str, str] | None:
    """Returns what a volume at this path was used for, and the advisory."""
    parts = [part for part in volume.split("/") if part not in ("", ".")]
    if ".." in parts or not parts:
        return "a volume with this path reads files of the host", "CVE-2022-23648"
    return ("a volume over /proc switches AppArmor off", "CVE-2019-16884") if parts[0] == "proc" else None


# Single settings


def of_settings(changes: Iterable[ConfigChange], *, alone: bool) -> Placed:
    """Yields what is notable about changed settings. A secret in the history is left out if it is in a setting too."""
    told: Counter[str] = Counter()
    history: list[ConfigChange] = []
    for change in changes:
        if change.kind == "removed" or change.pointer.startswith(BOOKKEEPING):
            continue
        if change.pointer.startswith("/history/"):
            history.append(change)
            continue
        new = _secrets(change.after, change.name) - _secrets(change.before, change.name)
        told.update(new)
        yield from _secret(change, new.total())
        if change.document == "config" and change.key is not None:
            if change.key in (path_roles.PRELOADING if alone else path_roles.LOADER_VARIABLES):
                said = (f"{change.key} decides which code programs load",)
                yield change.pointer, NotableFact("loader", said, key=change.key)
            if change.key == "PATH":
                yield from ((change.pointer, finding) for finding in _of_path(change, alone=alone))
    for change in history:
        new = _secrets(change.after, change.name) - _secrets(change.before, change.name)
        yield from _secret(change, sum(count for value, count in new.items() if value not in told))


def _secret(change: ConfigChange, count: int) -> Placed:
    """Yields that a setting has `count` new values that look secret."""
    if count:
        what = "a value that looks secret is new" if count == 1 else f"{count} values that look secret are new"
        rule, named = _place(change)
        said = (what, ": ", Quoted(change.name)) if named else (what,)
        yield change.pointer, NotableFact(rule, said, key=change.name if named else None)


def _place(change: ConfigChange) -> tuple[str, bool]:
    """Returns the rule for a secret in a setting, and whether the name of the setting says where it is."""
    if change.document == "config" and change.key is not None:
        return "secret-env", True
    if "/Labels/" in change.pointer or "/annotations/" in change.pointer:
        return "secret-label", True
    return ("secret-env", False) if change.pointer.startswith("/config/Env") else ("secret-command", False)


def _secrets(value: object, name: str) -> Counter[str]:
    return Counter(masking.hidden(value, name))


_VERSION = pattern(r"[0-9][0-9A-Za-z.+~_-]*")
_WRITABLE = ("/tmp", "/var/tmp", "/dev/shm", "/run/lock")
"""Directories that every user may write."""


def _of_path(change: ConfigChange, *, alone: bool) -> Iterator[NotableFact]:
    """Yields what is notable about another `PATH`: which programs are found first. Another version in the name of a directory
    is the same directory."""
    old, new = _directories(change.before), _directories(change.after)
    for directory in new:
        if directory not in old and (directory[:1] not in ("/", "$") or directory.startswith(_WRITABLE)):
            what = "every user may write" if directory[:1] == "/" else "depends on the working directory"
            yield NotableFact("path-prefix", (f"PATH has a directory that {what}: ", Quoted(directory or ".")), key="PATH")
            return
    if alone or not old or old == new:
        return
    before, after = ([_VERSION.sub("0", one) for one in side] for side in (old, new))
    first = new[: next((place for place, one in enumerate(after) if one in before), len(after))]
    if first:
        said = ("PATH begins with ", Quoted(":".join(first)), " now: its programs are found before others")
        yield NotableFact("path-prefix", said, key="PATH")
    elif [one for one in before if one in after] != [one for one in after if one in before]:
        yield NotableFact("path-prefix", ("PATH has another order",), key="PATH")
    else:
        yield NotableFact("path-prefix", ("PATH changed, not which programs are found first",), "info", "PATH")


def _directories(value: Any) -> list[str]:
    """Returns the directories of a `PATH` of Linux; of several entries those of the last."""
    last = value[-1] if isinstance(value, list) and value else value
    return last.split(":") if isinstance(last, str) and last and "\\" not in last else []
