"""Large blobs in ranges over several connections: when that is done, and that the bytes, and what is kept of an interrupted
fetch, are the same as with one connection."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from support.registries import DATA, INSECURE, PASSWORD, TENTH, USER, NoWaitTask, authfile, client, digest
from support.registries import ranges as requested
from support.registry import BlobServer, Fault, Request, ScriptedRegistry, TokenAuth

from ocitool.atomic import Partial
from ocitool.digest import verified
from ocitool.errors import IntegrityError, NotFoundError
from ocitool.limits import MiB
from ocitool.task import Task
from ocitool.transports.registry import blobs, ranges
from ocitool.transports.registry.access import Access
from ocitool.transports.registry.source import RemoteBlob

FIRST = 1000
"""Bytes that come by the first request, before its connection is found slow."""
SEGMENTS = [f"bytes={start}-{min(start + TENTH, len(DATA)) - 1}" for start in range(FIRST, len(DATA), TENTH)]


@pytest.fixture(autouse=True)
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every connection is slow and every thread idle."""
    monkeypatch.setattr(ranges, "SEGMENT", TENTH)
    monkeypatch.setattr(ranges, "MIN_REST", 1)
    monkeypatch.setattr(ranges, "_is_slow", lambda *measured: True)
    monkeypatch.setattr(blobs, "STEP", FIRST)
    monkeypatch.setattr(Task, "when_idle", lambda self, function: function())


def fetched(registry: ScriptedRegistry, task: Task, access: Access = INSECURE) -> bytes:
    registry.put_blob("app", DATA)
    return b"".join(ranges.fetch(client(registry, task, access), "app", digest(DATA), len(DATA)))


