"""The work of `dedupe` on layers: what travels to other processes, who does it, how it ends early, and its rows as Parquet."""

from __future__ import annotations

import functools
import gzip
import hashlib
import importlib
import json
import os
import pickle
import pkgutil
import random
import signal
import stat
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import contextmanager
from decimal import Decimal
from io import BytesIO
from logging import ERROR, getLogger
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.copying import ONE, TWO
from support.images import Image, config_of, image, layer_tar, pretty, sha256, write_docker_archive, write_layout
from support.layers import END, head, member, pax, sample
from support.many_images import write_many
from support.registries import NO_REGISTRY_SETTINGS, put_images, random_bytes
from support.registry import Fault, ScriptedRegistry
from support.report import report_of

import ocitool
from ocitool.blob import BytesBlob
from ocitool.dedupe import layer_jobs
from ocitool.dedupe.collection import BlobLocation
from ocitool.digest import Digest
from ocitool.errors import FormatError, IntegrityError, OcitoolError, TransportError
from ocitool.layers.index import LayerIndex
from ocitool.limits import MiB
from ocitool.processes import processes
from ocitool.reference import parse_repository
from ocitool.spec import mediatypes
from ocitool.task import Task
from ocitool.transports.registry import Access

Run = Callable[..., Any]
FILES = ("dedupe", "store", "--files", "--format", "json")


@pytest.fixture
def run(ocitool: Run, tmp_path: Path) -> Run:
    """The command in a directory of its own, at a home of its own: distributed writes there."""
    env = {**NO_REGISTRY_SETTINGS, "HOME": str(tmp_path)}
    return lambda *words, **how: ocitool(*words, cwd=how.pop("cwd", tmp_path), env={**env, **how.pop("env", {})}, **how)


# What travels


def back(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


def job(data: bytes, folder: Path, number: int = 0) -> layer_jobs.LayerJob:
    """A layer in the middle of a file."""
    path = folder / f"file{number}"
    path.write_bytes(b"before" + data + b"behind")
    return layer_jobs.LayerJob(f"key{number}", BlobLocation(str(path), 6), None, len(data), Digest.of(data), "sha256")


def test_a_job_comes_back_as_it_went(tmp_path: Path) -> None:
    near = job(ONE, tmp_path)
    access = Access(frozenset({"127.0.0.1:5000"}), "ca.pem", "cert.pem", "key.pem", "auth.json", True)
    far = near._replace(
        place=BlobLocation("", 0, None, parse_repository("127.0.0.1:5000/team/app:1"), access), algorithm="sha512"
    )
    for one in (near, far, near._replace(place=None, digest=None)):
        assert (one, type(one)) == (back(one), type(back(one)))


def columns(index: LayerIndex) -> dict[str, Any]:
    return {name: getattr(index, name) for name in LayerIndex.__slots__}


def test_an_index_comes_back_as_it_went(tmp_path: Path) -> None:
    found = layer_jobs.index(job(gzip.compress(sample()[: -len(END)]), tmp_path))
    assert found.found.notes and found.found.xattrs and found.found.sparse and found.found.devices
    again = back(found)
    assert columns(found.found) == columns(again.found)
    assert (found.identity, layer_jobs.IndexedLayer) == (again.identity, type(again))
    assert list(found.found) == list(again.found)


@pytest.mark.parametrize(
    "function", [layer_jobs.index, functools.partial(layer_jobs.as_zstd, level=3)], ids=["index", "as_zstd"]
)
def test_what_is_done_to_a_layer_is_the_same_after_the_journey(function: Any, tmp_path: Path) -> None:
    one = job(gzip.compress(ONE), tmp_path)
    here, there = function(one), back(function)(back(one))
    if isinstance(here, layer_jobs.IndexedLayer):
        here, there = columns(here.found), columns(there.found)
    assert here == there


def below(kind: type[OcitoolError]) -> Iterator[type[OcitoolError]]:
    for one in kind.__subclasses__():
        yield one
        yield from below(one)


def every_error() -> list[type[OcitoolError]]:
    for module in pkgutil.walk_packages(ocitool.__path__, "ocitool."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    return sorted(set(below(OcitoolError)), key=lambda one: one.__name__)


def made(kind: type[OcitoolError]) -> OcitoolError:
    """An error of this class; those that want more than a sentence and a place get it."""
    more: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
        "EngineError": (("what", "where", 500), {}), "UnexpectedResponse": (("what", "where", 500), {}),
        "Unreachable": (("what", "where"), {"transient": True, "hint": "hint"}),
        "NotCarriedError": (([b"path"],), {}), "NothingMatches": (("what", "where"), {}),
    }  # fmt: skip
    words, named = more.get(kind.__name__, (("what", "where"), {"hint": "hint"}))
    return kind(*words, **named)


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_error_comes_back_with_its_words(kind: type[OcitoolError]) -> None:
    error = made(kind)
    again = back(error)
    assert (kind, vars(error), str(error)) == (type(again), vars(again), str(again))


# Folding


class ScriptedExecutor(Executor):
    """Does jobs in a thread of its own, one at a time: as soon as so many wait, the one that `pick` says, and no other until
    its result was taken. `most`: jobs that were under way at once."""

    def __init__(self, total: int, at_once: int, pick: Callable[[int], int]) -> None:
        self.order: list[str] = []
        self.submitted: list[str] = []
        self.most = self._taken = 0
        self._waiting: list[tuple[Future[Any], Any, layer_jobs.LayerJob]] = []
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._run, args=(total, at_once, pick), daemon=True)
        self._thread.start()

    def submit(self, function: Any, /, *words: Any, **named: Any) -> Future[Any]:
        (one,) = words
        future: Future[Any] = Future()
        with self._change:
            self.submitted.append(one.key)
            self._waiting.append((future, function, one))
            self.most = max(self.most, len(self.submitted) - self._taken)
            self._change.notify_all()
        return future

    def taken(self) -> None:
        with self._change:
            self._taken += 1
            self._change.notify_all()

    def _run(self, total: int, at_once: int, pick: Callable[[int], int]) -> None:
        for number in range(total):
            with self._change:
                wanted = min(at_once, total - number)
                self._change.wait_for(lambda wanted=wanted, n=number: len(self._waiting) == wanted and self._taken == n, 20)
                future, function, one = self._waiting.pop(pick(len(self._waiting)))
            self.order.append(one.key)
            try:
                result = function(one)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)


