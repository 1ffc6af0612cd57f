"""What `rebuild` sends and writes, as a real registry, docker and umoci see it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.images import entry, image, layer_tar, write_layout
from support.real_registry import RealRegistry, real_registry
from support.reference_tools import FileSystem, coarse, differences, of_container, of_umoci, ours, reference, run
from support.registries import random_bytes
from support.report import report_of
from support.written_images import WrittenImage

from ocitool.images.image import Image
from ocitool.images.platform_choice import single
from ocitool.task import Task
from ocitool.transports.opening import open_source

pytestmark = pytest.mark.tools

Run = Callable[..., Any]
PLANS = ["reuse", "delta"]


@pytest.fixture
def task() -> Iterator[Task]:
    with Task() as running:
        yield running


@pytest.fixture
def registry(need: Callable[..., str], tmp_path: Path) -> Iterator[RealRegistry]:
    need("docker-registry")
    (tmp_path / "registry").mkdir()
    with real_registry(tmp_path / "registry") as made:
        yield made


def opened(path: str | Path, task: Task) -> Image:
    return single(open_source(str(path), "layers", task), None)


# A registry: nothing that it has is sent


def built(place: Path, seconds: int, app: bytes) -> Path:
    """A build at this time: two large layers that are always the same, and the application."""
    when = {"mtime": seconds * 10**9}

    def layer(*files: tuple[str, bytes]) -> bytes:
        return layer_tar([entry(name, content, **when) for name, content in files])

    tars = [
        layer(("base", random_bytes(300_000, 1))),
        layer(("lib", random_bytes(200_000, 2))),
        layer(("app", app), ("doc", app[:5])),
    ]
    history = [{"created": f"2024-01-01T00:00:{seconds:02}Z", "created_by": f"RUN {n}"} for n in range(3)]
    return write_layout(place, [image(tars, tag="app", history=history)])


def layers(run: Run, reference: str) -> list[str]:
    done = run("inspect", "--insecure", "--raw", "manifest", reference)
    assert done.code == 0, str(done)
    return [layer["digest"] for layer in done.json()["layers"]]


def pushed(registry: RealRegistry) -> list[str]:
    """The digests of the blobs that were put since the log was cleared."""
    puts = [one for one in registry.requests("PUT", "/blobs/uploads/") if one.status == 201]
    return [found[1].replace("%3A", ":") for one in puts if (found := re.search(r"digest=([^&]+)", one.path))]


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("repository", ["app", "prod/app"])
def test_no_layer_that_old_has_is_pushed(
    plan: str, repository: str, registry: RealRegistry, ocitool: Run, tmp_path: Path
) -> None:
    """Into OLD's repository, or into another one of the registry, where they are mounted."""
    old, new = built(tmp_path / "old", 10, random_bytes(40_000, 3)), built(tmp_path / "new", 20, random_bytes(50_000, 4))
    assert 0 == ocitool("push", "--insecure", old, f"{registry.host}/app:1").code
    had, dest = layers(ocitool, f"docker://{registry.host}/app:1"), f"docker://{registry.host}/{repository}:2"
    registry.clear_log()
    words = ("--against", f"docker://{registry.host}/app:1", "--plan", plan, "--insecure", "--format", "json")
    report = report_of(ocitool("rebuild", new, dest, *words))
    sent = pushed(registry)
    made = layers(ocitool, dest)
    (rebuild_report,) = report["details"]["rebuilt"]
    assert set() == set(had) & set(sent)
    assert {*made[:-1]} <= {*had}
    assert {made[-1], report["images"][0]["imageId"]} == set(sent)
    (transfer,) = [one["transfer"] for one in rebuild_report["plans"] if one["plan"] == plan]
    assert registry.blobs()[made[-1]] == transfer
    assert 0 == ocitool("validate", "--insecure", dest).code


def test_a_new_image_of_the_same_registry_is_rebuilt_without_a_layer(
    registry: RealRegistry, ocitool: Run, tmp_path: Path
) -> None:
    for number in (1, 2):
        path = built(tmp_path / str(number), number, b"always the same")
        assert 0 == ocitool("push", "--insecure", path, f"{registry.host}/app:{number}").code
    had = layers(ocitool, f"docker://{registry.host}/app:1")
    registry.clear_log()
    names = [f"docker://{registry.host}/app:{number}" for number in (1, 2, 3)]
    report = report_of(ocitool("rebuild", names[1], names[2], "--against", names[0], "--insecure", "--format", "json"))
    assert had == layers(ocitool, names[2])
    assert [report["images"][0]["imageId"]] == pushed(registry)


