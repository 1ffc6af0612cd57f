"""What files around the images show: members, `oci-layout`, `manifest.json`, and names that state a digest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ocitool.digest import Digest
from ocitool.errors import FormatError, LimitError
from ocitool.operations.validate.documents import Image, Layer, Reader, layer_key
from ocitool.operations.validate.findings import MAX_LAYERS, Findings, counted
from ocitool.reference import Selector
from ocitool.spec.manifest import Config
from ocitool.transports.archive import DockerArchive, OciArchive
from ocitool.transports.layout import Layout
from ocitool.transports.records import images_of
from ocitool.transports.source import Record

_KEYS = {"config": "Config", "repotags": "RepoTags", "layers": "Layers", "parent": "Parent", "layersources": "LayerSources"}


def container(reader: Reader) -> None:
    source = reader.source
    if isinstance(source, (OciArchive, DockerArchive)):
        repeated = source.members.duplicates
        if repeated:
            reader.found.warn("duplicate-member", "archive", counted("stand twice", len(repeated), repeated[0]))
    if isinstance(source, DockerArchive):
        return
    if isinstance(source, (OciArchive, Layout)):
        document = source.members.document if isinstance(source, OciArchive) else source.document
        raw = document("oci-layout")
        if raw is None:
            reader.found.error("layout-file", "oci-layout", "the file is missing")
        else:
            reader.parsed("layout", raw, "oci-layout")


def listed_images(reader: Reader, source: DockerArchive) -> None:
    """The `manifest.json` of a docker archive, against its schema."""
    raw = source.members.document("manifest.json")
    if raw is not None:
        reader.documents += 1
        _schema(reader, images_of(raw, source.where))


def _schema(reader: Reader, listed: Sequence[Mapping[str, Any]]) -> None:
    spelt = [{_KEYS.get(key, key): value for key, value in image.items()} for image in listed]
    reader.found.schema("docker-archive-manifest", spelt, "manifest.json")


def records(reader: Reader, found: Sequence[tuple[int, Record]]) -> None:
    """These images of a docker archive, or of the docker half of a hybrid, with their positions."""
    source = reader.source
    if not found or not isinstance(source, DockerArchive | OciArchive):
        return
    raw = source.members.document("manifest.json")
    listed = images_of(raw, source.where) if raw is not None else []
    tags: dict[str, str] = {}
    for position, record in found:
        names = listed[record.number] if record.number is not None else {}
        subject = f"image @{position}" if source.index is None else f"manifest.json, image @{record.number}"
        if record.problem is not None:
            reader.found.damage(record.problem, subject, "document")
            continue
        legacy = record.image_id is not None
        digest = Digest.of(record.config)
        for tag in record.tags:
            if tags.setdefault(tag, str(digest)) != str(digest):
                reader.found.warn("duplicate-tag", "manifest.json", f"{tag} names {tags[tag]} and {digest}")
        if legacy:
            reader.found.warn("legacy-format", subject, "no configuration states what its layers are")
        else:
            _config_name(reader.found, names.get("config"), digest, subject)
        config = Config(record.config, {}) if legacy else reader.config(record.config, f"config {digest}")
        if digest not in reader.hashed and not legacy:
            reader.hashed.add(digest)
            reader.blobs += 1
            reader.bytes += len(record.config)
        if len(record.layers) > MAX_LAYERS:
            reader.found.warn("layer-limit", subject, f"{len(record.layers)} layers, engines accept {MAX_LAYERS}")
        diff_ids: tuple[Digest | None, ...] = ()
        if config is not None and not legacy:
            diff_ids = reader.aligned(config, len(record.layers), subject)
        paths = names.get("layers") or []
        layers = []
        for number, blob in enumerate(record.layers):
            diff_id = diff_ids[number] if diff_ids else None
            stated = (blob.digest if blob is not None else None) or diff_id
            name = f"layer {number} {stated}" if stated else f"layer {number} of {subject}"
            if blob is None:
                path = f"{paths[number]} " if number < len(paths) else ""
                reader.found.error("missing-blob", name, f"the member {path}is not in the archive")
            layers.append(Layer(name, blob, None, diff_id, layer_key(blob, diff_id)))
        reader.images.append(Image(subject, tuple(layers)))


def _config_name(found: Findings, name: object, digest: Digest, subject: str) -> None:
    """Docker names a configuration by its digest: `<hex>.json`, `sha256:<hex>`, `blobs/sha256/<hex>`."""
    if not isinstance(name, str):
        return
    text = name.rpartition("/")[2].removesuffix(".json").removeprefix("sha256:")
    try:
        stated = Digest.parse(f"sha256:{text}")
    except FormatError:
        return  # a name of another kind states nothing
    if stated != digest:
        found.error("config-name", subject, f"the configuration {name} is {digest}")


def hybrid(reader: Reader, configs: Mapping[Digest, tuple[Digest, ...]], selector: Selector | None) -> None:
    """Whether the manifest.json of an OCI archive names the same images as its index."""
    source = reader.source
    if not isinstance(source, OciArchive):
        return
    try:
        raw = source.members.document("manifest.json")
        listed = images_of(raw, source.where) if raw is not None else []
    except (FormatError, LimitError) as error:
        reader.found.damage(error, "manifest.json", "document")
        return
    if raw is None:
        return
    reader.documents += 1
    _schema(reader, listed)
    for position, image in enumerate(listed):
        subject = f"manifest.json, image @{position}"
        name, paths = image.get("config"), image.get("layers") or []
        if not isinstance(name, str) or not isinstance(paths, list):
            continue  # the schema's
        try:
            config = source.members.document(name)
        except (FormatError, LimitError) as error:
            reader.found.damage(error, subject, "document")
            continue
        if config is None:
            if selector is None:
                reader.found.error("missing-blob", subject, f"the configuration {name} is not in the archive")
            continue
        layers = configs.get(Digest.of(config))
        if layers is None:
            if selector is None and not _unread(configs, Digest.of(config)):
                reader.found.error("hybrid", subject, f"no manifest of index.json has its configuration {name}")
            continue
        digests = [_digest_of_path(path) for path in paths]
        if len(digests) != len(layers) or any(
            stated is not None and stated != layer for stated, layer in zip(digests, layers, strict=True)
        ):
            reader.found.error("hybrid", subject, "its layers are not those of the manifest in index.json")


def _unread(configs: Mapping[Digest, tuple[Digest, ...]], digest: Digest) -> bool:
    """Whether a manifest that could tell was not readable with another algorithm's digest."""
    return any(one.algorithm != digest.algorithm for one in configs)


def _digest_of_path(path: object) -> Digest | None:
    parts = path.removeprefix("./").split("/") if isinstance(path, str) else []
    if len(parts) == 3 and parts[0] == "blobs":
        try:
            return Digest.parse(f"{parts[1]}:{parts[2]}")
        except FormatError:
            return None
    return None
