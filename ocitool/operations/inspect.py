"""What an image is, layer by layer; and with `files` what its layers hold, waste and ship unseen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ocitool.digest import Digest
from ocitool.errors import NotFoundError
from ocitool.images import select
from ocitool.images.image import Image, document_bytes
from ocitool.images.indexing import Indexer
from ocitool.images.select import Listed, Target
from ocitool.images.tree import Directory, Hidden, Tree
from ocitool.layers.entry import Kind
from ocitool.layers.index import LayerIndex
from ocitool.operations.reading import Reading
from ocitool.spec.manifest import Index
from ocitool.task import Notice
from ocitool.transports.opening import Opened

Part = Literal["manifest", "config", "index"]
HiddenKind = Literal["overwritten", "deleted", "copied-up"]


class LayerFacts(NamedTuple):
    """Of one layer: what its first bytes say (None: not here), its unpacked size and regular files where known."""

    compression: str | None
    uncompressed_size: int | None
    files: int | None


class Wasted(NamedTuple):
    """A hidden file that still ships. `layer` holds it, `by` hid it; `size` is its content's length."""

    path: bytes
    size: int
    layer: int
    by: int
    kind: HiddenKind


class Largest(NamedTuple):
    path: bytes
    size: int
    layer: int


class Path(NamedTuple):
    """One path's hidden copies together."""

    path: bytes
    bytes: int
    versions: int
    kind: HiddenKind


@dataclass(frozen=True, slots=True)
class Waste:
    """`hidden`: all, largest first; `largest` and `paths`: the first `top`."""

    hidden: tuple[Wasted, ...]
    largest: tuple[Largest, ...]
    paths: tuple[Path, ...]
    top: int

    def total(self, kind: HiddenKind | None = None, by: int | None = None) -> tuple[int, int]:
        """(files, bytes) of a kind, hidden by a layer."""
        sizes = [w.size for w in self.hidden if (kind is None or w.kind == kind) and (by is None or w.by == by)]
        return len(sizes), sum(sizes)


class Inspected(NamedTuple):
    image: Image
    layers: tuple[LayerFacts, ...]
    waste: Waste | None
    verified: bool


@dataclass(frozen=True, slots=True)
class Inspection:
    """`index`, `entries`: the index that the reference names, if it names one."""

    reference: str
    transport: str
    index: Index | None
    entries: tuple[Listed, ...]
    images: tuple[Inspected, ...]
    notices: tuple[Notice, ...]


def inspect(
    reference: str,
    reading: Reading,
    *,
    files: bool = False,
    top: int = 10,
    platform: str | None = None,
    all_platforms: bool = False,
) -> Inspection:
    """Opens no layer unless `files` asks, or the reading verifies; first bytes of layers are looked at."""
    deep = files or reading.verify
    opened = reading.open(reference, "layers" if deep else "documents")
    found = select.targets(opened)
    if not found:
        raise NotFoundError("it holds no image", opened.source.where)
    index: Index | None = None
    entries: tuple[Listed, ...] = ()
    if len(found) > 1 and opened.source.index is not None:
        index, entries = opened.source.index, select.listed(opened.source, opened.source.index)
    elif found[0].document is not None:
        index, entries = found[0].document, found[0].entries
    indexer = reading.indexer() if deep else None
    images = []
    for target in found:
        for image in _images(opened, target, platform, all_platforms, len(found) > 1, reading):
            images.append(_look(image, indexer, files, top))
    return Inspection(reference, opened.source.transport, index, entries, tuple(images), tuple(reading.task.notices))


def _images(
    opened: Opened, target: Target, platform: str | None, all_platforms: bool, one_of_many: bool, reading: Reading
) -> Iterator[Image]:
    source = opened.source
    if target.image is not None:
        if platform is not None and not select.suits(select.pick_platform(platform), target.image.platform):
            if not one_of_many:
                raise NotFoundError(f"the image is for {target.image.platform}, not {platform}", source.where)
            return
        yield target.image
    elif all_platforms:
        for have, entry in select.platforms(source, target):
            if entry.present:
                yield select.resolve(source, entry, entry.tags)
            else:
                reading.task.notice("missing", f"the manifest for {have} is not here")
    else:
        try:
            yield select.for_platform(source, target, platform)
        except NotFoundError as error:
            # The index itself can be shown; only a platform that was asked for has to be there.
            if platform is not None or not target.entries:
                raise
            reading.task.notice("platform", f"{error.what}; --platform picks another, --all-platforms shows all")


def _look(image: Image, indexer: Indexer | None, files: bool, top: int) -> Inspected:
    if indexer is None or not image.is_image:
        facts = []
        for layer in image.layers:
            codec = layer.compression
            plain = layer.size if codec == "none" and layer.blob is not None else None
            facts.append(LayerFacts(codec, plain, None))
        return Inspected(image, tuple(facts), None, False)
    indexes = indexer.indexes(image)
    facts = [
        LayerFacts(
            layer.compression,
            index.size if index.size is not None else layer.size,
            index.kinds.count(Kind.FILE) if files else None,
        )
        for layer, index in zip(image.layers, indexes, strict=True)
    ]
    waste = _waste(image, indexes, indexer, top) if files else None
    return Inspected(image, tuple(facts), waste, indexer.verify)


