"""References: the grammar of containers-transports(5), ours beyond it, and how names match."""

from __future__ import annotations

import pytest

from ocitool.digest import Digest
from ocitool.errors import UsageError
from ocitool.reference import (
    ENGINE,
    TRANSPORTS,
    Repository,
    Transport,
    host_of,
    matches,
    parse,
    parse_engine_image,
    parse_repository,
    parse_selector,
    qualified,
    short_name,
)


def named(name: str) -> Transport:
    return next(one for one in TRANSPORTS if one.name == name)


HEX = "sha256:" + "ab" * 32


@pytest.mark.parametrize("transport", ["docker-archive", "oci-archive", "oci"])
def test_transport_is_what_stands_before_the_first_colon(transport: str) -> None:
    assert parse(f"{transport}:dir/app.tar:app:1")[1:] == (named(transport), "dir/app.tar:app:1")


@pytest.mark.parametrize("path", ["app.tar", "-", "./oci:x", "/a/oci", "oci", "ocix:y", "C:\\app.tar"])
def test_anything_else_is_a_plain_path(path: str) -> None:
    assert parse(path)[1:] == (None, path)


@pytest.mark.parametrize("text", ["", "oci:", "docker-archive:", "oci-archive:"])
def test_empty_references_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse(text)


@pytest.mark.parametrize(
    ("text", "asked"),
    [("app", "app:latest"), ("app:1", "app:1"), ("h.io:5000/app", "h.io:5000/app:latest"), ("a/b:c", "a/b:c"),
     ("sha256:" + "a" * 64, "sha256:" + "a" * 64), ("app@sha256:" + "a" * 64, "app@sha256:" + "a" * 64),
     ("app:1@sha256:" + "a" * 64, "app:1@sha256:" + "a" * 64)],
)  # fmt: skip
def test_images_of_an_engine(text: str, asked: str) -> None:
    assert (ENGINE, text) == parse(f"docker-daemon:{text}")[1:]
    assert asked == parse_engine_image(text)


@pytest.mark.parametrize("text", ["App", "app:", "sha256:abc", "app@sha256:abc", "@sha256:" + "a" * 64, "a b", "/app"])
def test_names_that_no_engine_has(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_engine_image(text)
    assert caught.value.hint


def test_an_engine_needs_a_name() -> None:
    with pytest.raises(UsageError, match="needs the name or id of an image"):
        parse("docker-daemon:")


HEX = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ("alpine", ("docker.io", "library/alpine", None, None)),
        ("alpine:3.20", ("docker.io", "library/alpine", "3.20", None)),
        ("team/app", ("docker.io", "team/app", None, None)),
        ("docker.io/alpine", ("docker.io", "library/alpine", None, None)),
        ("index.docker.io/a/b", ("docker.io", "a/b", None, None)),
        ("registry-1.docker.io/a/b", ("docker.io", "a/b", None, None)),
        ("localhost/app", ("localhost", "app", None, None)),
        ("localhost:5000/app:1", ("localhost:5000", "app", "1", None)),
        ("Reg.Example/app", ("reg.example", "app", None, None)),
        ("reg.example/a/b/c:V_1.2-3", ("reg.example", "a/b/c", "V_1.2-3", None)),
        ("[::1]:5000/app", ("[::1]:5000", "app", None, None)),
        (f"reg.example/app@{HEX}", ("reg.example", "app", None, HEX)),
        (f"reg.example/app:1@{HEX}", ("reg.example", "app", "1", HEX)),
    ],
)
def test_a_repository_is_named_as_engines_do(details: str, expected: tuple[str, str, str | None, str | None]) -> None:
    host, path, tag, digest = expected
    assert Repository(host, path, tag, Digest.parse(digest) if digest else None) == parse_repository(details)
    assert parse_repository(str(parse_repository(details)).removeprefix("docker://")) == parse_repository(details)


