"""Python distributions, as pip, uv, poetry and setuptools install them: `*.dist-info`, `*.egg-info`, `*.egg`.

Sources: "Recording installed projects" of the Python packaging specifications (METADATA, RECORD); setuptools' "The Internal
Structure of Python Eggs" (PKG-INFO, installed-files.txt).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ocitool.layers.entry import Entry
from ocitool.packages.file_lists import FileLists, shortened
from ocitool.packages.package import DatabaseError, Package

_FILE = re.compile(
    rb"(?P<site>(?:.*/)?)(?:"
    rb"(?P<info>[^/~][^/]*\.dist-info)/(?:METADATA|RECORD)"
    rb"|(?P<egg_info>[^/]+\.egg-info)(?:/(?:PKG-INFO|installed-files\.txt))?"
    rb"|(?P<egg>[^/]+\.egg)/EGG-INFO/PKG-INFO)",
    re.DOTALL,
)
"""A file that records a distribution: the directory that it is imported from (`site`), and the record or the egg in it. pip
renames to `~` what it could not remove, and passes it over."""
_LAST = (b"/METADATA", b"/RECORD", b".egg-info", b"/PKG-INFO", b"/installed-files.txt")
_CONDA_CACHE = re.compile(rb"(?:.*/)?pkgs/[^/]+-[^/]+-[^/]+/(?:lib/python[^/]*/)?site-packages/", re.DOTALL)
"""Where conda keeps the unpacked archives of what it installs: nothing is imported from there."""
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_MAX_NAME = 214
_MAX_VERSION = 256
_HEAD = 1 << 20
"""Bytes at the beginning of the metadata in which the fields are looked for; a description may follow."""
_FIELDS = frozenset({b"name", b"version", b"license", b"license-expression"})


@dataclass(slots=True)
class _Distribution:
    """What was read of one distribution so far; its files come in any order."""

    site: bytes
    """The directory that it is imported from, with a slash at the end unless that is the root."""
    metadata: bytes = b""
    """The path of the file with its fields."""
    fields: Mapping[bytes, str] = field(default_factory=dict)
    files: tuple[bytes, ...] = ()
    directory: bytes | None = None


class PythonReader:
    """Reads the distributions of each directory that has some; together they are one database. A distribution that another
    one lists among its files (setuptools carries a dozen) is part of it, and not a package of its own: pip lists none
    either. One that is recorded twice in its directory, as Debian has some, is one; what lists its files goes first.

    Names are normalised (PEP 503), so that a project that writes `PyYAML` today and `pyyaml` tomorrow keeps its name.
    """

    def __init__(self) -> None:
        self._found: dict[bytes, _Distribution] = {}
        self._lists = FileLists()

    def database_of(self, path: bytes, entry: Entry) -> bytes | None:
        if not path.endswith(_LAST):
            return None
        match = _FILE.fullmatch(path)
        if match is None or (b"pkgs/" in path and _CONDA_CACHE.match(path)):
            return None
        return match["site"].rstrip(b"/")

    def add(self, path: bytes, content: bytes) -> None:
        match = _FILE.fullmatch(path)
        if match is None:
            return
        site = match["site"]
        record = site + (match["info"] or match["egg_info"] or match["egg"])
        one = self._found.setdefault(record, _Distribution(site))
        if path.endswith(b"/RECORD"):
            one.files = self._lists.paths(map(_record_path, self._lists.lines(content)), site)
        elif path.endswith(b"/installed-files.txt"):
            one.files = self._lists.paths(self._lists.lines(content), record + b"/")
        else:
            one.fields, one.metadata = _metadata(content), path
            if not path.endswith(b".egg-info"):
                one.directory = record

    def packages(self) -> Iterator[Package]:
        sites = {one.metadata: one.site for one in self._found.values()}
        parts = {
            path
            for one in self._found.values()
            for path in one.files
            if path in sites and len(sites[path]) > len(one.site) and sites[path].startswith(one.site)
        }
        seen: set[tuple[bytes, str, str]] = set()
        for one in sorted(self._found.values(), key=lambda one: not one.files):
            if not one.fields or one.metadata in parts:
                continue
            name, version = re.sub(r"[-_.]+", "-", one.fields[b"name"]).lower(), one.fields[b"version"]
            if (one.site, name, version) not in seen:
                seen.add((one.site, name, version))
                license = one.fields.get(b"license-expression") or one.fields.get(b"license", "")
                yield Package(
                    "pypi", name, version, one.metadata, license=shortened(license), files=one.files, directory=one.directory
                )


def _metadata(content: bytes) -> dict[bytes, str]:
    """Returns the fields that are wanted of a METADATA or PKG-INFO file, by their names in small letters; of one that stands
    twice, the first. Raises `DatabaseError` if they name no distribution."""
    fields: dict[bytes, str] = {}
    for line in content[:_HEAD].splitlines():
        if not line.strip():
            break  # the description follows
        key, _, value = line.partition(b":")
        key = key.lower()
        if key in _FIELDS and key not in fields:
            fields[key] = value.strip().decode("utf-8", "replace")
    name, version = fields.get(b"name", ""), fields.get(b"version", "")
    if len(name) > _MAX_NAME or not _NAME.fullmatch(name) or not version or len(version) > _MAX_VERSION:
        raise DatabaseError("it names no distribution and version")
    return fields


def _record_path(line: bytes) -> bytes:
    """Returns the path of a line of RECORD, the first column of its CSV: rarely it is quoted."""
    if not line.startswith(b'"'):
        return line.partition(b",")[0]
    try:
        row = next(csv.reader([line.decode("utf-8", "surrogateescape")]), [])
    except csv.Error:  # a field of more than 128 kB
        return b""
    return row[0].encode("utf-8", "surrogateescape") if row else b""