def test_a_dry_run_sends_nothing(registry: RealRegistry, ocitool: Run, tmp_path: Path) -> None:
    old, new = built(tmp_path / "old", 10, b"old application"), built(tmp_path / "new", 20, b"new application")
    assert 0 == ocitool("push", "--insecure", old, f"{registry.host}/app:1").code
    before = registry.blobs()
    registry.clear_log()
    words = ("--against", f"docker://{registry.host}/app:1", "--insecure", "--dry-run", "--plan", "delta")
    assert 0 == ocitool("rebuild", new, f"docker://{registry.host}/app:2", *words).code
    assert [] == registry.requests("POST|PUT|PATCH")
    assert before == registry.blobs()


# Engines: the file system of what was rebuilt, path by path

PAIRS = [
    ("app-v1", "app-v2"), ("app-v2", "app-v1"), ("whiteouts", "hardlinks"), ("hardlinks", "whiteouts"), ("xattrs", "devices"),
    ("names", "sparse"), ("app-v2", "xattrs"), ("devices", "names"),
]  # fmt: skip
"""OLD and NEW: the second, made of the first."""


def line_of(name: str) -> str:
    return f"testdata/{name}.tar"


def rebuilt(ocitool: Run, old: str, new: str, plan: str, task: Task, place: Path) -> tuple[Path, FileSystem]:
    """An archive of NEW, rebuilt, which is called checked:rebuilt, and our tree of it, which is that of NEW but for times."""
    out = place / "out.tar"
    words = ("--against", reference(line_of(old)), "--plan", plan, "--tag", "checked:rebuilt", "--format", "json")
    report_of(ocitool("rebuild", reference(line_of(new)), out, *words))
    tree = ours(opened(out, task), task)
    wanted = ours(opened(reference(line_of(new)), task), task)
    assert untimed(wanted) == untimed(tree)
    return out, tree


def untimed(tree: FileSystem) -> FileSystem:
    return {path: {name: value for name, value in fields.items() if name != "mtime"} for path, fields in tree.items()}


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_umoci_unpacks_what_was_rebuilt(
    old: str, new: str, plan: str, need: Callable[..., str], ocitool: Run, task: Task, tmp_path: Path
) -> None:
    need("umoci", "skopeo", "root")
    out, tree = rebuilt(ocitool, old, new, plan, task, tmp_path)
    run("skopeo", "copy", "--insecure-policy", f"oci-archive:{out}", f"oci:{tmp_path}/layout:x")
    they = of_umoci(f"{tmp_path}/layout:x", tmp_path / "bundle")
    assert [] == differences("umoci", f"{plan} of {old} to {new}", tree, they)


@pytest.mark.parametrize("engine", ["docker_engine", "overlay_engine"])
@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_docker_loads_a_delta(
    old: str, new: str, engine: str, need: Callable[..., str], ocitool: Run, request: pytest.FixtureRequest, task: Task,
    tmp_path: Path,
) -> None:  # fmt: skip
    need("root")
    docker = request.getfixturevalue(engine)
    out, tree = rebuilt(ocitool, old, new, "delta", task, tmp_path)
    docker("load", "-i", out)
    they = of_container(docker, "checked:rebuilt", tmp_path / "export.tar")
    docker("rmi", "checked:rebuilt")
    product = WrittenImage(f"delta of {old} to {new}", new, tree, None)
    assert [] == product.differences_from("docker", they, copies=engine == "docker_engine")


def test_docker_loads_an_image_that_was_rebuilt_from_layers_of_another_one(
    ocitool: Run, docker_engine: Any, task: Task, tmp_path: Path
) -> None:
    out, tree = rebuilt(ocitool, "app-v1", "app-v2", "reuse", task, tmp_path)
    docker_engine("load", "-i", out)
    they = of_container(docker_engine, "checked:rebuilt", tmp_path / "export.tar")
    docker_engine("rmi", "checked:rebuilt")
    assert [] == differences("docker", "reuse", coarse(tree), they)


def test_a_chain_of_deltas_is_unpacked_as_the_last_of_them(
    need: Callable[..., str], ocitool: Run, task: Task, tmp_path: Path
) -> None:
    """One image turns into another three times, each on top of what was made before."""
    need("umoci", "skopeo", "root")
    last = reference(line_of("whiteouts"))
    for number, name in enumerate(("hardlinks", "xattrs", "whiteouts")):
        out = tmp_path / f"{number}.tar"
        words = ("--against", last, "--plan", "delta", "--tag", "checked:chain", "--format", "json")
        report_of(ocitool("rebuild", reference(line_of(name)), out, *words))
        last = str(out)
    tree = ours(opened(last, task), task)
    assert untimed(ours(opened(reference(line_of("whiteouts")), task), task)) == untimed(tree)
    run("skopeo", "copy", "--insecure-policy", f"oci-archive:{last}", f"oci:{tmp_path}/layout:x")
    assert [] == differences("umoci", "chain", tree, of_umoci(f"{tmp_path}/layout:x", tmp_path / "bundle"))
