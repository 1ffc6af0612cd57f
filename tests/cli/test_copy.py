"""`ocitool copy`: byte for byte between archives, layouts and streams; names; what may be overwritten."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from support import places
from support.copying import ONE, TWO, Run, copied, multiarch, notes, refused, rooted
from support.images import (
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
from support.report import report_of

OCI = ("buildah-oci.tar", "docker-25.tar", "docker-29.tar", "oci", "oci-gzip.tar", "oci-gzip.tar.gz", "oci-zstd.tar",
       "podman-oci.tar")  # fmt: skip
DOCKER = ("bazel.tar", "buildah-docker.tar", "docker-1.2-hardlinks.tar", "docker-1.2-symlinks.tar", "docker-1.2.tar",
          "docker-1.2.tar.bz2", "docker-1.2.tar.gz", "docker-1.2.tar.xz", "docker-1.2.tar.zst", "docker-1.tar", "jib.tar",
          "kaniko.tar", "multi.tar", "podman-docker.tar", "skopeo-docker.tar", "untagged.tar")  # fmt: skip


# Byte for byte


@pytest.mark.parametrize("name", OCI)
def test_blobs_and_manifests_of_oci_images_pass_unchanged_through_archive_stream_and_layout(
    name: str, ocitool: Run, testdata: Path, tmp_path: Path
) -> None:
    source = testdata / "encodings" / name
    before = copied(ocitool, source, tmp_path / "a.tar", "--all-platforms")
    stream = ocitool("copy", "--all-platforms", tmp_path / "a.tar", "-")
    after = copied(ocitool, "--all-platforms", "-", f"{tmp_path}/layout/", stdin=stream.stdout)
    assert [one["digest"] for one in before["images"]] == [one["digest"] for one in after["images"]]
    there = places.blobs(tmp_path / "layout")
    assert there == places.blobs(tmp_path / "a.tar") == places.blobs(stream.stdout)
    if not name.endswith(".gz"):
        assert there.items() <= places.blobs(source).items()
    assert (tmp_path / "a.tar").read_bytes() == stream.stdout


@pytest.mark.parametrize("name", DOCKER)
def test_docker_archives_keep_configuration_and_diff_ids_and_get_the_same_manifest_each_time(
    name: str, ocitool: Run, testdata: Path, tmp_path: Path
) -> None:
    source = testdata / "encodings" / name
    shown = report_of(ocitool("inspect", "--format", "json", source))
    first = copied(ocitool, source, f"{tmp_path}/layout/")
    second = copied(ocitool, tmp_path / "layout", tmp_path / "a.tar.gz")
    third = copied(ocitool, "-", tmp_path / "b.tar", stdin=source.read_bytes())
    digests = {one["digest"] for one in first["images"]}
    assert digests == {one["digest"] for one in second["images"]} == {one["digest"] for one in third["images"]}
    assert places.blobs(tmp_path / "layout") == places.blobs(tmp_path / "a.tar.gz") == places.blobs(tmp_path / "b.tar")
    if name != "docker-1.tar":  # whose configuration is made of its layers'
        assert {one["imageId"] for one in shown["images"]} == {one["imageId"] for one in first["images"]}
        stated = {tuple(layer["diffId"] for layer in one["layers"]) for one in shown["images"]}
        assert stated == {tuple(layer["diffId"] for layer in one["layers"]) for one in first["images"]}


def test_v1_images_get_their_diff_ids_by_hashing(ocitool: Run, testdata: Path, tmp_path: Path) -> None:
    copied(ocitool, testdata / "encodings/docker-1.tar", tmp_path / "a.tar")
    found = places.manifest(tmp_path / "a.tar")
    blobs = places.blobs(tmp_path / "a.tar")
    config = json.loads(blobs[found["config"]["digest"]])
    assert [layer["digest"] for layer in found["layers"]] == config["rootfs"]["diff_ids"]


def test_documents_keep_white_space_and_unknown_members(ocitool: Run, tmp_path: Path) -> None:
    made = rooted()
    made.manifest |= {"x-future": {"b": [1.50, None], "a": "\u00fc\ud83d\ude00"}, "annotations": {"k": "v"}}
    raw = json.dumps(made.manifest, indent=3).encode() + b"\n\n"
    entry = {**made.descriptor, "digest": sha256(raw), "size": len(raw), "x-entry": [1]}
    files = {**layout_files([made], index=index_of([entry])), "blobs/" + sha256(raw).replace(":", "/"): raw}
    write_files(tmp_path / "layout", files)
    copied(ocitool, tmp_path / "layout", tmp_path / "a.tar")
    copied(ocitool, tmp_path / "a.tar", f"{tmp_path}/out/")
    for place in (tmp_path / "a.tar", tmp_path / "out"):
        assert raw == places.blobs(place)[sha256(raw)]
        assert [1] == places.index(place)["manifests"][0]["x-entry"]


def test_a_pipe_of_two_copies_makes_the_layout_that_one_makes(ocitool: Run, tmp_path: Path) -> None:
    source = write_oci_archive(tmp_path / "a.tar", [rooted()])
    run = f"{sys.executable} -m ocitool copy"
    subprocess.run(f"{run} {source} - | {run} - {tmp_path}/piped/", shell=True, check=True, capture_output=True, timeout=120)
    copied(ocitool, source, f"{tmp_path}/direct/")
    assert places.blobs(tmp_path / "direct") == places.blobs(tmp_path / "piped")


@pytest.mark.parametrize("ending", [".tar.gz", ".tgz", ".tar.zst"])
def test_an_archive_is_compressed_by_its_ending_the_same_on_each_run(ending: str, ocitool: Run, tmp_path: Path) -> None:
    source = write_oci_archive(tmp_path / "a.tar", [rooted(codec="none")])
    for name in ("b", "c"):
        copied(ocitool, source, tmp_path / f"{name}{ending}")
    first = (tmp_path / f"b{ending}").read_bytes()
    assert first == (tmp_path / f"c{ending}").read_bytes()
    assert first.startswith(b"\x28\xb5\x2f\xfd" if ending == ".tar.zst" else b"\x1f\x8b")
    assert set(places.blobs(tmp_path / f"b{ending}")) == set(rooted(codec="none").blobs)


def test_the_same_images_give_the_same_archive_whatever_the_date(ocitool: Run, tmp_path: Path) -> None:
    source = write_docker_archive(tmp_path / "a.tar", [rooted(codec="none")])
    copied(ocitool, source, tmp_path / "b.tar", env={"SOURCE_DATE_EPOCH": None})
    copied(ocitool, source, tmp_path / "c.tar", env={"SOURCE_DATE_EPOCH": "1000000000"})
    assert (tmp_path / "b.tar").read_bytes() == (tmp_path / "c.tar").read_bytes()


def test_sha512_digests_stay(ocitool: Run, tmp_path: Path) -> None:
    def sha512(data: bytes) -> str:
        return "sha512:" + hashlib.sha512(data).hexdigest()

    made = rooted()
    made.manifest["config"]["digest"] = sha512(made.config)
    for layer, data in zip(made.manifest["layers"], made.layers, strict=True):
        layer["digest"] = sha512(data)
    stored = {sha512(data): data for data in (made.raw, made.config, *made.layers)}
    entry = {**made.descriptor, "digest": sha512(made.raw)}
    files = {"blobs/" + digest.replace(":", "/"): data for digest, data in stored.items()}
    write_files(tmp_path / "in", {"oci-layout": b"{}", "index.json": pretty(index_of([entry])), **files})
    copied(ocitool, tmp_path / "in", tmp_path / "a.tar")
    copied(ocitool, "--compression", "gzip", tmp_path / "a.tar", f"{tmp_path}/out/")  # has it already: nothing to do
    assert stored == places.blobs(tmp_path / "a.tar") == places.blobs(tmp_path / "out")


def test_images_without_layers_and_with_empty_ones_copy(ocitool: Run, testdata: Path, tmp_path: Path) -> None:
    none = image([], tag="none:1")
    twice = image([layer_tar([]), layer_tar([])], tag="twice:1")
    write_layout(tmp_path / "in", [none, twice])
    for words in ((), ("--compression", "zstd")):
        copied(ocitool, *words, tmp_path / "in", f"{tmp_path}/out{len(words)}/")
        assert 0 == ocitool("validate", tmp_path / f"out{len(words)}").code
    assert {**none.blobs, **twice.blobs} == places.blobs(tmp_path / "out0")
    assert 0 == ocitool("copy", testdata / "empty-layers.tar", tmp_path / "e.tar").code


def test_artifacts_copy(ocitool: Run, tmp_path: Path) -> None:
    thing = image([], tag="notes", config=b"{}")
    thing.manifest["config"]["mediaType"] = "application/vnd.example+json"
    data = b"anything"
    thing.extra[sha256(data)] = data
    thing.manifest["layers"] = [{"mediaType": "text/plain", "digest": sha256(data), "size": len(data)}]
    write_layout(tmp_path / "in", [thing])
    found = copied(ocitool, "--compression", "gzip", tmp_path / "in", tmp_path / "a.tar")
    assert thing.blobs == places.blobs(tmp_path / "a.tar")
    assert [] == found["images"]
    assert "manifest.json" not in places.files(tmp_path / "a.tar")


def test_a_store_of_more_blobs_than_open_files_copies(ocitool: Run, tmp_path: Path) -> None:
    images = [image([layer_tar([("f", b"%d" % n)])], tag=f"t{n}") for n in range(60)]
    write_layout(tmp_path / "in", images)
    command = f"ulimit -Sn 64; exec {sys.executable} -m ocitool copy {tmp_path}/in {tmp_path}/out/"
    done = subprocess.run(["sh", "-c", command], capture_output=True, timeout=120)
    assert (0, b"") == (done.returncode, done.stderr)
    assert places.blobs(tmp_path / "in") == places.blobs(tmp_path / "out")


# Names


def test_names_stand_in_full_in_all_three_places_of_an_archive(ocitool: Run, tmp_path: Path) -> None:
    source = write_docker_archive(tmp_path / "a.tar", [rooted(codec="none")])
    copied(ocitool, source, tmp_path / "b.tar")
    full = "docker.io/library/app:1"
    annotations = places.index(tmp_path / "b.tar")["manifests"][0]["annotations"]
    assert {places.REF_NAME: full, places.CONTAINERD_NAME: full} == annotations
    assert [[full]] == [one["RepoTags"] for one in places.engine_images(tmp_path / "b.tar")]


@pytest.mark.parametrize(
    ("words", "destination", "expected"),
    [
        ((), "{}/a.tar", {"docker.io/library/app:1"}),
        (("--tag", "x"), "{}/a.tar", {"docker.io/library/x:latest"}),
        (("--tag", "x:1", "--tag", "host:5000/y/z"), "{}/a.tar", {"docker.io/library/x:1", "host:5000/y/z:latest"}),
        ((), "docker-archive:{}/a.tar:new:2", {"docker.io/library/new:2"}),
        ((), "docker-archive:{}/a.tar:quay.io/t/new", {"quay.io/t/new:latest"}),
        ((), "oci-archive:{}/a.tar:quay.io/t/new:3", {"quay.io/t/new:3"}),
        ((), "oci-archive:{}/a.tar:v3", {"v3"}),
        ((), "{}/layout/", {"app:1"}),
        (("--tag", "v1"), "{}/layout/", {"v1"}),
        (("--tag", "v1", "--tag", "v2"), "{}/layout/", {"v1", "v2"}),
        ((), "oci:{}/layout:v3", {"v3"}),
        (("--tag", "v4"), "oci:{}/layout:v3", {"v3", "v4"}),
        (("--tag", "v3"), "oci:{}/layout:v3", {"v3"}),
        (("--tag", "new:3"), "docker-archive:{}/a.tar:new:2", {"docker.io/library/new:2", "docker.io/library/new:3"}),
        (("--tag", "new:3"), "oci-archive:{}/a.tar:v3", {"v3", "docker.io/library/new:3"}),
    ],
)
def test_the_name_is_the_sources_or_those_of_the_reference_and_the_tag_option(
    words: tuple[str, ...], destination: str, expected: set[str], ocitool: Run, tmp_path: Path
) -> None:
    source = write_oci_archive(tmp_path / "in.tar", [rooted()])
    found = copied(ocitool, *words, source, destination.format(tmp_path))
    place = tmp_path / ("layout" if "layout" in destination else "a.tar")
    assert {name: rooted().digest for name in expected} == places.names(place)
    assert expected == set(found["images"][0]["tags"])


@pytest.mark.parametrize("tag", ["UPPER", "a b", "a:b:c", "-x", "", "app@sha256:" + "0" * 64, "\udcff", "a\n"])
def test_a_name_that_no_engine_takes_is_refused(tag: str, ocitool: Run, tmp_path: Path) -> None:
    source = write_oci_archive(tmp_path / "in.tar", [rooted()])
    refused(2, ocitool("copy", "--tag", tag, source, tmp_path / "a.tar"), "invalid image name")
    assert not (tmp_path / "a.tar").exists()


def test_an_image_without_a_name_gets_a_notice_and_no_tags(ocitool: Run, tmp_path: Path) -> None:
    source = write_oci_archive(tmp_path / "in.tar", [image([ONE])])
    assert "untagged" in notes(copied(ocitool, source, tmp_path / "a.tar"))
    assert [None] == [one["RepoTags"] for one in places.engine_images(tmp_path / "a.tar")]


@pytest.mark.parametrize("second", ["app:1", "docker.io/library/app:1"])
def test_two_sources_with_one_name_and_two_digests_are_a_mistake(second: str, ocitool: Run, tmp_path: Path) -> None:
    one = write_oci_archive(tmp_path / "1.tar", [image([ONE], tag="app:1")])
    two = write_oci_archive(tmp_path / "2.tar", [image([TWO], tag=second)])
    refused(2, ocitool("copy", one, two, f"{tmp_path}/out/"), "two different images with the name")
    refused(2, ocitool("copy", "--tag", "x", one, two, f"{tmp_path}/out/"), "cannot have one name")
    assert not (tmp_path / "out").exists()


def test_several_images_go_into_one_archive_and_one_layout(ocitool: Run, tmp_path: Path) -> None:
    images = [image([ONE], tag="one:1"), image([ONE, TWO], tag="two:1"), image([TWO], tag="three:1")]
    sources = [write_oci_archive(tmp_path / f"{n}.tar", [one]) for n, one in enumerate(images)]
    copied(ocitool, *sources, sources[0], f"{tmp_path}/out/")
    copied(ocitool, *sources, sources[0], tmp_path / "out.tar")
    want: dict[str, bytes] = {}
    for one in images:
        want |= one.blobs
    assert want == places.blobs(tmp_path / "out") == places.blobs(tmp_path / "out.tar")
    assert {one.tag: one.digest for one in images} == places.names(tmp_path / "out")
    assert 3 == len(places.engine_images(tmp_path / "out.tar"))


def test_one_image_in_two_compressions_keeps_two_names(ocitool: Run, tmp_path: Path) -> None:
    images = [image([ONE], tag="a:1", codec="gzip"), image([ONE], tag="b:1", codec="zstd")]
    copied(ocitool, write_layout(tmp_path / "in", images), tmp_path / "a.tar")
    copied(ocitool, tmp_path / "a.tar", f"{tmp_path}/out/")
    assert {f"docker.io/library/{one.tag}": one.digest for one in images} == places.names(tmp_path / "out")


def test_an_index_and_one_of_its_images_keep_two_names(ocitool: Run, tmp_path: Path) -> None:
    files, images = multiarch()
    images[0].tag = "app:amd64"
    top = json.loads(files["index.json"])
    top["manifests"].append(images[0].descriptor)
    write_files(tmp_path / "in", {**files, "index.json": pretty(top)})
    copied(ocitool, "--all-platforms", tmp_path / "in", tmp_path / "a.tar")
    copied(ocitool, "--all-platforms", tmp_path / "a.tar", f"{tmp_path}/out/")
    want = {"docker.io/library/app:1": top["manifests"][0]["digest"], "docker.io/library/app:amd64": images[0].digest}
    assert want == places.names(tmp_path / "out")


def test_copying_an_image_again_changes_nothing(ocitool: Run, tmp_path: Path) -> None:
    source = write_oci_archive(tmp_path / "in.tar", [rooted(), image([TWO])])
    copied(ocitool, source, f"{tmp_path}/out/")
    before = {path: (path.read_bytes(), path.stat().st_ino) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    again = copied(ocitool, source, f"{tmp_path}/out/")
    full = copied(ocitool, "--tag", "docker.io/library/app:1", f"{source}:app:1", f"{tmp_path}/out/")
    after = {path: (path.read_bytes(), path.stat().st_ino) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert before == after
    assert 0 == again["bytes"]["kept"] + again["bytes"]["written"] == full["bytes"]["kept"]


@pytest.mark.parametrize("spelling", ["app:1", "docker.io/library/app:1"])
def test_a_layout_moves_the_name_and_keeps_all_other_entries(spelling: str, ocitool: Run, tmp_path: Path) -> None:
    old, other, bare = image([ONE], tag="app:1"), image([TWO], tag="app:2"), image([ONE, ONE])
    index = index_of([old.descriptor, other.descriptor, bare.descriptor], **{"x-mine": 1, "annotations": {"a": "b"}})
    write_layout(tmp_path / "out", [old, other, bare], index=index)
    new = image([ONE, TWO], tag=spelling)
    copied(ocitool, write_oci_archive(tmp_path / "in.tar", [new]), f"{tmp_path}/out/")
    found = places.index(tmp_path / "out")
    assert [other.descriptor, bare.descriptor, new.descriptor] == found.pop("manifests")
    assert found == {key: value for key, value in index.items() if key != "manifests"}
    assert new.digest == ocitool("inspect", "--digest", f"{tmp_path}/out:app:1").out.strip()


def test_a_tag_of_an_image_that_is_there_is_one_more_entry(ocitool: Run, tmp_path: Path) -> None:
    write_layout(tmp_path / "out", [rooted()])
    found = copied(ocitool, "--tag", "new", tmp_path / "out", tmp_path / "out")
    assert {"app:1": rooted().digest, "new": rooted().digest} == places.names(tmp_path / "out")
    assert found["bytes"]["skipped"] == sum(map(len, rooted().blobs.values()))


# Overwriting


def test_an_archive_that_exists_is_refused_and_replaced_whole_with_force(ocitool: Run, tmp_path: Path) -> None:
    source = write_oci_archive(tmp_path / "in.tar", [rooted()])
    (tmp_path / "a.tar").write_bytes(b"precious" * 10_000_000)
    refused(9, ocitool("copy", source, tmp_path / "a.tar"), "exists already", "--force")
    refused(9, ocitool("copy", "--dry-run", source, tmp_path / "a.tar"), "exists already")
    assert (tmp_path / "a.tar").read_bytes()[:8] == b"precious"
    copied(ocitool, "--force", source, tmp_path / "a.tar")
    assert rooted().blobs == places.blobs(tmp_path / "a.tar")
    assert [] == [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_force_replaces_the_source_itself(ocitool: Run, tmp_path: Path) -> None:
    source = write_docker_archive(tmp_path / "a.tar", [rooted(codec="none")])
    copied(ocitool, "--force", "--tag", "b:2", source, source)
    assert ["docker.io/library/b:2"] == list(places.names(source))


def test_a_symbolic_link_is_refused_and_with_force_what_it_leads_to_is_replaced(ocitool: Run, tmp_path: Path) -> None:
    source = write_oci_archive(tmp_path / "in.tar", [rooted()])
    (tmp_path / "real").mkdir()
    (tmp_path / "a.tar").symlink_to("real/b.tar")
    refused(9, ocitool("copy", source, tmp_path / "a.tar"), "exists already")
    copied(ocitool, "--force", source, tmp_path / "a.tar")
    assert (tmp_path / "a.tar").is_symlink()
    assert rooted().blobs == places.blobs(tmp_path / "real/b.tar")


def test_a_layout_behind_a_symbolic_link_is_written(ocitool: Run, tmp_path: Path) -> None:
    source = write_oci_archive(tmp_path / "in.tar", [rooted()])
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    copied(ocitool, source, tmp_path / "link")
    assert rooted().blobs == places.blobs(tmp_path / "real")


def _make_odd_places(base: Path) -> None:
    (base / "full").mkdir()
    (base / "full/notes.txt").write_text("mine")
    (base / "program").mkdir()
    (base / "program/index.json").write_text('{"name": "another program"}')
    (base / "file").write_text("mine")
    (base / "dangling").symlink_to("nowhere")
    (base / "a.tar").mkdir()
    os.mkfifo(base / "pipe.tar")


@pytest.mark.parametrize("dry", [(), ("--dry-run",)], ids=["run", "dry"])
@pytest.mark.parametrize(
    ("code", "words", "said"),
    [
        (9, ("full",), "neither an OCI layout nor"),
        (9, ("full/",), "neither an OCI layout nor"),
        (9, ("oci:full",), "neither an OCI layout nor"),
        (9, ("oci:program:x",), "neither an OCI layout nor"),
        (9, ("oci:file",), "not a directory"),
        (9, ("file/",), "not a directory"),
        (9, ("oci:dangling",), "not a directory"),
        (9, ("oci-archive:a.tar",), "a directory"),
        (9, ("missing/a.tar",), "its directory does not exist"),
        (9, ("missing/layout/",), "its directory does not exist"),
        (9, ("--force", "pipe.tar"), "a device or a pipe"),
        (9, ("--force", "oci-archive:/dev/null"), "a device or a pipe"),
        (2, ("image",), "hint: image.tar is an archive, image/ an OCI layout"),
        (2, ("image.tar.xz",), "neither an archive nor a layout"),
        (2, ("docker-archive:x.tar:@0",), "not a position or digest"),
        (2, ("oci:",), "needs a path"),
        (2, ("docker://host.example/App",), "invalid repository name"),
        (2, ("docker-daemon:",), "needs the name or id of an image"),
    ],
)
def test_what_cannot_be_a_destination_is_refused_and_left_alone(
    code: int, words: tuple[str, ...], said: str, dry: tuple[str, ...], ocitool: Run, tmp_path: Path
) -> None:
    _make_odd_places(tmp_path)
    source = write_oci_archive(tmp_path / "in.tar", [rooted()])
    before = sorted((str(p), p.lstat().st_mtime_ns) for p in tmp_path.rglob("*"))
    refused(code, ocitool("copy", source, *dry, *words, cwd=tmp_path), said)
    assert before == sorted((str(p), p.lstat().st_mtime_ns) for p in tmp_path.rglob("*"))


def test_a_directory_that_may_not_be_written_is_refused(ocitool: Run, tmp_path: Path) -> None:
    source = write_oci_archive(tmp_path / "in.tar", [rooted()])
    for destination in ("/proc/self/a.tar", "oci:/proc/self/layout"):
        refused(9, ocitool("copy", source, destination), "cannot be written")


def test_a_terminal_does_not_take_an_archive(tmp_path: Path) -> None:
    source = write_oci_archive(tmp_path / "in.tar", [rooted()])
    leader, follower = pty.openpty()
    try:
        command = [sys.executable, "-m", "ocitool", "copy", str(source), "-"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=follower, stderr=subprocess.PIPE, timeout=120)
    finally:
        os.close(follower)
        os.close(leader)
    assert 2 == done.returncode
    assert b"standard output is a terminal" in done.stderr


def test_with_the_archive_on_standard_output_the_report_is_elsewhere(ocitool: Run, tmp_path: Path) -> None:
    source = write_oci_archive(tmp_path / "in.tar", [rooted()])
    result = ocitool("copy", "--format", "json", "--report", tmp_path / "r.json", source, "-")
    assert rooted().blobs == places.blobs(result.stdout)
    assert "-" == json.loads((tmp_path / "r.json").read_text())["destination"]
    assert "to standard output" in ocitool("copy", source, "-").err


def test_usage_is_said_before_anything_is_read(ocitool: Run, tmp_path: Path) -> None:
    refused(2, ocitool("copy", tmp_path / "absent.tar", tmp_path / "nowhere"), "neither an archive nor a layout")
    refused(2, ocitool("copy", tmp_path / "absent.tar"), "a source and a destination")
    refused(3, ocitool("copy", tmp_path / "absent.tar", tmp_path / "a.tar"), "no such file")
    refused(3, ocitool("copy", write_layout(tmp_path / "empty", []), tmp_path / "a.tar"), "no image")


def test_an_index_keeps_its_name_whatever_names_its_entries_state(ocitool: Run, tmp_path: Path) -> None:
    children = [image([ONE], tag="a", platform={"os": "linux", "architecture": "amd64"}),
                image([TWO], tag="b", platform={"os": "linux", "architecture": "arm64"})]  # fmt: skip
    raw = pretty(index_of([one.descriptor for one in children]))
    entry = {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": sha256(raw), "size": len(raw)}
    children[0].extra[sha256(raw)] = raw
    top = {**entry, "annotations": {"org.opencontainers.image.ref.name": "multi"}}
    write_layout(tmp_path / "in", children, index=index_of([top]))
    for words in (("--all-platforms",), ("--platform", "linux/arm64")):
        assert 0 == ocitool("copy", *words, tmp_path / "in", f"{tmp_path / words[0]}/").code
        assert ["multi"] == list(places.names(tmp_path / words[0]))


def test_an_attestation_beside_the_images_is_named_if_it_is_not_copied(ocitool: Run, tmp_path: Path) -> None:
    app, about = image([ONE], tag="a"), image([TWO])
    spoken = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": app.digest}
    loose = {**about.descriptor, "annotations": spoken, "platform": {"os": "unknown", "architecture": "unknown"}}
    write_layout(tmp_path / "in", [app, about], index=index_of([app.descriptor, loose]))
    assert f"the attestation {about.digest} is not copied" in ocitool("copy", tmp_path / "in", f"{tmp_path / 'out'}/").err
    whole = ocitool("copy", "--referrers", tmp_path / "in", f"{tmp_path / 'all'}/")
    assert "is not copied" not in whole.err and about.digest in places.blobs(tmp_path / "all"), str(whole)
