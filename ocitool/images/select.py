"""Which image a reference means: by name, position or digest, then by platform."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Literal, NamedTuple

from ocitool import limits, reference
from ocitool.digest import Digest
from ocitool.errors import LimitError, NotFoundError, OcitoolError, UsageError
from ocitool.images.image import Image, from_manifest, from_record, read_manifest
from ocitool.reference import Selector
from ocitool.spec import mediatypes
from ocitool.spec.manifest import CONTAINERD_NAME, REF_NAME, Descriptor, Index, Manifest, Platform
from ocitool.transports.opening import Opened
from ocitool.transports.source import NO_NAMES, Names, Record, Source

EntryKind = Literal["image", "attestation", "artifact", "index"]


class Listed(NamedTuple):
    """One descriptor of an index, and what it leads to, which is looked at when it is asked for: at a registry each look is
    a request."""

    descriptor: Descriptor
    tags: tuple[str, ...]
    look: _Look

    @property
    def document(self) -> Manifest | Index | None:
        """None where it is absent (`problem` is None) or cannot be read (`problem` says why)."""
        return self.look.found[0]

    @property
    def problem(self) -> OcitoolError | None:
        return self.look.found[1]

    @property
    def present(self) -> bool:
        return self.document is not None or self.problem is not None

    @property
    def nested(self) -> Index | None:
        """The document if it is an index. What is said to be a manifest cannot be one, and is not looked at."""
        if self.descriptor.media_type in mediatypes.MANIFESTS:
            return None
        return self.document if isinstance(self.document, Index) else None

    @property
    def said(self) -> EntryKind:
        """What the descriptor alone says it is."""
        if self.descriptor.is_attestation:
            return "attestation"
        if self.descriptor.media_type in mediatypes.INDEXES:
            return "index"
        return "artifact" if self.descriptor.fields.get("artifactType") else "image"

    @property
    def kind(self) -> EntryKind:
        if self.said in ("attestation", "index"):
            return self.said
        document = self.document
        if isinstance(document, Index):
            return "index"
        return "artifact" if isinstance(document, Manifest) and not document.is_image else "image"


class _Look:
    """A look at a document, taken once however many entries lead to it."""

    def __init__(self, source: Source, descriptor: Descriptor) -> None:
        self._source = source
        self._descriptor = descriptor

    @cached_property
    def found(self) -> tuple[Manifest | Index | None, OcitoolError | None]:
        try:
            return read_manifest(self._source, self._descriptor), None
        except NotFoundError:
            return None, None
        except OcitoolError as error:
            return None, error


def listed(source: Source, index: Index) -> tuple[Listed, ...]:
    """The entries of an index, none resolved further."""
    if len(index.manifests) > limits.INDEX_MANIFESTS:
        raise LimitError(f"an index of more than {limits.INDEX_MANIFESTS} manifests", source.where)
    looks: dict[tuple[Digest, str, int], _Look] = {}
    found = []
    for descriptor in index.manifests:
        key = (descriptor.digest, descriptor.media_type, descriptor.size)
        look = looks.setdefault(key, _Look(source, descriptor))  # thousands of descriptors of one document cost it once
        found.append(Listed(descriptor, tags_of(source, descriptor), look))
    return tuple(found)


def _look(source: Source, descriptor: Descriptor) -> Listed:
    return Listed(descriptor, tags_of(source, descriptor), _Look(source, descriptor))


def tags_of(source: Source, descriptor: Descriptor) -> tuple[str, ...]:
    """The names of a manifest. If it has some outside of the index, all of its entries share them as one object."""
    outside = source.names.get(descriptor.digest, NO_NAMES)
    own = tuple(name for name in own_tags(descriptor) if name not in outside.spellings)
    return (*outside, *own) if own else outside


def own_tags(descriptor: Descriptor) -> tuple[str, ...]:
    """The names that an entry of an index states itself, which are no more than two."""
    annotations = descriptor.annotations
    found = [name for key in (CONTAINERD_NAME, REF_NAME) if (name := annotations.get(key))]
    # A hybrid archive's ref.name is often the bare tag of its full name.
    return Names.of(found) if len(found) > 1 else tuple(found)


def everything(source: Source, index: Index) -> Iterator[tuple[Listed, int]]:
    """All entries reachable from an index, each digest once, with their depth; a cycle ends at what was seen."""
    seen: set[Digest] = set()
    stack = [(entry, 0) for entry in reversed(listed(source, index))]
    while stack:
        entry, depth = stack.pop()
        if entry.descriptor.digest in seen and depth:
            continue
        seen.add(entry.descriptor.digest)
        if len(seen) > limits.INDEX_MANIFESTS:
            raise LimitError(f"more than {limits.INDEX_MANIFESTS} manifests", source.where)
        yield entry, depth
        below = entry.nested
        if below is not None:
            if depth >= limits.INDEX_DEPTH:
                raise LimitError(f"indexes nested more than {limits.INDEX_DEPTH} deep", source.where)
            stack += [(child, depth + 1) for child in reversed(listed(source, below))]


class Target(NamedTuple):
    """What a reference names: an index of platforms (`document`, `entries`), or one image. `top`: the entry of the source that
    leads to it, None for a record of a docker archive and if several entries together are meant."""

    document: Index | None
    entries: tuple[Listed, ...]
    image: Image | None
    top: Descriptor | None = None


class Group(NamedTuple):
    """What stands under one name of a source: the entries of an index, or the record of a docker archive; not read yet.
    `alone`: nothing else was named, so it must be here."""

    entries: tuple[Listed, ...]
    tags: tuple[str, ...]
    record: Record | None
    alone: bool


def groups(opened: Opened) -> Iterator[Group]:
    """Everything the reference names, in order, none of it read. Whoever lets go of a group lets go of what was read of it.

    Raises `NotFoundError` when the selector matches nothing.
    """
    source, selector = opened
    if source.index is None:
        for record in source.records if selector is None else (_picked_record(source, selector),):
            yield Group((), record.tags, record, False)
        return
    parted, tags = _parted(roots(source, source.index, selector))
    alone = selector is not None or len(parted) == 1
    seen: set[Digest] = set()
    while parted:
        group = parted.popleft()
        digest = group[0].descriptor.digest
        if len(group) == 1:
            if digest in seen:
                continue  # another tag of a manifest that was given already
            seen.add(digest)
        names = dict.fromkeys(tag for one in group for tag in one.tags) if len(group) > 1 else tags[digest]
        yield Group(tuple(group), tuple(names), None, alone)
        del group


def _parted(entries: Iterable[Listed]) -> tuple[deque[list[Listed]], dict[Digest, dict[str, None]]]:
    """The entries by what they are one image of, and all tags of each digest."""
    named: dict[tuple[str, ...] | Digest, dict[Digest, Listed]] = {}
    tags: dict[Digest, dict[str, None]] = {}
    for entry in entries:
        digest = entry.descriptor.digest
        # Manifests of several platforms under one name are one image, as if an index stood between.
        key = entry.tags if entry.tags or entry.said == "attestation" or entry.descriptor.platform else digest
        group = named.setdefault(key, {})
        if digest not in group:  # else another entry of the manifest says the same, as for each of its names in an archive
            group[digest] = entry
            tags.setdefault(digest, {}).update(dict.fromkeys(entry.tags))
    return deque(_split(named)), tags


def target(source: Source, group: Group) -> Target:
    """A group, read. Raises what reading its documents raises."""
    if group.record is not None:
        return Target(None, (), from_record(source, group.record))
    if len(group.entries) > 1:
        return Target(source.index, group.entries, None)
    entry = group.entries[0]
    if isinstance(entry.document, Index):
        return Target(entry.document, tuple(_flat(source, entry.document, group.tags)), None, entry.descriptor)
    if isinstance(entry.document, Manifest):
        image = from_manifest(source, entry.descriptor, entry.document, group.tags)
        return Target(None, (entry,), image, entry.descriptor)
    if entry.problem is not None:
        raise entry.problem
    if group.alone:
        raise NotFoundError(f"the manifest {entry.descriptor.digest} is not here", source.where)
    return Target(source.index, (entry,), None, entry.descriptor)


def targets(opened: Opened) -> tuple[Target, ...]:
    """Everything the reference names: one target if it picks one, else all images of the source, one by one.

    Raises `NotFoundError` when the selector matches nothing.
    """
    return tuple(target(opened.source, group) for group in groups(opened))


def _split(named: dict[tuple[str, ...] | Digest, dict[Digest, Listed]]) -> Iterator[list[Listed]]:
    """The groups; nameless manifests of which two are for one platform are images of their own, not one image's."""
    for key, group in named.items():
        offered = [entry.descriptor.platform for entry in group.values() if entry.said != "attestation"]
        if key == () and len(set(offered)) < len(offered):
            yield from ([entry] for entry in group.values())
        else:
            yield list(group.values())


