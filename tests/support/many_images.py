"""Layouts of thousands of small images, which share most of their layers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.images import layer_tar, sha256


def write_many(top: Path, count: int, own: int = 0) -> None:
    """Writes a layout of so many images of 12 of 150 layers. Each has a configuration of its own, and in place of its last
    layers `own` that no other image has."""
    blobs = top / "blobs/sha256"
    blobs.mkdir(parents=True)

    def stored(kind: str, data: bytes) -> dict[str, Any]:
        digest = sha256(data)
        (blobs / digest.partition(":")[2]).write_bytes(data)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest, "size": len(data)}

    shared = [stored("layer.v1.tar", layer_tar([(f"srv/{n}", b"%d" % (n % 40) * 6000)])) for n in range(150)]
    entries = []
    for n in range(count):
        firsts = (n % 10 * 5, 50 + n % 20 * 3, 110 + n % 10 * 4)
        chosen = [shared[first + k] for first, size in zip(firsts, (5, 3, 4), strict=True) for k in range(size)]
        if own:
            chosen[-own:] = [stored("layer.v1.tar", layer_tar([(f"own/{n}/{k}", b"")])) for k in range(own)]
        history = [{"created": "2024-01-01T00:00:00Z", "created_by": f"RUN make {layer['digest'][:20]}"} for layer in chosen]
        config: dict[str, Any] = {"os": "linux", "architecture": "amd64", "author": f"{n}", "history": history}
        config["rootfs"] = {"type": "layers", "diff_ids": [layer["digest"] for layer in chosen]}
        named = stored("config.v1+json", json.dumps(config).encode())
        entry = stored("manifest.v1+json", json.dumps({"schemaVersion": 2, "config": named, "layers": chosen}).encode())
        entries.append({**entry, "annotations": {"org.opencontainers.image.ref.name": f"i{n}"}})
    (top / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
    (top / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
