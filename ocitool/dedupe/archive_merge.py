"""Which archives of a collection one layout could replace: in it they would share the blobs that each of them has now."""

from __future__ import annotations

from typing import NamedTuple

from ocitool import reference
from ocitool.dedupe.collection import Collection


class ArchiveMerge(NamedTuple):
    """Archives that one layout could replace, each with the bytes of its file.

    - into: the only layout of the collection, if it has any of their blobs.
    - moved: numbers of their images; references: of these. there: numbers of the images that `into` has.
    """

    sizes: dict[str | None, int]
    into: str | None
    moved: dict[int, None]
    references: dict[str, None]
    there: set[int]


def archive_merge(collection: Collection) -> ArchiveMerge | None:
    """Returns the archives that could be put into one layout; None if two of their images have one name. Archives with
    other hard links are left out: they would stay on disk."""
    sizes = {
        site.path: site.size for site in collection.sources
        if site.size is not None and site.path not in collection.partial and not site.linked
    }  # fmt: skip
    layouts = {site.path for site in collection.sources if site.transport.store and site.path is not None}
    into = next(iter(layouts)) if len(layouts) == 1 and layouts.isdisjoint(collection.partial) else None
    merge = ArchiveMerge(sizes, into, {}, {}, set())
    names_of: dict[str, int] = {}
    for member in collection.members:
        for named in member.places.values():
            if named.source.path not in sizes and (into is None or named.source.path != into):
                continue
            if any(names_of.setdefault(reference.canonical(tag), member.number) != member.number for tag in named.tags):
                return None
            if named.source.path == into:
                merge.there.add(member.number)
            else:
                merge.references[named.reference] = None
                merge.moved[member.number] = None
    every = (blob for number in merge.moved for blob in collection.members[number].named)
    if merge.there.isdisjoint(one for blob in every for one in blob.users):
        return merge._replace(into=None)
    return merge