def _flat(source: Source, index: Index, tags: tuple[str, ...]) -> Iterator[Listed]:
    """An index's entries, those of nested indexes in their place; what has no tag of its own has the index's. Names that
    stand outside of the index are for what stands at the top: the same manifest may, under another name."""
    for entry, _ in everything(source, index):
        outside = source.names.get(entry.descriptor.digest, NO_NAMES)
        yield entry._replace(tags=tuple(tag for tag in own_tags(entry.descriptor) if tag not in outside.spellings) or tags)


def _picked_record(source: Source, selector: Selector) -> Record:
    if selector.position is not None:
        if selector.position >= len(source.records):
            raise NotFoundError(f"no image {selector.text}: the archive holds {len(source.records)}", source.where)
        return source.records[selector.position]
    for record in source.records:
        if selector.name is not None:
            if reference.matches(selector.name, record.tags):
                return record
        elif from_record(source, record).image_id == str(selector.digest):
            return record
    raise NotFoundError(
        f"no image {selector.text}", source.where,
        hint=_names_hint([record.tags for record in source.records]),
    )  # fmt: skip


def roots(source: Source, index: Index, selector: Selector | None) -> tuple[Listed, ...]:
    if selector is None:
        return tuple(entry for entry in listed(source, index) if entry.said != "attestation")
    if selector.position is not None:
        if selector.position >= len(index.manifests):
            raise NotFoundError(f"no image {selector.text}: the index holds {len(index.manifests)}", source.where)
        return (_look(source, index.manifests[selector.position]),)
    if selector.digest is not None:
        for entry, _ in everything(source, index):
            if entry.descriptor.digest == selector.digest:
                return (entry,)
        for entry, _ in everything(source, index):
            if isinstance(entry.document, Manifest) and entry.document.config.digest == selector.digest:
                return (entry,)
    else:
        assert selector.name is not None
        found = tuple(_look(source, descriptor) for descriptor in by_name(source, index)(selector.name))
        if found:
            return found
    raise NotFoundError(
        f"no image {selector.text}", source.where,
        hint=_names_hint([tags_of(source, descriptor) for descriptor in index.manifests]),
    )  # fmt: skip


