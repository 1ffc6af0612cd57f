"""How many entries are read in runs, and how many one by one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.layers import END, member, pad, pax

from ocitool.blob import BytesBlob
from ocitool.layers import tar, tar_runs
from ocitool.layers.index import LayerIndex
from ocitool.layers.scan import index_headers, index_layer, index_layer_unhashed
from ocitool.layers.tarinput import SeekInput
from ocitool.task import Task

ENTRIES = 5_000
ORDINARY = b"".join(member(b"usr/share/%d/item%d" % (n // 50, n), b"%d" % n, mtime=n) for n in range(ENTRIES)) + END


class Pieces(BytesBlob):
    """Bytes that come as a decoder gives them, half a megabyte at a time."""

    def chunks(self, offset: int = 0):  # type: ignore[no-untyped-def]
        return (self.pread(1 << 19, at) for at in range(offset, self.size, 1 << 19))


def indexed(data: bytes) -> LayerIndex:
    with Task() as task:
        return index_layer(Pieces(data), task)


def unhashed(data: bytes) -> LayerIndex:
    with Task() as task:
        return index_layer_unhashed(Pieces(data), task)


def headers(data: bytes) -> LayerIndex:
    return index_headers(BytesBlob(data))


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The offsets of the headers that are read one by one."""
    found: list[int] = []
    original = tar._header

    def header(source: tar.TarInput, *rest: object, **more: bool) -> object:
        found.append(source.offset)
        return original(source, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(tar, "_header", header)
    return found


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many entries each run has, with those that are read again one by one."""
    found: list[int] = []
    original = tar_runs.RunReader._run

    def run(self: tar_runs.RunReader, names: list[bytes], *rest: object) -> object:
        found.append(len(names))
        return original(self, names, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(tar_runs.RunReader, "_run", run)
    return found


@pytest.mark.parametrize(("read", "window"), [(indexed, 1 << 19), (unhashed, 1 << 19), (headers, SeekInput.WINDOW)])
def test_ordinary_entries_are_read_in_runs(read: Callable[[bytes], LayerIndex], window: int, parsed: list[int]) -> None:
    assert len(read(ORDINARY)) == ENTRIES
    assert len(parsed) <= SeekInput.RUN + 4 * (1 + len(ORDINARY) // window)


def test_reading_headers_in_runs_reads_windows() -> None:
    class Counted(BytesBlob):
        reads = 0

        def pread(self, size: int, offset: int) -> bytes:
            self.reads += 1
            return super().pread(size, offset)

    blob = Counted(ORDINARY)
    assert len(index_headers(blob)) == ENTRIES
    assert blob.reads <= SeekInput.RUN + 4 + len(ORDINARY) // (SeekInput.WINDOW - 1024)


@pytest.mark.parametrize("name", [b"/usr/%d", b"usr//%d", b"usr/./%d", b"usr/.wh.%d"])
def test_of_a_layer_of_doubtful_entries_few_are_read_twice(name: bytes, tried: list[int]) -> None:
    entries = 20_000
    assert len(indexed(b"".join(member(name % n, pad(b"x" * 900)) for n in range(entries)) + END)) == entries
    assert sum(tried) < entries / 10


def test_where_each_entry_has_records_runs_are_hardly_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = []
    original = tar_runs.RunReader._parsed
    monkeypatch.setattr(tar_runs.RunReader, "_parsed", lambda self, *where: attempts.append(where) or original(self, *where))
    assert len(indexed(b"".join(pax((b"mtime", b"1.5")) + member(b"%d" % n) for n in range(ENTRIES)) + END)) == ENTRIES
    assert len(attempts) < ENTRIES / 32
