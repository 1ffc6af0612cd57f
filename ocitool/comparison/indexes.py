"""Two indexes side by side: the counterparts of their images, and other differences of the documents.

An image is identified by its whole platform. Several entries of one platform are paired by digest, annotations and
position, so that each has at most one counterpart; an entry without one is on one side only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Hashable, Iterator, Sequence
from typing import Any, NamedTuple

from ocitool.comparison.config_changes import objects
from ocitool.comparison.result import ConfigChange, NotCompared
from ocitool.digest import Digest
from ocitool.images import platform_choice
from ocitool.images.image import Image
from ocitool.images.index_children import IndexChild
from ocitool.images.platforms import normalized, stable_version
from ocitool.images.select import Target
from ocitool.spec.manifest import ATTESTATION_SUBJECT, Descriptor, Platform, with_names
from ocitool.transports.opening import Opened

_OF_CONTENT = {"digest", "size", "mediaType", "data", "urls"}
"""Members of a descriptor that follow from the manifest, which is compared itself."""


class PlatformEntry(NamedTuple):
    """An image of one side: of an `entry` of an index, or the single `image` that a reference names."""

    platform: Platform
    digest: Digest | None
    entry: IndexChild | None
    image: Image | None


Counterparts = Sequence[tuple[PlatformEntry | None, PlatformEntry | None]]


def platform_entries(opened: Opened, target: Target, *, read: bool) -> list[PlatformEntry]:
    """Returns the images of a target in its order. Without `read`, nothing but the index is requested from a registry."""
    source = opened.source
    if target.image is not None:
        return [PlatformEntry(target.image.platform, target.image.digest, None, target.image)]
    if read or not source.remote:
        return [
            PlatformEntry(platform, one.descriptor.digest, one, None)
            for platform, one in platform_choice.platforms(source, target)
        ]
    return [
        PlatformEntry(one.descriptor.platform or Platform(None, None, None), one.descriptor.digest, one, None)
        for one in target.entries
        if one.stated_kind == "image"
    ]


def counterparts(
    before: Sequence[PlatformEntry], after: Sequence[PlatformEntry]
) -> list[tuple[PlatformEntry | None, PlatformEntry | None]]:
    """Returns pairs of counterparts in which each image of either side occurs once: those of the before side in order, then
    the added ones. The other half of a pair is None if it has none."""
    partner: dict[int, int] = {}
    free = dict(enumerate(after))
    for key in _KEYS:
        places: dict[Hashable, deque[int]] = {}
        for place, offer in free.items():
            places.setdefault(key(offer), deque()).append(place)
        for number, offer in enumerate(before):
            found = places.get(key(offer)) if number not in partner else None
            if found:
                partner[number] = found.popleft()
                del free[partner[number]]
    pairs: list[tuple[PlatformEntry | None, PlatformEntry | None]] = [
        (offer, after[partner[number]] if number in partner else None) for number, offer in enumerate(before)
    ]
    return [*pairs, *((None, offer) for offer in free.values())]


def _annotations(offer: PlatformEntry) -> frozenset[tuple[str, str]]:
    return frozenset() if offer.entry is None else frozenset(offer.entry.descriptor.annotations.items())


def _of_build(offer: PlatformEntry) -> Platform:
    platform = normalized(offer.platform)
    return platform._replace(os_version=stable_version(platform.os_version))


_KEYS: tuple[Callable[[PlatformEntry], Hashable], ...] = (
    lambda offer: (normalized(offer.platform), offer.digest),
    lambda offer: (normalized(offer.platform), _annotations(offer)),
    lambda offer: normalized(offer.platform),
    _of_build,
)
"""Images with an equal key are counterparts; the strictest key is tried first. The last one pairs Windows builds, which
change monthly."""


def not_compared(
    before: Sequence[PlatformEntry], after: Sequence[PlatformEntry], old: Image, new: Image
) -> Iterator[NotCompared]:
    """Yields images of two indexes, other than the two compared ones, whose stated digests differ from their
    counterparts'."""
    for a, b in counterparts(_without(before, old), _without(after, new)):
        one, other = a and a.digest, b and b.digest
        if a is None and b is not None:
            yield NotCompared(b.platform, "added", None, other)
        elif a is not None and b is None:
            yield NotCompared(a.platform, "removed", one, None)
        elif b is not None and one != other:
            yield NotCompared(b.platform, "changed", one, other)


