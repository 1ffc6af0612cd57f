"""`ocitool copy --omit` and `--with`: archives without what the other side has, completed there; layers kept elsewhere."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from support import places
from support.copying import ONE, TWO, Run, copied, notes, refused, rooted
from support.images import (
    Image,
    image,
    layout_files,
    sha256,
    write_docker_archive,
    write_files,
    write_oci_archive,
)
from support.report import report_of

# Leaving out and completing


def delta(ocitool: Run, tmp_path: Path, *omit: str | Path) -> tuple[Image, Image, Path]:
    old, new = image([ONE], tag="app:1"), image([ONE, TWO], tag="app:2")
    write_oci_archive(tmp_path / "old.tar", [old])
    write_oci_archive(tmp_path / "new.tar", [new])
    words = [word for one in omit or (tmp_path / "old.tar",) for word in ("--omit", str(one))]
    copied(ocitool, tmp_path / "new.tar", tmp_path / "delta.tar", *words)
    return old, new, tmp_path / "delta.tar"


@pytest.mark.parametrize("codec", ["none", "gzip"])
def test_what_a_docker_archive_holds_can_be_left_out(codec: str, ocitool: Run, tmp_path: Path) -> None:
    archive = write_docker_archive(tmp_path / "old.tar", [image([ONE], tag="app:1", codec=codec)])
    copied(ocitool, archive, tmp_path / "new.tar")
    layer = places.manifest(tmp_path / "new.tar")["layers"][0]["digest"]
    copied(ocitool, tmp_path / "new.tar", tmp_path / "delta.tar", "--omit", str(archive))
    assert {"org.ocitool.omitted": layer} == places.index(tmp_path / "delta.tar")["annotations"]


def test_an_archive_that_leaves_blobs_out_says_so_everywhere(ocitool: Run, tmp_path: Path) -> None:
    _, new, archive = delta(ocitool, tmp_path)
    missing = new.manifest["layers"][0]["digest"]
    found = places.files(archive)
    assert "manifest.json" not in found
    assert {"org.ocitool.omitted": missing} == places.index(archive)["annotations"]
    assert set(new.blobs) - {missing} == set(places.blobs(archive))
    findings = report_of(ocitool("validate", "--format", "json", archive), 1)["findings"]
    assert [missing in finding["message"] for finding in findings if finding["severity"] == "error"] == [True]
    shown = report_of(ocitool("inspect", "--format", "json", archive))
    assert [missing, new.manifest["layers"][1]["digest"]] == [layer["digest"] for layer in shown["images"][0]["layers"]]


@pytest.mark.parametrize("how", ["plain", "blobs", "gzipped"])
def test_with_completes_and_verifies_an_archive(how: str, ocitool: Run, tmp_path: Path) -> None:
    _, new, archive = delta(ocitool, tmp_path)
    other = tmp_path / "old.tar"
    if how == "gzipped":
        other = tmp_path / "old.tar.gz"
        other.write_bytes(gzip.compress((tmp_path / "old.tar").read_bytes()))
    elif how == "blobs":
        copied(ocitool, tmp_path / "old.tar", f"{tmp_path}/store/")
        other = tmp_path / "store"
    found = copied(ocitool, archive, tmp_path / "full.tar", "--with", other)
    assert found["verified"] is True
    assert new.blobs == places.blobs(tmp_path / "full.tar")
    assert 1 == len(places.engine_images(tmp_path / "full.tar"))
    assert 0 == ocitool("validate", tmp_path / "full.tar").code


def test_without_with_the_missing_blob_is_named(ocitool: Run, tmp_path: Path) -> None:
    _, new, archive = delta(ocitool, tmp_path)
    for words in ((), ("--compression", "zstd")):
        result = ocitool("copy", *words, archive, tmp_path / "full.tar")
        refused(3, result, new.manifest["layers"][0]["digest"], "hint: ", "--with")
        assert not (tmp_path / "full.tar").exists()


def test_a_layout_that_has_the_blobs_completes_by_itself(ocitool: Run, tmp_path: Path) -> None:
    _, new, archive = delta(ocitool, tmp_path)
    copied(ocitool, tmp_path / "old.tar", f"{tmp_path}/store/")
    found = copied(ocitool, archive, f"{tmp_path}/store/")
    assert new.blobs.items() <= places.blobs(tmp_path / "store").items()
    assert len(new.layers[0]) == found["bytes"]["skipped"]
    assert 0 == ocitool("validate", tmp_path / "store").code


def test_a_blob_that_a_layout_has_cut_off_does_not_count_as_there(ocitool: Run, tmp_path: Path) -> None:
    _, new, archive = delta(ocitool, tmp_path)
    copied(ocitool, tmp_path / "old.tar", f"{tmp_path}/store/")
    blob = tmp_path / "store/blobs" / new.manifest["layers"][0]["digest"].replace(":", "/")
    blob.write_bytes(blob.read_bytes()[:-1])
    refused(3, ocitool("copy", archive, f"{tmp_path}/store/"), "is not here")
    copied(ocitool, archive, f"{tmp_path}/store/", "--with", tmp_path / "old.tar")
    assert new.blobs.items() <= places.blobs(tmp_path / "store").items()


@pytest.mark.parametrize("destination", ["full.tar", "full/"])
def test_a_source_that_lies_about_a_blob_is_found_out(destination: str, ocitool: Run, tmp_path: Path) -> None:
    _, new, archive = delta(ocitool, tmp_path)
    digest = new.manifest["layers"][0]["digest"]
    files = layout_files([image([ONE], tag="app:1")])
    files["blobs/" + digest.replace(":", "/")] = bytes(len(new.layers[0]))
    write_files(tmp_path / "liar", files)
    refused(5, ocitool("copy", archive, f"{tmp_path}/{destination}", "--with", tmp_path / "liar"), digest)
    assert not (tmp_path / destination).exists()
    assert [] == [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def docker_pair(tmp_path: Path) -> tuple[Path, Path]:
    old = write_docker_archive(tmp_path / "old.tar", [image([ONE], tag="app:1", codec="none")])
    return old, write_docker_archive(tmp_path / "new.tar", [image([ONE, TWO], tag="app:2", codec="none")])


@pytest.mark.parametrize("codec", [None, "gzip", "zstd"])
def test_with_finds_layers_by_diff_id_in_docker_archives_and_compressed_layers(
    codec: str | None, ocitool: Run, tmp_path: Path
) -> None:
    old, new = docker_pair(tmp_path)
    found = copied(ocitool, new, tmp_path / "delta.tar", "--omit", old)
    assert len(ONE) == found["bytes"]["omitted"]
    if codec is not None:
        old = write_oci_archive(tmp_path / "compressed.tar", [image([ONE], tag="app:1", codec=codec)])
    assert copied(ocitool, tmp_path / "delta.tar", tmp_path / "full.tar", "--with", old)["verified"]
    copied(ocitool, new, tmp_path / "direct.tar")
    assert (tmp_path / "direct.tar").read_bytes() == (tmp_path / "full.tar").read_bytes()


def test_a_diff_id_that_lies_is_found_out(ocitool: Run, tmp_path: Path) -> None:
    old, new = docker_pair(tmp_path)
    copied(ocitool, new, tmp_path / "delta.tar", "--omit", old)
    stated = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [sha256(ONE)]}}
    for codec in ("none", "gzip"):
        liar = write_oci_archive(tmp_path / f"{codec}.tar", [image([bytes(len(ONE))], tag="app:1", codec=codec, config=stated)])
        refused(5, ocitool("copy", tmp_path / "delta.tar", tmp_path / "full.tar", "--with", liar), "content is")
        assert not (tmp_path / "full.tar").exists()


def _list(ocitool: Run, tmp_path: Path, kind: str) -> str:
    old, new = tmp_path / "old.tar", tmp_path / "new.tar"
    write_oci_archive(old, [image([ONE], tag="app:1")])
    write_oci_archive(new, [image([ONE, TWO], tag="app:2")])
    if kind == "lines":
        return "\n".join(image([ONE]).manifest["layers"][0]["digest"] for _ in range(2)) + "\n"
    if kind == "written":
        return str(ocitool("copy", "--format", "json", old, f"{tmp_path}/store/").out)
    if kind == "diff":
        return str(ocitool("diff", "--format", "json", old, new).out)
    return str(ocitool("inspect", "--format", "json", old).out)


@pytest.mark.parametrize("kind", ["lines", "inspect", "written", "diff"])
def test_a_list_or_any_report_says_what_to_omit(kind: str, ocitool: Run, tmp_path: Path) -> None:
    (tmp_path / "list").write_text(_list(ocitool, tmp_path, kind))
    _, new, archive = delta(ocitool, tmp_path, f"@{tmp_path}/list")
    assert {"org.ocitool.omitted": new.manifest["layers"][0]["digest"]} == places.index(archive)["annotations"]


def test_a_list_that_cannot_be_read_or_names_nothing_is_an_error(ocitool: Run, tmp_path: Path) -> None:
    source = write_oci_archive(tmp_path / "in.tar", [rooted()])
    (tmp_path / "words").write_text("no digest here")
    refused(3, ocitool("copy", source, tmp_path / "a.tar", "--omit", f"@{tmp_path}/absent"), "no such file")
    refused(8, ocitool("copy", source, tmp_path / "a.tar", "--omit", f"@{tmp_path}"), "cannot be read")
    refused(4, ocitool("copy", source, tmp_path / "a.tar", "--omit", f"@{tmp_path}/words"), "without a digest")
    assert not (tmp_path / "a.tar").exists()


def test_what_is_left_out_is_not_converted(ocitool: Run, tmp_path: Path) -> None:
    _, new, _ = delta(ocitool, tmp_path)
    found = copied(ocitool, "--compression", "zstd", tmp_path / "new.tar", tmp_path / "z.tar", "--omit", tmp_path / "old.tar")
    assert ["kept", "rewritten"] == [layer["origin"] for layer in found["images"][0]["layers"]]
    assert len(new.layers[0]) == found["bytes"]["omitted"]
    copied(ocitool, tmp_path / "z.tar", f"{tmp_path}/full/", "--with", tmp_path / "old.tar")
    assert 0 == ocitool("validate", tmp_path / "full").code


def test_a_layout_may_leave_blobs_out(ocitool: Run, tmp_path: Path) -> None:
    _, new, _ = delta(ocitool, tmp_path)
    found = copied(ocitool, tmp_path / "new.tar", f"{tmp_path}/thin/", "--omit", tmp_path / "old.tar")
    assert len(new.layers[0]) == found["bytes"]["omitted"]
    assert set(new.blobs) - {new.manifest["layers"][0]["digest"]} == set(places.blobs(tmp_path / "thin"))
    copied(ocitool, tmp_path / "thin", f"{tmp_path}/full/", "--with", tmp_path / "old.tar")
    assert new.blobs == places.blobs(tmp_path / "full")


# Foreign layers


def foreign() -> tuple[Image, dict[str, bytes]]:
    made = rooted()
    made.manifest["layers"][0] |= {
        "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "urls": ["https://127.0.0.1:1/layer"],
    }  # fmt: skip
    files = layout_files([made])
    del files["blobs/" + made.manifest["layers"][0]["digest"].replace(":", "/")]
    return made, files


@pytest.mark.parametrize("words", [(), ("--compression", "zstd")])
def test_a_layer_that_is_elsewhere_stays_named_and_is_not_fetched(words: tuple[str, ...], ocitool: Run, tmp_path: Path) -> None:
    made, files = foreign()
    source = write_files(tmp_path / "in", files)
    found = copied(ocitool, *words, source, tmp_path / "a.tar")
    assert made.manifest["layers"][0] == places.manifest(tmp_path / "a.tar")["layers"][0]
    assert made.manifest["layers"][0]["digest"] not in places.blobs(tmp_path / "a.tar")
    assert "foreign" in notes(found)
    assert "manifest.json" not in places.files(tmp_path / "a.tar")  # or engines would look for the layer in vain


def test_an_omit_that_leaves_nothing_out_is_2_or_noted(ocitool: Run, tmp_path: Path) -> None:
    delta(ocitool, tmp_path)
    other = write_oci_archive(tmp_path / "other.tar", [image([TWO, TWO])])
    words = ("copy", tmp_path / "old.tar", tmp_path / "x.tar", "--omit", tmp_path / "new.tar", "--omit", other)
    result = ocitool(*words)
    refused(2, result, f"--omit {other} matches no layer of what is copied")
    assert not (tmp_path / "x.tar").exists()
    result = ocitool(*words, "--allow-no-match")
    assert (0, True) == (result.code, f"note: --omit {other} matches no layer" in result.err), str(result)


def test_an_empty_list_of_what_the_other_side_has_is_no_mistake(ocitool: Run, tmp_path: Path) -> None:
    delta(ocitool, tmp_path)
    (tmp_path / "list").write_bytes(b"")
    copied(ocitool, tmp_path / "new.tar", tmp_path / "x.tar", "--omit", f"@{tmp_path}/list")
