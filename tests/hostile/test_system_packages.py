"""Databases of dpkg and apk, and `os-release`, made to cost much or to fail: each ends with packages or `DatabaseError`, in
linear time, with paths that stay inside the root."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest
from support.layers import file_entry
from support.packages import packages_of, stanza

from ocitool import limits
from ocitool.packages import os_release, versions
from ocitool.packages.changes import package_changes
from ocitool.packages.package import DatabaseError, Package, PackageKind
from ocitool.packages.purl import package_url
from ocitool.packages.readers import readers

STATUS, LIST, DIVERSIONS = b"var/lib/dpkg/status", b"var/lib/dpkg/info/a.list", b"var/lib/dpkg/diversions"
INSTALLED = b"lib/apk/db/installed"

FORMS: dict[bytes, bytes] = {
    STATUS: stanza("a", Conffiles="\n /etc/a 0123\n /etc/b 4567", Source="b (2)") + stanza("c"),
    LIST: b"/.\n/bin\n/bin/a\n/usr/share/doc/a/../b\n",
    DIVERSIONS: b"/bin/a\n/bin/a.distrib\nb\n",
    INSTALLED: b"P:a\nV:1-r0\nA:x86_64\nL:MIT\no:b\nF:usr\nF:usr/bin\nR:a\nZ:Q1x=\n\nP:b\nV:2\n\n",
}

COSTS: list[tuple[bytes, Callable[[int], bytes]]] = [
    (STATUS, lambda size: b"Package: a\n" * (size // 11)),
    (STATUS, lambda size: b"Package: a\nConffiles:\n" + b" /a\n" * (size // 4)),
    (STATUS, lambda size: b"Package: a\nConffiles:\n" + b" " * size),
    (STATUS, lambda size: b"Package: a\nSource: " + b"a (" * (size // 3)),
    (STATUS, lambda size: b"\n" * size),
    (STATUS, lambda size: b"Package: a\n\n" * (size // 12)),
    (STATUS, lambda size: b"Conffiles:" * (size // 10)),
    (LIST, lambda size: b"/" * size),
    (LIST, lambda size: b"/..\n" * (size // 4)),
    (LIST, lambda size: b"/a/.." * (size // 5)),
    (DIVERSIONS, lambda size: b"\n" * size),
    (INSTALLED, lambda size: b"P:a\n" + b"F:a\nR:b\n" * (size // 8)),
    (INSTALLED, lambda size: b"P:a\nF:" + b"../" * (size // 3)),
    (INSTALLED, lambda size: b"a\n" * (size // 2)),
    (INSTALLED, lambda size: b"P:a\n\n" * (size // 5)),
]


def read(contents: dict[bytes, bytes]) -> list[Package]:
    """The packages of files of databases; what is wrong with one file leaves the others."""
    found: list[Package] = []
    for reader in readers(["deb", "apk"]).values():
        for path, content in contents.items():
            if reader.database_of(path, file_entry(path)) is not None:
                try:
                    reader.add(path, content)
                except DatabaseError:
                    continue
        try:
            found.extend(reader.packages())
        except DatabaseError:
            continue
    for package in found:
        assert package.name
        assert not any(not file or file.startswith((b"/", b"../")) or file in (b".", b"..") for file in package.files)
    for package in found[:20]:
        assert package_url(package).startswith(f"pkg:{package.kind}/")
    return found


def test_sound_databases_have_their_packages() -> None:
    assert ["a", "c", "a", "b"] == [package.name for package in read(FORMS)]


@pytest.mark.parametrize("path", FORMS)
def test_damaged_databases_end_with_packages_or_an_error(path: bytes) -> None:
    chance, good = random.Random(18), FORMS[path]
    bad = [good[:end] for end in range(0, len(good), 3)]
    for _ in range(150):
        data = bytearray(good)
        for _ in range(chance.randrange(1, 6)):
            at = chance.randrange(len(data))
            data[at : at + chance.randrange(3)] = chance.choice(
                (b"", b"\n", b"\0", b"\xff", b"/", b"..", b":", b" ", data[:20])
            )
        bad.append(bytes(data))
    for data in bad:
        read({**FORMS, path: data})


@pytest.mark.parametrize("number", range(len(COSTS)))
def test_time_is_linear(number: int) -> None:
    path, made = COSTS[number]
    taken = []
    for size in (100_000, 400_000):
        began = time.process_time()
        read({**FORMS, path: made(size)})
        taken.append(time.process_time() - began)
    assert taken[1] < 10 * taken[0] + 0.2


@pytest.mark.parametrize(
    ("path", "data"), [(LIST, b"/a\n"), (STATUS, b"Package: a\nConffiles:\n" + b" /etc/a\n" * 9), (INSTALLED, b"P:a\nR:b\n")]
)
def test_files_of_packages_are_bounded(path: bytes, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PACKAGE_FILES", 1)
    reader = readers(["apk" if path == INSTALLED else "deb"]).popitem()[1]
    with pytest.raises(DatabaseError, match="packages list more than 1 files"):
        reader.add(path, data * 2 if path != INSTALLED else data + data[4:])
        list(reader.packages())


def test_names_of_any_bytes_are_listed_and_named_in_urls() -> None:
    names = ["\x1b[31m", "\u202e", "/", "//", " ", "..", "%2F", "@", "a" * 5_000]
    packages = packages_of([(STATUS, b"".join(map(stanza, names)) + b"Package: \xff\n")]).packages
    assert len(names) == len(packages)  # a name of a space alone is none
    assert all(package_url(package).startswith("pkg:deb/") for package in packages)
    assert [] == list(package_changes(packages, packages[::-1]))


@pytest.mark.parametrize(
    "text", [b"ID=" + b"'" * 100_000, b"ID=$(x)\n", b"\0\xff", b"ID=\nID='a\n", b"=\n" * 100_000, b'ID="a b"c']
)
def test_release_of_any_bytes_is_read(text: bytes) -> None:
    found = os_release.distribution(text)
    assert found is None or found.id


@pytest.mark.parametrize("kind", ["deb", "rpm", "apk", "npm", "golang", "gem", "maven", "conda", "pypi"])
@pytest.mark.parametrize(
    "text", ["1" * 500, "1." * 250, "a1" * 250, "1-" * 250, "_p" * 250, "~" * 500, "\u0661" * 20, "1\n", "²"]
)
def test_versions_of_any_text_are_compared_quickly(kind: PackageKind, text: str) -> None:
    began = time.process_time()
    for other in (text[1:] + "2", "1", text.replace("1", "2")):
        assert versions.compare(kind, text, other) in (None, -1, 0, 1)
    assert time.process_time() - began < 1
