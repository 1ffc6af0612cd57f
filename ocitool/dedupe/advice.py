"""What a collection could save beyond what it shares: advice, each with its bytes and the command for it.

The bytes are those by which the collection shrinks once the command was run and what it replaces is deleted (in a
layout, after `layout gc`). Archives share nothing on disk: what is saved there by sharing counts once everything is in
one layout, and `on_disk` is what the command saves at once. This module needs documents only; `actions` needs the
contents of layers.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

from ocitool import reference
from ocitool.dedupe.archive_merge import archive_merge
from ocitool.dedupe.bases import SharedBase
from ocitool.dedupe.collection import Collection, ImageEntry, ImageRef, PlatformImage, StoredBlob
from ocitool.dedupe.commands import (
    command_line,
    delete_commands,
    destination,
    replaceable,
    rewritable,
    rewrite_commands,
    shell_word,
    short_list,
    single,
)
from ocitool.dedupe.disk_usage import DiskUsage, documents
from ocitool.digest import Digest
from ocitool.errors import OcitoolError
from ocitool.transports.layout_store import StoredFile, blob_files

if TYPE_CHECKING:
    from ocitool.dedupe.rebuild_check import RebuildCheck  # with all of `rebuild`, which documents alone do not need

AdviceKind = Literal["rebase", "rebuild", "recompress", "squash", "repeated", "zstd", "contained", "link", "store"]


class Advice(NamedTuple):
    """One piece of advice.

    - images: references of the images it is about. saves: bytes; estimated: they are not a sum of stored sizes.
    - on_disk: bytes that are saved at once, if that is not all.
    - deletes, changes, needs: numbers of the images that it deletes, changes, and needs unchanged.
    - instead: positions in the report of advice that cannot be followed as well, because it deletes or changes the same
      images.
    """

    kind: AdviceKind
    saves: int
    images: tuple[str, ...]
    text: str
    command: str
    estimated: bool = False
    on_disk: int | None = None
    deletes: frozenset[int] = frozenset()
    changes: frozenset[int] = frozenset()
    needs: frozenset[int] = frozenset()
    instead: tuple[int, ...] = ()


class EqualLayers(NamedTuple):
    """Layers with one diff_id that are stored as several blobs, the smallest first."""

    diff_id: str
    blobs: tuple[StoredBlob, ...]
    users: tuple[int, ...]


def advise_from_documents(
    collection: Collection, bases: Sequence[SharedBase], equal: Sequence[EqualLayers], disk: DiskUsage, *, read: bool = False
) -> Iterator[Advice]:
    """Yields advice from documents alone.

    Every command verifies what it keeps before it deletes anything. `read`: all layers were verified in this run, so
    that no command must do it first.
    """
    yield from _recompressed(collection, equal, disk)
    yield from _rebased(collection, bases, disk)
    yield from _contained(collection, bases, disk, read=read)
    yield from _linked(collection)
    yield from _stored(collection)


def ordered_by_saving(advice: Iterable[Advice]) -> list[Advice]:
    """Returns the advice with the largest saving first, each with the positions of earlier advice that excludes it.

    Of two that delete or change one image, only one saves what it says; and a deleted image cannot be used for
    anything.
    """
    ordered = []
    deleted: dict[int, list[int]] = {}
    changed: dict[int, list[int]] = {}
    needed: dict[int, list[int]] = {}
    found = sorted((one for one in advice if one.saves > 0), key=lambda one: (-one.saves, one.kind, one.images))
    for at, one in enumerate(found):
        other: dict[int, None] = {}
        for numbers, before in (
            (one.deletes, (deleted, changed, needed)), (one.changes, (deleted, changed)), (one.needs, (deleted,)),
        ):  # fmt: skip
            for number in numbers:
                for table in before:
                    other.update(dict.fromkeys(table.get(number, ())))
        for numbers, table in ((one.deletes, deleted), (one.changes, changed), (one.needs, needed)):
            for number in numbers:
                table.setdefault(number, []).append(at)
        ordered.append(one._replace(instead=tuple(sorted(other))))
    return ordered


def freed(blobs: Iterable[StoredBlob], going: set[int]) -> int:
    """Returns the bytes of the blobs that only these images need."""
    return sum(blob.size for blob in blobs if not blob.kept_by and going.issuperset(blob.users))


def rebuild_advice(
    collection: Collection,
    kind: AdviceKind,
    dropped: Iterable[tuple[StoredBlob, StoredBlob]],
    why: str,
    disk: DiskUsage,
    check: RebuildCheck | None = None,
    doubtful: Container[StoredBlob] = (),
) -> Iterator[Advice]:
    """Yields advice to rebuild images with layers of another image: `dropped` holds (dropped, kept) pairs, grouped by
    the images that need the dropped layers.

    `why`: a sentence with a place for `{keeper}`. `doubtful`: dropped layers that may differ in more than times, so that
    `check` must try it.
    """
    pairs = [one for one in dropped if not one[0].kept_by and all(rewritable(collection.members[at]) for at in one[0].users)]
    keepers = _keepers(collection, pairs)
    groups: dict[tuple[tuple[int, ...], int], list[tuple[StoredBlob, StoredBlob]]] = {}
    for gone, kept in pairs:
        if (gone, kept) in keepers:
            groups.setdefault((tuple(gone.users), keepers[gone, kept]), []).append((gone, kept))
    for (users, number), found in groups.items():
        globs: Mapping[int, Sequence[str]] = {}
        if check is not None and any(gone in doubtful for gone, _ in found):
            found, globs = check.confirmed(users, number, found)
            if not found:
                continue
        size = sum(gone.size for gone, _ in found)
        members, keeping = [collection.members[one] for one in users], collection.members[number].reference
        references = tuple(one.reference for one in members)
        commands = []
        for one in members:
            ignored = "".join(f" --ignore-path {shell_word(glob)}" for glob in globs.get(one.number, ()))
            commands += rewrite_commands("rebuild", [one], f"--against {shell_word(keeping)}{ignored}")
        text = f"{short_list(references)}: {why.format(keeper=keeping)}"
        if volatile := dict.fromkeys(glob for one in globs.values() for glob in one):
            text += f", but for {', '.join(volatile)}, which stay as they are there"
        at_once = None
        if not disk.in_one_store((*users, number)):
            changing = set(users)
            at_once = max(0, disk.saved_by_replacing(changing, changing, *map(dict.fromkeys, zip(*found, strict=True))))
        yield Advice(
            kind, size, references, text, command_line(commands, members), any(map(_gets_manifest, members)), at_once,
            changes=frozenset(users),
            needs=frozenset((number,)),
        )  # fmt: skip


def _keepers(
    collection: Collection, pairs: Sequence[tuple[StoredBlob, StoredBlob]]
) -> dict[tuple[StoredBlob, StoredBlob], int]:
    """Returns, for each pair, the image to take the kept layer from: the one that has most of what the same images
    need, so that one command suffices."""
    wanted: dict[tuple[int, ...], list[tuple[StoredBlob, StoredBlob]]] = {}
    for gone, kept in pairs:
        wanted.setdefault(tuple(gone.users), []).append((gone, kept))
    found: dict[tuple[StoredBlob, StoredBlob], int] = {}
    for users, together in wanted.items():
        mine, most = set(users), Counter[int]()
        having = {
            kept: [number for number in kept.users if number not in mine and single(collection.members[number])]
            for _, kept in together
        }
        for gone, kept in together:
            most.update(dict.fromkeys(having[kept], gone.size))
        for gone, kept in together:
            if having[kept]:
                found[gone, kept] = max(having[kept], key=lambda number: (most[number], -number))
    return found


# The kinds


def equal_uncompressed(collection: Collection) -> list[EqualLayers]:
    first: dict[str, StoredBlob] = {}
    found: dict[str, list[StoredBlob]] = {}
    for blob in collection.layers():
        if blob.diff_id is not None and blob.present and (other := first.setdefault(blob.diff_id, blob)) is not blob:
            found.setdefault(blob.diff_id, [other]).append(blob)
    equal = []
    for diff_id, alike in found.items():
        blobs = [blob for blob in alike if digest_of(blob) is not None]
        if len(blobs) > 1:
            blobs.sort(key=lambda blob: (blob.size, blob.key))
            users = dict.fromkeys(number for blob in blobs for number in blob.users)
            equal.append(EqualLayers(diff_id, tuple(blobs), tuple(sorted(users))))
    return sorted(equal, key=lambda one: (-sum(blob.size for blob in one.blobs[1:]), one.diff_id))


def digest_of(layer: StoredBlob) -> Digest | None:
    """Returns the digest of a layer's stored bytes; for an uncompressed layer of an archive without digests, its
    diff_id."""
    return layer.digest or (Digest.parse(layer.diff_id) if layer.codec == "none" and layer.diff_id else None)


def _recompressed(collection: Collection, equal: Sequence[EqualLayers], disk: DiskUsage) -> Iterator[Advice]:
    """Yields advice about images that store equal layers with different compression; the blobs that take the least in
    total are kept."""
    groups: dict[tuple[tuple[int, ...], ...], list[EqualLayers]] = {}
    for one in equal:
        groups.setdefault(tuple(sorted(tuple(blob.users) for blob in one.blobs)), []).append(one)
    pairs: list[tuple[StoredBlob, StoredBlob]] = []
    for together in groups.values():
        sizes: Counter[tuple[int, ...]] = Counter()
        for blob in (blob for one in together for blob in one.blobs):
            sizes[tuple(blob.users)] += blob.size
        least = min(sizes, key=lambda users: (sizes[users], users))
        for one in together:
            kept = next(blob for blob in one.blobs if tuple(blob.users) == least)
            pairs += ((blob, kept) for blob in one.blobs if blob is not kept)
    why = "layers that {keeper} stores in another compression; its blobs serve for both"
    yield from rebuild_advice(collection, "recompress", pairs, why, disk)


def _rebased(collection: Collection, bases: Sequence[SharedBase], disk: DiskUsage) -> Iterator[Advice]:
    """Yields advice about images on an older build of a base, if a newer build is in the collection."""
    families: dict[object, list[tuple[ImageEntry, SharedBase]]] = {}
    for base in bases:
        if len(base.exact_users) == len(base.users):
            continue
        members = (collection.members[number] for number in base.exact_users)
        member = next((one for one in members if single(one)), None)  # of equal layers, one is as good as another
        if member is not None:
            for family in _families(member, member.platform_images[0]):
                families.setdefault(family, []).append((member, base))
    newest = _newest_alone(collection, families)
    done: set[tuple[int, int]] = set()
    for family, builds in families.items():
        new = newest.get(family)
        for old, base in builds if new is not None else ():
            assert new is not None
            if (old.number, new.number) in done or not _is_newer(new, old) or _begins_with(new, base):
                continue
            apps = (collection.members[number] for number in base.users if number not in base.exact_users)
            moving = [one for one in apps if _moves(one, base, new)]
            if not moving:
                continue
            done.add((old.number, new.number))
            yield _rebase(old, new, base, moving, disk)


def _rebase(old: ImageEntry, new: ImageEntry, base: SharedBase, moving: Sequence[ImageEntry], disk: DiskUsage) -> Advice:
    references = tuple(one.reference for one in moving)
    option = f"--old-base {shell_word(old.reference)} --new-base {shell_word(new.reference)}"
    commands = rewrite_commands("rebase", moving, option)
    removal = delete_commands(old)
    going = {one.number for one in (old, *moving)}
    stays = new.blobs
    gone = [blob for blob in old.blobs if blob not in stays]
    text = f"{short_list(references)}: on {old.reference}, an older build of {new.reference}, "
    text += "which then can go" if removal is not None else "to be deleted at the registry then"
    commands += removal or ()
    at_once = None
    if not disk.in_one_store((*going, new.number)):
        goes = disk.freed_by_deleting({old.number}) if removal is not None else 0
        changing = {one.number for one in moving}
        without = going if removal is not None else changing
        layers = dict.fromkeys(base.layers), dict.fromkeys(new.platform_images[0].layers)
        at_once = max(0, goes + disk.saved_by_replacing(changing, without, *layers))
    return Advice(
        "rebase", freed(gone, going), references, text, command_line(commands, [old, *moving]), False, at_once,
        deletes=frozenset((old.number,)), changes=frozenset(one.number for one in moving), needs=frozenset((new.number,)),
    )  # fmt: skip


def _families(member: ImageEntry, stack: PlatformImage) -> Iterator[object]:
    """Yields keys that builds of one base have in common: a full name, or all instructions."""
    for tag in member.first.tags:
        if not reference.is_bare(tag):
            yield "name", stack.platform, reference.qualified(tag)
    if stack.instructions_hash is not None:
        yield "made", stack.platform, stack.instructions_hash, stack.base[0]


def _newest_alone(
    collection: Collection, families: dict[object, list[tuple[ImageEntry, SharedBase]]]
) -> dict[object, ImageEntry]:
    """Returns the newest image of each family, also one that no image is based on yet."""
    newest: dict[object, ImageEntry] = {}
    for member in collection.members if families else ():
        if not single(member):
            continue
        for family in _families(member, member.platform_images[0]):
            if family in families and _created(member) and (family not in newest or _is_newer(member, newest[family])):
                newest[family] = member
    return newest


def _begins_with(member: ImageEntry, base: SharedBase) -> bool:
    """Returns whether the image is based on the base itself, so that it is not another build of it."""
    return any(member.number == number for number in base.users)


def _moves(member: ImageEntry, base: SharedBase, new: ImageEntry) -> bool:
    """Returns whether an image is based on the old base and not on the new one too, and can be rewritten."""
    if not rewritable(member) or not member.platform_images[0].states_all_diff_ids:
        return False
    mine, theirs = member.platform_images[0].diff_ids, new.platform_images[0].diff_ids
    return mine[: len(theirs)] != theirs and len(mine) > len(base.layers)


def _created(member: ImageEntry) -> datetime | None:
    """Returns the time that an image states; None if it states none that can be compared."""
    text = member.platform_images[0].created
    try:
        moment = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return moment if moment is not None and moment.tzinfo is not None else None


def _is_newer(member: ImageEntry, other: ImageEntry) -> bool:
    made, before = _created(member), _created(other)
    return made is not None and before is not None and made > before


def _contained(collection: Collection, bases: Sequence[SharedBase], disk: DiskUsage, *, read: bool) -> Iterator[Advice]:
    for base in bases:
        if len(base.exact_users) == len(base.users):
            continue
        holder = collection.members[next(number for number in base.users if number not in base.exact_users)]
        members = [collection.members[number] for number in base.exact_users]
        members = [one for one in members if one.kind == "image" and delete_commands(one) is not None]
        going = frozenset(one.number for one in members)
        saves = disk.freed_by_deleting(going) if members else 0
        if saves:
            commands = [command for one in members for command in delete_commands(one) or ()]
            if not read and not disk.in_one_store((*going, holder.number)):  # else they are the same files
                commands.insert(0, f"ocitool validate {shell_word(holder.reference)}")
            references = tuple(one.reference for one in members)
            text = f"{short_list(references)}: every layer is in {holder.reference} as well; if it is not run, it can go"
            yield Advice(
                "contained",
                saves,
                references,
                text,
                command_line(commands, members),
                deletes=going,
                needs=frozenset((holder.number,)),
            )


def _linked(collection: Collection) -> Iterator[Advice]:
    """Yields advice about blobs that several layouts on one file system have: `layout link` makes one file of them."""
    paths = list(dict.fromkeys(site.path for site in collection.sources if site.transport.store and site.path is not None))
    groups: dict[object, list[tuple[str, StoredFile]]] = {}
    for path in paths if len(paths) > 1 else ():
        with suppress(OcitoolError):  # what of it is needed was read, or named as a problem
            for file in blob_files(path).blobs:
                groups.setdefault((file.digest, file.key[0], file.mode, file.owner), []).append((path, file))
    saves = 0
    used: dict[str, None] = {}
    for (where, first), *others in groups.values():
        left: dict[tuple[int, int], int] = {}
        for path, file in others:
            if file.key == first.key:
                continue
            left[file.key] = left.get(file.key, file.links) - 1
            if not left[file.key]:
                saves += file.size
                used[path] = used[where] = None
    if saves:
        named = [path for path in paths if path in used]
        text = f"{short_list(named)}: equal blobs that `layout link` joins to one file each"
        yield Advice("link", saves, (), text, "ocitool layout link " + " ".join(map(shell_word, named)))


def _convertible(collection: Collection, layers: Iterable[StoredBlob]) -> set[int]:
    """Returns the images that can be converted in place, so that nothing needs their gzip layers any more."""
    found = {
        member.number for member in collection.members
        if all(replaceable(named, whole=True) for named in member.places.values())
    }  # fmt: skip
    waiting = list(layers)
    while waiting:
        layer = waiting.pop()
        if layer.kept_by or not found.issuperset(layer.users):
            for number in found.intersection(layer.users):
                found.discard(number)
                waiting += (one for stack in collection.members[number].platform_images for one in stack.layers)
    return found


def _converted(named: ImageRef, option: str, *, whole: bool) -> str:
    """Returns the command that converts everything in a place, or (not `whole`, and at a registry) what has this name."""
    path = named.source.path
    if path is None or not whole:
        return f"ocitool copy {option} {shell_word(named.reference)} {destination(named)}"
    return f"ocitool copy {option} {shell_word(path)} {destination(named._replace(tags=()))}"


def _stored(collection: Collection) -> Iterator[Advice]:
    """Yields advice to put archives with common blobs into one layout."""
    merge = archive_merge(collection)
    if merge is None or (merge.into is None and len(merge.sizes) < 2):
        return
    members = [collection.members[number] for number in merge.moved if number not in merge.there]
    needed = dict.fromkeys(blob for one in members for blob in one.named)
    written = [blob for blob in needed if merge.there.isdisjoint(blob.users)]
    saves = sum(merge.sizes.values()) - sum(blob.size for blob in written)
    saves -= documents(members) if members else 0
    if saves <= 0 or not all(blob.present for blob in written):
        return
    quoted = " ".join(shell_word(str(path)) for path in merge.sizes)
    what = f"{len(merge.sizes):,} archives" if len(merge.sizes) > 1 else "1 archive"
    where = "a layout" if merge.into is None else f"the layout {merge.into}"
    text = f"{what}: {where} keeps each of their blobs once"
    target = _new("store") if merge.into is None else shell_word(merge.into.rstrip("/"))
    command = f"ocitool copy --all-platforms {quoted} {target}/ && rm {quoted}"
    about = any(map(_gets_manifest, members))
    yield Advice("store", saves, tuple(merge.references), text, command, about, needs=frozenset(merge.moved))


def _gets_manifest(member: ImageEntry) -> bool:
    """Returns whether the image gets a manifest only when it is written: `docker save` archives have none, so its size is not
    known."""
    return not all(named.source.transport.manifests for named in member.places.values())


def _new(name: str) -> str:
    """Returns a file name that does not exist yet."""
    others = (f"{name}-{number}" for number in itertools.count(2))
    return next(one for one in itertools.chain((name,), others) if not os.path.lexists(one))


def as_zstd(
    collection: Collection, layers: Sequence[StoredBlob], sizes: Mapping[StoredBlob, int], level: int, disk: DiskUsage
) -> Iterator[Advice]:
    """Yields advice to store gzip layers as zstd, from the compressed sizes of some or all of them. Layers of images
    that cannot be converted do not count."""
    members = _convertible(collection, layers)
    layers = [layer for layer in layers if not layer.kept_by and members.issuperset(layer.users)]
    sizes = {layer: sizes[layer] for layer in layers if layer in sizes}
    gzip = sum(layer.size for layer in layers)
    known = sum(layer.size for layer in sizes)
    if not known:
        return
    saves = round((known - sum(sizes.values())) * gzip / known)
    images = [collection.members[number] for number in sorted({number for layer in layers for number in layer.users})]
    option = f"--all-platforms --compression zstd:{level}"
    others = (one for one in collection.members if one.number not in members)
    mixed = {named.source.path for one in others for named in one.places.values()}
    places = [named for one in images for named in one.places.values()]
    commands = list(dict.fromkeys(_converted(named, option, whole=named.source.path not in mixed) for named in places))
    text = f"{gzip:,} bytes of gzip layers as zstd:{level}; "
    if len(sizes) == len(layers):
        text += "all of them were compressed to know"
    else:
        text += f"estimated from {len(sizes):,} of {len(layers):,}, which are {known:,} bytes"
    text += ". Engines and registries older than 2021 refuse zstd"
    references = tuple(one.reference for one in images)
    at_once = None
    if not disk.is_one_store:  # each archive has its own copy of what they have in common
        at_once = round(saves * sum(layer.size * disk.copies(layer) for layer in layers) / gzip)
    changes = frozenset(one.number for one in images)
    yield Advice(
        "zstd", saves, references, text, command_line(commands, images), len(sizes) < len(layers), at_once, changes=changes
    )
