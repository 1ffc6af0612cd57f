"""`dedupe` of registries ends: whatever many threads want at a time, and within a second when it is told to, at every stage.

All of it runs in a process of its own, under a watchdog: what never ends is killed, and the test fails.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.copying import ONE, TWO
from support.images import Image, image, index_of, pretty
from support.registries import NO_REGISTRY_SETTINGS, PASSWORD, USER, put_images, random_bytes
from support.registry import Fault, ScriptedRegistry, TokenAuth

from ocitool.limits import MiB
from ocitool.spec import mediatypes

LONG = 30.0
"""Seconds for which a registry says nothing."""

PLATFORMS = ("amd64", "arm64", "s390x", "riscv64")


def with_attestations(repo: str, registry: ScriptedRegistry) -> list[Image]:
    """What buildx makes by default: an image for each platform, and an attestation of each; put into the repository."""
    images = [image([ONE, TWO], architecture=name, platform={"os": "linux", "architecture": name}) for name in PLATFORMS]
    for one in list(images):
        about = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": one.digest}
        config = pretty({"architecture": "unknown", "os": "unknown", "rootfs": {"type": "layers", "diff_ids": []}})
        nowhere = {"os": "unknown", "architecture": "unknown"}
        statement = image([b'{"of": "%s"}' % one.digest.encode()], codec="none", config=config, platform=nowhere)
        statement.manifest["layers"][0]["mediaType"] = "application/vnd.in-toto+json"
        statement.annotations = about
        images.append(statement)
    put_images(registry, repo, *images)
    return images


def put_index(registry: ScriptedRegistry, repo: str, entries: Sequence[Any], *tags: str) -> dict[str, Any]:
    """The descriptor of an index that stands under these tags."""
    raw = pretty(index_of(entries))
    digest = registry.put_manifest(repo, mediatypes.OCI_INDEX, raw, None)
    for tag in tags:
        registry.put_manifest(repo, mediatypes.OCI_INDEX, raw, tag)
    return {"mediaType": mediatypes.OCI_INDEX, "digest": digest, "size": len(raw)}


@contextmanager
def begun(folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    known = {name: value for name, value in os.environ.items() if name not in NO_REGISTRY_SETTINGS}
    known |= {"OCITOOL_CACHE_DIR": str(folder / "cache"), "HOME": str(folder), "PATH": f"{folder}:{os.environ['PATH']}"}
    process = subprocess.Popen(
        [sys.executable, "-m", "ocitool", *words], cwd=folder, env=known, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def registry() -> Iterator[ScriptedRegistry]:
    with ScriptedRegistry(latency=0.02) as one:
        yield one


# What many threads want at a time


@pytest.mark.parametrize("shape", ["one index", "an index each", "nested", "nested under each"])
def test_tags_of_one_image_with_attestations_end_and_each_document_is_fetched_once(
    shape: str, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    entries: list[Any] = [one.descriptor for one in with_attestations("app", registry)]
    tags = [f"v{number}" for number in range(8)]
    if "nested" in shape:
        entries = [put_index(registry, "app", entries[:3]), put_index(registry, "app", entries[3:])]
    if "each" in shape:
        for tag in tags:
            own = [{**one, "annotations": {**one.get("annotations", {}), "of": tag}} for one in entries]
            put_index(registry, "app", own, tag)
    else:
        put_index(registry, "app", entries, *tags)
    with begun(tmp_path, "dedupe", "--insecure", f"docker://{registry.host}/app", "--tags", "*", "--format", "json") as process:
        out, err = process.communicate(timeout=20)
    assert 0 == process.returncode, err
    assert sorted(tags) == sorted(name.rpartition(":")[2] for one in json.loads(out)["images"] for name in
                                  (one["reference"], *one["also"]))  # fmt: skip
    asked = Counter(one.path.rpartition("/")[2] for one in registry.sent("GET", "/(manifests|blobs)/"))
    assert dict.fromkeys(asked, 1) == asked


def test_a_token_that_all_threads_want_is_fetched_once(registry: ScriptedRegistry, tmp_path: Path) -> None:
    registry.auth = TokenAuth(USER, PASSWORD, anonymous=True)
    registry.faults.append(Fault("GET", "/token", hang=0.3))
    put_index(registry, "app", [one.descriptor for one in with_attestations("app", registry)], *(f"v{n}" for n in range(8)))
    with begun(tmp_path, "dedupe", "--insecure", f"docker://{registry.host}/app", "--tags", "*") as process:
        _, err = process.communicate(timeout=20)
    assert 0 == process.returncode, err
    assert 1 == len(registry.sent("GET", "/token"))


# Told to end


STAGES = {
    "the catalogue": ("/_catalog", "--repos", "*"),
    "the list of tags": ("/tags/list", "--tags", "*"),
    "a manifest of many tags": ("/manifests/v", "--tags", "*"),
    "the manifest of one": ("/manifests/v0", ":v0"),
    "a manifest within an index": ("/manifests/sha256:", "--tags", "*"),
    "a configuration that all wait for": ("/blobs/sha256:", "--tags", "*"),
    "a layer": ("/blobs/LARGE", "--tags", "*", "--files"),
    "a token": ("/token", "--tags", "*"),
}


def ends_at_once(process: subprocess.Popen[str], number: int) -> None:
    before = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    assert (130 if number == signal.SIGINT else 143, "") == (process.returncode, out), err
    assert time.monotonic() - before < 1.0
    assert {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[number] in err.splitlines()[-1]  # type: ignore[index]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "term"])
@pytest.mark.parametrize("stage", STAGES)
def test_it_ends_within_a_second_while_a_registry_is_silent(
    stage: str, number: int, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    path, *words = STAGES[stage]
    registry.latency = 0
    large = image([random_bytes(2 * MiB)], codec="none")
    put_index(registry, "app", [one.descriptor for one in with_attestations("app", registry)], *(f"v{n}" for n in range(6)))
    if stage == "a layer":
        put_images(registry, "app", large, tag="large")
    if stage == "a token":
        registry.auth = TokenAuth(USER, PASSWORD, anonymous=True)
    path = path.replace("LARGE", large.manifest["layers"][0]["digest"])
    registry.faults.append(Fault("GET", path, hang=LONG))
    name = "" if "--repos" in words else "/app"
    if words[0].startswith(":"):
        name += words.pop(0)
    with begun(tmp_path, "dedupe", "--insecure", f"docker://{registry.host}{name}", *words) as process:
        reached(registry, path, process)
        ends_at_once(process, number)


def reached(registry: ScriptedRegistry, path: str, process: subprocess.Popen[str]) -> None:
    """The command has asked, and a moment later its other threads wait."""
    deadline = time.monotonic() + 20
    while not registry.sent("GET", path):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)
    time.sleep(0.15)


def test_it_ends_within_a_second_while_a_registry_says_come_back_later(registry: ScriptedRegistry, tmp_path: Path) -> None:
    put_index(registry, "app", [one.descriptor for one in with_attestations("app", registry)], *(f"v{n}" for n in range(6)))
    registry.faults.append(Fault("GET", "/manifests/v", status=429, headers={"Retry-After": "30"}))
    with begun(tmp_path, "dedupe", "--insecure", f"docker://{registry.host}/app", "--tags", "*") as process:
        reached(registry, "/manifests/v", process)
        ends_at_once(process, signal.SIGTERM)


@pytest.mark.parametrize("words", [("--tags", "*"), ()], ids=["list", "tag"])
def test_it_ends_within_a_second_while_no_connection_comes_about(words: tuple[str, ...], tmp_path: Path) -> None:
    """Where packets are dropped, connecting takes as long as it may: nothing answers, and nothing refuses."""
    with closing(socket.socket()) as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:  # the queue is full after the first of them
            one.setblocking(False)
            one.connect_ex(address)
        with begun(tmp_path, "dedupe", "--insecure", f"docker://127.0.0.1:{address[1]}/app", *words) as process:
            time.sleep(1.5)
            assert process.poll() is None, process.communicate()
            ends_at_once(process, signal.SIGTERM)
        for one in waiting:
            one.close()


def test_it_ends_within_a_second_while_a_credential_helper_thinks(registry: ScriptedRegistry, tmp_path: Path) -> None:
    registry.auth = TokenAuth(USER, PASSWORD)
    helper = tmp_path / "docker-credential-slow"
    helper.write_text("#!/bin/sh\ntouch asked\nexec sleep 60\n")
    helper.chmod(0o755)
    (tmp_path / "auth.json").write_text(json.dumps({"credsStore": "slow"}))
    words = ("dedupe", "--insecure", f"docker://{registry.host}/app", "--tags", "*", "--authfile", "auth.json")
    with begun(tmp_path, *words) as process:
        deadline = time.monotonic() + 20
        while not (tmp_path / "asked").exists():
            assert process.poll() is None and time.monotonic() < deadline, process.communicate()
            time.sleep(0.01)
        ends_at_once(process, signal.SIGTERM)
