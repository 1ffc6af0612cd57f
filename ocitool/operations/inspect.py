"""What an image is, layer by layer; and with `files` what its layers hold, waste and ship unseen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple

from ocitool.digest import Digest
from ocitool.errors import NotFoundError
from ocitool.images import select
from ocitool.images.image import Image, document_bytes
from ocitool.images.select import Listed, Target
from ocitool.layers.entry import Kind
from ocitool.operations.reading import Reading
from ocitool.spec.manifest import Descriptor, Index
from ocitool.task import Notice
from ocitool.transports.opening import Opened

if TYPE_CHECKING:
    from ocitool.images.indexing import Indexer
    from ocitool.operations.waste import Waste

Part = Literal["manifest", "config", "index"]


class LayerFacts(NamedTuple):
    """Of one layer: what its first bytes say (None: not here), its unpacked size and regular files where known."""

    compression: str | None
    uncompressed_size: int | None
    files: int | None


class Inspected(NamedTuple):
    image: Image
    layers: tuple[LayerFacts, ...]
    waste: Waste | None
    verified: bool


class Entry(NamedTuple):
    """One descriptor of an index. `present` is None at a registry: only what is inspected is asked for there."""

    descriptor: Descriptor
    tags: tuple[str, ...]
    kind: select.EntryKind
    present: bool | None


class Inspection(NamedTuple):
    """`document`, `entries`: the index that the reference names, if it names one."""

    reference: str
    transport: str
    document: Index | None
    entries: tuple[Entry, ...]
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
    remote = opened.source.remote
    shown = tuple(
        Entry(
            one.descriptor, select.own_tags(one.descriptor) or one.tags, one.said if remote else one.kind,
            None if remote else one.present,
        )
        for one in entries
    )
    return Inspection(reference, opened.source.transport, index, shown, tuple(images), tuple(reading.task.notices))


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
    if not files:
        return Inspected(image, tuple(facts), None, indexer.verify)
    from ocitool.operations.waste import waste

    found = waste(indexes, lambda number, index, rows: indexer.contents(image.layers[number], index, rows), top)
    return Inspected(image, tuple(facts), found, indexer.verify)


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


