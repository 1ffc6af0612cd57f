"""`ocitool copy`: damage and `--verify`, dry runs, numbers and notices."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support import places
from support.copying import ONE, TWO, Run, copied, notes, refused, rooted
from support.images import (
    hybrid_files,
    image,
    layer_tar,
    layout_files,
    sha256,
    write_docker_archive,
    write_files,
    write_layout,
    write_oci_archive,
    write_tar,
)

# Damage


def damage(path: Path, data: bytes) -> None:
    raw = path.read_bytes()
    assert 1 == raw.count(data)
    at = raw.index(data) + len(data) // 2
    path.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])


@pytest.mark.parametrize("destination", ["a.tar", "out/"])
def test_a_damaged_blob_is_never_copied(destination: str, ocitool: Run, tmp_path: Path) -> None:
    made = image([ONE], tag="app:1")
    source = write_oci_archive(tmp_path / "in.tar", [made])
    damage(source, made.layers[0])
    for words in ((), ("--verify",)):
        refused(5, ocitool("copy", *words, source, f"{tmp_path}/{destination}"), made.manifest["layers"][0]["digest"])
        assert not (tmp_path / destination).exists()
    refused(5, ocitool("copy", source, "-"), made.manifest["layers"][0]["digest"])
    refused(5, ocitool("copy", "--compression", "zstd", source, f"{tmp_path}/{destination}"))
    assert not (tmp_path / destination).exists()
    refused(5, ocitool("copy", source, tmp_path / "a.tar.gz"))


def test_verified_is_true_of_all_that_is_written_and_of_what_was_there(ocitool: Run, tmp_path: Path) -> None:
    source = write_oci_archive(tmp_path / "in.tar", [image([ONE], tag="app:1", codec="none")])
    assert copied(ocitool, source, tmp_path / "a.tar")["verified"] is True
    assert copied(ocitool, source, tmp_path / "a.tar.gz")["verified"] is True
    assert copied(ocitool, source, f"{tmp_path}/out/")["verified"] is True
    assert copied(ocitool, source, f"{tmp_path}/out/")["verified"] is True
    assert copied(ocitool, "--dry-run", source, f"{tmp_path}/out/")["verified"] is False  # nothing was read


@pytest.mark.parametrize("codec", ["gzip", "xz"])
def test_damage_inside_of_a_compressed_archive_or_stream_is_found(codec: str, ocitool: Run, tmp_path: Path) -> None:
    from support.streams import PART

    made = image([ONE], tag="app:1")
    plain = write_oci_archive(tmp_path / "in.tar", [made])
    damage(plain, made.layers[0])
    packed = tmp_path / "in.tar.packed"
    packed.write_bytes(PART[codec](plain.read_bytes()))
    refused(5, ocitool("copy", "--verify", packed, f"{tmp_path}/out/"))
    refused(5, ocitool("copy", "--verify", "-", f"{tmp_path}/out/", stdin=packed.read_bytes()))
    assert not (tmp_path / "out").exists()


def test_a_blob_of_another_size_is_refused(ocitool: Run, tmp_path: Path) -> None:
    files = layout_files([rooted()])
    name = "blobs/" + rooted().manifest["layers"][1]["digest"].replace(":", "/")
    source = write_files(tmp_path / "in", {**files, name: files[name] + b"x"})
    refused(5, ocitool("copy", source, tmp_path / "a.tar"), "bytes where")
    assert not (tmp_path / "a.tar").exists()


@pytest.mark.parametrize("words", [(), ("--verify",)])
def test_a_damaged_blob_of_the_layout_is_replaced_by_the_sound_one_that_comes(
    words: tuple[str, ...], ocitool: Run, tmp_path: Path
) -> None:
    source = write_oci_archive(tmp_path / "in.tar", [rooted()])
    copied(ocitool, source, f"{tmp_path}/out/")
    blob = tmp_path / "out/blobs" / rooted().manifest["layers"][0]["digest"].replace(":", "/")
    blob.write_bytes(bytes(blob.stat().st_size))
    report = copied(ocitool, *words, source, f"{tmp_path}/out/")
    assert ["damaged"] == [notice["code"] for notice in report["notices"] if notice["code"] != "untagged"]
    assert rooted().blobs == places.blobs(tmp_path / "out")


def test_layers_that_do_not_align_with_diff_ids_are_refused_where_a_manifest_is_made(ocitool: Run, tmp_path: Path) -> None:
    stated = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [sha256(ONE)]}}
    made = image([ONE, TWO], tag="app:1", codec="none", config=stated)
    refused(4, ocitool("copy", write_docker_archive(tmp_path / "d.tar", [made]), tmp_path / "a.tar"), "do not align")
    copied(ocitool, write_oci_archive(tmp_path / "o.tar", [made]), tmp_path / "a.tar")  # nothing is made here
    lying = write_docker_archive(tmp_path / "l.tar", [image([TWO], tag="app:1", codec="none", config=stated)])
    refused(5, ocitool("copy", lying, tmp_path / "b.tar"), f"unpacks to {sha256(TWO)}")


# Dry runs and numbers


def everything(place: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.lstat().st_mtime_ns) for path in (place, *place.rglob("*")))


@pytest.mark.parametrize("words", [(), ("--compression", "zstd")])
@pytest.mark.parametrize("destination", ["a.tar", "out/", "there/", "-"])
def test_a_dry_run_writes_nothing_and_says_what_the_run_then_does(
    destination: str, words: tuple[str, ...], ocitool: Run, tmp_path: Path
) -> None:
    base, spool = tmp_path / "work", tmp_path / "spool"
    base.mkdir(), spool.mkdir()
    source = write_oci_archive(base / "in.tar", [rooted()])
    write_layout(base / "there", [image([ONE], tag="old:1")])
    before = everything(base)
    how: dict[str, Any] = {"cwd": base, "env": {"TMPDIR": str(spool)}}
    command = ("copy", "--format", "json", *words, source, destination, "--report")
    said = ocitool(*command, tmp_path / "dry.json", "--dry-run", **how)
    assert (0, b"") == (said.code, said.stdout)
    assert before == everything(base)
    assert [] == list(spool.iterdir())
    ran = ocitool(*command, tmp_path / "run.json", **how)
    assert 0 == ran.code
    dry, run = (json.loads((tmp_path / name).read_text()) for name in ("dry.json", "run.json"))
    assert (True, False) == (dry.pop("dryRun"), run.pop("dryRun"))
    del dry["verified"], run["verified"]
    assert dry == run


def sizes(place: Path) -> Mapping[str, int]:
    return {digest: len(data) for digest, data in places.blobs(place).items()}


def test_kept_written_skipped_and_omitted_add_up_to_the_blobs(ocitool: Run, tmp_path: Path) -> None:
    one, two = image([ONE], tag="a:1", codec="none"), image([ONE, TWO], tag="b:1", codec="none")
    write_docker_archive(tmp_path / "1.tar", [one])
    write_docker_archive(tmp_path / "2.tar", [two])
    first = copied(ocitool, tmp_path / "1.tar", f"{tmp_path}/out/")["bytes"]
    before = sizes(tmp_path / "out")
    assert (sum(before.values()), 0, 0) == (first["kept"] + first["written"], first["skipped"], first["omitted"])
    assert first["kept"] == len(ONE) + len(one.config)
    second = copied(ocitool, tmp_path / "2.tar", f"{tmp_path}/out/")["bytes"]
    after = sizes(tmp_path / "out")
    assert len(ONE) == second["skipped"]
    assert sum(after.values()) - sum(before.values()) == second["kept"] + second["written"]
    thin = copied(ocitool, tmp_path / "2.tar", tmp_path / "thin.tar", "--omit", tmp_path / "1.tar")["bytes"]
    assert (len(ONE), sum(sizes(tmp_path / "thin.tar").values())) == (thin["omitted"], thin["kept"] + thin["written"])


def test_too_many_layers_for_docker_are_said(ocitool: Run, tmp_path: Path) -> None:
    tars = [layer_tar([(f"f{n}", b"")]) for n in range(126)]
    write_layout(tmp_path / "in", [image(tars, tag="deep:1"), image(tars[:125], tag="fine:1")])
    assert {"layers"} == notes(copied(ocitool, f"{tmp_path}/in:deep:1", tmp_path / "a.tar"))
    assert set() == notes(copied(ocitool, f"{tmp_path}/in:fine:1", tmp_path / "b.tar"))


def test_zstd_layers_in_an_archive_are_said(ocitool: Run, tmp_path: Path) -> None:
    source = write_oci_archive(tmp_path / "in.tar", [rooted(codec="zstd")])
    assert {"zstd"} == notes(copied(ocitool, source, tmp_path / "a.tar"))
    assert set() == notes(copied(ocitool, source, f"{tmp_path}/out/"))
    assert set() == notes(copied(ocitool, "--compression", "gzip", source, tmp_path / "b.tar"))


def test_hybrid_archives_pass_with_the_names_of_both_halves(ocitool: Run, tmp_path: Path) -> None:
    source = write_tar(tmp_path / "h.tar", hybrid_files([rooted(codec="none")]))
    copied(ocitool, source, tmp_path / "oci.tar")
    copied(ocitool, f"docker-archive:{source}", tmp_path / "docker.tar")
    for name in ("oci.tar", "docker.tar"):
        assert [["docker.io/library/app:1"]] == [one["RepoTags"] for one in places.engine_images(tmp_path / name)]
        assert {sha256(data) for data in rooted(codec="none").layers} <= set(places.blobs(tmp_path / name))


def test_quiet_says_nothing_and_text_is_one_line_an_image(ocitool: Run, tmp_path: Path) -> None:
    source = write_oci_archive(tmp_path / "in.tar", [rooted()])
    said = ocitool("copy", source, tmp_path / "a.tar")
    assert [rooted().digest in line for line in said.out.splitlines()] == [True, False]
    assert "2 layers: 2 kept" in said.out
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    assert ("", "") == ((quiet := ocitool("copy", "--quiet", source, f"{tmp_path}/out/")).out, quiet.err)


def test_names_from_an_image_do_not_reach_a_terminal_unescaped(ocitool: Run, tmp_path: Path) -> None:
    source = write_docker_archive(tmp_path / "in.tar", [image([ONE], tag="a\x1b[31m:1", codec="none")])
    result = ocitool("copy", source, f"{tmp_path}/out/")
    assert "\x1b" not in result.out + result.err
