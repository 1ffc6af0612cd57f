"""Archives that are an OCI layout and a `docker save` at once (Docker 25 and later, and our own).

Both halves should name the same images. Where they do not, nothing is lost: images are one where their configurations are one,
and what only `manifest.json` or `repositories` has is an image of its own, behind those of the index.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from ocitool import limits, reference
from ocitool.digest import Digest
from ocitool.errors import OcitoolError
from ocitool.spec.manifest import CONTAINERD_NAME, REF_NAME, Descriptor, Index, Manifest, Stated, read
from ocitool.transports.records import ArchiveMembers, diff_ids, images_of, record_of, tags_of, v1_records
from ocitool.transports.source import ArchiveNames, DockerImageRecord


class HybridImages(NamedTuple):
    """`names`: of entries of the index, those that `manifest.json` has for them. `records`: images that the index lacks.
    `manifests`: what was read to know it, up to `_KEPT` bytes."""

    names: dict[Digest, ArchiveNames]
    records: tuple[DockerImageRecord, ...]
    notices: tuple[str, ...]
    problems: tuple[OcitoolError, ...]
    manifests: dict[Stated, Manifest | Index]


_KEPT = 1 << 20
"""Bytes of manifests that are kept for whoever asks next: those of a small archive are read once, of a large one the first."""


class _Listed(NamedTuple):
    """A manifest that the index leads to, by way of the entry `top`."""

    top: Digest
    digest: Digest
    manifest: Manifest


def united(members: ArchiveMembers, index: Index, *, alone: bool) -> HybridImages:
    """What `manifest.json` and `repositories` add to an index. `alone`: their images are told and left out.

    Costs a look at each manifest, and at the configurations of the images that are not found among them."""
    by_config: dict[Digest, list[_Listed]] = {}
    kept: dict[Stated, Manifest | Index] = {}
    for one in _manifests(members, index, kept):
        by_config.setdefault(one.manifest.config.digest, []).append(one)
    records: list[DockerImageRecord] = []
    more = 0
    absent: dict[str, Digest] | None = None
    notices: list[str] = []
    problems: list[OcitoolError] = []
    named: dict[Digest, list[str]] = {}
    seen: set[str] = set()
    try:
        raw = members.document("manifest.json")
        listed = images_of(raw, members.where) if raw is not None else []
    except OcitoolError as error:
        raw, listed = None, []
        problems.append(error)
    for position, image in enumerate(listed):
        seen.update(map(reference.qualified, tags_of(image)))
        config = _config(members, image, by_config)
        found = by_config.get(config, []) if config is not None else []
        if not found:
            lone = record_of(members, image, position)
            absent = _absent(members, index) if absent is None else absent
            instead = next((absent[name] for name in map(reference.qualified, lone.tags) if name in absent), None)
            if instead is None:
                records.append(lone)
                more += 1
            elif lone.problem is None:  # else neither half has it, as the index tells
                records.append(lone._replace(instead_of=instead))
                how = f"; docker-archive:{members.where} reads the former" if alone else ""
                what = f"manifest.json, image @{position} has the name of the manifest {instead}, which is not here{how}"
                notices.append(f"{members.where}: {what}")
            continue
        for top in dict.fromkeys(one.top for one in found):
            named.setdefault(top, []).extend(tags_of(image))
        record, notice = _judged(members, image, position, found)
        if record is not None:
            records.append(record)
        if notice is not None:
            how = f"; docker-archive:{members.where} reads the former" if alone and record is not None else ""
            notices.append(f"{members.where}: {notice}{how}")
    stated = _stated(index)
    for names in (*stated.values(), *named.values()):
        seen.update(map(reference.qualified, names))
    records += _v1(members, seen, problems)
    for file, own in (
        ("manifest.json", more),
        ("repositories", sum(record.image_id is not None for record in records)),
    ):
        count, them, read = ("1 image", "it", "it is read too") if own == 1 else (f"{own} images", "them", "they are read too")
        how = f"docker-archive:{members.where} reads {them}" if alone else read
        if own:
            notices.append(f"{members.where}: {file} names {count} that index.json does not; {how}")
    return HybridImages(_names(index, named, stated), () if alone else tuple(records), tuple(notices), tuple(problems), kept)


def _absent(members: ArchiveMembers, index: Index) -> dict[str, Digest]:
    """The entries of an index that are not here, by their full names; none for a name of several."""
    found: dict[str, set[Digest]] = {}
    here: dict[str, bool] = {}
    for digest, names in _stated(index).items():
        present = members.get(f"blobs/{digest.algorithm}/{digest.encoded}") is not None
        for name in map(reference.qualified, names):
            found.setdefault(name, set()).add(digest)
            here[name] = here.get(name, False) or present
    return {name: next(iter(digests)) for name, digests in found.items() if len(digests) == 1 and not here[name]}


def only_there(members: ArchiveMembers, index: Index, records: Sequence[DockerImageRecord]) -> tuple[Digest, ...]:
    """The manifests of an index whose configurations no record has."""
    found = [one for one in _manifests(members, index, {}) if one.manifest.is_image]
    configs = {one.manifest.config.digest for one in found}
    known = {_known_as(record.config, configs) for record in records if record.problem is None}
    return tuple(dict.fromkeys(one.digest for one in found if one.manifest.config.digest not in known))


def _manifests(members: ArchiveMembers, index: Index, kept: dict[Stated, Manifest | Index]) -> Iterator[_Listed]:
    """The image manifests that an index leads to and that are what their digests say; others are told where they are read.
    `kept` is given the first of the documents that are also of the size which their entries state."""
    left = _KEPT
    stack = [(one, one.digest, 0) for one in reversed(index.manifests)]
    seen: set[tuple[Digest, Digest]] = set()
    while stack:
        one, top, depth = stack.pop()
        if (top, one.digest) in seen or depth > limits.INDEX_DEPTH or len(seen) > limits.INDEX_MANIFESTS:
            continue
        seen.add((top, one.digest))
        document = _read(members, one)
        if document is not None and len(document.raw) == one.size <= left:
            kept[one.stated] = document
            left -= one.size
        if isinstance(document, Index):
            stack += [(child, top, depth + 1) for child in reversed(document.manifests)]
        elif document is not None and not one.is_attestation:
            yield _Listed(top, one.digest, document)


def _read(members: ArchiveMembers, one: Descriptor) -> Manifest | Index | None:
    try:
        raw = members.document(f"blobs/{one.digest.algorithm}/{one.digest.encoded}")
        if raw is None or Digest.of(raw, one.digest.algorithm) != one.digest:
            return None
        return read(raw, members.where, one.media_type)
    except OcitoolError:
        return None


def _config(members: ArchiveMembers, image: dict[str, Any], known: dict[Digest, list[_Listed]]) -> Digest | None:
    """The digest of an image's configuration: as its path states it if a manifest states the same, else of its bytes."""
    path = image.get("config")
    if not isinstance(path, str):
        return None
    parts = path.removeprefix("./").split("/")
    if len(parts) == 3 and parts[0] == "blobs":
        stated = Digest(parts[1], parts[2])
        if stated in known:
            return stated
    try:
        raw = members.document(path)
    except OcitoolError:
        return None
    return _known_as(raw, known) if raw is not None else None


