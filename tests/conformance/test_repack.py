"""What `repack` writes, as the field's tools see it: the same file system that we see, path by path."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.reference_tools import coarse, differences, distinct, of_container, of_directory, of_umoci, ours, reference, run
from support.report import report_of

from ocitool.images.platform_choice import single
from ocitool.task import Task
from ocitool.transports.opening import open_source

MODES = ["rewrite", "append"]


@pytest.fixture
def task() -> Iterator[Task]:
    with Task() as running:
        yield running


def edit(root: Path) -> None:
    """Something of everything, whatever the image: each third path goes, changes or becomes something else."""
    paths = sorted(path for path in root.rglob("*") if not path.is_symlink())
    files = [path for path in paths if path.is_file() and not any(above.is_symlink() for above in path.parents)]
    for number, path in enumerate(files):
        if number % 3 == 0:
            path.write_bytes(path.read_bytes() + b"edited")
        elif number % 3 == 1:
            path.unlink()
    directories = [path for path in paths if path.is_dir()]
    for number, path in enumerate(directories):
        if number % 4 == 1 and not any(path.iterdir()):
            path.rmdir()
            path.write_bytes(b"a file now")
        elif number % 2:
            path.chmod(0o750)
    made = root / "made/by/edit"
    made.mkdir(parents=True)
    (made / "file").write_bytes(b"new")
    os.link(made / "file", root / "made/link")
    (root / "made/symlink").symlink_to("by/../by")


def repacked(line: str, mode: str, ocitool: Callable[..., Any], place: Path) -> Path:
    assert ocitool("unpack", reference(line), place / "work").code == 0
    edit(place / "work/rootfs")
    tag = "checked:" + hashlib.sha256(line.encode()).hexdigest()[:12]
    report_of(ocitool("repack", place / "work", place / "out.tar", "--mode", mode, "--tag", tag, "--format", "json"))
    return place / "out.tar"


@pytest.mark.tools
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("line", distinct())
def test_umoci_unpacks_what_was_repacked(
    line: str, mode: str, need: Callable[..., str], ocitool: Callable[..., Any], task: Task, tmp_path: Path
) -> None:
    need("umoci", "skopeo", "root")
    out = repacked(line, mode, ocitool, tmp_path)
    run("skopeo", "copy", "--insecure-policy", f"oci-archive:{out}", f"oci:{tmp_path}/layout:x")
    they = of_umoci(f"{tmp_path}/layout:x", tmp_path / "bundle")
    image = single(open_source(str(out), "layers", task), None)
    assert [] == differences("umoci", f"repacked {line}", ours(image, task), they)


@pytest.mark.tools
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("line", distinct())
def test_docker_loads_what_was_repacked(
    line: str, mode: str, need: Callable[..., str], ocitool: Callable[..., Any], docker_engine: Any, task: Task, tmp_path: Path
) -> None:
    need("root")
    out = repacked(line, mode, ocitool, tmp_path)
    name = "checked:" + hashlib.sha256(line.encode()).hexdigest()[:12]
    docker_engine("load", "-i", out)
    they = of_container(docker_engine, name, tmp_path / "export.tar")
    docker_engine("rmi", name)
    image = single(open_source(str(out), "layers", task), None)
    assert [] == differences("docker", f"repacked {line}", coarse(ours(image, task)), they)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("line", distinct())
def test_what_was_repacked_is_the_directory(
    line: str, mode: str, need: Callable[..., str], ocitool: Callable[..., Any], task: Task, tmp_path: Path
) -> None:
    need("root")
    out = repacked(line, mode, ocitool, tmp_path)
    image = single(open_source(str(out), "layers", task), None)
    we, they = ours(image, task), of_directory(os.fsencode(tmp_path / "work/rootfs"))
    for found in (we, they):  # times of directories whose entries changed are kept as they were recorded
        for fields in found.values():
            if fields["type"] == "directory":
                fields["mtime"] = None
    assert [] == differences("directory", f"repacked {line}", we, they)
