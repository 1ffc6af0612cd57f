"""Images made by code: layers, layouts and archives of any shape, whole or broken on purpose.

    layer = layer_tar([("etc/", None), ("etc/motd", b"hello\\n"), ("sh", "link:busybox")])
    write_layout(tmp / "layout", [image([layer], tag="app")])
    write_docker_archive(tmp / "app.tar", [image([layer], tag="app:1")])
    write_oci_archive(tmp / "app-oci.tar", [image([layer], tag="app")])

An entry is an `Entry` (its content then beside it: `(entry, b"...")`) or a pair of a name and what stands there: None a
directory, bytes a file, "link:T" a symlink, "hard:T" a hard link.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ocitool.layers import tarwriter
from ocitool.layers.entry import Entry, Kind
from ocitool.spec import mediatypes

Named = tuple[str | bytes, bytes | str | None]
AnyEntry = Entry | tuple[Entry, bytes] | Named


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def entry(name: str | bytes, what: bytes | str | None = b"", **changes: Any) -> tuple[Entry, bytes]:
    """An entry and its content; the name is written as it stands, so that whiteouts and bad names can be made."""
    path = name.encode() if isinstance(name, str) else name
    kind, link, content = Kind.FILE, b"", b""
    if what is None:
        kind, path = Kind.DIRECTORY, path.rstrip(b"/")
    elif isinstance(what, str):
        how, _, target = what.partition(":")
        kind = {"link": Kind.SYMLINK, "hard": Kind.HARDLINK}[how]
        link = target.encode()
    else:
        content = what
    mode = 0o755 if kind == Kind.DIRECTORY else 0o777 if kind == Kind.SYMLINK else 0o644
    made = Entry(path, kind, mode, 0, 0, 1_700_000_000_000_000_000, len(content), link, 0, len(content), None, None, None)
    return made._replace(**changes), content


def layer_tar(entries: Iterable[AnyEntry], *, end: bytes | None = None) -> bytes:
    """An uncompressed layer. `end`: what stands in place of the two end-of-archive blocks."""
    pairs = []
    for item in entries:
        if isinstance(item, Entry):
            pairs.append((item, [b""]))
        elif isinstance(item[0], Entry):
            pairs.append((item[0], [item[1]]))
        else:
            made, content = entry(*item)
            pairs.append((made, [content]))
    data = b"".join(tarwriter.write(pairs))
    return data if end is None else data[: -len(tarwriter.END)] + end


def gz(data: bytes) -> bytes:
    return gzip.compress(data, 6, mtime=0)


def zst(data: bytes) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor().compress(data)


def compress(data: bytes, codec: str) -> bytes:
    codecs: dict[str, Callable[[bytes], bytes]] = {"none": lambda d: d, "gzip": gz, "zstd": zst, "bzip2": bz2.compress}
    return codecs[codec](data)


def pretty(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def config_of(tars: Sequence[bytes], **changes: Any) -> dict[str, Any]:
    """The configuration of an image of these uncompressed layers; a change of None takes a field away."""
    fields: dict[str, Any] = {
        "created": "2024-01-01T00:00:00Z",
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": [sha256(tar) for tar in tars]},
        "history": [{"created": "2024-01-01T00:00:00Z", "created_by": f"RUN step {n}"} for n in range(len(tars))],
    }
    fields.update(changes)
    return {key: value for key, value in fields.items() if value is not None}


@dataclass(slots=True)
class Image:
    """What `image` makes: everything may be changed before it is written. `blobs` maps digests to bytes."""

    config: bytes
    manifest: dict[str, Any]
    layers: list[bytes]
    """As stored."""
    tag: str | None = None
    platform: dict[str, Any] | None = None
    annotations: dict[str, str] = field(default_factory=dict)
    extra: dict[str, bytes] = field(default_factory=dict)
    """Further blobs by digest."""

    @property
    def raw(self) -> bytes:
        return pretty(self.manifest)

    @property
    def digest(self) -> str:
        return sha256(self.raw)

    @property
    def descriptor(self) -> dict[str, Any]:
        made: dict[str, Any] = {
            "mediaType": self.manifest.get("mediaType", mediatypes.OCI_MANIFEST), "digest": self.digest, "size": len(self.raw),
        }  # fmt: skip
        if self.platform:
            made["platform"] = self.platform
        annotations = dict(self.annotations)
        if self.tag:
            annotations["org.opencontainers.image.ref.name"] = self.tag
        if annotations:
            made["annotations"] = annotations
        return made

    @property
    def blobs(self) -> dict[str, bytes]:
        return {self.digest: self.raw, sha256(self.config): self.config, **{sha256(b): b for b in self.layers}, **self.extra}


def image(
    tars: Sequence[bytes] = (), *, tag: str | None = None, codec: str = "gzip", config: Mapping[str, Any] | bytes | None = None,
    platform: dict[str, Any] | None = None, annotations: dict[str, str] | None = None, **changes: Any,
) -> Image:  # fmt: skip
    """An OCI image of these uncompressed layers. `changes`: fields of the configuration."""
    stored = [compress(tar, codec) for tar in tars]
    suffix = "" if codec == "none" else f"+{codec}"
    raw = config if isinstance(config, bytes) else pretty(config_of(tars, **changes) if config is None else config)
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_MANIFEST,
        "config": {"mediaType": mediatypes.OCI_CONFIG, "digest": sha256(raw), "size": len(raw)},
        "layers": [{"mediaType": mediatypes.OCI_LAYER + suffix, "digest": sha256(b), "size": len(b)} for b in stored],
    }
    return Image(raw, manifest, stored, tag, platform, annotations or {})


def index_of(descriptors: Sequence[Mapping[str, Any]], **changes: Any) -> dict[str, Any]:
    return {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": list(descriptors), **changes}


def layout_files(images: Sequence[Image], *, index: Mapping[str, Any] | bytes | None = None) -> dict[str, bytes]:
    """The files of an OCI layout by path; `index` takes the place of the one made of the images."""
    if index is None:
        index = index_of([one.descriptor for one in images])
    top = index if isinstance(index, bytes) else pretty(index)
    files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": top}
    for one in images:
        for digest, data in one.blobs.items():
            files["blobs/" + digest.replace(":", "/")] = data
    return files


def write_files(path: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def write_layout(path: Path, images: Sequence[Image], *, index: Mapping[str, Any] | bytes | None = None) -> Path:
    """An OCI layout directory."""
    return write_files(path, layout_files(images, index=index))


def write_tar(path: Path, files: Mapping[str, bytes] | Sequence[tuple[str, bytes]]) -> Path:
    """An archive of plain files; a list may name one twice."""
    path.write_bytes(layer_tar(list(files.items() if isinstance(files, Mapping) else files)))
    return path


def write_oci_archive(path: Path, images: Sequence[Image], *, index: Mapping[str, Any] | bytes | None = None) -> Path:
    return write_tar(path, layout_files(images, index=index))


def docker_files(images: Sequence[Image]) -> dict[str, bytes]:
    """The files of a `docker save` archive (v1.2): `<hex>.json`, `<hex>/layer.tar` and manifest.json. The images are better
    made with codec="none", as docker writes them."""
    files: dict[str, bytes] = {}
    listed = []
    for one in images:
        name = sha256(one.config)[7:] + ".json"
        files[name] = one.config
        paths = []
        for data in one.layers:
            path = sha256(data)[7:] + "/layer.tar"
            files[path] = data
            paths.append(path)
        listed.append({"Config": name, "RepoTags": [one.tag] if one.tag else None, "Layers": paths})
    files["manifest.json"] = pretty(listed)
    return files


def write_docker_archive(path: Path, images: Sequence[Image]) -> Path:
    return write_tar(path, docker_files(images))


def hybrid_files(images: Sequence[Image]) -> dict[str, bytes]:
    """The files of a Docker 25+ archive: a layout, and a manifest.json that names its blobs."""
    files = layout_files(images)
    files["manifest.json"] = pretty(
        [
            {
                "Config": "blobs/" + sha256(one.config).replace(":", "/"),
                "RepoTags": [one.tag] if one.tag else None,
                "Layers": ["blobs/" + sha256(data).replace(":", "/") for data in one.layers],
            }
            for one in images
        ]
    )
    return files