def _known_as(raw: bytes, known: Collection[Digest]) -> Digest:
    """The digest of a configuration, by the algorithm by which it is known if it is."""
    for algorithm in {one.algorithm for one in known if one.algorithm in ("sha384", "sha512")}:
        if (digest := Digest.of(raw, algorithm)) in known:
            return digest
    return Digest.of(raw)


def _judged(
    members: ArchiveMembers, image: dict[str, Any], position: int, found: Sequence[_Listed]
) -> tuple[DockerImageRecord | None, str | None]:
    """Of an image that both halves name: the record, if it is right and the manifest is not, and what is to be said."""
    paths = image.get("layers")
    layers = [path for path in paths if isinstance(path, str)] if isinstance(paths, list) else []
    digests = [_stated_by(path) for path in layers]
    if any(digests == [layer.digest for layer in one.manifest.layers] for one in found):
        return None, None  # both halves mean the same blobs, here or not
    held = [one for one in found if not _lacks(members, one.manifest)]
    if not held:
        record = record_of(members, image, position)
        if record.problem is None and record.layers and None not in record.layers:
            one = found[0]
            record = record._replace(instead_of=one.digest if one.top == one.digest else None)
            what = f"manifest.json, image @{position} has all its layers"
            lacks = _lacks(members, one.manifest)
            return record, f"{what}, the manifest {one.digest} of the same configuration lacks {lacks} of its blobs"
    for one in found:
        named = [layer.digest for layer in one.manifest.layers]
        if len(named) == len(digests) and all(mine in (None, other) for mine, other in zip(digests, named, strict=True)):
            return None, None
    one = found[0]
    theirs = f"the manifest {one.digest} of the same configuration"
    if len(one.manifest.layers) == len(layers):
        return None, f"manifest.json, image @{position} names other layers than {theirs}, whose layers are read"
    record = record_of(members, image, position)
    states = diff_ids(record.config, members.where) if record.problem is None else -1
    counts = f"manifest.json, image @{position} names {len(layers)} layers, {theirs} {len(one.manifest.layers)}"
    if states != len(layers):
        return None, f"{counts}; the manifest is read"
    top = one.top == one.digest
    record = record._replace(instead_of=one.digest if top else None)
    return record, f"{counts}, and the configuration states {states}, as manifest.json does"


