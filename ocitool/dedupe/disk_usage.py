"""Computes the bytes of a collection on this machine, and the bytes that deleting an image frees there.

A layout, and a registry, keeps each blob once, for all images. An archive is a file of its own: it is deleted as a
whole, and contains what others contain too. So the bytes of `collection`, which counts as one layout, are those on disk
only if all is one layout. Cost: one step for each blob of an image; for several layouts one lstat for each blob's file;
for a layout of which only some images were asked for, reading the others' documents.
"""

from __future__ import annotations

from collections.abc import Collection as Several
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from ocitool import reference
from ocitool.dedupe.collection import Collection, ImageEntry, ImageRef, StoredBlob, Usage
from ocitool.digest import Digest
from ocitool.errors import OcitoolError
from ocitool.layers.tar_fields import BLOCK
from ocitool.task import Task
from ocitool.transports.layout_store import StoredFile, blob_files


@dataclass(slots=True)
class StorageLocation:
    """A location with images: a layout, an archive, a registry, or an engine.

    `path`: that of an archive or layout, None for a registry. `size`: the size of an archive's file. `linked`: the file has
    other hard links, so that deleting it frees nothing. `files`: the files of a layout's blobs, if they were looked up.
    `whole`: everything in it was read. `needed_by_others`: blobs that images of the layout need which are not in the
    collection.
    """

    path: str | None
    size: int | None
    linked: bool = False
    whole: bool = True
    members: dict[int, None] = field(default_factory=dict)
    files: dict[str, StoredFile] = field(default_factory=dict)
    needed_by_others: frozenset[str] = frozenset()
    engine: bool = False
    _owners: dict[StoredBlob, int] = field(default_factory=dict)

    @property
    def shares(self) -> bool:
        """Whether it keeps each blob once for all images, and blobs can be deleted one by one."""
        return self.size is None

    def bytes_of(self, blob: StoredBlob) -> int:
        """Returns the bytes that a blob takes here."""
        if not self.files:
            return blob.size
        file = self.files.get(blob.key)
        return file.size if file is not None else 0

    def owners(self, members: list[ImageEntry]) -> dict[StoredBlob, int]:
        """Returns, for each blob, the only image that needs or keeps it; -1 for several."""
        if not self._owners:
            for number in self.members:
                for blob in (*members[number].blobs, *members[number].keeps):
                    if self._owners.setdefault(blob, number) != number or blob.key in self.needed_by_others:
                        self._owners[blob] = -1
        return self._owners


