"""How many requests a command costs: each is a round trip, and no other is sent before the first blob."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.images import image, layer_tar
from support.registries import PASSWORD, USER, authfile, put_images
from support.registry import Fault, Request, ScriptedRegistry, TokenAuth

Run = Callable[..., Any]
COUNT = 40
MANY = image([layer_tar([(f"file-{number}", b"%d" % number)]) for number in range(COUNT)])


@pytest.fixture
def registry() -> Any:
    with ScriptedRegistry() as one:
        put_images(one, "app", MANY, tag="1")
        yield one


def kinds(registry: ScriptedRegistry) -> Counter[str]:
    """How many requests there were, by method and what was asked for."""
    found = Counter(
        f"{one.method} {one.path.split('/')[3] if one.path.count('/') > 2 else one.path}" for one in registry.requests
    )
    registry.forget()
    return found


def test_a_pull_costs_a_request_for_each_document_and_layer_and_one_for_whether_the_tag_moved(
    run: Run, registry: ScriptedRegistry
) -> None:
    assert 0 == run("pull", f"{registry.host}/app:1", "out/").code
    first, second, *_, last = registry.requests
    assert ("GET", "/v2/app/manifests/1") == (first.method, first.path)
    assert "/blobs/" in second.path and ("HEAD", "/v2/app/manifests/1") == (last.method, last.path)
    assert {"GET manifests": 1, "GET blobs": COUNT + 1, "HEAD manifests": 1} == kinds(registry)
    assert 0 == run("pull", f"{registry.host}/app:1", "out/").code
    assert {"GET manifests": 1, "HEAD manifests": 1} == kinds(registry)


def test_inspect_costs_two_requests_and_tags_one(run: Run, registry: ScriptedRegistry) -> None:
    assert 0 == run("inspect", f"docker://{registry.host}/app:1").code
    assert {"GET manifests": 1, "GET blobs": 1} == kinds(registry)
    assert 0 == run("tags", f"{registry.host}/app").code
    assert {"GET tags": 1} == kinds(registry)


def test_a_push_costs_three_requests_for_each_small_blob_and_one_for_one_that_is_there(
    run: Run, registry: ScriptedRegistry
) -> None:
    run("pull", f"{registry.host}/app:1", "out/")
    registry.forget()
    assert 0 == run("push", "out/", f"{registry.host}/new:1", "--no-cache").code
    blobs = COUNT + 1
    assert {"HEAD manifests": 1, "HEAD blobs": blobs, "POST blobs": blobs, "PUT blobs": blobs, "PUT manifests": 1} == kinds(
        registry
    )
    assert 0 == run("push", "out/", f"{registry.host}/new:1", "--no-cache").code
    assert {"HEAD manifests": 1, "HEAD blobs": blobs} == kinds(registry)


class Together:
    """Counts how many requests are under way at once, and holds each until twelve are."""

    def __init__(self, patience: float) -> None:
        self.most = self._count = 0
        self._patience, self._lock, self._full = patience, threading.Lock(), threading.Event()

    def __call__(self, request: Request) -> None:
        with self._lock:
            self._count += 1
            self.most = max(self.most, self._count)
            if self._count == 12:
                self._full.set()
        self._full.wait(self._patience)
        with self._lock:
            self._count -= 1


@pytest.mark.parametrize(("jobs", "most"), [("1", 1), ("4", 12)])
def test_small_blobs_are_fetched_twelve_at_a_time_and_one_at_a_time_with_one_job(
    jobs: str, most: int, run: Run, registry: ScriptedRegistry
) -> None:
    together = Together(10 if jobs == "4" else 0.001)
    registry.faults.append(Fault("GET", "/blobs/", after=1, hook=together))
    assert 0 == run("pull", f"{registry.host}/app:1", "out/", "--jobs", jobs).code
    assert most == together.most


def test_tags_are_looked_up_and_put_twelve_at_a_time(run: Run, registry: ScriptedRegistry) -> None:
    for number in range(24):
        put_images(registry, "app", image([layer_tar([("a", b"%d" % number)])]), tag=f"t{number}")
    read, put = Together(10), Together(10)
    registry.faults += [Fault("GET", "/app/manifests/t", hook=read), Fault("PUT", "/manifests/t", hook=put)]
    assert 0 == run("copy", "--tags", "t*", f"docker://{registry.host}/app", f"docker://{registry.host}/m/").code
    assert 12 == read.most == put.most


DEPTH = """
import sys, threading
seen = []

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "oras":
            depth, frame = 0, sys._getframe()
            while frame := frame.f_back:
                depth += "importlib" not in frame.f_code.co_filename
            seen.append((threading.current_thread() is threading.main_thread(), depth))

sys.meta_path.insert(0, Watch())
from ocitool.cli import run
code = run()
assert code == 0 and len(seen) == 1 and not seen[0][0] and seen[0][1] < 12, (code, seen)
"""


def test_what_authorization_needs_is_imported_on_an_empty_stack(tmp_path: Path) -> None:
    """CPython 3.11 maps and unmaps memory at each call beyond the end of a part of the stack: thousands of times here."""
    with ScriptedRegistry(auth=TokenAuth(USER, PASSWORD)) as registry:
        put_images(registry, "app", MANY, tag="1")
        file = authfile(tmp_path, registry.host)
        words = ("inspect", "--insecure", "--authfile", file, f"docker://{registry.host}/app:1")
        subprocess.run([sys.executable, "-c", DEPTH, *words], check=True, cwd=tmp_path, stdout=subprocess.DEVNULL, timeout=60)
