"""Work on single layers, and the executors that run it.

The work on a layer is a pure function of the location of its bytes: it can be pickled, sent to another process or
machine, and repeated. It runs on any `concurrent.futures.Executor`: processes of this machine, or a Dask cluster.
Results are processed as they come; for each worker at most `_AHEAD` jobs are under way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from logging import CRITICAL, getLogger
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

from ocitool import limits
from ocitool.blob import Blob, FileBlob, unreadable
from ocitool.dedupe.collection import BlobLocation
from ocitool.digest import Digest, verified, wrong_diff_id
from ocitool.errors import CancelledError, LimitError, OcitoolError, TransportError, UsageError
from ocitool.interrupts import undisturbed
from ocitool.layers import codecs
from ocitool.layers.compress import NONE, Compression, compress
from ocitool.layers.entry import Entry
from ocitool.layers.index import MAX_HASHED_HOLES, LayerIndex
from ocitool.layers.kept_contents import KeptContents
from ocitool.layers.scan import each_content, index_layer
from ocitool.limits import MiB
from ocitool.packages.package import DatabaseProblem, Package, PackageKind
from ocitool.task import Task
from ocitool.transports.layout import plain_file

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

T = TypeVar("T")

_AHEAD = 3
"""Most jobs under way for each worker, since their results wait in memory."""

_PATIENCE = 10.0
"""Seconds to wait for a cluster's answer."""

_HASTE = 0.5
"""Seconds to wait for a cluster when the run was interrupted."""

_STEP = 0.1
"""Seconds between two checks for cancellation while waiting for results."""

_ALONE = 16 * MiB
"""Bytes of layers below which starting processes takes longer than the work itself."""


class LayerJob(NamedTuple):
    """A layer to work on: location, size and stated digest of its bytes, and the algorithm of its diff_id. Bytes
    without a location are in `blob`, and only this process can read them."""

    key: str
    place: BlobLocation | None
    blob: Blob | None
    size: int
    digest: Digest | None
    algorithm: str

    @property
    def reachable(self) -> bool:
        """Whether another process can read the layer."""
        return self.place is not None


class IndexedLayer(NamedTuple):
    """A layer's index with all digests computed, the identity of the file's bytes that were read, and the unpacked
    bytes beyond the ratio (`Task.count_expansion`). `kept`: contents of small files by row (`KeptContents`)."""

    found: LayerIndex
    identity: str | None
    expansion: int
    kept: Mapping[int, bytes]


def index(job: LayerJob, keep: bool = False) -> IndexedLayer:
    """Indexes a layer. `keep`: also return the contents of its databases of packages. Raises what `index_layer` and
    `open_layer` raise."""
    with Task(jobs=1) as task:
        blob = open_layer(job, task)
        kept = KeptContents()
        found = index_layer(blob, task, algorithm=job.algorithm, kept=kept if keep else None)
        return IndexedLayer(found, blob.identity, task.count_expansion(0), kept.found)


def verify_layer(job: LayerJob, diff_id: Digest | None, task: Task) -> str | None:
    """Reads a layer, and returns the identity of the file's bytes.

    Raises `IntegrityError` if they do not match its digest or, without one, its diff_id; and what opening and decoding
    raise.
    """
    blob = open_layer(job, task)
    if job.digest is None:
        found = index_layer(blob, task, algorithm=job.algorithm).diff_id
        if found != diff_id:
            raise wrong_diff_id(found, diff_id)
    for _ in verified(blob.chunks(), job.digest, job.size) if job.digest is not None else ():
        task.check()
    return blob.identity


class CompressedSize(NamedTuple):
    """Compressed bytes, and bytes that were unpacked for it beyond the ratio."""

    size: int
    expansion: int


def as_zstd(job: LayerJob, level: int) -> CompressedSize:
    """Returns the bytes that a layer would take as zstd at this level, by compressing all of it: a part would not be
    representative, since the ratio varies twofold within a layer. Raises what decoding raises."""
    with Task(jobs=1) as task:
        blob = open_layer(job, task)
        size = _size(codecs.decode(blob.chunks(), codecs.detected(blob), task), Compression("zstd", level), task)
        return CompressedSize(size, task.count_expansion(0))


