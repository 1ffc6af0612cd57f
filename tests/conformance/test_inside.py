"""What is inside files that the real tools made: `ar`, `dpkg-deb`, `jar` and `strip`, with their own lists as judges."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ocitool.comparison.inside.formats import content_of
from ocitool.comparison.inside.reading import compare_contents

pytestmark = pytest.mark.tools


def run(*command: str | os.PathLike[str], at: Path) -> str:
    done = subprocess.run(command, cwd=at, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def names(path: Path) -> list[str]:
    found = content_of(path.read_bytes())
    assert found is not None and not found.note
    return [name.decode() for name in found.parts]


def test_members_of_a_static_library_are_those_that_ar_lists(need: Callable[..., str], tmp_path: Path) -> None:
    need("ar")
    for name in ("short.o", "a-name-that-is-longer-than-its-field.o"):
        (tmp_path / name).write_bytes(name.encode() * 3)
    run("ar", "rc", "lib.a", "short.o", "a-name-that-is-longer-than-its-field.o", at=tmp_path)
    assert run("ar", "t", "lib.a", at=tmp_path).split() == names(tmp_path / "lib.a")


def test_members_of_a_package_are_those_that_dpkg_deb_lists(need: Callable[..., str], tmp_path: Path) -> None:
    need("dpkg-deb")
    (tmp_path / "root/DEBIAN").mkdir(parents=True)
    (tmp_path / "root/DEBIAN/control").write_text("Package: a\nVersion: 1\nArchitecture: all\nMaintainer: a\nDescription: a\n")
    (tmp_path / "root/usr/share/a").mkdir(parents=True)
    (tmp_path / "root/usr/share/a/file").write_text("content")
    for kind in ("xz", "gzip", "none"):
        run("dpkg-deb", f"-Z{kind}", "--root-owner-group", "-b", "root", f"{kind}.deb", at=tmp_path)
        listed = run("dpkg-deb", "--fsys-tarfile", f"{kind}.deb", at=tmp_path)
        assert "usr/share/a/file" in listed
        assert ["debian-binary", "control/control", "data/usr/share/a/file"] == names(tmp_path / f"{kind}.deb")


def test_members_of_an_archive_are_those_that_jar_lists(need: Callable[..., str], tmp_path: Path) -> None:
    need("jar")
    (tmp_path / "classes/org").mkdir(parents=True)
    (tmp_path / "classes/org/A.class").write_bytes(b"class")
    run("jar", "cf", "a.jar", "-C", "classes", ".", at=tmp_path)
    listed = run("jar", "tf", "a.jar", at=tmp_path).split()
    assert [name for name in listed if not name.endswith("/")] == names(tmp_path / "a.jar")


def test_what_strip_removes_is_named(need: Callable[..., str], tmp_path: Path) -> None:
    need("gcc", "strip", "readelf")
    (tmp_path / "a.c").write_text("int main(void) { return 0; }\n")
    run("gcc", "-g", "-o", "full", "a.c", at=tmp_path)
    shutil.copy(tmp_path / "full", tmp_path / "lean")
    run("strip", "lean", at=tmp_path)
    full, lean = (content_of((tmp_path / name).read_bytes()) for name in ("full", "lean"))
    assert full is not None and lean is not None
    found = compare_contents(full, lean)
    assert ("symbols", "not stripped", "stripped") in found.facts
    listed = [set(run("readelf", "-SW", name, at=tmp_path).split()) for name in ("full", "lean")]
    gone = {part.name.decode() for part in found.parts if part.kind == "removed"}
    assert {".symtab", ".strtab"} <= gone and gone <= listed[0] - listed[1]
