"""Files that a user names beside the image: what stands there is replaced only if it is a file, and no image's."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.images import image, layer_tar, write_docker_archive, write_layout

Run = Callable[..., Any]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_docker_archive(tmp_path / "app.tar", [image([layer_tar([("a", b"a")])], tag="app:1", codec="none")])


@pytest.fixture
def text(ocitool: Run, archive: Path) -> bytes:
    """What `inspect` says of the archive."""
    said: bytes = ocitool("inspect", archive).stdout
    assert b"app:1" in said
    return said


def refused(code: int, result: Any) -> str:
    assert (code, b"") == (result.code, result.stdout), str(result)
    return str(result.err)


def test_a_link_is_kept_and_the_file_it_leads_to_is_replaced(ocitool: Run, archive: Path, text: bytes, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "target", tmp_path / "link"
    target.write_text("old")
    target.chmod(0o640)
    number = target.stat().st_ino
    link.symlink_to("there/target")
    assert 0 == ocitool("inspect", "--report", link, archive).code
    assert (True, text, 0o640) == (link.is_symlink(), target.read_bytes(), target.stat().st_mode & 0o777)
    assert number != target.stat().st_ino  # another file: it appeared whole
    assert ["target"] == os.listdir(tmp_path / "there")


def test_a_link_to_nothing_makes_the_file_it_names(ocitool: Run, archive: Path, text: bytes, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("target")
    assert 0 == ocitool("inspect", "--report", tmp_path / "link", archive).code
    assert (True, text) == ((tmp_path / "link").is_symlink(), (tmp_path / "target").read_bytes())


def test_a_pipe_is_written_to(ocitool: Run, archive: Path, text: bytes, tmp_path: Path) -> None:
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()), daemon=True)
    reader.start()
    result = ocitool("inspect", "--report", pipe, archive)
    reader.join(10)
    assert (0, [text], True) == (result.code, got, pipe.is_fifo())


def test_a_device_is_written_to(ocitool: Run, archive: Path, text: bytes) -> None:
    leader, terminal = os.openpty()
    name = os.ttyname(terminal)
    assert 0 == ocitool("inspect", "--report", name, archive).code
    got = b""
    while len(got) < len(text.replace(b"\n", b"\r\n")):
        got += os.read(leader, 1 << 16)
    assert text == got.replace(b"\r\n", b"\n")
    assert Path(name).is_char_device()
    os.close(terminal)
    os.close(leader)


@pytest.mark.parametrize("name", ["-", "/proc/self/fd/1", "/dev/fd/1", "link"])
def test_standard_output_has_names(name: str, ocitool: Run, archive: Path, text: bytes, tmp_path: Path) -> None:
    """None of these can be replaced by a file if this fails, whatever the user: `link` stands for /dev/stdout."""
    (tmp_path / "link").symlink_to("/proc/self/fd/1")
    result = ocitool("inspect", "--report", name, archive, cwd=tmp_path)
    assert (0, text) == (result.code, result.stdout), str(result)
    assert {"app.tar", "link"} == set(os.listdir(tmp_path))


def test_standard_output_that_is_a_file_goes_on_where_it_was(archive: Path, text: bytes, tmp_path: Path) -> None:
    """It is not opened again by its name: that would begin at its start, or replace the file."""
    words = (sys.executable, "-m", "ocitool", "inspect", "--report", "/proc/self/fd/1", str(archive))
    with open(tmp_path / "out", "wb") as out:
        out.write(b"before\n")
        out.flush()
        assert 0 == subprocess.run(words, stdout=out, timeout=60).returncode
    assert b"before\n" + text == (tmp_path / "out").read_bytes()


def test_a_descriptor_that_was_handed_down_is_written_to(archive: Path, text: bytes) -> None:
    """As bash's >(command) hands it down."""
    reading, writing = os.pipe()
    words = (sys.executable, "-m", "ocitool", "inspect", "--report", f"/dev/fd/{writing}", str(archive))
    assert 0 == subprocess.run(words, pass_fds=[writing], timeout=60).returncode
    os.close(writing)
    with os.fdopen(reading, "rb") as got:
        assert text == got.read()


@pytest.mark.parametrize("kind", ["archive", "compressed", "index", "blob"])
def test_an_image_is_not_replaced_by_a_report(kind: str, ocitool: Run, archive: Path, tmp_path: Path) -> None:
    write_layout(tmp_path / "layout", [image([layer_tar([("b", b"b")])], tag="b")])
    there = {
        "archive": archive, "compressed": tmp_path / "some.json", "index": tmp_path / "layout" / "index.json",
        "blob": next((tmp_path / "layout" / "blobs" / "sha256").iterdir()),
    }[kind]  # fmt: skip
    if kind == "compressed":
        assert 0 == ocitool("copy", archive, tmp_path / "some.tar.zst").code
        (tmp_path / "some.tar.zst").rename(there)
    before = there.read_bytes()
    assert "hint: name another file" in refused(9, ocitool("inspect", "--report", there, archive))
    assert before == there.read_bytes()


def test_a_report_in_a_layout_is_replaced_as_anywhere(ocitool: Run, archive: Path, text: bytes, tmp_path: Path) -> None:
    layout = write_layout(tmp_path / "layout", [image([layer_tar([("b", b"b")])], tag="b")])
    (layout / "report").write_text("old")
    assert 0 == ocitool("inspect", "--report", layout / "report", archive).code
    assert text == (layout / "report").read_bytes()


def test_an_empty_file_is_no_archive(ocitool: Run, archive: Path, text: bytes, tmp_path: Path) -> None:
    """As mktemp makes it."""
    (tmp_path / "report").touch()
    assert 0 == ocitool("inspect", "--report", tmp_path / "report", archive).code
    assert text == (tmp_path / "report").read_bytes()


def test_a_report_that_has_no_place_is_refused_before_the_work(ocitool: Run, archive: Path, tmp_path: Path) -> None:
    refused(9, ocitool("copy", "--report", archive, archive, tmp_path / "new.tar"))
    refused(9, ocitool("copy", "--report", tmp_path / "missing" / "report", archive, tmp_path / "new.tar"))
    refused(2, ocitool("copy", "--report", tmp_path, archive, tmp_path / "new.tar"))
    assert ["app.tar"] == os.listdir(tmp_path)


@pytest.mark.parametrize("words", [("copy",), ("edit", "--user", "1"), ("unpack", "--as", "tar")], ids=" ".join)
def test_image_and_report_do_not_share_standard_output(words: tuple[str, ...], ocitool: Run, archive: Path) -> None:
    assert "the report needs another file" in refused(2, ocitool(*words, archive, "-", "--report", "-"))