def compressed(job: LayerJob, files: tuple[Entry, ...]) -> CompressedSize:
    """Returns the bytes that files take in their layer, compressed at the level that builders use. Raises what decoding
    raises."""
    with Task(jobs=1) as task:
        blob = open_layer(job, task)
        codec = codecs.detected(blob)
        writer = codecs.WRITERS.get(codec)
        compression = Compression(codec, writer.builders) if writer is not None else NONE
        header = writer.header if writer is not None else _HEADER
        contents = each_content(blob, sorted(map(_without_holes, files), key=lambda entry: entry.offset), task)
        size = sum(header + _size(pieces, compression, task) for pieces in contents)
        return CompressedSize(size, task.count_expansion(0))


class LayerPackages(NamedTuple):
    """The packages that files of databases record, and bytes that were unpacked for it beyond the ratio."""

    packages: tuple[Package, ...]
    problems: tuple[DatabaseProblem, ...]
    expansion: int


def packages(job: LayerJob, files: tuple[Entry, ...], kinds: tuple[PackageKind, ...]) -> LayerPackages:
    """Returns the packages that files of a layer record, which are in the order of their offsets. Memory: one file, and the
    packages. Raises what decoding raises."""
    from ocitool.packages.installed import recorded

    with Task(jobs=1) as task:
        contents = map(b"".join, each_content(open_layer(job, task), files, task))
        found = recorded(zip(files, contents, strict=True), kinds)
        return LayerPackages(found.packages, found.problems, task.count_expansion(0))


def _without_holes(entry: Entry) -> Entry:
    """Returns a file without its holes if they are too large to be hashed: a terabyte of zeros would be compressed."""
    return entry._replace(size=entry.stored, segments=None) if entry.size - entry.stored > MAX_HASHED_HOLES else entry


_HEADER = 512
"""Bytes of an entry's header in an uncompressed layer."""


def _size(chunks: Iterable[bytes], compression: Compression, task: Task) -> int:
    return sum(map(len, compress(chunks, compression, task)))


def open_layer(job: LayerJob, task: Task) -> Blob:
    """Returns the layer's blob. Raises `TransportError`, `NotFoundError`."""
    place = job.place
    if place is None:
        assert job.blob is not None
        return job.blob
    if place.repository is None:
        try:
            file = plain_file(place.path)
        except OSError as error:
            raise unreadable(place.path, error) from None
        if file is None:
            raise TransportError("cannot be read: it is gone", place.path)
        if file.size < place.offset + job.size:
            raise TransportError("the file is shorter than it was", place.path)
        return FileBlob(file, place.offset, job.size, job.digest)
    from ocitool.transports.registry import Access, Registries, blobs
    from ocitool.transports.registry.source import RemoteBlob

    assert job.digest is not None
    client, path = Registries(place.access or Access(), task).client(place.repository.host), place.repository.path
    elsewhere = place.urls if place.urls and blobs.stored_size(client, path, job.digest) is None else ()
    return RemoteBlob(job.digest, job.size, client, path, elsewhere)


Job = tuple[LayerJob, Callable[[LayerJob], T]]
"""A layer and the work on it: a function that can be pickled (of a module, or a partial of one)."""


def run_all(
    jobs: Sequence[Job[T]], cluster: str | None, task: Task, take: Callable[[int, T], None],
    failed: Callable[[int, OcitoolError], None],
) -> None:  # fmt: skip
    """Runs all jobs on the cluster, in processes or in this one; those that are not reachable in this one. `take` gets the
    number and result of each job, `failed` its number and error."""
    here = {number: job for number, job in enumerate(jobs) if not job[0].reachable}
    others = {number: job for number, job in enumerate(jobs) if number not in here}
    run_on(here, None, 1, task, take, failed)
    with open_executor(cluster, [job for job, _ in others.values()], task) as (executor, workers):
        run_on(others, executor, workers, task, take, failed)


