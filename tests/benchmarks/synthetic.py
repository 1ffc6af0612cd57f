"""Small images by code for the job `dedupe`: the same bytes each time; all digests, sizes and diff_ids are true.

An image has layers of a base, of a family and of its own, each a real tar with a few small files.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from image import CREATED, header

ARCHIVES = 1000
SIZES = (1000, 2000, 4000, 8000, 10_000, 100_000)
OCI = "application/vnd.oci.image."


class Layer(NamedTuple):
    made_by: str
    plain: bytes
    stored: bytes  # as gzip


@lru_cache(10_000)  # those that images share
def layer(name: str, files: int = 1) -> Layer:
    parts = []
    for n in range(files):
        text = f"{name} {n}\n".encode() * (1 + len(name) % 7)
        parts.append(header(f"srv/{name.replace(' ', '/')}/{n}.txt", len(text)) + text + bytes(-len(text) % 512))
    plain = b"".join(parts) + bytes(1024)
    return Layer(f"RUN /bin/sh -c make {name} && apt-get install -y package", plain, gzip.compress(plain, 1, mtime=0))


def twelve(n: int) -> list[Layer]:
    """The layers of image `n`: 5 of one of 40 bases, 3 of one of 700 families, 4 of its own."""
    names = [f"base {n % 40} {k}" for k in range(5)] + [f"app {n % 700} {k}" for k in range(3)]
    return [layer(name) for name in names + [f"own {n} {k}" for k in range(4)]]


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def config_of(layers: Sequence[Layer], mark: str) -> bytes:
    """`mark` makes it differ from another one of the same layers."""
    history: list[dict[str, Any]] = []
    for n, one in enumerate(layers):
        history.append({"created": CREATED, "created_by": one.made_by})
        if n % 3 == 0:
            history.append({"created": CREATED, "created_by": f"ENV K{n}=1", "empty_layer": True})
    settings = {"Env": ["PATH=/usr/bin", f"MARK={mark}"], "Cmd": ["app"]}
    root = {"type": "layers", "diff_ids": [sha256(one.plain) for one in layers]}
    whole = {"architecture": "amd64", "os": "linux", "created": CREATED, "config": settings, "rootfs": root, "history": history}
    return json.dumps(whole).encode()


def manifest_of(config: bytes, layers: Iterable[bytes], kind: str, annotations: Mapping[str, str] | None = None) -> bytes:
    whole: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": f"{OCI}manifest.v1+json",
        "config": described("config.v1+json", config),
        "layers": [described(kind, data) for data in layers],
    }
    return json.dumps(whole | ({"annotations": annotations} if annotations else {})).encode()


def described(kind: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": OCI + kind, "digest": sha256(data), "size": len(data)}


def named(manifest: bytes, name: str) -> dict[str, Any]:
    return {**described("manifest.v1+json", manifest), "annotations": {"org.opencontainers.image.ref.name": name}}


# The part `archives`


def archives(work: Path) -> None:
    """Archives of 3 to 5 layers: 2 of one of 40 bases, up to 2 of one of 120 families, 1 of its own. Half of them as
    `docker save` wrote them before version 25, half as since."""
    folder = work / "many-archives"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for n in range(ARCHIVES):
        names = [f"base {n % 40} {k}" for k in range(2)] + [f"app {n % 120} {k}" for k in range(n % 3)]
        layers = [layer(name, 3) for name in [*names, f"own {n}"]]
        write = universal if n % 2 else docker_save
        with tarfile.open(folder / f"app-{n:04}.tar", "w") as tar:
            for name, data in write(layers, config_of(layers, str(n)), f"bench/app-{n}"):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def docker_save(layers: Sequence[Layer], config: bytes, name: str) -> Iterator[tuple[str, bytes]]:
    paths = []
    for n, one in enumerate(layers):
        layer_id = hashlib.sha256(f"{name} {n}".encode()).hexdigest()
        yield f"{layer_id}/VERSION", b"1.0"
        yield f"{layer_id}/json", json.dumps({"id": layer_id, "created": CREATED, "os": "linux"}).encode()
        yield f"{layer_id}/layer.tar", one.plain
        paths.append(f"{layer_id}/layer.tar")
    path = f"{hashlib.sha256(config).hexdigest()}.json"
    yield path, config
    yield "manifest.json", json.dumps([{"Config": path, "RepoTags": [f"{name}:1"], "Layers": paths}]).encode()
    yield "repositories", json.dumps({name: {"1": layer_id}}).encode()


def universal(layers: Sequence[Layer], config: bytes, name: str) -> Iterator[tuple[str, bytes]]:
    plain = [one.plain for one in layers]
    manifest = manifest_of(config, plain, "layer.v1.tar")
    for data in (*plain, config, manifest):
        yield blob(data), data
    yield "index.json", json.dumps({"schemaVersion": 2, "manifests": [named(manifest, "1")]}).encode()
    record = {"Config": blob(config), "RepoTags": [f"{name}:1"], "Layers": [blob(data) for data in plain]}
    yield "manifest.json", json.dumps([record]).encode()
    yield "oci-layout", b'{"imageLayoutVersion": "1.0.0"}'


def blob(data: bytes) -> str:
    return "blobs/" + sha256(data).replace(":", "/")


# The part `images`


def layouts(work: Path) -> None:
    """images-N for each of SIZES: the first N images, the blobs of the smaller ones as hard links to the largest, which takes
    2.4 GB in a tmpfs (600,000 files of a page or two) and a minute or two."""
    for old in work.glob("images-*"):
        shutil.rmtree(old)
    roots = {size: work / f"images-{size}" for size in SIZES}
    largest = roots[SIZES[-1]]
    for root in roots.values():
        (root / "blobs/sha256").mkdir(parents=True)
        (root / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    entries: list[dict[str, Any]] = []
    for n in range(SIZES[-1]):
        layers = twelve(n)
        config = config_of(layers, str(n))
        stored = [one.stored for one in layers]
        manifest = manifest_of(config, stored, "layer.v1.tar+gzip")
        entries.append(named(manifest, f"img-{n}"))
        for data in (*stored, config, manifest):
            path = blob(data)
            if not (largest / path).exists():
                (largest / path).write_bytes(data)
                for size, root in roots.items():
                    if n < size and root != largest:
                        os.link(largest / path, root / path)
    for size, root in roots.items():
        (root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries[:size]}))
