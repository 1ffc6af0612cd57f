"""Copy-on-write: files that upper layers have again, against a count that knows nothing of trees."""

from __future__ import annotations

import random
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

from support.images import entry, image, layer_tar, write_layout

from ocitool.blob import BytesBlob
from ocitool.layers.index import LayerIndex
from ocitool.layers.scan import index_layer
from ocitool.task import Task
from ocitool.trees.copied_files import CopiedFiles, copied_files

Run = Callable[..., Any]


def copied(*layers: bytes, lowest: int = 0) -> CopiedFiles:
    with Task() as task:
        indexes = [index_layer(BytesBlob(layer), task) for layer in layers]
    return copied_files(indexes, lambda number, index, rows: index, lowest=lowest)


def listed(found: CopiedFiles) -> list[tuple[str, int, int, int, tuple[str, ...]]]:
    return [(one.path.decode(), one.size, one.source, one.by, one.changed) for one in found.files]


def test_says_what_changed() -> None:
    low = layer_tar([
        ("a", b"one"), ("b", b"two"), ("c", b"three"), ("same-size", b"old"), ("gone", b"x"), ("link", "link:a"),
    ])  # fmt: skip
    top = layer_tar([
        entry("a", b"one", mode=0o600), entry("b", b"two", uid=7, gid=8), entry("c", b"longer than three"),
        entry("same-size", b"new", mtime=5), (".wh.gone", b""), entry("link", b"a file now"), entry("new", b"n"),
    ])  # fmt: skip
    assert listed(copied(low, top)) == [
        ("c", 17, 0, 1, ("content",)), ("a", 3, 0, 1, ("mode",)), ("b", 3, 0, 1, ("uid", "gid")),
        ("same-size", 3, 0, 1, ("content", "mtime")),
    ]  # fmt: skip
    cost = copied(low, top).cost()
    assert (cost.files, cost.bytes, cost.unchanged_files, cost.unchanged_bytes) == (4, 26, 2, 6)


def test_a_file_with_several_names_is_one_copy() -> None:
    low = layer_tar([("a", b"one"), ("b", "hard:a")])
    top = layer_tar([entry("a", b"one", mode=0o600), ("b", "hard:a")])
    assert listed(copied(low, top)) == [("a", 3, 0, 1, ("mode",))]


def test_what_was_removed_before_is_no_copy() -> None:
    low = layer_tar([("d", None), ("d/a", b"one"), ("b", b"two")])
    top = layer_tar([("d", None), ("d/.wh..wh..opq", b""), ("d/a", b"again")])
    removed = layer_tar([(".wh.b", b"")])
    assert listed(copied(low, top)) == []
    assert listed(copied(low, removed, layer_tar([("b", b"back")]))) == []


def test_each_layer_that_has_it_again_counts_and_only_those_asked_for() -> None:
    layers = [layer_tar([entry("a", b"x" * 10, mode=mode)]) for mode in (0o600, 0o640, 0o644)]
    found = copied(*layers)
    assert listed(found) == [("a", 10, 0, 1, ("mode",)), ("a", 10, 1, 2, ("mode",))]
    assert {number: cost.bytes for number, cost in found.costs().items()} == {1: 10, 2: 10}
    assert listed(copied(*layers, lowest=2)) == [("a", 10, 1, 2, ("mode",))]


def test_agrees_with_a_count_of_the_tars() -> None:
    """The count keeps, for each path, what the layers so far have there."""
    rng = random.Random(17)
    for _ in range(50):
        layers = []
        for _ in range(rng.randint(2, 5)):
            names = rng.sample("abcdefgh", rng.randint(0, 6))
            members: list[Any] = [
                (name, None) if rng.random() < 0.1 else
                entry(name, bytes([rng.randrange(2)]) * rng.randrange(3), mode=rng.choice((0o600, 0o644))) for name in names
            ]  # fmt: skip
            members += [(f".wh.{name}", b"") for name in "abcdefgh" if name not in names and rng.random() < 0.2]
            layers.append(layer_tar(members))
        there: dict[str, tuple[int, bytes]] = {}
        counted = []
        for layer in layers:
            with tarfile.open(fileobj=BytesIO(layer)) as tar:
                members_of = {member.name: member for member in tar}
                for name in [name for name in members_of if name.startswith(".wh.")]:
                    there.pop(name.removeprefix(".wh."), None)
                for name, member in members_of.items():
                    if name.startswith(".wh."):
                        continue
                    if not member.isreg():
                        there.pop(name, None)
                        continue
                    held = tar.extractfile(member)
                    assert held is not None
                    now = member.mode, held.read()
                    if name in there:
                        counted.append((name, len(now[1]), now[1] != there[name][1]))
                    there[name] = now
        found = [(one.path.decode(), one.size, one.is_changed) for one in copied(*layers).files]
        assert sorted(found) == sorted(counted)


def test_inspect_lists_copies_with_the_instruction(ocitool: Run, tmp_path: Path) -> None:
    low = layer_tar([("big", b"b" * 3000), ("small", b"s")])
    top = layer_tar([entry("big", b"b" * 3000, mode=0o755), entry("small", b"other")])
    path = write_layout(tmp_path / "layout", [image([low, top])])
    copies = ocitool("inspect", "--files", "--format", "json", path).json()["images"][0]["waste"]["copies"]
    assert copies == {
        "files": 2, "bytes": 3005, "contentUnchanged": {"files": 1, "bytes": 3000},
        "byLayer": [{"index": 1, "createdBy": "RUN step 1", "files": 2, "bytes": 3005,
                     "contentUnchanged": {"files": 1, "bytes": 3000}}],
        "list": [{"path": "/big", "size": 3000, "layer": 1, "from": 0, "changed": ["mode"]},
                 {"path": "/small", "size": 5, "layer": 1, "from": 0, "changed": ["content"]}],
    }  # fmt: skip
    text = ocitool("inspect", "--files", path).out
    assert "copied up (copy-on-write): 3.0 kB in 2 files, content unchanged in 1 file (3.0 kB)" in text
    assert "RUN step 1" in text and "mode" in text
    assert "| 3.0 kB | 1 | 0 | mode | `/big` |" in ocitool("inspect", "--files", "--format", "markdown", path).out


def test_an_image_of_one_layer_says_nothing_of_it(ocitool: Run, tmp_path: Path) -> None:
    path = write_layout(tmp_path / "layout", [image([layer_tar([("a", b"x")])])])
    assert "copied up" not in ocitool("inspect", "--files", path).out


def test_indexes_without_contents_are_completed() -> None:
    with Task() as task:
        whole = [index_layer(BytesBlob(layer_tar([entry("a", b"same", mode=mode)])), task) for mode in (0o600, 0o644)]
    bare = []
    for index in whole:
        copy = LayerIndex()
        for one in index:
            copy.add(one)
        bare.append(copy)
    asked: list[tuple[int, list[int]]] = []

    def known(number: int, index: LayerIndex, rows: Any) -> LayerIndex:
        asked.append((number, list(rows)))
        return whole[number]

    assert listed(copied_files(bare, known)) == [("a", 4, 0, 1, ("mode",))]
    assert sorted(asked) == [(0, [0]), (1, [0])]
