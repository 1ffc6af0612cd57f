"""The laws of `ocitool unpack` on the command line."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.disk import on_disk
from support.images import entry, gz, image, layer_tar, write_docker_archive, write_layout
from support.report import report_of

from ocitool.disk import snapshot
from ocitool.layers.entry import Kind

Run = Callable[..., Any]
LOWER = layer_tar([("etc/", None), ("etc/motd", b"low"), ("gone", b"1"), ("run", "link:etc")])
UPPER = layer_tar([("etc/", None), ("etc/motd", b"high"), (".wh.gone", b""), ("hard", "hard:etc/motd")])


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_docker_archive(tmp_path / "app.tar", [image([LOWER, UPPER], codec="none", tag="app:1")])


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


def left(place: Path) -> list[str]:
    return sorted(os.listdir(place))


# What is made


def test_editable_is_the_file_system_and_the_documents_byte_for_byte(ocitool: Run, tmp_path: Path, place: Path) -> None:
    made = image([LOWER, UPPER], tag="app")
    layout = write_layout(tmp_path / "layout", [made])
    assert ocitool("unpack", layout, place / "work").code == 0
    assert ["work"] == left(place)
    assert ["image", "rootfs"] == left(place / "work")
    assert ["config.json", "manifest.json", "reference.json", "snapshot"] == left(place / "work/image")
    assert made.raw == (place / "work/image/manifest.json").read_bytes()
    assert made.config == (place / "work/image/config.json").read_bytes()
    found = on_disk(place / "work/rootfs")
    assert [b"", b"etc", b"etc/motd", b"hard", b"run"] == sorted(found)
    assert (b"high", [b"etc/motd", b"hard"]) == (found[b"hard"]["content"], found[b"hard"]["links"])


def test_a_docker_archive_has_no_manifest_to_keep(ocitool: Run, archive: Path, place: Path) -> None:
    assert ocitool("unpack", archive, place / "work").code == 0
    assert ["config.json", "reference.json", "snapshot"] == left(place / "work/image")
    assert json.loads((place / "work/image/reference.json").read_bytes())["manifestDescriptor"] is None


def test_the_reference_is_recorded_as_it_reads_from_anywhere(ocitool: Run, tmp_path: Path, place: Path) -> None:
    made = image([LOWER, UPPER], tag="app")
    write_layout(tmp_path / "layout", [made])
    assert ocitool("unpack", "oci:layout:app", "place/work", "--rootless", cwd=tmp_path).code == 0
    found = json.loads((place / "work/image/reference.json").read_bytes())
    layers = found.pop("layers")
    assert {
        "schema": "ocitool/unpacked", "version": 1, "reference": f"oci:{tmp_path}/layout:app", "transport": "oci",
        "manifestDescriptor": {
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": made.digest, "size": len(made.raw),
        },
        "platform": {"os": "linux", "architecture": "amd64", "variant": None, "osVersion": None, "osFeatures": []},
        "tags": ["app"], "rootless": True, "uidMap": [], "gidMap": [],
    } == found  # fmt: skip
    assert [(sha(gz(tar)), sha(tar), len(gz(tar))) for tar in (LOWER, UPPER)] == [
        (layer["digest"], layer["diffId"], layer["size"]) for layer in layers
    ]


def sha(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def test_an_image_from_standard_input_has_no_reference(ocitool: Run, archive: Path, place: Path) -> None:
    assert ocitool("unpack", "-", place / "work", stdin=archive.read_bytes()).code == 0
    assert json.loads((place / "work/image/reference.json").read_bytes())["reference"] is None


def test_the_snapshot_states_the_image_and_the_disk(ocitool: Run, archive: Path, place: Path) -> None:
    assert ocitool("unpack", "--rootless", archive, place / "work").code == 0
    header, rows = snapshot.read(place / "work/image/snapshot")
    kept = list(rows)
    assert snapshot.SnapshotHeader(rootless=True) == header
    assert [b"", b"etc", b"etc/motd", b"hard", b"run"] == [row.path for row in kept]
    for row in kept:
        status = os.lstat(place / "work/rootfs" / os.fsdecode(row.path))
        assert (status.st_ino, status.st_ctime_ns, status.st_mtime_ns) == (row.disk.ino, row.disk.ctime, row.disk.mtime)


def test_rootfs_is_the_file_system_alone(ocitool: Run, archive: Path, place: Path) -> None:
    assert ocitool("unpack", "--as", "rootfs", archive, place / "root").code == 0
    assert ["root"] == left(place)
    assert ["etc", "hard", "run"] == left(place / "root")


def test_bundle_is_editable_and_a_runtime_configuration(ocitool: Run, archive: Path, place: Path) -> None:
    assert ocitool("unpack", "--as", "bundle", archive, place / "b").code == 0
    assert ["config.json", "image", "rootfs"] == left(place / "b")
    assert "rootfs" == json.loads((place / "b/config.json").read_bytes())["root"]["path"]


def test_tar_is_the_merged_file_system(ocitool: Run, archive: Path, place: Path) -> None:
    assert ocitool("unpack", "--as", "tar", archive, place / "flat.tar").code == 0
    with tarfile.open(place / "flat.tar") as tar:
        assert ["etc", "etc/motd", "hard", "run"] == sorted(member.name for member in tar)


def test_tar_on_standard_output_is_the_tar_and_nothing_else(ocitool: Run, archive: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(ocitool("unpack", "--as", "tar", archive, "-").stdout)) as tar:
        assert ["etc", "etc/motd", "hard", "run"] == sorted(member.name for member in tar)


def test_every_portable_image_of_testdata_unpacks(ocitool: Run, testdata: Path, place: Path) -> None:
    for number, name in enumerate((testdata / "portable.txt").read_text().split()):
        if (testdata.parent / name).is_file():
            result = ocitool("unpack", testdata.parent / name, place / str(number))
            assert result.code == 0, str(result)


# Reports


@pytest.mark.parametrize("form", ["editable", "rootfs", "bundle", "tar"])
def test_the_json_report(form: str, ocitool: Run, archive: Path, place: Path) -> None:
    report = report_of(ocitool("unpack", "--as", form, "-f", "json", archive, place / "out"))
    assert (form, str(place / "out"), 4, True) == (
        report["as"], report["destination"], report["entries"], report["verified"],
    )  # fmt: skip
    if form != "tar":
        assert {"read": len(LOWER) + len(UPPER), "written": len("high")} == {**report["bytes"], "written": 4}


def test_the_json_report_of_layers(ocitool: Run, archive: Path, place: Path) -> None:
    report = report_of(ocitool("unpack", "--as", "layers", "--rootless", "-f", "json", archive, place / "store"))
    (stored,) = report["images"]
    assert [sha(LOWER), sha(UPPER)] == [layer["diffId"] for layer in stored["layers"]]
    assert {"new"} == {layer["origin"] for layer in stored["layers"]}
    again = report_of(ocitool("unpack", "--as", "layers", "--rootless", "-f", "json", archive, place / "store"))
    assert {"kept"} == {layer["origin"] for layer in again["images"][0]["layers"]}


def test_the_text_report_of_layers_has_the_mount(ocitool: Run, archive: Path, place: Path) -> None:
    lines = ocitool("unpack", "--as", "layers", archive, place / "store").out.splitlines()
    assert "2 layers, 2 of them new" in lines[0]
    assert "mount -t overlay" in lines[1]


def test_the_text_report_says_what_to_do_next(ocitool: Run, archive: Path, place: Path) -> None:
    out = ocitool("unpack", "--rootless", archive, "out", cwd=place).out
    assert "out: 4 paths, " in out and "rootless, verified" in out
    assert "ocitool repack out NEW" in out


def test_rootless_is_said_unless_quiet(ocitool: Run, archive: Path, place: Path) -> None:
    assert "note: rootless: " in ocitool("unpack", "--rootless", archive, place / "a").err
    assert "" == ocitool("unpack", "--rootless", "--quiet", archive, place / "b").err


def test_maps_that_shift_nothing_are_said(ocitool: Run, archive: Path, place: Path) -> None:
    result = ocitool("unpack", "--rootless", "--uid-map", "0:1000", archive, place / "a")
    assert (0, True) == (result.code, "note: rootless: the id maps are recorded, but change no owner" in result.err)


def test_a_deep_tree_is_unpacked_with_its_snapshot(ocitool: Run, tmp_path: Path, place: Path) -> None:
    deep = "/".join(["n" * 60] * 1000)
    layout = write_layout(tmp_path / "layout", [image([layer_tar([(deep + "/f", b"x")])])])
    result = ocitool("unpack", layout, place / "work")
    assert 0 == result.code, str(result)
    _, rows = snapshot.read(place / "work/image/snapshot")
    assert 1002 == sum(1 for _ in rows)
    subprocess.run(["rm", "-rf", place / "work"], check=True)


# Destinations


def test_an_empty_directory_is_accepted(ocitool: Run, archive: Path, place: Path) -> None:
    (place / "work").mkdir()
    assert ocitool("unpack", archive, place / "work").code == 0
    assert ["image", "rootfs"] == left(place / "work")


def test_a_link_to_an_empty_directory_is_accepted_and_stays(ocitool: Run, archive: Path, place: Path) -> None:
    (place / "real").mkdir()
    (place / "work").symlink_to("real")
    assert ocitool("unpack", archive, place / "work").code == 0
    assert (place / "work").is_symlink()
    assert ["image", "rootfs"] == left(place / "real")


@pytest.mark.parametrize("what", ["file", "full", "parent", "parent is a file", "here", "fifo"])
def test_a_destination_that_will_not_do_is_refused_before_anything_is_read(what: str, ocitool: Run, place: Path) -> None:
    (place / "file").write_bytes(b"x")
    (place / "full").mkdir()
    (place / "full/file").write_bytes(b"x")
    os.mkfifo(place / "fifo")
    (place / "here").mkdir()
    dest = {"parent": "nothing/work", "parent is a file": "file/work", "here": "."}.get(what, what)
    result = ocitool("unpack", "/nothing/at/all.tar", dest, cwd=place / "here" if what == "here" else place)
    assert result.code == 9, str(result)
    assert (["fifo", "file", "full", "here"], ["file"], []) == (left(place), left(place / "full"), left(place / "here"))


def test_a_mount_point_is_refused(ocitool: Run, need: Any, archive: Path, small: Path) -> None:
    result = ocitool("unpack", archive, small)
    assert (9, True) == (result.code, "mount point" in result.err)
    assert [] == left(small)


@pytest.mark.parametrize(
    "words",
    [
        ("--uid-map", "x"), ("--gid-map", "0:1:0"), ("--force",), ("--all-platforms",), ("--as", "zip"),
        ("--as", "tar", "--rootless"), ("--rootless-xattr",), ("--as", "tar", "--uid-map", "0:1"),
    ],
)  # fmt: skip
def test_wrong_usage(words: tuple[str, ...], ocitool: Run, need: Any, archive: Path, place: Path) -> None:
    need("root")
    result = ocitool("unpack", *words, archive, place / "work")
    assert (2, []) == (result.code, left(place)), str(result)


# Failures leave nothing


def damaged(tmp_path: Path, what: str) -> Path:
    good = image([LOWER, UPPER], codec="gzip")
    if what == "diff_id":
        stated = {"type": "layers", "diff_ids": [sha(LOWER), sha(LOWER)]}
        return write_layout(tmp_path / "l", [image([LOWER, UPPER], rootfs=stated)])
    if what == "count":
        return write_layout(tmp_path / "l", [image([LOWER, UPPER], rootfs={"type": "layers", "diff_ids": [sha(LOWER)]})])
    layout = write_layout(tmp_path / "l", [good])
    blob = layout / "blobs/sha256" / sha(good.layers[1])[7:]
    data = bytearray(blob.read_bytes())
    match what:
        case "missing":
            blob.unlink()
        case "bit":
            data[len(data) // 2] ^= 1
            blob.write_bytes(data)
        case "other":
            blob.write_bytes((gz(LOWER) + bytes(len(data)))[: len(data)])
        case "short":
            blob.write_bytes(data[:-1])
    return layout


@pytest.mark.parametrize("form", ["editable", "rootfs"])
@pytest.mark.parametrize(
    ("what", "code"), [("diff_id", 5), ("bit", 5), ("other", 5), ("short", 5), ("count", 4), ("missing", 3)]
)
def test_an_image_that_is_not_what_it_states(
    what: str, code: int, form: str, ocitool: Run, tmp_path: Path, place: Path
) -> None:
    result = ocitool("unpack", "--as", form, damaged(tmp_path, what), place / "work")
    assert (code, []) == (result.code, left(place)), str(result)


def test_a_diff_id_of_an_uncompressed_layer_is_checked_in_the_pass_that_writes(
    ocitool: Run, tmp_path: Path, place: Path
) -> None:
    wrong = image([LOWER], codec="none", rootfs={"type": "layers", "diff_ids": [sha(UPPER)]})
    result = ocitool("unpack", write_docker_archive(tmp_path / "a.tar", [wrong]), place / "work")
    assert (5, []) == (result.code, left(place)), str(result)


@pytest.fixture
def small(need: Any, tmp_path: Path) -> Iterator[Path]:
    """An empty file system of 4 MiB."""
    need("mount", "umount", "root")
    where = tmp_path / "small"
    where.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,nr_inodes=300", "tmpfs", where], capture_output=True)
    if done.returncode:
        pytest.skip("may not mount")
    yield where
    subprocess.run(["umount", where], check=True)


@pytest.mark.parametrize("what", ["bytes", "inodes"])
def test_a_full_disk_ends_with_9_and_leaves_nothing(what: str, ocitool: Run, tmp_path: Path, small: Path) -> None:
    if what == "bytes":
        layers = [layer_tar([("a", b"x" * (3 << 20)), ("b", b"y" * (3 << 20))]), layer_tar([("c", b"z" * (1 << 20))])]
    else:
        layers = [layer_tar([(f"d{n}/", None) for n in range(400)])]
    layout = write_layout(tmp_path / "layout", [image(layers)])
    result = ocitool("unpack", layout, small / "work")
    assert (9, []) == (result.code, left(small)), str(result)
    assert "No space left on device" in result.err


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image that takes a second or two."""
    layers = [layer_tar([(f"d{n}/f{m}", b"x") for m in range(200)]) for n in range(2)]
    layers += [layer_tar([(f"e{n}/f{m}", b"x") for n in range(150) for m in range(200)])]
    return write_layout(tmp_path_factory.mktemp("many") / "layout", [image(layers)])


