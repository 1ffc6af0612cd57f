"""What `edit` writes, as the field's tools see it: our merged tree, without what was removed, with what was added."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.reference_tools import coarse, differences, distinct, of_container, of_umoci, ours, reference, run
from support.report import report_of

from ocitool.images.image import Image
from ocitool.images.platform_choice import single
from ocitool.task import Task
from ocitool.transports.opening import open_source

pytestmark = pytest.mark.tools


@pytest.fixture
def task() -> Iterator[Task]:
    with Task() as running:
        yield running


def opened(path: str | Path, task: Task) -> Image:
    return single(open_source(str(path), "layers", task), None)


def name_of(line: str) -> str:
    return "checked:" + hashlib.sha256(line.encode()).hexdigest()[:12]


def edited(line: str, ocitool: Callable[..., Any], task: Task, place: Path) -> Path:
    """Every fourth file and every fifth directory goes, a directory comes; nothing else changes, as we see it."""
    image = opened(reference(line), task)
    before = ours(image, task)
    made = [*image.config.keys("Volumes"), image.config.settings.get("WorkingDir") or "/"]  # by an engine, where they are not
    volumes = [os.fsencode(path).strip(b"/") for path in made]
    files = [path for path, fields in before.items() if fields["type"] not in ("directory", "broken")][1::4]
    directories = [path for path, fields in before.items() if fields["type"] == "directory"][3::5]
    gone = [path for path in (*files, *directories) if not any((one + b"/").startswith(path + b"/") for one in volumes)]
    (place / "new/sub").mkdir(parents=True)
    (place / "new/sub/file").write_bytes(b"new")
    os.link(place / "new/sub/file", place / "new/link")
    words = [word for path in gone for word in ("--rm", b"/" + path)]
    add = ("--add", f"{place}/new:/added/here", "--tag", name_of(line))
    result = ocitool("edit", reference(line), place / "out.tar", *map(os.fsdecode, words), *add, "--format", "json")
    report_of(result, 0, 1)  # 1: the same content elsewhere
    after = ours(opened(place / "out.tar", task), task)
    left = {path for path in before if not any(path == one or path.startswith(one + b"/") for one in gone)}
    linked = {name for path in gone if path in before for name in before[path]["links"]}
    below = {name for path in before.keys() - left for name in before[path]["links"]}
    comes = {b"added", b"added/here", b"added/here/sub", b"added/here/sub/file", b"added/here/link"}
    assert (left - linked - below) | comes == after.keys()
    assert [] == differences(
        "edit", line, {p: before[p] for p in after if p in before}, {p: after[p] for p in after if p in before}
    )
    return place / "out.tar"


@pytest.mark.parametrize("line", distinct())
def test_umoci_unpacks_what_was_edited(
    line: str, need: Callable[..., str], ocitool: Callable[..., Any], task: Task, tmp_path: Path
) -> None:
    need("umoci", "skopeo", "root")
    out = edited(line, ocitool, task, tmp_path)
    run("skopeo", "copy", "--insecure-policy", f"oci-archive:{out}", f"oci:{tmp_path}/layout:x")
    they = of_umoci(f"{tmp_path}/layout:x", tmp_path / "bundle")
    assert [] == differences("umoci", f"edited {line}", ours(opened(out, task), task), they)


@pytest.mark.parametrize("line", distinct())
def test_docker_loads_what_was_edited(
    line: str, need: Callable[..., str], ocitool: Callable[..., Any], docker_engine: Any, task: Task, tmp_path: Path
) -> None:
    need("root")
    out = edited(line, ocitool, task, tmp_path)
    docker_engine("load", "-i", out)
    they = of_container(docker_engine, name_of(line), tmp_path / "export.tar")
    docker_engine("rmi", name_of(line))
    assert [] == differences("docker", f"edited {line}", coarse(ours(opened(out, task), task)), they)
