"""Checks the files around the images: members of an archive, `oci-layout`, `manifest.json`, and file names that state a
digest."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ocitool import limits, reference
from ocitool.digest import Digest
from ocitool.errors import FormatError, LimitError, OcitoolError
from ocitool.images.declared_volumes import DeclaredVolumes, declared_volumes
from ocitool.reference import Selector
from ocitool.spec.manifest import Config
from ocitool.transports.archive import DockerArchive, OciArchive
from ocitool.transports.archive_members import LISTS, Members
from ocitool.transports.layout import Layout
from ocitool.transports.layout_store import blob_files
from ocitool.transports.records import images_of, v1_chain
from ocitool.transports.source import DockerImageRecord, Source
from ocitool.validation.documents import ImageToCheck, LayerUse, ValidationReader, layer_key
from ocitool.validation.findings import Findings, counted

_KEYS = {"config": "Config", "repotags": "RepoTags", "layers": "Layers", "parent": "Parent", "layersources": "LayerSources"}


def _members(source: Source) -> Members | None:
    """Returns the members of an archive, or the files of an extracted one; None for a registry."""
    return source.members if isinstance(source, OciArchive | DockerArchive | Layout) else None


def container(reader: ValidationReader, problems: Sequence[OcitoolError]) -> None:
    """Checks the files of the archive or layout itself. `problems`: of its two lists of images, the one that cannot be
    read."""
    source = reader.source
    for error in problems:
        reader.findings.damage(error, next((name for name in LISTS if name in (error.where or "")), "archive"), "document")
        reader.unread = True
    if isinstance(source, (OciArchive, DockerArchive)):
        repeated = source.members.duplicates
        if repeated:
            reader.findings.warn(
                "duplicate-member", "archive", counted("more than one member of a name", len(repeated), repeated[0])
            )
        behind = source.members.behind()
        if behind == "archive":
            reader.findings.error("archive-trailing", "archive", "another archive follows its end; it is not read")
        elif behind is not None:
            reader.findings.warn("archive-trailing", "archive", "data follows its end")
    if isinstance(source, DockerArchive):
        return
    if isinstance(source, (OciArchive, Layout)):
        document = source.members.document if isinstance(source, OciArchive) else source.document
        raw = document("oci-layout")
        if raw is None:
            reader.findings.error("layout-file", "oci-layout", "the file is missing")
        else:
            reader.parsed("layout", raw, "oci-layout")


def unnamed(reader: ValidationReader) -> None:
    """Checks for files that belong to no image, and for the absence of images."""
    source = reader.source
    if not source.records and not (source.index is not None and source.index.fields.get("manifests")) and not source.remote:
        # A layout may be empty because images are still to be copied into it; an empty archive is useless.
        say = reader.findings.warn if isinstance(source, Layout) else reader.findings.error
        say("no-image", "index.json" if source.index is not None else "manifest.json", "it holds no image")
    if isinstance(source, Layout):
        files = blob_files(source.where).blobs
        lost = [os.path.relpath(one.path, source.where) for one in files if one.digest not in reader.named]
    elif isinstance(source, (OciArchive, DockerArchive)):
        lost = [os.fsdecode(name) for name in _unnamed_members(source, reader.named)]
    else:
        return
    if reader.unread:
        return  # the document that could not be read, which is a finding, may name them
    reader.unnamed = len(lost)
    if lost and not isinstance(source, Layout):  # in a layout, `gc` frees such blobs, or a later image needs them
        count = f"{len(lost)} members" if len(lost) > 1 else "1 member"
        reader.findings.warn("unnamed-member", "archive", f"{count} that no image names; the first: {lost[0]}")


_TOP = ("oci-layout", *LISTS)
_LEGACY = (b"json", b"VERSION", b"layer.tar")
"""Files in the directory of each layer that archives have for engines before 1.10; `layer.tar` may be a link to the
layer."""


def _unnamed_members(source: OciArchive | DockerArchive, digests: Collection[Digest]) -> list[bytes]:
    members = source.members
    names = [f"blobs/{digest.algorithm}/{digest.encoded}" for digest in digests]
    try:
        raw = members.document("manifest.json")
        listed = images_of(raw, source.where) if raw is not None else []
    except (FormatError, LimitError):
        return []
    if raw is None and isinstance(source, DockerArchive):
        return []  # Docker's first format: the names of its directories decide what belongs to an image
    for image in listed:
        layers = image.get("layers")
        for name in (image.get("config"), *(layers if isinstance(layers, list) else ())):
            if isinstance(name, str):
                names.append(name)
    for record in source.records:
        if record.image_id is not None and record.problem is None:
            chain = v1_chain(members, record.image_id.partition(":")[2], record.tags[0])
            names += [f"{directory}/{base.decode()}" for directory, _ in chain for base in _LEGACY]
    known = {member for name in (*_TOP, *names) for member in members.way(name)}

    def is_legacy(name: bytes) -> bool:
        directory, _, base = name.rpartition(b"/")
        return base in _LEGACY and members.way(os.fsdecode(directory) + "/layer.tar")[-1] in known

    return [name for name in members.names() if name not in known and not is_legacy(name)]


def _docker_names(found: Findings, tags: Sequence[str], subject: str) -> None:
    """Checks that docker load accepts the names of an image."""
    for tag in tags:
        if not reference.is_loadable(tag):
            found.error("docker-name", subject, f"docker load refuses the archive for the name {tag or 'that is empty'}")


def listed_images(reader: ValidationReader, source: DockerArchive) -> None:
    """Checks the `manifest.json` of a docker archive against its schema."""
    raw = source.members.document("manifest.json")
    if raw is not None:
        reader.documents += 1
        _schema(reader, images_of(raw, source.where))


def _schema(reader: ValidationReader, listed: Sequence[Mapping[str, Any]]) -> None:
    spelt = [{_KEYS.get(key, key): value for key, value in image.items()} for image in listed]
    reader.findings.schema("docker-archive-manifest", spelt, "manifest.json")


def records(reader: ValidationReader, found: Sequence[tuple[int, DockerImageRecord]]) -> None:
    """Checks images, given with their positions, of a docker archive or of the `manifest.json` of an archive of both
    formats."""
    source = reader.source
    members = _members(source)
    if not found or members is None:
        return
    raw = members.document("manifest.json")
    listed = images_of(raw, source.where) if raw is not None else []
    tags: dict[str, str] = {}
    for position, record in found:
        names = listed[record.number] if record.number is not None else {}
        subject = f"image @{position}"
        if source.index is not None:
            subject = f"manifest.json, image @{record.number}" if record.image_id is None else f"repositories, {record.tags[0]}"
        if record.problem is not None:
            reader.findings.damage(record.problem, subject, "document")
            continue
        legacy = record.image_id is not None
        _docker_names(reader.findings, record.tags, subject)
        digest = Digest.of(record.config)
        for tag in record.tags:
            if tags.setdefault(tag, str(digest)) != str(digest):
                reader.findings.warn("duplicate-tag", "manifest.json", f"{tag} names {tags[tag]} and {digest}")
        if legacy:
            reader.findings.warn("legacy-format", subject, "no configuration states what its layers are")
        else:
            _config_name(reader.findings, names.get("config"), digest, subject)
        config = Config(record.config, {}) if legacy else reader.config(record.config, f"config {digest}")
        if digest not in reader.hashed and not legacy:
            reader.hashed.add(digest)
            reader.blobs += 1
            reader.bytes += len(record.config)
        if len(record.layers) > limits.MAX_LAYERS:
            reader.findings.warn("layer-limit", subject, f"{len(record.layers)} layers, engines accept {limits.MAX_LAYERS}")
        diff_ids: tuple[Digest | None, ...] = ()
        if config is not None and not legacy:
            diff_ids = reader.paired_diff_ids(config, len(record.layers), subject)
        paths = names.get("layers") or []
        layers = []
        reader.named.add(digest)
        reader.named.update(blob.digest for blob in record.layers if blob is not None and blob.digest is not None)
        for number, blob in enumerate(record.layers):
            diff_id = diff_ids[number] if diff_ids else None
            stated = (blob.digest if blob is not None else None) or diff_id
            name = f"layer {number} {stated}" if stated else f"layer {number} of {subject}"
            if blob is None:
                path = f"{paths[number]} " if number < len(paths) else ""
                reader.findings.error("missing-blob", name, f"the member {path}is not in the archive")
            layers.append(LayerUse(name, blob, None, diff_id, layer_key(blob, diff_id)))
        volumes = declared_volumes(config, len(layers)) if config is not None else DeclaredVolumes({})
        reader.images.append(ImageToCheck(subject, tuple(layers), volumes))


def _config_name(found: Findings, name: object, digest: Digest, subject: str) -> None:
    """Checks the file name of a configuration, which docker makes of its digest: `<hex>.json`, `sha256:<hex>`,
    `blobs/sha256/<hex>`."""
    if not isinstance(name, str):
        return
    text = name.rpartition("/")[2].removesuffix(".json").removeprefix("sha256:")
    try:
        stated = Digest.parse(f"sha256:{text}")
    except FormatError:
        return  # any other name states no digest
    if stated != digest:
        found.error("config-name", subject, f"the configuration {name} is {digest}")


def hybrid(reader: ValidationReader, configs: Mapping[Digest, Sequence[tuple[Digest, ...]]], selector: Selector | None) -> None:
    """Checks that the manifest.json of an OCI archive names the same images as its index."""
    source = reader.source
    members = _members(source)
    if members is None:
        return
    try:
        raw = members.document("manifest.json")
        listed = images_of(raw, source.where) if raw is not None else []
    except (FormatError, LimitError) as error:
        reader.findings.damage(error, "manifest.json", "document")
        return
    if raw is None:
        return
    reader.documents += 1
    _schema(reader, listed)
    named: dict[str, object] = {}
    for position, image in enumerate(listed):
        subject = f"manifest.json, image @{position}"
        name, paths, tags = image.get("config"), image.get("layers") or [], image.get("repotags")
        tags = [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []
        _docker_names(reader.findings, tags, subject)
        for tag in tags:
            if named.setdefault(tag, name) != name:
                reader.findings.warn("duplicate-tag", "manifest.json", f"{tag} names {named[tag]} and {name}")
        if not isinstance(name, str) or not isinstance(paths, list):
            continue  # the schema reports it
        try:
            config = members.document(name)
        except (FormatError, LimitError) as error:
            reader.findings.damage(error, subject, "document")
            continue
        if config is None:
            if selector is None:
                reader.findings.error("missing-blob", subject, f"the configuration {name} is not in the archive")
            continue
        manifests = configs.get(Digest.of(config))
        if manifests is None:
            reader.unread = True  # it names blobs that the index does not name
            if selector is None and not _unread(configs, Digest.of(config)):
                reader.findings.error("hybrid", subject, f"no manifest of index.json has its configuration {name}")
            continue
        digests = [_digest_of_path(path) for path in paths]
        if not any(_agree(digests, layers) for layers in manifests):
            reader.unread = True
            reader.findings.error("hybrid", subject, "its layers are not those of the manifest in index.json")


def _agree(stated: Sequence[Digest | None], layers: Sequence[Digest]) -> bool:
    """Returns whether paths in `manifest.json` name these layers; a path without a digest counts as equal."""
    return len(stated) == len(layers) and all(one in (None, layer) for one, layer in zip(stated, layers, strict=True))


def _unread(configs: Mapping[Digest, object], digest: Digest) -> bool:
    """Returns whether a configuration may be known under a digest of another algorithm, so that it cannot be looked up."""
    return any(one.algorithm != digest.algorithm for one in configs)


def _digest_of_path(path: object) -> Digest | None:
    parts = path.removeprefix("./").split("/") if isinstance(path, str) else []
    if len(parts) == 3 and parts[0] == "blobs":
        try:
            return Digest.parse(f"{parts[1]}:{parts[2]}")
        except FormatError:
            return None
    return None
