"""`layout rm`: removes names from a layout's index. Their blobs stay until `layout gc`."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ocitool import limits, reference
from ocitool.digest import Digest
from ocitool.errors import NotFoundError, OcitoolError
from ocitool.images import indexes, select
from ocitool.images.indexes import ReferrerReport
from ocitool.operations.layout.reach import reached
from ocitool.spec.document import serialised
from ocitool.spec.manifest import Descriptor, Index, InvalidDescriptor
from ocitool.task import Notice, Task
from ocitool.transports.layout import Layout
from ocitool.transports.layout_store import LockedLayout, StoredFile


class RemovedEntry(NamedTuple):
    """A removed entry of `index.json`; `digest` is None for one that states none. `referrer`: it was removed with the
    image that it refers to."""

    digest: Digest | None
    names: tuple[str, ...]
    referrer: bool


class Removed(NamedTuple):
    """The result. `referrers`: entries that stay although they refer to something removed. `freeable`: bytes that
    `layout gc` will free beyond what it would have freed before; None if it would refuse, because a document is damaged
    or an entry missing."""

    directory: str
    dry_run: bool
    entries: tuple[RemovedEntry, ...]
    referrers: tuple[ReferrerReport, ...]
    freeable: int | None
    notices: tuple[Notice, ...]


def remove(directory: str, names: Sequence[str], task: Task, *, referrers: bool = False, dry_run: bool = False) -> Removed:
    """Drops every entry that one of the names picks: a tag, a full name, `@N`, or `@sha256:...` for all its tags.

    All or none: `NotFoundError` where one names nothing. `referrers`: what speaks of a dropped image goes as well.
    """
    with LockedLayout(directory, task, read_only=dry_run) as store, store.index() as source:
        index = source.index
        assert index is not None
        files = store.files().blobs
        dropped = _picked(source, index, names)
        entries = [RemovedEntry(one.digest, select.tags_of(source, one), False) for one in dropped]
        after = _without(source, index, dropped)
        spoken: tuple[ReferrerReport, ...] = ()
        while True:
            assert after.index is not None
            here = {one.digest for one in after.index.manifests}
            left = tuple(_left(source, after, dropped))
            spoken = tuple(one for one in left if one.digest in here)
            if not (referrers and spoken):
                break
            going = {one.digest for one in spoken}
            more = [one for one in after.index.manifests if one.digest in going]
            entries += [RemovedEntry(one.digest, select.tags_of(source, one), True) for one in more]
            dropped = [*dropped, *more]
            after = _without(source, index, dropped)
        if not dry_run:
            store.replace_index(after.index.raw)
        freeable = _freeable(source, after, files, task)
    return Removed(directory, dry_run, tuple(entries), spoken, freeable, tuple(task.notices))


def _picked(source: Layout, index: Index, names: Sequence[str]) -> list[Descriptor | InvalidDescriptor]:
    """Returns the top entries that the names mean, each once. An invalid entry has no name but its position."""
    picked: dict[int, Descriptor | InvalidDescriptor] = {}
    positions = {id(one.fields): n for n, one in enumerate(index.entries) if isinstance(one, Descriptor)}
    same: dict[Digest, list[int]] = {}
    for one in index.manifests:
        same.setdefault(one.digest, []).append(positions[id(one.fields)])
    named = select.by_name(source, index)
    for name in names:
        selector = reference.parse_selector(name)
        at = selector.position
        if at is not None and at < len(index.entries) and isinstance(index.entries[at], InvalidDescriptor):
            here = [at]
        elif selector.name is not None and (entries := named(selector.name)):
            here = [positions[id(one.fields)] for one in entries]
        else:
            found = [one.descriptor for one in select.top_level(source, index, selector)]
            if selector.digest is not None:
                here = [n for one in found for n in same.get(one.digest, ())]
            else:
                here = [positions[id(one.fields)] for one in found]
        if not here:
            raise NotFoundError(
                f"{name} is part of an index, and has no entry of its own", source.where, hint="drop the index that holds it"
            )
        picked.update((n, index.entries[n]) for n in here)
    return [picked[n] for n in sorted(picked)]


def _without(source: Layout, index: Index, dropped: Iterable[Descriptor | InvalidDescriptor]) -> Layout:
    """Returns the layout without these entries; nothing is written."""
    gone = {id(one.fields) if isinstance(one, Descriptor) else one.position for one in dropped}
    kept: list[Any] = [
        one.fields if isinstance(one, Descriptor) else one.value for one in index.entries
        if (id(one.fields) if isinstance(one, Descriptor) else one.position) not in gone
    ]  # fmt: skip
    fields = {**index.fields, "manifests": kept}
    after = copy.copy(source)
    after.index = Index(serialised(fields, limits.STORE), fields, source.where)
    return after


def _left(source: Layout, after: Layout, dropped: Iterable[Descriptor | InvalidDescriptor]) -> Iterable[ReferrerReport]:
    """Returns referrers of manifests that no name leads to any more."""
    assert after.index is not None
    document = Index(b"", {"manifests": [top.fields for top in dropped]}, source.where)  # without those that cannot be read
    gone = {entry.descriptor.digest for entry, _ in select.all_children(source, document)}
    # A referrer is no reason to count its subject as being here still.
    gone -= {entry.descriptor.digest for entry, _ in select.all_children(after, after.index)}
    return indexes.referrers(after, gone)


def _freeable(before: Layout, after: Layout, files: Sequence[StoredFile], task: Task) -> int | None:
    try:
        needed = reached(after, files, task).digests
    except OcitoolError as error:
        task.notice("unknown", f"how much gc would free cannot be told: {error}")
        return None
    try:
        freed = reached(before, files, task).digests - needed
    except OcitoolError:  # before, gc would have freed nothing
        freed = frozenset(file.digest for file in files) - needed
    return sum(file.size for file in files if file.digest in freed)
