"""Which image a reference means: by name, position or digest, then by platform."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from ocitool import limits, masking, reference
from ocitool.digest import Digest
from ocitool.errors import CancelledError, LimitError, NotFoundError, OcitoolError, UnsupportedError, UsageError
from ocitool.images.image import Image, from_manifest, from_record, platform_of_config, read_entry
from ocitool.images.platforms import Rank, completed, normalized, parse_platform, rank
from ocitool.reference import Selector
from ocitool.spec import mediatypes
from ocitool.spec.manifest import (
    ATTESTATION_TYPE,
    CONTAINERD_NAME,
    REF_NAME,
    Descriptor,
    Index,
    InvalidDescriptor,
    Manifest,
    Platform,
)
from ocitool.transports.opening import Opened
from ocitool.transports.source import NO_NAMES, ArchiveNames, DockerImageRecord, Source

EntryKind = Literal["image", "attestation", "artifact", "index"]


class IndexChild(NamedTuple):
    """One descriptor of an index, and what it leads to, which is looked at when it is asked for: at a registry each look is
    a request."""

    descriptor: Descriptor
    tags: tuple[str, ...]
    probe: _Probe

    @property
    def document(self) -> Manifest | Index | None:
        """None where it is absent, cannot be read (`problem` says why), or is `opaque`."""
        return self.probe.result.document

    @property
    def problem(self) -> OcitoolError | None:
        return self.probe.result.problem

    @property
    def present(self) -> bool:
        return self.probe.result.present

    @property
    def opaque(self) -> bool:
        """Whether it is here and neither a manifest nor an index: it is listed and carried, and says nothing to us."""
        return self.present and self.document is None and self.problem is None

    @property
    def nested(self) -> Index | None:
        """The document if it is an index. What is said to be a manifest cannot be one, and is not looked at."""
        if self.descriptor.media_type in mediatypes.MANIFESTS:
            return None
        return self.document if isinstance(self.document, Index) else None

    @property
    def stated_kind(self) -> EntryKind:
        """What the descriptor alone says it is."""
        return stated_kind(self.descriptor)

    @property
    def kind(self) -> EntryKind:
        if self.stated_kind in ("attestation", "index"):
            return self.stated_kind
        document = self.document
        if document is None:
            return self.stated_kind
        if isinstance(document, Index):
            return "index"
        return "image" if document.is_image else "artifact"


def stated_kind(descriptor: Descriptor | InvalidDescriptor) -> EntryKind:
    """What a descriptor says that it leads to."""
    if descriptor.annotations.get(ATTESTATION_TYPE) == "attestation-manifest":
        return "attestation"
    if descriptor.media_type in mediatypes.INDEXES:
        return "index"
    if descriptor.media_type and descriptor.media_type not in mediatypes.MANIFESTS:
        return "artifact"
    return "artifact" if descriptor.fields.get("artifactType") else "image"


class _ProbeResult(NamedTuple):
    """What a look gives: a document, or why there is none."""

    document: Manifest | Index | None
    present: bool
    problem: OcitoolError | None


class _Probe:
    """A look at a document, taken once however many entries lead to it. No lock is held meanwhile: it may take a request. Two
    threads that look at the same moment both read it, and find the same."""

    def __init__(self, source: Source, descriptor: Descriptor) -> None:
        self._source = source
        self._descriptor = descriptor
        self._found: _ProbeResult | None = None

    @property
    def result(self) -> _ProbeResult:
        if self._found is None:  # no lock: two threads that look at once find the same
            self._found = self._read()
        return self._found

    def _read(self) -> _ProbeResult:
        try:
            return _ProbeResult(read_entry(self._source, self._descriptor), True, None)
        except CancelledError:
            raise
        except NotFoundError:
            return _ProbeResult(None, False, None)
        except OcitoolError as error:
            return _ProbeResult(None, True, error)


def index_children(source: Source, index: Index) -> tuple[IndexChild, ...]:
    """The entries of an index, none resolved further."""
    if len(index.manifests) > limits.INDEX_MANIFESTS:
        raise LimitError(f"an index of more than {limits.INDEX_MANIFESTS} manifests", source.where)
    looks: dict[tuple[Digest, str, int], _Probe] = {}
    found = []
    for descriptor in index.manifests:
        stated = descriptor.media_type
        known = not stated or stated in mediatypes.DOCUMENTS or source.remote
        key = (descriptor.digest, stated if known else "other", descriptor.size)  # of an unknown type the content decides
        look = looks.setdefault(key, _Probe(source, descriptor))  # thousands of descriptors of one document cost it once
        found.append(IndexChild(descriptor, tags_of(source, descriptor), look))
    return tuple(found)


def _probe(source: Source, descriptor: Descriptor) -> IndexChild:
    return IndexChild(descriptor, tags_of(source, descriptor), _Probe(source, descriptor))


def tags_of(source: Source, descriptor: Descriptor | InvalidDescriptor) -> tuple[str, ...]:
    """The names of a manifest. If it has some outside of the index, all of its entries share them as one object."""
    outside = source.names.get(descriptor.digest, NO_NAMES) if descriptor.digest is not None else NO_NAMES
    own = tuple(name for name in own_tags(descriptor) if name not in outside.spellings)
    return (*outside, *own) if own else outside


def own_tags(descriptor: Descriptor | InvalidDescriptor) -> tuple[str, ...]:
    """The names that an entry of an index states itself, which are no more than two."""
    annotations = descriptor.annotations
    found = [name for key in (CONTAINERD_NAME, REF_NAME) if (name := annotations.get(key))]
    # A hybrid archive's ref.name is often the bare tag of its full name.
    return ArchiveNames.of(found) if len(found) > 1 else tuple(found)


def all_children(source: Source, index: Index) -> Iterator[tuple[IndexChild, int]]:
    """All entries reachable from an index, each digest once, with their depth; a cycle ends at what was seen."""
    seen: set[Digest] = set()
    stack = [(entry, 0) for entry in reversed(index_children(source, index))]
    while stack:
        entry, depth = stack.pop()
        again = entry.descriptor.digest in seen
        if again and depth:
            continue
        seen.add(entry.descriptor.digest)
        if len(seen) > limits.INDEX_MANIFESTS:
            raise LimitError(f"more than {limits.INDEX_MANIFESTS} manifests", source.where)
        yield entry, depth
        below = entry.nested if not again else None  # an index that is listed many times is gone through once
        if below is not None:
            if depth >= limits.INDEX_DEPTH:
                raise LimitError(f"indexes nested more than {limits.INDEX_DEPTH} deep", source.where)
            stack += [(child, depth + 1) for child in reversed(index_children(source, below))]


class Target(NamedTuple):
    """What a reference names: an index of platforms (`document`, `entries`), or one image. `top`: the entry of the source that
    leads to it, None for a record of a docker archive and if several entries together are meant; `direct`: how many entries
    these are, with those of the indexes among them behind."""

    document: Index | None
    entries: tuple[IndexChild, ...]
    image: Image | None
    top: Descriptor | None = None
    direct: int | None = None

    @property
    def opaque(self) -> bool:
        """Whether it is one thing that is neither a manifest nor an index."""
        return self.image is None and len(self.entries) == 1 and self.entries[0].opaque

    @property
    def may_be_image(self) -> bool:
        """Whether an image is in it, or is said to be; costs a look at the entries of an index up to the first image."""
        if self.image is not None:
            return self.image.is_image
        return self.unread is not None or any(entry.kind == "image" for entry in self.entries)

    @property
    def unread(self) -> OcitoolError | None:
        """Why an index nested in it cannot be read, so that it is not known what it holds."""
        return next(
            (entry.problem for entry in self.entries if entry.stated_kind == "index" and entry.problem is not None), None
        )


class Group(NamedTuple):
    """What stands under one name of a source: the entries of an index, or the record of a docker archive; not read yet.
    `alone`: nothing else was named, so it must be here. `position`: of a record, by which `@N` picks it."""

    entries: tuple[IndexChild, ...]
    tags: tuple[str, ...]
    record: DockerImageRecord | None
    only_one: bool
    position: int | None = None


def groups(opened: Opened) -> Iterator[Group]:
    """Everything the reference names, in order, none of it read. Whoever lets go of a group lets go of what was read of it.
    What cannot even be told apart (`unreadable`) is not among it.

    Raises `NotFoundError` when the selector matches nothing.
    """
    source = opened.source
    entries, records = selected(source, opened.selector)
    parted, tags = _group_entries(entries)
    del entries  # they keep what was read of them
    alone = opened.selector is not None or len(parted) + len(records) + len(unreadable(opened)) == 1
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
    for position, record in records:
        yield Group((), record.tags, record, alone, position)


def _group_entries(entries: Iterable[IndexChild]) -> tuple[deque[list[IndexChild]], dict[Digest, dict[str, None]]]:
    """The entries by what they are one image of, and all tags of each digest."""
    named: dict[tuple[str, ...] | Digest, dict[Digest, IndexChild]] = {}
    tags: dict[Digest, dict[str, None]] = {}
    for entry in entries:
        digest = entry.descriptor.digest
        # Manifests of several platforms under one name are one image, as if an index stood between.
        key = entry.tags if entry.tags or entry.stated_kind == "attestation" or entry.descriptor.platform else digest
        group = named.setdefault(key, {})
        if digest not in group:  # else another entry of the manifest says the same, as for each of its names in an archive
            group[digest] = entry
            tags.setdefault(digest, {}).update(dict.fromkeys(entry.tags))
    return deque(_split_nameless(named)), tags


def target(source: Source, group: Group) -> Target:
    """A group, read. Raises what reading its documents raises."""
    if group.record is not None:
        return Target(None, (), from_record(source, group.record))
    if len(group.entries) > 1:
        direct = {one.descriptor.digest for one in group.entries}
        nested = (one.nested for one in group.entries)
        below = (entry for index in nested if index is not None for entry in _flat(source, index, group.tags))
        more = {one.descriptor.digest: one for one in below if one.descriptor.digest not in direct}
        return Target(source.index, (*group.entries, *more.values()), None, direct=len(group.entries))
    entry = group.entries[0]
    if isinstance(entry.document, Index):
        return Target(entry.document, tuple(_flat(source, entry.document, group.tags)), None, entry.descriptor)
    if isinstance(entry.document, Manifest):
        image = from_manifest(source, entry.descriptor, entry.document, group.tags)
        return Target(None, (entry,), image, entry.descriptor)
    if entry.problem is not None:
        raise entry.problem
    if group.only_one and not entry.present:
        raise NotFoundError(f"the manifest {entry.descriptor.digest} is not here", source.where)
    return Target(source.index, (entry,), None, entry.descriptor)


def unreadable_below(source: Source, index: Index) -> Iterator[OcitoolError]:
    """What cannot be read of an index and of those nested in it: entries that are no descriptors, and documents, these at a
    registry only where they were looked at anyway."""
    yield from (one.error(source.where) for one in index.invalid)
    for entry, _ in all_children(source, index):
        nested = entry.nested
        if nested is not None:
            where = f"{source.where}: index {entry.descriptor.digest}"
            yield from (one.error(where) for one in nested.invalid)
        elif (not source.remote or entry.stated_kind == "index") and entry.problem is not None:
            yield entry.problem


def unreadable(opened: Opened) -> tuple[InvalidDescriptor, ...]:
    """The entries of the source that are no descriptors, where the reference names all that it holds."""
    index = opened.source.index
    return index.invalid if index is not None and opened.selector is None else ()


def targets(opened: Opened) -> tuple[Target, ...]:
    """Everything the reference names: one target if it picks one, else all images of the source, one by one.

    Raises `NotFoundError` when the selector matches nothing.
    """
    return tuple(target(opened.source, group) for group in groups(opened))


def _split_nameless(named: dict[tuple[str, ...] | Digest, dict[Digest, IndexChild]]) -> Iterator[list[IndexChild]]:
    """The groups; nameless manifests of which two are for one platform are images of their own, not one image's."""
    for key, group in named.items():
        stated = [entry.descriptor.platform for entry in group.values() if entry.stated_kind != "attestation"]
        offered = [one and normalized(one) for one in stated]
        if key == () and len(set(offered)) < len(offered):
            yield from ([entry] for entry in group.values())
        else:
            yield list(group.values())


