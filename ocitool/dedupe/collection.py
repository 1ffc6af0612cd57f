"""A collection of images as the blobs that it stores, each once, with the images that need it.

Blobs are keyed by the digest of their stored bytes; a layer without one, in a docker archive, by its diff_id (the
digest that it has if it is stored uncompressed). So the collection is counted as one layout that holds all of it.
Memory: about 1.5 kB an image and 400 bytes a distinct blob, of which 100,000 images of 12 layers have 600,000; so digests are
kept as one string each. No document is kept.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from itertools import pairwise
from typing import Literal, NamedTuple

from ocitool.blob import Blob, FileBlob
from ocitool.digest import Digest
from ocitool.errors import OcitoolError
from ocitool.reference import Repository, Transport, suffixes
from ocitool.transports.registry import Access

Kind = Literal["image", "index", "artifact"]


class BlobLocation(NamedTuple):
    """The location from which any process can read the bytes of a layer again: a range of a file, or a blob of a
    repository. `identity`: that of the file when it was opened; `urls`: those of the descriptor, if the registry lacks the
    blob."""

    path: str
    offset: int = 0
    identity: str | None = None
    repository: Repository | None = None
    access: Access | None = None
    urls: tuple[str, ...] = ()


class BlobCopy(NamedTuple):
    """Another copy of a layer's bytes on this machine, in the image `reference`: its location, or `blob` if it has no
    file name."""

    reference: str
    place: BlobLocation | None
    blob: Blob | None


class StoredBlob:
    """A blob of the collection.

    - digest: None if it is not known. stated_size: its size; size: the bytes it takes, 0 if it is missing or embedded
      in a document.
    - users: numbers of the images that it is part of; kept_by: of artifacts that keep it because they refer to it.
    - seen: the source that was found to have it last.
    - For a layer: diff_id as the first image states it; and if layers are to be read: place, or blob if it has no file
      name; copies: other copies on this machine; problem: why it cannot be read.
    """

    __slots__ = (
        "_has_digest", "blob", "codec", "copies", "created_by", "diff_id", "is_layer", "kept_by", "key",
        "place", "present", "problem", "seen", "size", "stated_size", "users",
    )  # fmt: skip

    def __init__(self, key: str, digest: Digest | None, stated: int) -> None:
        self.key = key
        self._has_digest = digest is not None
        self.diff_id: str | None = None
        self.stated_size = stated
        self.size = 0
        self.present = False
        self.is_layer = False
        self.codec: str | None = None
        self.created_by: str | None = None
        self.place: BlobLocation | None = None
        self.blob: Blob | None = None
        self.copies: tuple[BlobCopy, ...] = ()
        self.problem: OcitoolError | None = None
        self.seen: ImageSource | None = None
        self.users: Sequence[int] = ()
        self.kept_by: Sequence[int] = ()

    @property
    def digest(self) -> Digest | None:
        """The digest of its stored bytes; None if it is not known."""
        return Digest.parse(self.key) if self._has_digest else None

    @property
    def saved(self) -> int:
        """Bytes that are not stored because several images share it."""
        return self.size * (len(self.users) - 1)

    @property
    def short(self) -> str:
        """A short digest of a layer, for text reports."""
        known = self.key if self._has_digest else self.diff_id
        return Digest.parse(known).short if known is not None else "-"


class PlatformImage(NamedTuple):
    """An image for one platform. `diff_ids`: as it states them; `instructions`: those that made each layer; `base`:
    name and digest of its base, from its annotations."""

    platform: str
    layers: tuple[StoredBlob, ...]
    diff_ids: tuple[str | None, ...]
    instructions: tuple[str | None, ...]
    created: str | None
    base: tuple[str | None, str | None]
    states_all_diff_ids: bool
    """Whether the configuration states a diff_id for each layer."""
    instructions_hash: int | None
    """A hash of all its instructions, without their inputs; None if the history does not state them."""


class ImageSource(NamedTuple):
    """A source of the collection. `path`: of a layout or archive. `size`: of an archive's file; `linked`: that file has
    other hard links."""

    transport: Transport
    path: str | None
    size: int | None
    linked: bool = False


class ImageRef(NamedTuple):
    """An image in one place. `order`: its position in the report. `reference` names it to any command, `tags` in its
    source. `only_one`: the source holds nothing else."""

    order: tuple[int, int]
    reference: str
    tags: tuple[str, ...]
    source: ImageSource
    only_one: bool


class ImageEntry(NamedTuple):
    """An entry that can be deleted by itself: an image, or an index with all its images.

    `places`: its locations by reference, in the order of the command. `layers`: number of layers that its documents name;
    `named`: all blobs that they name, as often as they do; `keeps`: for an artifact the blobs of its subject, which it
    keeps, the subject first.
    """

    number: int
    places: dict[str, ImageRef]
    kind: Kind
    digest: Digest | None
    image_id: str | None
    platform_images: tuple[PlatformImage, ...]
    layers: int
    named: tuple[StoredBlob, ...]
    keeps: tuple[StoredBlob, ...]

    @property
    def reference(self) -> str:
        """The reference that names it to any command."""
        return next(iter(self.places))

    @property
    def first(self) -> ImageRef:
        """Its first location."""
        return next(iter(self.places.values()))

    @property
    def also(self) -> list[str]:
        """Further references to it."""
        return list(self.places)[1:]

    @property
    def tags(self) -> list[str]:
        """All its tags, in all places."""
        return list(dict.fromkeys(tag for place in self.places.values() for tag in place.tags))

    @property
    def names(self) -> list[str]:
        """Its first reference, and then each further reference or tag that is not part of one before."""
        found: list[str] = []
        known: set[str] = set()

        def add(name: str) -> None:
            found.append(name)
            known.update((name, *suffixes(name, ":/")))

        add(self.reference)
        for where, place in self.places.items():
            if where != self.reference:
                add(where)
            for tag in place.tags:
                if tag not in known:
                    add(tag)
        return found

    @property
    def blobs(self) -> AbstractSet[StoredBlob]:
        """Its blobs, each once."""
        return dict.fromkeys(self.named).keys()


class Usage(NamedTuple):
    """The usage of one image: bytes of blobs that no other image has, of blobs that others have too, and bytes that
    deleting it frees."""

    own: int
    shared: int
    marginal: int

    @property
    def size(self) -> int:
        """Bytes of the whole image."""
        return self.own + self.shared


class Collection:
    """All images of a run, their blobs and sources."""

    def __init__(self) -> None:
        self.members: list[ImageEntry] = []
        self.blobs: dict[str, StoredBlob] = {}
        self.sources: dict[ImageSource, None] = {}
        self.partial: set[str | None] = set()
        """Paths of sources that were not read as a whole."""
        self._by_key: dict[object, int] = {}
        self._texts: dict[str, str] = {}

    def find(self, key: object) -> ImageEntry | None:
        """Returns the image with a key, or None."""
        number = self._by_key.get(key)
        return self.members[number] if number is not None else None

    def add(self, key: object, member: ImageEntry) -> None:
        """Adds an image. `key`: equal for the same image in another place."""
        self._by_key[key] = member.number
        self.members.append(member)
        alone = (member.number,)
        for blob in member.blobs:
            blob.users = _with(blob.users, alone)
        for blob in member.keeps:
            blob.kept_by = _with(blob.kept_by, alone)

    def ordered(self) -> Collection:
        """Returns the same collection in the order of the command's references, without blobs of images that were not
        added. Nothing can be added to it."""
        self._by_key, self._texts = {}, {}
        orders = [place.order for member in self.members for place in member.places.values()]
        if all(one < other for one, other in pairwise(orders)):  # as if no registry, of which several images are read at a time
            unused = [key for key, blob in self.blobs.items() if not blob.users and not blob.kept_by]
            for key in unused:
                del self.blobs[key]
            return self
        same = Collection()
        for member in self.members:
            places = sorted(member.places.items(), key=lambda place: place[1].order)
            member.places.clear()
            member.places.update(places)
        for blob in self.blobs.values():
            blob.users, blob.kept_by, blob.created_by, blob.diff_id = (), (), None, None
        for number, member in enumerate(sorted(self.members, key=lambda one: one.first.order)):
            same.add(number, member._replace(number=number))
            for blob in (*member.named, *member.keeps):
                same.blobs.setdefault(blob.key, blob)
            for stack in member.platform_images:
                for layer, diff_id, created_by in zip(stack.layers, stack.diff_ids, stack.instructions, strict=True):
                    layer.created_by = layer.created_by or created_by
                    layer.diff_id = layer.diff_id or diff_id
        same.sources, same.partial = self.sources, self.partial
        return same

    def extend(self, key: object, other: ImageEntry) -> None:
        """Adds the images that another location has of an index that was added before."""
        known = self.members[self._by_key[key]]
        have, stacks = set(known.named), {tuple(stack.layers) for stack in known.platform_images}
        blobs = tuple(dict.fromkeys(blob for blob in other.named if blob not in have))
        more = tuple(stack for stack in other.platform_images if stack.layers not in stacks)
        if not blobs and not more:
            return
        self.members[known.number] = known._replace(
            platform_images=known.platform_images + more, layers=known.layers + sum(len(stack.layers) for stack in more),
            named=known.named + tuple(blob for blob in other.named if blob not in have),
        )  # fmt: skip
        for blob in blobs:
            blob.users = _with(blob.users, (known.number,))

    def text(self, value: str | None) -> str | None:
        """Returns one string object for equal strings, of which there are few, as platforms."""
        return None if value is None else self._texts.setdefault(value, value)

    def blob(self, key: str, digest: Digest | None, stated: int, kept: int | None) -> StoredBlob:
        """Returns the blob of a key; adds it if it is new. `kept`: bytes stored of it in one place; 0 if a document
        embeds it, None if it is missing."""
        found = self.blobs.get(key)
        if found is None:
            found = self.blobs[key] = StoredBlob(key, digest, stated)
        if kept is not None:
            found.present, found.size = True, max(found.size, kept)
        return found

    # Totals

    def layers(self) -> Iterator[StoredBlob]:
        """Returns every distinct layer."""
        return (blob for blob in self.blobs.values() if blob.is_layer)

    def referenced(self) -> tuple[int, int]:
        """Returns the number and bytes of layers, counted as often as images name them."""
        layers = size = 0
        for member in self.members:
            layers += member.layers
            size += sum(blob.size for blob in member.named)
        return layers, size

    def unique(self) -> int:
        """Returns the bytes of all blobs of images, each counted once."""
        return sum(blob.size for blob in self.blobs.values() if blob.users)

    def shares(self, member: ImageEntry) -> Usage:
        """Returns the usage of an image.

        Deleting frees less than its own bytes if an artifact that refers to it keeps them; and an artifact frees
        nothing as long as its subject stays for another reason.
        """
        blobs = member.blobs
        own = shared = 0
        for blob in blobs:
            if len(blob.users) == 1:
                own += blob.size
            else:
                shared += blob.size
        if any(subject.users or len(subject.kept_by) > 1 for subject in member.keeps[:1]):
            return Usage(own, shared, 0)
        frees = 0
        for blob in (*blobs, *member.keeps) if member.keeps else blobs:
            if len(blob.users) + len(blob.kept_by) <= 2 and {*blob.users, *blob.kept_by} == {member.number}:
                frees += blob.size
        return Usage(own, shared, frees)

    def references(self, numbers: Sequence[int]) -> list[str]:
        """Returns the references of images by their numbers."""
        return [self.members[number].reference for number in numbers]


def _with(numbers: Sequence[int], alone: tuple[int]) -> Sequence[int]:
    """Returns the numbers and another one. `alone`: a tuple of it, which all blobs share that nothing else needs."""
    if not numbers:
        return alone
    if not isinstance(numbers, list):
        return [*numbers, *alone]
    numbers.append(alone[0])
    return numbers


def location_of(blob: Blob) -> BlobLocation | None:
    """Returns the location of a blob in a file with a name; None if it has none."""
    if not isinstance(blob, FileBlob) or blob.path is None:
        return None
    return BlobLocation(os.path.abspath(blob.path), blob.offset, blob.identity)


def add_copy(stored: StoredBlob, blob: Blob, label: str) -> None:
    """Records a further copy of a layer on this machine, if it is not the same file. Registries keep one copy."""
    known = {stored.place.identity if stored.place is not None else None}
    known.update(one.place.identity for one in stored.copies if one.place is not None)
    if not blob.remote and (blob.identity is None or blob.identity not in known) and blob is not stored.blob:
        place = location_of(blob)
        stored.copies += (BlobCopy(label, place, blob if place is None else None),)
