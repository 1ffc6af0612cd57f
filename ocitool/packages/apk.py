"""Packages of Alpine and its kin: the database of apk-tools.

`installed` has a line for each field, a letter, a colon and a value, and an empty line after each package: `P` name, `V`
version, `A` architecture, `L` license, `o` origin (the source package); then `F` for each directory, and after it `R`
for each file in it. apk-tools 3 writes the same, in `usr/lib/apk/db` if `/lib` is a link to `/usr/lib`.

Source: apk-tools, `src/database.c` (apk_db_fdb_read) and `src/package.c`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ocitool.layers.entry import Entry, escapes, normalise
from ocitool.packages.package import Package
from ocitool.packages.paragraphs import paragraphs
from ocitool.packages.path_budget import PathBudget
from ocitool.patterns import byte_pattern

_INSTALLED = byte_pattern(rb"(?:usr/)?lib/apk/db(?:-uvol)?/installed")


_LINE = byte_pattern(rb"^([PVALoFR]):(.*)$", re.MULTILINE)


class ApkReader:
    """Reads the databases of apk in one tree. Bounds: those of `PathBudget`."""

    def __init__(self) -> None:
        self._contents: list[tuple[bytes, bytes]] = []
        self._budget = PathBudget()

    def database_of(self, path: bytes, entry: Entry) -> bytes | None:
        return path if path.endswith(b"/installed") and _INSTALLED.fullmatch(path) else None

    def add(self, path: bytes, content: bytes) -> None:
        self._contents.append((path, content))

    def packages(self) -> Iterator[Package]:
        for path, content in self._contents:
            for paragraph in paragraphs(content):
                package = _package(path, paragraph, self._budget)
                if package is not None:
                    yield package


def _package(path: bytes, paragraph: bytes, budget: PathBudget) -> Package | None:
    fields: dict[bytes, str] = {}
    files: list[bytes] = []
    directory = b""
    for line in _LINE.finditer(paragraph):
        letter, value = line[1], line[2]
        if letter == b"F":
            directory = _normal(value)
            if directory:
                budget.take(1, len(directory))
                files.append(directory)
        elif letter == b"R":
            if name := _normal(value):
                budget.take(1, len(directory) + len(name) + 1)
                files.append(directory + b"/" + name if directory else name)
        else:
            fields[letter] = value.decode("utf-8", "replace")
    package = fields.get(b"P", "")
    if not package:
        return None
    origin = fields.get(b"o", "")
    return Package(
        "apk", package, fields.get(b"V", ""), path, architecture=fields.get(b"A", ""), license=fields.get(b"L", ""),
        source="" if origin == package else origin, files=tuple(files),
    )  # fmt: skip


def _normal(path: bytes) -> bytes:
    """Returns a path without slashes around it; empty if it leaves the root."""
    path = path.strip(b"/")
    if b"./" in path or b"//" in path or path.endswith(b"."):
        path = normalise(path)
    return b"" if escapes(path) else path
