"""Archives that are an OCI layout and a `docker save` archive at once (those of Docker 25 and later, and ours).

Both lists should name the same images. If they do not, no image is lost: images with the same configuration are one
image, and those that only `manifest.json` or `repositories` names are added after those of the index.
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
    """What the docker lists add to the index. `names`: those in `manifest.json`, by the entry of the index. `records`:
    images that the index lacks. `manifests`: those that were read for this, up to `_KEPT` bytes."""

    names: dict[Digest, ArchiveNames]
    records: tuple[DockerImageRecord, ...]
    notices: tuple[str, ...]
    problems: tuple[OcitoolError, ...]
    manifests: dict[Stated, Manifest | Index]


_KEPT = 1 << 20
"""Bytes of manifests that are kept for later readers: all those of a small archive, the first ones of a large one."""


class _Listed(NamedTuple):
    """A manifest that the index leads to through the entry `top`."""

    top: Digest
    digest: Digest
    manifest: Manifest


def united(members: ArchiveMembers, index: Index, *, alone: bool) -> HybridImages:
    """Returns what `manifest.json` and `repositories` add to an index. `alone`: their images are reported in notices
    and left out.

    Reads each manifest, and the configurations of images that are not found among these."""
    by_config: dict[Digest, list[_Listed]] = {}
    kept: dict[Stated, Manifest | Index] = {}
    for one in _manifests(members, index, kept):
        by_config.setdefault(one.manifest.config.digest, []).append(one)
    records: list[DockerImageRecord] = []
    added = 0
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
                added += 1
            elif lone.problem is None:  # else both halves lack it, and the index reports that
                records.append(lone._replace(instead_of=instead))
                how = f"; docker-archive:{members.where} reads the former" if alone else ""
                what = f"manifest.json, image @{position} has the name of the manifest {instead}, which is not here{how}"
                notices.append(f"{members.where}: {what}")
            continue
        for top in dict.fromkeys(one.top for one in found):
            named.setdefault(top, []).extend(tags_of(image))
        record, notice = _compare_halves(members, image, position, found)
        if record is not None:
            records.append(record)
        if notice is not None:
            how = f"; docker-archive:{members.where} reads the former" if alone and record is not None else ""
            notices.append(f"{members.where}: {notice}{how}")
    stated = _entry_names(index)
    for names in (*stated.values(), *named.values()):
        seen.update(map(reference.qualified, names))
    records += _repositories_records(members, seen, problems)
    for file, own in (
        ("manifest.json", added),
        ("repositories", sum(record.image_id is not None for record in records)),
    ):
        count, them, read = ("1 image", "it", "it is read too") if own == 1 else (f"{own} images", "them", "they are read too")
        how = f"docker-archive:{members.where} reads {them}" if alone else read
        if own:
            notices.append(f"{members.where}: {file} names {count} that index.json does not; {how}")
    return HybridImages(_names(index, named, stated), () if alone else tuple(records), tuple(notices), tuple(problems), kept)


def _absent(members: ArchiveMembers, index: Index) -> dict[str, Digest]:
    """Returns the entries of an index whose manifests are missing, by fully qualified name; names of several manifests
    are left out."""
    found: dict[str, set[Digest]] = {}
    here: dict[str, bool] = {}
    for digest, names in _entry_names(index).items():
        present = members.get(f"blobs/{digest.algorithm}/{digest.encoded}") is not None
        for name in map(reference.qualified, names):
            found.setdefault(name, set()).add(digest)
            here[name] = here.get(name, False) or present
    return {name: next(iter(digests)) for name, digests in found.items() if len(digests) == 1 and not here[name]}


def only_there(members: ArchiveMembers, index: Index, records: Sequence[DockerImageRecord]) -> tuple[Digest, ...]:
    """Returns the manifests of an index whose configurations are in no record."""
    found = [one for one in _manifests(members, index, {}) if one.manifest.is_image]
    configs = {one.manifest.config.digest for one in found}
    known = {_config_digest(record.config, configs) for record in records if record.problem is None}
    return tuple(dict.fromkeys(one.digest for one in found if one.manifest.config.digest not in known))


def _manifests(members: ArchiveMembers, index: Index, kept: dict[Stated, Manifest | Index]) -> Iterator[_Listed]:
    """Yields the image manifests that an index leads to and that match their digests; others are reported when they are
    read. Adds those of the stated size to `kept`, as long as there is room."""
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
    """Returns the digest of an image's configuration: from its path if a manifest names the same digest, else from its
    bytes."""
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
    return _config_digest(raw, known) if raw is not None else None


def _config_digest(raw: bytes, known: Collection[Digest]) -> Digest:
    """Returns the digest of a configuration, with the algorithm of a known digest if it matches one."""
    for algorithm in {one.algorithm for one in known if one.algorithm in ("sha384", "sha512")}:
        if (digest := Digest.of(raw, algorithm)) in known:
            return digest
    return Digest.of(raw)


def _compare_halves(
    members: ArchiveMembers, image: dict[str, Any], position: int, found: Sequence[_Listed]
) -> tuple[DockerImageRecord | None, str | None]:
    """Compares an image in `manifest.json` with its manifests. Returns the record if it is right and the manifest is
    wrong, and a notice."""
    paths = image.get("layers")
    layers = [path for path in paths if isinstance(path, str)] if isinstance(paths, list) else []
    digests = [_digest_of_path(path) for path in layers]
    if any(digests == [layer.digest for layer in one.manifest.layers] for one in found):
        return None, None  # both halves name the same blobs, whether they are present or not
    held = [one for one in found if not _count_missing(members, one.manifest)]
    if not held:
        record = record_of(members, image, position)
        if record.problem is None and record.layers and None not in record.layers:
            one = found[0]
            record = record._replace(instead_of=one.digest if one.top == one.digest else None)
            what = f"manifest.json, image @{position} has all its layers"
            missing = _count_missing(members, one.manifest)
            return record, f"{what}, the manifest {one.digest} of the same configuration lacks {missing} of its blobs"
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


def _count_missing(members: ArchiveMembers, manifest: Manifest) -> int:
    """Returns the number of an image's blobs that the archive lacks and that have no other source."""
    blobs = [one for one in (manifest.config, *manifest.layers) if not one.urls and "data" not in one.fields]
    return sum(members.get(f"blobs/{one.digest.algorithm}/{one.digest.encoded}") is None for one in blobs)