def by_name(source: Source, index: Index) -> Callable[[str], tuple[Descriptor, ...]]:
    """A function from a name to the entries that it means (`reference.matches`, or their ref.name). Each entry is looked at
    once for any number of names."""
    exact: dict[str, list[int]] = {}
    full: dict[str, list[int]] = {}
    entries: dict[Digest, list[int]] = {}
    for position, one in enumerate(index.manifests):
        entries.setdefault(one.digest, []).append(position)
        for tag in own_tags(one) if one.digest not in source.names else ():
            exact.setdefault(tag, []).append(position)
            if not reference.is_bare(tag):
                full.setdefault(reference.qualified(tag), []).append(position)
        if ref_name := one.annotations.get(REF_NAME):
            exact.setdefault(ref_name, []).append(position)
    outside: dict[str, list[Digest]] = {}
    for digest, names in source.names.items():
        for tag in names:
            outside.setdefault(tag, []).append(digest)
            if not reference.is_bare(tag):
                outside.setdefault(reference.qualified(tag), []).append(digest)

    def meant(name: str) -> tuple[Descriptor, ...]:
        whole = reference.qualified(name)
        digests = (*outside.get(name, ()), *outside.get(whole, ()))
        found = {*exact.get(name, ()), *full.get(whole, ()), *(n for digest in digests for n in entries.get(digest, ()))}
        return tuple(index.manifests[n] for n in sorted(found))

    return meant


_HINTED = 20
"""Images, and names of one, that a hint lists."""


def _names_hint(tags: list[tuple[str, ...]]) -> str:
    shown: dict[str, None] = {}
    seen: set[int] = set()
    for n, names in enumerate(tags):
        if id(names) not in seen and len(shown) < _HINTED:
            seen.add(id(names))
            more = ", ..." if len(names) > _HINTED else ""
            shown[", ".join(names[:_HINTED]) + more if names else f"@{n}"] = None
    return "it holds " + "; ".join(shown) if shown else "it holds no image"


def pick_platform(platform: str | None) -> Platform:
    """`os/arch[/variant]`, or the host's (containers run on Linux, so a macOS host counts as one)."""
    if platform is None:
        machine = os.uname().machine
        names = {"x86_64": ("amd64", None), "aarch64": ("arm64", None), "armv7l": ("arm", "v7"), "armv6l": ("arm", "v6"),
                 "i686": ("386", None)}  # fmt: skip
        architecture, variant = names.get(machine, (machine, None))
        return Platform("linux" if sys.platform == "darwin" else sys.platform, architecture, variant)
    parts = platform.split("/")
    if not 2 <= len(parts) <= 3 or not all(parts):
        raise UsageError(f"{platform} is no platform", hint="os/architecture[/variant], as in linux/arm64")
    return Platform(parts[0], parts[1], parts[2] if len(parts) == 3 else None)


