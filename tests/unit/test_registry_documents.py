"""Documents that several sources have in common: fetched once, held within a bound, hashed before."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from support.images import image, index_of, pretty
from support.registries import INSECURE, put_images
from support.registry import Fault, ScriptedRegistry

from ocitool.digest import Digest
from ocitool.errors import TransportError
from ocitool.images import platform_choice, select
from ocitool.spec import mediatypes
from ocitool.task import Task
from ocitool.transports.opening import open_source
from ocitool.transports.registry import Registries
from ocitool.transports.registry.document_cache import DocumentCache


class Fetch:
    def __init__(self, data: bytes, fails: int = 0) -> None:
        self.data, self.fails, self.count = data, fails, 0

    def __call__(self) -> bytes:
        self.count += 1
        time.sleep(0.01)
        if self.count <= self.fails:
            raise TransportError("not now")
        return self.data


def get(documents: DocumentCache, fetch: Fetch) -> Callable[[int], bytes | None]:
    def one(number: int) -> bytes | None:
        try:
            return documents.get(Digest.of(fetch.data), fetch)
        except TransportError:
            return None

    return one


def test_what_many_want_at_a_time_is_fetched_once() -> None:
    fetch = Fetch(b"document")
    with Task(jobs=8) as task:
        assert [b"document"] * 30 == task.map(get(DocumentCache(task), fetch), range(30))
    assert 1 == fetch.count


def test_an_error_is_of_the_one_that_met_it_and_the_others_try_themselves() -> None:
    fetch = Fetch(b"document", fails=1)
    with Task(jobs=8) as task:
        found = task.map(get(DocumentCache(task), fetch), range(8))
    assert [None, *[b"document"] * 7] == sorted(found, key=lambda one: one is not None)


def test_no_more_is_held_than_the_bound_and_what_was_used_last_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DocumentCache, "MOST", 100)
    old, used, new, large = (Fetch(bytes([n]) * size) for n, size in enumerate((40, 40, 40, 101)))
    with Task() as task:
        documents = DocumentCache(task)
        for fetch in (old, used, old, used, new, used, large, new):
            assert fetch.data == get(documents, fetch)(0)
        assert [1, 1, 1] == [one.count for one in (old, used, new)]
        assert old.data == get(documents, old)(0)
        assert 2 == old.count


def test_sources_of_one_command_fetch_a_common_document_once_and_those_of_another_again() -> None:
    with ScriptedRegistry() as registry:
        one = image(platform={"os": "linux", "architecture": "amd64"})
        put_images(registry, "app", one)
        for tag in ("a", "b"):
            registry.put_manifest("app", mediatypes.OCI_INDEX, pretty(index_of([one.descriptor], annotations={"t": tag})), tag)
        for times in (1, 2):
            with Task() as task:
                known = Registries(INSECURE, task)
                for tag in ("a", "b"):
                    opened = open_source(f"docker://{registry.host}/app:{tag}", "documents", task, known)
                    assert one.digest == str(platform_choice.single(opened, "linux/amd64").digest)
            assert [times, times] == [len(registry.sent("GET", digest)) for digest in (one.digest, str(Digest.of(one.config)))]


def test_a_document_that_is_another_one_is_not_held() -> None:
    with ScriptedRegistry() as registry, Task() as task:
        one = image()
        put_images(registry, "app", one, tag="a")
        registry.faults.append(Fault("GET", "/blobs/", flip=0, times=1))
        known = Registries(INSECURE, task)
        with pytest.raises(Exception, match="stated is"):
            select.targets(open_source(f"docker://{registry.host}/app:a", "documents", task, known))
        assert 1 == len(select.targets(open_source(f"docker://{registry.host}/app:a", "documents", task, known)))
