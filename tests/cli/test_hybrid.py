"""Archives that are an OCI layout and a `docker save` at once, and whose halves name other images: none is lost unsaid."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.images import Image, docker_files, image, index_of, layer_tar, layout_files, pretty, sha256, write_tar
from support.report import report_of

from ocitool.spec import mediatypes

Run = Callable[..., Any]
ONE = layer_tar([("etc/", None), ("etc/motd", b"hello\n")])
TWO = layer_tar([("srv/", None), ("srv/app", b"app\n")])
BOTH = image([ONE, TWO], codec="none", tag="both:1")
ONLY = image([TWO], codec="none", tag="only:1", author="docker")


def line(one: Image, **changes: Any) -> dict[str, Any]:
    """What manifest.json says of an image."""
    layers = ["blobs/" + sha256(data).replace(":", "/") for data in one.layers]
    config = "blobs/" + sha256(one.config).replace(":", "/")
    return {"Config": config, "RepoTags": [one.tag] if one.tag else None, "Layers": layers, **changes}


def archive(path: Path, lines: Any, *images: Image, index: Any = None, **files: bytes) -> Path:
    """An archive with the blobs of these images, whose index names the first one unless it is given."""
    made = layout_files(images, index=index_of([images[0].descriptor]) if index is None else index)
    more = {name.replace("__", "/"): data for name, data in files.items()}
    raw = lines if isinstance(lines, bytes) else pretty(lines)
    return write_tar(path, {**made, **more, **({"manifest.json": raw} if raw else {})})


@pytest.fixture
def halves(tmp_path: Path) -> Path:
    """index.json names the first image, manifest.json both."""
    return archive(tmp_path / "halves.tar", [line(BOTH), line(ONLY)], BOTH, ONLY)


def ids(report: Any) -> list[str]:
    return [one["imageId"] for one in report["images"]]


ALL = [sha256(BOTH.config), sha256(ONLY.config)]


# Images that only manifest.json has


def test_every_image_of_either_half_is_listed_once_and_the_difference_told(ocitool: Run, halves: Path) -> None:
    found = report_of(ocitool("inspect", halves, "--format", "json"))
    assert ALL == ids(found) and [["both:1"], ["only:1"]] == [one["tags"] for one in found["images"]]
    assert ["hybrid"] == [one["code"] for one in found["notices"]]


@pytest.mark.parametrize("selector", ["only:1", "docker.io/library/only:1", "@1", f"@{ALL[1]}"])
def test_an_image_that_only_manifest_json_has_is_picked_by_name_position_and_digest(
    selector: str, ocitool: Run, halves: Path
) -> None:
    assert [ALL[1]] == ids(report_of(ocitool("inspect", f"{halves}:{selector}", "--format", "json")))
    assert b"/srv/" in ocitool("ls", f"{halves}:{selector}").stdout


def test_positions_go_on_behind_those_of_the_index(ocitool: Run, halves: Path) -> None:
    assert [ALL[0]] == ids(report_of(ocitool("inspect", f"{halves}:@0", "--format", "json")))
    result = ocitool("ls", f"{halves}:@2")
    assert 3 == result.code and "holds 2" in result.err, str(result)


def test_none_picked_names_the_images_of_both_halves(ocitool: Run, halves: Path) -> None:
    result = ocitool("ls", halves)
    assert 3 == result.code and "both:1; only:1" in result.err, str(result)


def test_copies_have_the_images_of_both_halves(ocitool: Run, halves: Path, tmp_path: Path) -> None:
    for to in ("to/", "to.tar"):
        assert 2 == len(report_of(ocitool("copy", halves, f"{tmp_path}/{to}", "--format", "json"))["images"])
        found = report_of(ocitool("inspect", f"{tmp_path}/{to}", "--format", "json"))
        assert ALL == ids(found) and not found["notices"]


def test_dedupe_counts_the_images_of_both_halves_under_names_that_pick_them(ocitool: Run, halves: Path) -> None:
    found = report_of(ocitool("dedupe", halves, "--format", "json"))
    assert (2, 3, 2) == (len(found["images"]), found["layers"]["references"], found["layers"]["unique"])
    for one in found["images"]:
        assert 1 == len(ids(report_of(ocitool("inspect", one["reference"], "--format", "json"))))


def test_nameless_images_of_both_halves_have_references_that_pick_them(ocitool: Run, tmp_path: Path) -> None:
    a, b = (Image(one.config, one.manifest, one.layers) for one in (BOTH, ONLY))
    path = archive(tmp_path / "a.tar", [line(a), line(b)], a, b)
    found = report_of(ocitool("dedupe", path, "--format", "json"))
    picked = [ids(report_of(ocitool("inspect", one["reference"], "--format", "json"))) for one in found["images"]]
    assert sorted(ALL) == sorted(one for (one,) in picked)


def test_validate_reads_the_layers_of_both_halves(ocitool: Run, tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar", [line(BOTH), line(ONLY, Layers=["gone"])], BOTH, ONLY)
    found = report_of(ocitool("validate", path, "--format", "json"), 1)
    assert {"hybrid", "missing-blob"} <= {one["rule"] for one in found["findings"]}
    assert 0 == ocitool("validate", archive(tmp_path / "b.tar", [line(BOTH)], BOTH)).code


def test_an_image_below_an_index_is_not_an_image_of_manifest_json_alone(ocitool: Run, tmp_path: Path) -> None:
    raw = pretty(index_of([BOTH.descriptor]))
    holder = Image(BOTH.config, BOTH.manifest, BOTH.layers, extra={sha256(raw): raw})
    top = {"mediaType": mediatypes.OCI_INDEX, "digest": sha256(raw), "size": len(raw)}
    path = archive(tmp_path / "a.tar", [line(BOTH)], holder, index=index_of([top]))
    found = report_of(ocitool("inspect", path, "--format", "json"))
    assert ALL[:1] == ids(found) and not found["notices"]
    assert ["both:1"] == found["images"][0]["tags"]


def test_names_of_both_halves_are_names_of_the_one_image(ocitool: Run, tmp_path: Path) -> None:
    full = {**BOTH.descriptor, "annotations": {"io.containerd.image.name": "docker.io/library/both:1"}}
    path = archive(tmp_path / "a.tar", [line(BOTH, RepoTags=["both:1", "other:2"])], BOTH, index=index_of([full]))
    found = report_of(ocitool("inspect", path, "--format", "json"))
    assert [["both:1", "other:2"]] == [one["tags"] for one in found["images"]]
    assert 0 == ocitool("ls", f"{path}:other:2").code


@pytest.mark.parametrize(
    ("transport", "words"),
    [("oci-archive", "manifest.json names 1 image that index.json does not; docker-archive:"), ("docker-archive", "")],
)
def test_an_explicit_transport_reads_its_half_and_says_what_the_other_has(
    transport: str, words: str, ocitool: Run, halves: Path
) -> None:
    result = ocitool("inspect", f"{transport}:{halves}", "--format", "json")
    assert ALL[: 1 if words else 2] == ids(report_of(result)) and words in result.err


def test_an_extracted_archive_has_the_images_of_both_halves(ocitool: Run, halves: Path, tmp_path: Path) -> None:
    with tarfile.open(halves) as tar:
        tar.extractall(tmp_path / "extracted", filter="data")
    assert ALL == ids(report_of(ocitool("inspect", tmp_path / "extracted", "--format", "json")))
    result = ocitool("inspect", f"oci:{tmp_path}/extracted", "--format", "json")
    assert ALL[:1] == ids(report_of(result)) and "manifest.json names 1 image" in result.err


def test_docker_archive_says_what_index_json_has_more(ocitool: Run, tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar", [line(BOTH)], BOTH, ONLY, index=index_of([BOTH.descriptor, ONLY.descriptor]))
    result = ocitool("inspect", f"docker-archive:{path}", "--format", "json")
    assert ALL[:1] == ids(report_of(result))
    assert f"1 image that is not in manifest.json; oci-archive:{path} reads it" in result.err


# Halves that contradict each other


@pytest.mark.parametrize("layers", [None, [], ..., "short"], ids=str)
def test_a_manifest_with_too_few_layers_gives_way_to_manifest_json(layers: Any, ocitool: Run, tmp_path: Path) -> None:
    bad = Image(BOTH.config, dict(BOTH.manifest), BOTH.layers, BOTH.tag)
    if layers is ...:
        del bad.manifest["layers"]
    else:
        bad.manifest["layers"] = BOTH.manifest["layers"][:1] if layers == "short" else layers
    path = archive(tmp_path / "a.tar", [line(BOTH, RepoTags=["both:1", "more:1"])], bad)
    result = ocitool("inspect", path, "--format", "json")
    (found,) = report_of(result)["images"]
    assert 2 == found["totals"]["layers"] and {"both:1", "more:1"} <= set(found["tags"])
    assert "manifest.json, image @0 names 2 layers" in result.err
    for selector in ("", ":both:1", ":more:1", ":@0", f":@{ALL[0]}"):
        result = ocitool("ls", f"{path}{selector}")
        assert b"/etc/" in result.stdout and b"/srv/" in result.stdout, str(result)
    (written,) = report_of(ocitool("copy", path, f"{tmp_path}/to/", "--format", "json"))["images"]
    assert [2] == [len(written["layers"])]
    assert "docker-archive:" in ocitool("inspect", f"oci-archive:{path}").err
    assert 1 == ocitool("validate", path).code


def test_a_record_with_too_few_layers_gives_way_to_the_manifest(ocitool: Run, tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar", [line(BOTH, Layers=None)], BOTH)
    result = ocitool("inspect", path, "--format", "json")
    assert [2] == [one["totals"]["layers"] for one in report_of(result)["images"]] and "names 0 layers" in result.err
    assert 4 == ocitool("ls", f"docker-archive:{path}").code


def test_other_layers_of_the_same_configuration_are_told(ocitool: Run, tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar", [line(BOTH, Layers=line(BOTH)["Layers"][::-1])], BOTH)
    assert "names other layers than the manifest" in ocitool("ls", path).err


# Halves that cannot be read


def test_an_image_of_repositories_whose_parts_are_missing_is_a_problem_and_hides_no_other(ocitool: Run, tmp_path: Path) -> None:
    top, gone = "b" * 64, "d" * 64
    files = {
        "repositories": pretty({"old": {"broken": top, "absent": gone}}),
        f"{top}__json": pretty({"id": top, "parent": gone}), f"{top}__layer.tar": ONE,
    }  # fmt: skip
    path = archive(tmp_path / "a.tar", [line(BOTH)], BOTH, **files)
    found = report_of(ocitool("inspect", path, "--format", "json"), 1)
    assert ALL[:1] == ids(found)
    assert [True, True] == [gone in one["text"] for one in found["problems"]]
    assert 1 == ocitool("validate", path).code


@pytest.mark.parametrize("index", [b"{", b"[]", b'{"manifests": 3}'])
def test_a_damaged_index_json_does_not_hide_manifest_json(index: bytes, ocitool: Run, tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar", [line(BOTH), line(ONLY)], BOTH, ONLY, index=index)
    found = report_of(ocitool("inspect", path, "--format", "json"), 1)
    assert ALL == ids(found) and "index.json" in found["problems"][0]["where"]
    result = ocitool("ls", f"{path}:only:1")
    assert 0 == result.code and "index.json" in result.err, str(result)
    assert 1 == len(report_of(ocitool("dedupe", path, "--format", "json"), 1)["problems"])


@pytest.mark.parametrize("index", [b"{", b"[]", b'{"manifests": 3}', None])
def test_a_damaged_index_json_of_an_extracted_archive_does_not_hide_manifest_json(
    index: bytes | None, ocitool: Run, tmp_path: Path
) -> None:
    path = tmp_path / "extracted"
    with tarfile.open(archive(tmp_path / "a.tar", [line(BOTH), line(ONLY)], BOTH, ONLY, index=index or b"{")) as packed:
        packed.extractall(path, filter="data")
    if index is None:
        (path / "index.json").unlink()  # oci-layout is left
    found = report_of(ocitool("inspect", path, "--format", "json"), 1)
    assert ALL == ids(found) and "index.json" in str(found["problems"][0])
    result = ocitool("ls", f"{path}:only:1")
    assert 0 == result.code and "index.json" in result.err, str(result)
    assert 4 == ocitool("ls", f"oci:{path}:only:1").code


@pytest.mark.parametrize("lines", [b"[", b"{}", b"3"])
def test_a_damaged_manifest_json_does_not_hide_index_json(lines: bytes, ocitool: Run, tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar", lines, BOTH)
    found = report_of(ocitool("inspect", path, "--format", "json"), 1)
    assert ALL[:1] == ids(found) and "manifest.json" in found["problems"][0]["where"]
    assert 0 == ocitool("ls", path).code
    assert 4 == ocitool("ls", f"docker-archive:{path}").code


def test_where_neither_half_can_be_read_the_index_is_the_error(ocitool: Run, tmp_path: Path) -> None:
    result = ocitool("inspect", archive(tmp_path / "a.tar", b"[", BOTH, index=b"{"))
    assert 4 == result.code and "index.json" in result.err, str(result)


@pytest.mark.parametrize("index", [b'{"schemaVersion": 2, "manifests": null}', b'{"schemaVersion": 2}'])
def test_an_index_that_names_nothing_leaves_all_to_manifest_json(index: bytes, ocitool: Run, tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar", [line(BOTH), line(ONLY)], BOTH, ONLY, index=index)
    assert ALL == ids(report_of(ocitool("inspect", path, "--format", "json")))


@pytest.mark.parametrize("odd", [{}, 3, {"Config": "gone", "RepoTags": ["odd:1"], "Layers": []},
                                 {"Config": "blobs", "RepoTags": 3, "Layers": []}], ids=str)  # fmt: skip
@pytest.mark.parametrize("half", [True, False], ids=["hybrid", "docker save"])
def test_one_odd_image_of_manifest_json_hides_no_other(half: bool, odd: Any, ocitool: Run, tmp_path: Path) -> None:
    if half:
        path = archive(tmp_path / "a.tar", [odd, line(BOTH)], BOTH)
    else:
        files = {line(BOTH)["Config"]: BOTH.config, **dict(zip(line(BOTH)["Layers"], BOTH.layers, strict=True))}
        path = write_tar(tmp_path / "a.tar", {**files, "manifest.json": pretty([odd, line(BOTH)])})
    found = report_of(ocitool("inspect", path, "--format", "json"), 1)
    assert ALL[:1] == ids(found) and 1 == len(found["problems"])
    assert 0 == ocitool("ls", f"{path}:both:1").code
    assert 0 == ocitool("inspect", f"{path}:@{ALL[0]}").code
    assert 4 == ocitool("copy", path, f"{tmp_path}/to/").code
    assert 1 == ocitool("validate", path).code
    found = report_of(ocitool("dedupe", path, "--format", "json"), 1)
    assert 1 == len(found["images"]) == len(found["problems"])


def test_a_configuration_that_the_index_names_by_sha512_is_that_of_manifest_json(ocitool: Run, tmp_path: Path) -> None:
    one = image([ONE, TWO], codec="none", tag="both:1")
    one.manifest["config"]["digest"] = "sha512:" + hashlib.sha512(one.config).hexdigest()
    path = archive(tmp_path / "a.tar", [line(BOTH)], one, **{
        "blobs/" + one.manifest["config"]["digest"].replace(":", "/"): one.config,
        "blobs/" + sha256(one.config).replace(":", "/"): one.config,
    })  # fmt: skip
    for transport in ("", "docker-archive:"):
        found = report_of(ocitool("inspect", f"{transport}{path}", "--format", "json"))
        assert (1, []) == (len(found["images"]), [one["text"] for one in found["notices"]])


# `repositories` beside

V1_ID = "b" * 64
V1 = {f"{V1_ID}__json": pretty({"id": V1_ID, "os": "linux", "architecture": "amd64"}), f"{V1_ID}__layer.tar": ONE}


def test_an_image_that_only_repositories_has_is_read(ocitool: Run, tmp_path: Path) -> None:
    files = {**V1, "repositories": json.dumps({"old": {"1": V1_ID}, "both": {"1": V1_ID}}).encode()}
    for lines in ([line(BOTH)], b""):
        full = {**BOTH.descriptor, "annotations": {"io.containerd.image.name": "docker.io/library/both:1"}}
        path = archive(tmp_path / "a.tar", lines, BOTH, index=index_of([full]), **files)
        result = ocitool("inspect", path, "--format", "json")
        found = report_of(result)
        assert "repositories names 1 image that index.json does not" in result.err
        assert ["old:1"] in [one["tags"] for one in found["images"]] and 2 == len(found["images"])
        assert b"/etc/" in ocitool("ls", f"{path}:old:1").stdout


def test_repositories_that_repeat_the_names_of_manifest_json_add_nothing(ocitool: Run, tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar", [line(BOTH)], BOTH, repositories=json.dumps({"both": {"1": "gone"}}).encode())
    for text in (path, f"docker-archive:{path}"):
        found = report_of(ocitool("inspect", text, "--format", "json"))
        assert ALL[:1] == ids(found) and not found["notices"]


# Parts that only one half has


@pytest.mark.parametrize("lost", ["configuration", "layer"])
def test_an_image_whose_blobs_the_layout_lacks_is_read_from_manifest_json_if_that_has_all(
    lost: str, ocitool: Run, tmp_path: Path
) -> None:
    own = ["own/0.tar", "own/1.tar"]
    files = dict(zip(own, BOTH.layers, strict=True)) | {"own.json": BOTH.config}
    half = layout_files([BOTH])
    del half["blobs/" + (sha256(BOTH.config) if lost == "configuration" else sha256(TWO)).replace(":", "/")]
    listed = pretty([line(BOTH, Config="own.json", Layers=own)])
    path = write_tar(tmp_path / "a.tar", {**half, **files, "manifest.json": listed})
    result = ocitool("ls", f"{path}:both:1")
    assert b"/srv/" in result.stdout and "lacks 1 of its blobs" in result.err, str(result)
    assert 0 == ocitool("copy", path, f"{tmp_path}/to/").code and 0 == ocitool("validate", tmp_path / "to").code
    assert 1 == ocitool("validate", path).code
    assert f"docker-archive:{path} reads the former" in ocitool("inspect", f"oci-archive:{path}").err


@pytest.mark.parametrize("half", [True, False], ids=["hybrid", "docker save"])
def test_of_two_images_of_one_name_none_is_taken_unsaid_and_the_hint_picks_each(
    half: bool, ocitool: Run, tmp_path: Path
) -> None:
    named = [Image(one.config, one.manifest, one.layers, "one:1") for one in (BOTH, ONLY)]
    if half:
        path = archive(tmp_path / "a.tar", [line(named[1])], *named)
    else:
        path = write_tar(tmp_path / "a.tar", docker_files(named))
    for selector in ("", ":one:1"):
        result = ocitool("ls", f"{path}{selector}")
        assert 3 == result.code and "it holds one:1; @1" in result.err, str(result)
    assert [ALL[1]] == ids(report_of(ocitool("inspect", f"{path}:@1", "--format", "json")))


def test_an_image_below_an_index_that_lacks_its_blobs_is_not_said_to_be_missing_from_the_index(
    ocitool: Run, tmp_path: Path
) -> None:
    raw = pretty(index_of([BOTH.descriptor]))
    holder = Image(BOTH.config, BOTH.manifest, BOTH.layers, extra={sha256(raw): raw, sha256(b""): b""})
    top = {"mediaType": mediatypes.OCI_INDEX, "digest": sha256(raw), "size": len(raw)}
    own = ["own/0.tar", "own/1.tar"]
    half = layout_files([holder], index=index_of([top]))
    del half["blobs/" + sha256(TWO).replace(":", "/")]
    files = half | dict(zip(own, BOTH.layers, strict=True)) | {"manifest.json": pretty([line(BOTH, Layers=own)])}
    path = write_tar(tmp_path / "a.tar", files)
    result = ocitool("inspect", path)
    assert "lacks 1 of its blobs" in result.err and "that index.json does not" not in result.err, str(result)
    assert b"/srv/" in ocitool("ls", f"{path}:@1").stdout


@pytest.mark.parametrize("more", [[], ["blobs/" + sha256(BOTH.config).replace(":", "/")]], ids=["manifest", "all"])
def test_an_image_whose_manifest_is_not_here_is_read_from_manifest_json_by_its_name(
    more: list[str], ocitool: Run, tmp_path: Path
) -> None:
    files = layout_files([BOTH, ONLY]) | {"manifest.json": pretty([line(ONLY), line(BOTH)])}
    for name in ("blobs/" + BOTH.digest.replace(":", "/"), *more):
        del files[name]
    path = write_tar(tmp_path / "a.tar", files)
    result = ocitool("inspect", path, "--format", "json")
    found = report_of(result)
    assert sorted(ALL[1:] if more else ALL) == sorted(ids(found)) and "that index.json does not" not in result.err, str(result)
    result = ocitool("ls", f"{path}:both:1")
    assert (3 if more else 0) == result.code and f"{BOTH.digest}" in result.err, str(result)
    assert (3 if more else 0) == ocitool("copy", path, f"{tmp_path}/to/").code
    assert 1 == ocitool("validate", path).code


@pytest.mark.parametrize("half", ["index.json", "manifest.json"])
def test_a_list_that_is_a_link_to_itself_does_not_hide_the_other_half(half: str, ocitool: Run, tmp_path: Path) -> None:
    files = layout_files([BOTH]) | {"manifest.json": pretty([line(BOTH)])}
    del files[half]
    with tarfile.open(write_tar(tmp_path / "a.tar", files), "a") as packed:
        link = tarfile.TarInfo(half)
        link.type, link.linkname = tarfile.SYMTYPE, half
        packed.addfile(link)
    found = report_of(ocitool("inspect", tmp_path / "a.tar", "--format", "json"), 1)
    assert ALL[:1] == ids(found) and half in found["problems"][0]["where"]
    assert 0 == ocitool("ls", tmp_path / "a.tar").code
