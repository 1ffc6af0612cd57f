"""Packages of Debian and its kin: the database of dpkg, and that of distroless images.

- `var/lib/dpkg/status`: a paragraph of fields for each package; `info/NAME.list` or `info/NAME:ARCHITECTURE.list`: the paths
  it installed; `diversions`: paths that were moved aside for the file of another package.
- `var/lib/dpkg/status.d/NAME` (distroless): a file for each package, with its regular files in `NAME.md5sums`.

Sources: dpkg(1), dpkg-query(1), deb-control(5), dpkg-divert(1).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ocitool.layers.entry import Entry, escapes, normalise
from ocitool.packages.package import DatabaseError, Package
from ocitool.packages.paragraphs import paragraphs
from ocitool.packages.path_budget import PathBudget
from ocitool.patterns import byte_pattern, pattern

_ROOT = b"var/lib/dpkg"
_STATUS, _DIVERSIONS = _ROOT + b"/status", _ROOT + b"/diversions"
_INFO, _STATUS_D = _ROOT + b"/info/", _ROOT + b"/status.d/"
_FIELD = byte_pattern(rb"^(Package|Status|Version|Architecture|Source):[ \t]*(.*)$", re.MULTILINE | re.IGNORECASE)
_NAME = byte_pattern(rb"^Package:", re.MULTILINE | re.IGNORECASE)
_CONFFILES = byte_pattern(rb"^Conffiles:[ \t]*\n((?:[ \t].*(?:\n|\Z))*)", re.MULTILINE | re.IGNORECASE)
_CONFFILE = byte_pattern(rb"^[ \t]+(/\S+)", re.MULTILINE)
_SOURCE = pattern(r"(\S+)(?:[ \t]+\(([^()]*)\))?")
_NOT_INSTALLED = frozenset({"config-files", "not-installed"})


class DpkgReader:
    """Reads the databases of dpkg in one tree. Bounds: those of `PathBudget`."""

    def __init__(self) -> None:
        self._status: list[tuple[bytes, bytes]] = []
        self._lists: dict[bytes, bytes] = {}
        """Name of a list without its ending -> its content, one path a line."""
        self._records: dict[bytes, list[bytes]] = {}
        """Name of a package's files in `info` without their endings -> their paths."""
        self._diversions: dict[bytes, tuple[bytes, str]] = {}
        self._budget = PathBudget()

    def database_of(self, path: bytes, entry: Entry) -> bytes | None:
        if not path.startswith(b"var/lib/dpkg/"):
            return None
        if path in (_STATUS, _DIVERSIONS):
            return _ROOT
        if path.startswith(_INFO):
            name, _, ending = path.removeprefix(_INFO).rpartition(b".")
            self._records.setdefault(name, []).append(path)
            return _ROOT if ending == b"list" else None
        return _ROOT if path.startswith(_STATUS_D) else None

    def add(self, path: bytes, content: bytes) -> None:
        if path == _STATUS:
            self._status.append((path, content))
        elif path == _DIVERSIONS:
            self._add_diversions(content)
        elif path.endswith((b".list", b".md5sums")):
            self._budget.take(content.count(b"\n") + 1, len(content))
            if path.startswith(_INFO):
                self._lists[path.removeprefix(_INFO).removesuffix(b".list")] = content
            else:  # a checksum, two spaces, and a path without leading slash
                lines = (line.partition(b"  ")[2] for line in content.split(b"\n"))
                self._lists[path.removesuffix(b".md5sums")] = b"\n".join(lines)
        else:
            self._status.append((path, content))

    def packages(self) -> Iterator[Package]:
        for path, content in self._status:
            if path == _STATUS and content.strip() and _NAME.search(content) is None:
                raise DatabaseError("no field Package")
            for paragraph in paragraphs(content):
                package = self._package(path, paragraph)
                if package is not None:
                    yield package

    def _add_diversions(self, content: bytes) -> None:
        """Takes the diversions: three lines each, the path, what it was moved to, and the package whose file it is now (`:`
        for none)."""
        self._budget.take(content.count(b"\n") + 1, len(content))
        lines = content.split(b"\n")
        for path, moved, owner in zip(lines[::3], lines[1::3], lines[2::3], strict=False):
            there = normalise(moved)
            if there and not escapes(there):
                self._diversions[normalise(path)] = (there, owner.decode("utf-8", "replace"))

    def _package(self, path: bytes, paragraph: bytes) -> Package | None:
        """Returns the package of a paragraph, None if it is not installed."""
        fields = {one[1].lower().decode(): one[2].strip().decode("utf-8", "replace") for one in _FIELD.finditer(paragraph)}
        name, version = fields.get("package", ""), fields.get("version", "")
        if not name or fields.get("status", "").rpartition(" ")[2] in _NOT_INSTALLED:
            return None
        architecture = fields.get("architecture", "")
        source = _SOURCE.match(fields.get("source", ""))
        source_name, source_version = (source[1], source[2] or "") if source is not None else ("", "")
        return Package(
            "deb", name, version, path, architecture=architecture,
            source="" if source_name == name else source_name,
            source_version="" if source_version == version else source_version,
            files=self._files(path, name, architecture, paragraph),
        )  # fmt: skip

    def _files(self, path: bytes, name: str, architecture: str, paragraph: bytes) -> tuple[bytes, ...]:
        """Returns the paths of a package: those of its list, its configuration files, and its files in `info`. Of paragraphs
        that claim the same list only the first gets it, or a small database would name any number of paths."""
        if path != _STATUS:
            return tuple(_listed(self._lists.pop(path, b"")))
        key = f"{name}:{architecture}".encode()
        if key not in self._records:
            key = name.encode()
        files = dict.fromkeys(_listed(self._lists.pop(key, b"")))
        if self._diversions:
            files = dict.fromkeys(self._diverted(file, name) for file in files)
        conffiles = _CONFFILES.search(paragraph)
        for conffile in _CONFFILE.finditer(conffiles[1]) if conffiles is not None else ():
            for file in _listed(conffile[1]):
                self._budget.take(1, len(file))
                files[self._diverted(file, name)] = None
        files.update(dict.fromkeys(self._records.pop(key, ())))
        return tuple(files)

    def _diverted(self, file: bytes, name: str) -> bytes:
        moved = self._diversions.get(file)
        return moved[0] if moved is not None and moved[1] != name else file


def _listed(content: bytes) -> Iterator[bytes]:
    """Yields the paths of a list without a leading slash. Those that leave the root are passed over."""
    for line in content.split(b"\n"):
        file = line[1:] if line.startswith(b"/") else line
        if b"./" in file or b"//" in line or file.endswith((b"/", b"/.")):
            file = normalise(file)
        if file and file != b"." and not escapes(file):
            yield file
