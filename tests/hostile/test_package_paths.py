"""Small databases of packages that name any number of paths: their memory and time are bounded in every kind."""

from __future__ import annotations

import time

import pytest
from support.packages import stanza
from support.programs import elf, go_info, modules_text
from support.rpm_databases import header, in_ndb

from ocitool import limits
from ocitool.packages.go import GoReader
from ocitool.packages.json_text import valid_text
from ocitool.packages.package import DatabaseError, PackageKind
from ocitool.packages.readers import readers

DEEP = b"deep/" * 1000
RUBY = DEEP + b"lib/ruby/gems/3.1/specifications/default/a.gemspec"
COUNT = 2000

LONG: dict[PackageKind, tuple[bytes, bytes]] = {
    "apk": (b"lib/apk/db/installed", b"P:a\nV:1\nF:" + DEEP[:-1] + b"\n" + b"R:x\n" * COUNT),
    "rpm": (b"var/lib/rpm/Packages.db", in_ndb([header(
        name="a", version="1", base_names=[b"x"] * COUNT, directory_names=[b"/" + DEEP], directory_indexes=[0] * COUNT
    )])),
    "pypi": (DEEP + b"a-1.dist-info/RECORD", b"a,,\n" * COUNT),
    "conda": (DEEP + b"conda-meta/a.json", b'{"name":"a","version":"1","files":[' + b'"a",' * COUNT + b'"a"]}'),
    "gem": (RUBY, b"# stub: a 1 ruby lib\n  s.files = [" + b'"lib/a",' * COUNT + b"]\n"),
    "npm": (DEEP + b"node_modules/a/package.json", b'{"name":"a","version":"1","bin":{"a":1,"b":2}}'),
}  # fmt: skip
"""Kind -> a file whose paths all have one long directory. The lists of dpkg have whole paths."""


@pytest.mark.parametrize("kind", list(LONG))
def test_memory_of_paths_is_bounded(kind: PackageKind, monkeypatch: pytest.MonkeyPatch) -> None:
    path, content = LONG[kind]
    count = 2 if kind == "npm" else COUNT  # Few commands of a package of npm count.
    monkeypatch.setattr(limits, "PACKAGE_PATH_MEMORY", count * len(DEEP) // 2)
    reader = readers([kind])[kind]
    with pytest.raises(DatabaseError, match="the paths of packages' files take more than"):
        reader.add(path, content)
        list(reader.packages())


def test_paths_of_apk_are_never_empty_or_absolute() -> None:
    reader = readers(["apk"])["apk"]
    reader.add(b"lib/apk/db/installed", b"P:a\nV:1\nF:\nR:\nR:/\nR:/x\nF:/etc/\nR:y\nR:\n")
    assert [(b"x", b"etc", b"etc/y")] == [package.files for package in reader.packages()]


def test_paths_of_dpkg_are_never_absolute() -> None:
    reader = readers(["deb"])["deb"]
    reader.add(b"var/lib/dpkg/info/a.list", b"/.\n//usr\n/etc\n.//x\n/\n")
    reader.add(b"var/lib/dpkg/status", stanza("a"))
    assert [(b"usr", b"etc", b"x")] == [package.files for package in reader.packages()]


def test_paths_of_rpm_are_never_absolute() -> None:
    reader = readers(["rpm"])["rpm"]
    lists = {"base_names": [b"/opt/", b"x"], "directory_names": [b"", b"//etc/"], "directory_indexes": [0, 1]}
    reader.add(b"var/lib/rpm/Packages.db", in_ndb([header(name="a", version="1", **lists)]))
    assert [(b"opt/", b"etc/x")] == [package.files for package in reader.packages()]


def test_a_go_module_without_a_name_is_no_package() -> None:
    reader = GoReader()
    reader.add(b"a", elf(extra={b".go.buildinfo": go_info(b"go1.22", modules_text("dep\ta/b/\tv1", "dep\t/\tv1"))}))
    assert ["stdlib", "b"] == [package.name for package in reader.packages()]


def test_one_list_of_dpkg_belongs_to_one_paragraph() -> None:
    reader = readers(["deb"])["deb"]
    begun = time.process_time()
    reader.add(b"var/lib/dpkg/info/a.list", b"".join(b"/%d\n" % number for number in range(20_000)))
    reader.add(b"var/lib/dpkg/status", stanza("a") * 2_000)
    assert [20_000, *[0] * 1_999] == [len(package.files) for package in reader.packages()]
    assert time.process_time() - begun < 2


def test_packages_of_all_go_programs_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PACKAGES", 100)
    content = elf(extra={b".go.buildinfo": go_info(b"go1.22", modules_text(*["dep\ta/b\tv1"] * 40))})
    reader = GoReader()
    reader.add(b"a", content)
    reader.add(b"b", content)
    with pytest.raises(DatabaseError, match="more than 100 packages"):
        reader.add(b"c", content)


@pytest.mark.parametrize(
    ("kind", "path", "content"),
    [
        ("npm", b"node_modules/a/package.json", b'{"name": "a\\ud800", "version": "1\\udfff", "license": "\\ud800"}'),
        ("conda", b"conda-meta/a.json", b'{"name": "a\\ud800", "version": "1\\udfff", "license": "\\ud800"}'),
    ],
)
def test_half_of_a_surrogate_pair_becomes_a_question_mark(kind: PackageKind, path: bytes, content: bytes) -> None:
    """JSON can spell it, but no file of text can hold it: reports would fail."""
    reader = readers([kind])[kind]
    reader.add(path, content)
    assert [("a?", "1?", "?")] == [(package.name, package.version, package.license) for package in reader.packages()]
    assert "a\N{GRINNING FACE}" == valid_text("a\N{GRINNING FACE}")
