"""What a reference means in a source: by name, position or digest.

`groups` finds it without reading any document, `target` reads what was found, and `sole_target` takes the only one that may be
an image.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from ocitool import reference
from ocitool.blob import missing_blob
from ocitool.digest import Digest
from ocitool.errors import CancelledError, NotFoundError, OcitoolError
from ocitool.images.image import Image, from_manifest, from_record
from ocitool.images.index_children import IndexChild, all_children, index_child, index_children, own_tags, tags_of
from ocitool.images.platforms import normalized
from ocitool.reference import Selector
from ocitool.spec.manifest import REF_NAME, Descriptor, Index, InvalidDescriptor, Manifest
from ocitool.transports.opening import Opened
from ocitool.transports.source import DockerImageRecord, Source


class Target(NamedTuple):
    """What a reference names: an index of platforms (`document`, `entries`), or one image.

    `top`: the entry of the source that leads to it; None for a record of a docker archive, and if several entries form
    the target. `direct`: how many of `entries`, at the front, these are; the entries of nested indexes follow.
    """

    document: Index | None
    entries: tuple[IndexChild, ...]
    image: Image | None
    top: Descriptor | None = None
    direct: int | None = None

    @property
    def opaque(self) -> bool:
        """Whether it is a single entry that is neither a manifest nor an index."""
        return self.image is None and len(self.entries) == 1 and self.entries[0].opaque

    @property
    def may_be_image(self) -> bool:
        """Whether it contains, or may contain, an image. Reads the entries of an index up to the first image."""
        if self.image is not None:
            return self.image.is_image
        return self.unread is not None or any(entry.kind == "image" for entry in self.entries)

    @property
    def unread(self) -> OcitoolError | None:
        """The error of a nested index that cannot be read, so that its content is unknown; None if there is none."""
        return next(
            (entry.problem for entry in self.entries if entry.stated_kind == "index" and entry.problem is not None), None
        )


class Group(NamedTuple):
    """What has one name in a source, not read yet: entries of the index, or the record of a docker archive.

    `only_one`: nothing else was named, so it must be present. `position`: the `@N` that selects a record.
    """

    entries: tuple[IndexChild, ...]
    tags: tuple[str, ...]
    record: DockerImageRecord | None
    only_one: bool
    position: int | None = None


def groups(opened: Opened) -> Iterator[Group]:
    """Yields everything that the reference names, in order, unread. Dropping a group drops what was read of it.

    Entries that are not valid descriptors are left out: see `unreadable`. Raises `NotFoundError` if the selector
    matches nothing.
    """
    source = opened.source
    entries, records = selected(source, opened.selector)
    parted, tags = _group_entries(entries)
    del entries  # each keeps the documents that were read of it
    alone = opened.selector is not None or len(parted) + len(records) + len(unreadable(opened)) == 1
    seen: set[Digest] = set()
    while parted:
        group = parted.popleft()
        digest = group[0].descriptor.digest
        if len(group) == 1:
            if digest in seen:
                continue  # another tag of a manifest that was yielded already
            seen.add(digest)
        names = dict.fromkeys(tag for one in group for tag in one.tags) if len(group) > 1 else tags.pop(digest)
        yield Group(tuple(group), tuple(names), None, alone)
        del group
    for position, record in records:
        yield Group((), record.tags, record, alone, position)


def _group_entries(entries: Iterable[IndexChild]) -> tuple[deque[list[IndexChild]], dict[Digest, dict[str, None]]]:
    """Groups entries by the image that they are part of; also returns all tags of each digest."""
    named: dict[tuple[str, ...] | Digest, dict[Digest, IndexChild]] = {}
    tags: dict[Digest, dict[str, None]] = {}
    for entry in entries:
        digest = entry.descriptor.digest
        # Manifests of several platforms under one name are one image, as if an index listed them.
        key = entry.tags if entry.tags or entry.stated_kind == "attestation" or entry.descriptor.platform else digest
        group = named.setdefault(key, {})
        if digest not in group:  # else another entry of the manifest says the same, as for each of its names in an archive
            group[digest] = entry
            tags.setdefault(digest, {}).update(dict.fromkeys(entry.tags))
    return deque(_split_nameless(named)), tags


def target(source: Source, group: Group) -> Target:
    """Returns a group as a target. Reads its documents, and raises what that raises."""
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
        raise missing_blob("manifest", entry.descriptor.digest, source.where)
    return Target(source.index, (entry,), None, entry.descriptor)


def unreadable_below(source: Source, index: Index) -> Iterator[OcitoolError]:
    """Yields the errors of an index and of those nested in it: entries that are not valid descriptors, and documents
    that cannot be read. At a registry only documents that must be read anyway are included."""
    yield from (one.error(source.where) for one in index.invalid)
    for entry, _ in all_children(source, index):
        nested = entry.nested
        if nested is not None:
            where = f"{source.where}: index {entry.descriptor.digest}"
            yield from (one.error(where) for one in nested.invalid)
        elif (not source.remote or entry.stated_kind == "index") and entry.problem is not None:
            yield entry.problem


def unreadable(opened: Opened) -> tuple[InvalidDescriptor, ...]:
    """Returns the entries of the source that are not valid descriptors, if the reference names all that the source
    holds."""
    index = opened.source.index
    return index.invalid if index is not None and opened.selector is None else ()


def targets(opened: Opened) -> tuple[Target, ...]:
    """Returns everything that the reference names: one target if it selects one, else all images of the source.

    Raises `NotFoundError` if the selector matches nothing.
    """
    return tuple(target(opened.source, group) for group in groups(opened))


def _split_nameless(named: dict[tuple[str, ...] | Digest, dict[Digest, IndexChild]]) -> Iterator[list[IndexChild]]:
    """Yields the groups. Manifests without a name are separate images if two of them are for one platform."""
    for key, group in named.items():
        stated = [entry.descriptor.platform for entry in group.values() if entry.stated_kind != "attestation"]
        offered = [one and normalized(one) for one in stated]
        if key == () and len(set(offered)) < len(offered):
            yield from ([entry] for entry in group.values())
        else:
            yield list(group.values())


def _flat(source: Source, index: Index, tags: tuple[str, ...]) -> Iterator[IndexChild]:
    """Yields the entries of an index and, in place of nested indexes, theirs, under the names of the index.

    Names that its entries state count only if the index has none: a name is valid at the top of a layout only
    (annotations.md, "ref.name").
    """
    for entry, _ in all_children(source, index):
        yield entry._replace(tags=tags or own_tags(entry.descriptor))


def selected(source: Source, selector: Selector | None) -> tuple[list[IndexChild], list[tuple[int, DockerImageRecord]]]:
    """Returns the entries of the index and the records (with positions) that a selector means; all of them without one.

    A record that replaces a manifest has the position of that manifest's entry; other records come after the index.
    Raises `NotFoundError` if the selector matches nothing.
    """
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
    """Returns the records that a selector means, with their positions, which continue those of the index."""
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
    """Returns the entries that a selector means; without one all at the top of the index but attestations. Raises
    `NotFoundError`."""
    if selector is None:
        return tuple(entry for entry in index_children(source, index) if entry.stated_kind != "attestation")
    if selector.position is not None:
        if selector.position >= len(index.entries):
            raise _not_found(source, selector)
        at = index.entries[selector.position]
        if isinstance(at, InvalidDescriptor):
            raise at.error(source.where)
        return (index_child(source, at),)
    if selector.digest is not None:
        for entry in index_children(source, index):  # first without reading anything
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
        found = tuple(index_child(source, descriptor) for descriptor in by_name(source, index)(name))
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
    """Returns the entries of the one full name that ends in `name`, as `reg.example/app:1` ends in `app:1`. Raises
    `NotFoundError` if several names do."""
    own = [(one, tag) for one in index.manifests for tag in own_tags(one)]
    entries = {one.digest: one for one in reversed(index.manifests)}  # the names of a digest are those of its first entry
    own += [(one, tag) for digest, one in entries.items() for tag in source.names.get(digest, ())]
    found = set(_full_names(source, name, ((tag, one.digest) for one, tag in own)))
    return tuple({id(one): index_child(source, one) for one, tag in own if tag in found}.values())


def _full_names(source: Source, name: str, named: Iterable[tuple[str, object]]) -> Sequence[str]:
    """Returns the full names that end in `name`, if all are of one image. Raises `NotFoundError` otherwise."""
    if reference.names_host(name):
        return ()
    wanted = name if ":" in name else f"{name}:latest"
    rows = [(tag, what) for tag, what in named if reference.without_host(tag) == wanted]
    found = list(dict.fromkeys(tag for tag, _ in rows))
    if len(found) > 1 and len({what for _, what in rows}) > 1:
        raise NotFoundError(f"{name} can be several images", source.where, hint=f"it holds {'; '.join(found)}")
    return found


def by_name(source: Source, index: Index) -> Callable[[str], tuple[Descriptor, ...]]:
    """Returns a function from a name to the entries that it means (`reference.matches`, or their ref.name). All entries
    are indexed once for any number of names."""
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
"""Most images, and most names of one image, that a hint lists."""


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


def sole_target(opened: Opened) -> Target:
    """Returns the only target that a reference names, or the only one that may be an image.

    A target that cannot be read may be an image; artifacts and content of unknown types are ignored, with a notice.
    Raises `NotFoundError` if there is none or several, or the error of the only one.
    """
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
    """Returns the names of everything that a source holds, by position."""
    entries = [tags_of(source, one) for one in source.index.entries] if source.index is not None else []
    return entries + [record.tags for record in source.records if record.instead_of is None]
