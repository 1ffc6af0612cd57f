"""Laws of files that are staged: what one costs, and that a directory of the tree has its own files and no others."""

from __future__ import annotations

import os
import resource
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.disk import on_disk
from support.images import layer_tar
from support.merged import described, memory_image, tree_of

from ocitool.disk import snapshot, staging
from ocitool.disk.attributes import Ownership
from ocitool.disk.rootfs import Rootfs
from ocitool.disk.staging import stage_image
from ocitool.disk.staging_directory import StagingDirectory
from ocitool.errors import DestinationError
from ocitool.layers.entry import Kind
from ocitool.task import Task

ROOTLESS = Ownership(rootless=True)
CALLS = (
    "open", "close", "read", "write", "pwrite", "lseek", "ftruncate", "stat", "lstat", "fstat", "chmod", "fchmod", "chown",
    "fchown", "utime", "rename", "replace", "link", "unlink", "mkdir", "rmdir", "symlink", "readlink", "listdir", "scandir",
    "setxattr", "getxattr", "listxattr", "removexattr", "dup", "fsync",
)  # fmt: skip


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """The system calls made in the block, by name."""
    calls: Counter[str] = Counter()
    with monkeypatch.context() as patched:
        for name in CALLS:
            original = getattr(os, name)

            def call(*args: Any, _name: str = name, _original: Any = original, **more: Any) -> Any:
                calls[_name] += 1
                return _original(*args, **more)

            patched.setattr(os, name, call)
        yield calls


def unpack(place: Path, *layers: bytes, owners: Ownership = ROOTLESS, record: bool = False) -> None:
    image = memory_image(layers)
    with Task(jobs=1) as task, StagingDirectory(str(place)) as work, Rootfs(work.descriptor, owners, task) as rootfs:
        tree = stage_image(image, rootfs, task).tree
        rootfs.place_tree(tree)
        work.publish(b"rootfs")
        if record:
            snapshot.write_tree(place.with_name("snapshot"), snapshot.SnapshotHeader(owners.rootless), tree, place)


def tar(*items: Any) -> bytes:
    return layer_tar(items)


def cost_of_a_file(place: Path, monkeypatch: pytest.MonkeyPatch, **how: Any) -> dict[str, int]:
    """The system calls that each file more of a layer of 10 directories costs, whether it alternates between them or not."""
    costs: list[dict[str, int]] = []
    for alternating in (False, True):
        found = []
        for count in (10, 110):
            paths = [f"d{n % 10}/f{n}" for n in range(count)]
            items = [(f"d{n}", None) for n in range(10)] + [
                (path, b"x") for path in (paths if alternating else sorted(paths))
            ]  # fmt: skip
            into = place / f"{alternating} {count}"
            into.mkdir()
            with counted(monkeypatch) as calls:
                unpack(into / "root", tar(*items), **how)
            found.append(calls)
        costs.append({name: (found[1][name] - found[0][name]) / 100 for name in CALLS if found[1][name] != found[0][name]})
    assert costs[0] == costs[1]
    return costs[0]


ONCE = {"open": 1, "write": 1, "utime": 1, "close": 1}


@pytest.mark.parametrize("owners", [ROOTLESS, Ownership()])
def test_a_file_costs_four_system_calls(owners: Ownership, need: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not owners.rootless:
        need("root")
    assert ONCE == cost_of_a_file(tmp_path, monkeypatch, owners=owners)


def test_a_file_costs_one_more_for_the_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {**ONCE, "stat": 1} == cost_of_a_file(tmp_path, monkeypatch, record=True)


AB = [("d/a", b"1"), ("d/b", b"2")]


@pytest.mark.parametrize(
    "layers",
    [
        [[*AB, ("d/a", b"3")]],
        [[*AB, ("d/a", None)]],
        [[*AB, ("d/a", "link:b")]],
        [[*AB, ("d", b"3")]],
        [[*AB, ("d", "link:e"), ("e/a", b"3"), ("d/b", b"4")]],
        [[*AB, ("e", "hard:d/a")]],
        [[*AB, ("d/c", "hard:d/a")]],
        [[*AB, ("e/c", "hard:d/a"), ("d/a", b"3")]],
        [[*AB, ("l", "link:d"), ("l/b", b"3"), ("l/c", b"4")]],
        [[("d", None), ("l", "link:d"), ("l/a", b"1"), ("d/a", b"2"), ("d/b", b"3")]],
        [[("a", b"1"), ("b", b"2"), ("a", b"3")]],
        [[(".wh..wh.plnk/7", b"1"), ("d/a", "hard:.wh..wh.plnk/7"), ("d/b", b"2")]],
        [AB, [("d/a", b"3"), ("d/c", b"4")]],
        [AB, [(".wh.d", b""), ("d/a", b"3")]],
        [AB, [("d/.wh..wh..opq", b""), ("d/c", b"3")]],
        [AB, [(".wh.d", b""), ("e/x", "hard:d/a")]],
        [AB, [("d", "link:e"), ("e/a", b"3")], [("d/c", b"4")]],
        [AB, [("x", b"3")], AB],
    ],
)
@pytest.mark.parametrize("top_first", [True, False])
def test_a_directory_has_its_own_files_and_no_others(
    layers: list[list[Any]], top_first: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if not top_first:  # then files that upper layers hide are staged too
        monkeypatch.setattr(staging, "_hidden_test", lambda above: None)
    image = memory_image([layer_tar(layer) for layer in layers])
    with Task(jobs=1) as task:
        tree = tree_of(image, task)
    wanted = {path: (fields["kind"], fields["content"]) for path, fields in described(image, tree).items()}
    unpack(tmp_path / "root", *(layer_tar(layer) for layer in layers))
    kinds = {"file": Kind.FILE, "directory": Kind.DIRECTORY, "symlink": Kind.SYMLINK}
    found = {path: (kinds[fields["kind"]], fields["content"]) for path, fields in on_disk(tmp_path / "root").items()}
    assert wanted == found
    assert ["root"] == os.listdir(tmp_path)


def test_a_name_that_no_disk_can_hold_is_no_error_if_the_tree_does_not_show_it(tmp_path: Path) -> None:
    unpack(tmp_path / "root", tar((".wh..wh.plnk/" + "n" * 256, b"1"), ("d/" + "n" * 256, b"2"), ("d", b"3")))
    assert [b"", b"d"] == sorted(on_disk(tmp_path / "root"))


def test_directories_that_one_file_system_takes_for_the_same_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = os.mkdir

    def mkdir(name: bytes, mode: int, *, dir_fd: int) -> None:
        made(name.lower() if isinstance(name, bytes) else name, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", mkdir)
    with pytest.raises(DestinationError, match="File exists"):
        unpack(tmp_path / "root", tar(("d/a", b"1"), ("D/a", b"2")))
    assert [] == os.listdir(tmp_path)


def test_no_more_files_are_open_at_once_for_more_directories(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    layer = tar(*((f"d{n % 200}/f{n}", b"x") for n in range(400)))
    resource.setrlimit(resource.RLIMIT_NOFILE, (60, hard))
    try:
        unpack(tmp_path / "root", layer)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert 200 == len(os.listdir(tmp_path / "root"))