def some_jobs(count: int) -> list[layer_jobs.LayerJob]:
    return [
        layer_jobs.LayerJob(f"key{number}", None, BytesBlob(b""), 1 + 37 * number % 11, None, "sha256")
        for number in range(count)
    ]


def folded(
    executor: ScriptedExecutor | None, jobs: Sequence[layer_jobs.LayerJob], workers: int, function: Any
) -> tuple[list[Any], list[Any]]:
    """(taken, failed), each in its order."""
    taken: list[Any] = []
    failed: list[Any] = []

    def noting(where: list[Any]) -> Any:
        def note(number: int, what: Any) -> None:
            where.append((jobs[number].key, what))
            if executor is not None:
                executor.taken()

        return note

    with Task() as task:
        duties = {number: (job, function) for number, job in enumerate(jobs)}
        layer_jobs.run_on(duties, executor, workers, task, noting(taken), noting(failed))
    return taken, failed


PICKS = {"first": lambda count: 0, "last": lambda count: count - 1, "middle": lambda count: count // 2}


@pytest.mark.parametrize("pick", PICKS)
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_are_taken_as_they_come_and_few_are_under_way(workers: int, pick: str) -> None:
    jobs = some_jobs(20)
    executor = ScriptedExecutor(len(jobs), 3 * workers, PICKS[pick])
    taken, failed = folded(executor, jobs, workers, lambda one: one.size)
    assert [(key, next(one.size for one in jobs if one.key == key)) for key in executor.order] == taken
    assert ([], 3 * workers) == (failed, executor.most)


def test_the_largest_are_begun_first() -> None:
    jobs = some_jobs(20)
    executor = ScriptedExecutor(len(jobs), 3, PICKS["first"])
    taken, _ = folded(executor, jobs, 1, lambda one: one.size)
    sizes = [size for _, size in taken]
    assert sorted(sizes, reverse=True) == sizes
    assert taken == folded(None, jobs, 1, lambda one: one.size)[0]


@pytest.mark.parametrize("here", [True, False])
def test_a_job_that_fails_stops_no_other(here: bool) -> None:
    jobs = some_jobs(12)
    bad = {"key0": FormatError("no tar"), "key5": TransportError("gone", hint="wait"), "key11": IntegrityError("another")}

    def function(one: layer_jobs.LayerJob) -> str:
        if one.key in bad:
            raise bad[one.key]
        return one.key

    taken, failed = folded(None if here else ScriptedExecutor(12, 6, PICKS["last"]), jobs, 2, function)
    assert bad == dict(failed)
    assert {one.key for one in jobs} - set(bad) == {key for key, _ in taken}


class FailingExecutor(Executor):
    """Fails as pools do that lost a process: where it is asked, or where the result is."""

    def __init__(self, after: int, *, asked: bool) -> None:
        self.futures: list[Future[Any]] = []
        self._after = after
        self._asked = asked

    def submit(self, function: Any, /, *words: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.futures.append(future)
        if len(self.futures) == self._after:
            if self._asked:
                raise BrokenExecutor("one died")
            self.futures[0].set_exception(BrokenExecutor("one died"))
        return future


@pytest.mark.parametrize("asked", [True, False], ids=["when asked", "in a result"])
def test_a_pool_that_broke_is_an_error_of_transport(asked: bool) -> None:
    executor = FailingExecutor(4, asked=asked)
    with Task() as task, pytest.raises(TransportError, match="one died") as found:
        duties = {number: (job, layer_jobs.index) for number, job in enumerate(some_jobs(9))}
        layer_jobs.run_on(duties, executor, 2, task, lambda *_: None, lambda *_: None)
    assert (8, True) == (found.value.exit_code, bool(found.value.hint))


# Processes of this machine


BIG = 96 * MiB


def write_slow(place: Path, count: int, big: int = BIG) -> Path:
    """A layout of so many images of one layer each, all of which take a while: they unpack to the same zeros, and to a little
    of their own."""
    zeros = layer_tar([("big", bytes(big))], end=b"")
    packed, hashed = gzip.compress(zeros, 1, mtime=0), hashlib.sha256(zeros)
    images = []
    for number in range(count):
        own = layer_tar([("own", random_bytes(MiB, number)), ("same", b"same" * 5000)])
        stored, digest = packed + gzip.compress(own, 0, mtime=0), hashed.copy()
        digest.update(own)
        rootfs = {"type": "layers", "diff_ids": [f"sha256:{digest.hexdigest()}"]}
        raw = pretty(config_of([b""], rootfs=rootfs))
        manifest = {
            "schemaVersion": 2, "mediaType": mediatypes.OCI_MANIFEST,
            "config": {"mediaType": mediatypes.OCI_CONFIG, "digest": sha256(raw), "size": len(raw)},
            "layers": [{"mediaType": mediatypes.OCI_LAYER + "+gzip", "digest": sha256(stored), "size": len(stored)}],
        }  # fmt: skip
        images.append(Image(raw, manifest, [stored], f"n{number}"))
    return write_layout(place, images)


COUNT = 16


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with such a layout as `store`."""
    return write_slow(tmp_path_factory.mktemp("slow") / "store", COUNT).parent


def same(left: Any, right: Any) -> None:
    """The reports are equal, but for what was said on the way."""
    left, right = ({**report, "notices": None} for report in (left, right))
    assert left == right


@pytest.fixture(scope="module")
def wanted(slow: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The report of the slow layout, made without any process."""
    with begun(slow, tmp_path_factory.mktemp("cache"), *one_core()) as process:
        out, err = process.communicate(timeout=100)
    assert (0, b"") == (process.returncode, err)
    report = json.loads(out)
    assert 3 * COUNT == report["files"]["references"]
    return report


def one_core() -> tuple[str, ...]:
    return ("taskset", "-c", str(min(os.sched_getaffinity(0))))


@contextmanager
def begun(
    folder: Path, cache: Path, *before: str, words: Sequence[str] = FILES, **env: str
) -> Iterator[subprocess.Popen[bytes]]:
    """The command in a session of its own, all of which ends with the context."""
    command = [*before, sys.executable, "-m", "ocitool", *words]
    known = {name: value for name, value in os.environ.items() if name not in NO_REGISTRY_SETTINGS}
    known |= {"OCITOOL_CACHE_DIR": str(cache), "HOME": str(cache), **env}
    process = subprocess.Popen(
        command, cwd=folder, env=known, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        for pid in alive(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.kill()
        process.communicate()


def alive(session: int) -> dict[int, str]:
    """The processes of a session that have not ended, and their command lines."""
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            status = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
            if int(status[3]) == session and status[0] not in "ZX":
                found[int(name)] = Path(f"/proc/{name}/cmdline").read_text().replace("\0", " ")
        except OSError:
            continue  # it ended meanwhile
    return found


def workers(process: subprocess.Popen[bytes]) -> list[int]:
    return [pid for pid, line in alive(process.pid).items() if "spawn_main" in line]


def cached(cache: Path) -> dict[str, int]:
    """The indexes in a cache, and the inode of each: who writes one anew, changes it."""
    folder = cache / "indexes"
    return {path.name: path.stat().st_ino for path in folder.glob("*") if "." not in path.name} if folder.exists() else {}


def until(reached: Callable[[], Any], process: subprocess.Popen[bytes] | None = None, seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "it does not come that far"
        time.sleep(0.01)


def again(slow: Path, cache: Path, wanted: Any) -> None:
    """The next run knows what was found before, and ends well."""
    before = cached(cache)
    assert 0 < len(before) < COUNT
    with begun(slow, cache) as process:
        out, err = process.communicate(timeout=100)
    assert (0, b"") == (process.returncode, err)
    same(wanted, json.loads(out))
    after = cached(cache)
    assert (COUNT, before) == (len(after), {name: after[name] for name in before})


def test_processes_come_to_the_same_as_one_core(slow: Path, wanted: Any, tmp_path: Path) -> None:
    with begun(slow, tmp_path, words=(*FILES, "--no-cache")) as process:
        until(lambda: len(workers(process)) == len(os.sched_getaffinity(0)), process)
        out, err = process.communicate(timeout=100)
    assert (0, b"") == (process.returncode, err)
    same(wanted, json.loads(out))
    assert {} == cached(tmp_path)


def test_one_core_has_no_processes(slow: Path, wanted: Any, tmp_path: Path) -> None:
    with begun(slow, tmp_path, *one_core()) as process:
        until(lambda: len(cached(tmp_path)) > 1, process)
        assert [] == workers(process)


def test_few_bytes_have_no_processes_and_come_to_the_same(run: Run, tmp_path: Path) -> None:
    write_layout(tmp_path / "store", [image([ONE, TWO], tag="a"), image([TWO], tag="b", codec="none")])
    first = report_of(run(*FILES))
    same(first, report_of(run(*FILES)))
    same(first, report_of(run(*FILES, "--no-cache")))
    same({**first, "verified": True}, report_of(run(*FILES, "--verify")))


def test_zstd_saves_the_same_wherever_it_is_tried(tmp_path: Path) -> None:
    write_slow(tmp_path / "store", 17, 64 * 1024)
    reports = []
    for before in ((), one_core()):
        words = ("dedupe", "-q", "store", "--zstd", "3", "--format", "json")
        with begun(tmp_path, tmp_path / "cache", *before, words=words) as process:
            out, err = process.communicate(timeout=100)
        assert (0, b"") == (process.returncode, err)
        reports.append(json.loads(out))
    same(*reports)
    assert ["zstd"] == [one["kind"] for one in reports[0]["advice"] if one["kind"] == "zstd"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_no_process_and_keeps_what_it_found(
    number: int, code: int, slow: Path, wanted: Any, tmp_path: Path
) -> None:
    with begun(slow, tmp_path) as process:
        until(lambda: cached(tmp_path), process)
        os.killpg(process.pid, number)
        out, err = process.communicate(timeout=20)
        assert (code, b"") == (process.returncode, out)
        assert [b"ocitool: error: " + {130: b"interrupted", 143: b"terminated"}[code]] == err.splitlines()
        until(lambda: not alive(process.pid), seconds=10)
    again(slow, tmp_path, wanted)


STARTING = """
import os, sys, time
if any("spawn_main" in word for word in sys.orig_argv):
    open(os.path.join(os.environ["STARTED"], str(os.getpid())), "w").close()
    for _ in range(50):
        time.sleep(0.01)
"""
"""A sitecustomize by which processes of a pool take long to start, and say that they do."""


def test_an_interruption_is_no_affair_of_processes_even_while_they_start(slow: Path, wanted: Any, tmp_path: Path) -> None:
    """Ctrl-C reaches them too; the one who began them ends them, and they say nothing."""
    (tmp_path / "sitecustomize.py").write_text(STARTING)
    started = tmp_path / "started"
    started.mkdir()
    with begun(slow, tmp_path / "cache", PYTHONPATH=str(tmp_path), STARTED=str(started)) as process:
        until(lambda: files_in(started), process)
        for name in files_in(started):
            os.kill(int(name), signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (0, b"") == (process.returncode, err)
    same(wanted, json.loads(out))


def test_processes_that_are_ended_with_work_before_them_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the one who ends them is: its pool sees that they died."""
    said: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", said.append)
    with pytest.raises(KeyboardInterrupt), processes(2) as pool:
        shutdown = pool.shutdown

        def slowly(**how: Any) -> None:
            manager = pool._executor_manager_thread
            deadline = time.monotonic() + 3
            while manager is not None and manager.is_alive() and time.monotonic() < deadline:
                time.sleep(0.01)
            shutdown(**how)

        monkeypatch.setattr(pool, "shutdown", slowly)
        futures = [pool.submit(time.sleep, 60) for _ in range(8)]
        until(lambda: sum(future.running() for future in futures) > 2)
        raise KeyboardInterrupt
    assert [] == [str(one.exc_value) for one in said]


def test_a_killed_run_leaves_no_process_and_keeps_what_it_found(slow: Path, wanted: Any, tmp_path: Path) -> None:
    with begun(slow, tmp_path) as process:
        until(lambda: cached(tmp_path), process)
        process.kill()
        process.wait()
        until(lambda: not alive(process.pid), seconds=10)
    again(slow, tmp_path, wanted)


def test_a_process_that_dies_is_8_or_named_and_nothing_hangs(slow: Path, wanted: Any, tmp_path: Path) -> None:
    with begun(slow, tmp_path) as process:
        until(lambda: cached(tmp_path), process)
        os.kill(workers(process)[0], signal.SIGKILL)
        out, err = process.communicate(timeout=60)
        assert b"Traceback" not in err and b"a bug" not in err
        if process.returncode == 1:
            assert [8] == [one["exitCode"] for one in json.loads(out)["problems"]]
        else:
            assert (8, b"", 1) == (process.returncode, out, err.count(b"ocitool: error: "))
        until(lambda: not alive(process.pid), seconds=10)
    again(slow, tmp_path, wanted)


def test_a_layer_that_cannot_be_read_is_named_by_whoever_reads_it(run: Run, tmp_path: Path) -> None:
    write_slow(tmp_path / "store", 17, 64 * 1024)
    blobs = sorted((path.stat().st_size, path) for path in (tmp_path / "store/blobs/sha256").iterdir())
    path = blobs[-1][1]
    data = bytearray(path.read_bytes())
    data[-100_000] ^= 1
    path.write_bytes(data)
    found = [report_of(run(*FILES, "--no-cache"), 1)]
    with begun(tmp_path, tmp_path / "cache", *one_core(), words=(*FILES, "--no-cache")) as process:
        found.append(json.loads(process.communicate(timeout=100)[0]))
    same(*found)
    (problem,) = found[0]["problems"]
    assert path.name in problem["where"] and problem["exitCode"] in (4, 5)
    assert 3 * 16 == found[0]["files"]["references"]


# A cluster


class Cluster(NamedTuple):
    """A scheduler and its workers, none of which has the directory of a test as its own."""

    address: str
    folder: Path
    env: dict[str, str]

    def worker(self) -> subprocess.Popen[bytes]:
        words = ["distributed.cli.dask_worker", self.address, "--no-nanny", "--nthreads", "1", "--host", "127.0.0.1"]
        words += ["--local-directory", str(self.folder), "--memory-limit", "0", "--death-timeout", "60"]
        return self.started(*words)

    def started(self, *words: str) -> subprocess.Popen[bytes]:
        quiet = ("--no-dashboard", "--dashboard-address", "127.0.0.1:0")
        with open(self.folder / "log", "ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", *words, *quiet], cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log,
            )  # fmt: skip

    def count(self) -> int:
        """How many workers the scheduler knows, as it told its log."""
        log = (self.folder / "log").read_text()
        return log.count("Register worker addr") - log.count("Remove worker addr")


def ended(*processes: subprocess.Popen[bytes]) -> None:
    for process in processes:
        process.kill()
    for process in processes:
        process.wait()


@contextmanager
def running_cluster(folder: Path, count: int) -> Iterator[tuple[Cluster, list[subprocess.Popen[bytes]]]]:
    env = {name: value for name, value in os.environ.items() if name not in NO_REGISTRY_SETTINGS}
    env |= {"HOME": str(folder), "DASK_TEMPORARY_DIRECTORY": str(folder)}
    made = Cluster("", folder, env)
    words = ("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(folder / "file"))
    processes = [made.started(*words)]
    try:
        until(lambda: (folder / "file").exists() and (folder / "file").read_text().endswith("}"), processes[0])
        made = made._replace(address=json.loads((folder / "file").read_text())["address"])
        processes += [made.worker() for _ in range(count)]
        until(lambda: made.count() == count, processes[0])
        yield made, processes
    finally:
        ended(*processes)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("cluster"), 2) as (made, _):
        yield made


def test_a_cluster_comes_to_the_same(cluster: Cluster, slow: Path, wanted: Any, run: Run) -> None:
    same(wanted, report_of(run(*FILES, "--no-cache", "--cluster", cluster.address, cwd=slow)))


def test_a_cluster_reads_what_is_named_by_a_whole_path(cluster: Cluster, run: Run, tmp_path: Path) -> None:
    place = str(write_layout(tmp_path / "store", [image([ONE, TWO], tag="a"), image([TWO], tag="b", codec="none")]))
    here, there = (report_of(run("dedupe", place, "--files", "--no-cache", "--zstd", "3", "--format", "json", *more))
                   for more in ((), ("--cluster", cluster.address)))  # fmt: skip
    same(here, there)
    assert [] == there["problems"]


def test_ten_thousand_images_come_to_the_same_on_a_cluster(cluster: Cluster, run: Run, tmp_path: Path) -> None:
    write_many(tmp_path / "many", 10_000)
    words = ("dedupe", "many", "--files", "--no-cache", "--format", "json")
    here, there = (report_of(run(*words, *more)) for more in ((), ("--cluster", cluster.address)))
    same(here, there)
    assert (10_000, 150, 120_000) == (len(there["images"]), there["layers"]["unique"], there["layers"]["references"])
    assert (150, 40) == (there["files"]["references"], there["files"]["unique"])


@pytest.mark.parametrize("name", ["store", "app.tar", "app.tar.gz", "-"])
def test_a_cluster_reads_what_is_named_from_here(name: str, cluster: Cluster, run: Run, tmp_path: Path) -> None:
    """Its workers are elsewhere; what has no name that they know is read here."""
    if name == "store":
        write_layout(tmp_path / name, [image([ONE, TWO], tag="a")])
    else:
        write_docker_archive(tmp_path / "app.tar", [image([ONE, TWO], tag="app:1", codec="none")])
        (tmp_path / "app.tar.gz").write_bytes(gzip.compress((tmp_path / "app.tar").read_bytes()))
    stdin = (tmp_path / "app.tar").read_bytes() if name == "-" else b""
    words = ("dedupe", name, "--files", "--no-cache", "--format", "json")
    here = report_of(run(*words, stdin=stdin))
    same(here, report_of(run(*words, "--cluster", cluster.address, stdin=stdin)))


def test_a_cluster_fetches_from_a_registry(cluster: Cluster, run: Run) -> None:
    with ScriptedRegistry() as registry:
        put_images(registry, "app", image([ONE, TWO]), tag="1")
        put_images(registry, "app", image([ONE, layer_tar([("n", random_bytes(2 * MiB))])], codec="none"), tag="2")
        words = ("dedupe", f"docker://{registry.host}/app", "--tags", "*", "--files", "--insecure", "--no-cache", "--jobs", "1")
        here = report_of(run(*words, "--format", "json"))
        registry.forget()
        there = report_of(run(*words, "--format", "json", "--cluster", cluster.address))
        same(here, there)
        fetched = [one.path for one in registry.sent("GET", "/blobs/") if one.status == 200]
        assert (6, 6) == (len(fetched), len(set(fetched)))  # four layers and two configurations


@pytest.mark.parametrize("fault", [{"flip": 600}, {"status": 404}, {"status": 500, "headers": {"Retry-After": "0"}}])
def test_what_a_cluster_cannot_read_is_named_as_here(fault: dict[str, Any], cluster: Cluster, run: Run) -> None:
    with ScriptedRegistry() as registry:
        put_images(registry, "app", image([ONE, TWO], codec="none"), tag="1")
        registry.faults.append(Fault("GET", sha256(TWO), **fault))
        words = ("dedupe", f"docker://{registry.host}/app:1", "--files", "--insecure", "--no-cache", "--format", "json")
        here, there = (report_of(run(*words, *more), 1) for more in ((), ("--cluster", cluster.address)))
        same(here, there)
        assert [sha256(TWO) in one["where"] for one in there["problems"]] == [True]


def test_a_worker_of_a_cluster_that_is_killed_changes_nothing(
    cluster: Cluster, slow: Path, wanted: Any, tmp_path: Path
) -> None:
    before = cluster.count()
    victim = cluster.worker()
    try:
        until(lambda: cluster.count() == before + 1, victim)
        with begun(slow, tmp_path, words=("dedupe", str(slow / "store"), *FILES[2:], "--cluster", cluster.address)) as process:
            until(lambda: cached(tmp_path), process)
            victim.kill()
            out, err = process.communicate(timeout=100)
        assert len(cached(tmp_path)) == COUNT
        assert (0, []) == (process.returncode, json.loads(out)["problems"]), err.decode()
        renamed = out.replace(f"{slow}/store".encode(), b"store")
        same(wanted, json.loads(renamed))
    finally:
        ended(victim)


def test_an_interrupted_run_leaves_a_cluster_to_others(cluster: Cluster, slow: Path, tmp_path: Path) -> None:
    with begun(slow, tmp_path, words=("dedupe", str(slow / "store"), *FILES[2:], "--cluster", cluster.address)) as process:
        until(lambda: cached(tmp_path), process)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=20)
        assert (130, b"", b"ocitool: error: interrupted\n") == (process.returncode, out, err)
    write_layout(tmp_path / "other", [image([ONE], tag="a")])
    words = ("dedupe", str(tmp_path / "other"), "--files", "--format", "json", "--cluster", cluster.address)
    with begun(tmp_path, tmp_path, words=words) as process:
        assert 1 == json.loads(process.communicate(timeout=60)[0])["files"]["references"]


def test_what_talks_to_a_cluster_logs_nothing_of_its_own() -> None:
    """What goes wrong there is told by ours, once."""
    with Task() as task, pytest.raises(TransportError), layer_jobs.open_executor("tcp://127.0.0.1:9", [], task):
        pass
    names = ("distributed", "distributed.client", "distributed.comm.tcp", "tornado", "tornado.application", "asyncio")
    assert [] == [name for name in names if getLogger(name).isEnabledFor(ERROR)]


def test_a_scheduler_that_dies_is_8_or_named_and_nothing_hangs(slow: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    folder.mkdir()
    with running_cluster(folder, 1) as (made, processes):
        words = ("dedupe", str(slow / "store"), *FILES[2:], "--cluster", made.address)
        with begun(slow, tmp_path, words=words) as process:
            until(lambda: cached(tmp_path), process)
            ended(*processes)
            out, err = process.communicate(timeout=60)
    assert b"Traceback" not in err and b"a bug" not in err
    if process.returncode == 1:
        assert {8} == {one["exitCode"] for one in json.loads(out)["problems"]}
    else:
        assert (8, b"", 1) == (process.returncode, out, err.count(b"ocitool: error: "))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense", "http://127.0.0.1:9", "a registry", "a worker"])
def test_what_is_no_scheduler_is_8_with_a_hint(address: str, cluster: Cluster, run: Run, tmp_path: Path) -> None:
    write_layout(tmp_path / "store", [image([ONE], tag="a")])
    with ScriptedRegistry() as registry:
        if address == "a worker":
            _, _, rest = (cluster.folder / "log").read_text().partition("Start worker at:")
            address = rest.split()[0]
        address = f"tcp://{registry.host}" if address == "a registry" else address
        result = run(*FILES, "--cluster", address, timeout=25)
    assert (8, "") == (result.code, result.out), str(result)
    assert address in result.err and "\nhint: " in result.err and "a bug" not in result.err, str(result)


def test_a_cluster_without_workers_is_8(run: Run, tmp_path: Path) -> None:
    write_layout(tmp_path / "store", [image([ONE], tag="a")])
    folder = tmp_path / "cluster"
    folder.mkdir()
    with running_cluster(folder, 0) as (made, _):
        result = run(*FILES, "--cluster", made.address, timeout=30)
    assert 8 == result.code and "no workers" in result.err, str(result)


def test_a_cluster_is_2_where_no_layer_is_read(run: Run, tmp_path: Path) -> None:
    write_layout(tmp_path / "store", [image([ONE], tag="a")])
    result = run("dedupe", "store", "--cluster", "tcp://127.0.0.1:9")
    assert (2, "") == (result.code, result.out), str(result)
    assert "--cluster" in result.err and "\nhint: --files" in result.err


# Parquet


PLAIN = (b"etc/", b"etc/motd")


def odd_layer() -> bytes:
    """Names that are no text, times below a second, owners and modes of all sorts, every kind of entry."""
    return b"".join([
        head(b"etc/", b"5", mode=0o1777, uid=1, gid=2, mtime=1_700_000_000),
        member(b"etc/motd", b"hello\n", mode=0o4755, uid=1000, gid=100, mtime=1_600_000_000),
        member(b"etc/\xff\xfe", b"bytes"),
        member("etc/ümläut".encode(), b""),
        head(b"etc/link", b"2", link=b"../t\xe4rget"),
        head(b"etc/hard", b"1", link=b"etc/motd"),
        pax((b"mtime", b"1234567890.123456789"), (b"uid", b"4000000000"), (b"path", b"long/" * 40 + b"name")),
        member(b"short", random_bytes(5000)),
        pax((b"mtime", b"-1.5")), member(b"old", b"o" * 700),
        head(b"null", b"3", device=(1, 3)), head(b"pipe", b"6"),
        END,
    ])  # fmt: skip


TYPES = {tarfile.REGTYPE: "file", tarfile.AREGTYPE: "file", tarfile.DIRTYPE: "directory", tarfile.SYMTYPE: "symlink",
         tarfile.LNKTYPE: "hardlink", tarfile.CHRTYPE: "char", tarfile.FIFOTYPE: "fifo"}  # fmt: skip


def rows_of(name: str, tar: bytes) -> list[dict[str, Any]]:
    """The rows of a layer, as tarfile reads them."""
    rows = []
    with tarfile.open(fileobj=BytesIO(tar), encoding="utf-8", errors="surrogateescape") as archive:
        for row, one in enumerate(archive):
            path, link = (os.fsencode(text) for text in (one.name, one.linkname))
            stream = archive.extractfile(one) if one.isreg() else None
            seconds = Decimal(one.pax_headers.get("mtime", str(int(one.mtime))))
            rows.append({
                "layer": name, "row": row, "path": path.decode("utf-8", "replace"), "path_bytes": path,
                "kind": TYPES[one.type], "size": one.size, "mode": stat.S_IMODE(one.mode), "uid": one.uid, "gid": one.gid,
                "mtime": int(seconds * 10**9), "content": hashlib.sha256(stream.read()).hexdigest() if stream else None,
                "link": link.decode("utf-8", "replace") or None,
            })  # fmt: skip
    return rows


def rows_in(path: Path) -> list[dict[str, Any]]:
    from pyarrow import parquet

    rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return rows


def by_key(rows: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: tuple(row[name] for name in names))


EXPORT = ("dedupe", "store", "--export", "rows", "--format", "json")
TABLES = ("files", "images", "layers", "stacks")


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def test_the_rows_of_files_are_those_that_tarfile_reads(run: Run, tmp_path: Path) -> None:
    tars = [odd_layer(), ONE, TWO]
    first, second = image(tars[:2], tag="a"), image(tars[1:], tag="b")
    write_layout(tmp_path / "store", [first, second])
    report_of(run(*EXPORT))
    stored = dict(zip(tars, [*map(sha256, first.layers), sha256(second.layers[1])], strict=True))
    wanted = [row for tar, name in stored.items() for row in rows_of(name, tar)]
    assert {b"etc/\xff\xfe", b"old"} < {row["path_bytes"] for row in wanted}
    assert by_key(wanted, "layer", "row") == by_key(rows_in(tmp_path / "rows/files.parquet"), "layer", "row")
    assert {f"{name}.parquet" for name in TABLES} == set(files_in(tmp_path / "rows"))


def test_the_other_rows_are_what_the_report_says(run: Run, tmp_path: Path) -> None:
    images = [image([ONE, TWO], tag="a"), image([ONE], tag="b", codec="none"), image([ONE, odd_layer()], tag="c")]
    write_layout(tmp_path / "store", images)
    report = report_of(run(*EXPORT))
    names = ("reference", "digest", "kind", "own", "shared", "marginal")
    assert [{name: one[name] for name in names} for one in report["images"]] == rows_in(tmp_path / "rows/images.parquet")
    stacks = rows_in(tmp_path / "rows/stacks.parquet")
    digests = {f"store:{one.tag}": [sha256(data) for data in one.layers] for one in images}
    assert [
        {"reference": name, "platform": "linux/amd64", "position": at, "layer": digest, "created_by": f"RUN step {at}"}
        for name, layers in digests.items() for at, digest in enumerate(layers)
    ] == by_key(stacks, "reference", "position")  # fmt: skip
    layers = rows_in(tmp_path / "rows/layers.parquet")
    assert (report["layers"]["unique"], {row["layer"] for row in stacks}) == (len(layers), {row["layer"] for row in layers})
    for row in layers:
        assert row["layer"] == row["digest"]
        tar = {sha256(data): tar for one in images for data, tar in zip(one.layers, tars_of(one), strict=True)}[row["digest"]]
        found = rows_of("", tar)
        assert (sha256(tar), len(tar), len(found)) == (row["diff_id"], row["uncompressed_size"], row["entries"])
    unique = {sha256(data): len(data) for one in images for data in one.layers}
    assert unique == {row["layer"]: row["size"] for row in layers}
    assert {"gzip", "none"} == {row["codec"] for row in layers}


def tars_of(one: Image) -> list[bytes]:
    return [data if data[:2] != b"\x1f\x8b" else gzip.decompress(data) for data in one.layers]


def test_rows_are_the_same_from_processes_and_from_the_cache(slow: Path, run: Run, tmp_path: Path) -> None:
    found = []
    for name in ("first", "second"):
        report_of(run(*EXPORT[:2], "--export", tmp_path / name, "--format", "json", cwd=slow))
        found.append({table: rows_in(tmp_path / f"{name}/{table}.parquet") for table in TABLES})
    assert 3 * COUNT == len(found[0]["files"])
    assert by_key(found[0]["files"], "layer", "row") == by_key(found[1]["files"], "layer", "row")
    assert [found[0][name] for name in TABLES[1:]] == [found[1][name] for name in TABLES[1:]]


def test_an_archive_without_digests_has_rows(run: Run, tmp_path: Path) -> None:
    write_docker_archive(tmp_path / "app.tar", [image([ONE, TWO], tag="app:1", codec="none")])
    report_of(run("dedupe", "app.tar", "--export", "rows", "--format", "json"))
    wanted = [row for tar in (ONE, TWO) for row in rows_of(sha256(tar), tar)]
    assert by_key(wanted, "layer", "row") == by_key(rows_in(tmp_path / "rows/files.parquet"), "layer", "row")


def test_a_path_that_is_no_text_is_exported(run: Run, tmp_path: Path) -> None:
    config = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers"}}
    one = image([ONE], tag="app:1", codec="none", config=config)
    place = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.tar"))
    write_docker_archive(place, [one])
    result = run("dedupe", place.name, "--export", "rows", "--format", "json")
    assert (True, False) == (result.code in (0, 1), "a bug" in result.err), ascii(result.err)
    assert {f"{name}.parquet" for name in TABLES} == set(files_in(tmp_path / "rows"))


def test_layers_that_cannot_be_read_have_no_rows_and_the_others_do(run: Run, tmp_path: Path) -> None:
    write_layout(tmp_path / "store", [image([ONE, TWO], tag="a")])
    bad = tmp_path / "store/blobs" / sha256(image([TWO]).layers[0]).replace(":", "/")
    data = bad.read_bytes()
    bad.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    report = report_of(run(*EXPORT), 1)
    assert 1 == len(report["problems"])
    assert {sha256(image([ONE]).layers[0])} == {row["layer"] for row in rows_in(tmp_path / "rows/files.parquet")}


@pytest.mark.parametrize("how", ["a file", "below a file", "a directory in the way", "no room"])
def test_rows_that_cannot_be_written_are_9_and_leave_nothing_behind(how: str, ocitool: Run, tmp_path: Path) -> None:
    contents = [random_bytes(3000, number) for number in range(200)] if how == "no room" else [b"one"]
    tar = layer_tar([(f"{number}-{random.Random(number).randbytes(20).hex()}", data) for number, data in enumerate(contents)])
    write_layout(tmp_path / "store", [image([tar], tag="a")])
    place = tmp_path / "rows"
    if how in ("a file", "below a file"):
        place.write_bytes(b"mine")
    elif how == "a directory in the way":
        (place / "files.parquet/mine").mkdir(parents=True)
    before = sorted(place.rglob("*"))
    words = ("dedupe", "store", "--export", str(place / "below") if how == "below a file" else str(place))
    limit = "ulimit -f 8; " if how == "no room" else ""
    command = f'{limit}exec "$@"'
    with begun(tmp_path, tmp_path / "cache", "bash", "-c", command, "bash", words=words) as process:
        out, err = process.communicate(timeout=60)
    assert (9, b"", 1) == (process.returncode, out, err.count(b"ocitool: error: ")), err.decode()
    assert str(place).encode() in err
    assert before == sorted(place.rglob("*"))


def test_an_interrupted_export_leaves_the_old_rows(slow: Path, tmp_path: Path) -> None:
    place = tmp_path / "rows"
    place.mkdir()
    for name in TABLES:
        (place / f"{name}.parquet").write_bytes(b"old " + name.encode())
    before = files_in(place)
    with begun(slow, tmp_path / "cache", words=("dedupe", "store", "--export", str(place))) as process:
        until(lambda: cached(tmp_path / "cache"), process)
        assert before.items() < files_in(place).items()
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=20)
    assert 130 == process.returncode
    assert before == files_in(place)


def test_an_interrupted_export_leaves_no_directory(slow: Path, tmp_path: Path) -> None:
    with begun(slow, tmp_path / "cache", words=("dedupe", "store", "--export", str(tmp_path / "rows"))) as process:
        until(lambda: cached(tmp_path / "cache"), process)
        assert (tmp_path / "rows").is_dir()
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=20)
    assert (130, False) == (process.returncode, (tmp_path / "rows").exists())


def test_an_export_replaces_the_old_rows(run: Run, tmp_path: Path) -> None:
    write_layout(tmp_path / "store", [image([ONE], tag="a")])
    report_of(run(*EXPORT))
    write_layout(tmp_path / "store", [image([TWO], tag="b")])
    report_of(run(*EXPORT))
    assert {"b"} == {row["path"] for row in rows_in(tmp_path / "rows/files.parquet")}
    assert ["store:b"] == [row["reference"] for row in rows_in(tmp_path / "rows/images.parquet")]
    assert {f"{name}.parquet" for name in TABLES} == set(files_in(tmp_path / "rows"))


def test_an_export_keeps_links_and_replaces_what_they_lead_to(run: Run, tmp_path: Path) -> None:
    write_layout(tmp_path / "store", [image([ONE], tag="a")])
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "files.parquet").symlink_to("../real")
    report_of(run(*EXPORT))
    assert (tmp_path / "rows" / "files.parquet").is_symlink()
    assert {"etc", "etc/motd"} == {row["path"] for row in rows_in(tmp_path / "real")}


@pytest.mark.parametrize(
    ("package", "words", "extra"),
    [("pyarrow", ("--export", "rows"), "ocitool[export]"),
     ("distributed", ("--files", "--cluster", "tcp://127.0.0.1:9"), "ocitool[cluster]")],
)  # fmt: skip
def test_a_package_that_is_missing_is_2_and_the_hint_names_the_extra(
    package: str, words: tuple[str, ...], extra: str, run: Run, tmp_path: Path
) -> None:
    write_layout(tmp_path / "store", [image([ONE], tag="a")])
    (tmp_path / "without" / package).mkdir(parents=True)
    (tmp_path / "without" / package / "__init__.py").write_text("raise ImportError('it is not here')\n")
    result = run("dedupe", "store", *words, env={"PYTHONPATH": str(tmp_path / "without")})
    assert (2, "") == (result.code, result.out), str(result)
    assert package in result.err and extra in result.err.partition("\nhint: ")[2], str(result)
    assert not (tmp_path / "rows").exists()
