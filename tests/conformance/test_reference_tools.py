"""What every writing command makes, as engines and unpackers see it: they accept it, and they see our merged tree.

All images are made once; engines get it as one archive. `tests/campaign/run reference-tools` asks the same of more random
edits."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import scripts
from support.reference_tools import of_directory
from support.written_images import WrittenImages


@pytest.fixture(scope="module")
def written_images(need: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> WrittenImages:
    need("root")
    made = WrittenImages(tmp_path_factory.mktemp("written"))
    made.repacked([0])
    made.others()
    made.pack()
    return made


def test_what_is_repacked_is_the_directory(written_images: WrittenImages) -> None:
    messages = written_images.by_directory()
    assert [] == messages, "\n".join(messages)


@pytest.mark.tools
def test_umoci_unpacks_our_tree(written_images: WrittenImages, need: Callable[..., str]) -> None:
    need("umoci")
    messages = written_images.by_umoci()
    assert [] == messages, "\n".join(messages)


@pytest.mark.tools
@pytest.mark.parametrize(("driver", "engine"), [("vfs", "docker_engine"), ("overlay2", "overlay_engine")])
def test_docker_loads_the_archive_and_exports_our_tree(
    driver: str, engine: str, written_images: WrittenImages, request: pytest.FixtureRequest
) -> None:
    messages = written_images.by_engine(request.getfixturevalue(engine), driver)
    assert [] == messages, "\n".join(messages)


@pytest.mark.tools
def test_podman_loads_the_archive(written_images: WrittenImages, need: Callable[..., str]) -> None:
    need("podman", "root")
    with tempfile.TemporaryDirectory(prefix="oci-", dir="/tmp") as place:  # podman takes no long paths
        podman = ["podman", "--root", f"{place}/root", "--runroot", f"{place}/run", "--storage-driver", "vfs"]
        env = {**os.environ, "TMPDIR": place}
        done = subprocess.run([*podman, "load", "-i", written_images.archive], capture_output=True, env=env, timeout=300)
        assert 0 == done.returncode, done.stderr.decode(errors="replace")
        listed = subprocess.run([*podman, "images", "--format", "json"], capture_output=True, env=env, timeout=60, check=True)
        names = {name for one in json.loads(listed.stdout) for name in one["Names"]}
        assert {f"docker.io/library/{one.name}" for one in written_images.products} == names


@pytest.mark.tools
def test_skopeo_copies_each_commands_images_by_both_kinds_of_archive(
    written_images: WrittenImages, need: Callable[..., str]
) -> None:
    need("skopeo")
    commands: dict[str, Any] = {}
    for one in written_images.products:
        commands.setdefault(" ".join(one.what.split(" of ")[0].split()[:3]), one)
    assert len(commands) >= 9
    written_images.by_skopeo(commands.values())


def test_the_archive_names_every_image_and_no_blob_twice(written_images: WrittenImages) -> None:
    with tarfile.open(written_images.archive) as archive:
        names = archive.getnames()
        file = archive.extractfile("manifest.json")
        assert file is not None
        tags = {tag for one in json.load(file) for tag in one["RepoTags"]}
    assert ({f"docker.io/library/{one.name}" for one in written_images.products}, len(set(names))) == (tags, len(names))


def test_whatever_a_tool_sees_otherwise_is_reported(written_images: WrittenImages) -> None:
    one = max(written_images.products, key=lambda product: len(product.tree))
    assert [] == one.differences_from("umoci", one.tree)
    path = sorted(one.tree)[0]
    without = {other: fields for other, fields in one.tree.items() if other != path}
    assert 1 == len(one.differences_from("umoci", without))
    for field in one.tree[path]:
        other = {**one.tree, path: {**one.tree[path], field: "something else"}}
        assert 1 == len(one.differences_from("umoci", other)), field


def test_random_edits_are_the_same_for_a_seed_and_stay_inside(need: Callable[..., str], tmp_path: Path) -> None:
    need("root")
    found = []
    for name in ("a", "b"):
        (tmp_path / name / "root/etc/deep").mkdir(parents=True)
        (tmp_path / name / "root/file").write_bytes(b"1")
        done = [scripts.edit(tmp_path / name / "root", seed) for seed in range(10)]
        state = of_directory(os.fsencode(tmp_path / name / "root"))
        found.append((done, {path: (fields["type"], fields["content"]) for path, fields in state.items()}))
    assert (found[0], ["root"]) == (found[1], os.listdir(tmp_path / "a"))
    assert len({words.split()[0] for script in found[0][0] for words in script}) > 15