@pytest.mark.parametrize(
    "details",
    ["", "/", "reg.example/", "reg.example//app", "App", "reg.example/App", "app:", "app:.x", "app:" + "x" * 129, "a..b/c:5/e",
     "app@sha256:1", "app@", "reg.example/" + "a" * 256, "reg.example/app:1@", "-.example/app", "reg.example:1234567/app",
     "reg.example/../app", "reg.example/app?x=1", "user@reg.example/app", "reg.example/a b", "reg.example/app\n"],
)  # fmt: skip
def test_what_is_no_repository_is_a_mistake(details: str) -> None:
    with pytest.raises(UsageError):
        parse_repository(details)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("docker://alpine", "docker.io"), ("docker://reg.example/app", "reg.example"), ("docker://reg.example", "reg.example"),
     ("docker://localhost:5000/", "localhost:5000"), ("image.tar", None), ("oci:dir", None), ("docker-archive:x", None)],
)  # fmt: skip
def test_a_reference_names_a_host_or_none(text: str, expected: str | None) -> None:
    assert expected == host_of(text)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("shop", "shop:latest"), ("docker.io/library/shop:1", "shop:1"), ("team/shop:1", "team/shop:1"),
     ("reg.example:5000/team/shop:1", "team/shop:1"), ("reg.example/library/shop", "library/shop:latest")],
)  # fmt: skip
def test_a_familiar_name_has_no_host(name: str, expected: str) -> None:
    assert expected == short_name(name)


def test_longest_path_comes_first_and_every_colon_is_tried() -> None:
    assert list(parse("a:b:c").splits()) == [("a:b:c", None), ("a:b", "c"), ("a", "b:c")]


def test_empty_path_is_never_tried() -> None:
    assert list(parse(":a").splits()) == [(":a", None)]


def test_standard_input_may_pick_an_image() -> None:
    assert ("-", "app:1") in list(parse("-:app:1").splits())


@pytest.mark.parametrize("text", ["app", "app:1", "host:5000/team/app:1", "1.1"])
def test_selector_by_name(text: str) -> None:
    assert parse_selector(text)[1:] == (text, None, None)


@pytest.mark.parametrize(("text", "position"), [("@0", 0), ("@12", 12)])
def test_selector_by_position_counts_from_zero(text: str, position: int) -> None:
    assert parse_selector(text)[1:] == (None, position, None)


@pytest.mark.parametrize("digest", [HEX, "sha512:" + "cd" * 64])
def test_selector_by_digest(digest: str) -> None:
    assert parse_selector("@" + digest)[1:] == (None, None, Digest.parse(digest))


@pytest.mark.parametrize("text", ["", "@", "@-1", "@x", "@sha256:12", "@1234567890", "@²"])
def test_bad_selectors_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_selector(text)


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("alpine", "docker.io/library/alpine:latest"),
        ("alpine:3", "docker.io/library/alpine:3"),
        ("team/app", "docker.io/team/app:latest"),
        ("team/app:1", "docker.io/team/app:1"),
        ("docker.io/library/app:1", "docker.io/library/app:1"),
        ("host.example/app", "host.example/app:latest"),
        ("host:5000/app", "host:5000/app:latest"),
        ("host:5000/app:1", "host:5000/app:1"),
        ("localhost/app", "localhost/app:latest"),
        (f"app@{HEX}", f"docker.io/library/app@{HEX}"),
    ],
)
def test_full_name_has_host_repository_and_tag(name: str, full: str) -> None:
    assert qualified(name) == full


@pytest.mark.parametrize(
    ("name", "tags"),
    [
        ("app:1", ("app:1",)),
        ("app", ("app:latest",)),
        ("app", ("docker.io/library/app:latest",)),
        ("docker.io/library/app:1", ("app:1",)),
        ("1.1", ("1.1",)),
        ("b:2", ("a:1", "b:2")),
        ("host:5000/app:1", ("host:5000/app:1",)),
    ],
)
def test_names_match_as_they_stand_and_by_their_full_name(name: str, tags: tuple[str, ...]) -> None:
    assert matches(name, tags)


@pytest.mark.parametrize(
    ("name", "tags"),
    [("app", ("app:1",)), ("app:1", ()), ("app:1", ("host.example/app:1",)), ("latest", ("app:latest",)), ("app", ("1.1",))],
)
def test_other_names_do_not_match(name: str, tags: tuple[str, ...]) -> None:
    assert not matches(name, tags)
