"""Contents of small files that are kept beside the index of a layer: the databases of packages.

They are at hand while a layer is hashed. Without them a compressed layer, or one of a registry, would be read a second
time for a few of its files. Which files these are is told by their names alone; `ocitool.packages` reads them.
"""

from __future__ import annotations

import hashlib

from ocitool.errors import FormatError
from ocitool.layers.entry import Entry, Kind
from ocitool.layers.tar_runs import Run
from ocitool.layers.tarinput import TarInput
from ocitool.patterns import byte_pattern

ENDINGS = (
    b"/status", b"/diversions", b".list", b"/os-release", b"/installed", b"/rpmdb.sqlite", b"/Packages.db",
    b"/Packages", b"/METADATA", b"/RECORD", b"/PKG-INFO", b"/package.json", b".gemspec", b".json", b".txt",
)  # fmt: skip
"""Endings of the names that `_KEPT` takes: this quick test comes first, for every file of a layer."""

_KEPT = byte_pattern(
    rb"var/lib/dpkg/(?:status|diversions|info/[^/]+\.list)"
    rb"|(?:etc|usr/lib)/os-release"
    rb"|(?:usr/)?lib/apk/db(?:-uvol)?/installed"
    rb"|(?:var/lib/rpm|usr/lib/sysimage/rpm|usr/share/rpm)/(?:rpmdb\.sqlite|Packages|Packages\.db)"
    rb"|(?:.*/)?[^/]+\.(?:dist-info|egg-info)/(?:METADATA|RECORD|PKG-INFO|[a-z_-]+\.txt)"
    rb"|(?:.*/)?conda-meta/[^/]+\.json"
    rb"|(?:.*/)?node_modules/.*/package\.json"
    rb"|(?:.*/)?specifications/(?:default/)?[^/]+\.gemspec"
)

FILE = 16 << 20
"""Bytes of a file that is kept."""
LAYER = 24 << 20
"""Bytes of all kept files of a layer."""
_PARTS = (
    b"var/lib/dpkg/", b"/os-release", b"lib/apk/db", b"/rpm/", b".dist-info/", b".egg-info/", b"conda-meta/", b"node_modules/",
    b"specifications/",
)  # fmt: skip
"""What is in the names that `_KEPT` takes, one of them in each."""


class KeptContents:
    """Collects contents while a layer is read; at most `LAYER` bytes. `found`: by row of the index."""

    def __init__(self) -> None:
        self.found: dict[int, bytes] = {}
        self._room = LAYER

    def wants(self, entry: Entry) -> bool:
        """Returns whether the content of a regular file whose name has one of the `ENDINGS` is kept."""
        return entry.segments is None and self._wants(entry.path, entry.size)

    def _wants(self, path: bytes, size: int) -> bool:
        return size <= FILE and size <= self._room and _KEPT.fullmatch(path) is not None

    def keep(self, row: int, run: Run) -> None:
        """Keeps contents of a run of entries, whose first has this row."""
        joined = b"\0".join(run.paths)
        if not any(part in joined for part in _PARTS):
            return
        for number, path in enumerate(run.paths):
            if path.endswith(ENDINGS) and run.kinds[number] == Kind.FILE and self._wants(path, run.sizes[number]):
                self._room -= run.sizes[number]
                self.found[row + number] = run.content(number)

    def hashed(self, row: int, entry: Entry, tar: TarInput) -> bytes:
        """Keeps the content of the file whose data is next, and returns its SHA-256. Raises `FormatError`."""
        content = tar.read(entry.size)
        if len(content) != entry.size:
            raise FormatError(f"tar ends inside an entry, at offset {tar.offset}")
        self._room -= entry.size
        self.found[row] = content
        return hashlib.sha256(content).digest()
