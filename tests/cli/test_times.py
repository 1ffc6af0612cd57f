"""Modification times that an index has no room for: told by path, and no reason to read nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import layers as raw_tar
from support.images import image, layer_tar, write_layout
from support.layers import only
from support.report import report_of

LATE = 13_569_465_600  # 2400
Run = Callable[..., Any]

LATEST, EARLIEST = (1 << 63) - 1, -(1 << 63)
FAR: dict[str, tuple[bytes, int]] = {
    "2262": (raw_tar.pax((b"mtime", b"9223372037")) + raw_tar.member(b"f"), LATEST),
    "fraction": (raw_tar.pax((b"mtime", b"99999999999.123456789123456789")) + raw_tar.member(b"f"), LATEST),
    "digits": (raw_tar.pax((b"mtime", b"9" * 5000)) + raw_tar.member(b"f"), LATEST),
    "negative": (raw_tar.pax((b"mtime", b"-99999999999.5")) + raw_tar.member(b"f"), EARLIEST),
    "base-256": (raw_tar.member(b"f", mtime=raw_tar.base256(1 << 80, 12)), LATEST),
    "base-256 negative": (raw_tar.member(b"f", mtime=raw_tar.base256(-(1 << 80), 12)), EARLIEST),
}
WORDS = (b"inf", b"-inf", b"nan", b"1e400", b"0x10", b"+5", b"1.5.5", b"--1", b".5", b"x", b"1.x", b"-", b" 1")


@pytest.mark.parametrize("name", FAR)
def test_a_time_out_of_range_is_the_nearest_that_is_in_it(name: str) -> None:
    data, expected = FAR[name]
    assert (expected, ["tar-time"]) == (only(data + raw_tar.END).mtime, raw_tar.rules(data + raw_tar.END))


@pytest.mark.parametrize("text", WORDS)
def test_a_time_that_is_not_a_number_leaves_the_headers(text: bytes) -> None:
    data = raw_tar.pax((b"mtime", text)) + raw_tar.member(b"f", mtime=7) + raw_tar.END
    assert (7 * 10**9, ["tar-time"]) == (only(data).mtime, raw_tar.rules(data))


@pytest.mark.parametrize("text", [b"9223372036.854775807", b"-9223372036.854775808", b"0000000000000000000000000000001"])
def test_a_time_in_range_is_exact_and_not_told(text: bytes) -> None:
    data = raw_tar.pax((b"mtime", text)) + raw_tar.member(b"f") + raw_tar.END
    whole, _, fraction = text.partition(b".")
    assert int(whole) * 10**9 + (-1 if whole < b"0" else 1) * int(fraction or 0) == only(data).mtime
    assert [] == raw_tar.rules(data)


def of(seconds: bytes) -> Any:
    return image([raw_tar.pax((b"mtime", seconds)) + raw_tar.member(b"far", b"x") + raw_tar.END, layer_tar([("b", b"")])])


@pytest.mark.parametrize(
    "words",
    [("ls", "SRC"), ("inspect", "--files", "SRC"), ("cat", "SRC", "/far"), ("diff", "SRC", "OTHER"), ("unpack", "SRC", "out"),
     ("unpack", "--as", "rootfs", "SRC", "out"), ("unpack", "--as", "layers", "SRC", "out"),
     ("unpack", "--as", "tar", "SRC", "out.tar"), ("squash", "SRC", "out.tar"), ("edit", "SRC", "out.tar", "--rm", "far"),
     ("dedupe", "--files", "SRC"), ("append", "OTHER", "out.tar", "--layer", "far.tar")],
)  # fmt: skip
def test_every_command_reads_it_and_names_the_path(ocitool: Run, tmp_path: Path, words: tuple[str, ...]) -> None:
    """Cached or not."""
    write_layout(tmp_path / "SRC", [of(b"99999999999")])
    write_layout(tmp_path / "OTHER", [of(b"99999999998")])
    (tmp_path / "far.tar").write_bytes(of(b"99999999999").layers[0])
    for more in ((), ("--force",) if "out.tar" in words else ()):
        result = ocitool(*words, *more, cwd=tmp_path)
        assert result.code in (0, 1), str(result)
        assert ": /far: its modification time of 99999999999 seconds is not within the years 1677 to 2262" in result.err
        if "out" in words:
            break


def test_two_such_times_that_differ_are_told_by_a_diff(ocitool: Run, tmp_path: Path) -> None:
    a, b = write_layout(tmp_path / "a", [of(b"99999999999")]), write_layout(tmp_path / "b", [of(b"99999999998")])
    notices = report_of(ocitool("diff", "--format", "json", a, b), 1)["notices"]
    assert [9, 8] == [int(one["text"].partition(" seconds")[0][-1]) for one in notices if one["code"] == "time"]


def test_a_copy_keeps_the_layers_bytes(ocitool: Run, tmp_path: Path) -> None:
    made = of(b"99999999999")
    result = ocitool("copy", write_layout(tmp_path / "a", [made]), f"{tmp_path}/b/")
    assert 0 == result.code, str(result)
    digest = made.manifest["layers"][0]["digest"].replace(":", "/")
    assert made.layers[0] == (tmp_path / "b/blobs" / digest).read_bytes()
    assert 0 == ocitool("validate", f"{tmp_path}/b").code
    assert "tar-time" in ocitool("validate", f"{tmp_path}/b").out


@pytest.fixture
def late(tmp_path: Path) -> Path:
    """A directory with a file of the year 2400, if the file system can hold one."""
    (tmp_path / "late").mkdir()
    (tmp_path / "late/f").write_bytes(b"1")
    os.utime(tmp_path / "late/f", (LATE, LATE))
    if int(os.stat(tmp_path / "late/f").st_mtime) != LATE:
        os.utime(tmp_path / "late/f")
    return tmp_path / "late"


@pytest.mark.parametrize("words", [("append", "--layer", "late"), ("append", "--upperdir", "late"), ("edit", "--add", "late:/"),
                                   ("edit", "--add", "late/f:/f")])  # fmt: skip
def test_a_time_on_disk_that_is_out_of_range_is_the_nearest_and_told(
    ocitool: Run, tmp_path: Path, late: Path, words: tuple[str, ...]
) -> None:
    write_layout(tmp_path / "SRC", [image([layer_tar([("b", b"")])])])
    command, *more = words
    result = ocitool(command, "SRC", "out/", *more, cwd=tmp_path)
    assert 0 == result.code, str(result)
    listed = report_of(ocitool("ls", "out", "--recursive", "--format", "json", cwd=tmp_path))
    (mtime,) = [one["mtime"] for one in listed["entries"] if one["path"].endswith("/f")]
    if os.stat(late / "f").st_mtime_ns >= 1 << 63:
        assert mtime.startswith("2262-04-11T23:47:16")
        assert "f: its modification time is not within the years 1677 to 2262: the nearest stands for it" in result.err


def test_a_time_on_disk_that_is_out_of_range_is_repacked(ocitool: Run, tmp_path: Path, late: Path) -> None:
    write_layout(tmp_path / "SRC", [image([layer_tar([("b", b"")])])])
    assert 0 == ocitool("unpack", "SRC", "work", cwd=tmp_path).code
    os.rename(late / "f", tmp_path / "work/rootfs/f")
    result = ocitool("repack", "work", "out/", cwd=tmp_path)
    assert 0 == result.code, str(result)
    late_ns = os.stat(tmp_path / "work/rootfs/f").st_mtime_ns
    assert (late_ns >= 1 << 63) == ("/f: its modification time is not within the years 1677 to 2262" in result.err)
