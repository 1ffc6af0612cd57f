"""The job `registry`: pull and push beside skopeo and crane, against a docker-registry of its own on loopback.

A registry that is pushed to is emptied before each run, unmeasured. `crane` is used when it is on PATH. The programs named
"... big" have the field image with layers five times as large, of noise, so that the start of a program matters less.
`registry_startup.py` adds commands with nothing to move.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

import registry_startup
from support.real_registry import Proxy, RealRegistry, real_registry

LATENCY = 0.02
RATE = 20_000_000
"""Bytes a second of each connection that is slow."""
BLOBS = 100
BIG_LAYERS = (63_000_000 * 5, 108_000_000 * 5)
REPOSITORY = "bench/field:1"
MANY = "bench/many:1"
BIG = "bench/big:1"


def add(plan: Any, s: Any) -> AbstractContextManager[None]:
    """Adds the programs; what is given back keeps the registries alive, and ends them."""
    stack = ExitStack()
    work: Path = s.work
    full = stack.enter_context(real_registry(_fresh(work / "registry-full")))
    empty = stack.enter_context(real_registry(_fresh(work / "registry-empty")))
    many, big = _many(work / f"many-{BLOBS}"), _big(work / "field-big")
    start = plan.empty(s)
    skopeo = ("skopeo", "--insecure-policy", "copy", "--quiet")
    for layout, name in ((work / "field-a", REPOSITORY), (work / "field-c", "bench/field:2"), (many, MANY), (big, BIG)):
        target = f"docker://{full.host}/{name}"
        subprocess.run([*skopeo, "--dest-tls-verify=false", f"oci:{layout}:latest", target], check=True)

    def wipe() -> None:
        empty.kill()
        shutil.rmtree(empty.data, ignore_errors=True)
        empty.start()

    def filled() -> None:
        wipe()
        subprocess.run([*skopeo, "--dest-tls-verify=false", f"oci:{work}/field-a:latest", _at(empty)], check=True)

    # Pull
    plan.ours(s, "ocitool pull", "pull", "--insecure", f"{full.host}/{REPOSITORY}", "oci:{new}")
    plan.peer("skopeo copy, from registry", *skopeo, "--src-tls-verify=false", _at(full), "oci:{new}:1")
    plan.peer("crane pull, layout", "crane", "pull", "--insecure", "--format=oci", f"{full.host}/{REPOSITORY}", "{new}")
    plan.ours(s, "ocitool pull, archive", "pull", "--insecure", f"{full.host}/{REPOSITORY}", "oci-archive:{new}")
    plan.peer("crane pull, archive", "crane", "pull", "--insecure", f"{full.host}/{REPOSITORY}", "{new}")
    plan.ratio("ocitool pull", 1.0, "skopeo copy, from registry")
    _beside_crane(plan, "ocitool pull", "crane pull, layout", start)
    _beside_crane(plan, "ocitool pull, archive", "crane pull, archive", start)
    plan.at_most("ocitool pull", "peak under 120 MB", 120, "megabytes")
    kept = work / "pulled"
    shutil.rmtree(kept, ignore_errors=True)
    if s.ours is not None:
        subprocess.run([*s.ours, "pull", "-q", "--insecure", f"{full.host}/{REPOSITORY}", f"oci:{kept}"], check=True)
    again = ("pull", "--insecure", f"{full.host}/{REPOSITORY}", f"oci:{kept}")
    plan.ours(s, "ocitool pull, again", *again, cache="warm")  # as the pull before left it: what is there is on record
    plan.ours(s, "ocitool pull, again, nothing on record", *again, cache="cold")
    plan.peer("skopeo copy, from registry, again", *skopeo, "--src-tls-verify=false", _at(full), f"oci:{kept}:1")
    plan.at_most("ocitool pull, again", "under 0.8 s", 0.8)
    # Push
    plan.ours(s, "ocitool push", "push", "--insecure", f"{work}/field-a:latest", f"{empty.host}/{REPOSITORY}", before=wipe)
    plan.peer("skopeo copy, to registry", *skopeo, "--dest-tls-verify=false", f"oci:{work}/field-a:latest", _at(empty),
              before=wipe)  # fmt: skip
    plan.peer("crane push", "crane", "push", "--insecure", work / "field-a", f"{empty.host}/{REPOSITORY}", before=wipe)
    plan.ratio("ocitool push", 1.0, "skopeo copy, to registry")
    _beside_crane(plan, "ocitool push", "crane push", start)
    plan.at_most("ocitool push", "peak under 120 MB", 120, "megabytes")
    plan.ours(s, "ocitool push, again", "push", "--insecure", f"{work}/field-a:latest", f"{full.host}/{REPOSITORY}")
    plan.at_most("ocitool push, again", "under 0.8 s", 0.8)
    plan.ours(s, "ocitool push, one small layer differs", "push", "--insecure", f"{work}/field-c:latest",
              f"{empty.host}/{REPOSITORY}", before=filled)  # fmt: skip
    # Five times the size
    plan.ours(s, "ocitool pull, big", "pull", "--insecure", f"{full.host}/{BIG}", "oci:{new}")
    plan.peer("crane pull, layout, big", "crane", "pull", "--insecure", "--format=oci", f"{full.host}/{BIG}", "{new}")
    plan.ours(s, "ocitool push, big", "push", "--insecure", f"{big}:latest", f"{empty.host}/{BIG}", before=wipe)
    plan.peer("crane push, big", "crane", "push", "--insecure", big, f"{empty.host}/{BIG}", before=wipe)
    plan.ratio("ocitool pull, big", 1.25, "crane pull, layout, big")
    plan.ratio("ocitool push, big", 1.25, "crane push, big")
    # Connections of 20 MB/s, 20 ms away
    slow = stack.enter_context(Proxy(full.host, latency=LATENCY, rate=RATE))
    plan.ours(s, "ocitool pull, 20 MB/s a connection", "pull", "--insecure", f"{slow.host}/{REPOSITORY}", "oci:{new}")
    plan.peer("crane pull, layout, 20 MB/s a connection", "crane", "pull", "--insecure", "--format=oci",
              f"{slow.host}/{REPOSITORY}", "{new}")  # fmt: skip
    plan.ratio("ocitool pull, 20 MB/s a connection", 0.75, "crane pull, layout, 20 MB/s a connection")
    # A hundred blobs, 20 ms away
    near = stack.enter_context(Proxy(full.host, latency=LATENCY))
    far = stack.enter_context(Proxy(empty.host, latency=LATENCY))
    plan.ours(s, "ocitool pull, 100 blobs, 20 ms", "pull", "--insecure", f"{near.host}/{MANY}", "oci:{new}")
    plan.peer("crane pull, 100 blobs, 20 ms", "crane", "pull", "--insecure", "--format=oci", f"{near.host}/{MANY}", "{new}")
    plan.ours(s, "ocitool pull, archive, 100 blobs, 20 ms", "pull", "--insecure", f"{near.host}/{MANY}", "oci-archive:{new}")
    plan.peer("crane pull, archive, 100 blobs, 20 ms", "crane", "pull", "--insecure", f"{near.host}/{MANY}", "{new}")
    plan.peer("skopeo copy, 100 blobs, 20 ms", *skopeo, "--src-tls-verify=false", f"docker://{near.host}/{MANY}", "oci:{new}:1")
    plan.ours(s, "ocitool push, 100 blobs, 20 ms", "push", "--insecure", many, f"{far.host}/{MANY}", before=wipe)
    plan.peer("crane push, 100 blobs, 20 ms", "crane", "push", "--insecure", many, f"{far.host}/{MANY}", before=wipe)
    plan.peer("skopeo push, 100 blobs, 20 ms", *skopeo, "--dest-tls-verify=false", f"oci:{many}:latest",
              f"docker://{far.host}/{MANY}", before=wipe)  # fmt: skip
    plan.ratio("ocitool pull, 100 blobs, 20 ms", 1.0, "crane pull, 100 blobs, 20 ms")
    plan.ratio("ocitool pull, archive, 100 blobs, 20 ms", 1.0, "crane pull, archive, 100 blobs, 20 ms")
    plan.ratio("ocitool push, 100 blobs, 20 ms", 1.0, "crane push, 100 blobs, 20 ms")
    registry_startup.add(plan, s, stack, start)
    return stack


def _beside_crane(plan: Any, program: str, crane: str, start: str) -> None:
    """crane, which is compiled, starts in 7 ms; and of what it pushes it hashes nothing."""
    plan.ratio(program, 1.25, crane)
    plan.ratio(program, 1.25, crane, start)


def _at(registry: RealRegistry) -> str:
    return f"docker://{registry.host}/{REPOSITORY}"


def _fresh(directory: Path) -> Path:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    return directory


def _many(directory: Path) -> Path:
    """A layout of one image with a hundred small layers."""
    chance = random.Random(1)

    def layers() -> Iterator[tuple[str, Iterable[bytes], str]]:
        for number in range(BLOBS - 1):
            plain = io.BytesIO()
            with tarfile.open(fileobj=plain, mode="w") as tar:
                content = chance.randbytes(20_000)
                member = tarfile.TarInfo(f"file-{number}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
            diff_id = "sha256:" + hashlib.sha256(plain.getvalue()).hexdigest()
            yield "tar+gzip", [gzip.compress(plain.getvalue(), mtime=0)], diff_id

    return _layout(directory, layers())


def _big(directory: Path) -> Path:
    """A layout of one image with two large layers of noise, which no program but a transfer reads."""
    chance, step = random.Random(1), 1 << 20

    def noise(size: int) -> Iterator[bytes]:
        return (chance.randbytes(min(step, size - at)) for at in range(0, size, step))

    return _layout(directory, (("tar", noise(size), "") for size in BIG_LAYERS))


def _layout(directory: Path, layers: Iterable[tuple[str, Iterable[bytes], str]]) -> Path:
    """A layout of one image, unless it is there already. `layers`: the kind of each, its bytes, and its diff_id, or "" for
    its digest."""
    if (directory / "index.json").exists():
        return directory
    shutil.rmtree(directory, ignore_errors=True)
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(*chunks: bytes) -> dict[str, Any]:
        return put_chunks(chunks)

    def put_chunks(chunks: Iterable[bytes]) -> dict[str, Any]:
        hasher, size = hashlib.sha256(), 0
        with open(blobs / "new", "wb") as file:
            for chunk in chunks:
                hasher.update(chunk)
                size += file.write(chunk)
        (blobs / "new").rename(blobs / hasher.hexdigest())
        return {"digest": f"sha256:{hasher.hexdigest()}", "size": size}

    descriptors: list[dict[str, Any]] = []
    diff_ids = []
    for kind, chunks, diff_id in layers:
        descriptors.append({"mediaType": f"application/vnd.oci.image.layer.v1.{kind}", **put_chunks(chunks)})
        diff_ids.append(diff_id or descriptors[-1]["digest"])
    config = {"os": "linux", "architecture": "amd64", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    manifest: Mapping[str, Any] = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **put(json.dumps(config).encode())},
        "layers": descriptors,
    }
    entry = {
        "mediaType": manifest["mediaType"],
        **put(json.dumps(manifest).encode()),
        "annotations": {"org.opencontainers.image.ref.name": "latest"},
    }
    (directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    return directory
