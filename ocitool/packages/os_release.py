"""The distribution of a tree, by its `os-release` file; see os-release(5)."""

from __future__ import annotations

import shlex

from ocitool.packages.package import Distribution

PATHS = (b"etc/os-release", b"usr/lib/os-release")
"""Where the file is: the first that exists counts."""


def distribution(content: bytes) -> Distribution | None:
    """Returns the distribution that the content of the file states, None if it states no `ID`."""
    stated: dict[str, str] = {}
    for line in content.decode("utf-8", "replace").splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and name in ("ID", "VERSION_ID"):
            stated[name] = _unquoted(value)
    name = stated.get("ID", "").lower()
    return Distribution(name, stated.get("VERSION_ID", "")) if name else None


def _unquoted(value: str) -> str:
    try:
        return "".join(shlex.split(value)[:1])
    except ValueError:  # a quotation that does not end
        return value