def suits(wanted: Platform, offered: Platform | None) -> bool:
    """Whether an image for `offered` is what one asks for with `wanted`; arm64 and arm64/v8 are one."""
    if offered is None or (wanted.os, wanted.architecture) != (offered.os, offered.architecture):
        return False

    def variant(platform: Platform) -> str | None:
        return None if (platform.architecture, platform.variant) == ("arm64", "v8") else platform.variant

    return variant(wanted) is None or variant(wanted) == variant(offered)


def one(opened: Opened, platform: str | None, *, like: Platform | None = None) -> Image:
    """The single image a reference means. `NotFoundError` (with the names) when it means several or none; `UsageError`
    when it means an artifact or attestation. `like`: takes the host's place in the choice from an index."""
    found = targets(opened)
    if not found:
        raise NotFoundError("it holds no image", opened.source.where)
    if len(found) > 1:
        raise NotFoundError(
            f"it holds {len(found)} images and none was picked", opened.source.where,
            hint=f"append :NAME or :@N; {_names_hint(_all_tags(opened.source))}",
        )  # fmt: skip
    target = found[0]
    image = target.image if target.image is not None else for_platform(opened.source, target, platform, like)
    if not image.is_image:
        raise UsageError("an artifact, where an image is needed", opened.source.where)
    if target.document is None and platform is not None and not suits(pick_platform(platform), image.platform):
        raise NotFoundError(f"the image is for {image.platform}, not {platform}", opened.source.where)
    if any(entry.said == "attestation" for entry in target.entries if target.image is not None):
        raise UsageError("an attestation, where an image is needed", opened.source.where)
    return image


def _all_tags(source: Source) -> list[tuple[str, ...]]:
    if source.index is None:
        return [record.tags for record in source.records]
    return [tags_of(source, descriptor) for descriptor in source.index.manifests]


def platforms(source: Source, target: Target) -> Iterator[tuple[Platform, Listed]]:
    """The images of an index with their platforms, in its order. A platform the descriptor leaves out is the config's."""
    for entry in target.entries:
        if entry.kind == "image":
            yield _platform(source, entry), entry


def for_platform(source: Source, target: Target, platform: str | None, like: Platform | None = None) -> Image:
    """The image of an index for a platform: the one asked for, else the one for `like` (the host's), else the only one."""
    wanted = like if platform is None and like is not None and like.os and like.architecture else pick_platform(platform)
    chosen = _first(source, target, wanted)
    if chosen is None:
        offered = list(platforms(source, target))
        if platform is not None or len(offered) != 1:
            names = ", ".join(str(have) for have, _ in offered) or "no image"
            raise NotFoundError(f"no image for {wanted}", source.where, hint=f"it holds {names}; --platform picks one")
        chosen = offered[0][1]
    return resolve(source, chosen, _tags_of_target(target))


def _first(source: Source, target: Target, wanted: Platform) -> Listed | None:
    """The first image that suits. Entries whose descriptor names another platform are not looked at."""
    for entry in target.entries:
        if entry.said not in ("image", "artifact"):
            continue
        stated = entry.descriptor.platform
        if stated is not None and not suits(wanted, stated):
            continue
        if entry.kind == "image" and (stated is not None or suits(wanted, _platform(source, entry))):
            return entry
    return None


def _platform(source: Source, entry: Listed) -> Platform:
    """What the descriptor says, else the configuration."""
    platform = entry.descriptor.platform
    if platform is None and isinstance(entry.document, Manifest):
        platform = from_manifest(source, entry.descriptor, entry.document, ()).platform
    return platform or Platform(None, None, None)


def _tags_of_target(target: Target) -> tuple[str, ...]:
    return tuple(dict.fromkeys(tag for entry in target.entries for tag in entry.tags))


def resolve(source: Source, entry: Listed, tags: tuple[str, ...] = ()) -> Image:
    """The image behind an entry. `NotFoundError` where its manifest is not here."""
    if entry.problem is not None:
        raise entry.problem
    if not isinstance(entry.document, Manifest):
        raise NotFoundError(
            f"the manifest {entry.descriptor.digest} for {entry.descriptor.platform or 'its platform'} is not here",
            source.where,
        )
    return from_manifest(source, entry.descriptor, entry.document, entry.tags or tags)
