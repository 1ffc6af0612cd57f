"""Advice that needs the contents of layers: files that are stored twice, and layers that differ in details only.

The bytes that files take in their layers are measured by compressing them, which is done only if an estimate shows that
rewriting the image is worth it.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ocitool.dedupe.advice import Advice, AdviceKind, rebuild_advice
from ocitool.dedupe.collection import Collection, ImageEntry, PlatformImage, StoredBlob
from ocitool.dedupe.commands import command_line, repack_commands, rewritable, rewrite_commands, shell_word
from ocitool.dedupe.disk_usage import DiskUsage
from ocitool.dedupe.rebuild_check import RebuildCheck
from ocitool.dedupe.repeated_files import DistinctContents, hash_of_rows
from ocitool.layers import codecs
from ocitool.layers.entry import Entry, Kind, shown_path
from ocitool.layers.index import LayerIndex
from ocitool.limits import KiB
from ocitool.pipeline.layer_identity import instruction
from ocitool.pipeline.session import Session
from ocitool.trees.compare import Key, compare, rows_by_path
from ocitool.trees.nodes import Directory
from ocitool.trees.tree import Tree, node_at
from ocitool.trees.waste import waste
from ocitool.volatile import volatile_class

Recall = Callable[[StoredBlob], LayerIndex | None]
"""A function from a layer to its index; None if it could not be read."""

Files = Sequence[tuple[StoredBlob, tuple[Entry, ...]]]
"""Layers, each with some of its files."""


class _Guess(NamedTuple):
    """Possible advice: if its files take at least `least` bytes, `advice` makes it from the measured bytes."""

    files: Files
    least: int
    advice: Callable[[int], Advice]


_LEAST, _SHARE = 64 * KiB, 0.02
"""Bytes, and share of the image's own bytes, below which rewriting an image is not worth it."""

_MAX_LINKS = 20
"""Most files that one piece of advice links."""


def advise_from_contents(
    collection: Collection,
    contents: DistinctContents,
    recall: Recall,
    measure: Callable[[Files], Sequence[int]],
    disk: DiskUsage,
    session: Session,
) -> Iterator[Advice]:
    """Yields the advice. `measure` returns the bytes that files take in their layers."""
    yield from _rebuilt(collection, contents, recall, disk, session)
    guesses = [
        guess for member in collection.members if rewritable(member)
        for guess in _of_image(member, member.platform_images[0], contents, recall)
    ]  # fmt: skip
    sizes = iter(measure([one for guess in guesses for one in guess.files]))
    for guess in guesses:
        saves = sum(min(next(sizes), layer.size) for layer, _ in guess.files)
        if saves >= guess.least:
            yield guess.advice(saves)


def _rebuilt(
    collection: Collection, contents: DistinctContents, recall: Recall, disk: DiskUsage, session: Session
) -> Iterator[Advice]:
    """Yields advice about layers with equal entries, apart from times and volatile files."""
    pairs: list[tuple[StoredBlob, StoredBlob]] = []
    for alike in contents.equal_but_times.values():
        kept: list[StoredBlob] = []
        for layer in sorted(alike, key=lambda layer: ([*layer.users[:1]], layer.key)):
            other = next((one for one in kept if _equal(one, layer, recall)), None)
            if other is None:
                kept.append(layer)
            elif other.diff_id != layer.diff_id:
                pairs.append((layer, other))
    dropped = {gone for gone, _ in pairs}
    nearly = [(gone, stays) for gone, stays in _nearly_equal(contents, recall) if not dropped & {gone, stays}]
    why = "layers that differ from those of {keeper} in times alone"
    check = RebuildCheck(collection, recall, session)
    yield from rebuild_advice(collection, "rebuild", [*pairs, *nearly], why, disk, check, {gone for gone, _ in nearly})


def _nearly_equal(contents: DistinctContents, recall: Recall) -> Iterator[tuple[StoredBlob, StoredBlob]]:
    """Yields layers of one instruction that may be equal apart from times and volatile files: the layer that can be dropped,
    and the one that stays. Time is linear in the entries of layers whose instruction others have too."""
    made: dict[str, list[StoredBlob]] = {}
    for layer in contents.timeless_hashes:
        line = instruction(layer.created_by)
        if line and layer.size >= _LEAST:
            made.setdefault(line, []).append(layer)
    for layers in made.values():
        if len({contents.timeless_hashes[layer] for layer in layers}) < 2:
            continue
        alike: dict[int, list[StoredBlob]] = {}
        for layer in sorted(layers, key=lambda layer: ([*layer.users[:1]], layer.key)):
            index = recall(layer)
            if index is not None:
                rows = [row for row, path in enumerate(index.paths) if volatile_class(path) is not None]
                alike.setdefault(contents.timeless_hashes[layer] - hash_of_rows(index, rows), []).append(layer)
        for kept, *others in alike.values():
            yield from ((gone, kept) for gone in others if contents.timeless_hashes[gone] != contents.timeless_hashes[kept])


