"""The merged tree against what engines and unpackers make of the same image, path by path, on every portable image.

Images of equal diff_ids are one image to a tool: each is shown once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.reference_tools import (
    ODD,
    coarse,
    diff_ids,
    differences,
    distinct,
    of_container,
    of_umoci,
    ours,
    portable,
    reference,
    run,
    skopeo_name,
)

from ocitool.images.platform_choice import single
from ocitool.task import Task
from ocitool.transports.opening import open_source


@pytest.fixture
def task() -> Iterator[Task]:
    with Task() as running:
        yield running


@pytest.mark.tools
@pytest.mark.parametrize("line", [*distinct(), *ODD])
def test_merged_tree_is_what_umoci_unpacks(line: str, need: Callable[..., str], task: Task, tmp_path: Path) -> None:
    need("umoci", "skopeo", "root")
    run("skopeo", "copy", "--insecure-policy", skopeo_name(line), f"oci:{tmp_path}/layout:x")
    they = of_umoci(f"{tmp_path}/layout:x", tmp_path / "bundle")
    image = single(open_source(reference(line), "layers", task), None)
    assert differences("umoci", line, ours(image, task), they) == []


@pytest.mark.tools
@pytest.mark.parametrize("line", distinct())
def test_merged_tree_is_what_docker_exports(
    line: str, need: Callable[..., str], docker_engine: Any, task: Task, tmp_path: Path
) -> None:
    need("skopeo")
    name = "checked:" + hashlib.sha256(line.encode()).hexdigest()[:12]
    # Two steps: skopeo 1.9 cannot write a docker archive from one whose layer.tar is a link.
    run("skopeo", "copy", "--insecure-policy", skopeo_name(line), f"oci:{tmp_path}/layout:x")
    run("skopeo", "copy", "--insecure-policy", f"oci:{tmp_path}/layout:x", f"docker-archive:{tmp_path}/image.tar:{name}")
    docker_engine("load", "-i", tmp_path / "image.tar")
    they = of_container(docker_engine, name, tmp_path / "export.tar")
    docker_engine("rmi", name)
    image = single(open_source(reference(line), "layers", task), None)
    assert differences("docker", line, coarse(ours(image, task)), they) == []


def test_every_portable_image_can_be_read(task: Task) -> None:
    for line in portable():
        assert diff_ids(line, task) is not None, line
