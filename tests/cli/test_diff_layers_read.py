"""Which layers `diff` reads for packages, beside those that it reads anyway."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.images import AnyEntry, image, layer_tar, write_layout
from support.packages import stanza
from support.report import report_of

from ocitool.blob import FileBlob
from ocitool.layers.codecs import SNIFF

Run = Callable[..., Any]
RELEASE: AnyEntry = ("etc/os-release", b"ID=debian\nVERSION_ID=12\n")
PLAIN: list[AnyEntry] = [("srv/data", bytes(20_000))]
"""A layer without a database."""


def status(version: str) -> list[AnyEntry]:
    """A layer that updates a package."""
    return [*((name, None) for name in ("var/", "var/lib/", "var/lib/dpkg/")), ("var/lib/dpkg/status", stanza("ssl", version))]


DPKG: list[AnyEntry] = [
    RELEASE,
    *status("1.0"),
    ("var/lib/dpkg/info/ssl.list", b"/.\n/usr/lib/ssl.so\n"),
    ("usr/lib/ssl.so", b"1"),
]


def npm(version: str) -> list[AnyEntry]:
    return [
        *((name, None) for name in ("app/", "app/node_modules/", "app/node_modules/a/")),
        ("app/node_modules/a/package.json", b'{"name": "a", "version": "%s"}' % version.encode()),
    ]


class Layouts:
    """Two images, before and after, of which reading is counted."""

    def __init__(self, place: Path, before: Sequence[list[AnyEntry]], after: Sequence[list[AnyEntry]]) -> None:
        self.places = place / "before", place / "after"
        self._names: dict[str, str] = {}
        for side, layers in zip(self.places, (before, after), strict=True):
            made = image([layer_tar(entries) for entries in layers], codec="gzip")
            write_layout(side, [made])
            for number, layer in enumerate(made.manifest["layers"]):
                name = f"{number} shared" if before[number] == after[number] else f"{number} {side.name}"
                self._names[layer["digest"].partition(":")[2]] = name

    def read_by(self, ocitool: Run, *words: str) -> tuple[Counter[str], list[str]]:
        """Returns how often `diff` began to read each layer, and the packages that it names."""
        begun: Counter[str] = Counter()
        pread = FileBlob.pread

        def counting(blob: FileBlob, size: int, offset: int) -> bytes:
            if not offset and size > SNIFF and (name := self._names.get(Path(str(blob.path)).name)):
                begun[name] += 1
            return pread(blob, size, offset)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(FileBlob, "pread", counting)
            report = report_of(ocitool("diff", "--format", "json", *words, *self.places), 1)
        return begun, [one["name"] for one in report["packages"]]


@pytest.mark.parametrize("base", [[PLAIN], [DPKG, PLAIN]], ids=["no database", "a database that does not differ"])
def test_packages_of_a_language_need_no_other_layers_than_the_files(
    base: list[list[AnyEntry]], ocitool: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = Layouts(tmp_path, [*base, npm("1")], [*base, npm("2")])
    read, packages = pair.read_by(ocitool, "--no-cache")
    monkeypatch.setattr("ocitool.comparison.packages.compare_packages", lambda *_: None)
    without, none = pair.read_by(ocitool, "--no-cache")
    upper = {f"{len(base)} before", f"{len(base)} after"}
    assert (upper, upper, ["a"], []) == (set(without), set(read), packages, none)


def test_a_database_of_a_distribution_is_looked_for_in_all_layers_each_read_once(ocitool: Run, tmp_path: Path) -> None:
    """The lists of files of a distribution's packages may be in any layer below the one that changes its database."""
    base = [PLAIN, DPKG, npm("1")]
    pair = Layouts(tmp_path, [*base, status("1.1")], [*base, status("1.2")])
    expected = Counter(("0 shared", "1 shared", "2 shared", "3 before", "3 after"))
    assert (expected, ["ssl"]) == pair.read_by(ocitool)
    assert (Counter(), ["ssl"]) == pair.read_by(ocitool), "the cache has what was read"
