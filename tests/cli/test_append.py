"""`ocitool append`: one more layer, everything below byte for byte; made of a directory, a tar, or an overlay's upper one."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.images import (
    gz,
    image,
    index_of,
    layer_tar,
    layout_files,
    pretty,
    sha256,
    write_docker_archive,
    write_files,
    write_layout,
    zst,
)
from support.layers import END, member
from support.report import report_of

Run = Callable[..., Any]
BASE = layer_tar([("etc/", None), ("etc/conf", b"base"), ("bin/", None), ("bin/sh", b"shell")])
EPOCH = "1600000000"


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    return write_layout(tmp_path / "src", [image([BASE], tag="app")])


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "new/srv").mkdir(parents=True)
    (tmp_path / "new/srv/a").write_bytes(b"text")
    os.link(tmp_path / "new/srv/a", tmp_path / "new/srv/b")
    (tmp_path / "new/l").symlink_to("srv/a")
    return tmp_path / "new"


class Written:
    """The only image of a layout."""

    def __init__(self, layout: Path, number: int = 0) -> None:
        self.layout = layout
        index = json.loads((layout / "index.json").read_bytes())
        self.manifest = self.document(index["manifests"][number]["digest"])
        self.config = self.document(self.manifest["config"]["digest"])
        self.layers = [layer["digest"] for layer in self.manifest["layers"]]

    def blob(self, digest: str) -> bytes:
        data = (self.layout / "blobs" / digest.replace(":", "/")).read_bytes()
        assert sha256(data) == digest
        return data

    def document(self, digest: str) -> Any:
        return json.loads(self.blob(digest))

    @property
    def top(self) -> bytes:
        """The uncompressed tar of the top-most layer."""
        data = self.blob(self.layers[-1])
        return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def listed(tar: bytes) -> list[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(tar)) as found:
        return [(one.name, one.type) for one in found]


def test_a_directory_becomes_the_top_layer(ocitool: Run, layout: Path, directory: Path, tmp_path: Path) -> None:
    assert 0 == ocitool("append", layout, f"{tmp_path}/dst/", "--layer", directory).code
    expected = [("l", tarfile.SYMTYPE), ("srv", tarfile.DIRTYPE), ("srv/a", tarfile.REGTYPE), ("srv/b", tarfile.LNKTYPE)]
    assert expected == listed(Written(tmp_path / "dst").top)


def test_layers_below_are_the_very_blobs(ocitool: Run, layout: Path, directory: Path, tmp_path: Path) -> None:
    assert 0 == ocitool("append", layout, f"{tmp_path}/dst/", "--layer", directory).code
    before, after = Written(layout), Written(tmp_path / "dst")
    assert before.layers == after.layers[:-1]
    assert before.manifest["layers"] == after.manifest["layers"][:-1]


def test_configuration_and_history_tell_of_the_layer(ocitool: Run, layout: Path, directory: Path, tmp_path: Path) -> None:
    words = ["append", layout, f"{tmp_path}/dst/", "--layer", directory, "--message", "why"]
    assert 0 == ocitool(*words, env={"SOURCE_DATE_EPOCH": EPOCH}).code
    before, after = Written(layout).config, Written(tmp_path / "dst").config
    history = {"created": "2020-09-13T12:26:40Z", "created_by": "ocitool append --layer new", "comment": "why"}
    assert [*before["history"], history] == after["history"]
    assert [*before["rootfs"]["diff_ids"], sha256(Written(tmp_path / "dst").top)] == after["rootfs"]["diff_ids"]


def test_no_file_is_younger_than_source_date_epoch(ocitool: Run, layout: Path, directory: Path, tmp_path: Path) -> None:
    words = ["append", layout, f"{tmp_path}/dst/", "--layer", directory]
    assert 0 == ocitool(*words, env={"SOURCE_DATE_EPOCH": EPOCH}).code
    with tarfile.open(fileobj=io.BytesIO(Written(tmp_path / "dst").top)) as found:
        assert {int(EPOCH)} == {one.mtime for one in found}


def test_the_same_directory_gives_the_same_image(ocitool: Run, layout: Path, directory: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        words = ["append", layout, f"{tmp_path}/{name}/", "--layer", directory]
        assert 0 == ocitool(*words, env={"SOURCE_DATE_EPOCH": EPOCH}).code
    assert Written(tmp_path / "one").manifest == Written(tmp_path / "two").manifest


@pytest.mark.parametrize(("pack", "media_type"), [(bytes, "gzip"), (gz, "gzip"), (zst, "zstd")])
def test_a_tar_is_kept_byte_for_byte_and_its_codec_too(
    pack: Callable[[bytes], bytes], media_type: str, ocitool: Run, layout: Path, tmp_path: Path
) -> None:
    tar = layer_tar([("etc/", None), ("etc/.wh.conf", b""), ("x", b"1")]) + bytes(512) + b"tail"
    (tmp_path / "layer").write_bytes(pack(tar))
    assert 0 == ocitool("append", layout, f"{tmp_path}/dst/", "--layer", tmp_path / "layer").code
    after = Written(tmp_path / "dst")
    assert sha256(tar) == after.config["rootfs"]["diff_ids"][-1]
    assert after.manifest["layers"][-1]["mediaType"].endswith(media_type)


def test_compression_decides_for_all(ocitool: Run, layout: Path, directory: Path, tmp_path: Path) -> None:
    assert 0 == ocitool("append", layout, f"{tmp_path}/dst/", "--layer", directory, "--compression", "none").code
    types = {layer["mediaType"] for layer in Written(tmp_path / "dst").manifest["layers"]}
    assert {"application/vnd.oci.image.layer.v1.tar"} == types


def test_several_layers_stand_in_their_order(ocitool: Run, layout: Path, directory: Path, tmp_path: Path) -> None:
    (tmp_path / "layer.tar").write_bytes(layer_tar([("x", b"1")]))
    words = ["--layer", tmp_path / "layer.tar", "--layer", directory, "--upperdir", directory]
    assert 0 == ocitool("append", layout, f"{tmp_path}/dst/", *words).code
    made = [one["created_by"].removeprefix("ocitool append ") for one in Written(tmp_path / "dst").config["history"][1:]]
    assert ["--layer layer.tar", "--layer new", "--upperdir new"] == made


def test_every_image_of_an_index_gets_the_layer(ocitool: Run, directory: Path, tmp_path: Path) -> None:
    ones = [image([BASE], platform={"os": "linux", "architecture": a}, architecture=a) for a in ("amd64", "arm64")]
    nested = pretty(index_of([one.descriptor for one in ones]))
    top = index_of([{"mediaType": "application/vnd.oci.image.index.v1+json", "digest": sha256(nested), "size": len(nested),
                     "annotations": {"org.opencontainers.image.ref.name": "t"}}])  # fmt: skip
    files = layout_files(ones, index=top)
    files["blobs/" + sha256(nested).replace(":", "/")] = nested
    write_files(tmp_path / "multi", files)
    words = ["append", f"{tmp_path}/multi:t", f"{tmp_path}/dst/", "--layer", directory, "--all-platforms", "--format", "json"]
    report = report_of(ocitool(*words))
    assert [["kept", "new"]] * 2 == [[layer["origin"] for layer in one["layers"]] for one in report["images"]]


def test_a_docker_archive_gets_one_too(ocitool: Run, directory: Path, tmp_path: Path) -> None:
    write_docker_archive(tmp_path / "a.tar", [image([BASE], tag="app:1", codec="none")])
    assert 0 == ocitool("append", tmp_path / "a.tar", tmp_path / "b.tar", "--layer", directory).code
    assert b"text" == ocitool("cat", tmp_path / "b.tar", "/srv/b").stdout


def test_the_report_counts_what_was_made_and_kept(ocitool: Run, layout: Path, directory: Path, tmp_path: Path) -> None:
    report = report_of(ocitool("append", layout, f"{tmp_path}/dst/", "--layer", directory, "--format", "json"))
    (one,) = report["images"]
    assert ("append", ["kept", "new"]) == (report["report"], [layer["origin"] for layer in one["layers"]])
    assert one["layers"][0]["size"] == report["bytes"]["kept"]


@pytest.mark.tools
def test_an_upper_directory_is_the_containers_writable_layer(
    need: Callable[..., str], ocitool: Run, layout: Path, tmp_path: Path
) -> None:
    need("root")
    upper = tmp_path / "upper"
    (upper / "bin").mkdir(parents=True)
    os.setxattr(upper / "bin", "trusted.overlay.opaque", b"y")
    (upper / "bin/new").write_bytes(b"1")
    (upper / "etc").mkdir()
    os.mknod(upper / "etc/conf", 0o020000, os.makedev(0, 0))
    assert 0 == ocitool("append", layout, f"{tmp_path}/dst/", "--upperdir", upper).code
    names = [name for name, _ in listed(Written(tmp_path / "dst").top)]
    assert ["bin", "bin/.wh..wh..opq", "bin/new", "etc", "etc/.wh.conf"] == names
    assert [b"/bin/", b"/bin/new", b"/etc/"] == ocitool("ls", "--recursive", tmp_path / "dst").stdout.split()


def refused(result: Any, code: int, text: str, target: Path) -> None:
    assert (code, False) == (result.code, target.exists()), result
    assert text in result.err, result


def test_a_redirect_is_refused(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    (tmp_path / "upper/d").mkdir(parents=True)
    os.setxattr(tmp_path / "upper/d", "user.overlay.redirect", b"/x")
    result = ocitool("append", layout, f"{tmp_path}/dst/", "--upperdir", tmp_path / "upper")
    refused(result, 4, "redirect", tmp_path / "dst/index.json")
    assert f"({tmp_path}/upper/d)" in result.err


def test_a_wh_name_in_a_directory_is_refused(ocitool: Run, layout: Path, directory: Path, tmp_path: Path) -> None:
    (directory / ".wh.a").write_bytes(b"")
    result = ocitool("append", layout, f"{tmp_path}/dst/", "--layer", directory)
    refused(result, 4, "begins with .wh.", tmp_path / "dst/index.json")


def test_a_tar_that_leaves_the_root_is_refused(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    (tmp_path / "layer.tar").write_bytes(member(b"../x", b"1") + END)
    result = ocitool("append", layout, f"{tmp_path}/dst/", "--layer", tmp_path / "layer.tar")
    refused(result, 6, "leaves the root", tmp_path / "dst/index.json")


def test_what_is_no_tar_is_refused(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    (tmp_path / "layer.tar").write_bytes(b"no tar" * 200)
    result = ocitool("append", layout, f"{tmp_path}/dst/", "--layer", tmp_path / "layer.tar")
    refused(result, 4, "layer.tar", tmp_path / "dst/index.json")


def test_a_tar_that_engines_read_differently_is_said(ocitool: Run, layout: Path, tmp_path: Path) -> None:
    (tmp_path / "layer.tar").write_bytes(layer_tar([("d/x", b"1")]))
    result = ocitool("append", layout, f"{tmp_path}/dst/", "--layer", tmp_path / "layer.tar")
    assert (0, True) == (result.code, "engines differ" in result.err)


@pytest.mark.parametrize(
    ("words", "code"),
    [([], 2), (["--layer", "missing"], 3), (["--upperdir", "file"], 2), (["--upperdir", "missing"], 3),
     (["--layer", "file", "--platform", "linux/amd64", "--all-platforms"], 2)],
)  # fmt: skip
def test_wrong_words_cost_nothing(words: list[str], code: int, ocitool: Run, layout: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    result = ocitool("append", layout, f"{tmp_path}/dst/", *words, cwd=tmp_path)
    assert (code, False) == (result.code, (tmp_path / "dst").exists()), result


@pytest.mark.tools
def test_skopeo_takes_the_image(need: Callable[..., str], ocitool: Run, layout: Path, directory: Path, tmp_path: Path) -> None:
    skopeo = need("skopeo")
    assert 0 == ocitool("append", layout, tmp_path / "dst.tar", "--layer", directory, "--tag", "app:2").code
    words = [skopeo, "copy", "--insecure-policy", f"docker-archive:{tmp_path}/dst.tar", f"dir:{tmp_path}/out"]
    done = subprocess.run(words, capture_output=True, timeout=120)
    assert 0 == done.returncode, done.stderr