def _flat(source: Source, index: Index, tags: tuple[str, ...]) -> Iterator[IndexChild]:
    """An index's entries, those of nested indexes in their place, under the names of the index. What its entries state as names
    counts only if the index has none: a name is valid at the top of a layout alone (annotations.md, "ref.name")."""
    for entry, _ in all_children(source, index):
        yield entry._replace(tags=tags or own_tags(entry.descriptor))


def selected(source: Source, selector: Selector | None) -> tuple[list[IndexChild], list[tuple[int, DockerImageRecord]]]:
    """The entries of the index and the records that a selector means, all without one. A record that is read instead of a
    manifest has the place of that manifest's entry; all others stand behind the index.

    Raises `NotFoundError` where it means nothing."""
    records = _selected_records(source, selector)
    entries: tuple[IndexChild, ...] = ()
    if source.index is not None:
        try:
            entries = top_level(source, source.index, selector)
        except NotFoundError:
            if not records:
                raise
    elif selector is not None and not records:
        raise _not_found(source, selector)
    instead = {record.instead_of: record for record in source.records if record.instead_of is not None}
    if not instead:
        return list(entries), records
    kept: list[IndexChild] = []
    for entry in entries:
        digest = entry.descriptor.digest
        if digest not in instead:
            kept.append(entry)
        elif not any(record.instead_of == digest for _, record in records):
            tags = dict.fromkeys([*instead[digest].tags, *entry.tags])
            records.append((_position(source, digest), instead[digest]._replace(tags=tuple(tags))))
    return kept, sorted(records, key=lambda one: one[0])


