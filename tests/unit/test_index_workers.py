"""Layers that are indexed in processes of their own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread, Timer
from typing import Any

import pytest
from support.images import gz, image, write_layout
from support.layers import END, columns, member

from ocitool.blob import FileBlob, OpenFile
from ocitool.digest import Digest, digest_of
from ocitool.errors import CancelledError, FormatError, IntegrityError, OcitoolError, TransportError
from ocitool.layers import index_workers, scan
from ocitool.layers.cache import IndexCache
from ocitool.layers.index_workers import How, IndexWorkers
from ocitool.pipeline.session import Session
from ocitool.processes import Worker
from ocitool.progress import Progress
from ocitool.shared_counts import Expansion, SharedCounts
from ocitool.task import Task
from ocitool.trees.indexing import Indexer
from ocitool.validation import validate

ENTRIES = 3_000


def layer(name: bytes, end: bytes = END) -> bytes:
    return b"".join(member(b"%b/%d/file%d" % (name, n // 50, n), b"%d" % n) for n in range(ENTRIES)) + end


@pytest.fixture(autouse=True)
def _small_layers_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_workers, "LARGE", 1)
    monkeypatch.setattr(index_workers, "REMAINING", 0)
    monkeypatch.setattr(scan, "MANY", 100)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Worker]:
    """The worker of each call that is made."""
    found: list[Worker] = []
    original = Worker.call

    def call(self: Worker, *arguments: Any) -> list[bytes]:
        found.append(self)
        return original(self, *arguments)

    monkeypatch.setattr(Worker, "call", call)
    return found


def file_blob(path: Path, data: bytes, digest: Digest | None = None) -> FileBlob:
    path.write_bytes(data)
    return FileBlob(OpenFile(str(path)), 0, len(data), digest or digest_of([data], "sha256"))


@contextmanager
def occupied(task: Task) -> Iterator[IndexWorkers]:
    """Workers of a task in whose own process another layer of many entries is being indexed."""
    workers = IndexWorkers(task)
    try:
        assert workers.take_here()
        yield workers
    finally:
        workers.close()


def error_of(blob: FileBlob, *, cores: int) -> OcitoolError:
    with Task(cores=cores) as task, occupied(task) as workers, pytest.raises(OcitoolError) as found:
        workers.index(blob, "hashed")
    return found.value


@pytest.mark.parametrize("how", ["hashed", "unhashed", "headers"])
@pytest.mark.parametrize("codec", ["none", "gzip"])
def test_an_index_from_another_process_is_the_same(how: How, codec: str, tmp_path: Path, calls: list[Worker]) -> None:
    if (how, codec) == ("headers", "gzip"):
        return
    blob = file_blob(tmp_path / "layer", gz(layer(b"a")) if codec == "gzip" else layer(b"a"))
    with Task(cores=1) as task, occupied(task) as workers:
        here = workers.index(blob, how).found
    assert not calls
    with Task(cores=2) as task, occupied(task) as workers:
        found = workers.index(blob, how).found
    assert len(calls) == 1
    assert columns(found) == columns(here)
    assert (found.digest, found.codec, found.hashed) == (here.digest, here.codec, here.hashed)


def test_two_layers_of_many_entries_are_indexed_in_two_processes(tmp_path: Path, calls: list[Worker]) -> None:
    layers = [layer(b"a"), layer(b"b")]
    where = write_layout(tmp_path / "layout", [image(layers)])
    found = []
    for cores, cached in ((1, False), (2, False), (2, True), (2, True)):
        with Task(cores=cores) as task:
            opened = Session(task, cached).image(str(where), None)
            indexer = Indexer(IndexCache(str(tmp_path / "cache") if cached else None), task)
            both = indexer.computed_indexes([(opened, one) for one in opened.layers])
            found.append(([columns(one) for one in both], len(calls)))
    assert [indexes for indexes, _ in found[1:]] == [found[0][0]] * 3
    one, two, storing, cached_calls = (count for _, count in found)
    assert one == 0
    assert two <= 1 and storing <= two + 1 and cached_calls == storing  # one of both may be done before the other begins


def test_validate_finds_the_same_in_layers_that_other_processes_index(
    tmp_path: Path, calls: list[Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = [layer(b"a", member(b"a/0/file0", b"twice") + END), layer(b"b", b"x" * 512)]
    where = write_layout(tmp_path / "layout", [image(layers)])
    make = IndexWorkers.__init__

    def make_busy(self: IndexWorkers, task: Task) -> None:
        make(self, task)
        self.take_here()  # for another layer of many entries

    monkeypatch.setattr(IndexWorkers, "__init__", make_busy)
    found = []
    for cores in (1, 2):
        with Task(cores=cores) as task:
            found.append((validate(str(where), task), len(calls)))
    (here, calls_of_one), (there, calls_of_two) = found
    assert (0, 2) == (calls_of_one, calls_of_two)
    assert here == there
    assert {"duplicate-path", "layer-damaged"} <= {one.rule for one in there.findings}


def test_one_layer_starts_no_process(tmp_path: Path, calls: list[Worker]) -> None:
    with Task(cores=2) as task:
        workers = IndexWorkers(task)
        for name in (b"a", b"b"):
            assert len(workers.index(file_blob(tmp_path / "layer", layer(name)), "hashed").found) == ENTRIES
    assert not calls


@pytest.mark.parametrize(("name", "value"), [("LARGE", 1 << 30), ("REMAINING", 1 << 30)])
def test_a_small_layer_starts_no_process(
    name: str, value: int, tmp_path: Path, calls: list[Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_workers, name, value)
    with Task(cores=2) as task, occupied(task) as workers:
        workers.index(file_blob(tmp_path / "layer", layer(b"a")), "hashed")
    assert not calls


@pytest.mark.parametrize(("end", "kind"), [(b"x" * 512, FormatError), (member(b"half", b"x" * 600)[:700], FormatError)])
def test_a_bad_layer_is_the_same_error_in_another_process(
    end: bytes, kind: type[OcitoolError], tmp_path: Path, calls: list[Worker]
) -> None:
    blob = file_blob(tmp_path / "layer", layer(b"a", end))
    here, there = error_of(blob, cores=1), error_of(blob, cores=2)
    assert len(calls) == 1
    assert (kind, str(here), here.hint, here.exit_code) == (type(there), str(there), there.hint, there.exit_code)


def test_a_layer_with_another_digest_is_an_integrity_error_in_another_process(tmp_path: Path, calls: list[Worker]) -> None:
    blob = file_blob(tmp_path / "layer", layer(b"a"), digest_of([b"other"], "sha256"))
    here, there = error_of(blob, cores=1), error_of(blob, cores=2)
    assert (IntegrityError, str(here), 1) == (type(there), str(there), len(calls))


def test_limits_hold_in_another_process(tmp_path: Path, calls: list[Worker], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCITOOL_MAX_LAYER_ENTRIES", str(ENTRIES - 1))
    blob = file_blob(tmp_path / "layer", layer(b"a"))
    here, there = error_of(blob, cores=1), error_of(blob, cores=2)
    assert (7, str(here), 1) == (there.exit_code, str(there), len(calls))


def test_bytes_beyond_the_ratio_count_in_all_processes_together() -> None:
    one, counts = Expansion(), SharedCounts()
    one.add(5)
    one.share(counts)
    other = Expansion(SharedCounts(os.dup(counts.descriptor)), 1)
    assert (7, 17, 18) == (other.add(2), one.add(10), other.add(1))
    assert one.add(0) == 18


def test_a_bomb_in_another_process_counts_for_the_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = gz(layer(b"a", member(b"zeros", bytes(1 << 22)) + END))
    monkeypatch.setenv("OCITOOL_MAX_RATIO", "20")
    counted = []
    for cores in (1, 2):
        with Task(cores=cores) as task, occupied(task) as workers:
            workers.index(file_blob(tmp_path / "layer", bomb), "hashed")
            counted.append(task.count_expansion(0))
    assert counted[0] == counted[1] > 0


class Read(Progress):
    total = 0

    def advance(self, label: str, done: int, total: int | None) -> None:
        self.total += done


def test_progress_counts_each_byte_of_a_layer_once(tmp_path: Path, calls: list[Worker]) -> None:
    blob, progress = file_blob(tmp_path / "layer", layer(b"a")), Read()
    with Task(cores=2, progress=progress) as task, occupied(task) as workers:
        workers.index(blob, "hashed")
    assert (blob.size, 1) == (progress.total, len(calls))


def test_a_process_that_dies_is_an_error_and_a_new_one_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blob = file_blob(tmp_path / "layer", layer(b"a"))
    start = Worker._start

    def started_and_killed(self: Worker) -> None:
        start(self)
        os.kill(self._process.pid, signal.SIGKILL)

    with Task(cores=2) as task, occupied(task) as workers:
        with monkeypatch.context() as changed, pytest.raises(TransportError, match="died"):
            changed.setattr(Worker, "_start", started_and_killed)
            workers.index(blob, "hashed")
        assert len(workers.index(blob, "hashed").found) == ENTRIES


def test_a_cancelled_task_ends_the_process(tmp_path: Path, calls: list[Worker]) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with Task(cores=2) as task:
        worker = Worker()
        Timer(0.3, task.cancel).start()
        with pytest.raises(CancelledError):
            worker.call(_wait, (), (str(fifo),), task.check)
        assert worker._process is None


def _wait(files: list[int], path: str) -> list[bytes]:
    """Waits for ever."""
    with open(path, "rb") as fifo:
        return [fifo.read()]


def test_a_layer_waits_for_a_place_and_then_is_read_here(tmp_path: Path, calls: list[Worker]) -> None:
    blob = file_blob(tmp_path / "layer", layer(b"a"))
    found: list[int] = []
    with Task(cores=2) as task, occupied(task) as workers:
        place = workers._taken()
        assert place is not None
        thread = Thread(target=lambda: found.append(len(workers.index(blob, "hashed").found)))
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
        workers.leave_here()
        thread.join(30)
    assert ([ENTRIES], 0) == (found, len(calls))
