"""`ocitool squash`: one layer for many, the same file system, and a history that tells it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import places
from support.copying import AMD, multiarch, notes, refused
from support.images import (
    Image,
    entry,
    image,
    index_of,
    layer_tar,
    pretty,
    sha256,
    write_docker_archive,
    write_files,
    write_layout,
)
from support.merged import described, tree_of
from support.report import done

from ocitool.images.platform_choice import single
from ocitool.task import Task
from ocitool.transports.opening import open_source

Run = Callable[..., Any]
BIG = b"B" * 5000
LOWER = layer_tar([("etc/", None), ("etc/conf", b"lower"), ("usr/", None), ("usr/a", b"a"), ("usr/b", b"b"), ("keep", b"k")])
MIDDLE = layer_tar([("etc/", None), ("etc/conf", BIG), ("usr/", None), ("usr/.wh..wh..opq", b""), ("usr/c", b"c")])
UPPER = layer_tar([("etc/", None), ("etc/.wh.conf", b""), ("keep", b"k"), ("srv", b"s")])
TARS = [LOWER, MIDDLE, UPPER]
HISTORY: list[dict[str, Any]] = [
    {"created": "2024-01-01T00:00:00Z", "created_by": "ADD base"},
    {"created": "2024-01-02T00:00:00Z", "created_by": "ENV A=1", "empty_layer": True},
    {"created": "2024-01-03T00:00:00Z", "created_by": "RUN middle"},
    {"created": "2024-01-04T00:00:00Z", "created_by": "LABEL b=2", "empty_layer": True},
    {"created": "2024-01-05T00:00:00Z", "created_by": "COPY upper", "author": "me"},
    {"created": "2024-01-06T00:00:00Z", "created_by": "CMD x", "empty_layer": True},
]
SQUASHED = {"created": "2024-01-05T00:00:00Z", "created_by": "ocitool squash --from 1"}


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    return write_layout(tmp_path / "src", [image(TARS, tag="app", history=HISTORY)])


def config_of(path: Path) -> Any:
    with Task() as task:
        return dict(single(open_source(str(path), "layers", task), None).config.fields)


def tree(path: Path) -> Any:
    with Task() as task:
        found = single(open_source(str(path), "layers", task), None)
        return described(found, tree_of(found, task))


def squashed(run: Run, *words: Any) -> Any:
    """The report of a squash that worked."""
    return done(run, "squash", *map(str, words))


# The layers


@pytest.mark.parametrize(
    ("words", "origins"),
    [
        ((), ["squashed"]), (("--from", "0"), ["squashed"]), (("--from", "1"), ["kept", "squashed"]),
        (("--last", "2"), ["kept", "squashed"]), (("--from", "-2"), ["kept", "squashed"]), (("--last", "3"), ["squashed"]),
        (("--from", "2"), ["kept", "kept", "kept"]), (("--last", "1"), ["kept", "kept", "kept"]),
    ],
)  # fmt: skip
def test_what_is_named_becomes_one_layer(
    ocitool: Run, layout: Path, tmp_path: Path, words: tuple[str, ...], origins: list[str]
) -> None:
    report = squashed(ocitool, layout, tmp_path / "out.tar", *words)
    assert origins == [layer["origin"] for layer in report["images"][0]["layers"]]
    assert tree(layout) == tree(tmp_path / "out.tar")


def test_kept_layers_keep_their_very_blobs(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    before = image(TARS).manifest["layers"]
    report = squashed(ocitool, layout, tmp_path / "out.tar", "--last", "2")
    assert before[0]["digest"] == report["images"][0]["layers"][0]["digest"]


def test_one_layer_is_not_made_again(ocitool: Run, tmp_path: Path) -> None:
    made = image([LOWER], tag="app")
    write_layout(tmp_path / "src", [made])
    report = squashed(ocitool, tmp_path / "src", tmp_path / "out.tar")
    assert (made.digest, {"squash", "untagged"}) == (report["images"][0]["digest"], notes(report))


def test_the_base_is_what_stays(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    write_docker_archive(tmp_path / "base.tar", [image([LOWER], tag="base:1", codec="none")])
    report = squashed(ocitool, layout, tmp_path / "out.tar", "--keep-base", tmp_path / "base.tar")
    assert ["kept", "squashed"] == [layer["origin"] for layer in report["images"][0]["layers"]]


def test_a_base_that_is_none_names_the_first_other_layer(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    write_layout(tmp_path / "base", [image([LOWER, UPPER])])
    refused(2, ocitool("squash", layout, tmp_path / "out.tar", "--keep-base", tmp_path / "base"), "layer 1 is another one")
    assert not (tmp_path / "out.tar").exists()


def test_above_a_base_whiteouts_stand_where_they_are_needed_and_only_there(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    squashed(ocitool, layout, f"{tmp_path}/out/", "--from", "1")
    result = ocitool("ls", "--recursive", "--layer", "1", tmp_path / "out", "--format", "json")
    expected = {("/etc", "directory"), ("/etc/conf", "whiteout"), ("/usr", "directory"), ("/usr", "opaque"), ("/usr/c", "file"),
                ("/srv", "file")}  # fmt: skip
    assert expected == {(item["path"], item["type"]) for item in result.json()["entries"]}


def test_what_the_base_has_already_is_not_written_again(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    (squash_report,) = squashed(ocitool, layout, tmp_path / "out.tar", "--from", "1")["details"]["squashed"]
    assert {"hidden": len(BIG), "duplicate": 1} == {key: squash_report["saved"][key] for key in ("hidden", "duplicate")}


def test_layers_that_come_to_nothing_above_a_base_leave_none(ocitool: Run, tmp_path: Path) -> None:
    tars = [LOWER, layer_tar([("tmp", b"t")]), layer_tar([(".wh.tmp", b"")])]
    write_layout(tmp_path / "src", [image(tars, tag="app")])
    report = squashed(ocitool, tmp_path / "src", f"{tmp_path}/out/", "--from", "1")
    assert [sha256(LOWER)] == [layer["diffId"] for layer in report["images"][0]["layers"]]
    assert done(ocitool, "validate", str(tmp_path / "out"))["valid"]


def test_layers_that_come_to_nothing_at_all_leave_an_empty_one(ocitool: Run, tmp_path: Path) -> None:
    write_layout(tmp_path / "src", [image([layer_tar([("tmp", b"t")]), layer_tar([(".wh.tmp", b"")])], tag="app")])
    report = squashed(ocitool, tmp_path / "src", f"{tmp_path}/out/")
    assert [sha256(bytes(1024))] == [layer["diffId"] for layer in report["images"][0]["layers"]]


@pytest.mark.parametrize("codec", ["none", "gzip", "zstd"])
def test_the_layer_has_the_codec_of_the_top_most(ocitool: Run, tmp_path: Path, codec: str) -> None:
    write_layout(tmp_path / "src", [image(TARS, tag="app", codec=codec)])
    squashed(ocitool, tmp_path / "src", f"{tmp_path}/out/")
    (layer,) = done(ocitool, "inspect", str(tmp_path / "out"))["images"][0]["layers"]
    assert codec == layer["compression"]


def test_compression_converts_the_kept_layers_too(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    squashed(ocitool, layout, f"{tmp_path}/out/", "--from", "1", "--compression", "zstd:9")
    found = done(ocitool, "inspect", str(tmp_path / "out"))["images"][0]["layers"]
    assert ["zstd", "zstd"] == [layer["compression"] for layer in found]


def test_two_runs_give_the_same_bytes(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    reports = [squashed(ocitool, layout, tmp_path / f"{n}.tar") for n in range(2)]
    assert reports[0]["images"] == reports[1]["images"]
    assert (tmp_path / "0.tar").read_bytes() == (tmp_path / "1.tar").read_bytes()


def test_a_cached_index_makes_no_difference(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    cold = squashed(ocitool, layout, tmp_path / "cold.tar", "--no-cache")
    ocitool("inspect", "--files", layout)
    assert cold["images"] == squashed(ocitool, layout, tmp_path / "warm.tar")["images"]


def test_every_image_of_an_index_is_squashed(ocitool: Run, tmp_path: Path) -> None:
    write_files(tmp_path / "src", multiarch()[0])
    report = squashed(ocitool, "--all-platforms", tmp_path / "src", f"{tmp_path}/out/")
    assert [["kept"], ["squashed"]] == [[layer["origin"] for layer in one["layers"]] for one in report["images"]]


# The documents


def test_history_keeps_what_stays_and_says_what_was_squashed(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    squashed(ocitool, layout, tmp_path / "out.tar", "--from", "1")
    expected = {**SQUASHED, "comment": "layers 1 to 2 in one"}
    assert [*HISTORY[:2], HISTORY[3], expected, HISTORY[5]] == config_of(tmp_path / "out.tar")["history"]


def test_history_and_diff_ids_align(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    for first in range(3):
        squashed(ocitool, layout, f"{tmp_path}/{first}/", "--from", first)
        assert [] == done(ocitool, "validate", str(tmp_path / str(first)))["findings"]


def test_a_history_that_does_not_align_gives_way_to_one_that_does(ocitool: Run, tmp_path: Path) -> None:
    write_layout(tmp_path / "src", [image(TARS, tag="app", history=HISTORY[:2])])
    squashed(ocitool, tmp_path / "src", tmp_path / "out.tar", "--from", "1")
    history = config_of(tmp_path / "out.tar")["history"]
    unstated = "the image stated no history"
    assert [unstated, unstated, "layers 1 to 2 in one"] == [entry["comment"] for entry in history]
    assert [None, True, None] == [entry.get("empty_layer") for entry in history]


def test_no_history_stays_none(ocitool: Run, tmp_path: Path) -> None:
    write_layout(tmp_path / "src", [image(TARS, tag="app", history=None)])
    squashed(ocitool, tmp_path / "src", tmp_path / "out.tar")
    assert "history" not in config_of(tmp_path / "out.tar")


def test_all_but_layers_and_history_is_as_it_was(ocitool: Run, tmp_path: Path) -> None:
    made = image(TARS, tag="app", history=HISTORY, author="me", unknown={"x": [1]})
    made.manifest["annotations"] = {"a": "b"}
    write_layout(tmp_path / "src", [made])
    squashed(ocitool, tmp_path / "src", f"{tmp_path}/out/")
    before, after = json.loads(made.config), config_of(tmp_path / "out")
    assert {k: v for k, v in before.items() if k not in ("rootfs", "history")} == {
        k: v for k, v in after.items() if k not in ("rootfs", "history")
    }
    assert {"a": "b"} == json.loads(ocitool("inspect", "--raw", "manifest", tmp_path / "out").out)["annotations"]


def test_source_date_epoch_is_when_it_was_created(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    assert 0 == ocitool("squash", layout, tmp_path / "out.tar", env={"SOURCE_DATE_EPOCH": "1700000000"}).code
    config = config_of(tmp_path / "out.tar")
    assert {"2023-11-14T22:13:20Z"} == {config["created"], config["history"][2]["created"]}


# What is told


def test_dry_run_writes_nothing_and_tells_the_same(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    dry = squashed(ocitool, layout, tmp_path / "out.tar", "--dry-run")
    assert not (tmp_path / "out.tar").exists()
    assert dry["details"] == squashed(ocitool, layout, tmp_path / "out.tar")["details"]


def test_the_closing_line_says_what_is_saved(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    text = ocitool("squash", layout, tmp_path / "out.tar").out
    assert "3 layers are one now" in text
    assert "of hidden and 0 B of duplicate files, unpacked, no longer ship" in text


def test_what_with_names_is_no_longer_shared(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    base = image([LOWER, MIDDLE], tag="base")
    write_layout(tmp_path / "base", [base])
    (squash_report,) = squashed(ocitool, layout, tmp_path / "out.tar", "--with", tmp_path / "base")["details"]["squashed"]
    size = sum(layer["size"] for layer in base.manifest["layers"])
    assert [{"image": str(tmp_path / "base"), "layers": 2, "size": size}] == squash_report["lost"]


def test_what_an_annotation_names_is_no_longer_shared(ocitool: Run, tmp_path: Path) -> None:
    made = image(TARS, tag="app")
    made.manifest["annotations"] = {"org.opencontainers.image.base.name": "docker.io/library/debian:12"}
    write_layout(tmp_path / "src", [made])
    (squash_report,) = squashed(ocitool, tmp_path / "src", tmp_path / "out.tar")["details"]["squashed"]
    assert [{"image": "docker.io/library/debian:12", "layers": None, "size": None}] == squash_report["lost"]


# File systems


def test_a_hard_link_group_over_layers_is_one_file(ocitool: Run, tmp_path: Path) -> None:
    lower = layer_tar([("d/", None), ("d/a", b"text"), ("d/b", "hard:d/a")])
    upper = layer_tar([("c", "hard:d/b"), ("d/", None), ("d/.wh.a", b"")])
    write_layout(tmp_path / "src", [image([lower, upper], tag="app")])
    squashed(ocitool, tmp_path / "src", f"{tmp_path}/out/")
    found = tree(tmp_path / "out")
    assert [b"c", b"d/b"] == found[b"c"]["links"] == found[b"d/b"]["links"]
    assert b"text" == found[b"c"]["content"]


def test_a_link_means_the_content_of_its_own_layer(ocitool: Run, tmp_path: Path) -> None:
    lower = layer_tar([("a", b"old"), ("b", "hard:a")])
    write_layout(tmp_path / "src", [image([lower, layer_tar([("a", b"new")])], tag="app")])
    squashed(ocitool, tmp_path / "src", f"{tmp_path}/out/")
    found = tree(tmp_path / "out")
    assert (b"new", b"old") == (found[b"a"]["content"], found[b"b"]["content"])


def test_capabilities_devices_and_fractions_of_seconds_survive(ocitool: Run, tmp_path: Path) -> None:
    from ocitool.layers.entry import Kind

    capability = ((b"security.capability", b"\1\0\0\2" + bytes(16)), (b"user.x", b"\xff"))
    device = entry("dev/null", b"", kind=Kind.CHAR, device=(1, 3), size=0)
    lower = [entry("bin/ping", b"p", xattrs=capability, mode=0o4755, uid=1 << 33), ("dev/", None), device]
    upper = [entry("bin", None, mtime=1_500_000_000_123_456_789)]
    write_layout(tmp_path / "src", [image([layer_tar(lower), layer_tar(upper)], tag="app")])
    squashed(ocitool, tmp_path / "src", f"{tmp_path}/out/")
    assert tree(tmp_path / "src") == tree(tmp_path / "out")


# Bad input


def bad(tmp_path: Path, made: Image) -> Path:
    return write_layout(tmp_path / "src", [made])


def no_output(tmp_path: Path) -> bool:
    return sorted(path.name for path in tmp_path.iterdir()) == ["src"]


@pytest.mark.parametrize("words", ["--from 3", "--from -4", "--last 0", "--last 4", "--last -1", "--from 1 --last 1"])
def test_a_layer_that_is_not_there_is_2(ocitool: Run, layout: Path, tmp_path: Path, words: str) -> None:
    refused(2, ocitool("squash", layout, tmp_path / "out.tar", *words.split()))
    assert no_output(tmp_path)


def test_an_artifact_is_2(ocitool: Run, tmp_path: Path) -> None:
    made = image([LOWER, UPPER], tag="app")
    made.manifest["config"]["mediaType"] = "application/vnd.example"
    refused(2, ocitool("squash", bad(tmp_path, made), tmp_path / "out.tar"), "artifact")
    assert no_output(tmp_path)


def test_an_attestation_is_2(ocitool: Run, tmp_path: Path) -> None:
    files, images = multiarch()
    write_files(tmp_path / "src", files)
    refused(2, ocitool("squash", f"{tmp_path}/src:@{images[2].digest}", tmp_path / "out.tar"))
    assert no_output(tmp_path)


def test_fewer_diff_ids_than_layers_is_4(ocitool: Run, tmp_path: Path) -> None:
    made = image(TARS, tag="app", rootfs={"type": "layers", "diff_ids": [sha256(LOWER)]})
    refused(4, ocitool("squash", bad(tmp_path, made), tmp_path / "out.tar"), "do not align")
    assert no_output(tmp_path)


@pytest.mark.parametrize(
    ("media_type", "code"),
    [
        ("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", 4), ("application/vnd.example.layer", 4),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", 4),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", 4),
    ],
)  # fmt: skip
@pytest.mark.parametrize("number", [1, 2])
def test_a_layer_of_another_type_is_refused(ocitool: Run, tmp_path: Path, media_type: str, code: int, number: int) -> None:
    made = image(TARS, tag="app")
    made.manifest["layers"][number]["mediaType"] = media_type
    refused(code, ocitool("squash", bad(tmp_path, made), tmp_path / "out.tar", "--from", "1"))
    assert no_output(tmp_path)


def test_a_foreign_layer_that_is_elsewhere_is_4(ocitool: Run, tmp_path: Path) -> None:
    made = image(TARS, tag="app")
    made.manifest["layers"][0] |= {
        "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "urls": ["https://foreign.example/layer"],
    }  # fmt: skip
    source = bad(tmp_path, made)
    (source / "blobs" / made.manifest["layers"][0]["digest"].replace(":", "/")).unlink()
    for words in ((), ("--from", "1")):
        refused(4, ocitool("squash", source, tmp_path / "out.tar", *words), "foreign")
    assert no_output(tmp_path)


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("codec", ["none", "gzip", "zstd"])
def test_a_corrupt_layer_is_5(ocitool: Run, tmp_path: Path, number: int, cached: bool, codec: str) -> None:
    made = image(TARS, tag="app", codec=codec)
    source = bad(tmp_path, made)
    if cached:
        ocitool("inspect", "--files", source)
    path = source / "blobs" / made.manifest["layers"][number]["digest"].replace(":", "/")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    refused(5, ocitool("squash", source, tmp_path / "out.tar"))
    assert no_output(tmp_path)


def test_a_diff_id_that_is_not_the_layers_is_5(ocitool: Run, tmp_path: Path) -> None:
    made = image(TARS, tag="app", rootfs={"type": "layers", "diff_ids": [sha256(t) for t in (LOWER, LOWER, UPPER)]})
    refused(5, ocitool("squash", bad(tmp_path, made), tmp_path / "out.tar"))
    assert no_output(tmp_path)


@pytest.mark.parametrize("codec", ["none", "gzip"])
def test_layers_that_come_to_nothing_are_verified_too(ocitool: Run, tmp_path: Path, codec: str) -> None:
    made = image([LOWER, LOWER, layer_tar([(".wh.nothing", b"")])], tag="app", codec=codec)
    source = bad(tmp_path, made)
    path = source / "blobs" / made.manifest["layers"][2]["digest"].replace(":", "/")
    data = bytearray(path.read_bytes())
    data[4 if codec == "gzip" else 1030] ^= 1  # gzip's time, or what stands behind the end
    path.write_bytes(data)
    refused(5, ocitool("squash", source, tmp_path / "out.tar", "--from", "1"))
    assert no_output(tmp_path)


def test_a_layer_that_is_listed_twice_is_told_the_same_from_the_cache(ocitool: Run, tmp_path: Path) -> None:
    again = layer_tar([("f", b"1"), ("g", b"g")])
    tars = [again, layer_tar([("f", b"1"), ("zz", b"z")]), again, layer_tar([("h", b"h")])]
    write_layout(tmp_path / "src", [image(tars, tag="app", codec="none")])
    cold = squashed(ocitool, tmp_path / "src", tmp_path / "cold.tar", "--from", "2", "--no-cache")
    ocitool("unpack", "--as", "rootfs", tmp_path / "src", tmp_path / "root")
    assert cold["images"] == squashed(ocitool, tmp_path / "src", tmp_path / "warm.tar", "--from", "2")["images"]


def test_the_deepest_path_that_may_be_is_squashed(ocitool: Run, tmp_path: Path) -> None:
    deep = "d/" * 1000
    lower = layer_tar([(deep[: 2 * n], None) for n in range(1, 1001)])
    tars = [lower, layer_tar([(deep + "a", b"a")]), layer_tar([(deep + "b", b"b")])]
    write_layout(tmp_path / "src", [image(tars, tag="app")])
    assert [["kept", "squashed"]] == [
        [layer["origin"] for layer in one["layers"]]
        for one in squashed(ocitool, tmp_path / "src", tmp_path / "out.tar", "--last", "2")["images"]
    ]


def test_with_names_a_store_of_several_images_too(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    images = [image([LOWER], tag="one"), image([LOWER, MIDDLE], tag="two"), image([UPPER], tag="three")]
    write_layout(tmp_path / "store", images)
    (squash_report,) = squashed(ocitool, layout, tmp_path / "out.tar", "--with", tmp_path / "store")["details"]["squashed"]
    assert [2] == [lost["layers"] for lost in squash_report["lost"]]


@pytest.mark.parametrize("words", [(), ("--from", "1")])
def test_a_layer_that_the_source_lacks_comes_from_what_with_names(ocitool: Run, tmp_path: Path, words: tuple[str, ...]) -> None:
    made = image(TARS, tag="app")
    source = write_layout(tmp_path / "src", [made])
    write_layout(tmp_path / "more", [made])
    whole = squashed(ocitool, source, tmp_path / "whole.tar", *words)
    for layer in made.manifest["layers"]:
        (source / "blobs" / layer["digest"].replace(":", "/")).unlink()
    report = squashed(ocitool, source, tmp_path / "out.tar", *words, "--with", tmp_path / "more")
    assert whole["images"] == report["images"]


def test_a_diff_id_of_a_kept_layer_that_is_listed_twice_is_checked_each_time(ocitool: Run, tmp_path: Path) -> None:
    stated = [sha256(tar) for tar in (LOWER, UPPER, MIDDLE, UPPER)]
    made = image([LOWER, LOWER, MIDDLE, UPPER], tag="app", codec="none", rootfs={"type": "layers", "diff_ids": stated})
    refused(5, ocitool("squash", bad(tmp_path, made), tmp_path / "out.tar", "--from", "2"))
    assert no_output(tmp_path)


def test_the_base_may_lack_what_with_has(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    base = image([LOWER], tag="base", codec="zstd")
    whole, part = (write_layout(tmp_path / name, [base]) for name in ("whole", "part"))
    (part / "blobs" / base.manifest["layers"][0]["digest"].replace(":", "/")).unlink()
    report = squashed(ocitool, layout, tmp_path / "out.tar", "--keep-base", part, "--with", whole)
    assert ["kept", "squashed"] == [layer["origin"] for layer in report["images"][0]["layers"]]


def test_a_missing_layer_is_3(ocitool: Run, tmp_path: Path) -> None:
    made = image(TARS, tag="app")
    source = bad(tmp_path, made)
    (source / "blobs" / made.manifest["layers"][1]["digest"].replace(":", "/")).unlink()
    refused(3, ocitool("squash", source, tmp_path / "out.tar"))
    assert no_output(tmp_path)


def test_a_hard_link_to_nothing_is_6(ocitool: Run, tmp_path: Path) -> None:
    source = bad(tmp_path, image([LOWER, layer_tar([("x", "hard:nowhere")])], tag="app"))
    refused(6, ocitool("squash", source, tmp_path / "out.tar"), "hard link without a target")
    assert no_output(tmp_path)


def test_an_existing_archive_stays_without_force(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    (tmp_path / "out.tar").write_bytes(b"mine")
    refused(9, ocitool("squash", layout, tmp_path / "out.tar"), "exist")
    assert b"mine" == (tmp_path / "out.tar").read_bytes()


def test_in_an_index_the_image_of_one_platform_is_picked(ocitool: Run, tmp_path: Path) -> None:
    made = image(TARS, platform=AMD)
    inner = pretty(index_of([made.descriptor]))
    top = {"mediaType": index_of([])["mediaType"], "digest": sha256(inner), "size": len(inner),
           "annotations": {places.REF_NAME: "app"}}  # fmt: skip
    write_layout(tmp_path / "src", [made], index=index_of([top]))
    (tmp_path / "src/blobs" / sha256(inner).replace(":", "/")).write_bytes(inner)
    report = squashed(ocitool, tmp_path / "src", tmp_path / "out.tar")
    assert [["squashed"]] == [[layer["origin"] for layer in one["layers"]] for one in report["images"]]