def _position(source: Source, digest: Digest) -> int:
    assert source.index is not None
    return next(n for n, one in enumerate(source.index.entries) if one.digest == digest)


def _selected_records(source: Source, selector: Selector | None) -> list[tuple[int, DockerImageRecord]]:
    """The records that a selector means, with their positions: these go on behind those of the index."""
    first = len(source.index.entries) if source.index is not None else 0
    plain = list(enumerate((one for one in source.records if one.instead_of is None), first))
    if selector is None:
        return plain
    if selector.position is not None:
        return [one for one in plain if one[0] == selector.position]
    if selector.name is not None:
        found = [one for one in plain if reference.matches(selector.name, one[1].tags)]
        if not found and source.index is None:
            named = ((tag, position) for position, record in plain for tag in record.tags)
            short = set(_full_names(source, selector.name, named))
            found = [one for one in plain if not short.isdisjoint(one[1].tags)]
        return found[:1] if len({one.image_id or one.config for _, one in found}) == 1 else found
    return [one for one in plain if one[1].problem is None and _image_id(one[1]) == str(selector.digest)][:1]


def _image_id(record: DockerImageRecord) -> str:
    return record.image_id or str(Digest.of(record.config))


def _not_found(source: Source, selector: Selector) -> NotFoundError:
    names = _all_tags(source)
    if selector.position is not None:
        what = f"the {'archive' if source.index is None else 'index'} holds {len(names)}"
        return NotFoundError(f"no image {selector.text}: {what}", source.where)
    return NotFoundError(f"no image {selector.text}", source.where, hint=_content_hint(source))


