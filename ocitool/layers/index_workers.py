"""Indexing of several layers at once, each in a process of its own.

Parsing holds Python's lock, so threads would parse in turns. A process takes 0.06 s of CPU to begin, and its answer, the bytes
that the cache keeps, 0.2 microseconds an entry: that pays for a layer of many entries, while another one is indexed at the same
time. How many entries a layer has is known when a part of them is read; so each layer begins in this process, and the beginning
of one that moves is read twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Literal, NamedTuple

from ocitool.blob import Blob, FileBlob, OpenFile, label
from ocitool.digest import Digest
from ocitool.layers.cache import dump, dump_contents, load
from ocitool.layers.index import LayerIndex
from ocitool.layers.kept_contents import KeptContents
from ocitool.layers.scan import index_headers, index_layer, index_layer_unhashed
from ocitool.shared_counts import SLOTS, Expansion, SharedCounts
from ocitool.task import Task

if TYPE_CHECKING:
    from ocitool.processes import Worker

How = Literal["hashed", "unhashed", "headers"]
"""`index_layer`, `index_layer_unhashed` or `index_headers`."""

LARGE = 4 << 20
"""Stored bytes below which a layer has too few entries."""
REMAINING = 100_000
"""Entries that a layer must still have, by what was read of it, to move to another process."""
_STEP = 0.02
"""Seconds between two looks for a free process."""


class Indexed(NamedTuple):
    """An index, and kept contents of its files by row. `packed`: both as the cache keeps them, if they come from another
    process."""

    found: LayerIndex
    kept: dict[int, bytes]
    packed: tuple[bytes, bytes] | None


class _MovedError(Exception):
    """The layer is to be indexed in another process."""


class IndexWorkers:
    """Indexes layers for several threads: those of many entries one in this process, and one in each of as many others as the
    task has cores and jobs for. `close` ends these processes."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._most = min(task.workers, SLOTS) - 1
        self._changing = Lock()
        self._busy_here = False
        self._idle: list[tuple[int, Worker]] = []
        self._made = 0
        self._counts: SharedCounts | None = None

    def index(self, blob: Blob, how: How, *, algorithm: str = "sha256", keep: bool = False) -> Indexed:
        """Returns the index of a layer. `keep`: with contents that are kept (`KeptContents`). Raises what the functions of
        `How` raise."""
        if self._most < 1 or not isinstance(blob, FileBlob) or blob.size < LARGE:
            return _indexed(blob, how, algorithm, keep, self._task, None)
        turn = _Turn(self, self._task)
        try:
            return _indexed(blob, how, algorithm, keep, self._task, turn)
        except _MovedError:
            pass
        finally:
            turn.end()
        with self._place() as place:
            if place is None:
                return _indexed(blob, how, algorithm, keep, self._task, None)
            return self._elsewhere(*place, blob, how, algorithm, keep, turn.read)

    def close(self) -> None:
        """Ends the processes that do nothing."""
        with self._changing:
            idle, self._idle = self._idle, []
            self._made -= len(idle)
        for _, worker in idle:
            worker.close()

    def take_here(self) -> bool:
        """Takes this process for a layer of many entries; returns whether no other layer has it."""
        with self._changing:
            taken, self._busy_here = self._busy_here, True
            return not taken

    def leave_here(self) -> None:
        with self._changing:
            self._busy_here = False

    @contextmanager
    def _place(self) -> Iterator[tuple[int, Worker] | None]:
        """Provides a process, with its number, or None for this one, as soon as one is free."""
        place = self._taken()
        try:
            yield place
        finally:
            if place is None:
                self.leave_here()
            else:
                with self._changing:
                    self._idle.append(place)

    def _taken(self) -> tuple[int, Worker] | None:
        from ocitool.processes import Worker

        while True:
            with self._changing:
                if not self._busy_here:
                    self._busy_here = True
                    return None
                if self._idle:
                    return self._idle.pop()
                if self._made < self._most:
                    self._made += 1
                    if self._counts is None:
                        self._counts = SharedCounts()
                        self._task.expansion.share(self._counts)
                    return self._made, Worker()
            self._task.pause(_STEP)

    def _elsewhere(
        self, slot: int, worker: Worker, blob: FileBlob, how: How, algorithm: str, keep: bool, told: int
    ) -> Indexed:  # fmt: skip
        """Indexes a layer in another process. `told`: bytes that were reported as read already."""
        counts = self._counts
        assert counts is not None
        before = counts.read[slot]
        name = label(blob)

        def waiting() -> None:
            nonlocal told
            self._task.check()
            read = counts.read[slot] - before
            if read > told:
                self._task.advance(name, read - told, blob.size)
                told = read

        arguments = (blob.offset, blob.size, blob.digest, blob.file.path, how, algorithm, keep, slot)
        files = (blob.descriptor, counts.descriptor)
        about, packed, contents = worker.call(index_in_worker, files, arguments, waiting)
        waiting()
        index = load(packed)
        stated = json.loads(about)
        index.codec, index.hashed = stated["codec"], stated["hashed"]
        index.digest = Digest.parse(stated["digest"]) if stated["digest"] else None
        return Indexed(index, {}, (packed, contents))


