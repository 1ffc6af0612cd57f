"""Layers that are no tar are called what they are: by their media type, and by their first bytes if nothing knows that one."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from support import places
from support.images import gz, image, layer_tar, sha256, write_layout, zst
from support.registry_command import Run

from ocitool.spec import mediatypes

TAR = layer_tar([("etc/", None), ("etc/motd", b"hello\n")])
SQUASHFS, WASM = b"hsqs" + bytes(5000), b"\0asm\1\0\0\0" + bytes(900)
EROFS = bytes(1024) + struct.pack("<I", 0xE0F5E1E2) + bytes(3000)
OCI = "application/vnd.oci.image.layer.v1.tar"

KINDS: dict[str, tuple[str, bytes, str, str | None, int | None]] = {
    # the media type, the bytes, what it is, compression and unpacked size
    "encrypted gzip": (f"{OCI}+gzip+encrypted", b"\x99" * 3000, "encrypted", "gzip", None),
    "encrypted zstd": (f"{OCI}+zstd+encrypted", b"\x99" * 3000, "encrypted", "zstd", None),
    "encrypted plain": (f"{OCI}+encrypted", b"\x99" * 3000, "encrypted", "none", None),
    "encrypted, Docker": (
        "application/vnd.docker.image.rootfs.diff.tar.gzip+enc",
        b"\x99" * 300,
        "encrypted",
        "gzip",
        None,
    ),
    "encrypted that looks like gzip": (f"{OCI}+encrypted", gz(TAR), "encrypted", "none", None),
    "nydus": ("application/vnd.oci.image.layer.nydus.blob.v1", b"\x11" * 4096, "nydus", None, None),
    "wasm": ("application/vnd.wasm.content.layer.v1+wasm", WASM, "wasm", "none", len(WASM)),
    "wasm, short": ("application/wasm", WASM, "wasm", "none", len(WASM)),
    "squashfs": ("application/vnd.stacker.image.layer.squashfs+zstd+verity", SQUASHFS, "squashfs", None, None),
    "erofs": ("application/vnd.erofs.layer.v1", EROFS, "erofs", None, None),
    "in-toto": ("application/vnd.in-toto+json", b"{}", "statement", "none", 2),
    "cosign": ("application/vnd.dev.cosign.simplesigning.v1+json", b"{}", "signature", "none", 2),
    "helm": ("application/vnd.cncf.helm.chart.content.v1.tar+gzip", gz(TAR), "helm", "gzip", None),
    "buildkit": ("application/vnd.buildkit.cacheconfig.v0", b"{}", "buildkit", "none", 2),
    "squashfs of an unknown type": ("application/x-thing", SQUASHFS, "squashfs", "none", None),
    "erofs of an unknown type": ("application/x-thing", EROFS, "erofs", "none", None),
    "bytes of an unknown type": ("application/x-thing", b"\x77" * 999, "unknown", "none", 999),
}


def of(path: Path, media_type: str, data: bytes) -> Path:
    """An image of a layer, and on it one of this type and content."""
    made = image([TAR, TAR], tag="app")
    made.layers[1] = data
    made.manifest["layers"][1] = {"mediaType": media_type, "digest": sha256(data), "size": len(data)}
    return write_layout(path, [made])


def inspected(ocitool: Run, path: Path) -> Any:
    return ocitool("inspect", "--format", "json", path).json()["images"][0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_is_called_what_it_is_and_its_unpacked_size_is_told_only_if_it_is_known(
    kind: str, ocitool: Run, tmp_path: Path
) -> None:
    media_type, data, content, codec, size = KINDS[kind]
    found = inspected(ocitool, of(tmp_path / "it", media_type, data))
    layer = found["layers"][1]
    assert (content, codec, size) == (layer["content"], layer["compression"], layer["uncompressedSize"])
    assert (content != "encrypted", None) == (layer["compressionVerified"], found["totals"]["uncompressedSize"])
    assert content in ocitool("inspect", tmp_path / "it").out


@pytest.mark.parametrize("command", [("ls",), ("cat",), ("inspect", "--files"), ("squash",), ("unpack",)], ids=" ".join)
@pytest.mark.parametrize("kind", KINDS)
def test_where_its_content_is_needed_the_layer_is_named_and_never_called_damaged(
    kind: str, command: tuple[str, ...], ocitool: Run, tmp_path: Path
) -> None:
    media_type, data, content, *_ = KINDS[kind]
    more = {"cat": ["/etc/motd"], "squash": [tmp_path / "out.tar"], "unpack": [tmp_path / "out"]}.get(command[0], [])
    result = ocitool(command[0], of(tmp_path / "it", media_type, data), *more, *command[1:])
    assert (4, True, True) == (result.code, "layer 1 is " in result.err, f"({media_type})" in result.err), str(result)
    assert not [word for word in ("damaged", "truncated", "too soon", "checksum") if word in result.err]
    if content == "encrypted":
        assert f"layer 1 is encrypted ({media_type}): its content cannot be read" in result.err


def test_other_layers_of_the_image_can_be_read(ocitool: Run, tmp_path: Path) -> None:
    it = of(tmp_path / "it", *KINDS["encrypted gzip"][:2])
    assert (0, "/etc/\n/etc/motd\n") == ((found := ocitool("ls", "-R", "--layer", "0", it)).code, found.out)


def test_an_image_with_a_shared_encrypted_layer_is_compared(ocitool: Run, tmp_path: Path) -> None:
    it = of(tmp_path / "it", *KINDS["encrypted gzip"][:2])
    assert (0, "") == ((found := ocitool("diff", it, it)).code, found.err)


@pytest.mark.parametrize("kind", KINDS)
def test_such_a_layer_is_copied_as_bytes_and_is_no_error_of_validation(kind: str, ocitool: Run, tmp_path: Path) -> None:
    media_type, data, *_ = KINDS[kind]
    it = of(tmp_path / "it", media_type, data)
    assert 0 == ocitool("copy", it, f"{tmp_path}/out/").code
    assert data == (tmp_path / "out" / "blobs" / sha256(data).replace(":", "/")).read_bytes()
    assert places.index(it)["manifests"][0]["digest"] == places.index(tmp_path / "out")["manifests"][0]["digest"]
    found = ocitool("validate", "--format", "json", it).json()
    assert (True, ["layer-type"]) == (found["valid"], [one["rule"] for one in found["findings"]])


@pytest.mark.parametrize("data", [TAR, gz(TAR), layer_tar([]), b""], ids=["tar", "gzip", "empty tar", "empty"])
def test_a_layer_of_an_unknown_type_that_is_a_tar_is_read(data: bytes, ocitool: Run, tmp_path: Path) -> None:
    made = image([TAR], tag="app")
    made.layers[0] = data
    made.manifest["layers"][0] = {"mediaType": "application/x-thing", "digest": sha256(data), "size": len(data)}
    found = ocitool("ls", "-R", "--layer", "0", write_layout(tmp_path / "it", [made]))
    assert "no tar" not in found.err and "unknown type" not in found.err, str(found)


@pytest.mark.parametrize(("data", "name"), [
    (SQUASHFS, "a squashfs file system"), (b"PK\3\4" + bytes(999), "a zip archive"),
    (gz(SQUASHFS), "a squashfs file system in gzip"), (zst(SQUASHFS), "a squashfs file system in zstd"),
])  # fmt: skip
def test_bytes_that_are_no_tar_though_their_type_says_so_are_named(
    data: bytes, name: str, ocitool: Run, tmp_path: Path
) -> None:
    result = ocitool("ls", "--layer", "1", of(tmp_path / "it", OCI, data))
    assert (4, True) == (result.code, name in result.err), str(result)


def test_dedupe_names_a_layer_that_is_no_tar_and_counts_its_bytes(ocitool: Run, tmp_path: Path) -> None:
    it = of(tmp_path / "it", *KINDS["encrypted gzip"][:2])
    assert 0 == ocitool("dedupe", it, it).code
    result = ocitool("dedupe", "--files", it)
    assert (True, True) == (result.code != 0, "layer 1 is encrypted" in result.err), str(result)


def test_every_kind_has_a_word_in_the_table_and_in_the_schema(root: Path) -> None:
    import json

    schema = json.loads((root / "schemas" / "report-inspect.json").read_text())
    assert set(mediatypes.CONTENTS) == set(schema["$defs"]["imageLayer"]["properties"]["content"]["enum"])
