"""Holes of files on disk: which are found, and what is read where they are to be."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.layers import file_entry

from ocitool.disk import holes
from ocitool.disk.scan_directory import open_file, with_holes
from ocitool.layers.entry import Entry, Segments

MIB = 1 << 20


def made(path: Path, size: int, *data: int) -> Entry:
    """A file with a block of data at each of these offsets."""
    with path.open("wb") as file:
        for offset in data:
            file.seek(offset)
            file.write(b"x" * 4096)
        file.truncate(size)
    return file_entry(path.name.encode(), size)


def found(path: Path, entry: Entry) -> Segments | None:
    return with_holes(path.parent, entry.path, entry).segments


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    entry = made(tmp_path / "probe", MIB)
    if (tmp_path / "probe").stat().st_blocks:
        pytest.fail(f"the file system of the tests has no holes ({entry.path!r})")
    yield tmp_path / "f"


@pytest.mark.parametrize("data", [(), (0,), (MIB,), (0, 2 * MIB), (4 * MIB - 4096,)])
def test_the_data_of_a_file_with_holes_is_found(data: tuple[int, ...], path: Path) -> None:
    assert tuple((offset, 4096) for offset in data) == found(path, made(path, 4 * MIB, *data))


@pytest.mark.parametrize("size", [0, 1, holes.MIN_HOLES - 1])
def test_a_file_of_little_room_has_no_map(size: int, path: Path) -> None:
    assert found(path, made(path, size)) is None


def test_a_file_without_holes_has_no_map(path: Path) -> None:
    path.write_bytes(bytes(MIB))
    assert found(path, file_entry(b"f", MIB)) is None


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP])
def test_on_a_file_system_that_does_not_tell_a_file_is_dense(code: int, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = made(path, MIB)

    def refused(*_: int) -> int:
        raise OSError(code, "no")

    monkeypatch.setattr(os, "lseek", refused)
    assert found(path, entry) is None


def test_a_map_that_readers_would_refuse_is_not_made(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holes, "MAX_SEGMENTS", 3)
    assert found(path, made(path, 4 * MIB, *range(0, 4 * MIB, MIB))) is None


def test_a_sparse_file_is_read_where_its_data_is(path: Path) -> None:
    entry = with_holes(path.parent, b"f", made(path, 1 << 40, MIB, 1 << 39))
    assert b"x" * 8192 == b"".join(open_file(path.parent, b"f", entry))


def test_zeros_may_stand_where_a_hole_is_said_to_be(path: Path) -> None:
    path.write_bytes(b"x" * 4096 + bytes(MIB))
    entry = file_entry(b"f", 4096 + MIB)._replace(segments=((0, 4096),), stored=4096)
    assert b"x" * 4096 == b"".join(open_file(path.parent, b"f", entry))


@pytest.mark.parametrize("at", [0, MIB, 4 * MIB - 1])
def test_data_where_a_hole_is_said_to_be_is_an_error(at: int, path: Path) -> None:
    entry = with_holes(path.parent, b"f", made(path, 4 * MIB, 2 * MIB))
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"y")
    with pytest.raises(holes.NoHoleError):
        list(open_file(path.parent, b"f", entry))