def top_level(source: Source, index: Index, selector: Selector | None) -> tuple[IndexChild, ...]:
    if selector is None:
        return tuple(entry for entry in index_children(source, index) if entry.stated_kind != "attestation")
    if selector.position is not None:
        if selector.position >= len(index.entries):
            raise _not_found(source, selector)
        at = index.entries[selector.position]
        if isinstance(at, InvalidDescriptor):
            raise at.error(source.where)
        return (_probe(source, at),)
    if selector.digest is not None:
        for entry in index_children(source, index):  # what else stands here cannot be in its way
            if entry.descriptor.digest == selector.digest:
                return (entry,)
        for entry, _ in all_children(source, index):
            if entry.descriptor.digest == selector.digest:
                return (entry,)
        for entry, _ in all_children(source, index):
            if isinstance(entry.document, Manifest) and entry.document.config.digest == selector.digest:
                return (entry,)
        meant = [one for one in index.invalid if one.digest == selector.digest]
    else:
        name = selector.name
        assert name is not None
        found = tuple(_probe(source, descriptor) for descriptor in by_name(source, index)(name))
        if found := found or _by_short_name(source, index, name):
            return found
        meant = [
            one for one in index.invalid
            if reference.matches(name, own_tags(one)) or name == one.annotations.get(REF_NAME)
        ]  # fmt: skip
    if meant:
        raise meant[0].error(source.where)
    raise _not_found(source, selector)