def _lacks(members: ArchiveMembers, manifest: Manifest) -> int:
    """How many blobs of an image are not in the archive, and nowhere else to be had."""
    blobs = [one for one in (manifest.config, *manifest.layers) if not one.urls and "data" not in one.fields]
    return sum(members.get(f"blobs/{one.digest.algorithm}/{one.digest.encoded}") is None for one in blobs)


def _stated_by(path: str) -> Digest | None:
    parts = path.removeprefix("./").split("/")
    return Digest(parts[1], parts[2]) if len(parts) == 3 and parts[0] == "blobs" else None


def _v1(members: ArchiveMembers, known: set[str], problems: list[OcitoolError]) -> list[DockerImageRecord]:
    """The images of `repositories` of which no name is known."""
    try:
        raw = members.document("repositories")
        return list(v1_records(members, raw, known)) if raw is not None else []
    except OcitoolError as error:
        problems.append(error)
        return []


def _stated(index: Index) -> dict[Digest, list[str]]:
    """What the entries of an index call each manifest."""
    stated: dict[Digest, list[str]] = {}
    for one in index.manifests:
        annotations = one.annotations
        called = [name for key in (CONTAINERD_NAME, REF_NAME) if (name := annotations.get(key))]
        stated.setdefault(one.digest, []).extend(called)
    return stated


def _names(index: Index, named: dict[Digest, list[str]], stated: dict[Digest, list[str]]) -> dict[Digest, ArchiveNames]:
    """The RepoTags by the digest of the entry whose configuration has them, and what the index calls such an entry beside."""
    own: dict[Digest, set[str]] = {}
    for one in index.manifests:
        if name := one.annotations.get(CONTAINERD_NAME):
            own.setdefault(one.digest, set()).add(reference.qualified(name))
    claimed = set[str]().union(*own.values())
    names: dict[Digest, ArchiveNames] = {}
    alike: dict[tuple[str, ...], ArchiveNames] = {}
    for digest, tags in named.items():
        # manifest.json merges manifests of one configuration: of the names, those that another entry claims are not this one's.
        full = own.get(digest, set())
        mine = [tag for tag in tags if not full or (name := reference.qualified(tag)) in full or name not in claimed]
        if mine:
            found = ArchiveNames.of([*mine, *stated.get(digest, ())])
            names[digest] = alike.setdefault(tuple(found), found)
    return names
