"""Platforms: how they are written, which spellings are one, and which of several comes nearest."""

from __future__ import annotations

import random

import pytest

from ocitool.errors import UsageError
from ocitool.images.platforms import matches, normalized, parse_platform, rank, with_missing_values
from ocitool.spec.manifest import Platform, parse_platform_object


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("linux/amd64", Platform("linux", "amd64", None)),
        ("linux/arm/v7", Platform("linux", "arm", "v7")),
        ("windows(10.0.17763.1)/amd64", Platform("windows", "amd64", None, "10.0.17763.1")),
        ("linux(+erofs)/amd64", Platform("linux", "amd64", None, None, ("erofs",))),
        ("windows(10.0.1+win32k+x)/arm64/v8", Platform("windows", "arm64", "v8", "10.0.1", ("win32k", "x"))),
    ],
)
def test_a_platform_is_read_as_it_is_written(text: str, platform: Platform) -> None:
    assert (platform, text) == (parse_platform(text), str(platform))


@pytest.mark.parametrize("text", ["", "linux", "linux/", "/amd64", "a/b/c/d", "linux()/", "linux(/amd64", "(1)/amd64"])
def test_what_is_written_otherwise_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="invalid platform"):
        parse_platform(text)


def test_a_descriptor_states_five_things() -> None:
    fields = {"os": "windows", "architecture": "arm64", "variant": "v8", "os.version": "10.0", "os.features": ["a", 7, ""]}
    assert Platform("windows", "arm64", "v8", "10.0", ("a",)) == parse_platform_object(fields)
    assert Platform(None, None, None) == parse_platform_object({"os.version": 10, "os.features": "win32k", "variant": None})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("linux/arm64", "linux/arm64/v8"), ("linux/arm64", "linux/aarch64"), ("linux/arm64", "linux/arm64/8"),
        ("linux/amd64", "linux/amd64/v1"), ("linux/amd64", "linux/x86_64"), ("linux/arm", "linux/arm/v7"),
        ("linux/arm/v7", "linux/armhf"), ("linux/arm/v6", "linux/armel"), ("linux/arm/v6", "linux/arm/6"),
        ("linux/386", "linux/i386"), ("darwin/arm64", "macos/arm64"), ("linux(+b+a)/arm64", "Linux(+a+b)/arm64"),
    ],
)  # fmt: skip
def test_spellings_of_one_platform_are_equal(one: str, other: str) -> None:
    assert normalized(parse_platform(one)) == normalized(parse_platform(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("linux/arm64", "linux/arm64/v9"), ("linux/amd64", "linux/amd64/v3"), ("linux/arm", "linux/arm/v6"),
        ("windows(1)/amd64", "windows(2)/amd64"), ("windows(1)/amd64", "windows/amd64"), ("linux/amd64", "linux(+erofs)/amd64"),
    ],
)  # fmt: skip
def test_other_platforms_are_not_equal(one: str, other: str) -> None:
    assert normalized(parse_platform(one)) != normalized(parse_platform(other))


ORDERS = [
    ("linux/amd64", ["linux/amd64/v1", "linux/amd64/v2", "linux/amd64/v3", "linux(+erofs)/amd64"]),
    ("linux/amd64/v3", ["linux/amd64/v3", "linux/amd64/v2", "linux/amd64"]),
    ("linux/arm", ["linux/arm/v7", "linux/arm/v6", "linux/arm/v5", "linux/arm/v8"]),
    ("linux/arm/v7", ["linux/arm", "linux/arm/v6", "linux/arm/v5"]),
    ("linux/arm64/v9", ["linux/arm64/v9", "linux/arm64/v8"]),
    ("linux(+erofs)/amd64", ["linux(+erofs)/amd64", "linux/amd64"]),
    ("windows(10.0.1.5)/amd64", ["windows(10.0.1.5)/amd64", "windows(10.0.1.9)/amd64", "windows(10.0.2.5)/amd64"]),
]


@pytest.mark.parametrize(("wanted", "expected"), ORDERS)
def test_offers_come_in_the_order_in_which_a_host_can_use_them(wanted: str, expected: list[str]) -> None:
    offered = random.Random(7).sample(expected, len(expected))
    ranks = {text: rank(parse_platform(wanted), parse_platform(text)) for text in offered}
    assert expected == sorted(offered, key=lambda text: ranks[text] or ())
    assert [True] + [False] * (len(expected) - 1) == [bool((near := ranks[text]) and near.exact) for text in expected]


@pytest.mark.parametrize(
    ("wanted", "offered", "fits"),
    [
        ("linux/arm/v7", "linux/arm/v6", False), ("linux/arm/v6", "linux/arm/v7", False), ("linux/arm/v6", "linux/arm", False),
        ("linux/amd64/v1", "linux/amd64/v3", False), ("linux/amd64/v3", "linux/amd64", False),
        ("linux/amd64", "linux/amd64/v3", True), ("windows/amd64", "windows(10.0.1.1)/amd64", True),
        ("windows(10.0.1)/amd64", "windows(10.0.1.1)/amd64", True),
        ("windows(10.0.1)/amd64", "windows(10.0.10.1)/amd64", False),
        ("windows(10.0.1.2)/amd64", "windows(10.0.1.1)/amd64", False),
        ("windows(10.0.1.2)/amd64", "windows/amd64", False), ("linux(+erofs)/amd64", "linux/amd64", False),
        ("linux/amd64", "linux(+erofs)/amd64", True), ("linux/ppc64le/power9", "linux/ppc64le", False),
        ("linux/ppc64le", "linux/ppc64le/power9", True), ("linux/amd64", "linux/386", False),
    ],
)  # fmt: skip
def test_what_is_asked_for_is_not_replaced_by_what_would_run_there(wanted: str, offered: str, fits: bool) -> None:
    assert fits == matches(parse_platform(wanted), parse_platform(offered))


@pytest.mark.parametrize(
    ("said", "by", "expected"),
    [
        (Platform(None, None, None), Platform("linux", "arm", "v6"), Platform("linux", "arm", "v6")),
        (Platform("linux", "arm", None), Platform("linux", "arm", "v6"), Platform("linux", "arm", "v6")),
        (Platform("windows", "amd64", None), Platform("windows", "amd64", None, "1", ("f",)),
         Platform("windows", "amd64", None, "1", ("f",))),
        (Platform("linux", "amd64", None), Platform("windows", "amd64", None, "1"), Platform("linux", "amd64", None)),
        (Platform("linux", "arm", "v7"), Platform("linux", "arm", "v6", "1"), Platform("linux", "arm", "v7")),
        (Platform("windows", "arm", "v7", "2"), Platform("windows", "arm", None, "1"), Platform("windows", "arm", "v7", "2")),
        (Platform("linux", "arm", None), None, Platform("linux", "arm", None)),
    ],
)  # fmt: skip
def test_a_descriptor_fills_what_a_configuration_leaves_out(said: Platform, by: Platform | None, expected: Platform) -> None:
    assert expected == with_missing_values(said, by)
