"""`ocitool copy` of indexes and their platforms, and with `--compression`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support import places
from support.copying import AMD, ARM, ONE, TEXT, TWO, Run, copied, multiarch, notes, refused, rooted
from support.images import (
    Image,
    image,
    index_of,
    layer_tar,
    layout_files,
    pretty,
    sha256,
    write_docker_archive,
    write_files,
    write_layout,
    write_oci_archive,
)

from ocitool.blob import FileBlob
from ocitool.layers.compress import parse
from ocitool.operations.copy import copy
from ocitool.pipeline.image_writer import WriteOptions
from ocitool.pipeline.session import Session
from ocitool.spec import mediatypes
from ocitool.task import Task

# Platforms


def test_all_platforms_takes_the_index_its_images_and_attestations_unchanged(ocitool: Run, tmp_path: Path) -> None:
    files, images = multiarch()
    source = write_files(tmp_path / "in", files)
    found = copied(ocitool, "--all-platforms", source, tmp_path / "a.tar")
    copied(ocitool, "--all-platforms", tmp_path / "a.tar", f"{tmp_path}/out/")
    assert places.blobs(source) == places.blobs(tmp_path / "a.tar") == places.blobs(tmp_path / "out")
    assert places.index(source)["manifests"][0]["digest"] == places.names(tmp_path / "out")["docker.io/library/app:1"]
    assert [one.digest for one in images[:2]] == [one["digest"] for one in found["images"]]
    assert [sha256(images[0].config)] == [one["Config"].replace("blobs/sha256/", "sha256:") for one in places.engine_images(tmp_path / "a.tar")]  # fmt: skip  # noqa: E501


@pytest.mark.parametrize(("platform", "chosen"), [("linux/amd64", 0), ("linux/arm64", 1), ("linux/arm64/v8", 1)])
def test_one_platform_is_taken_by_name(platform: str, chosen: int, ocitool: Run, tmp_path: Path) -> None:
    files, images = multiarch()
    found = copied(ocitool, "--platform", platform, write_files(tmp_path / "in", files), tmp_path / "a.tar")
    assert images[chosen].blobs == places.blobs(tmp_path / "a.tar")
    assert images[chosen].platform == places.index(tmp_path / "a.tar")["manifests"][0]["platform"]
    assert {"attestation"} == notes(found)


def test_without_a_platform_the_hosts_is_taken_and_said(ocitool: Run, tmp_path: Path) -> None:
    files, _ = multiarch()
    found = copied(ocitool, write_files(tmp_path / "in", files), tmp_path / "a.tar")
    assert {"platform", "attestation"} == notes(found)
    assert os.uname().machine in {"x86_64": "amd64"}.get(os.uname().machine, "") or found["images"]


def test_a_platform_that_is_not_there_is_not_found(ocitool: Run, tmp_path: Path) -> None:
    files, _ = multiarch()
    source = write_files(tmp_path / "in", files)
    refused(3, ocitool("copy", "--platform", "linux/s390x", source, tmp_path / "a.tar"), "no image for linux/s390x")
    single = write_oci_archive(tmp_path / "in.tar", [rooted()])
    refused(3, ocitool("copy", "--platform", "linux/s390x", single, tmp_path / "a.tar"), "not linux/s390x")
    refused(2, ocitool("copy", "--platform", "linux", source, tmp_path / "a.tar"), "invalid platform linux")


def test_nested_and_sparse_indexes_stay_as_they_are(ocitool: Run, testdata: Path, tmp_path: Path) -> None:
    found = copied(ocitool, "--all-platforms", testdata / "multiarch", f"{tmp_path}/out/")
    copied(ocitool, "--all-platforms", tmp_path / "out", tmp_path / "a.tar")
    assert "absent" in notes(found)
    assert places.names(testdata / "multiarch") == places.names(tmp_path / "out") == places.names(tmp_path / "a.tar")
    assert places.blobs(testdata / "multiarch") == places.blobs(tmp_path / "out") == places.blobs(tmp_path / "a.tar")


def test_a_manifest_at_the_top_that_is_not_here_is_not_found(ocitool: Run, tmp_path: Path) -> None:
    absent = {**image([TWO]).descriptor, "annotations": {places.REF_NAME: "gone"}}
    source = write_layout(tmp_path / "in", [rooted()], index=index_of([rooted().descriptor, absent]))
    for words in ((), ("--all-platforms",)):
        refused(3, ocitool("copy", *words, source, f"{tmp_path}/out/"), absent["digest"])
        copied(ocitool, *words, f"{source}:app:1", f"{tmp_path}/{len(words)}/")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("manifests", [[], [image([TWO], platform=ARM).descriptor]], ids=["empty", "sparse"])
def test_an_index_of_which_nothing_is_here_copies_as_it_is(manifests: list[object], ocitool: Run, tmp_path: Path) -> None:
    inner = pretty(index_of(manifests))  # type: ignore[arg-type]
    entry = {"mediaType": mediatypes.OCI_INDEX, "digest": sha256(inner), "size": len(inner)}
    source = write_layout(tmp_path / "in", [], index=index_of([entry]))
    write_files(source, {"blobs/" + sha256(inner).replace(":", "/"): inner})
    copied(ocitool, "--all-platforms", source, f"{tmp_path}/out/")
    assert {sha256(inner): inner} == places.blobs(tmp_path / "out")
    if manifests:
        refused(3, ocitool("copy", source, f"{tmp_path}/one/"))
    else:  # no platform to choose: what an index lists besides images, here nothing, is carried
        copied(ocitool, source, f"{tmp_path}/one/")


def test_manifests_of_one_name_without_an_index_get_one(ocitool: Run, tmp_path: Path) -> None:
    amd, arm = image([ONE], platform=AMD, tag="app:1"), image([TWO], platform=ARM, tag="app:1", architecture="arm64")
    source = write_layout(tmp_path / "in", [amd, arm])
    copied(ocitool, "--all-platforms", source, tmp_path / "a.tar")
    inner = places.manifest(tmp_path / "a.tar")
    assert [amd.digest, arm.digest] == [entry["digest"] for entry in inner["manifests"]]
    assert all("annotations" not in entry for entry in inner["manifests"])
    assert 0 == ocitool("validate", tmp_path / "a.tar").code


def test_images_of_one_name_are_told_by_their_platforms(ocitool: Run, tmp_path: Path) -> None:
    files, _ = multiarch()
    result = ocitool("copy", "--all-platforms", write_files(tmp_path / "in", files), tmp_path / "a.tar")
    full = "docker.io/library/app:1"
    assert [f"{full} (linux/amd64)", f"{full} (linux/arm64)"] == [line.split("  ")[0] for line in result.out.splitlines()[:2]]


# Compression


@pytest.mark.parametrize("to", ["none", "gzip", "gzip:1", "zstd", "zstd:19"])
@pytest.mark.parametrize("codec", ["none", "gzip", "zstd"])
def test_conversion_keeps_image_id_and_content_and_is_valid(codec: str, to: str, ocitool: Run, tmp_path: Path) -> None:
    made = rooted(codec=codec)
    source = write_oci_archive(tmp_path / "in.tar", [made])
    first = copied(ocitool, "--compression", to, source, f"{tmp_path}/out/")
    assert sha256(made.config) == first["images"][0]["imageId"]
    assert made.config == places.blobs(tmp_path / "out")[sha256(made.config)]
    target = to.partition(":")[0]
    suffix = "" if target == "none" else f"+{target}"
    assert {mediatypes.OCI_LAYER + suffix} == {layer["mediaType"] for layer in places.manifest(tmp_path / "out")["layers"]}
    assert 0 == ocitool("validate", tmp_path / "out").code
    same = target == codec
    assert {"kept" if same else "rewritten"} == {layer["origin"] for layer in first["images"][0]["layers"]}
    assert same == (made.digest == first["images"][0]["digest"])


@pytest.mark.parametrize("to", ["gzip", "zstd"])
def test_conversion_gives_the_same_bytes_on_one_core(to: str, ocitool: Run, need: Callable[..., str], tmp_path: Path) -> None:
    big = layer_tar([("f", os.urandom(1 << 20) * 4 + TEXT * 100)])
    source = write_oci_archive(tmp_path / "in.tar", [image([big, ONE], tag="app:1", codec="none")])
    copied(ocitool, "--compression", to, source, tmp_path / "a.tar")
    copied(ocitool, "--compression", to, source, tmp_path / "b.tar")
    command = [need("taskset"), "1", sys.executable, "-m", "ocitool", "copy", "--compression", to, source, tmp_path / "c.tar"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes() == (tmp_path / "c.tar").read_bytes()


def docker_typed(made: Image) -> Image:
    made.manifest["mediaType"] = mediatypes.DOCKER_MANIFEST
    made.manifest["config"]["mediaType"] = mediatypes.DOCKER_CONFIG
    for layer in made.manifest["layers"]:
        layer["mediaType"] = layer["mediaType"].replace(mediatypes.OCI_LAYER, mediatypes.DOCKER_LAYER).replace("+", ".")
    return made


@pytest.mark.parametrize(
    ("to", "manifest", "layer"),
    [
        ("zstd", mediatypes.OCI_MANIFEST, f"{mediatypes.OCI_LAYER}+zstd"),
        ("none", mediatypes.DOCKER_MANIFEST, mediatypes.DOCKER_LAYER),
    ],
)
def test_dockers_media_types_become_oci_where_zstd_asks_for_it(
    to: str, manifest: str, layer: str, ocitool: Run, tmp_path: Path
) -> None:
    source = write_oci_archive(tmp_path / "in.tar", [docker_typed(rooted())])
    copied(ocitool, "--compression", to, source, f"{tmp_path}/out/")
    found = places.manifest(tmp_path / "out")
    assert (manifest, {layer}) == (found["mediaType"], {one["mediaType"] for one in found["layers"]})
    assert manifest == places.index(tmp_path / "out")["manifests"][0]["mediaType"]
    assert 0 == ocitool("validate", tmp_path / "out").code


def test_dockers_list_becomes_an_index_where_its_manifests_do(ocitool: Run, tmp_path: Path) -> None:
    amd, arm = docker_typed(image([ONE], platform=AMD)), docker_typed(image([TWO], platform=ARM, architecture="arm64"))
    inner = pretty(index_of([amd.descriptor, arm.descriptor], mediaType=mediatypes.DOCKER_LIST))
    entry = {"mediaType": mediatypes.DOCKER_LIST, "digest": sha256(inner), "size": len(inner)}
    files = layout_files([amd, arm], index=index_of([entry]))
    write_files(tmp_path / "in", {**files, "blobs/" + sha256(inner).replace(":", "/"): inner})
    copied(ocitool, "--all-platforms", "--compression", "zstd", tmp_path / "in", f"{tmp_path}/out/")
    assert mediatypes.OCI_INDEX == places.manifest(tmp_path / "out")["mediaType"]
    assert mediatypes.OCI_INDEX == places.index(tmp_path / "out")["manifests"][0]["mediaType"]
    assert 0 == ocitool("validate", tmp_path / "out").code


def test_converting_an_index_replaces_entries_drops_attestations_and_names_referrers(ocitool: Run, tmp_path: Path) -> None:
    files, images = multiarch()
    signature = image([], tag=images[0].digest.replace(":", "-") + ".sig", config=b"{}")
    signature.manifest["config"]["mediaType"] = "application/vnd.example+json"
    top = json.loads(files["index.json"])
    top["manifests"].append(signature.descriptor)
    source = write_files(tmp_path / "in", {**files, **layout_files([signature]), "index.json": pretty(top)})
    found = copied(ocitool, "--all-platforms", "--compression", "zstd", f"{source}:app:1", f"{tmp_path}/out/")
    assert {"attestation", "referrer"} <= notes(found)
    said = " ".join(notice["text"] for notice in found["notices"])
    assert images[2].digest in said and str(signature.tag) in said
    inner = places.manifest(tmp_path / "out")
    assert [AMD, ARM] == [entry["platform"] for entry in inner["manifests"]]
    assert {one["digest"] for one in found["images"]} == {entry["digest"] for entry in inner["manifests"]}
    assert 0 == ocitool("validate", tmp_path / "out").code


def test_an_attestation_is_not_converted(ocitool: Run, tmp_path: Path) -> None:
    files, images = multiarch()
    source = write_files(tmp_path / "in", files)
    copied(ocitool, "--compression", "zstd", f"{source}:@{images[2].digest}", f"{tmp_path}/out/")
    assert images[2].blobs == places.blobs(tmp_path / "out")


def test_conversion_keeps_what_the_entry_says_of_the_image(ocitool: Run, tmp_path: Path) -> None:
    made = image([ONE], tag="app:1", platform=AMD, annotations={"k": "v"})
    source = write_layout(tmp_path / "in", [made])
    copied(ocitool, "--compression", "zstd", source, f"{tmp_path}/out/")
    entry = places.index(tmp_path / "out")["manifests"][0]
    assert (AMD, {"k": "v", places.REF_NAME: "app:1"}) == (entry["platform"], entry["annotations"])


def test_a_layer_of_an_unknown_type_is_not_converted(ocitool: Run, tmp_path: Path) -> None:
    made = rooted()
    made.manifest["layers"][0]["mediaType"] += "+encrypted"
    source = write_oci_archive(tmp_path / "in.tar", [made])
    refused(4, ocitool("copy", "--compression", "zstd", source, f"{tmp_path}/out/"), "+encrypted cannot be converted")
    assert not (tmp_path / "out").exists()


def test_a_layer_that_is_not_its_diff_id_is_not_converted(ocitool: Run, tmp_path: Path) -> None:
    made = image([ONE, TWO], tag="app:1", config={"os": "linux", "architecture": "amd64",
                 "rootfs": {"type": "layers", "diff_ids": [sha256(ONE), sha256(ONE)]}})  # fmt: skip
    source = write_oci_archive(tmp_path / "in.tar", [made])
    refused(5, ocitool("copy", "--compression", "zstd", source, f"{tmp_path}/out/"), f"unpacks to {sha256(TWO)}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("stated", [sha256(ONE), sha256(TWO)])
def test_a_docker_archives_layer_is_checked_in_its_conversion(stated: str, ocitool: Run, tmp_path: Path) -> None:
    config = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [stated]}}
    archive = write_docker_archive(tmp_path / "in.tar", [image([ONE], codec="none", config=config, tag="app:1")])
    result = ocitool("copy", "--compression", "gzip", archive, f"{tmp_path}/out/")
    assert (0 if stated == sha256(ONE) else 5) == result.code
    assert (tmp_path / "out").exists() == (stated == sha256(ONE))


def test_a_docker_archives_layer_is_read_once_for_its_conversion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_docker_archive(tmp_path / "in.tar", [image([ONE], codec="none")])
    pread, seen = FileBlob.pread, 0

    def counting(self: FileBlob, size: int, offset: int) -> bytes:
        nonlocal seen
        data = pread(self, size, offset)
        seen += len(data) if self.size == len(ONE) else 0
        return data

    monkeypatch.setattr(FileBlob, "pread", counting)
    with Task() as task:
        copy([str(source)], Session(task), WriteOptions(f"{tmp_path}/out/", ("app:1",), parse("gzip")))
    assert 2 * len(ONE) > seen >= len(ONE)


def test_a_shared_layer_is_converted_once(ocitool: Run, tmp_path: Path) -> None:
    images = [image([ONE], tag="a:1"), image([ONE, TWO], tag="b:1")]
    found = copied(ocitool, "--compression", "zstd", write_layout(tmp_path / "in", images), f"{tmp_path}/out/")
    layers = [layer for one in found["images"] for layer in one["layers"]]
    assert layers[0]["digest"] == layers[1]["digest"]
    written = {layer["digest"]: layer["size"] for layer in layers}
    manifests = sum(entry["size"] for entry in places.index(tmp_path / "out")["manifests"])
    assert sum(written.values()) + manifests == found["bytes"]["written"]
