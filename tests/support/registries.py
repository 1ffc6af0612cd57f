"""What tests of registries share: images in a `ScriptedRegistry`, and a task that does not wait between attempts.

with ScriptedRegistry() as registry, NoWaitTask() as task:
    app = image([ONE], tag="app")
    put_images(registry, "app", app, tag="1")
    source = open_remote(registry, "app:1", task)
    ...
    assert [] == task.pauses
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ocitool.blob import Blob
from ocitool.digest import Digest, verified
from ocitool.images import platform_choice
from ocitool.operations.copy import copy
from ocitool.pipeline.image_writer import WriteOptions, WriteResult
from ocitool.pipeline.session import Session
from ocitool.progress import Notice
from ocitool.spec import mediatypes
from ocitool.task import Task
from ocitool.transports.opening import Opened, open_source
from ocitool.transports.registry import Access, Registries, blobs
from ocitool.transports.registry.client import Client
from ocitool.transports.source import Source
from support.images import Image, image, index_of, pretty
from support.registry import BlobServer, Fault, HttpServer, ScriptedRegistry


class _Everyone:
    """Every host is in it."""

    def __contains__(self, host: object) -> bool:
        return True


INSECURE = Access(_Everyone())
USER, PASSWORD = "user", "secret"
TENTH = 10_000
UPLOAD = "/blobs/uploads/."
NO_REGISTRY_SETTINGS: dict[str, str | None] = {
    name: None for word in ("http_proxy", "https_proxy", "all_proxy", "REGISTRY_AUTH_FILE") for name in (word, word.upper())
}
"""The environment of a command that is to know nothing of this machine's registries, beside a HOME of its own."""


class NoWaitTask(Task):
    """A task that notes each pause between attempts, in seconds, and does not wait."""

    def __init__(self, **settings: Any) -> None:
        self.pauses: list[float] = []
        super().__init__(**settings)

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.check()

    def notices_of(self, code: str) -> list[Notice]:
        return [notice for notice in self.notices if notice.code == code]


def random_bytes(size: int, seed: int = 0) -> bytes:
    """Bytes that no compression makes shorter, the same each time."""
    return random.Random(seed).randbytes(size)


DATA = random_bytes(100_007)
"""A blob of ten tenths and a little."""


def digest(data: bytes) -> Digest:
    return Digest.of(data)


def put_images(registry: ScriptedRegistry, repo: str, *images: Image, tag: str | None = None) -> None:
    """The registry has these images, the last of them under the tag."""
    for one in images:
        for name, data in one.blobs.items():
            if name != one.digest:
                registry.put_blob(repo, data)
        last = one is images[-1]
        registry.put_manifest(repo, one.manifest["mediaType"], one.raw, tag if last else None)


def has_image(registry: ScriptedRegistry, repo: str, one: Image) -> bool:
    """Whether all of the image is there, byte for byte."""
    blobs = {name: data for name, data in one.blobs.items() if name != one.digest}
    there = all(data == registry.blobs.get((repo, name)) for name, data in blobs.items())
    return there and registry.manifests.get((repo, one.digest)) == (one.manifest["mediaType"], one.raw)


def put_index(registry: ScriptedRegistry, repo: str, images: Sequence[Image], tag: str, **changes: Any) -> str:
    """The registry has these images and an index of them under the tag; its digest."""
    put_images(registry, repo, *images)
    raw = pretty(index_of([one.descriptor for one in images], **changes))
    return registry.put_manifest(repo, mediatypes.OCI_INDEX, raw, tag)


def bytes_transferred(registry: ScriptedRegistry) -> int:
    """The bytes of blobs and documents that went over the network, either way, each time they did. Lists are no documents."""
    manifests = 0
    for one in registry.sent("GET|PUT", "/manifests/"):
        if one.method == "PUT":
            manifests += one.body_size
        elif one.status == 200:
            repo, _, name = one.path.removeprefix("/v2/").partition("/manifests/")
            manifests += len(registry.manifests[repo, registry.tags.get((repo, name), name)][1])
    return registry.bytes_served + registry.bytes_received + manifests


def client(registry: HttpServer, task: Task, access: Access = INSECURE) -> Client:
    return Client(registry.host, access, task)


def open_remote(registry: HttpServer, name: str, task: Task, access: Access = INSECURE) -> Source:
    return open_source(f"docker://{registry.host}/{name}", "layers", task, Registries(access, task)).source


def session(task: Task, access: Access = INSECURE) -> Session:
    return Session(task, cached=False, registries=Registries(access, task))


def authfile(folder: Path, *hosts: str, user: str = USER, password: str = PASSWORD) -> str:
    """A file that names this user at these hosts."""
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    path = folder / "auth.json"
    path.write_text(json.dumps({"auths": {host: {"auth": auth} for host in hosts}}))
    return str(path)


def cut_responses(method: str, path: str, size: int, count: int = 10) -> list[Fault]:
    """The first so many answers each end after this many bytes of their body."""
    return [Fault(method, path, cut_response=size, after=n, times=1) for n in range(count)]


def cut_requests(method: str, path: str, size: int, count: int = 10) -> list[Fault]:
    """The first so many requests are each cut once this many bytes of their body came."""
    return [Fault(method, path, cut_request=size, after=n, times=1) for n in range(count)]


def paths(registry: HttpServer, method: str = ".*", path: str = "") -> list[str]:
    """What was asked for, as `GET manifests/1`, without the repository."""
    return [f"{one.method} {short_path(one.path)}" for one in registry.sent(method, path)]


def short_path(path: str) -> str:
    for word in ("/manifests/", "/blobs/", "/tags/", "/referrers/"):
        _, found, after = path.partition(word)
        if found:
            return f"{word[1:]}{after.partition('?')[0]}"
    return path


# What is done in a test


def read(
    registry: ScriptedRegistry, task: NoWaitTask, data: bytes = DATA, *, size: int | None = None, offset: int = 0
) -> bytes:
    """The blob of these bytes, of this size, as it comes."""
    registry.put_blob("app", data)
    size = len(data) if size is None else size
    return b"".join(blobs.fetch(client(registry, task), "app", digest(data), size, offset))


def read_verified(registry: ScriptedRegistry, task: NoWaitTask, data: bytes = DATA) -> bytes:
    """As `read`, held against its digest as every reader does."""
    registry.put_blob("app", data)
    coming = blobs.fetch(client(registry, task), "app", digest(data), len(data))
    return b"".join(verified(coming, digest(data), len(data)))


def ranges(site: ScriptedRegistry | BlobServer) -> list[str]:
    return [one.headers.get("range", "") for one in site.sent("GET")]


def layers(source: Source) -> list[Blob]:
    found = platform_choice.single(Opened(source, None), None).layers
    return [layer.blob for layer in found if layer.blob is not None]


def one_layer(registry: ScriptedRegistry, size: int) -> Image:
    """An image whose only layer has this many bytes, at app:1."""
    one = image([random_bytes(size)], codec="none")
    put_images(registry, "app", one, tag="1")
    return one


def push(registry: ScriptedRegistry, task: NoWaitTask, src: Path | str, to: str = "app:1", **how: Any) -> WriteResult:
    names = how.pop("names", ())
    return copy([str(src)], session(task), WriteOptions(f"docker://{registry.host}/{to}", names=names), **how)