def _by_short_name(source: Source, index: Index, name: str) -> tuple[IndexChild, ...]:
    """The entries of the one full name that ends in this, as `app:1` does `reg.example/app:1`. Raises `NotFoundError` if
    several names do."""
    own = [(one, tag) for one in index.manifests for tag in own_tags(one)]
    entries = {one.digest: one for one in reversed(index.manifests)}  # the names of a digest are those of its first entry
    own += [(one, tag) for digest, one in entries.items() for tag in source.names.get(digest, ())]
    found = set(_full_names(source, name, ((tag, one.digest) for one, tag in own)))
    return tuple({id(one): _probe(source, one) for one, tag in own if tag in found}.values())


def _full_names(source: Source, name: str, named: Iterable[tuple[str, object]]) -> Sequence[str]:
    """The full names that end in a name, all of one image."""
    if reference.names_host(name):
        return ()
    wanted = name if ":" in name else f"{name}:latest"
    rows = [(tag, what) for tag, what in named if reference.without_host(tag) == wanted]
    found = list(dict.fromkeys(tag for tag, _ in rows))
    if len(found) > 1 and len({what for _, what in rows}) > 1:
        raise NotFoundError(f"{name} can be several images", source.where, hint=f"it holds {'; '.join(found)}")
    return found


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


_MAX_HINTED = 20
"""Images, and names of one, that a hint lists."""


def _content_hint(source: Source) -> str:
    shown: dict[str, None] = {}
    seen: set[int] = set()
    entries = len(source.index.entries) if source.index is not None else 0
    for n, names in enumerate(_all_tags(source)):
        if id(names) not in seen and len(shown) < _MAX_HINTED:
            seen.add(id(names))
            more = ", ..." if len(names) > _MAX_HINTED else ""
            text = ", ".join(names[:_MAX_HINTED]) + more
            # Entries of one name may be one image for several platforms; a record is an image of its own.
            shown[text if text and not (n >= entries and text in shown) else f"@{n}"] = None
    return "it holds " + "; ".join(shown) if shown else "it holds no image"


def single(opened: Opened, platform: str | None, *, like: Platform | None = None) -> Image:
    """The single image a reference means. Raises what `sole` and `image_of` raise."""
    return image_of(opened, sole_target(opened), platform, like=like)


def image_of(opened: Opened, target: Target, platform: str | None, *, like: Platform | None = None) -> Image:
    """The image of a target. `NotFoundError` if none is for the platform, `UsageError` if it is an artifact or attestation.
    `like`: takes the host's place in the choice from an index."""
    image = target.image if target.image is not None else for_platform(opened, target, platform, like)
    if not image.is_image:
        raise UsageError("an artifact, where an image is needed", opened.source.where)
    if target.document is None:
        check_platform(opened, image, platform)
    if any(entry.stated_kind == "attestation" for entry in target.entries if target.image is not None):
        raise UsageError("an attestation, where an image is needed", opened.source.where)
    return image


def sole_target(opened: Opened) -> Target:
    """The one thing that a reference names: of all that a source holds, the only one that may be an image. What cannot be
    read may be one; what is none (an artifact, content of an unknown type) does not stand in its way, and is told."""
    source = opened.source
    named = list(groups(opened))
    if len(named) == 1 and not unreadable(opened):
        return target(source, named[0])
    found: list[Target] = []
    others: list[Target] = []
    problems: list[OcitoolError] = [one.error(source.where) for one in unreadable(opened)]
    for group in named:
        try:
            one = target(source, group)
            (found if one.may_be_image else others).append(one)
        except CancelledError:
            raise
        except OcitoolError as error:
            problems.append(error)
    count = len(found) + len(problems)
    if count > 1 or (not count and len(others) > 1):
        raise NotFoundError(
            f"it holds {count or len(others)} images and none was picked", source.where,
            hint=f"append :NAME or :@N; {_content_hint(source)}",
        )  # fmt: skip
    if problems:
        raise problems[0]
    if not found and not others:
        raise NotFoundError("it holds no image", source.where)
    if found and others:
        gone = sum(any(entry.stated_kind == "index" and not entry.present for entry in one.entries) for one in others)
        sides = [(len(others) - gone, "not an image", "not images"), (gone, "not here", "not here")]
        told = [
            f"1 other entry is {one}" if count == 1 else f"{count} other entries are {many}" for count, one, many in sides
            if count
        ]  # fmt: skip
        source.tell("other", f"{source.where}: the only image is taken; {', '.join(told)}")
    return (found or others)[0]


