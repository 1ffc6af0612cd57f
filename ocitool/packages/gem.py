"""Ruby gems: the specifications that RubyGems wrote when it installed them. Nothing of Ruby is run.

RubyGems writes each specification by itself (`Gem::Specification#to_ruby`), in one form: a line for its own quick reading
(`# stub: NAME VERSION PLATFORM PATHS`), then one assignment a line. Only that form is read; what a person wrote, as in a
gem's own source, is in other directories.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain

from ocitool import limits
from ocitool.layers.entry import Entry
from ocitool.packages.file_lists import FileLists, shortened
from ocitool.packages.package import DatabaseError, Package

_PATH = re.compile(rb"(?P<root>(?:.*/)?)specifications/(?P<default>default/)?[^/]+\.gemspec", re.DOTALL)
_STUB = re.compile(rb"^# stub: (?P<name>[^ \n]{1,214}) (?P<version>[^ \n]{1,256}) (?P<platform>[^ \n]{1,256}) ", re.MULTILINE)
_ASSIGNED = re.compile(
    rb"^ {1,4}s\.(?P<field>name|version|platform|licenses?|executables|files|bindir) = (?P<value>.*)$", re.MULTILINE
)
_STRING = re.compile(rb'"((?:[^"\\]|\\.)*+)(?:"|\\?\Z)')
"""One that does not end goes to the end of the line, so that none of its characters is looked at twice."""
_HEAD = 64 * 1024
"""Bytes at the beginning in which the stub line stands."""
_MAX_COMMANDS = 100
_RUBY_DIRECTORY = re.compile(rb"(?P<prefix>(?:.*/)?)lib/ruby/gems/(?P<version>[^/]+)/", re.DOTALL)


class GemReader:
    """Reads the specifications of each directory of gems; together they are one database."""

    def __init__(self) -> None:
        self._found: list[Package] = []
        self._lists = FileLists()

    def database_of(self, path: bytes, entry: Entry) -> bytes | None:
        match = _PATH.fullmatch(path) if path.endswith(b".gemspec") else None
        return match["root"] + b"specifications" if match else None

    def add(self, path: bytes, content: bytes) -> None:
        match = _PATH.fullmatch(path)
        if match is None:
            return
        if len(content) > limits.DOCUMENT_SIZE:
            raise DatabaseError(f"it is larger than {limits.DOCUMENT_SIZE} bytes")
        fields = {one["field"]: one["value"] for one in _ASSIGNED.finditer(content)}
        stub = _STUB.search(content, 0, _HEAD)
        name, version, platform = (
            (stub["name"], stub["version"], stub["platform"])
            if stub
            else (_string(fields, b"name"), _string(fields, b"version"), _string(fields, b"platform") or b"ruby")
        )
        if not name or not version or b"/" in name + version + platform:
            raise DatabaseError("it names no gem and version")
        full = name + b"-" + version + (b"" if platform == b"ruby" else b"-" + platform)
        licenses = _strings(fields.get(b"licenses", b"")) or _strings(fields.get(b"license", b""))
        root = match["root"]
        commands = _strings(fields.get(b"executables", b""))[:_MAX_COMMANDS]
        files = chain(
            (path, root + b"cache/" + full + b".gem", root + b"build_info/" + full + b".info"),
            chain.from_iterable(_command_paths(root, command) for command in commands),
            _default_paths(root, _strings(fields.get(b"files", b""))) if match["default"] else (),
        )
        self._found.append(
            Package(
                "gem", name.decode("utf-8", "replace"), version.decode("utf-8", "replace"), path,
                architecture="" if platform == b"ruby" else platform.decode("utf-8", "replace"),
                license=shortened(" OR ".join(one.decode("utf-8", "replace") for one in licenses)),
                files=self._lists.paths(files, b""), directory=root + b"gems/" + full,
            )
        )  # fmt: skip

    def packages(self) -> Iterator[Package]:
        yield from self._found


def _strings(value: bytes) -> list[bytes]:
    """Returns the strings of a Ruby array or of one string, such as `["a".freeze, "b".freeze]`. Escapes stay as they are."""
    return _STRING.findall(value)


def _string(fields: dict[bytes, bytes], name: bytes) -> bytes:
    return next(iter(_strings(fields.get(name, b""))), b"")


def _command_paths(root: bytes, command: bytes) -> Iterator[bytes]:
    """Yields where RubyGems puts a command: into `bin` of the directory of gems, or of the prefix of Ruby itself."""
    if b"/" not in command:
        yield root + b"bin/" + command
        own = _RUBY_DIRECTORY.fullmatch(root)
        if own is not None:
            yield own["prefix"] + b"bin/" + command


def _default_paths(root: bytes, files: list[bytes]) -> Iterator[bytes]:
    """Yields the files of a gem that comes with Ruby: they are in Ruby's own library, not in a directory of the gem."""
    own = _RUBY_DIRECTORY.fullmatch(root)
    if own is not None:
        for file in files:
            if file.startswith(b"lib/"):
                yield own["prefix"] + b"lib/ruby/" + own["version"] + b"/" + file.removeprefix(b"lib/")