def _without(entries: Sequence[PlatformEntry], image: Image) -> list[PlatformEntry]:
    position = next((n for n, entry in enumerate(entries) if entry.digest == image.digest), None)
    return [entry for n, entry in enumerate(entries) if n != position]


def changes(
    before: tuple[Opened, Target], after: tuple[Opened, Target], pairs: Counterparts, *, semantic: bool
) -> Iterator[ConfigChange]:
    """Yields differences of two index documents, apart from the manifests they list. Positions count all entries, with
    nested indexes replaced by their entries. Names, and attestations of images that changed, are left out."""
    (old_opened, old), (new_opened, new) = before, after
    if old.document is None or new.document is None:
        return
    if old.document is not old_opened.source.index and new.document is not new_opened.source.index:
        skip = {"manifests", "schemaVersion"} | ({"mediaType"} if semantic else set())
        yield from objects("index", "", old.document.fields, new.document.fields, skip)
    places = {id(entry): place for place, entry in enumerate(new.entries)}
    both = [(a.entry, b.entry) for a, b in pairs if a is not None and b is not None and a.entry and b.entry]
    for one, other in both:
        fields = (with_names(one.descriptor.fields, {}), with_names(other.descriptor.fields, {}))
        yield from objects("index", f"/manifests/{places[id(other)]}", *fields, _OF_CONTENT)
    was = {id(entry): place for place, entry in enumerate(old.entries)}
    order = [places[id(other)] for _, other in sorted(both, key=lambda pair: was[id(pair[0])])]
    if order != sorted(order) and not semantic:
        sides = (
            [str(entry.descriptor.digest) for entry in target.entries if entry.stated_kind == "image"] for target in (old, new)
        )
        yield ConfigChange("index", "/manifests", None, "modified", *sides)
    unreadable = [[one.value for one in document.invalid] for document in (old.document, new.document)]
    if unreadable[0] != unreadable[1]:
        yield ConfigChange("index", "/manifests", None, "modified", *unreadable)
    yield from _rest(old, new, pairs)


def _rest(old: Target, new: Target, pairs: Counterparts) -> Iterator[ConfigChange]:
    """Yields differences of the entries that are not images: attestations and artifacts."""
    pair_of: list[dict[str, int]] = [{}, {}]
    """For each side, the number of the pair by the digest of its image."""
    one_sided = set()
    for number, pair in enumerate(pairs):
        if None in pair:
            one_sided.add(number)
        for subjects, offer in zip(pair_of, pair, strict=True):
            if offer is not None:
                subjects.setdefault(str(offer.digest), number)
    images = {id(offer.entry) for pair in pairs for offer in pair if offer is not None}
    a, b = (_grouped(target, images, subjects) for target, subjects in zip((old, new), pair_of, strict=True))
    for key in dict.fromkeys((*a, *b)):
        if key in one_sided:
            continue  # it was added or removed with its image
        mine, theirs = a.get(key, []), b.get(key, [])
        for (_, one), (place, other) in zip(mine, theirs, strict=False):
            if one.digest != other.digest and _subject(one) == _subject(other):
                yield ConfigChange("index", f"/manifests/{place}/digest", None, "modified", str(one.digest), str(other.digest))
        for place, one in mine[len(theirs) :]:
            yield ConfigChange("index", f"/manifests/{place}", None, "removed", _plain(one), None)
        for place, one in theirs[len(mine) :]:
            yield ConfigChange("index", f"/manifests/{place}", None, "added", None, _plain(one))


def _grouped(target: Target, images: Container[int], subjects: dict[str, int]) -> dict[object, list[tuple[int, Descriptor]]]:
    """Returns the entries that are not images, with their positions: attestations by the image they are about, others
    by their type."""
    found: dict[object, list[tuple[int, Descriptor]]] = {}
    for place, entry in enumerate(target.entries):
        one = entry.descriptor
        if entry.stated_kind == "attestation":
            subject = _subject(one) or ""
            found.setdefault(subjects.get(subject, subject), []).append((place, one))
        elif entry.stated_kind != "index" and id(entry) not in images:
            platform = one.platform and normalized(one.platform)
            found.setdefault((one.media_type, str(one.fields.get("artifactType")), platform), []).append((place, one))
    return found


def _subject(one: Descriptor) -> str | None:
    return one.annotations.get(ATTESTATION_SUBJECT)


def _plain(one: Descriptor) -> dict[str, Any]:
    return dict(one.fields)