def _all_tags(source: Source) -> list[tuple[str, ...]]:
    """The names of everything that a source holds, by position."""
    entries = [tags_of(source, one) for one in source.index.entries] if source.index is not None else []
    return entries + [record.tags for record in source.records if record.instead_of is None]


def platforms(source: Source, target: Target) -> Iterator[tuple[Platform, IndexChild]]:
    """The images of an index with their platforms, in its order. A platform the descriptor leaves out is the config's."""
    for entry in target.entries:
        if entry.kind == "image":
            yield platform_of(source, entry), entry


def for_platform(opened: Opened, target: Target, platform: str | None, like: Platform | None = None) -> Image:
    """The image of an index for a platform: the one asked for, else the one for `like` (the host's), else the only one that is
    here. What else would do as well, and in what the image is not quite what is wanted, is told."""
    source = opened.source
    wanted = like if platform is None and like is not None and like.os and like.architecture else parse_platform(platform)
    chosen = _nearest(opened, target, wanted, strict=platform is not None)
    if chosen is None or not (source.remote or chosen.present):
        chosen = _only_present(opened, target, wanted, chosen, asked=platform is not None)
    try:
        return resolve(source, chosen, _tags_of_target(target))
    except NotFoundError as error:  # its configuration
        others = [str(have) for have, entry in platforms(source, target) if entry is not chosen and entry.document is not None]
        if error.hint is None and others:
            error.hint = f"it holds {', '.join(others[:_MAX_NAMED])} beside it; --platform picks one"
        raise


def check_platform(opened: Opened, image: Image, platform: str | None) -> None:
    """`NotFoundError` if the only image that a reference names is for another platform than the one asked for."""
    if platform is None:
        return
    wanted = parse_platform(platform)
    found = rank(wanted, image.platform, strict=True)
    if found is None:
        raise NotFoundError(f"the image is for {masking.stated(image.platform)}, not {platform}", opened.source.where)
    if not found.exact:
        text = f"{opened.source.where}: the image is for {masking.stated(image.platform)}, not quite {wanted}"
        opened.source.tell("platform", text)


class _Candidate(NamedTuple):
    rank: Rank
    entry: IndexChild
    platform: Platform

    def __str__(self) -> str:
        return f"{masking.stated(self.platform)} {self.entry.descriptor.digest}"


def _nearest(opened: Opened, target: Target, wanted: Platform, *, strict: bool) -> IndexChild | None:
    """The image that comes nearest, of equals the first; those come last whose layers cannot be worked on, and of these those
    that are not here. Entries whose descriptor names another platform are not looked at."""
    found = []
    for entry in target.entries:
        offered = _offered_platform(opened.source, entry, wanted)
        near = rank(wanted, offered, strict=strict)
        if offered is not None and near is not None:
            found.append(_Candidate(near, entry, offered))
    found.sort(key=lambda one: one.rank)
    chosen = next((one for one in found if _is_workable(one.entry)), None)
    if chosen is None:
        images = [one for one in found if one.entry.kind == "image"]
        chosen = next((one for one in images if one.entry.present), images[0] if images else None)
    if chosen is not None and chosen.entry.present:
        _notice_choice(opened, wanted, chosen, found)
    return chosen and chosen.entry


def _notice_choice(opened: Opened, wanted: Platform, chosen: _Candidate, found: Sequence[_Candidate]) -> None:
    """What a reader of the answer could not know of the choice."""
    others = {one.entry.descriptor.digest: one for one in found if one.rank <= chosen.rank}
    others.pop(chosen.entry.descriptor.digest)
    listed = [str(one) for one in others.values()]
    if len(listed) > _MAX_NAMED:
        listed[_MAX_NAMED:] = [f"{len(listed) - _MAX_NAMED} more"]
    if listed:
        text = f"several images are for {wanted}: taken is {chosen}, and not {', '.join(listed)}"
        opened.source.tell("platform", f"{opened.source.where}: {text}; --platform or @DIGEST picks another")
    if not chosen.rank.exact:
        text = f"{opened.source.where}: the image is for {masking.stated(chosen.platform)}, not quite {wanted}"
        opened.source.tell("platform", text)


