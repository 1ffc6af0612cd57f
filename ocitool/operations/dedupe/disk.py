"""What a collection takes where it lies, and what deleting an image frees there.

A layout, and a registry, keeps each blob once: what its images share lies there once. An archive is a file of its own: it is
deleted whole, and holds whatever others hold as well. So the bytes of one layout of all (`collection`) are those on disk
only if the collection is one layout. Cost: one step a blob of an image; of several layouts, one look at each blob's file; of a
layout of which only some images were asked for, a reading of the others' documents.
"""

from __future__ import annotations

from collections.abc import Collection as Several
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from ocitool import reference
from ocitool.digest import Digest
from ocitool.errors import OcitoolError
from ocitool.operations.dedupe.collection import Collection, Member, Named, Shares, Stored
from ocitool.operations.layout.reach import beside
from ocitool.task import Task
from ocitool.transports.store import StoredFile, blob_files


@dataclass(slots=True)
class Store:
    """Where images lie together. `path`: of an archive or a layout; `size`: of an archive's file; `linked`: it has other names,
    so deleting this one frees nothing. `files`: of a layout's blobs, if they were looked at. `whole`: all in it was read.
    `beside`: what images of a layout need that were not asked for."""

    path: str | None
    size: int | None
    linked: bool = False
    whole: bool = True
    members: dict[int, None] = field(default_factory=dict)
    files: dict[str, StoredFile] = field(default_factory=dict)
    beside: frozenset[str] = frozenset()
    _owners: dict[Stored, int] = field(default_factory=dict)

    @property
    def shares(self) -> bool:
        """Whether it keeps each blob once, and deletes one by one."""
        return self.size is None

    def bytes_of(self, blob: Stored) -> int:
        """What a blob takes here."""
        if not self.files:
            return blob.size
        file = self.files.get(blob.key)
        return file.size if file is not None else 0

    def owners(self, members: list[Member]) -> dict[Stored, int]:
        """The only image that needs or keeps each blob, -1 for several."""
        if not self._owners:
            for number in self.members:
                for blob in (*members[number].blobs, *members[number].held):
                    if self._owners.setdefault(blob, number) != number or blob.key in self.beside:
                        self._owners[blob] = -1
        return self._owners


class Disk:
    """`on_disk`: bytes of the files on this machine, each once however many names it has: of archives whole, of layouts what
    images need; None where none is here. `at_registries`: bytes that registries keep, each once a registry."""

    def __init__(self, collection: Collection, task: Task) -> None:
        self._members = collection.members
        self._collection = collection
        self._stores: dict[tuple[str, str], Store] = {}
        self._of: dict[int, list[Store]] = {}
        for member in collection.members:
            mine: dict[int, Store] = {}
            for named in member.places.values():
                store = self._store(named)
                if store is not None:
                    store.members[member.number] = None
                    mine[id(store)] = store
            self._of[member.number] = list(mine.values())
        stores = list(self._stores.values())
        self.one = len(stores) == 1 and stores[0].shares and all(self._of.values())
        """Whether all is one layout, or at one registry: what one layout of all takes is what it takes there."""
        layouts = [store for store in stores if store.shares and store.path is not None]
        if len(layouts) > 1:  # they may have files in common
            for store in layouts:
                with suppress(OcitoolError):  # what of it is needed was read, or named as a problem
                    store.files = {str(file.digest): file for file in blob_files(str(store.path)).blobs}
        for store in layouts:
            if not store.whole:
                with suppress(OcitoolError):
                    store.beside = frozenset(map(str, beside(str(store.path), self._tops(store), task)))
        local = [store for store in stores if store.path is not None]
        self.archives = len(local) - len(layouts)
        self.layouts = len(layouts)
        self.elsewhere = len(local) < len(stores) or not all(self._of.values())
        """Whether some of it is not on this machine's disks: at a registry, or came by standard input."""
        self.on_disk = self._local(local) if local else None
        remote = [store for store in stores if store.path is None]
        self.at_registries = sum(blob.size for store in remote for blob in self._needed(store)) if remote else None

    def _store(self, named: Named) -> Store | None:
        site = named.site
        if site.transport == "docker":
            where = reference.at_registry(named.reference)
            key = ("registry", where.host if where is not None else "")
            return self._stores.setdefault(key, Store(None, None))
        if site.path is None:
            return None  # standard input
        whole = site.path not in self._collection.partial
        return self._stores.setdefault(("disk", site.path), Store(site.path, site.size, site.linked, whole))

    def _tops(self, store: Store) -> set[Digest]:
        """The entries of a layout's index that stand for the images in it."""
        members = [self._members[number] for number in store.members]
        several = {blob.digest for one in members if one.digest is None for blob in one.named}
        return {one.digest for one in members if one.digest is not None} | {one for one in several if one is not None}

    def _needed(self, store: Store) -> Iterable[Stored]:
        return {blob: None for number in store.members for blob in self._members[number].named}

    def _local(self, stores: Iterable[Store]) -> int:
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

    def archives_of(self, number: int) -> int:
        """How many archives an image is in."""
        return sum(not store.shares for store in self._of[number])

    def copies(self, layer: Stored) -> int:
        """In how many places a layer lies."""
        return len({id(store) for number in layer.users for store in self._of[number]})

    def together(self, numbers: Iterable[int]) -> bool:
        """Whether all of these images lie in one layout, or at one registry, and nowhere else."""
        stores = {id(store): store for number in numbers for store in self._of[number]}
        return self.one or (len(stores) == 1 and all(store.shares for store in stores.values()))

    def of(self, member: Member, share: Shares) -> tuple[int | None, int]:
        """The bytes of what holds an image on this machine (None where nothing does), and those that deleting it frees wherever
        it is. `share`: what it has in one layout of all."""
        if self.one and not any(store.beside for store in self._of[member.number]):
            return (share.size if self.on_disk is not None else None), share.marginal
        local = [store for store in self._of[member.number] if store.path is not None]
        held = sum(
            store.size if store.size is not None else sum(map(store.bytes_of, member.blobs)) for store in local
        )
        return (held if local else None), self.frees({member.number})

    def frees(self, going: Several[int]) -> int:
        """Bytes that deleting these images frees wherever they are: archives that hold nothing else, and in layouts and at
        registries the blobs that nothing else there needs. One of several images in an archive frees nothing."""
        stores = {id(store): store for number in going for store in self._of[number]}.values()
        return sum(self._freed(store, going) for store in stores)

    def _freed(self, store: Store, going: Several[int]) -> int:
        mine = [number for number in store.members if number in going] if len(going) > 1 else list(going)
        if not store.shares:
            gone = store.whole and not store.linked and len(mine) == len(store.members)
            return store.size or 0 if gone else 0
        freed = 0
        if len(mine) == 1:
            member, owners = self._members[mine[0]], store.owners(self._members)
            if any(owners[blob] != member.number for blob in member.held[:1]):
                return 0  # as long as what it speaks of stays, it does
            needed: Iterable[Stored] = (blob for blob in (*member.blobs, *member.held) if owners[blob] == member.number)
        else:
            there = store.members.keys()
            gone_, blobs = set(mine), {blob: None for number in mine for blob in self._members[number].named}
            alone = (blob for blob in blobs if not blob.held and blob.key not in store.beside)
            needed = (blob for blob in alone if all(one in gone_ or one not in there for one in blob.users))
        for blob in needed:
            file = store.files.get(blob.key)
            if file is None or file.links == 1:
                freed += store.bytes_of(blob)
        return freed
