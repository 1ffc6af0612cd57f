"""Files with holes: writers say where the data is, and never read or write what is not there."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import places
from support.images import image, layer_tar, write_layout
from support.layers import END, scanned, sparse_1_0
from support.report import report_of

from ocitool.disk.holes import MIN_HOLES

Run = Callable[..., Any]
SIZE = 1 << 40
"""A terabyte: whoever reads or writes it whole does not end."""
AT = 5 << 30


def lastlog(path: Path, size: int = SIZE) -> Path:
    """A file with five bytes in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.seek(AT)
        file.write(b"hello")
        file.truncate(size)
    return path


def out_of(place: Path) -> str:
    return f"oci:{place / 'out'}"


def plain(place: Path) -> Path:
    return write_layout(place / "src", [image([layer_tar([("etc/", None), ("etc/a", b"1"), ("var/", None)])])])


def top(layout: Path) -> bytes:
    """The tar of the top-most layer."""
    import gzip

    found = places.blobs(layout)[places.manifest(layout)["layers"][-1]["digest"]]
    return gzip.decompress(found) if found[:2] == b"\x1f\x8b" else found


def stored(layout: Path, path: bytes) -> tuple[int, int, list[tuple[int, int]]]:
    """Size, bytes in the tar and segments of a file of the top-most layer."""
    index = scanned(top(layout))
    (entry,) = (entry for entry in index if entry.path == path)
    return entry.size, entry.stored, [one for one in entry.segments or () if one[1]]


@pytest.mark.parametrize("how", ["append --layer", "append --upperdir", "edit --add FILE", "edit --add DIR"])
def test_a_new_file_is_as_sparse_as_it_is_on_disk(how: str, ocitool: Run, tmp_path: Path) -> None:
    file = lastlog(tmp_path / "files/var/lastlog")
    words = {
        "append --layer": ("append", "--layer", tmp_path / "files"),
        "append --upperdir": ("append", "--upperdir", tmp_path / "files"),
        "edit --add FILE": ("edit", "--add", f"{file}:/var/lastlog"),
        "edit --add DIR": ("edit", "--add", f"{tmp_path / 'files/var'}:/var"),
    }[how]
    assert 0 == ocitool(words[0], plain(tmp_path), out_of(tmp_path), *words[1:]).code
    size, length, segments = stored(tmp_path / "out", b"var/lastlog")
    assert (SIZE, True) == (size, length <= MIN_HOLES)
    assert any(at <= AT < at + length for at, length in segments)


def test_an_edited_sparse_file_is_packed_as_it_is_on_disk(ocitool: Run, tmp_path: Path) -> None:
    assert 0 == ocitool("unpack", plain(tmp_path), tmp_path / "work").code
    lastlog(tmp_path / "work/rootfs/var/new")
    lastlog(tmp_path / "work/rootfs/etc/a")
    assert 0 == ocitool("repack", tmp_path / "work", out_of(tmp_path)).code
    assert [SIZE, SIZE] == [stored(tmp_path / "out", path)[0] for path in (b"var/new", b"etc/a")]


def test_the_content_of_a_sparse_file_is_that_on_disk(ocitool: Run, tmp_path: Path) -> None:
    file = lastlog(tmp_path / "files/f", AT + (1 << 20))
    assert 0 == ocitool("append", plain(tmp_path), out_of(tmp_path), "--layer", file.parent, "--compression", "none").code
    made = tmp_path / "made.tar"
    made.write_bytes(top(tmp_path / "out"))
    with tarfile.open(made) as tar:
        member = tar.getmember("f")
        content = tar.extractfile(member)
        assert content is not None
        content.seek(AT - 3)
        assert (AT + (1 << 20), bytes(3) + b"hello" + bytes(3)) == (member.size, content.read(11))


def holey(place: Path, size: int) -> Path:
    """An image with one sparse file, whose map is no file system's."""
    tar = layer_tar([("var/", None)], end=b"") + sparse_1_0(b"var/lastlog", [(1000, b"hello"), (70_001, b"x" * 7)], size) + END
    return write_layout(place / "src", [image([tar])])


@pytest.mark.parametrize("size", [1 << 20, SIZE])
@pytest.mark.parametrize("words", [(), ("--checksum",), ("--mode", "append")])
def test_a_layers_sparse_form_stays_if_only_attributes_change(
    words: tuple[str, ...], size: int, ocitool: Run, tmp_path: Path
) -> None:
    assert 0 == ocitool("unpack", holey(tmp_path, size), tmp_path / "work").code
    (tmp_path / "work/rootfs/var/lastlog").chmod(0o600)
    assert 0 == ocitool("repack", tmp_path / "work", out_of(tmp_path), *words).code
    assert (size, 12, [(1000, 5), (70_001, 7)]) == stored(tmp_path / "out", b"var/lastlog")


@pytest.mark.parametrize("size", [1 << 20, 1 << 32])
def test_a_sparse_file_that_was_touched_is_no_change(size: int, ocitool: Run, tmp_path: Path) -> None:
    assert 0 == ocitool("unpack", holey(tmp_path, size), tmp_path / "work").code
    file = tmp_path / "work/rootfs/var/lastlog"
    status = file.stat()
    os.utime(file, ns=(0, 0))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    report = report_of(ocitool("repack", tmp_path / "work", out_of(tmp_path), "--format", "json"))
    assert 0 == report["details"]["changed"]


@pytest.mark.parametrize("at", [0, 1000, 70_008, (1 << 32) - 1])
def test_a_byte_in_a_sparse_file_is_a_change(at: int, ocitool: Run, tmp_path: Path) -> None:
    assert 0 == ocitool("unpack", holey(tmp_path, 1 << 32), tmp_path / "work").code
    file = tmp_path / "work/rootfs/var/lastlog"
    status = file.stat()
    with file.open("r+b") as opened:
        opened.seek(at)
        opened.write(b"!")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert 0 == ocitool("repack", tmp_path / "work", out_of(tmp_path)).code
    _, _, segments = stored(tmp_path / "out", b"var/lastlog")
    assert any(begin <= at < begin + length for begin, length in segments)


def test_a_file_that_edit_copies_within_the_image_stays_sparse(ocitool: Run, tmp_path: Path) -> None:
    """A layer writes through a link that goes, so the file must be said again at its place."""
    lower = layer_tar([("d/", None), ("l", "link:d")])
    layout = write_layout(tmp_path / "src", [image([lower, sparse_1_0(b"l/f", [(1000, b"hello")], SIZE) + END])])
    assert 0 == ocitool("edit", layout, out_of(tmp_path), "--rm", "/l").code
    assert (SIZE, 5, [(1000, 5)]) == stored(tmp_path / "out", b"d/f")


def test_an_image_with_a_terabyte_of_holes_can_be_read_again(ocitool: Run, tmp_path: Path) -> None:
    lastlog(tmp_path / "files/f")
    out = f"oci:{tmp_path / 'out'}"
    assert 0 == ocitool("append", plain(tmp_path), out, "--layer", tmp_path / "files").code
    for words in (("validate", out), ("inspect", out, "--files"), ("diff", out, out), ("unpack", out, tmp_path / "work")):
        assert 0 == ocitool(*words).code
    assert (tmp_path / "work/rootfs/f").stat().st_blocks * 512 <= MIN_HOLES
