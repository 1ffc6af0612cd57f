"""Finds and reads the policy of a repository: `.ocitool.toml`, or `.dive-ci` if there is none."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ocitool.byte_sizes import byte_size
from ocitool.errors import NotFoundError, UsageError
from ocitool.globs import Matcher
from ocitool.limits import MiB
from ocitool.policy.acceptance import Accept
from ocitool.policy.budget import KEYS, Budget, Limit
from ocitool.policy.dive_rules import dive_budget

NAME, DIVE_NAME = ".ocitool.toml", ".dive-ci"
LARGEST = 1 * MiB
"""Most bytes of a policy file."""

_TABLES = {"accept", "budget", "fail-on"}
_ACCEPT = {"rule", "path", "name", "reason", "until"}


class Policy(NamedTuple):
    """What a repository accepts and allows. `path`: the file. `fail_on`: rules that count if the command line gives none.
    `raw`: its bytes."""

    path: str
    accept: tuple[Accept, ...] = ()
    budget: Budget = ()
    fail_on: tuple[str, ...] = ()
    raw: bytes = b""


def find(start: Path, names: Sequence[str] = (NAME, DIVE_NAME)) -> Path | None:
    """Returns the policy file of the repository that a directory is in: the nearest one from the directory up to the one
    that has `.git`. Without a repository only the directory itself is looked into: what lies above may be another user's."""
    for directory in _directories(start):
        for name in names:
            if (found := directory / name).is_file():
                return found
    return None


def applicable(path: str | None) -> Policy | None:
    """Returns the policy of a comparison: that of the file, if one is named, else the `.ocitool.toml` of the repository; None
    if there is none. Rules of dive are about one image: here they count only if their file is named."""
    if path is not None:
        return read(path)
    found = find(Path.cwd(), (NAME,))
    return read(found) if found is not None else None


def beginning(start: Path) -> Path:
    """Returns where a policy begins if there is none: at the top of the repository, else in the directory itself."""
    return list(_directories(start))[-1] / NAME


def _directories(start: Path) -> Iterator[Path]:
    above = [start, *start.parents]
    for number, directory in enumerate(above):
        if (directory / ".git").exists():
            yield from above[: number + 1]
            return
    yield start


def read(path: str | os.PathLike[str]) -> Policy:
    """Returns the policy of a file: rules of dive if it is called `.dive-ci` or has an ending of YAML, else TOML. Raises
    `UsageError` for anything that is not understood: a misspelt limit would never be exceeded."""
    where = os.fspath(path)
    try:
        with open(path, "rb") as file:
            raw = file.read(LARGEST + 1)
    except FileNotFoundError:
        raise NotFoundError("no such policy file", where) from None
    except OSError as error:
        raise UsageError(f"the policy cannot be read: {error.strerror}", where) from None
    if len(raw) > LARGEST:
        raise UsageError(f"the policy has more than {LARGEST} bytes", where)
    import tomllib

    if os.path.basename(where) == DIVE_NAME or where.endswith((".yaml", ".yml")):
        return Policy(where, budget=dive_budget(raw, where), raw=raw)
    try:
        document = tomllib.loads(raw.decode())
    except (tomllib.TOMLDecodeError, RecursionError, UnicodeDecodeError) as error:
        raise UsageError(f"not TOML: {error}", where) from None
    return policy(document, where)._replace(raw=raw)


