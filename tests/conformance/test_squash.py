"""What `squash` writes, as the field's tools see it: one layer in place of several, and the very tree that was there before.

All images get another layer on top first, so that each layer that they have is once the lowest of those that are squashed.
"""

from __future__ import annotations

import hashlib
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import run as execute
from typing import Any

import pytest
from support.copying import refused
from support.images import Image as MadeImage
from support.images import image, layer_tar, write_layout, write_oci_archive
from support.reference_tools import (
    ODD,
    FileSystem,
    coarse,
    diff_ids,
    differences,
    distinct,
    of_container,
    of_umoci,
    ours,
    reference,
    run,
)
from support.written_images import WrittenImage

from ocitool.images.image import Image
from ocitool.images.platform_choice import single
from ocitool.operations.append import LayerInput, append
from ocitool.operations.squash import SquashRange, squash
from ocitool.pipeline.image_writer import WriteOptions
from ocitool.pipeline.session import Session
from ocitool.task import Task
from ocitool.transports.opening import open_source

pytestmark = pytest.mark.tools

Squashed = Callable[[str, int], Path]
NOT_PORTABLE = [*ODD, "testdata/sparse-gnu.tar", "testdata/pax-global.tar"]
"""Engines differ on the first ones; the last two nobody unpacks."""

STILL_ODD = ("testdata/empty-layers.tar", 3)
"""The layer with a parent that it does not list is not among those that are squashed."""

ENGINES = ["docker_engine", "overlay_engine"]


def counted() -> dict[str, int]:
    """The images, each with the number of its layers."""
    with Task() as task:
        return {line: len(diff_ids(line, task) or ()) for line in [*distinct(), *NOT_PORTABLE]}


