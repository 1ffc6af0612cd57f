"""Lists of packages compared, and versions put in order."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocitool.packages.changes import package_changes
from ocitool.packages.package import Package, PackageKind
from ocitool.packages.versions import MAX_LENGTH, compare


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


ORDERED: dict[PackageKind, str] = {
    "deb": "1.0~~ 1.0~~a 1.0~rc1 1.0 1.0-1~deb12u1 1.0-1 1.0-1+b1 1.0a 1.0+ 1.9 1.10 1:0.1 1:0.1:2",
    "rpm": "0.9 1.0~rc1-9 1.0-1 1.0-1.fc9 1.0-1.fc10 1.0^git1-1 1.0.a-1 1.0.1-1 1.10 1:0",
    "apk": "0.9 1.0_alpha 1.0_alpha2 1.0_beta1 1.0_pre1 1.0_rc1 1.0 1.0-r1 1.0-r10 1.0_git2023-r0 1.0_p1 1.0a 1.0.01 1.0.1 1.2",
    "npm": "1.0.0-alpha 1.0.0-alpha.1 1.0.0-alpha.beta 1.0.0-beta.2 1.0.0-beta.11 1.0.0-rc.1 1.0.0 1.0.10 2.0.0",
    "golang": "v0.0.0-20230101000000-abcdefabcdef v0.1.0 v1.0.0-rc.1 v1.0.0 v2.0.0+incompatible",
    "gem": "0.9 1.a 1.0.b2 1.0.rc1 1.0 1.0.1 1.10",
    "maven": "1-alpha-1 1-alpha2 1-beta 1-milestone 1-rc1 1-SNAPSHOT 1 1-sp 1-jre 1-1 1.1 1.10",
    "conda": "0.4 0.4.1.rc 0.4.1 0.5a1 0.5b3 0.5C1 0.5 0.9.6 0.960923 1.0 1.1dev1 1.1a1 1.1 1.1post1 1996.07.12 1!0.4.1",
    "pypi": "1.0.dev1 1.0a1 1.0rc1 1.0 1.0+local 1.0.post1 1.10 1!0.1",
}


@pytest.mark.parametrize("kind", ORDERED)
def test_versions_are_in_the_order_of_their_kind(kind: PackageKind) -> None:
    versions = ORDERED[kind].split()
    for (i, a), (j, b) in itertools.product(enumerate(versions), repeat=2):
        assert ((i > j) - (i < j), a, b) == (compare(kind, a, b), a, b)


@pytest.mark.parametrize(
    ("kind", "a", "b"),
    [
        ("deb", "1.0-0", "1.0"), ("deb", "0:1", "1"), ("rpm", "1.01", "1.1"), ("npm", "1.0.0+a", "1.0.0+b"),
        ("gem", "1.0", "1"), ("maven", "1.0.0", "1"), ("maven", "1-final", "1-ga"), ("maven", "1-cr2", "1-rc2"),
        ("conda", "1.1", "1.1.0"), ("pypi", "1.0", "1"),
    ],
)  # fmt: skip
def test_versions_may_be_equal_and_spelled_otherwise(kind: PackageKind, a: str, b: str) -> None:
    assert (0, 0) == (compare(kind, a, b), compare(kind, b, a))


@pytest.mark.parametrize(
    ("kind", "version"),
    [
        ("apk", "1.0_foo"), ("apk", ""), ("npm", "latest"), ("golang", "(devel)"), ("pypi", "1.0-x86"), ("gem", "rc1"),
        *((kind, "1" * (MAX_LENGTH + 1)) for kind in ORDERED),
    ],
)  # fmt: skip
def test_what_is_no_version_has_no_order(kind: PackageKind, version: str) -> None:
    assert (None, None) == (compare(kind, version, "1"), compare(kind, "1", version))


TEXTS = st.text(st.sampled_from("01259abrcpdevost.-_+~^:!v"), max_size=12)


@given(st.sampled_from(sorted(ORDERED)), TEXTS, TEXTS, TEXTS)
def test_order_of_versions_is_an_order(kind: PackageKind, a: str, b: str, c: str) -> None:
    ab, bc, ac = (compare(kind, *pair) for pair in ((a, b), (b, c), (a, c)))
    assert (None if ab is None else -ab) == compare(kind, b, a)
    if ab is not None and ab == bc:
        assert ab == ac
