"""Sparse files that `append` writes, as the field's tools read them: the bytes that are on disk, holes as zeros."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import places
from support.images import image, layer_tar, write_layout
from support.reference_tools import of_container, of_umoci, run

pytestmark = pytest.mark.tools
SIZE = 6 << 20
TAG = "checked:sparse"


@pytest.fixture
def content(tmp_path: Path) -> tuple[int, str]:
    """Size and hash of a file with data at its beginning, in the middle and at its end."""
    path = tmp_path / "files/var/lastlog"
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        for offset, data in ((0, b"begin"), (3_000_000, b"middle"), (SIZE - 3, b"end")):
            file.seek(offset)
            file.write(data)
    return SIZE, hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def made(content: tuple[int, str], ocitool: Callable[..., Any], tmp_path: Path) -> Path:
    layout = write_layout(tmp_path / "src", [image([layer_tar([("etc/", None)])], tag="t")])
    words = ("--layer", tmp_path / "files", "--tag", TAG, "--compression", "none")
    assert ocitool("append", layout, tmp_path / "out.tar", *words).code == 0
    return tmp_path / "out.tar"


def test_umoci_unpacks_it(
    need: Callable[..., str], ocitool: Callable[..., Any], made: Path, content: tuple[int, str], tmp_path: Path
) -> None:
    need("umoci", "root")
    assert ocitool("copy", made, f"oci:{tmp_path / 'layout'}:t").code == 0
    assert content == of_umoci(f"{tmp_path / 'layout'}:t", tmp_path / "umoci")[b"var/lastlog"]["content"]


def test_an_engine_loads_it(docker_engine: Callable[..., Any], made: Path, content: tuple[int, str], tmp_path: Path) -> None:
    docker_engine("load", "-i", made)
    assert content == of_container(docker_engine, TAG, tmp_path / "export.tar")[b"var/lastlog"]["content"]


def test_gnu_tar_extracts_it_and_finds_its_holes(
    need: Callable[..., str], ocitool: Callable[..., Any], made: Path, content: tuple[int, str], tmp_path: Path
) -> None:
    tar = need("tar")
    assert ocitool("copy", made, f"oci:{tmp_path / 'layout'}:t").code == 0
    layer = places.blobs(tmp_path / "layout")[places.manifest(tmp_path / "layout")["layers"][-1]["digest"]]
    (tmp_path / "rootfs").mkdir()
    subprocess.run([tar, "-x", "-C", tmp_path / "rootfs"], input=layer, check=True)
    found = tmp_path / "rootfs/var/lastlog"
    assert content == (found.stat().st_size, hashlib.sha256(found.read_bytes()).hexdigest())
    assert found.stat().st_blocks * 512 < 1 << 16


def test_skopeo_copies_it(need: Callable[..., str], made: Path, tmp_path: Path) -> None:
    run(need("skopeo"), "copy", "--insecure-policy", f"docker-archive:{made}", f"dir:{tmp_path / 'dir'}")
