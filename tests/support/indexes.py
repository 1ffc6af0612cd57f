"""Layouts of one index, and the images that stand in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.images import Image, image, index_of, layer_tar, pretty, sha256, write_layout

INDEX = "application/vnd.oci.image.index.v1+json"
AMD, ARM, S390 = ({"os": "linux", "architecture": name} for name in ("amd64", "arm64", "s390x"))


def windows(version: str) -> dict[str, Any]:
    return {"os": "windows", "architecture": "amd64", "os.version": version}


def linux(*features: str, **more: str) -> dict[str, Any]:
    return {"os": "linux", "architecture": "amd64", **({"os.features": list(features)} if features else {}), **more}


def of(platform: Mapping[str, Any], content: str = "x", **changes: Any) -> Image:
    """An image for a platform, which its descriptor and its configuration state."""
    annotations = changes.pop("annotations", None)
    tar = layer_tar([("f", content.encode())])
    return image([tar], codec="none", platform=dict(platform), annotations=annotations, **{**platform, **changes})


def attestation(about: Image, content: str = "") -> Image:
    made = image([layer_tar([("provenance", content.encode())])], platform={"os": "unknown", "architecture": "unknown"})
    made.annotations = {
        "vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": about.digest,
    }  # fmt: skip
    return made


def multi(path: Path, *images: Image, tag: str = "x", **changes: Any) -> Path:
    """A layout with one index of these images; `changes`: members of the index."""
    inner = pretty(index_of([one.descriptor for one in images], **changes))
    top: dict[str, Any] = {"mediaType": INDEX, "digest": sha256(inner), "size": len(inner)}
    top["annotations"] = {"org.opencontainers.image.ref.name": tag}
    holder = image()
    holder.extra[sha256(inner)] = inner
    return write_layout(path, [*images, holder], index=index_of([top]))