def policy(document: Mapping[str, Any], where: str) -> Policy:
    """Returns the policy of a parsed document. Raises `UsageError`."""
    _known("table", document, _TABLES, where)
    entries = document.get("accept", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UsageError("accept: not a list of tables", where, hint="write [[accept]] above each entry")
    rules = document.get("fail-on", [])
    if not isinstance(rules, list) or not all(isinstance(rule, str) for rule in rules):
        raise UsageError("fail-on: not a list of rules", where, hint='fail-on = ["security"]')
    accept = tuple(_accept(entry, number, where) for number, entry in enumerate(entries, 1))
    budget = document.get("budget", {})
    if not isinstance(budget, dict):
        raise UsageError("budget: not a table", where, hint="write [budget] above its limits")
    return Policy(where, accept, tuple(_limits(budget, where)), tuple(rules))


def _known(what: str, given: Mapping[str, Any], names: Any, where: str) -> None:
    for name in given:
        if name not in names:
            raise UsageError(f"unknown {what} {name}", where, hint="one of " + ", ".join(sorted(names)))


def _accept(entry: Mapping[str, Any], number: int, where: str) -> Accept:
    what = f"accept entry {number}"
    _known(f"key in {what}:", entry, _ACCEPT, where)
    texts = {key: entry.get(key) for key in ("rule", "path", "name", "reason")}
    for key, text in texts.items():
        if text is not None and not isinstance(text, str):
            raise UsageError(f"{what}: {key} is not a string", where)
    if not texts["rule"]:
        raise UsageError(f"{what}: no rule", where)
    if not (texts["reason"] or "").strip():
        raise UsageError(f"{what}: no reason", where, hint="a reviewer wants to know why it is accepted")
    if texts["path"] is not None:
        try:
            Matcher([texts["path"]])
        except UsageError as error:
            raise UsageError(f"{what}: path: {error.what}", where) from None
    until = entry.get("until")
    if isinstance(until, datetime.datetime):
        until = until.date()
    if isinstance(until, str):
        try:
            until = datetime.date.fromisoformat(until)
        except ValueError:
            raise UsageError(f"{what}: until is not a date: {until}", where, hint="until = 2027-01-31") from None
    if until is not None and not isinstance(until, datetime.date):
        raise UsageError(f"{what}: until is not a date", where, hint="until = 2027-01-31")
    return Accept(texts["rule"], texts["path"], texts["name"], texts["reason"] or "", until, number)


def _limits(budget: Mapping[str, Any], where: str) -> Iterator[Limit]:
    _known("limit", budget, {*KEYS, "paths"}, where)
    for key, value in budget.items():
        if key != "paths":
            yield _limit(key, value, where)
            continue
        if not isinstance(value, dict):
            raise UsageError("budget.paths: not a table", where, hint='"/usr/lib/**" = "200MB" below [budget.paths]')
        for glob, size in value.items():
            try:
                Matcher([glob])
            except UsageError as error:
                raise UsageError(f"budget.paths: {glob}: {error.what}", where) from None
            yield Limit("paths", _size(f"budget.paths: {glob}", size, where), glob=glob)


def _limit(key: str, value: Any, where: str) -> Limit:
    about = KEYS[key]
    what = f"budget.{key}"
    if about.unit == "layers":
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise UsageError(f"{what}: not a number of layers", where)
        return Limit(key, value)
    if not isinstance(value, dict):
        if isinstance(value, str) and value.strip().endswith("%"):
            hint = f'{key} = {{ percent = 5, floor = "10MB" }}: of a small image, 5% is next to nothing'
            raise UsageError(f"{what}: a percentage needs a floor in bytes", where, hint=hint)
        return Limit(key, _size(what, value, where))
    if about.of is None:
        raise UsageError(f"{what}: not a size", where, hint=f'{key} = "500MB"')
    _known(f"key in {what}:", value, {"percent", "floor"}, where)
    percent = value.get("percent")
    if not isinstance(percent, int | float) or isinstance(percent, bool) or not 0 <= percent <= 1e6:
        raise UsageError(f"{what}: percent is not a number", where)
    if "floor" not in value:
        raise UsageError(f"{what}: a percentage needs a floor in bytes", where, hint='floor = "10MB"')
    return Limit(key, _size(f"{what}.floor", value["floor"], where), float(percent))


def _size(what: str, value: Any, where: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63:
        return value
    size = byte_size(value.strip()) if isinstance(value, str) else None
    if size is None:
        raise UsageError(f"{what}: not a size", where, hint='"20MB", "1.5GiB" or a number of bytes')
    return size
