"""Packages of Java archives made by code: Maven's files, manifests, names, and archives in archives."""

from __future__ import annotations

import struct

import pytest
from support.programs import zipped

from ocitool.packages.java import JavaReader
from ocitool.packages.package import DatabaseError

PATH = b"app/lib/thing-2.0.jar"


def pom(group: str, name: str, version: str) -> dict[str, bytes]:
    text = f"#Created by Apache Maven 3.9\ngroupId={group}\nartifactId={name}\nversion={version}\n"
    return {f"META-INF/maven/{group}/{name}/pom.properties": text.encode()}


def manifest(*lines: str) -> dict[str, bytes]:
    return {"META-INF/MANIFEST.MF": "".join(f"{line}\r\n" for line in ("Manifest-Version: 1.0", *lines, "")).encode()}


def packages(content: bytes, path: bytes = PATH) -> list[tuple[str, str, str]]:
    reader = JavaReader()
    reader.add(path, content)
    found = list(reader.packages())
    assert {("maven", path)} >= {(one.kind, one.database) for one in found}
    return [(one.namespace, one.name, one.version) for one in found]


@pytest.mark.parametrize(("members", "expected"), [
    (pom("org.a", "a", "1.0") | manifest("Implementation-Title: other"), [("org.a", "a", "1.0")]),
    (pom("org.a", "a", "1.0") | pom("org.b", "b", "2.0"), [("org.a", "a", "1.0"), ("org.b", "b", "2.0")]),
    (manifest("Implementation-Title: title", "Implementation-Version: 1.1"), [("", "title", "1.1")]),
    (manifest("Implementation-Title: A title of words", "Bundle-SymbolicName: org.osgi.one;singleton:=true",
              "Bundle-Version: 3.0.1"), [("", "org.osgi.one", "3.0.1")]),
    (manifest("Automatic-Module-Name: org.module"), [("", "org.module", "2.0")]),
    (manifest("Implementation-Title: a-very-long-ti", " tle", "Implementation-Vendor-Id: org.vendor"),
     [("org.vendor", "a-very-long-title", "2.0")]),
    (manifest("", "Name: x", "Implementation-Title: section"), [("", "thing", "2.0")]),
    ({"x.class": b""}, [("", "thing", "2.0")]),
    ({"META-INF/maven/org.a/a/pom.properties": b"\xff\0=\n==\n"}, [("", "thing", "2.0")]),
])  # fmt: skip
def test_what_an_archive_says_of_itself(members: dict[str, bytes], expected: list[tuple[str, str, str]]) -> None:
    assert packages(zipped(members)) == expected


@pytest.mark.parametrize(("name", "expected"), [
    (b"a/commons-lang3-3.12.0.jar", ("", "commons-lang3", "3.12.0")), (b"app.jar", ("", "app", "")),
    (b"x-1.0-SNAPSHOT.war", ("", "x", "1.0-SNAPSHOT")), (b"-1-" * 30_000 + b"!.jar", ("", "-1-" * 30_000 + "!", "")),
])  # fmt: skip
def test_the_name_of_the_file_is_the_last_resort(name: bytes, expected: tuple[str, str, str]) -> None:
    assert packages(zipped({"x": b""}), name) == [expected]


@pytest.mark.parametrize("deflated", [True, False])
def test_archives_inside_are_read_one_level_deep(deflated: bool) -> None:
    deep = zipped(pom("org.deep", "deep", "9"))
    inner = zipped(pom("org.in", "in", "1") | {"lib/deep.jar": deep})
    members = pom("org.app", "app", "1") | {"BOOT-INF/lib/in-1.jar": inner, "WEB-INF/lib/b-2.0.jar": zipped({"B.class": b""})}
    assert packages(zipped(members, deflated=deflated)) == [("org.app", "app", "1"), ("org.in", "in", "1"), ("", "b", "2.0")]


def test_a_package_that_is_in_it_twice_is_listed_once() -> None:
    inner = zipped(pom("org.a", "a", "1.0"))
    assert packages(zipped({"lib/x.jar": inner, "lib/y.jar": inner} | pom("org.a", "a", "1.0"))) == [("org.a", "a", "1.0")]


def test_an_archive_after_a_script_is_read() -> None:
    assert packages(zipped(pom("org.a", "a", "1.0"), front=b"#!/bin/sh\nexec java -jar $0\n")) == [("org.a", "a", "1.0")]


def test_a_damaged_archive_inside_leaves_the_others_and_is_told() -> None:
    reader = JavaReader()
    with pytest.raises(DatabaseError, match="1 of 2 archives in it"):
        reader.add(PATH, zipped({"a-1.jar": b"PK\x03\x04 damaged", "b-2.jar": zipped({"x": b""})}))
    assert ["thing", "b"] == [one.name for one in reader.packages()]


def test_something_else_by_that_name_has_no_packages() -> None:
    assert packages(b"<html>not found</html>") == []


BOMB = {"META-INF/MANIFEST.MF": b"Manifest-Version: 1.0\n" + bytes(30 << 20)}


@pytest.mark.parametrize("content", [
    zipped(BOMB), zipped({"a": b"x"})[:-30] + b"PK\x05\x06" + b"\xff" * 18, b"PK\x03\x04" + bytes(1000),
    zipped({"lib/a.jar": zipped({"lib/b.jar": b""})})[:-5],
], ids=range(4))  # fmt: skip
def test_a_damaged_archive_or_a_bomb_is_refused(content: bytes) -> None:
    if content.endswith(b"\0" * 1000):
        content = content[:4] + bytes(900) + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 9, 9, 1 << 30, 0, 0)
    with pytest.raises(DatabaseError):
        packages(content)