COUNTED = counted()
EVERY = [(line, kept) for line, count in COUNTED.items() for kept in range(count)]
FULL_AND_MIDDLE = [case for case in EVERY if case[1] in (0, COUNTED[case[0]] // 2)]


@pytest.fixture
def task() -> Iterator[Task]:
    with Task() as running:
        yield running


@pytest.fixture
def source(task: Task, tmp_path: Path) -> Callable[[str], str]:
    """The image of a line, and a layer on top."""

    def made(line: str) -> str:
        above, out = tmp_path / "above.tar", tmp_path / "more.tar"
        above.write_bytes(layer_tar([("above/", None), ("above/file", b"above")]))
        append(
            reference(line), [LayerInput("layer", str(above))], Session(task, cached=False), WriteOptions(str(out), force=True)
        )
        return str(out)

    return made


@pytest.fixture
def squashed(source: Callable[[str], str], task: Task, tmp_path: Path) -> Squashed:
    """An archive of the image of a line, with one layer above those that are kept."""

    def made(line: str, kept: int) -> Path:
        out = tmp_path / "out.tar"
        squash(
            source(line), SquashRange(kept), Session(task, cached=False), WriteOptions(str(out), names=(name_of(line, kept),))
        )
        assert kept + 1 == len(opened(out, task).layers)
        return out

    return made


def opened(path: str | Path, task: Task) -> Image:
    return single(open_source(str(path), "layers", task), None)


def name_of(line: str, kept: int) -> str:
    return f"checked:{hashlib.sha256(line.encode()).hexdigest()[:12]}-{kept}"


def umoci_sees(archive: Path, place: Path) -> FileSystem:
    run("skopeo", "copy", "--insecure-policy", f"oci-archive:{archive}", f"oci:{place}/layout:x")
    return of_umoci(f"{place}/layout:x", place / "bundle")


def docker_sees(archive: Path, name: str, engine: Any, place: Path) -> FileSystem:
    engine("load", "-i", archive)
    found = of_container(engine, name, place / "export.tar")
    engine("rmi", name)
    return found


def from_1970(found: FileSystem) -> FileSystem:
    """docker makes an older time 0, but for symlinks."""
    times = {path: fields["mtime"] if fields["type"] == "link" else max(0, fields["mtime"]) for path, fields in found.items()}
    return {path: {**fields, "mtime": times[path]} for path, fields in found.items()}


@pytest.mark.parametrize(("line", "kept"), EVERY)
def test_the_merged_tree_stays_exactly_as_it_is(
    line: str, kept: int, squashed: Squashed, source: Callable[[str], str], task: Task
) -> None:
    out = squashed(line, kept)
    assert ours(opened(source(line), task), task) == ours(opened(out, task), task)


@pytest.mark.parametrize(("line", "kept"), [case for case in EVERY if case != STILL_ODD])
def test_umoci_unpacks_what_was_squashed(
    line: str, kept: int, need: Callable[..., str], squashed: Squashed, task: Task, tmp_path: Path
) -> None:
    need("umoci", "skopeo", "root")
    out = squashed(line, kept)
    assert [] == differences("umoci", f"squashed {line}", ours(opened(out, task), task), umoci_sees(out, tmp_path))


@pytest.mark.parametrize(("line", "kept"), [case for case in FULL_AND_MIDDLE if case[0] not in NOT_PORTABLE])
def test_docker_loads_what_was_squashed(
    line: str, kept: int, squashed: Squashed, docker_engine: Any, task: Task, tmp_path: Path
) -> None:
    out = squashed(line, kept)
    they = docker_sees(out, name_of(line, kept), docker_engine, tmp_path)
    assert [] == differences("docker", f"squashed {line}", coarse(ours(opened(out, task), task)), they)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("line", "kept"), [case for case in FULL_AND_MIDDLE if case[0] in NOT_PORTABLE])
def test_docker_loads_what_was_not_portable_before(
    line: str, kept: int, engine: str, squashed: Squashed, request: pytest.FixtureRequest, task: Task, tmp_path: Path
) -> None:
    out = squashed(line, kept)
    they = docker_sees(out, name_of(line, kept), request.getfixturevalue(engine), tmp_path)
    one = WrittenImage(f"squashed {line}", line, from_1970(ours(opened(out, task), task)), None)
    assert [] == one.differences_from("docker", they, copies=engine == "docker_engine")


# Traps that no image of testdata has: the lowest layer stays, two are squashed

PLAIN = layer_tar([("etc/", None), ("etc/file", b"content")])
TRAPS = {
    "a file of two names becomes two equal files": [
        layer_tar([("d/", None), ("d/a", b"same"), ("d/b", "hard:d/a")]), layer_tar([("d/a", b"same"), ("d/b", b"same")]),
    ],
    "a whiteout whose directory its layer does not list": [
        layer_tar([("d/", None), ("d/a", b"a"), ("d/b", b"b")]), layer_tar([("d/.wh.a", b"")]),
    ],
    "a name in a directory that its layer does not list": [
        layer_tar([("d/", None), ("d/a", b"a")]), layer_tar([("d/b", b"b")]),
    ],
}  # fmt: skip


@pytest.fixture
def trap(request: pytest.FixtureRequest, ocitool: Callable[..., Any], task: Task, tmp_path: Path) -> Path:
    """The squashed archive; our tree of it is that of the source."""
    made = write_oci_archive(tmp_path / "in.tar", [image([*TRAPS[request.param], PLAIN], tag="trap:1")])
    done = ocitool("squash", made, tmp_path / "out.tar", "--from", "1")
    assert 0 == done.code, str(done)
    assert ours(opened(made, task), task) == ours(opened(tmp_path / "out.tar", task), task)
    return tmp_path / "out.tar"


@pytest.mark.parametrize("trap", TRAPS, indirect=True)
def test_umoci_sees_a_squashed_trap_as_we_do(trap: Path, need: Callable[..., str], task: Task, tmp_path: Path) -> None:
    need("umoci", "skopeo", "root")
    assert [] == differences("umoci", "trap", ours(opened(trap, task), task), umoci_sees(trap, tmp_path))


@pytest.mark.parametrize("trap", TRAPS, indirect=True)
def test_docker_sees_a_squashed_trap_as_we_do(trap: Path, docker_engine: Any, task: Task, tmp_path: Path) -> None:
    they = docker_sees(trap, "trap:1", docker_engine, tmp_path)
    assert [] == differences("docker", "trap", coarse(ours(opened(trap, task), task)), they)


# What is refused, by the tools as well

DANGLING = layer_tar([("etc/", None), ("etc/link", "hard:etc/missing")])
GONE = layer_tar([("etc/", None), ("etc/.wh.link", b"")])


@pytest.mark.parametrize("kept", [0, 1])
def test_a_hard_link_to_nothing_is_refused(kept: int, ocitool: Callable[..., Any], tmp_path: Path) -> None:
    made = write_oci_archive(tmp_path / "in.tar", [image([PLAIN, DANGLING, PLAIN], tag="x")])
    refused(6, ocitool("squash", made, tmp_path / "out.tar", "--from", str(kept)), "/etc/link")
    assert ["in.tar"] == [path.name for path in tmp_path.iterdir()]


def test_umoci_refuses_the_same_hard_link(need: Callable[..., str], tmp_path: Path) -> None:
    need("umoci", "root")
    write_layout(tmp_path / "layout", [image([PLAIN, DANGLING, PLAIN], tag="x")])
    command = ["umoci", "raw", "unpack", "--image", f"{tmp_path}/layout:x", f"{tmp_path}/bundle"]
    assert 0 != execute(command, capture_output=True, timeout=120).returncode


def test_umoci_unpacks_an_image_whose_hard_link_to_nothing_was_deleted_and_squashed(
    need: Callable[..., str], ocitool: Callable[..., Any], task: Task, tmp_path: Path
) -> None:
    need("umoci", "skopeo", "root")
    made = write_oci_archive(tmp_path / "in.tar", [image([PLAIN, DANGLING, GONE], tag="x")])
    assert 0 == ocitool("squash", made, tmp_path / "out.tar").code
    they = umoci_sees(tmp_path / "out.tar", tmp_path)
    assert [] == differences("umoci", "deleted", ours(opened(made, task), task), they)


@pytest.mark.parametrize("kind", ["application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "application/x-unknown"])
def test_a_layer_that_is_foreign_or_unknown_is_refused(kind: str, ocitool: Callable[..., Any], tmp_path: Path) -> None:
    odd = image([PLAIN, GONE], tag="x")
    odd.manifest["layers"][1]["mediaType"] = kind
    made = write_oci_archive(tmp_path / "in.tar", [odd])
    refused(4, ocitool("squash", made, tmp_path / "out.tar"), "layer 1")
    assert ["in.tar"] == [path.name for path in tmp_path.iterdir()]


# The same bytes


def mixed() -> MadeImage:
    """A gzip layer and a zstd layer of several megabytes each; of both a part is hidden."""
    some = random.Random(0)
    files = {name: some.randbytes(1 << 20) + name.encode() * 500_000 for name in "abcd"}
    tars = [layer_tar([("d/", None), *((f"d/{name}", files[name]) for name in part)]) for part in ("abc", "cd")]
    made, upper = image(tars, tag="big:1"), image(tars, codec="zstd")
    made.layers[1], made.manifest["layers"][1] = upper.layers[1], upper.manifest["layers"][1]
    assert min(map(len, made.layers)) > 1 << 21
    return made


@pytest.mark.parametrize("to", ["gzip", "zstd"])
def test_two_runs_give_the_same_bytes_on_any_number_of_cores(
    to: str, need: Callable[..., str], ocitool: Callable[..., Any], tmp_path: Path
) -> None:
    """Also without SOURCE_DATE_EPOCH, at another time, and with a cache that knows the image already."""
    source = write_oci_archive(tmp_path / "in.tar", [mixed()])
    words = ["squash", source, "--compression", to]
    env: dict[str, str | None] = {"SOURCE_DATE_EPOCH": None}
    began = int(time.time())
    assert 0 == ocitool(*words, tmp_path / "first.tar", env=env).code
    first = (tmp_path / "first.tar").read_bytes()
    while int(time.time()) == began:
        time.sleep(0.05)
    assert 0 == ocitool(*words, tmp_path / "second.tar", env=env).code
    assert first == (tmp_path / "second.tar").read_bytes()
    for cores in ("0", "0,1"):
        out = tmp_path / f"cores-{cores}.tar"
        command = [need("taskset"), "-c", cores, sys.executable, "-m", "ocitool", *map(str, words), str(out)]
        without = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
        execute(command, check=True, capture_output=True, timeout=120, env=without)
        assert first == out.read_bytes()
