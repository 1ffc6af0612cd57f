"""Packages of npm, yarn and pnpm: a `package.json` for each directory of a package below `node_modules`.

Sources: npm's `package.json` and "folders", which say how packages nest; pnpm's "symlinked node_modules structure".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ocitool import limits
from ocitool.layers.entry import Entry
from ocitool.packages.file_lists import FileLists, shortened
from ocitool.packages.json_text import json_object, valid_text
from ocitool.packages.package import Package

_PACKAGE = rb"(?:@[^/@.][^/]*/)?[^/@.][^/]*"
_BELOW = re.compile(
    rb"(?:(?:%(package)s|\.[^/]+/[^/]+)/node_modules/)*(?:%(package)s|\.store/[^/]+/package)/package\.json"
    % {b"package": _PACKAGE}
)
"""What follows the outermost `node_modules/` in the path of a package's `package.json`: packages nest directly, and stores
(`.pnpm/NAME@VERSION/node_modules/NAME`) are directories with a dot. Other files of this name are no installed packages:
`dist/esm/package.json` states the kind of modules, `test/node_modules/x` belongs to a test."""
_MAX_COMMANDS = 100
_MAX_NAME = 214
_MAX_VERSION = 256


class NpmReader:
    """Reads the packages below each outermost `node_modules`; all of them are one database."""

    def __init__(self) -> None:
        self._found: list[Package] = []
        self._lists = FileLists()

    def database_of(self, path: bytes, entry: Entry) -> bytes | None:
        if not path.endswith(b"/package.json"):
            return None
        at = 0 if path.startswith(b"node_modules/") else path.find(b"/node_modules/") + 1 or None
        if at is None:
            return None
        end = at + len(b"node_modules")
        return path[:end] if _BELOW.fullmatch(path, end + 1) else None

    def add(self, path: bytes, content: bytes) -> None:
        fields = json_object(content, limits.DOCUMENT)
        name, version = _text(fields.get("name"), _MAX_NAME), _text(fields.get("version"), _MAX_VERSION)
        scope, _, bare = name.rpartition("/") if name.startswith("@") else ("", "", name)
        if not bare or not version:
            return  # npm installs no package without them
        directory = path.rpartition(b"/")[0]
        self._found.append(
            Package(
                "npm", bare, version, path, namespace=scope, license=_license(fields), directory=directory,
                files=self._lists.paths(_commands(fields.get("bin"), bare, directory), b""),
            )
        )  # fmt: skip

    def packages(self) -> Iterator[Package]:
        yield from self._found


def _text(value: object, most: int) -> str:
    """Returns a string of at most `most` characters, any other value as an empty one."""
    return valid_text(value) if isinstance(value, str) and len(value) <= most else ""


def _license(fields: dict[str, Any]) -> str:
    """Returns the licence; older packages state it as `{"type": ...}` or as a list of those."""
    stated = fields.get("license") or fields.get("licenses")
    names = [one.get("type") if isinstance(one, dict) else one for one in (stated if isinstance(stated, list) else [stated])]
    return shortened(" OR ".join(valid_text(name) for name in names if isinstance(name, str)))


def _commands(stated: object, name: str, directory: bytes) -> Iterator[bytes]:
    """Yields the links to a package's commands: in `.bin` beside it, or in `PREFIX/bin` for one that is installed globally,
    in `PREFIX/lib/node_modules`."""
    names = [name] if isinstance(stated, str) else list(stated)[:_MAX_COMMANDS] if isinstance(stated, dict) else []
    beside = directory.rpartition(b"/")[0]
    if beside.rpartition(b"/")[2].startswith(b"@"):
        beside = beside.rpartition(b"/")[0]
    prefix = beside.removesuffix(b"lib/node_modules")
    links = beside + b"/.bin/" if prefix == beside else prefix + b"bin/"
    for one in names:
        command = one.encode("utf-8", "replace")
        if command and b"/" not in command:
            yield links + command