def _equal(one: StoredBlob, other: StoredBlob, recall: Recall) -> bool:
    if one.diff_id is not None and one.diff_id == other.diff_id:
        return True
    a, b = recall(one), recall(other)
    return a is not None and b is not None and not compare(a, b, ("mtime",))


class _Suspect(NamedTuple):
    """An image that may store files twice, with the indexes of its layers. `own`: for each layer, whether no other image or
    artifact needs it."""

    member: ImageEntry
    image: PlatformImage
    indexes: list[LayerIndex]
    own: list[bool]


def _of_image(member: ImageEntry, image: PlatformImage, contents: DistinctContents, recall: Recall) -> Iterator[_Guess]:
    own = [[*layer.users] == [member.number] and not layer.kept_by for layer in image.layers]
    least = max(_LEAST, round(_SHARE * sum(layer.size for layer, mine in zip(image.layers, own, strict=True) if mine)))
    copied, repeated = _may_repeat(image, contents)
    if max(copied, repeated) < least or not any(own):
        return
    indexes = [index for layer in image.layers if (index := recall(layer)) is not None]
    if len(indexes) < len(image.layers):
        return
    suspect = _Suspect(member, image, indexes, own)
    if copied >= least:
        yield from _copied(suspect, least)
    if repeated >= least:
        yield from _repeated(suspect, least)


def _may_repeat(image: PlatformImage, contents: DistinctContents) -> tuple[int, int]:
    """Returns the bytes that layers of an image may store again, under the same path and under any: an upper bound, to
    skip most images."""
    paths: dict[int, int] = {}
    texts: dict[int, int] = {}
    copied = repeated = 0
    for layer in image.layers:
        for (path, text), size in contents.large_files.get(layer, {}).items():
            if path in paths:
                copied += size
            elif text in texts:
                repeated += size
            paths[path] = texts[text] = size
    return copied, repeated


def _copied(suspect: _Suspect, least: int) -> Iterator[_Guess]:
    """Yields advice about layers that store again what a lower layer has, with another mode, owner or time: the cost of
    copy-on-write."""
    member, image, indexes, own = suspect
    found: dict[int, list[Entry]] = {}
    lowest = len(indexes)
    tables: dict[int, dict[Key, int]] = {}
    for one in waste(indexes, lambda number, index, rows: index, 0).hidden:
        if one.kind != "copied-up" or not own[one.by]:
            continue
        index = indexes[one.by]
        if one.by not in tables:
            tables[one.by] = rows_by_path(index)
        row = tables[one.by].get(one.path)
        if row is not None and index.kinds[row] == Kind.FILE and row not in index.sparse:
            found.setdefault(one.by, []).append(index.entry(row))
            lowest = min(lowest, one.layer)
    size = sum(entry.size for entries in found.values() for entry in entries)
    if _estimated(suspect, found) < least:
        return
    files = [(image.layers[by], tuple(entries)) for by, entries in found.items()]
    which = ", ".join(map(str, sorted(found)))
    text = f"{member.reference}: {size:,} bytes that layer {which} copies without changing them"
    if all(own[lowest:]):
        options = f"--from {lowest}" + _compression(image.layers[lowest:])
        command = command_line(rewrite_commands("squash", [member], options), [member])
    else:
        text += "; a squash would end the sharing of lower layers: fix the instruction (COPY --chmod, --chown)"
        command = f"ocitool inspect --files {shell_word(member.reference)}"
    yield _Guess(files, least, lambda saves: _inside("squash", saves, member, text, command))


def _inside(kind: AdviceKind, saves: int, member: ImageEntry, text: str, command: str) -> Advice:
    """Returns advice on a saving inside one image, wherever the image is."""
    return Advice(kind, saves, (member.reference,), text, command, True, changes=frozenset((member.number,)))