def test_a_blob_on_a_slow_connection_comes_in_ranges_each_once(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    assert DATA == fetched(registry, task)
    assert ["", *SEGMENTS] == sorted(requested(registry), key=lambda text: int(f"0{text[6:].partition('-')[0]}"))
    assert [] == task.pauses


@pytest.mark.parametrize("reason", ["one job", "no idle thread", "fast", "little remains"])
def test_a_blob_comes_on_one_connection_if_that_is_as_good(
    reason: str, registry: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason == "no idle thread":
        monkeypatch.setattr(Task, "when_idle", lambda self, function: None)
    if reason == "fast":
        monkeypatch.setattr(ranges, "_is_slow", lambda *measured: False)
    if reason == "little remains":
        monkeypatch.setattr(ranges, "MIN_REST", len(DATA))
    with NoWaitTask(jobs=1 if reason == "one job" else 4) as task:
        assert DATA == fetched(registry, task)
    assert [""] == requested(registry)


def test_a_connection_is_slow_if_it_takes_most_of_the_time_and_brings_less_than_100_mb_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    assert ranges._is_slow(20 * MiB, waited=1.0, elapsed=1.2)
    assert not ranges._is_slow(4 * MiB, waited=0.2, elapsed=0.2)  # too early to tell
    assert not ranges._is_slow(20 * MiB, waited=1.0, elapsed=3.0)  # hashing and writing take more
    assert not ranges._is_slow(200 * MiB, waited=1.0, elapsed=1.2)


def test_no_more_requests_than_jobs_are_under_way(registry: ScriptedRegistry) -> None:
    lock, counts, full = threading.Lock(), [0, 0], threading.Event()

    def begin(request: Request) -> None:
        with lock:
            counts[0] += 1
            counts[1] = max(counts)
            if counts[0] > 3:
                full.set()
        full.wait(0.05)  # the more may come together
        with lock:
            counts[0] -= 1

    registry.put_blob("app", DATA)
    registry.faults.append(Fault("GET", "/blobs/", hook=begin))
    with NoWaitTask(jobs=3) as task:
        remote = client(registry, task)
        chunks = task.map(lambda _: b"".join(ranges.fetch(remote, "app", digest(DATA), len(DATA))), [0, 1])
    assert [DATA, DATA] == chunks
    assert 3 == counts[1]


@pytest.mark.parametrize("passed", [1, 4])
@pytest.mark.parametrize(
    "fault",
    [
        Fault(ignore_range=True),
        Fault(range_shift=7),
        Fault(status=416, times=1),
        Fault(status=501, times=1),
        Fault(headers={"Content-Range": f"bytes {FIRST}-{FIRST + TENTH - 1}/5"}),
        Fault(headers={"Content-Range": "bytes */*"}),
    ],
    ids=["whole", "another range", "416", "501", "another size", "no range"],
)
def test_a_server_that_sends_other_bytes_than_requested_is_asked_for_the_rest_on_one_connection(
    fault: Fault, passed: int, registry: ScriptedRegistry, task: NoWaitTask
) -> None:
    fault.method, fault.path, fault.after, fault.seen = "GET", "/blobs/", passed, 0
    registry.faults.append(fault)
    assert DATA == fetched(registry, task)
    whole = [text for text in requested(registry) if text == "" or text.endswith("-")]
    # The first connection goes on if no range was had; else the rest is requested, and all of it once more if need be.
    assert (1 if passed == 1 else 2) <= len(whole) <= (1 if passed == 1 else 3)


def test_a_range_that_is_cut_goes_on_where_it_was(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    cut = 900  # less than the rest of any range: a second cut may meet the rest of the first one
    registry.faults.append(Fault("GET", "/blobs/", after=3, times=2, cut_response=cut))
    assert DATA == fetched(registry, task)
    assert 2 == len(requested(registry)) - len(["", *SEGMENTS])


@pytest.mark.parametrize("encoding", ["label", "gzip"])
def test_ranges_that_are_labelled_as_encoded_give_the_same_bytes(
    encoding: str, registry: ScriptedRegistry, task: NoWaitTask
) -> None:
    registry.faults.append(Fault("GET", "/blobs/", after=1, encoding=encoding))
    with suppress(IntegrityError):  # a server that compresses ranges cannot be read, and is not believed
        assert DATA == b"".join(verified([fetched(registry, task)], digest(DATA), len(DATA)))


def test_ranges_are_redirected_and_no_authorization_goes_there(
    registry: ScriptedRegistry, blob_server: BlobServer, task: NoWaitTask
) -> None:
    registry.faults.append(Fault("GET", "/blobs/", redirect=f"{blob_server.url}/store"))
    assert DATA == fetched(registry, task)
    assert len(SEGMENTS) + 1 == len(blob_server.requests) == len(registry.sent("GET", "/blobs/"))
    assert [] == [one for one in blob_server.requests if "authorization" in one.headers]


def test_an_address_that_expires_between_ranges_is_asked_for_again(
    registry: ScriptedRegistry, blob_server: BlobServer, task: NoWaitTask
) -> None:
    registry.faults.append(Fault("GET", "/blobs/", redirect=f"{blob_server.url}/store"))
    blob_server.faults.append(Fault("GET", status=403, after=3, times=2))
    assert DATA == fetched(registry, task)


def test_a_token_that_expires_between_ranges_is_renewed(task: NoWaitTask, tmp_path: Path) -> None:
    with ScriptedRegistry(auth=TokenAuth(USER, PASSWORD)) as registry:
        access = INSECURE._replace(authfile=authfile(tmp_path, registry.host))
        registry.faults.append(Fault("GET", "/blobs/", after=3, times=1, hook=lambda request: registry.revoke_tokens()))
        assert DATA == fetched(registry, task, access)
        assert 1 < len(registry.sent("GET", "/token"))


def test_a_wrong_byte_in_a_range_is_not_believed(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    registry.faults.append(Fault("GET", "/blobs/", after=4, times=1, flip=77))
    with pytest.raises(IntegrityError):
        list(verified([fetched(registry, task)], digest(DATA), len(DATA)))


def test_a_range_that_is_gone_ends_the_fetch_in_its_turn(registry: ScriptedRegistry, task: NoWaitTask) -> None:
    registry.put_blob("app", DATA)
    registry.faults.append(Fault("GET", "/blobs/", after=4, status=404))
    found = bytearray()
    with pytest.raises(NotFoundError):
        for chunk in ranges.fetch(client(registry, task), "app", digest(DATA), len(DATA)):
            found += chunk
    assert DATA.startswith(found) and FIRST <= len(found) < len(DATA)


def test_what_was_kept_of_an_interrupted_fetch_is_a_beginning_and_is_gone_on_with(
    registry: ScriptedRegistry, task: NoWaitTask, tmp_path: Path
) -> None:
    registry.put_blob("app", DATA)
    registry.faults.append(Fault("GET", "/blobs/", after=6, times=20, status=404))
    blob = RemoteBlob(digest(DATA), len(DATA), client(registry, task), "app")
    partial = Partial(str(tmp_path), digest(DATA))
    with pytest.raises(NotFoundError):
        partial.fetch(blob, task)
    kept = Path(tmp_path, partial.name).read_bytes()
    assert DATA.startswith(kept) and len(kept) > FIRST
    partial.discard()
    registry.faults.clear()
    registry.forget()
    partial = Partial(str(tmp_path), digest(DATA))
    partial.fetch(RemoteBlob(digest(DATA), len(DATA), client(registry, task), "app"), task)
    assert DATA == os.pread(partial.descriptor, len(DATA), 0)
    assert f"bytes={len(kept)}-" == requested(registry)[0]
    partial.discard()


def test_a_reader_that_stops_leaves_no_request_under_way(
    registry: ScriptedRegistry, task: NoWaitTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.put_blob("app", DATA)
    chunks = ranges.fetch(client(registry, task), "app", digest(DATA), len(DATA))
    for _ in range(3):
        next(chunks)
    close: Callable[[], None] = chunks.close  # type: ignore[attr-defined]
    close()
    count = len(registry.requests)
    assert count < len(SEGMENTS)
    threading.Event().wait(0.1)
    assert count == len(registry.requests)
