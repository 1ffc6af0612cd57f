"""From the word for a destination to what may be written there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.images import image, layer_tar, sha256, write_layout

from ocitool import reference
from ocitool.blob import BytesBlob
from ocitool.digest import Digest
from ocitool.errors import DestinationError, UsageError
from ocitool.task import Task
from ocitool.transports.destinations import Destination, image_name, open_sink, parse
from ocitool.transports.sink import WriteRequest


@pytest.fixture
def task() -> Iterator[Task]:
    with Task() as running:
        yield running


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-", ("-", "-", None)),
        ("a.tar", ("docker-archive", "a.tar", None)),
        ("a.tar.gz", ("docker-archive", "a.tar.gz", None)),
        ("dir/a.tgz", ("docker-archive", "dir/a.tgz", None)),
        ("a:b.tar.zst", ("docker-archive", "a:b.tar.zst", None)),
        ("layout/", ("oci", "layout", None)),
        ("a.tar/", ("oci", "a.tar", None)),
        ("/", ("oci", "/", None)),
        ("oci:dir", ("oci", "dir", None)),
        ("oci:dir/", ("oci", "dir/", None)),
        ("oci:dir:v1", ("oci", "dir", "v1")),
        ("oci:dir:host:5000/app:v1", ("oci", "dir", "host:5000/app:v1")),
        ("oci-archive:f", ("oci-archive", "f", None)),
        ("oci-archive:f:v1", ("oci-archive", "f", "v1")),
        ("docker-archive:f", ("docker-archive", "f", None)),
        ("docker-archive:f:", ("docker-archive", "f", None)),
        ("docker-archive:f:app", ("docker-archive", "f", "docker.io/library/app:latest")),
        ("docker-archive:f:team/app:1", ("docker-archive", "f", "docker.io/team/app:1")),
        ("docker-archive:f:localhost:5000/app:1", ("docker-archive", "f", "localhost:5000/app:1")),
    ],
)
def test_a_destination_is_an_archive_a_layout_or_standard_output(
    text: str, expected: tuple[str, str, str | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (*expected, None, None) == (parse(text).transport.name, *parse(text)[1:])


@pytest.mark.parametrize(
    ("text", "name", "prefix"),
    [
        ("docker://app", None, None),
        ("docker://h.io/team/app:1", "h.io/team/app:1", None),
        ("docker://h.io/app:1@sha256:" + "0" * 64, "h.io/app:1", None),
        ("docker://h.io/app@sha256:" + "0" * 64, None, None),
        ("docker://h.io/", None, "h.io/"),
        ("docker://localhost:5000/team/x/", None, "localhost:5000/team/x/"),
        ("docker://team/", None, "docker.io/team/"),
    ],
)
def test_a_registry_is_a_repository_or_what_stands_before_names(text: str, name: str | None, prefix: str | None) -> None:
    found = parse(text)
    assert (reference.REGISTRY, name, prefix) == (found.transport, found.name, found.prefix)


@pytest.mark.parametrize(
    ("text", "given", "expected"),
    [
        ("docker://h.io/app", "v2", "h.io/app:v2"),
        ("docker://h.io/team/", "shop", "h.io/team/shop:latest"),
        ("docker://h.io/", "other.example/a/shop:1", "h.io/a/shop:1"),
    ],
)
def test_a_name_at_a_registry_is_a_tag_or_goes_below_the_prefix(text: str, given: str, expected: str) -> None:
    assert expected == parse(text).parse_name(given)


@pytest.mark.parametrize(
    ("text", "asked", "expected"),
    [
        ("docker://h.io/app", (), ("h.io/app:latest",)),
        ("docker://h.io/app", ("10",), ("h.io/app:10",)),
        ("docker://h.io/app:9", ("10", "9"), ("h.io/app:9", "h.io/app:10")),
        ("docker://h.io/app@sha256:" + "0" * 64, (), ()),
        ("docker://h.io/app:9@sha256:" + "0" * 64, (), ("h.io/app:9",)),
        ("docker://h.io/app:9@sha256:" + "0" * 64, ("10",), ("h.io/app:9", "h.io/app:10")),
        ("docker://h.io/", (), ()),
        ("oci:dir:9", ("10",), ("9", "10")),
        ("oci:dir:app:9", ("docker.io/library/app:9",), ("app:9",)),
        ("oci:dir", (), ()),
        ("docker-archive:f:app:9", ("app:10", "app:9"), ("docker.io/library/app:9", "docker.io/library/app:10")),
        ("oci-archive:f:app:9", ("app:9",), ("docker.io/library/app:9",)),
        ("a.tar", (), ()),
    ],
)
def test_an_image_gets_the_references_own_name_and_those_of_the_option_each_once(
    text: str, asked: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert expected == parse(text).names(asked)


@pytest.mark.parametrize(
    ("text", "given"), [("docker://h.io/app", "shop:1"), ("docker://h.io/app", "a/b"), ("docker://h.io/", "A")]
)
def test_a_name_that_a_registry_cannot_place_is_a_mistake(text: str, given: str) -> None:
    with pytest.raises(UsageError):
        parse(text).parse_name(given)


def test_a_bare_tag_has_no_place_below_a_prefix() -> None:
    with pytest.raises(UsageError, match="without a repository"):
        parse("docker://h.io/team/").destination_name("1.0")


@pytest.mark.parametrize("name", ["plain", "a.tar"])
def test_a_directory_that_exists_is_a_layout_whatever_its_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    assert Destination(reference.LAYOUT, str(tmp_path / name), None) == parse(str(tmp_path / name))


@pytest.mark.parametrize(
    "text",
    ["", "image", "image.tar.xz", "image.TAR", "oci:", "oci::v1", "oci:d:@0", "docker-archive:f:@0", "docker-archive:f:Big",
     "oci:d:a b", "oci-archive:f:\n", "docker://", "docker://h.io/App", "docker://h.io/app:", "docker-daemon:",
     "docker-daemon:App", "docker-daemon:app@sha256:" + "a" * 64, "docker-daemon:sha256:" + "a" * 64],
)  # fmt: skip
def test_other_words_are_a_mistake(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError):
        parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("app", "docker.io/library/app:latest"),
        ("a__b/c-d.e:V_1.2-3", "docker.io/a__b/c-d.e:V_1.2-3"),
        ("Host.example:5000/a/b", "Host.example:5000/a/b:latest"),
        ("[::1]:5000/app:1", "[::1]:5000/app:1"),
    ],
)
def test_a_name_for_engines_is_completed(text: str, expected: str) -> None:
    assert expected == image_name(text) == parse("x.tar").parse_name(text) == parse("-").parse_name(text)


@pytest.mark.parametrize(
    "text",
    ["", "A", "a..b", "a/", "/a", "a//b", "a:", "a:.b", "a:" + "x" * 129, "a@sha256:" + "0" * 64, "a b", "a\n", "\u00e4"],
)
def test_what_engines_take_for_no_name_is_a_mistake(text: str) -> None:
    with pytest.raises(UsageError, match="invalid image name"):
        image_name(text)


LAYOUT = Destination(reference.LAYOUT, "store", None)


@pytest.mark.parametrize("text", ["v1", "App", "a/b:c", "a@sha256:0", "1.0+build-2"])
def test_a_layout_takes_wider_names_as_they_are(text: str) -> None:
    assert text == LAYOUT.parse_name(text)


@pytest.mark.parametrize("text", ["", " ", "-x", "a b", "a\n", "\x1b[0m", "a" * 513, "\udcff"])
def test_and_refuses_what_is_none(text: str) -> None:
    with pytest.raises(UsageError, match="invalid image name"):
        LAYOUT.parse_name(text)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("app:1", "docker.io/library/app:1"), ("t/app", "docker.io/t/app:latest"), ("v1", "v1"), ("latest", "latest")],
)
def test_names_in_full_leave_bare_tags_alone(name: str, expected: str) -> None:
    assert expected == reference.canonical(name)


def test_a_rehearsal_knows_what_a_layout_has_and_leaves_no_trace(task: Task, tmp_path: Path) -> None:
    made = image([layer_tar([("a", b"x")])])
    write_layout(tmp_path / "out", [made])
    (tmp_path / "out/blobs" / sha256(made.config).replace(":", "/")).write_bytes(b"cut off")
    before = sorted(tmp_path.rglob("*"))
    sink = open_sink(parse(str(tmp_path / "out")), task, dry_run=True)
    blobs = tuple(BytesBlob(data, Digest.parse(digest)) for digest, data in made.blobs.items())
    stored = sink.write(WriteRequest((), (*blobs, BytesBlob(b"new", Digest.of(b"new")))), task, verify=False)
    sink.close()
    assert set(made.blobs) - {sha256(made.config)} == {str(digest) for digest in stored.skipped}
    assert before == sorted(tmp_path.rglob("*"))


@pytest.mark.parametrize("text", ["{}/there.tar", "oci:{}/full", "{}/no/a.tar", "{}/no/layout/", "oci:{}/there.tar"])
def test_a_rehearsal_is_refused_where_the_run_would_be(text: str, task: Task, tmp_path: Path) -> None:
    (tmp_path / "there.tar").write_bytes(b"")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").write_bytes(b"")
    for dry in (True, False):
        with pytest.raises(DestinationError):
            open_sink(parse(text.format(tmp_path)), task, dry_run=dry)