def _estimated(suspect: _Suspect, files: Mapping[int, Sequence[Entry]]) -> float:
    """Returns an estimate of the bytes that files take in their layers, by the compression ratio of each whole layer."""
    found = 0.0
    for number, entries in files.items():
        plain = suspect.indexes[number].size
        found += sum(entry.size for entry in entries) * suspect.image.layers[number].size / plain if plain else 0
    return found


class _DuplicateFile(NamedTuple):
    """A file with the content of another one, `first`. `hard`: both are in one layer, so they could be hard links."""

    first: bytes
    path: bytes
    layer: int
    entry: Entry
    hard: bool


def _repeated(suspect: _Suspect, least: int) -> Iterator[_Guess]:
    """Yields advice about files that occur several times in the merged tree, and could be links. Paths that several
    layers write are ignored."""
    member, image, indexes, _ = suspect
    files = sorted(_duplicates(suspect, Tree(indexes)), key=lambda one: (-one.entry.size, one.path))[:_MAX_LINKS]
    by_layer: dict[int, tuple[Entry, ...]] = {}
    for one in files:
        by_layer[one.layer] = (*by_layer.get(one.layer, ()), one.entry)
    size = sum(one.entry.size for one in files)
    if _estimated(suspect, by_layer) < least:
        return
    text = (
        f"{member.reference}: {size:,} bytes of files are stored more than once ({shown_path(files[0].first, None)} and "
        f"{shown_path(files[0].path, None)}"
        f"{', …' if len(files) > 1 else ''}); as links they would be stored once"
    )
    links = [
        f"ln -f {_unpacked(one.first)} {_unpacked(one.path)}" if one.hard
        else f"ln -sf {shlex.quote(shown_path(one.first, None))} {_unpacked(one.path)}"
        for one in files
    ]  # fmt: skip
    options = _compression([image.layers[number] for number in by_layer])
    command = command_line(repack_commands(member, links, options), [member])
    places = [(image.layers[number], entries) for number, entries in by_layer.items()]
    yield _Guess(places, least, lambda saves: _inside("repeated", saves, member, text, command))


def _window(codec: str | None) -> int:
    """Returns the window of a codec in bytes: a repetition within it costs nothing in the compressed layer."""
    writer = codecs.WRITERS.get(codec or "none")
    return writer.window if writer is not None else 0


def _duplicates(suspect: _Suspect, tree: Tree) -> Iterator[_DuplicateFile]:
    _, image, indexes, own = suspect
    first: dict[bytes, tuple[bytes, int, Entry]] = {}
    written: dict[bytes, int] = {}
    for index in indexes:
        for path in index.paths:
            written[path] = written.get(path, 0) + 1
    for number, (layer, index) in enumerate(zip(image.layers, indexes, strict=True)):
        least = max(_LEAST, _window(layer.codec))
        for row, size in enumerate(index.sizes):
            content = index.content(row) if size >= least and row not in index.sparse else None
            path = index.paths[row]
            if content is None or written[path] > 1 or not _plain(path) or not _is_visible(tree, path, number, row):
                continue
            entry = index.entry(row)
            at, where, other = first.setdefault(content, (path, number, entry))
            if at == path or not own[number]:
                continue
            if (other.mode, other.uid, other.gid, other.xattrs) == (entry.mode, entry.uid, entry.gid, entry.xattrs):
                yield _DuplicateFile(at, path, number, entry, where == number)


def _is_visible(tree: Tree, path: bytes, layer: int, row: int) -> bool:
    """Returns whether the merged tree shows this entry at the path, and it has no hard links."""
    node = node_at(tree, path)
    if node is None or isinstance(node, Directory):
        return False
    return tree.ref(layer, row) == node and not tree.links(node)


def _unpacked(path: bytes) -> str:
    return shlex.quote("unpacked/rootfs" + shown_path(path, None))


def _plain(path: bytes) -> bool:
    """Returns whether a path can be printed in a command that users copy."""
    try:
        return path.decode("utf-8").isprintable()
    except UnicodeDecodeError:
        return False


def _compression(layers: Sequence[StoredBlob]) -> str:
    """Returns the option for the compression level that builders use, if the default is lower."""
    found = ((layer.codec, codecs.WRITERS.get(layer.codec or "none")) for layer in layers)
    levels = (f" --compression {name}:{one.builders}" for name, one in found if one is not None and one.builders > one.default)
    return next(levels, "")
