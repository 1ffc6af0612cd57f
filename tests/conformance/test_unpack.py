"""What `unpack` makes against what umoci makes of the same image, path by path, both as root, and against our own tree."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.reference_tools import ODD, differences, distinct, of_directory, ours, reference, run, skopeo_name

from ocitool.images.platform_choice import single
from ocitool.task import Task
from ocitool.transports.opening import open_source

Run = Callable[..., object]


@pytest.fixture
def task() -> Iterator[Task]:
    with Task() as running:
        yield running


def unpacked(line: str, ocitool: Callable[..., object], place: Path) -> Path:
    result = ocitool("unpack", "--as", "rootfs", reference(line), place / "ours")
    assert result.code == 0, str(result)  # type: ignore[attr-defined]
    return place / "ours"


@pytest.mark.tools
@pytest.mark.parametrize("line", [*distinct(), *ODD])
def test_the_disk_is_what_umoci_unpacks(line: str, need: Callable[..., str], ocitool: Run, tmp_path: Path) -> None:
    need("umoci", "skopeo", "root")
    run("skopeo", "copy", "--insecure-policy", skopeo_name(line), f"oci:{tmp_path}/layout:x")
    run("umoci", "unpack", "--image", f"{tmp_path}/layout:x", tmp_path / "bundle")
    they = of_directory(os.fsencode(tmp_path / "bundle/rootfs"))
    we = of_directory(os.fsencode(unpacked(line, ocitool, tmp_path)))
    assert [] == differences("umoci", line, we, they)
    assert root_of(tmp_path / "bundle/rootfs", line) == root_of(tmp_path / "ours", line)


def root_of(directory: Path, line: str) -> tuple[int, int, int]:
    status = directory.stat()
    return status.st_mode, status.st_uid, status.st_gid


@pytest.mark.parametrize("line", [*distinct(), *ODD])
def test_the_disk_is_our_tree(line: str, need: Callable[..., str], ocitool: Run, task: Task, tmp_path: Path) -> None:
    need("root")
    image = single(open_source(reference(line), "layers", task), None)
    we = of_directory(os.fsencode(unpacked(line, ocitool, tmp_path)))
    assert [] == differences("tree", line, ours(image, task), we)
