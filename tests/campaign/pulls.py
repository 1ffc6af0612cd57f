"""kill -9 at random moments of a pull: nothing unverified stands under its name, and the next pull goes on where it was.

A real docker-registry serves an image of a few layers of random bytes, and one whose large layer comes over connections so
slow that it is fetched in ranges. Each turn pulls one of them into a fresh layout, is killed at a random moment of the time
that a pull takes, looks at what is left, and pulls again, to the end.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from support.real_registry import Proxy, RealRegistry, real_registry

SIZES = {"app": (24_000_000, 12_000_000, 3_000_000, 200_000, 5_000), "slow": (60_000_000, 200_000, 5_000)}
RATE = 20_000_000
"""Bytes a second of each connection by which `slow` is pulled."""
UNREAD = 10_000_000
"""Bytes that the buffers of sockets hold at most of a connection that is closed because ranges are fetched, with headers."""
PARTIAL = re.compile(r"\.ocitool-sha256-([0-9a-f]{64})\.partial")
ROOT = Path(__file__).resolve().parents[2]


def run(
    seconds: float, seed: int = 0, *, times: int | None = None, say: Callable[[str], None] = lambda line: None
) -> Iterator[str]:
    """The findings. `times`: kills, however long they take; else until the time is up."""
    chance, until = random.Random(seed), time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="pulls-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as name:
        place = Path(name)
        with real_registry(place) as registry, Proxy(registry.host, rate=RATE) as proxy:
            takes = {}
            for repo, host in (("app", registry.host), ("slow", proxy.host)):
                origin = _layout(place / repo, chance, SIZES[repo])
                _ocitool(place, "push", "--insecure", str(origin), f"{registry.host}/{repo}:1").wait()
                began = time.monotonic()
                if _ocitool(place, "pull", "--insecure", f"{host}/{repo}:1", f"whole-{repo}/").wait():
                    yield "a pull that nobody disturbs fails"
                    return
                takes[f"{host}/{repo}:1"] = time.monotonic() - began
                if repo == "slow" and len(registry.requests("GET", "/slow/blobs/")) <= 1 + len(SIZES[repo]):
                    yield "a large layer on a slow connection is not fetched in ranges"
            turn = killed = resumed = 0
            while time.monotonic() < until if times is None else turn < times:
                turn += 1
                name = list(takes)[turn % 2]
                moment = chance.uniform(0.2, 1.0) * takes[name]
                for wrong in _turn(place, registry, proxy, name, place / f"turn-{turn}", moment):
                    if wrong in ("killed", "resumed"):
                        killed, resumed = killed + (wrong == "killed"), resumed + (wrong == "resumed")
                    else:
                        yield f"killed after {moment:.3f} s (seed {seed}, turn {turn}): {wrong}"
                shutil.rmtree(place / f"turn-{turn}", ignore_errors=True)
            say(f"{turn} runs, {killed} killed before they ended, {resumed} with a partial blob that was gone on with")


def _turn(place: Path, registry: RealRegistry, proxy: Proxy, name: str, dest: Path, moment: float) -> Iterator[str]:
    process = _ocitool(place, "pull", "--insecure", name, f"{dest}/")
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        process.kill()
        if process.wait() == -9:
            yield "killed"
    yield from _damaged(dest)
    left = {PARTIAL.fullmatch(path.name)[1]: path.stat().st_size for path in dest.glob(".ocitool-*.partial")}  # type: ignore[index]
    registry.clear_log()
    proxy.clear()
    if code := _ocitool(place, "pull", "--insecure", name, f"{dest}/").wait():
        yield f"the next pull ends with {code}"
        return
    sent = Counter[str]()
    for one in registry.requests("GET", "/blobs/"):
        sent[one.path.rpartition(":")[2]] += one.sent
    for digest, size in left.items():
        whole = (dest / "blobs/sha256" / digest).stat().st_size
        if name.startswith(proxy.host) and size and proxy.from_server > sum(SIZES["slow"]) - size + UNREAD:
            yield f"of a blob of {whole} bytes {size} were there, and {proxy.from_server} came by the proxy"
        elif name.startswith(registry.host) and size and sent[digest] > whole - size:
            yield f"of a blob of {whole} bytes {size} were there, and {sent[digest]} were fetched"
        elif size:
            yield "resumed"
    yield from _damaged(dest)
    if not (dest / "index.json").exists() or list(dest.glob(".ocitool-*")):
        yield f"the next pull leaves {sorted(path.name for path in dest.iterdir())}"
    if _ocitool(place, "validate", f"{dest}").wait():
        yield "the result is not valid"


def _damaged(dest: Path) -> Iterator[str]:
    for path in dest.glob("blobs/sha256/*"):
        if hashlib.sha256(path.read_bytes()).hexdigest() != path.name:
            yield f"{path.name} stands under its name and is something else"


def _ocitool(place: Path, *words: str) -> subprocess.Popen[bytes]:
    env = {**os.environ, "OCITOOL_CACHE_DIR": str(place / "cache"), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "ocitool", *words], cwd=place, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _layout(directory: Path, chance: random.Random, sizes: tuple[int, ...]) -> Path:
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    layers, diff_ids = [], []
    for number, size in enumerate(sizes):
        plain = io.BytesIO()
        with tarfile.open(fileobj=plain, mode="w") as tar:
            member = tarfile.TarInfo(f"file-{number}")
            member.size = size
            tar.addfile(member, io.BytesIO(chance.randbytes(size)))
        diff_ids.append("sha256:" + hashlib.sha256(plain.getvalue()).hexdigest())
        packed = gzip.compress(plain.getvalue(), 1, mtime=0)
        layers.append({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", **put(packed)})
    config = {"os": "linux", "architecture": "amd64", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = {
        "schemaVersion": 2, "mediaType": kind, "layers": layers,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **put(json.dumps(config).encode())},
    }  # fmt: skip
    (directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    index = {"schemaVersion": 2, "manifests": [{"mediaType": kind, **put(json.dumps(manifest).encode())}]}
    (directory / "index.json").write_text(json.dumps(index))
    return directory