def started(layout: Path, dest: Path, wait: float) -> subprocess.Popen[bytes]:
    """The command, at work for at least `wait` seconds."""
    running = subprocess.Popen(
        [sys.executable, "-m", "ocitool", "unpack", str(layout), str(dest)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    limit = time.monotonic() + 60
    while not left(dest.parent) and running.poll() is None and time.monotonic() < limit:
        time.sleep(0.002)
    time.sleep(wait)
    return running


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("wait", [0, 0.05, 0.3])
def test_an_interrupted_unpacking_leaves_nothing(number: int, code: int, wait: float, many: Path, place: Path) -> None:
    running = started(many, place / "work", wait)
    running.send_signal(number)
    _, err = running.communicate(timeout=60)
    if running.returncode == 0:
        assert ["work"] == left(place)
    else:
        assert (code, []) == (running.returncode, left(place)), err


@pytest.mark.parametrize("wait", [0, 0.02, 0.2, 0.6])
def test_what_a_killed_one_leaves_is_no_destination_and_goes_with_the_next(
    wait: float, many: Path, archive: Path, ocitool: Run, place: Path
) -> None:
    running = started(many, place / "work", wait)
    running.kill()
    running.communicate(timeout=60)
    if running.returncode == 0:
        return
    assert all(name.startswith(".work.ocitool-") for name in left(place))
    assert ocitool("unpack", archive, place / "other").code == 0
    assert ["other"] == left(place)


def test_a_live_neighbours_work_is_left_alone(archive: Path, ocitool: Run, place: Path) -> None:
    neighbour = place / (".other.ocitool-" + "a" * 16)
    neighbour.mkdir()
    (neighbour / "file").touch()
    held = os.open(neighbour, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    assert ocitool("unpack", archive, place / "work").code == 0
    assert [neighbour.name, "work"] == left(place)
    os.close(held)
    assert ocitool("unpack", archive, place / "more").code == 0
    assert ["more", "work"] == left(place)


def test_devices_and_owners_of_rootless_are_in_the_snapshot(ocitool: Run, tmp_path: Path, place: Path) -> None:
    device = entry("null", b"", kind=Kind.CHAR, device=(1, 3), mode=0o666, size=0)
    layers = [layer_tar([device, entry("f", b"x", uid=7, gid=8, mode=0o200)])]
    result = ocitool("unpack", "--rootless", write_layout(tmp_path / "l", [image(layers)]), place / "work")
    assert (0, True) == (result.code, "1 device that only root may make" in result.err)
    _, rows = snapshot.read(place / "work/image/snapshot")
    found = {row.path: row for row in rows}
    assert (Kind.CHAR, (1, 3)) == (found[b"null"].entry.kind, found[b"null"].entry.device)
    assert (7, 8, 0o200) == (found[b"f"].entry.uid, found[b"f"].entry.gid, found[b"f"].entry.mode)
    assert 0o600 == found[b"f"].disk.mode & 0o7777
