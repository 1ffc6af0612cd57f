"""The job `registry`: pull and push beside skopeo and crane, against a docker-registry of its own on loopback.

A registry that is pushed to is emptied before each run, unmeasured. `crane` is used when it is on PATH.
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
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

from support.real_registry import Proxy, RealRegistry, real_registry

LATENCY = 0.02
BLOBS = 100
REPOSITORY = "bench/field:1"
MANY = "bench/many:1"


def add(plan: Any, s: Any) -> AbstractContextManager[None]:
    """Adds the programs; what is given back keeps the registries alive, and ends them."""
    stack = ExitStack()
    work: Path = s.work
    full = stack.enter_context(real_registry(_fresh(work / "registry-full")))
    empty = stack.enter_context(real_registry(_fresh(work / "registry-empty")))
    many = _many(work / f"many-{BLOBS}")
    skopeo = ("skopeo", "--insecure-policy", "copy", "--quiet")
    for layout, name in ((work / "field-a", REPOSITORY), (work / "field-c", "bench/field:2"), (many, MANY)):
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
    plan.at_most("ocitool push", "peak under 120 MB", 120, "megabytes")
    plan.ours(s, "ocitool push, again", "push", "--insecure", f"{work}/field-a:latest", f"{full.host}/{REPOSITORY}")
    plan.at_most("ocitool push, again", "under 0.8 s", 0.8)
    plan.ours(s, "ocitool push, one small layer differs", "push", "--insecure", f"{work}/field-c:latest",
              f"{empty.host}/{REPOSITORY}", before=filled)  # fmt: skip
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
    plan.ratio("ocitool pull, 100 blobs, 20 ms", 1.2, "crane pull, 100 blobs, 20 ms")
    plan.ratio("ocitool push, 100 blobs, 20 ms", 1.2, "crane push, 100 blobs, 20 ms")
    return stack


def _at(registry: RealRegistry) -> str:
    return f"docker://{registry.host}/{REPOSITORY}"


def _fresh(directory: Path) -> Path:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    return directory


def _many(directory: Path) -> Path:
    """A layout of one image with a hundred small layers."""
    if (directory / "index.json").exists():
        return directory
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    chance = random.Random(1)

    def put(data: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    layers, diff_ids = [], []
    for number in range(BLOBS - 1):
        plain = io.BytesIO()
        with tarfile.open(fileobj=plain, mode="w") as tar:
            content = chance.randbytes(20_000)
            member = tarfile.TarInfo(f"file-{number}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        diff_ids.append("sha256:" + hashlib.sha256(plain.getvalue()).hexdigest())
        packed = gzip.compress(plain.getvalue(), mtime=0)
        layers.append({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", **put(packed)})
    config = {"os": "linux", "architecture": "amd64", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    manifest: Mapping[str, Any] = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **put(json.dumps(config).encode())},
        "layers": layers,
    }
    entry = {
        "mediaType": manifest["mediaType"],
        **put(json.dumps(manifest).encode()),
        "annotations": {"org.opencontainers.image.ref.name": "latest"},
    }
    (directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    return directory
