"""`layout rm`: removes entries from the index of a layout. Their blobs stay until `layout gc`."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ocitool import limits, reference
from ocitool.digest import Digest
from ocitool.errors import NotFoundError, OcitoolError
from ocitool.images import indexes, select
from ocitool.images.index_children import all_children, tags_of
from ocitool.images.indexes import ReferrerReport
from ocitool.operations.layout.reach import reached
from ocitool.progress import Notice
from ocitool.spec.document import serialised
from ocitool.spec.manifest import Descriptor, Index, InvalidDescriptor
from ocitool.task import Task
from ocitool.transports.layout import Layout
from ocitool.transports.layout_store import LockedLayout, StoredFile


class RemovedEntry(NamedTuple):
    """A removed entry of `index.json`. `digest`: None if the entry has no valid one. `referrer`: it was removed with the
    image that it refers to."""

    digest: Digest | None
    names: tuple[str, ...]
    referrer: bool


class Removed(NamedTuple):
    """The result. `referrers`: entries that stay although they refer to a removed one. `freeable`: bytes that `layout gc`
    frees in addition after this; None if it would refuse, because a document is damaged or an entry is missing."""

    directory: str
    dry_run: bool
    entries: tuple[RemovedEntry, ...]
    referrers: tuple[ReferrerReport, ...]
    freeable: int | None
    notices: tuple[Notice, ...]


def remove(directory: str, names: Sequence[str], task: Task, *, referrers: bool = False, dry_run: bool = False) -> Removed:
    """Removes every entry that one of the names picks: a tag, a full name, `@N`, or `@sha256:...` for all entries of a
    digest.

    `referrers`: removes entries that refer to a removed image as well. Raises `NotFoundError` if a name picks nothing; then
    nothing is removed.
    """
    with LockedLayout(directory, task, read_only=dry_run) as store, store.index() as source:
        index = source.index
        assert index is not None
        files = store.files().blobs
        dropped = _picked(source, index, names)
        entries = [RemovedEntry(one.digest, tags_of(source, one), False) for one in dropped]
        after = _without(source, index, dropped)
        staying: tuple[ReferrerReport, ...] = ()
        while True:
            assert after.index is not None
            listed = {one.digest for one in after.index.manifests}
            staying = tuple(one for one in _orphaned(source, after, dropped) if one.digest in listed)
            if not (referrers and staying):
                break
            digests = {one.digest for one in staying}
            more = [one for one in after.index.manifests if one.digest in digests]
            entries += [RemovedEntry(one.digest, tags_of(source, one), True) for one in more]
            dropped = [*dropped, *more]
            after = _without(source, index, dropped)
        if not dry_run:
            store.replace_index(after.index.raw)
        freeable = _freeable(source, after, files, task)
    return Removed(directory, dry_run, tuple(entries), staying, freeable, tuple(task.notices))


def _picked(source: Layout, index: Index, names: Sequence[str]) -> list[Descriptor | InvalidDescriptor]:
    """Returns the entries of the index that the names pick, each once. An invalid entry can only be picked by its
    position."""
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
            raise NotFoundError(f"{name} is only listed in a nested index", source.where, hint="drop the index that lists it")
        picked.update((n, index.entries[n]) for n in here)
    return [picked[n] for n in sorted(picked)]


def _without(source: Layout, index: Index, dropped: Iterable[Descriptor | InvalidDescriptor]) -> Layout:
    """Returns the layout as it will be without these entries; writes nothing."""
    gone = {id(one.fields) if isinstance(one, Descriptor) else one.position for one in dropped}
    kept: list[Any] = [
        one.fields if isinstance(one, Descriptor) else one.value for one in index.entries
        if (id(one.fields) if isinstance(one, Descriptor) else one.position) not in gone
    ]  # fmt: skip
    fields = {**index.fields, "manifests": kept}
    after = copy.copy(source)
    after.index = Index(serialised(fields, limits.STORE), fields, source.where)
    return after


def _orphaned(source: Layout, after: Layout, dropped: Iterable[Descriptor | InvalidDescriptor]) -> Iterable[ReferrerReport]:
    """Returns the referrers of manifests that cannot be reached from the index any more."""
    assert after.index is not None
    document = Index(b"", {"manifests": [top.fields for top in dropped]}, source.where)  # without those that cannot be read
    gone = {entry.descriptor.digest for entry, _ in all_children(source, document)}
    # A subject counts as gone even if a referrer still names it.
    gone -= {entry.descriptor.digest for entry, _ in all_children(after, after.index)}
    return indexes.referrers(after, gone)


def _freeable(before: Layout, after: Layout, files: Sequence[StoredFile], task: Task) -> int | None:
    """Returns the bytes that `layout gc` frees because of the removal; None, with a notice, if it would refuse."""
    try:
        needed = reached(after, files, task).digests
    except OcitoolError as error:
        task.notice("unknown", f"how much gc would free is not known: {error}")
        return None
    try:
        freed = reached(before, files, task).digests - needed
    except OcitoolError:  # before, gc would have freed nothing
        freed = frozenset(file.digest for file in files) - needed
    return sum(file.size for file in files if file.digest in freed)
