"""The images of a `docker save` archive: those of its `manifest.json` (v1.2), or of its `repositories` (before Docker
1.10).

An image that cannot be read does not hide the others: its record has the error.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Protocol

from ocitool import limits, reference
from ocitool.blob import Blob, FileBlob
from ocitool.digest import Digest
from ocitool.errors import FormatError, LimitError, OcitoolError
from ocitool.spec.document import parse, parse_object
from ocitool.spec.manifest import Config
from ocitool.transports.source import DockerImageRecord


class ArchiveMembers(Protocol):
    """Members by name, as `archive_members.Members` has them."""

    where: str

    def get(self, name: str) -> Blob | None: ...

    def document(self, name: str) -> bytes | None: ...


def records(members: ArchiveMembers) -> tuple[DockerImageRecord, ...]:
    """Returns the images of `manifest.json`, then those whose names are only in `repositories`. Raises `FormatError`
    and `LimitError` if such a list cannot be read at all."""
    raw = members.document("manifest.json")
    found = [record_of(members, image, n) for n, image in enumerate(images_of(raw, members.where))] if raw is not None else []
    v1_raw = members.document("repositories")
    if raw is None and v1_raw is None:
        raise FormatError("not a docker archive: it has neither manifest.json nor repositories", members.where)
    if v1_raw is not None and (raw is None or not any(record.problem for record in found)):
        known = {reference.qualified(tag) for record in found for tag in record.tags}
        found += v1_records(members, v1_raw, known)
    return tuple(found)


def images_of(raw: bytes, where: str) -> list[dict[str, Any]]:
    """Returns the images of a `manifest.json`, with keys in lower case, as jib writes them."""
    where = f"{where}: manifest.json"
    value = parse(raw, where, limits.STORE)
    if isinstance(value, dict) and ("layers" in value or "manifests" in value):
        what = "manifest.json is a manifest, as in a directory of skopeo (dir:), and not a list of images"
        raise FormatError(what, where, hint="unpacked into a directory of its own it can be read")
    if not isinstance(value, list):
        raise FormatError("manifest.json is not a list of images", where)
    return [{key.lower(): item for key, item in image.items()} if isinstance(image, dict) else {} for image in value]


def tags_of(image: dict[str, Any]) -> tuple[str, ...]:
    """Returns the RepoTags that are strings; `record_of` reports a list with other values."""
    tags = image.get("repotags")
    return tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else ()


def record_of(members: ArchiveMembers, image: dict[str, Any], position: int) -> DockerImageRecord:
    """Returns the record of an image of `manifest.json`."""
    try:
        return _record(members, image, f"{members.where}: manifest.json, image @{position}")._replace(number=position)
    except OcitoolError as error:
        return DockerImageRecord(tags_of(image), b"{}", (), problem=error, number=position)


def _record(members: ArchiveMembers, image: dict[str, Any], where: str) -> DockerImageRecord:
    config, layers, tags = image.get("config"), image.get("layers"), image.get("repotags")
    if layers is None:
        layers = []
    if not isinstance(config, str) or not isinstance(layers, list) or not all(isinstance(p, str) for p in layers):
        raise FormatError("an image without Config and Layers", where)
    if tags is not None and (not isinstance(tags, list) or len(tags_of(image)) != len(tags)):
        raise FormatError("RepoTags is not a list of names", where)
    raw = members.document(config)
    if raw is None:
        raise FormatError(f"the configuration {config} is missing", where)
    stated = 0 if layers else diff_ids(raw, where)
    if stated:
        raise FormatError(f"it names no layers, its configuration states {stated}", where)
    return DockerImageRecord(tags_of(image), raw, tuple(_layer(members, path) for path in layers))


def diff_ids(config: bytes, where: str) -> int:
    """Returns the number of diff_ids in a configuration."""
    return len(Config(config, parse_object(config, where)).diff_ids)


def _layer(members: ArchiveMembers, path: str) -> Blob | None:
    blob = members.get(path)
    if not isinstance(blob, FileBlob):
        return blob
    parts = path.removeprefix("./").split("/")
    if len(parts) == 3 and parts[0] == "blobs":
        try:
            return blob.with_digest(Digest.parse(f"{parts[1]}:{parts[2]}"))
        except FormatError:
            return blob
    return blob


_DIRECTORY = 256
"""Bytes that a layer directory counts for in the budget, in addition to its `json`."""


def v1_records(members: ArchiveMembers, raw: bytes, known: set[str]) -> Iterator[DockerImageRecord]:
    """Yields the images of Docker's format before 1.10: one directory for each layer, with a `json` that names its
    parent. Names in `known` (fully qualified) are left out: later formats keep this file for old readers."""
    where = f"{members.where}: repositories"
    tags: dict[str, list[str]] = {}
    for repository, versions in parse_object(raw, where, limits.STORE).items():
        if not isinstance(versions, dict):
            raise FormatError("a repository without tags", where)
        for tag, image in versions.items():
            if not isinstance(image, str):
                raise FormatError("a tag without an image", where)
            if reference.qualified(f"{repository}:{tag}") not in known:
                tags.setdefault(image, []).append(f"{repository}:{tag}")
    budget = _Budget(limits.STORE.size)
    for top, names in tags.items():
        try:
            yield _v1_record(members, top, tuple(names), budget)
        except OcitoolError as error:
            yield DockerImageRecord(tuple(names), b"{}", (), image_id=f"sha256:{top}", problem=error)


def v1_chain(members: ArchiveMembers, top: str, name: str, budget: _Budget | None = None) -> list[tuple[str, dict[str, Any]]]:
    """Returns the directories of an image's layers with their `json`, lowest first. `name`: the image in errors;
    `budget`: bytes left for the documents of all images. Raises `LimitError` if it is exceeded."""
    seen: set[str] = set()
    chain: list[tuple[str, dict[str, Any]]] = []
    current: object = top
    while isinstance(current, str) and current:
        raw_json = members.document(f"{current}/json")
        if raw_json is None:
            what = f"the image {current} of {name} is missing"
            raise FormatError(what, f"{members.where}: repositories")
        if budget is not None:
            budget.take(len(raw_json) + _DIRECTORY)
        if len(chain) > 1024 or current in seen:
            raise FormatError("the parents of an image form a circle", members.where)
        fields = parse_object(raw_json, f"{members.where}: {current}/json")
        seen.add(current)
        chain.append((current, fields))
        current = fields.get("parent")
    chain.reverse()
    return chain


class _Budget:
    """Bytes left for the documents that all images of an archive repeat of their parents."""

    def __init__(self, size: int) -> None:
        self._remaining = size

    def take(self, size: int) -> None:
        self._remaining -= size
        if self._remaining < 0:
            raise LimitError(f"chains of images take more than {limits.STORE.size} bytes")


def _v1_record(members: ArchiveMembers, top: str, names: tuple[str, ...], budget: _Budget) -> DockerImageRecord:
    chain = v1_chain(members, top, names[0], budget)
    last = chain[-1][1]
    kept = ("architecture", "os", "created", "author", "config")
    config: dict[str, Any] = {key: last[key] for key in kept if key in last}
    config["history"] = [_v1_history(fields) for _, fields in chain]
    layers = tuple(members.get(f"{name}/layer.tar") for name, _ in chain)
    return DockerImageRecord(names, json.dumps(config, sort_keys=True).encode(), layers, image_id=f"sha256:{top}")


def _v1_history(fields: dict[str, Any]) -> dict[str, Any]:
    container = fields.get("container_config")
    command = container.get("Cmd") if isinstance(container, dict) else None
    words = [word for word in command if isinstance(word, str)] if isinstance(command, list) else []
    entry = {"created": fields.get("created"), "created_by": " ".join(words)}
    return {key: value for key, value in entry.items() if value}
