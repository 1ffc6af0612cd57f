"""Lists of packages compared, and versions put in order."""

from __future__ import annotations

import pytest

from ocitool.packages.changes import package_changes
from ocitool.packages.package import Package, PackageKind
from ocitool.packages.versions import compare


def package(version: str, name: str = "a", kind: PackageKind = "deb", place: bytes = b"s", architecture: str = "") -> Package:
    return Package(kind, name, version, place, architecture=architecture)


def changes(before: list[Package], after: list[Package]) -> list[tuple[str, str | None, str | None]]:
    return [
        (change.kind, change.before and change.before.version, change.after and change.after.version)
        for change in package_changes(before, after)
    ]


def test_equal_lists_do_not_differ() -> None:
    packages = [package("1"), package("2"), package("1", "b")]
    assert [] == changes(packages, packages[::-1])


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (["1"], ["2"], [("upgraded", "1", "2")]),
        (["2"], ["1"], [("downgraded", "2", "1")]),
        ([], ["1"], [("added", None, "1")]),
        (["1"], [], [("removed", "1", None)]),
        (["1.0-1"], ["1.0-01"], [("changed", "1.0-1", "1.0-01")]),
        (["1", "2"], ["2", "3"], [("upgraded", "1", "3")]),
        (["1", "2"], ["3"], [("upgraded", "2", "3"), ("removed", "1", None)]),
        (["1"], ["1", "2"], [("added", None, "2")]),
    ],
)
def test_versions_of_one_name_are_paired(
    before: list[str], after: list[str], expected: list[tuple[str, str | None, str | None]]
) -> None:
    assert expected == changes([package(version) for version in before], [package(version) for version in after])


def test_copies_are_paired_by_their_places() -> None:
    before = [package("1", place=b"x"), package("5", place=b"y")]
    after = [package("2", place=b"x"), package("4", place=b"y")]
    assert [("downgraded", "5", "4"), ("upgraded", "1", "2")] == changes(before, after)


def test_architectures_are_paired_before_versions() -> None:
    before = [package("1", architecture="amd64"), package("3", architecture="i386")]
    after = [package("2", architecture="amd64"), package("4", architecture="i386")]
    assert {("upgraded", "1", "2"), ("upgraded", "3", "4")} == set(changes(before, after))


def test_other_architecture_of_one_version_is_a_change() -> None:
    assert [("changed", "1", "1")] == changes([package("1", architecture="amd64")], [package("1", architecture="arm64")])


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("1.0", "1:0.1"), ("1.0~rc1", "1.0"), ("1.0", "1.0-1"), ("1.0-1", "1.0-1+b1"), ("1.9", "1.10"),
        ("1.0a", "1.0+"), ("1.0-1~deb12u1", "1.0-1"), ("1~~", "1~~a"), ("0.9-5-1", "0.9-10-1"),
    ],
)  # fmt: skip
def test_deb_versions_are_in_the_order_of_dpkg(older: str, newer: str) -> None:
    assert (-1, 1, 0) == (compare("deb", older, newer), compare("deb", newer, older), compare("deb", older, older))