class _Turn:
    """One layer that begins in this process. `read`: its stored bytes that were read."""

    def __init__(self, workers: IndexWorkers, task: Task) -> None:
        self._workers, self._task = workers, task
        self._expansion = task.count_expansion(0)
        self._here = False
        self.read = 0

    def many_entries(self, entries: int, share: float) -> None:
        """Called when that many entries, and this share of the layer, are read. Raises `_MovedError` if another process shall
        index it."""
        if entries / share - entries < REMAINING:
            return
        if self._task.count_expansion(0) != self._expansion:
            return  # perhaps of this layer: read again, it would be counted twice
        self._here = self._workers.take_here()
        if not self._here:
            raise _MovedError

    def end(self) -> None:
        if self._here:
            self._workers.leave_here()


def _indexed(blob: Blob, how: How, algorithm: str, keep: bool, task: Task, turn: _Turn | None) -> Indexed:
    kept = KeptContents() if keep else None
    if how == "hashed":
        index = index_layer(blob, task, algorithm=algorithm, kept=kept, turn=turn)
    elif how == "unhashed":
        index = index_layer_unhashed(blob, task, turn=turn)
    else:
        index = index_headers(blob, turn=turn)
    return Indexed(index, kept.found if kept is not None else {}, None)


class _WorkerTask(Task):
    """The task of a layer in its process: what it counts and reads is known to the others."""

    def __init__(self, counts: SharedCounts, slot: int) -> None:
        super().__init__(jobs=1, cores=1)
        self._counts, self._slot = counts, slot
        self.expansion = Expansion(counts, slot)

    def advance(self, label: str, done: int, total: int | None = None) -> None:
        self._counts.read[self._slot] += done


def index_in_worker(
    files: Sequence[int], offset: int, size: int, digest: Digest | None, path: str, how: How, algorithm: str, keep: bool,
    slot: int,
) -> Sequence[bytes]:  # fmt: skip
    """Returns, in a process of its own, what is to be known of a layer's bytes as JSON, its index and kept contents.
    `files`: the one that has the layer, and the one of `SharedCounts`."""
    blob = FileBlob(OpenFile(path, descriptor=files[0]), offset, size, digest)
    with _WorkerTask(SharedCounts(files[1]), slot) as task:
        index, kept, _ = _indexed(blob, how, algorithm, keep, task, None)
    about = {"codec": index.codec, "hashed": index.hashed, "digest": index.digest and str(index.digest)}
    return json.dumps(about).encode(), b"".join(dump(index)), b"".join(dump_contents(kept)) if kept else b""
