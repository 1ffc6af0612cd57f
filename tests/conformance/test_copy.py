"""What `copy` writes, given to docker, podman, skopeo and umoci: they load it whole, with the right name and image id.

One universal archive holds all the images, so that each engine runs a few times only.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support import places
from support.reference_tools import run

pytestmark = pytest.mark.tools
Run = Callable[..., Any]

SOURCES = {
    "v1": "docker-1.tar",
    "v1-2": "docker-1.2-symlinks.tar",
    "hybrid": "docker-25.tar",
    "containerd": "docker-29.tar",
    "gzip": "oci-gzip.tar",
    "jib": "jib.tar",
    "v1-2-xz": "docker-1.2.tar.xz",
}


class Made(NamedTuple):
    """The archives under test, and the image ids by name that engines must come to."""

    archive: Path
    ids: dict[str, str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, testdata: Path) -> Made:
    """Images of every format in one archive, gzip layers and plain ones together."""
    base = tmp_path_factory.mktemp("copied")
    ids = {}
    for name, file in SOURCES.items():
        report = copy("--tag", f"checked.example/{name}:1", testdata / "encodings" / file, base / f"{name}.tar")
        ids[f"checked.example/{name}:1"] = report["images"][0]["imageId"]
    copy(*(base / f"{name}.tar" for name in SOURCES), base / "all.tar")
    return Made(base / "all.tar", ids)


def copy(*words: str | os.PathLike[str]) -> Any:
    command = [sys.executable, "-m", "ocitool", "copy", "--format", "json", *words]
    done = subprocess.run(command, capture_output=True, timeout=120)
    assert 0 == done.returncode, done.stderr.decode()
    return json.loads(done.stdout)


def docker_ids(engine: Any, names: dict[str, str]) -> dict[str, str]:
    found = json.loads(engine("image", "inspect", *names).stdout)
    engine("rmi", *names)
    return {name: image["Id"] for image in found for name in image["RepoTags"] if name in names}


@pytest.mark.parametrize("ending", [".tar", ".tar.gz"])
def test_docker_loads_names_and_image_ids(ending: str, made: Made, docker_engine: Any, tmp_path: Path) -> None:
    archive = made.archive
    if ending != ".tar":
        copy(archive, tmp_path / f"all{ending}")
        archive = tmp_path / f"all{ending}"
    docker_engine("load", "-i", archive)
    assert made.ids == docker_ids(docker_engine, made.ids)


def test_docker_runs_into_nothing_where_blobs_were_left_out(made: Made, docker_engine: Any, tmp_path: Path) -> None:
    copy(made.archive, tmp_path / "delta.tar", "--omit", made.archive)
    done = docker_engine("load", "-i", tmp_path / "delta.tar", check=False)
    assert 0 != done.returncode


@pytest.fixture
def podman(need: Callable[..., str]) -> Iterator[Callable[..., bytes]]:
    need("podman", "root")
    place = tempfile.mkdtemp(prefix="oci-", dir="/tmp")  # podman takes no run root of more than 50 characters
    base = ["podman", "--root", f"{place}/root", "--runroot", f"{place}/run", "--storage-driver", "vfs"]

    def command(*words: str | os.PathLike[str]) -> bytes:
        done = subprocess.run([*base, *words], capture_output=True, timeout=300)
        assert 0 == done.returncode, done.stderr.decode()
        return done.stdout

    yield command
    shutil.rmtree(place)


def podman_ids(podman: Callable[..., bytes]) -> dict[str, str]:
    listed = json.loads(podman("images", "--format", "json"))
    return {name: "sha256:" + image["Id"] for image in listed for name in image["Names"]}


def test_podman_loads_names_and_image_ids(made: Made, podman: Callable[..., bytes]) -> None:
    podman("load", "--input", made.archive)
    assert made.ids == podman_ids(podman)


@pytest.mark.parametrize("ending", [".tar.gz", ".tar.zst"])
def test_podman_loads_a_compressed_archive_of_one_image(
    ending: str, made: Made, podman: Callable[..., bytes], tmp_path: Path
) -> None:
    """Of several it takes none: podman 4.3 reads no docker archive that is compressed, whoever wrote it, and OCI archives
    of one image only."""
    name = "checked.example/gzip:1"
    copy(f"{made.archive}:{name}", tmp_path / f"one{ending}")
    podman("load", "--input", tmp_path / f"one{ending}")
    assert {name: made.ids[name]} == podman_ids(podman)


@pytest.mark.parametrize("transport", ["docker-archive", "oci-archive", "oci"])
def test_skopeo_reads_every_image_by_every_transport(
    transport: str, made: Made, need: Callable[..., str], tmp_path: Path
) -> None:
    need("skopeo")
    place = made.archive
    if transport == "oci":
        copy(place, f"{tmp_path}/layout/")
        place = tmp_path / "layout"
    for name, image_id in made.ids.items():
        run("skopeo", "copy", "--insecure-policy", f"{transport}:{place}:{name}", f"dir:{tmp_path}/{transport}")
        manifest = json.loads((tmp_path / transport / "manifest.json").read_text())
        assert image_id == manifest["config"]["digest"]


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_skopeo_reads_converted_layers(compression: str, made: Made, need: Callable[..., str], tmp_path: Path) -> None:
    need("skopeo")
    source = f"{made.archive}:checked.example/v1-2:1"
    report = copy("--compression", compression, "--tag", "v2", source, f"{tmp_path}/layout/")
    run("skopeo", "copy", "--insecure-policy", f"oci:{tmp_path}/layout:v2", f"dir:{tmp_path}/dir")
    assert report["images"][0]["digest"] == places.sha256((tmp_path / "dir/manifest.json").read_bytes())


def test_umoci_unpacks_a_layout(made: Made, need: Callable[..., str], tmp_path: Path) -> None:
    need("umoci", "root")
    source = f"{made.archive}:checked.example/v1-2:1"
    copy("--compression", "gzip", "--tag", "v2", source, f"{tmp_path}/layout/")
    run("umoci", "unpack", "--image", f"{tmp_path}/layout:v2", tmp_path / "bundle")
    assert any((tmp_path / "bundle/rootfs").iterdir())
    assert "v2" in subprocess.run(["umoci", "list", "--layout", tmp_path / "layout"], capture_output=True, text=True).stdout
