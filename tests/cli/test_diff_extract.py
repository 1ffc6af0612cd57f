"""`diff --extract DIR`: both sides of what changed, as plain files."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.images import AnyEntry, entry, image, layer_tar, write_layout
from support.report import report_of

from ocitool.layers.entry import Kind

Run = Callable[..., Any]


@pytest.fixture
def pair(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Two layouts, each of an image with these layers."""

    def make(a: list[list[AnyEntry]], b: list[list[AnyEntry]], codec: str = "gzip") -> tuple[Path, Path]:
        return tuple(  # type: ignore[return-value]
            write_layout(tmp_path / name, [image([layer_tar(files) for files in layers], codec=codec)])
            for name, layers in (("a", a), ("b", b))
        )

    return make


def written(directory: Path) -> dict[str, bytes]:
    """All files by path. Fails for anything that is neither a file nor a directory."""
    found = {}
    for folder, names, files in os.walk(directory):
        for name in (*names, *files):
            path = Path(folder, name)
            kind = path.lstat().st_mode
            assert stat.S_ISREG(kind) or stat.S_ISDIR(kind), path
            if stat.S_ISREG(kind):
                found[str(path.relative_to(directory))] = path.read_bytes()
    return found


@pytest.mark.parametrize("codec", ["gzip", "none", "zstd"])
def test_both_sides_of_each_changed_file_are_written(ocitool: Run, pair: Any, tmp_path: Path, codec: str) -> None:
    a, b = pair(
        [[("d/", None), ("d/same", b"s"), ("d/changed", b"1"), ("gone", b"g"), ("d/old/deep/x", b"x")]],
        [[("d/", None), ("d/same", b"s"), ("d/changed", b"22"), ("d/empty", b"")], [("new", b"n"), ("d/sub/y", b"y")]], codec,
    )  # fmt: skip
    report = report_of(ocitool("diff", "--extract", tmp_path / "x", "--format", "json", a, b), 1)
    expected = {
        "before/d/changed": b"1", "before/gone": b"g", "before/d/old/deep/x": b"x",
        "after/d/changed": b"22", "after/d/empty": b"", "after/new": b"n", "after/d/sub/y": b"y",
    }  # fmt: skip
    assert expected == written(tmp_path / "x")
    told = {"directory": str(tmp_path / "x"), "before": 3, "after": 4, "bytes": 7, "links": 0, "leftOut": 0, "secret": 0}
    assert told == report["extracted"]
    assert 0o700 == stat.S_IMODE((tmp_path / "x").stat().st_mode)


def test_no_link_device_or_right_of_an_image_is_made(ocitool: Run, pair: Any, tmp_path: Path) -> None:
    a, b = pair([[("x", b"1")]], [[
        ("x", "link:/etc/passwd"), ("up", "link:../../.."), entry("null", kind=Kind.CHAR, device=(1, 3)),
        entry("p", kind=Kind.FIFO),
        entry("s", b"setuid", mode=0o6777, xattrs=((b"user.a", b"1"),)),
    ]])  # fmt: skip
    result = ocitool("diff", "--extract", tmp_path / "x", a, b)
    expected = {"before/x": b"1", "after/x": b"/etc/passwd", "after/up": b"../../..", "after/s": b"setuid"}
    assert (1, expected) == (result.code, written(tmp_path / "x"))
    made = tmp_path / "x/after/s"
    assert (0o755, []) == (stat.S_IMODE(made.stat().st_mode), os.listxattr(made))
    assert "2 of them hold the target of a symbolic link; 2 devices and pipes left out" in result.out


def test_a_directory_that_became_a_link_or_a_file_is_no_way_out(ocitool: Run, pair: Any, tmp_path: Path) -> None:
    a, b = pair([[("d/f", b"1"), ("e", b"2")]], [[("d", f"link:{tmp_path}"), ("e/f", b"3")]])
    assert ocitool("diff", "--extract", tmp_path / "x", a, b).code == 1
    expected = {"before/d/f": b"1", "before/e": b"2", "after/d": str(tmp_path).encode(), "after/e/f": b"3"}
    assert expected == written(tmp_path / "x")


def test_all_names_of_a_file_are_written(ocitool: Run, pair: Any, tmp_path: Path) -> None:
    a, b = pair([[("a", b"1"), ("b", "hard:a"), ("c", b"other")]], [[("a", b"2"), ("b", "hard:a"), ("c", b"OTHER")]])
    assert ocitool("diff", "--extract", tmp_path / "x", a, b).code == 1
    expected = {f"{side}/{name}": data for side, data in (("before", b"1"), ("after", b"2")) for name in "ab"}
    assert expected | {"before/c": b"other", "after/c": b"OTHER"} == written(tmp_path / "x")


def test_only_the_paths_that_are_compared_are_written(ocitool: Run, pair: Any, tmp_path: Path) -> None:
    a, b = pair([[("etc/a", b"1"), ("usr/b", b"1")]], [[("etc/a", b"2"), ("usr/b", b"2")]])
    assert ocitool("diff", "--path", "etc/**", "--extract", tmp_path / "x", a, b).code == 1
    assert {"before/etc/a": b"1", "after/etc/a": b"2"} == written(tmp_path / "x")


def test_metadata_alone_writes_no_file(ocitool: Run, pair: Any, tmp_path: Path) -> None:
    a, b = pair([[entry("a", b"1", mode=0o600)]], [[entry("a", b"1", mode=0o640)]])
    assert ocitool("diff", "--extract", tmp_path / "x", a, b).code == 1
    assert ({}, ["after", "before"]) == (written(tmp_path / "x"), sorted(os.listdir(tmp_path / "x")))


def test_a_file_that_looks_secret_is_written_and_told(ocitool: Run, pair: Any, tmp_path: Path) -> None:
    a, b = pair([[("x", b"")]], [[("root/.ssh/id_rsa", b"key")]])
    out = ocitool("diff", "--extract", tmp_path / "x", a, b).out
    assert b"key" == written(tmp_path / "x")["after/root/.ssh/id_rsa"]
    assert "1 looks secret: the directory is closed to other users" in out


def test_a_directory_with_something_in_it_is_refused_before_anything_is_read(ocitool: Run, pair: Any, tmp_path: Path) -> None:
    a, b = pair([[("x", b"1")]], [[("x", b"2")]])
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine").touch()
    assert (9, ["mine"]) == (ocitool("diff", "--extract", tmp_path / "full", a, b).code, os.listdir(tmp_path / "full"))
    (tmp_path / "empty").mkdir()
    assert ocitool("diff", "--extract", tmp_path / "empty", a, b).code == 1
    assert {"before/x": b"1", "after/x": b"2"} == written(tmp_path / "empty")


def test_a_damaged_layer_leaves_nothing(ocitool: Run, pair: Any, tmp_path: Path) -> None:
    a, b = pair([[("x", b"1")]], [[("x", os.urandom(100_000))]], "none")
    assert ocitool("diff", a, b).code == 1  # now its index is cached
    for blob in (b / "blobs/sha256").iterdir():
        if blob.stat().st_size > 50_000:
            os.truncate(blob, 1000)
    assert ocitool("diff", "--extract", tmp_path / "x", a, b).code in (3, 4, 5)
    assert {"a", "b"} == {name for name in os.listdir(tmp_path) if not name.startswith("caches")}


def test_with_all_platforms_it_is_wrong_usage(ocitool: Run, testdata: Path, tmp_path: Path) -> None:
    words = ("diff", "--all-platforms", "--extract", tmp_path / "x", testdata / "multiarch", testdata / "multiarch")
    assert ocitool(*words).code == 2