def _digest_of_path(path: str) -> Digest | None:
    parts = path.removeprefix("./").split("/")
    return Digest(parts[1], parts[2]) if len(parts) == 3 and parts[0] == "blobs" else None


def _repositories_records(members: ArchiveMembers, known: set[str], problems: list[OcitoolError]) -> list[DockerImageRecord]:
    """Returns the images of `repositories` whose names are not known."""
    try:
        raw = members.document("repositories")
        return list(v1_records(members, raw, known)) if raw is not None else []
    except OcitoolError as error:
        problems.append(error)
        return []


def _entry_names(index: Index) -> dict[Digest, list[str]]:
    """Returns the names in the entries of an index, by manifest."""
    stated: dict[Digest, list[str]] = {}
    for one in index.manifests:
        annotations = one.annotations
        called = [name for key in (CONTAINERD_NAME, REF_NAME) if (name := annotations.get(key))]
        stated.setdefault(one.digest, []).extend(called)
    return stated


def _names(index: Index, named: dict[Digest, list[str]], stated: dict[Digest, list[str]]) -> dict[Digest, ArchiveNames]:
    """Returns the RepoTags by the digest of the entry with their configuration, and the names that the index gives this
    entry."""
    own: dict[Digest, set[str]] = {}
    for one in index.manifests:
        if name := one.annotations.get(CONTAINERD_NAME):
            own.setdefault(one.digest, set()).add(reference.qualified(name))
    claimed = set[str]().union(*own.values())
    names: dict[Digest, ArchiveNames] = {}
    alike: dict[tuple[str, ...], ArchiveNames] = {}
    for digest, tags in named.items():
        # manifest.json merges manifests with one configuration: drop the names that another entry has.
        full = own.get(digest, set())
        mine = [tag for tag in tags if not full or (name := reference.qualified(tag)) in full or name not in claimed]
        if mine:
            found = ArchiveNames.of([*mine, *stated.get(digest, ())])
            names[digest] = alike.setdefault(tuple(found), found)
    return names
