"""The jobs `tags` and `big-layer`: all tags of a repository, and one layer of 2 GB, from one local docker-registry to another,
beside crane. The registry that is written to is emptied before each first time, unmeasured."""

from __future__ import annotations

import hashlib
import http.client
import json
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.append(str(Path(__file__).resolve().parents[1]))

from support.real_registry import RealRegistry, real_registry

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
BIG = 2 * 10**9
PIECE = 1 << 20


def add(plan: Any, s: Any, counts: tuple[int, ...], *, big: bool = False) -> AbstractContextManager[None]:
    """Adds the programs; what is given back keeps the registries alive, and ends them."""
    stack = ExitStack()
    full = stack.enter_context(real_registry(_fresh(s.work / "tags-full")))
    empty = stack.enter_context(real_registry(_fresh(s.work / "tags-empty")))

    def wipe() -> None:
        empty.kill()
        shutil.rmtree(empty.data, ignore_errors=True)
        empty.start()

    with Repository(full) as repository:
        for count in counts:
            repository.fill(f"tags{count}", count, lambda: iter([bytes(10_000)]), 10_000)
        if big:
            repository.fill("big", 1, _noise, BIG)
    hosts = ("--insecure-host", full.host, "--insecure-host", empty.host)
    rows = [(f"{count} tags", f"tags{count}") for count in counts] + [("a layer of 2 GB", "big")] * big
    for text, name in rows:
        source = f"{full.host}/{name}"
        ours = ("copy", "-q", *hosts, "--tags", "*", f"docker://{source}", f"docker://{empty.host}/m/")
        theirs = ("crane", "copy", "--insecure", "--all-tags", source, f"{empty.host}/c/{name}")
        for when, before in (("first", wipe), ("again", None)):
            more = {"before": before} if before is not None else {}
            plan.ours(s, f"ocitool copy, {text}, {when}", *ours, **more)
        for when, before in (("first", wipe), ("again", None)):
            more = {"before": before} if before is not None else {}
            plan.peer(f"crane copy, {text}, {when}", *theirs, **more)
        for when in ("first", "again"):
            plan.ratio(f"ocitool copy, {text}, {when}", 1.2, f"crane copy, {text}, {when}")
    return stack


def _fresh(directory: Path) -> Path:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    return directory


def _noise() -> Iterator[bytes]:
    chance = random.Random(1)
    for start in range(0, BIG, PIECE):
        yield chance.randbytes(min(PIECE, BIG - start))


class Repository:
    """What a registry is filled with, by requests of its own: so no program that is measured has to do it."""

    def __init__(self, registry: RealRegistry) -> None:
        self._connection = http.client.HTTPConnection(registry.host)

    def __enter__(self) -> Repository:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def fill(self, name: str, tags: int, content: Callable[[], Iterator[bytes]], size: int) -> None:
        """One image of one layer under so many tags."""
        layer = self._blob(name, content, size)
        stated = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [layer]}}
        raw = json.dumps(stated).encode()
        fields = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": self._blob(name, lambda: iter([raw]), len(raw)), "size": len(raw)},
            "layers": [{"mediaType": LAYER, "digest": layer, "size": size}],
        }
        for number in range(tags):
            self._asked("PUT", f"/v2/{name}/manifests/t{number}", json.dumps(fields).encode(), {"Content-Type": MANIFEST})

    def _blob(self, name: str, content: Callable[[], Iterator[bytes]], size: int) -> str:
        hasher = hashlib.sha256()
        for piece in content():
            hasher.update(piece)
        digest = f"sha256:{hasher.hexdigest()}"
        begun = urlsplit(self._asked("POST", f"/v2/{name}/blobs/uploads/"))
        path = f"{begun.path}?{begun.query}&digest={digest}"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        self._asked("PUT", path, content(), headers)
        return digest

    def _asked(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> str:
        """Where the answer leads."""
        self._connection.request(method, path, body, headers or {})
        answer = self._connection.getresponse()
        answer.read()
        assert answer.status in (201, 202), (method, path, answer.status)
        return answer.headers["Location"]