class DiskUsage:
    """Totals and savings on disk.

    `on_disk`: bytes of the files on this machine, each counted once even if it has several hard links: whole archives, and
    those blobs of layouts that images need; None if there are none. `at_registries`: bytes in registries, each blob counted
    once for each registry.
    """

    def __init__(self, collection: Collection, task: Task) -> None:
        self._members = collection.members
        self._collection = collection
        self._stores: dict[tuple[str, str], StorageLocation] = {}
        self._of: dict[int, list[StorageLocation]] = {}
        for member in collection.members:
            mine: dict[int, StorageLocation] = {}
            for named in member.places.values():
                store = self._store(named)
                if store is not None:
                    store.members[member.number] = None
                    mine[id(store)] = store
            self._of[member.number] = list(mine.values())
        stores = list(self._stores.values())
        self.is_one_store = len(stores) == 1 and stores[0].shares and all(self._of.values())
        """Whether all images are in one layout or one registry, so that the totals of the collection are those on disk."""
        layouts = [store for store in stores if store.shares and store.path is not None]
        if len(layouts) > 1:  # they may have files in common
            for store in layouts:
                with suppress(OcitoolError):  # the inventory has read what is needed, or reported a problem
                    store.files = {str(file.digest): file for file in blob_files(str(store.path)).blobs}
        for store in layouts:
            if not store.whole:
                from ocitool.operations.layout.reach import kept_without  # it imports all commands on layouts

                with suppress(OcitoolError):
                    store.needed_by_others = frozenset(map(str, kept_without(str(store.path), self._tops(store), task)))
        local = [store for store in stores if store.path is not None]
        self.archives = len(local) - len(layouts)
        self.layouts = len(layouts)
        self.elsewhere = len(local) < len(stores) or not all(self._of.values())
        """Whether some images are not on a disk of this machine: in a registry, or from standard input."""
        self.on_disk = self._local(local) if local else None
        self.documents = 0 if self.is_one_store else documents(collection.members)
        """Bytes that one layout of all images takes in addition to the blobs."""
        remote = [store for store in stores if store.path is None and not store.engine]
        self.at_registries = sum(blob.size for store in remote for blob in self._needed(store)) if remote else None

    def _store(self, named: ImageRef) -> StorageLocation | None:
        site = named.source
        if site.transport.remote:
            where = reference.at_registry(named.reference)
            key = ("registry", where.host if where is not None else "")
            return self._stores.setdefault(key, StorageLocation(None, None))
        if site.transport.engine:
            return self._stores.setdefault(("engine", ""), StorageLocation(None, None, engine=True))
        if site.path is None:
            return None  # standard input
        whole = site.path not in self._collection.partial
        return self._stores.setdefault(("disk", site.path), StorageLocation(site.path, site.size, site.linked, whole))

    def _tops(self, store: StorageLocation) -> set[Digest]:
        """Returns the digests of the entries in a layout's index that lead to its images."""
        members = [self._members[number] for number in store.members]
        several = {blob.digest for one in members if one.digest is None for blob in one.named}
        return {one.digest for one in members if one.digest is not None} | {one for one in several if one is not None}

    def _needed(self, store: StorageLocation) -> Iterable[StoredBlob]:
        return {blob: None for number in store.members for blob in self._members[number].named}

    def _local(self, stores: Iterable[StorageLocation]) -> int:
        total = 0
        seen: set[object] = set()
        for store in stores:
            if store.size is not None:
                total += store.size
                continue
            for blob in self._needed(store):
                file = store.files.get(blob.key)
                if file is None or file.key not in seen:
                    total += store.bytes_of(blob)
                if file is not None:
                    seen.add(file.key)
        return total

    def saved_by_replacing(
        self, changing: Several[int], going: Several[int], gone: Several[StoredBlob], kept: Several[StoredBlob]
    ) -> int:
        """Returns the bytes saved on this machine at once if the images `changing` get the layers `kept` instead of
        `gone`. `going`: images that need `gone` no more afterwards."""
        stores = {id(store): store for number in changing for store in self._of[number] if store.path is not None}
        return sum(self._saved_in(store, going, gone, kept) for store in stores.values())

    def _saved_in(
        self, store: StorageLocation, going: Several[int], gone: Several[StoredBlob], kept: Several[StoredBlob]
    ) -> int:
        if not store.shares:
            # The ratio of the archive's own compression is only known for the whole archive, so it is used for each layer.
            whole = sum(blob.size for blob in self._needed(store))
            ratio = min(1.0, (store.size or 0) / whole) if whole else 1.0
            sizes = [sum(_archive_size(blob, ratio) for blob in blobs) for blobs in (gone, kept)]
            return 0 if store.linked else sizes[0] - sizes[1]
        there = store.members.keys()
        left = {
            blob.key for blob in gone if all(one in going or one not in there for one in blob.users)
        } - store.needed_by_others
        had = {blob.key for blob in kept if blob.key in store.needed_by_others or not there.isdisjoint(blob.users)}
        freed = sum(self._freed_file(store, blob) for blob in gone if blob.key in left and blob not in kept)
        return freed - sum(blob.size for blob in kept if blob.key not in had)

    def copies(self, layer: StoredBlob) -> int:
        """Returns the number of places that have a layer."""
        return len({id(store) for number in layer.users for store in self._of[number]})

    def in_one_store(self, numbers: Iterable[int]) -> bool:
        """Returns whether all of these images are in one layout, or one registry, and nowhere else."""
        stores = {id(store): store for number in numbers for store in self._of[number]}
        return self.is_one_store or (len(stores) == 1 and all(store.shares for store in stores.values()))

    def of(self, member: ImageEntry, share: Usage) -> tuple[int | None, int]:
        """Returns the bytes of the archives and layout blobs that hold an image on this machine (None if there are none),
        and the bytes that deleting it everywhere frees. `share`: its usage as if all images were in one layout."""
        if self.is_one_store and not any(store.needed_by_others for store in self._of[member.number]):
            return (share.size if self.on_disk is not None else None), share.marginal
        local = [store for store in self._of[member.number] if store.path is not None]
        held = sum(store.size if store.size is not None else sum(map(store.bytes_of, member.blobs)) for store in local)
        return (held if local else None), self.freed_by_deleting({member.number})

    def freed_by_deleting(self, going: Several[int]) -> int:
        """Returns the bytes that deleting these images everywhere frees: archives without other images, and blobs
        that no other image needs. Deleting one of several images of an archive frees nothing."""
        stores = {id(store): store for number in going for store in self._of[number]}.values()
        return sum(self._freed(store, going) for store in stores)

    def _freed(self, store: StorageLocation, going: Several[int]) -> int:
        mine = [number for number in store.members if number in going] if len(going) > 1 else list(going)
        if not store.shares:
            gone = store.whole and not store.linked and len(mine) == len(store.members)
            return store.size or 0 if gone else 0
        if len(mine) == 1:
            member, owners = self._members[mine[0]], store.owners(self._members)
            if any(owners[blob] != member.number for blob in member.keeps[:1]):
                return 0  # an artifact stays as long as its subject
            needed: Iterable[StoredBlob] = (blob for blob in (*member.blobs, *member.keeps) if owners[blob] == member.number)
        else:
            there = store.members.keys()
            gone_, blobs = set(mine), {blob: None for number in mine for blob in self._members[number].named}
            alone = (blob for blob in blobs if not blob.kept_by and blob.key not in store.needed_by_others)
            needed = (blob for blob in alone if all(one in gone_ or one not in there for one in blob.users))
        return sum(self._freed_file(store, blob) for blob in needed)

    @staticmethod
    def _freed_file(store: StorageLocation, blob: StoredBlob) -> int:
        """Returns the bytes that deleting a blob frees: none if its file has other hard links."""
        file = store.files.get(blob.key)
        return store.bytes_of(blob) if file is None or file.links == 1 else 0


def documents(members: Iterable[ImageEntry]) -> int:
    """Returns an estimate of the bytes that a new layout takes besides the blobs of these images: its own files, and
    manifests of images that have none."""
    size = len(b'{"imageLayoutVersion":"1.0.0"}') + len(b'{"schemaVersion":2,"mediaType":"","manifests":[]}') + _TYPE
    for member in members:
        names = member.tags or [""]
        size += sum(_ENTRY + (_NAME + len(name.encode()) if name else 0) for name in names)
        if member.digest is None:
            size += _MANIFEST + _LAYER * member.layers
    return size


_TYPE = len("application/vnd.oci.image.index.v1+json")
_ENTRY, _NAME = 153, 55
_MANIFEST, _LAYER = 249, 150
"""Bytes of an entry of `index.json`, and of a name in it; of a manifest, and for each layer in it."""


def _archive_size(blob: StoredBlob, ratio: float) -> int:
    """Returns the bytes that a layer takes in an archive with this compression ratio; whole tar blocks in an
    uncompressed one."""
    if ratio < 1:
        return round(blob.size * ratio) if blob.codec == "none" else blob.size
    return blob.size + -blob.size % BLOCK
