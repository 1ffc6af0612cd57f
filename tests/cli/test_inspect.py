"""`ocitool inspect`: what an image is, whatever wrote its file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.images import image, index_of, layer_tar, sha256, write_docker_archive, write_files, write_layout
from support.report import report_of

from ocitool.spec import mediatypes

ENCODINGS = sorted(path.name for path in (Path(__file__).parents[2] / "testdata" / "encodings").iterdir())
Run = Callable[..., Any]


@pytest.mark.parametrize("name", ENCODINGS)
def test_every_encoding_is_an_image_with_layers(ocitool: Run, testdata: Path, name: str) -> None:
    report = report_of(ocitool("inspect", "--format", "json", testdata / "encodings" / name))
    assert len(report["images"]) == (4 if name == "multi.tar" else 1)
    for one in report["images"]:
        assert one["platform"]["os"] == "linux"
        assert one["layers"] and one["totals"]["layers"] == len(one["layers"])
        assert [layer["index"] for layer in one["layers"]] == list(range(len(one["layers"])))
        assert one["totals"]["size"] == sum(layer["size"] for layer in one["layers"])
        assert all(layer["present"] and layer["compression"] in ("none", "gzip", "zstd") for layer in one["layers"])
        assert one["waste"] is None and not one["verified"]


@pytest.mark.parametrize("name", ENCODINGS)
@pytest.mark.parametrize("form", ["text", "markdown"])
def test_every_encoding_in_words(ocitool: Run, testdata: Path, name: str, form: str) -> None:
    result = ocitool("inspect", "--files", "--format", form, testdata / "encodings" / name)
    assert result.code == 0 and result.stdout and b"\x1b" not in result.stdout, str(result)


@pytest.mark.parametrize("name", ENCODINGS)
def test_files_and_verify_know_every_unpacked_size(ocitool: Run, testdata: Path, name: str) -> None:
    report = report_of(ocitool("inspect", "--files", "--verify", "--format", "json", testdata / "encodings" / name))
    for one in report["images"]:
        assert one["verified"] and one["waste"] is not None
        assert one["totals"]["uncompressedSize"] == sum(layer["uncompressedSize"] for layer in one["layers"])
        assert all(layer["files"] is not None for layer in one["layers"])


@pytest.mark.parametrize("name", [name for name in ENCODINGS if name != "oci"])
def test_standard_input_says_the_same_as_the_file(ocitool: Run, testdata: Path, name: str) -> None:
    path = testdata / "encodings" / name
    a = report_of(ocitool("inspect", "--format", "json", path))
    b = report_of(ocitool("inspect", "--format", "json", "-", stdin=path.read_bytes()))
    assert {**a, "reference": "-"} == b


def test_the_encodings_of_one_image_have_one_configuration(ocitool: Run, testdata: Path) -> None:
    ids = {
        report_of(ocitool("inspect", "--format", "json", testdata / "encodings" / name))["images"][0]["imageId"]
        for name in ENCODINGS
        if name.startswith("docker-1.2") or name in ("docker-25.tar", "skopeo-docker.tar")
    }
    assert len(ids) == 1


def test_an_index_lists_its_manifests_and_shows_the_hosts_image(ocitool: Run, testdata: Path) -> None:
    report = report_of(ocitool("inspect", "--format", "json", "--platform", "linux/arm64", f"{testdata}/multiarch:latest"))
    kinds = [entry["kind"] for entry in report["index"]["manifests"]]
    assert kinds.count("image") >= 2 and "attestation" in kinds
    assert [one["platform"]["architecture"] for one in report["images"]] == ["arm64"]


def test_all_platforms_shows_every_image_that_is_here(ocitool: Run, testdata: Path) -> None:
    report = report_of(ocitool("inspect", "--format", "json", "--all-platforms", f"{testdata}/multiarch:latest"))
    here = [e["platform"] for e in report["index"]["manifests"] if e["kind"] == "image" and e["present"]]
    assert [one["platform"]["architecture"] for one in report["images"]] == [p["architecture"] for p in here]


def test_missing_platforms_are_told_not_fatal(ocitool: Run, testdata: Path) -> None:
    report = report_of(ocitool("inspect", "--format", "json", "--all-platforms", f"{testdata}/multiarch:partial"))
    assert any(not entry["present"] for entry in report["index"]["manifests"])
    assert [notice["code"] for notice in report["notices"]] == ["missing"]


def test_a_missing_platform_that_is_asked_for_is_not_found(ocitool: Run, testdata: Path) -> None:
    result = ocitool("inspect", "--platform", "linux/s390x", f"{testdata}/multiarch:latest")
    assert result.code == 3 and "hint:" in result.err


def test_all_of_a_multiarch_layout(ocitool: Run, testdata: Path) -> None:
    report = report_of(ocitool("inspect", "--format", "json", "--all-platforms", testdata / "multiarch"))
    assert {"amd64", "arm64"} <= {one["platform"]["architecture"] for one in report["images"]}


def test_an_artifact_is_shown_and_its_configuration_is_not_read(ocitool: Run, testdata: Path) -> None:
    report = report_of(ocitool("inspect", "--format", "json", f"{testdata}/multiarch:notes"))
    (one,) = report["images"]
    assert one["config"] == {} and one["layers"]
    assert ocitool("ls", f"{testdata}/multiarch:notes").code == 2


def test_it_opens_no_layer(ocitool: Run, tmp_path: Path) -> None:
    made = image([layer_tar([("a", b"a" * 5000)])])
    broken = bytes(len(made.layers[0]))  # of the right size, and nothing else
    layout = write_layout(tmp_path / "layout", [made])
    (layout / "blobs" / made.manifest["layers"][0]["digest"].replace(":", "/")).write_bytes(broken)
    assert ocitool("inspect", layout).code == 0
    assert ocitool("inspect", "--verify", layout).code == 5
    assert ocitool("inspect", "--files", layout).code in (4, 5)


def test_raw_documents_are_the_exact_bytes(ocitool: Run, tmp_path: Path) -> None:
    config = b'{ "os": "linux",\n"architecture":"amd64", "rootfs": {"type":"layers","diff_ids":[]}, "unknown": 1.50 }\n'
    made = image([], config=config, tag="v1")
    layout = write_layout(tmp_path / "layout", [made])
    assert ocitool("inspect", "--raw", "config", layout).stdout == config
    assert ocitool("inspect", "--raw", "manifest", layout).stdout == made.raw
    assert ocitool("inspect", "--digest", layout).out == made.digest + "\n"
    assert ocitool("inspect", "--raw", "config", "--digest", layout).out == sha256(config) + "\n"
    assert ocitool("inspect", "--raw", "index", layout).code == 3


def test_raw_index(ocitool: Run, testdata: Path) -> None:
    raw = ocitool("inspect", "--raw", "index", f"{testdata}/multiarch:latest").stdout
    digest = ocitool("inspect", "--raw", "index", "--digest", f"{testdata}/multiarch:latest").out.strip()
    assert json.loads(raw)["manifests"] and digest == "sha256:" + hashlib.sha256(raw).hexdigest()


def test_a_docker_archive_has_a_configuration_and_no_manifest(ocitool: Run, tmp_path: Path) -> None:
    made = image([layer_tar([])], tag="app:1", codec="none")
    path = write_docker_archive(tmp_path / "app.tar", [made])
    assert ocitool("inspect", "--raw", "config", path).stdout == made.config
    assert ocitool("inspect", "--raw", "manifest", path).code == 3
    report = report_of(ocitool("inspect", "--format", "json", path))["images"][0]
    assert (report["digest"], report["imageId"], report["tags"]) == (None, sha256(made.config), ["app:1"])


def test_an_image_of_several_is_picked_by_name_position_or_digest(ocitool: Run, tmp_path: Path) -> None:
    images = [image([layer_tar([(name, b"")])], tag=f"{name}:1", codec="none", author=name) for name in ("a", "b")]
    path = write_docker_archive(tmp_path / "two.tar", images)
    assert len(report_of(ocitool("inspect", "--format", "json", path))["images"]) == 2
    for pick in ("b:1", "@1", "@" + sha256(images[1].config)):
        (one,) = report_of(ocitool("inspect", "--format", "json", f"{path}:{pick}"))["images"]
        assert one["author"] == "b"
    result = ocitool("ls", path)
    assert result.code == 3 and "a:1" in result.err and "b:1" in result.err
    for pick in ("c:1", "@2", "@sha256:" + "0" * 64):
        assert ocitool("inspect", f"{path}:{pick}").code == 3
    assert ocitool("inspect", f"{path}:@x").code == 2


def test_files_names_waste_and_who_is_to_blame(ocitool: Run, tmp_path: Path) -> None:
    big = b"b" * 3000
    layers = [
        layer_tar([("gone", b"g" * 1000), ("changed", b"c" * 2000), ("touched", big), ("kept", b"k" * 10)]),
        layer_tar([(".wh.gone", b""), ("changed", b"d" * 5)]),
        layer_tar([("touched", big), ("kept2", b"")]),
    ]
    layers[2] = layer_tar([("touched", big)])[:-1024].replace(b"0000644", b"0000755", 1) + bytes(1024)
    head = bytearray(layers[2][:512])
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    layers[2] = bytes(head) + layers[2][512:]
    path = write_layout(tmp_path / "layout", [image(layers)])
    waste = report_of(ocitool("inspect", "--files", "--format", "json", path))["images"][0]["waste"]
    assert waste["bytes"] == 6000
    assert waste["deleted"] == {"files": 1, "bytes": 1000}
    assert waste["overwritten"] == {"files": 1, "bytes": 2000}
    assert waste["copiedUp"] == {"files": 1, "bytes": 3000}
    assert [(x["path"], x["layer"], x["deletedBy"]) for x in waste["deletedButShipped"]] == [("/gone", 0, 1)]
    assert [(x["index"], x["createdBy"], x["deleted"], x["overwritten"], x["copiedUp"]) for x in waste["byLayer"]] == [
        (1, "RUN step 1", 1000, 2000, 0), (2, "RUN step 2", 0, 0, 3000),
    ]  # fmt: skip
    assert waste["largest"][0] == {"path": "/touched", "size": 3000, "layer": 2}


def test_top_bounds_the_lists_and_zero_lists_nothing(ocitool: Run, tmp_path: Path) -> None:
    path = write_layout(tmp_path / "layout", [image([layer_tar([(f"f{n}", b"x" * n) for n in range(20)])])])
    for top in (0, 3):
        waste = report_of(ocitool("inspect", "--files", "--top", str(top), "--format", "json", path))["images"][0]["waste"]
        assert len(waste["largest"]) == top
    assert ocitool("inspect", "--files", "--top", "-1", path).code == 2


def test_lone_surrogates_and_control_characters_of_documents_leave_as_valid_text(ocitool: Run, tmp_path: Path) -> None:
    made = image([], author="\x7f\x1b[31m\u202e", config=None)
    raw = made.config.replace(b'"author":"', b'"author":"\\ud800')
    made = image([], config=raw)
    path = write_layout(tmp_path / "layout", [made])
    for form in ("text", "json", "markdown"):
        out = ocitool("inspect", "--format", form, path).stdout
        assert not {*range(32), 127} - {10} & set(out)
        out.decode("utf-8")


def test_an_image_without_layers_and_an_empty_index(ocitool: Run, tmp_path: Path) -> None:
    report_of(ocitool("inspect", "--files", "--format", "json", write_layout(tmp_path / "a", [image([])])))
    files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": json.dumps(index_of([])).encode()}
    assert ocitool("inspect", write_files(tmp_path / "b", files)).code == 3


def test_layers_and_diff_ids_that_do_not_align_are_shown_unpaired(ocitool: Run, tmp_path: Path) -> None:
    tar = layer_tar([("a", b"")])
    made = image([tar], rootfs={"type": "layers", "diff_ids": [sha256(tar)] * 2}, history=[{}, {}, {}])
    path = write_layout(tmp_path / "layout", [made])
    (layer,) = report_of(ocitool("inspect", "--format", "json", path))["images"][0]["layers"]
    assert layer["diffId"] is None and layer["createdBy"] is None


def test_an_unknown_layer_type_is_shown_and_not_opened(ocitool: Run, tmp_path: Path) -> None:
    made = image([layer_tar([])])
    made.manifest["layers"][0]["mediaType"] = "application/vnd.example.stuff"
    made.manifest["mediaType"] = mediatypes.OCI_MANIFEST
    path = write_layout(tmp_path / "layout", [made])
    assert report_of(ocitool("inspect", "--format", "json", path))["images"][0]["layers"][0]["mediaType"].endswith("stuff")