_MAX_NAMED = 10
"""Images that are named beside the one that was taken."""


def _is_workable(entry: IndexChild) -> bool:
    """Whether an image is here whose layers are of types that are known."""
    if entry.kind != "image" or not isinstance(entry.document, Manifest):
        return False
    return all(not one.media_type or mediatypes.layer_codec(one.media_type) for one in entry.document.layers)


def _offered_platform(source: Source, entry: IndexChild, wanted: Platform) -> Platform | None:
    """The platform of an image, None for what is none. A configuration is looked at only for what its descriptor leaves out."""
    if entry.stated_kind not in ("image", "artifact"):
        return None
    stated = entry.descriptor.platform
    if stated is None:
        return platform_of(source, entry) if entry.kind == "image" else None
    if rank(wanted, stated) is None or stated.os_version or stated.os_features:
        return stated
    lacks = wanted.os_version is not None or wanted.os_features
    if not lacks or entry.kind != "image" or not isinstance(entry.document, Manifest):
        return stated
    return completed(stated, platform_of_config(source, entry.document))


_KINDS = {
    mediatypes.DOCKER_SCHEMA1: "a Docker schema 1 manifest",
    mediatypes.DOCKER_SCHEMA1_SIGNED: "a Docker schema 1 manifest",
    mediatypes.OCI_ARTIFACT: "an artifact manifest",
}


def _only_present(opened: Opened, target: Target, wanted: Platform, absent: IndexChild | None, *, asked: bool) -> IndexChild:
    """The only image of an index that is here, unless a platform was asked for. `NotFoundError` names what is here."""
    offered = list(platforms(opened.source, target))
    here = [(have, entry) for have, entry in offered if entry.document is not None]
    others = ", ".join(str(have) for have, entry in offered if entry.document is None)
    if len(here) == 1 and not asked:
        have, entry = here[0]
        if others:
            text = f"{have} is taken, the only image that is here; not here: {others}"
            opened.source.tell("platform", f"{opened.source.where}: {text}")
        return entry
    if target.opaque:
        what = target.entries[0].descriptor.media_type
        raise UnsupportedError(f"{_KINDS.get(what, what)}, where an image is needed", opened.source.where)
    if not offered and target.unread is not None:
        raise target.unread
    names = ", ".join(str(have) for have, _ in here)
    hint = f"it holds {names}; --platform picks one" if names else "it holds no image"
    if others:
        hint = (f"here are {names}; --platform picks one" if names else "no image is here") + f"; not here: {others}"
    what = f"no image for {wanted}" if absent is None else f"the manifest {absent.descriptor.digest} for {wanted} is not here"
    raise NotFoundError(what, opened.source.where, hint=hint)


def platform_of(source: Source, entry: IndexChild) -> Platform:
    """What the descriptor says, else the configuration."""
    platform = entry.descriptor.platform
    if platform is None and isinstance(entry.document, Manifest):
        platform = platform_of_config(source, entry.document)
    return platform or Platform(None, None, None)


def _tags_of_target(target: Target) -> tuple[str, ...]:
    return tuple(dict.fromkeys(tag for entry in target.entries for tag in entry.tags))


def resolve(source: Source, entry: IndexChild, tags: tuple[str, ...] = ()) -> Image:
    """The image behind an entry. `NotFoundError` where its manifest is not here."""
    if entry.problem is not None:
        raise entry.problem
    if entry.opaque:
        raise UnsupportedError(f"{masking.stated(entry.descriptor.media_type)}, where an image is needed", source.where)
    if not isinstance(entry.document, Manifest):
        raise NotFoundError(
            f"the manifest {entry.descriptor.digest} for {entry.descriptor.platform or 'its platform'} is not here",
            source.where,
        )
    return from_manifest(source, entry.descriptor, entry.document, entry.tags or tags)
