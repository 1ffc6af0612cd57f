"""`ocitool repack`: the image is the directory, exactly, and nothing that was not edited is made again."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.images import (
    image,
    layer_tar,
    sha256,
    write_docker_archive,
    write_layout,
    write_oci_archive,
)
from support.report import report_of

Run = Callable[..., Any]
LOWER = layer_tar([("etc/", None), ("etc/conf", b"lower"), ("etc/old", b"old"), ("bin/", None), ("bin/sh", b"shell" * 99)])
MIDDLE = layer_tar([("etc/", None), ("etc/conf", b"middle"), ("srv/", None), ("srv/a", b"a"), ("srv/b", "hard:srv/a")])
UPPER = layer_tar([("opt/", None), ("opt/x", b"x")])
TARS = [LOWER, MIDDLE, UPPER]
IMAGE = image(TARS, tag="app")


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    return write_layout(tmp_path / "src", [IMAGE])


@pytest.fixture
def work(ocitool: Run, layout: Path, tmp_path: Path) -> Path:
    """The image, unpacked."""
    assert ocitool("unpack", layout, tmp_path / "work").code == 0
    return tmp_path / "work"


def layers_in(layout: Path) -> list[tuple[str, list[str]]]:
    """Digest and names of each layer of the only image."""
    (descriptor,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    manifest = json.loads(_blob(layout, descriptor["digest"]))
    return [(one["digest"], _names(_blob(layout, one["digest"]))) for one in manifest["layers"]]


def config_in(layout: Path) -> Any:
    (descriptor,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    return json.loads(_blob(layout, json.loads(_blob(layout, descriptor["digest"]))["config"]["digest"]))


def _blob(layout: Path, digest: str) -> bytes:
    data = (layout / "blobs" / digest.replace(":", "/")).read_bytes()
    assert sha256(data) == digest
    return data


def _names(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [item.name for item in tar]


def state(root: Path) -> dict[str, Any]:
    """A directory, path by path; times of directories apart."""
    found: dict[str, Any] = {}
    names: dict[int, list[str]] = {}
    for base, directories, files in os.walk(root):
        for name in (*directories, *files):
            path = Path(base, name)
            status = path.lstat()
            what: Any = None
            if path.is_symlink():
                what = os.readlink(path)
            elif path.is_file():
                what = hashlib.sha256(path.read_bytes()).hexdigest()
            at = str(path.relative_to(root))
            mtime = None if path.is_dir() and not path.is_symlink() else status.st_mtime_ns
            found[at] = [status.st_mode, status.st_uid, mtime, what]
            names.setdefault(status.st_ino, []).append(at)
    for group in names.values():
        for name in group:
            found[name].append(sorted(group))
    return found


def edit(work: Path) -> None:
    """Something of everything."""
    root = work / "rootfs"
    (root / "etc/conf").write_bytes(b"edited")
    (root / "etc/old").unlink()
    (root / "opt/new").write_bytes(b"new")
    os.link(root / "srv/a", root / "srv/c")
    (root / "bin/sh").chmod(0o4755)
    (root / "link").symlink_to("/etc")


# Nothing edited


@pytest.mark.parametrize("mode", ["rewrite", "append"])
def test_an_unchanged_directory_gives_the_same_manifest_and_writes_no_blob(
    ocitool: Run, work: Path, tmp_path: Path, mode: str
) -> None:
    report = report_of(ocitool("repack", work, tmp_path / "out.tar", "--mode", mode, "--format", "json"))
    assert (IMAGE.digest, 0) == (report["images"][0]["digest"], report["bytes"]["written"])


def test_an_unchanged_directory_of_a_docker_archive_gives_the_same_configuration(ocitool: Run, tmp_path: Path) -> None:
    made = image(TARS, tag="app:1", codec="none")
    source = write_docker_archive(tmp_path / "app.tar", [made])
    assert ocitool("unpack", source, tmp_path / "work").code == 0
    report = report_of(ocitool("repack", tmp_path / "work", tmp_path / "out.tar", "--format", "json"))
    (one,) = report["images"]
    assert (sha256(made.config), ["kept"] * 3, [sha256(tar) for tar in TARS]) == (
        one["imageId"], [layer["origin"] for layer in one["layers"]], [layer["diffId"] for layer in one["layers"]],
    )  # fmt: skip


def test_a_copied_directory_is_unchanged(ocitool: Run, work: Path, tmp_path: Path) -> None:
    shutil.copytree(work, tmp_path / "copy", symlinks=True, copy_function=shutil.copy2)
    shutil.rmtree(tmp_path / "copy/rootfs")
    _copy_with_links(work / "rootfs", tmp_path / "copy/rootfs")
    report = report_of(ocitool("repack", tmp_path / "copy", tmp_path / "out.tar", "--format", "json"))
    assert (IMAGE.digest, ["compared-by-content"]) == (
        report["images"][0]["digest"], [n["code"] for n in report["notices"] if n["code"] == "compared-by-content"],
    )  # fmt: skip


def _copy_with_links(source: Path, target: Path) -> None:
    """As `cp -a`."""
    seen: dict[int, Path] = {}
    for base, _, files in os.walk(source):
        to = target / Path(base).relative_to(source)
        to.mkdir()
        for name in files:
            path = Path(base, name)
            first = seen.setdefault(path.stat().st_ino, to / name)
            if first == to / name:
                shutil.copy2(path, to / name)
            else:
                os.link(first, to / name)
    for base, _, _ in os.walk(source, topdown=False):
        shutil.copystat(base, target / Path(base).relative_to(source))


def test_names_of_the_source_are_kept_and_tag_replaces_them(ocitool: Run, work: Path, tmp_path: Path) -> None:
    kept = report_of(ocitool("repack", work, f"{tmp_path}/a/", "--format", "json"))
    named = report_of(ocitool("repack", work, f"{tmp_path}/b/", "--tag", "other", "--format", "json"))
    assert (["app"], ["other"]) == (kept["images"][0]["tags"], named["images"][0]["tags"])


# Edited


@pytest.mark.parametrize("mode", ["rewrite", "append"])
def test_what_is_repacked_unpacks_to_the_directory(ocitool: Run, work: Path, tmp_path: Path, mode: str) -> None:
    edit(work)
    assert ocitool("repack", work, tmp_path / "out.tar", "--mode", mode).code == 0
    assert ocitool("unpack", tmp_path / "out.tar", tmp_path / "again").code == 0
    assert state(work / "rootfs") == state(tmp_path / "again/rootfs")


def test_one_edited_file_leaves_every_other_layer_as_it_is(ocitool: Run, work: Path, tmp_path: Path) -> None:
    (work / "rootfs/opt/x").write_bytes(b"edited")
    report = report_of(ocitool("repack", work, f"{tmp_path}/out/", "--format", "json"))
    digests = [layer["digest"] for layer in report["images"][0]["layers"]]
    assert ([sha256(data) for data in IMAGE.layers[:2]], ["kept", "kept", "rewritten"]) == (
        digests[:2], [layer["origin"] for layer in report["images"][0]["layers"]],
    )  # fmt: skip


def test_rewriting_changes_no_history(ocitool: Run, work: Path, tmp_path: Path) -> None:
    edit(work)
    assert ocitool("repack", work, f"{tmp_path}/out/").code == 0
    assert json.loads(IMAGE.config)["history"] == config_in(tmp_path / "out")["history"]


def test_appending_adds_one_entry_of_history(ocitool: Run, work: Path, tmp_path: Path) -> None:
    edit(work)
    assert ocitool("repack", work, f"{tmp_path}/out/", "--mode", "append", env={"SOURCE_DATE_EPOCH": "0"}).code == 0
    added = {"created": "1970-01-01T00:00:00Z", "created_by": "ocitool repack"}
    assert [*json.loads(IMAGE.config)["history"], added] == config_in(tmp_path / "out")["history"]


def test_appending_keeps_every_layer_and_adds_one(ocitool: Run, work: Path, tmp_path: Path) -> None:
    edit(work)
    report = report_of(ocitool("repack", work, f"{tmp_path}/out/", "--mode", "append", "--format", "json"))
    assert ["kept", "kept", "kept", "new"] == [layer["origin"] for layer in report["images"][0]["layers"]]


def test_a_deleted_file_is_in_no_layer(ocitool: Run, work: Path, tmp_path: Path) -> None:
    (work / "rootfs/etc/old").unlink()
    assert ocitool("repack", work, f"{tmp_path}/out/").code == 0
    assert [] == [name for _, names in layers_in(tmp_path / "out") for name in names if "old" in name]


def test_a_directory_of_which_only_the_time_changed_with_a_child_is_not_said_again(
    ocitool: Run, work: Path, tmp_path: Path
) -> None:
    (work / "rootfs/opt/new").write_bytes(b"1")
    assert ocitool("repack", work, f"{tmp_path}/out/").code == 0
    names = [names for _, names in layers_in(tmp_path / "out")]
    assert ["opt", "opt/x", "opt/new"] == names[2]


def test_dir_times_takes_over_the_times_of_directories(ocitool: Run, work: Path, tmp_path: Path) -> None:
    (work / "rootfs/opt/new").write_bytes(b"1")
    os.utime(work / "rootfs/opt", ns=(5, 7))
    assert ocitool("repack", work, tmp_path / "out.tar", "--dir-times").code == 0
    assert ocitool("unpack", tmp_path / "out.tar", tmp_path / "again").code == 0
    assert 7 == (tmp_path / "again/rootfs/opt").stat().st_mtime_ns


def test_checksum_finds_an_edit_that_keeps_size_and_time(ocitool: Run, tmp_path: Path) -> None:
    source = write_layout(tmp_path / "one", [image([layer_tar([("a", b"1")])])])
    assert ocitool("unpack", source, tmp_path / "work").code == 0
    file = tmp_path / "work/rootfs/a"
    before = file.stat()
    file.write_bytes(b"2")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    report = report_of(ocitool("repack", tmp_path / "work", tmp_path / "out.tar", "--checksum", "--format", "json"))
    assert "rewritten" == report["images"][0]["layers"][0]["origin"]


def test_made_layers_keep_their_codec_and_compression_converts_every_layer_of_a_changed_image(
    ocitool: Run, work: Path, tmp_path: Path
) -> None:
    (work / "rootfs/opt/x").write_bytes(b"edited")
    assert ocitool("repack", work, f"{tmp_path}/same/").code == 0
    assert ocitool("repack", work, f"{tmp_path}/zstd/", "--compression", "zstd").code == 0

    def heads(layout: Path) -> list[bytes]:
        return [_blob(layout, digest)[:2] for digest, _ in layers_of(layout)]

    def layers_of(layout: Path) -> list[tuple[str, str]]:
        (descriptor,) = json.loads((layout / "index.json").read_bytes())["manifests"]
        return [(one["digest"], one["mediaType"]) for one in json.loads(_blob(layout, descriptor["digest"]))["layers"]]

    gz, zst = b"\x1f\x8b", b"\x28\xb5"
    assert ([gz, gz, gz], [zst, zst, zst]) == (heads(tmp_path / "same"), heads(tmp_path / "zstd"))


def test_two_runs_make_the_same_bytes(ocitool: Run, work: Path, tmp_path: Path) -> None:
    edit(work)
    for name in ("a.tar", "b.tar"):
        assert ocitool("repack", work, tmp_path / name, env={"SOURCE_DATE_EPOCH": "1700000001"}).code == 0
        time.sleep(0.01)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_source_date_epoch_clamps_the_times_that_were_set_since(ocitool: Run, work: Path, tmp_path: Path) -> None:
    (work / "rootfs/opt/new").write_bytes(b"1")
    assert ocitool("repack", work, f"{tmp_path}/out/", env={"SOURCE_DATE_EPOCH": "1000"}).code == 0
    with tarfile.open(fileobj=io.BytesIO(_blob(tmp_path / "out", layers_in(tmp_path / "out")[2][0]))) as tar:
        assert {"opt": 1_700_000_000, "opt/x": 1_700_000_000, "opt/new": 1000} == {item.name: item.mtime for item in tar}


def test_the_closing_line_says_what_was_made_and_what_appending_would_have_cost(
    ocitool: Run, work: Path, tmp_path: Path
) -> None:
    (work / "rootfs/opt/x").write_bytes(b"edited")
    last = ocitool("repack", work, tmp_path / "out.tar").out.splitlines()[-1]
    report = report_of(ocitool("repack", work, tmp_path / "b.tar", "--format", "json"))
    text = "1 layer made, 3.6 kB unpacked; --mode append would have written 3.6 kB unpacked"
    assert (text, 3584, 3584) == (
        last, report["details"]["remade"]["uncompressedSize"], report["details"]["append"]["uncompressedSize"],
    )  # fmt: skip


def test_a_dry_run_writes_nothing_and_says_the_same(ocitool: Run, work: Path, tmp_path: Path) -> None:
    edit(work)
    rehearsed = report_of(ocitool("repack", work, f"{tmp_path}/out/", "--dry-run", "--format", "json"))
    assert not (tmp_path / "out").exists()
    assert rehearsed["images"] == report_of(ocitool("repack", work, f"{tmp_path}/out/", "--format", "json"))["images"]


def test_signatures_of_the_old_image_are_named(ocitool: Run, tmp_path: Path) -> None:
    signature = image([layer_tar([("s", b"s")])], tag=IMAGE.digest.replace(":", "-") + ".sig")
    assert ocitool("unpack", f"{write_layout(tmp_path / 'src', [IMAGE, signature])}:app", tmp_path / "work").code == 0
    edit(tmp_path / "work")
    report = report_of(ocitool("repack", tmp_path / "work", tmp_path / "out.tar", "--format", "json"))
    assert ["referrer"] == [notice["code"] for notice in report["notices"] if notice["code"] == "referrer"]


# Where blobs come from


def test_blobs_of_the_destination_are_enough(ocitool: Run, work: Path, layout: Path, tmp_path: Path) -> None:
    layout.rename(tmp_path / "moved")
    report = report_of(ocitool("repack", work, tmp_path / "moved", "--format", "json"))
    assert (IMAGE.digest, 0) == (report["images"][0]["digest"], report["bytes"]["written"])


def test_source_names_another_place(ocitool: Run, work: Path, layout: Path, tmp_path: Path) -> None:
    layout.rename(tmp_path / "moved")
    report = report_of(ocitool("repack", work, tmp_path / "out.tar", "--source", tmp_path / "moved", "--format", "json"))
    assert (IMAGE.digest, True) == (report["images"][0]["digest"], report["verified"])


def test_without_its_layers_nothing_can_be_repacked(ocitool: Run, work: Path, layout: Path, tmp_path: Path) -> None:
    layout.rename(tmp_path / "moved")
    result = ocitool("repack", work, tmp_path / "out.tar")
    assert (3, True, False) == (result.code, "hint: --source" in result.err, (tmp_path / "out.tar").exists())


def test_an_image_from_standard_input_needs_a_source(ocitool: Run, tmp_path: Path) -> None:
    archive = write_oci_archive(tmp_path / "app.tar", [IMAGE])
    assert ocitool("unpack", "-", tmp_path / "work", stdin=archive.read_bytes()).code == 0
    assert 3 == ocitool("repack", tmp_path / "work", tmp_path / "out.tar").code
    assert 0 == ocitool("repack", tmp_path / "work", tmp_path / "out.tar", "--source", archive).code


def test_another_image_where_the_old_one_was_is_not_taken_for_it(
    ocitool: Run, work: Path, layout: Path, tmp_path: Path
) -> None:
    shutil.rmtree(layout)
    write_layout(layout, [image([layer_tar([("other", b"")])], tag="app")])
    assert 3 == ocitool("repack", work, tmp_path / "out.tar").code


@pytest.mark.parametrize("edited", [False, True], ids=["kept", "rewritten"])
def test_a_damaged_layer_is_found_and_nothing_is_written(
    ocitool: Run, work: Path, layout: Path, tmp_path: Path, edited: bool
) -> None:
    if edited:
        (work / "rootfs/opt/x").write_bytes(b"edited")
    damaged = gzip.compress(UPPER[:-1] + b"x", 6, mtime=0)
    data = bytearray(IMAGE.layers[2])
    data[-9] ^= 1
    blob = layout / "blobs" / sha256(IMAGE.layers[2]).replace(":", "/")
    blob.write_bytes(damaged if len(damaged) == len(data) else bytes(data))
    result = ocitool("repack", work, tmp_path / "out.tar")
    assert (5, False) == (result.code, (tmp_path / "out.tar").exists())


def test_the_archive_that_an_image_came_from_can_be_replaced(ocitool: Run, tmp_path: Path) -> None:
    archive = write_oci_archive(tmp_path / "app.tar", [IMAGE])
    assert ocitool("unpack", archive, tmp_path / "work").code == 0
    edit(tmp_path / "work")
    assert 9 == ocitool("repack", tmp_path / "work", archive).code
    assert 0 == ocitool("repack", tmp_path / "work", archive, "--force").code
    assert ocitool("unpack", archive, tmp_path / "again").code == 0
    assert state(tmp_path / "work/rootfs") == state(tmp_path / "again/rootfs")


# A base that stays


def test_layers_of_a_kept_base_are_never_made_again(ocitool: Run, work: Path, tmp_path: Path) -> None:
    edit(work)
    base = write_oci_archive(tmp_path / "base.tar", [image([LOWER], codec="zstd")])
    report = report_of(ocitool("repack", work, tmp_path / "out.tar", "--keep-base", base, "--format", "json"))
    assert ocitool("unpack", tmp_path / "out.tar", tmp_path / "again").code == 0
    assert sha256(IMAGE.layers[0]) == report["images"][0]["layers"][0]["digest"]
    assert state(work / "rootfs") == state(tmp_path / "again/rootfs")


def test_an_image_that_is_its_base_gets_a_new_layer(ocitool: Run, work: Path, layout: Path, tmp_path: Path) -> None:
    edit(work)
    report = report_of(ocitool("repack", work, tmp_path / "out.tar", "--keep-base", layout, "--format", "json"))
    assert ["kept", "kept", "kept", "new"] == [layer["origin"] for layer in report["images"][0]["layers"]]


def test_a_base_that_is_not_one_is_refused_by_its_first_other_layer(ocitool: Run, work: Path, tmp_path: Path) -> None:
    base = write_oci_archive(tmp_path / "base.tar", [image([LOWER, UPPER])])
    result = ocitool("repack", work, tmp_path / "out.tar", "--keep-base", base)
    assert (2, True) == (result.code, "layer 1" in result.err)


def test_a_base_with_more_layers_than_the_image_is_refused(ocitool: Run, work: Path, tmp_path: Path) -> None:
    base = write_oci_archive(tmp_path / "base.tar", [image([*TARS, LOWER])])
    assert 2 == ocitool("repack", work, tmp_path / "out.tar", "--keep-base", base).code


def test_a_stated_diff_id_makes_no_base(ocitool: Run, work: Path, tmp_path: Path) -> None:
    liar = image([UPPER], rootfs={"type": "layers", "diff_ids": [sha256(LOWER)]})
    base = write_oci_archive(tmp_path / "base.tar", [liar])
    assert 2 == ocitool("repack", work, tmp_path / "out.tar", "--keep-base", base).code


def test_appending_keeps_every_layer_already(ocitool: Run, work: Path, layout: Path, tmp_path: Path) -> None:
    assert 2 == ocitool("repack", work, tmp_path / "out.tar", "--mode", "append", "--keep-base", layout).code


# Refused


def test_a_directory_that_holds_no_unpacked_image_is_not_found(ocitool: Run, tmp_path: Path) -> None:
    assert 3 == ocitool("repack", tmp_path, tmp_path / "out.tar").code


def test_below_an_unpacked_image_it_is_named(ocitool: Run, work: Path, tmp_path: Path) -> None:
    result = ocitool("repack", work / "rootfs", tmp_path / "out.tar")
    assert (3, True) == (result.code, f"hint: name the directory above it: {work}" in result.err)


@pytest.mark.parametrize("name", ["manifest.json", "config.json"])
def test_documents_that_were_edited_are_refused(ocitool: Run, work: Path, tmp_path: Path, name: str) -> None:
    path = work / "image" / name
    path.write_bytes(path.read_bytes() + b"\n")
    assert 5 == ocitool("repack", work, tmp_path / "out.tar").code


DAMAGED = ["", "[]", "{}", '{"schema": "ocitool/unpacked", "version": 2}', '{"schema": "ocitool/unpacked", "version": 1}']


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_reference_is_no_bug_of_ours(ocitool: Run, work: Path, tmp_path: Path, text: str) -> None:
    (work / "image/reference.json").write_text(text)
    assert 4 == ocitool("repack", work, tmp_path / "out.tar").code


def test_a_name_that_means_a_whiteout_is_refused(ocitool: Run, work: Path, tmp_path: Path) -> None:
    (work / "rootfs/.wh.x").write_bytes(b"")
    assert 4 == ocitool("repack", work, tmp_path / "out.tar").code