def _waste(image: Image, indexes: list[LayerIndex], indexer: Indexer, top: int) -> Waste:
    """Files that ship although nobody sees them.

    A file counts where its last name was hidden; one whose content some other name still shows does not. Copied up: hidden
    by a file of equal content, which differs in owner, mode, time or attributes alone.
    """
    events: list[Hidden] = []
    tree = Tree(indexes, hidden=events.append)
    alive = {tree.inode(node) for _, node in tree.walk() if not isinstance(node, Directory)}
    last: dict[int, Hidden] = {}
    for event in events:
        inode = tree.inode(event.ref)
        if inode not in alive and indexes[tree.layer(inode)].kinds[tree.row(inode)] == Kind.FILE:
            last[inode] = event
    asked: dict[int, list[int]] = {}
    for inode, event in last.items():
        if event.replaced is not None and _sizes(tree, inode) == _sizes(tree, tree.inode(event.replaced)):
            for ref in (inode, tree.inode(event.replaced)):
                asked.setdefault(tree.layer(ref), []).append(tree.row(ref))
    for number, rows in asked.items():
        indexes[number] = indexer.contents(image.layers[number], indexes[number], sorted(set(rows)))
    hidden = []
    for inode, event in last.items():
        kind: HiddenKind = "deleted"
        if event.replaced is not None:
            new = tree.inode(event.replaced)
            same = _sizes(tree, inode) == _sizes(tree, new) and _content(tree, indexes, inode) == _content(tree, indexes, new)
            kind = "copied-up" if same and _content(tree, indexes, new) is not None else "overwritten"
        index = indexes[tree.layer(inode)]
        row = tree.row(inode)
        stored = index.sparse[row][1] if row in index.sparse else index.sizes[row]
        hidden.append(Wasted(event.path, stored, tree.layer(inode), event.by, kind))
    hidden.sort(key=lambda wasted: (-wasted.size, wasted.path))
    paths: dict[tuple[bytes, HiddenKind], Path] = {}
    for wasted in hidden:
        old = paths.get((wasted.path, wasted.kind), Path(wasted.path, 0, 0, wasted.kind))
        paths[wasted.path, wasted.kind] = old._replace(bytes=old.bytes + wasted.size, versions=old.versions + 1)
    ranked = sorted(paths.values(), key=lambda path: (-path.bytes, path.path))[:top]
    return Waste(tuple(hidden), tuple(_largest(tree, top)), tuple(ranked), top)


def _sizes(tree: Tree, ref: int) -> int | None:
    index, row = tree.indexes[tree.layer(ref)], tree.row(ref)
    return index.sizes[row] if index.kinds[row] == Kind.FILE else None


def _content(tree: Tree, indexes: list[LayerIndex], ref: int) -> bytes | None:
    return indexes[tree.layer(ref)].content(tree.row(ref))


def _largest(tree: Tree, top: int) -> Iterator[Largest]:
    """The largest visible files, each once whatever its names."""
    import heapq

    def files() -> Iterator[tuple[int, bytes, int]]:
        seen: set[int] = set()
        for path, node in tree.walk():
            if isinstance(node, Directory):
                continue
            inode = tree.inode(node)
            size = _sizes(tree, inode)
            if size is None or (inode != node and inode in seen):
                continue
            if tree.links(inode):
                if inode in seen:
                    continue
                seen.add(inode)
            yield size, path, tree.layer(inode)

    for size, path, layer in heapq.nsmallest(top, files(), key=lambda file: (-file[0], file[1])):
        yield Largest(path, size, layer)


def raw(reference: str, part: Part, reading: Reading, platform: str | None = None) -> tuple[bytes, Digest]:
    """A document's exact bytes, and its digest."""
    opened = reading.open(reference, "documents")
    found = select.targets(opened)
    if len(found) != 1:
        select.one(opened, platform)  # says which there are
    target = found[0]
    if part == "index":
        if target.document is None:
            raise NotFoundError("the reference names an image, not an index", opened.source.where)
        return target.document.raw, target.document.digest
    if target.image is not None:
        image = target.image
    else:
        image = select.for_platform(opened.source, target, platform)
    if image.manifest is None:
        if part == "config":
            return image.config.raw, image.config.digest
        raise NotFoundError(
            "a docker archive has no manifest", opened.source.where, hint="--raw config gives the configuration"
        )
    if part == "config":
        descriptor = image.manifest.config
        return document_bytes(opened.source, descriptor, "config"), descriptor.digest
    assert image.digest is not None
    return image.manifest.raw, image.digest


