"""What stands at a destination, read by the standard library alone, every blob held against its digest."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

REF_NAME = "org.opencontainers.image.ref.name"
CONTAINERD_NAME = "io.containerd.image.name"


def files(place: Path | bytes) -> dict[str, bytes]:
    """The files of a layout directory, or of an archive (a path, or its bytes), by name."""
    if isinstance(place, Path) and place.is_dir():
        return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}
    data = place if isinstance(place, bytes) else place.read_bytes()
    if data[:4] == b"\x28\xb5\x2f\xfd":
        import zstandard

        data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    found = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.isfile() else None
            if stream is not None:
                assert member.name not in found, f"{member.name} stands twice"
                found[member.name] = stream.read()
    return found


def blobs(place: Path | bytes) -> dict[str, bytes]:
    """The blobs by digest; each is what its name says."""
    found = {}
    for name, data in files(place).items():
        if name.startswith("blobs/"):
            _, algorithm, encoded = name.split("/")
            assert hashlib.new(algorithm, data).hexdigest() == encoded, name
            found[f"{algorithm}:{encoded}"] = data
    return found


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def index(place: Path | bytes) -> Any:
    return json.loads(files(place)["index.json"])


def names(place: Path | bytes) -> dict[str, str]:
    """The digests of what stands at the top, by ref.name."""
    found = ((entry.get("annotations", {}).get(REF_NAME), entry["digest"]) for entry in index(place)["manifests"])
    return {name: digest for name, digest in found if name is not None}


def manifest(place: Path | bytes, position: int = 0) -> Any:
    """The document that an entry at the top leads to."""
    return json.loads(blobs(place)[index(place)["manifests"][position]["digest"]])


def engine_images(place: Path | bytes) -> Any:
    """What manifest.json says; each file that it names is there."""
    found = files(place)
    listed = json.loads(found["manifest.json"])
    for image in listed:
        for path in (image["Config"], *image["Layers"]):
            assert path in found, path
    return listed