def run_on(
    jobs: Mapping[int, Job[T]], executor: Executor | None, workers: int, task: Task, take: Callable[[int, T], None],
    failed: Callable[[int, OcitoolError], None],
) -> None:  # fmt: skip
    """Runs jobs on an executor, or in this thread without one: the largest layers first; results are processed as they
    come.

    A failed layer does not stop the others. After `task` has unpacked more than `limits.EXPANSION`, the remaining jobs fail
    without being started. Raises `TransportError` if the workers themselves died.
    """
    from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, wait
    from concurrent.futures import CancelledError as Forgotten

    waiting = sorted(jobs, key=lambda number: -jobs[number][0].size)
    waiting.reverse()
    whole = sum(job.size for job, _ in jobs.values())
    done = size = 0
    if jobs:
        task.count("layers", 0, len(jobs), 0, whole)

    def finished(number: int, outcome: Callable[[], T]) -> None:
        nonlocal done, size
        try:
            take(number, outcome())
        except CancelledError:
            raise
        except OcitoolError as error:
            failed(number, error)
        except Forgotten:
            raise TransportError("the workers are gone", hint="run the same command again, it continues there") from None
        except Exception as error:
            if not type(error).__module__.startswith("distributed"):
                raise
            failed(number, TransportError(f"the cluster gave it up: {error}"))  # after its own retries
        done += 1
        size += jobs[number][0].size
        task.count("layers", done, len(jobs), size, whole)

    def begun() -> int | None:
        number = waiting.pop()
        if task.count_expansion(0) <= limits.EXPANSION:
            return number
        finished(number, _expanded)
        return None

    if executor is None:
        while waiting:
            task.check()
            if (number := begun()) is not None:
                job, function = jobs[number]
                finished(number, partial(function, job))
        return
    under_way: dict[Future[T], int] = {}
    try:
        while waiting or under_way:
            while waiting and len(under_way) < _AHEAD * workers:
                if (number := begun()) is None:
                    continue
                job, function = jobs[number]
                with undisturbed():
                    under_way[executor.submit(function, job)] = number
            ready, _ = wait(under_way, timeout=_STEP, return_when=FIRST_COMPLETED)
            task.check()
            for future in ready:
                finished(under_way.pop(future), future.result)
    except BrokenExecutor as error:
        hint = "run the same command again, it continues there"
        raise TransportError(f"a process that works on layers died: {error}", hint=hint) from None


def _expanded() -> NoReturn:
    raise LimitError(
        f"not read: layers before it unpack to {limits.EXPANSION} bytes more than {limits.unpacked_ratio()} for each of theirs",
        hint="raise OCITOOL_MAX_RATIO",
    )


@contextmanager
def open_executor(cluster: str | None, jobs: Sequence[LayerJob], task: Task) -> Iterator[tuple[Executor | None, int]]:
    """Provides an executor for these jobs and its number of workers: the cluster at an address, else processes of this
    machine, else None if there is too little work for processes."""
    if cluster is not None:
        with _cluster(cluster, task) as found:
            yield found
    elif len(jobs) > 1 and task.workers > 1 and sum(job.size for job in jobs) > _ALONE:
        from ocitool.processes import processes

        with processes(task.workers) as pool:
            yield pool, task.workers
    else:
        yield None, 1


@contextmanager
def _cluster(address: str, task: Task) -> Iterator[tuple[Executor, int]]:
    try:
        import distributed
    except ImportError:
        raise UsageError("--cluster needs the package distributed", hint="pip install 'ocitool[cluster]'") from None
    for name in ("distributed", "distributed.client", "tornado.application", "asyncio"):  # they log what is raised here
        getLogger(name).setLevel(CRITICAL)
    connect: Any = distributed.Client
    try:
        client = task.within(_PATIENCE, lambda: connect(address, timeout="8s", set_as_default=False))
    except OcitoolError:
        raise
    except Exception as error:  # any program may answer at this address
        what = str(error) or type(error).__name__
        raise TransportError(f"no Dask scheduler answers: {what}", address, hint="tcp://HOST:8786") from None
    try:
        workers = sum(client.nthreads().values())
        if not workers:
            raise TransportError("the cluster has no workers", address)
        yield client.get_executor(), workers
    except BaseException as error:
        _close(client, task, _PATIENCE if isinstance(error, Exception) else _HASTE)
        raise
    _close(client, task, _PATIENCE)


def _close(client: Any, task: Task, seconds: float) -> None:
    with suppress(Exception):  # it may be gone
        task.within(seconds, lambda: client.close(timeout="3s"))
