"""What `rebase` writes, as the field's tools see it: our merged tree of the new base with the image's own layers on it.

The old base is the image without its upper layers, the new one has a layer more; or it is another image altogether.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import run as execute
from typing import Any

import pytest
from support.images import AnyEntry, image, layer_tar, write_docker_archive, write_layout
from support.reference_tools import FileSystem, coarse, diff_ids, differences, of_container, of_umoci, ours, reference, run

from ocitool.images.config_edits import Settings
from ocitool.images.image import Image
from ocitool.images.platform_choice import single
from ocitool.operations.append import LayerInput, append
from ocitool.operations.edit import ContentEdits, edit
from ocitool.operations.rebase import BaseReferences, rebase
from ocitool.pipeline.image_writer import WriteOptions
from ocitool.pipeline.session import Session
from ocitool.task import Task
from ocitool.transports.opening import open_source

pytestmark = pytest.mark.tools

PATCH: list[AnyEntry] = [
    ("etc/", None), ("etc/release", b"12.2"), ("etc/alias", "hard:etc/release"), ("etc/passwd", b"root:x:0:0::/:/bin/sh\n"),
    ("opt/", None), ("opt/tool", b"tool" * 99), ("opt/link", "link:../etc/release"),
]  # fmt: skip
"""What the new base has more."""

PATCHED = [("testdata/app-v1.tar", 2), ("testdata/app-v2.tar", 2), ("testdata/app-v2.tar", 4), ("testdata/whiteouts.tar", 1)]
"""Images, and how many of their layers are the base that is patched."""

OTHER = [("testdata/app-v2.tar", 2, "testdata/xattrs.tar"), ("testdata/app-v1.tar", 2, "testdata/names.tar")]
"""Images, how many of their layers are the old base, and what they are put on."""


@pytest.fixture
def task() -> Iterator[Task]:
    with Task() as running:
        yield running


def opened(path: str | Path, task: Task) -> Image:
    return single(open_source(str(path), "layers", task), None)


class Rebased:
    """An image, its bases, and what came of them; as an archive that has a name."""

    def __init__(self, line: str, count: int, other: str | None, place: Path, task: Task) -> None:
        self.line, self.out = line, place / "out.tar"
        self.name = "checked:" + hashlib.sha256(f"rebased {line} {count} {other}".encode()).hexdigest()[:12]
        reading, above = Session(task, cached=False), len(diff_ids(line, task) or ()) - count
        assert above > 0 < count
        base = place / "base.tar"
        drop = ContentEdits(drop=tuple(range(-above, 0)))
        edit(reference(line), Settings(), drop, reading, WriteOptions(str(base)))
        new = reference(other) if other else str(place / "new.tar")
        if other is None:
            (place / "patch.tar").write_bytes(layer_tar(PATCH))
            append(str(base), [LayerInput("layer", str(place / "patch.tar"))], reading, WriteOptions(new))
        rebase(reference(line), BaseReferences(str(base), new), reading, WriteOptions(str(self.out), names=(self.name,)))
        self.tree = ours(opened(self.out, task), task)
        wanted = (*(diff_ids(new, task) or ()), *(diff_ids(line, task) or ())[count:])
        assert wanted == diff_ids(str(self.out), task)


@pytest.fixture(
    params=[*((line, count, None) for line, count in PATCHED), *OTHER], ids=lambda case: f"{case[0][9:]}-{case[1:]}"
)
def rebased(request: pytest.FixtureRequest, task: Task, tmp_path: Path) -> Rebased:
    line, count, other = request.param
    return Rebased(line, count, other, tmp_path, task)


def test_umoci_unpacks_what_was_rebased(rebased: Rebased, need: Callable[..., str], tmp_path: Path) -> None:
    need("umoci", "skopeo", "root")
    run("skopeo", "copy", "--insecure-policy", f"oci-archive:{rebased.out}", f"oci:{tmp_path}/layout:x")
    they = of_umoci(f"{tmp_path}/layout:x", tmp_path / "bundle")
    assert [] == differences("umoci", f"rebased {rebased.line}", rebased.tree, they)


@pytest.mark.parametrize("engine", ["docker_engine", "overlay_engine"])
def test_docker_loads_what_was_rebased(engine: str, rebased: Rebased, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    docker = request.getfixturevalue(engine)
    docker("load", "-i", rebased.out)
    they: FileSystem = of_container(docker, rebased.name, tmp_path / "export.tar")
    docker("rmi", rebased.name)
    assert [] == differences("docker", f"rebased {rebased.line}", coarse(rebased.tree), they)


def test_skopeo_verifies_every_digest_of_what_was_rebased(rebased: Rebased, need: Callable[..., str], tmp_path: Path) -> None:
    need("skopeo")
    for transport in ("oci-archive", "docker-archive"):
        run("skopeo", "copy", "--insecure-policy", f"{transport}:{rebased.out}", f"dir:{tmp_path}/{transport}")


# What is to be refused, by the tools as well


HIDDEN = [layer_tar([("file", b"x")]), layer_tar([("link", "hard:gone")]), layer_tar([(".wh.link", b"")])]


def test_umoci_refuses_a_link_to_what_the_base_lacks_though_a_later_layer_hides_it(
    need: Callable[..., str], tmp_path: Path
) -> None:
    need("umoci", "root")
    write_layout(tmp_path / "layout", [image(HIDDEN, tag="x")])
    command = ["umoci", "raw", "unpack", "--image", f"{tmp_path}/layout:x", f"{tmp_path}/bundle"]
    assert 0 != execute(command, capture_output=True, timeout=120).returncode


def test_docker_refuses_a_link_to_what_the_base_lacks_though_a_later_layer_hides_it(docker_engine: Any, tmp_path: Path) -> None:
    path = write_docker_archive(tmp_path / "x.tar", [image(HIDDEN, codec="none", tag="checked:link")])
    assert 0 != docker_engine("load", "-i", path, check=False).returncode
