"""What an engine says of an image, as a source: no archive is fetched for it.

The configuration is made of the engine's answers, so it is not the exact one, and layers have no bytes. The engine's history
does not say which entries made a layer: entries and layers are paired only if sizes and instructions leave one possibility.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from ocitool.digest import Digest
from ocitool.errors import FormatError
from ocitool.reference import ENGINE
from ocitool.spec.manifest import Descriptor, Index
from ocitool.spec.mediatypes import INDEXES
from ocitool.transports.engine.client import quoted
from ocitool.transports.engine.images import PLATFORM_SAVED, PLATFORM_SHOWN, EngineImage
from ocitool.transports.source import ArchiveNames, DockerImageRecord, SilentUntilOpened

_METADATA = re.compile(
    r"(?:/bin/sh -c )?(?P<nop>#\(nop\)\s+)?"
    r"(?:ENV|CMD|LABEL|EXPOSE|ENTRYPOINT|USER|ARG|STOPSIGNAL|VOLUME|HEALTHCHECK|MAINTAINER|SHELL|ONBUILD)\b"
)
"""Instructions that make no layer, as the classic builder and BuildKit write them."""


class DescribedLayer:
    """A layer that an engine names. `size`: of its files, as the engine counts it; 0 if that is not known."""

    __slots__ = ("size",)
    digest = None
    identity = None
    remote = True

    def __init__(self, size: int) -> None:
        self.size = size

    def pread(self, size: int, offset: int) -> bytes:
        raise AssertionError("a layer that is only described is read: open the source with layers")

    def chunks(self, offset: int = 0) -> Iterator[bytes]:
        raise AssertionError("a layer that is only described is read: open the source with layers")


class DescribedImage(SilentUntilOpened):
    """A source of the one image that an engine describes."""

    transport = ENGINE
    remote = False

    def __init__(self, where: str, record: DockerImageRecord) -> None:
        self.where = where
        self.index: Index | None = None
        self.records: tuple[DockerImageRecord, ...] = (record,)
        self.names: dict[Digest, ArchiveNames] = {}

    def blob(self, descriptor: Descriptor) -> None:
        return None


class _Step(NamedTuple):
    """An entry of the engine's history, oldest first. `layer`: whether it made one; None if that is not certain by itself."""

    fields: Mapping[str, Any]
    size: int
    layer: bool | None


def described(image: EngineImage) -> DescribedImage | None:
    """Returns what the engine says of an image; None if the answers are not about one image, or name no layers. Raises what
    `Engine.get` raises, and `FormatError` for an answer that is not a history."""
    fields = image.fields
    descriptor = fields.get("Descriptor")
    is_index = isinstance(descriptor, dict) and descriptor.get("mediaType") in INDEXES
    if image.platform is not None and is_index and image.platform_query(PLATFORM_SHOWN) is None:
        return None
    rootfs = fields.get("RootFS")
    diff_ids = rootfs.get("Layers") if isinstance(rootfs, dict) else None
    if diff_ids is None and isinstance(rootfs, dict) and rootfs.get("Type") == "layers":
        diff_ids = []  # an image without layers
    if not isinstance(diff_ids, list):
        return None
    what = f"history of the image {image.name}"
    query = image.platform_query(PLATFORM_SAVED)
    told = image.engine.get(f"/images/{quoted(image.name)}/history", what, platform=query)
    if not isinstance(told, list) or not all(isinstance(one, dict) for one in told):
        raise FormatError("the engine's answer is not a history", f"{image.engine.where}: {what}")
    steps = [_step(one) for one in reversed(told)]
    made = _made_layers(steps, len(diff_ids))
    history = [_history(step, None if made is None else made[n]) for n, step in enumerate(steps)]
    sizes = [step.size for n, step in enumerate(steps) if made is not None and made[n]] or [0] * len(diff_ids)
    names = fields.get("RepoTags")
    tags = tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else ()
    size = fields.get("Size")
    record = DockerImageRecord(
        tags, _config(image, diff_ids, history), tuple(map(DescribedLayer, sizes)), str(image.id),
        described=size if isinstance(size, int) and size >= 0 else sum(sizes),
        layer_type="" if image.is_containerd else None,
    )  # fmt: skip
    return DescribedImage(image.where, record)


def _step(fields: Mapping[str, Any]) -> _Step:
    size = fields.get("Size")
    size = size if isinstance(size, int) and size > 0 else 0
    by, comment = fields.get("CreatedBy"), fields.get("Comment")
    found = _METADATA.match(by) if isinstance(by, str) else None
    buildkit = isinstance(comment, str) and comment.startswith("buildkit.")
    is_metadata = found is not None and (buildkit or found["nop"] is not None)
    return _Step(fields, size, True if size else False if is_metadata else None)


def _made_layers(steps: Sequence[_Step], layers: int) -> list[bool] | None:
    """Returns whether each step made a layer, None if several answers are possible: one without bytes may have made a layer of
    directories or deletions, or none."""
    certain = sum(step.layer is True for step in steps)
    possible = sum(step.layer is not False for step in steps)
    if certain == layers:
        return [step.layer is True for step in steps]
    return [step.layer is not False for step in steps] if possible == layers else None


def _history(step: _Step, layer: bool | None) -> dict[str, Any]:
    fields = step.fields
    created = fields.get("Created")
    entry: dict[str, Any] = {}
    if isinstance(created, int) and 0 < created < 1 << 34:
        entry["created"] = datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    entry |= {key: value for key, own in (("created_by", "CreatedBy"), ("comment", "Comment")) if (value := fields.get(own))}
    return entry | ({"empty_layer": True} if layer is False else {})


def _config(image: EngineImage, diff_ids: Sequence[Any], history: Sequence[Mapping[str, Any]]) -> bytes:
    """Returns an image configuration (image-spec, config.md) made of the engine's answers."""
    fields = image.fields
    kept = {
        "created": "Created", "author": "Author", "architecture": "Architecture", "variant": "Variant", "os": "Os",
        "os.version": "OsVersion", "os.features": "OsFeatures", "config": "Config",
    }  # fmt: skip
    made: dict[str, Any] = {key: value for key, own in kept.items() if (value := fields.get(own))}
    if image.engine.version.is_podman:
        made.pop("os.version", None)  # it has the version of the engine that built the image there
    made["rootfs"] = {"type": "layers", "diff_ids": list(diff_ids)}
    made["history"] = list(history)
    return json.dumps(made).encode()
