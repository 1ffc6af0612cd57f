"""A change to images, carried through to what stands around them: one image, or every image of an index.

`revise` asks for a function from an image to its new documents and gives the output to deliver. Of an index it replaces the
entries, drops the attestations of what changed, and keeps everything else byte for byte. Signatures and other referrers of
a digest that is gone are named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ocitool.blob import Blob, BytesBlob
from ocitool.digest import Digest
from ocitool.errors import LimitError, NotFoundError
from ocitool.images import index as indexes
from ocitool.images import select
from ocitool.images.closure import Closure, closure
from ocitool.images.draft import Documents
from ocitool.images.image import Image, from_manifest
from ocitool.images.select import Target
from ocitool.limits import INDEX_DEPTH
from ocitool.operations.writing import Output, Writer, WrittenImage, WrittenLayer, draft_output
from ocitool.spec import mediatypes
from ocitool.spec.document import parse_object, serialised
from ocitool.spec.manifest import Descriptor, Index, Manifest, named
from ocitool.transports.opening import Opened
from ocitool.transports.sink import DockerImage
from ocitool.transports.source import Source

Change = Callable[[Image], Documents]


def one(opened: Opened, writer: Writer, change: Change, platform: str | None) -> Output:
    """The one image that a reference names, changed. Raises what `select.one` raises."""
    image = select.one(opened, platform)
    return changed(opened.source, image, writer, change)


def changed(source: Source, image: Image, writer: Writer, change: Change) -> Output:
    documents = change(image)
    if image.digest is not None and documents.digest != image.digest:
        _name_lost(source, [image.digest], writer)
    return draft_output(documents, image.tags, image)


def every(opened: Opened, target: Target, writer: Writer, change: Change) -> Output:
    """An index with every image changed."""
    source = opened.source
    document, descriptor = index_of(opened, target)
    parts = _Parts()
    revised = _revised(source, document, writer, change, parts, 0)
    raw = revised.raw
    digest = revised.digest if raw != document.raw else descriptor.digest
    new = {**descriptor.fields, "mediaType": revised.media_type, "digest": str(digest), "size": len(raw)}
    gone = list(dict.fromkeys([*parts.gone, *([descriptor.digest] if raw != document.raw else [])]))
    _name_lost(source, gone, writer)
    made = set(parts.made) | ({digest} if raw != document.raw else set())
    names = names_of(target)
    images = tuple(image._replace(names=names) for image in parts.images)
    blobs = {digest: (digest, len(raw), BytesBlob(raw, digest)), **parts.blobs}
    return Output(
        {key: value for key, value in new.items() if key != "data"}, names, tuple(blobs.values()), images,
        docker_image(parts.images), frozenset(made), frozenset(parts.foreign), source.where,
    )  # fmt: skip


def described(output: Output, old: Descriptor) -> Output:
    """The output of one image with what its entry in the source's index said beside type, digest and size."""
    fields = {key: value for key, value in old.fields.items() if key not in ("data", "urls")}
    return output._replace(descriptor={**fields, **output.descriptor})


class _Parts:
    """What an index is put together from, gathered while it is walked."""

    def __init__(self) -> None:
        self.blobs: dict[Digest, tuple[Digest, int, Blob | None]] = {}
        self.images: list[WrittenImage] = []
        self.made: set[Digest] = set()
        self.foreign: set[Digest] = set()
        self.gone: list[Digest] = []
        self.changed: dict[Digest, Documents] = {}
        self.revised: dict[Digest, Index] = {}
        """What came of each manifest and index: an index may name one often, and nest such indexes."""

    def add(self, blobs: Iterable[tuple[Digest, int, Blob | None]]) -> None:
        for row in blobs:
            self.blobs.setdefault(row[0], row)


def _revised(source: Source, document: Index, writer: Writer, change: Change, parts: _Parts, depth: int) -> Index:
    if depth > INDEX_DEPTH:
        raise LimitError(f"indexes nested more than {INDEX_DEPTH} deep", source.where)
    replaced: dict[Digest, Mapping[str, Any] | None] = {}
    for entry in select.listed(source, document):
        descriptor = entry.descriptor
        if entry.problem is not None:
            raise entry.problem
        if entry.kind == "image" and isinstance(entry.document, Manifest):
            known = parts.changed.get(descriptor.digest)
            if known is None:
                image = from_manifest(source, descriptor, entry.document, ())
                known = parts.changed[descriptor.digest] = change(image)
                output = draft_output(known, (), image)
                parts.add(output.blobs)
                parts.images += output.images
                parts.made |= output.made
                parts.foreign |= output.foreign
            if known.digest != descriptor.digest:
                replaced[descriptor.digest] = known.descriptor
                parts.gone.append(descriptor.digest)
        elif isinstance(entry.document, Index):
            revised = parts.revised.get(descriptor.digest)
            if revised is None:
                revised = _revised(source, entry.document, writer, change, parts, depth + 1)
                parts.revised[descriptor.digest] = revised
            raw, inner = revised.raw, descriptor.digest
            if raw != entry.document.raw:
                inner = revised.digest
                replaced[descriptor.digest] = {"mediaType": revised.media_type, "digest": str(inner), "size": len(raw)}
                parts.gone.append(descriptor.digest)
                parts.made.add(inner)
            parts.add([(inner, len(raw), BytesBlob(raw, inner))])
    edited = indexes.edit(document, replaced)
    for dropped in edited.dropped:
        text = f"{source.where}: the attestation {dropped.digest} spoke of an image that changed, and was dropped"
        writer.task.notice("attestation", text)
    gone = {dropped.digest for dropped in edited.dropped}
    for descriptor in document.manifests:
        if descriptor.digest not in gone and descriptor.digest not in replaced and descriptor.digest not in parts.blobs:
            _add_whole(source, descriptor, writer, parts)
    fields = parse_object(edited.raw, source.where)
    kinds = {new["mediaType"] for new in replaced.values() if new is not None}
    if document.media_type == mediatypes.DOCKER_LIST and kinds & {mediatypes.OCI_MANIFEST, mediatypes.OCI_INDEX}:
        fields["mediaType"] = mediatypes.OCI_INDEX  # Docker's lists hold Docker's manifests only
        return Index(serialised(fields), fields, source.where)
    return Index(edited.raw, fields, source.where)


def _add_whole(source: Source, descriptor: Descriptor, writer: Writer, parts: _Parts) -> None:
    try:
        found = closure(source, descriptor)
    except NotFoundError:
        absent(source, [descriptor], writer)
        return
    output = whole(source, descriptor, (), found, writer)
    parts.add(output.blobs)
    parts.foreign |= output.foreign


def whole(source: Source, descriptor: Descriptor, names: Sequence[str], found: Closure, writer: Writer) -> Output:
    """Everything below a descriptor as it is."""
    absent(source, found.absent, writer)
    blobs: list[tuple[Digest, int, Blob | None]] = [
        (document.digest, document.size, document) for document in found.documents if document.digest is not None
    ]
    blobs += [(named.digest, named.size, blob) for named, blob in found.blobs]
    images = tuple(_kept(source, d, m, names) for d, m in found.manifests if m.is_image and not d.is_attestation)
    return Output(
        dict(descriptor.fields), tuple(names), tuple(blobs), images, docker_image(images),
        foreign=frozenset(d.digest for d, _ in found.blobs if d.urls), where=source.where,
    )  # fmt: skip


def absent(source: Source, descriptors: Iterable[Descriptor], writer: Writer) -> None:
    for descriptor in descriptors:
        what = descriptor.platform or descriptor.digest
        writer.task.notice("absent", f"{source.where}: the manifest for {what} is named and not here; it stays named")


def _kept(source: Source, descriptor: Descriptor, manifest: Manifest, names: Sequence[str]) -> WrittenImage:
    platform = descriptor.platform
    diff_ids: Sequence[Digest | None] = [None] * len(manifest.layers)
    try:
        image = from_manifest(source, descriptor, manifest, tuple(names))
    except NotFoundError:
        pass  # a configuration that only the destination has, or --with
    else:
        platform = image.platform
        diff_ids = [layer.diff_id for layer in image.layers]
    layers = tuple(
        WrittenLayer(layer.digest, diff_id, layer.size, "kept")
        for layer, diff_id in zip(manifest.layers, diff_ids, strict=True)
    )
    return WrittenImage(descriptor.digest, manifest.config.digest, tuple(names), platform, layers)


def docker_image(images: Sequence[WrittenImage]) -> DockerImage | None:
    """The image that `manifest.json` can name: the host's, else the first."""
    if not images:
        return None
    wanted = select.pick_platform(None)
    chosen = next((image for image in images if select.suits(wanted, image.platform)), images[0])
    return DockerImage(chosen.image_id, tuple(layer.digest for layer in chosen.layers))


def names_of(target: Target) -> tuple[str, ...]:
    found = target.image.tags if target.image is not None else [tag for entry in target.entries for tag in entry.tags]
    return tuple(dict.fromkeys(found))


def index_of(opened: Opened, target: Target) -> tuple[Index, Descriptor]:
    """A target's index and its descriptor. Where the manifests of several platforms stand at the top of a source under one
    name, as if an index stood between, that index is made."""
    source = opened.source
    document = target.document
    assert document is not None and source.index is not None
    if document is source.index:
        manifests = [_nameless(entry.descriptor) for entry in target.entries]
        raw = serialised({"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": manifests})
        made = Index(raw, {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": manifests}, source.where)
        fields = {"mediaType": mediatypes.OCI_INDEX, "digest": str(made.digest), "size": len(raw)}
        return made, Descriptor(mediatypes.OCI_INDEX, made.digest, len(raw), fields)
    for entry in select.roots(source, source.index, opened.selector):
        if isinstance(entry.document, Index) and entry.document.raw == document.raw:
            return document, entry.descriptor
    raise AssertionError("an index that no root leads to")


def _nameless(descriptor: Descriptor) -> dict[str, Any]:
    return named(descriptor.fields, {})


def _name_lost(source: Source, gone: Sequence[Digest], writer: Writer) -> None:
    for referrer in (one for digest in gone for one in writer.referrers(source).get(digest, ())):
        if referrer.kind == "attestation" and not referrer.tags:
            continue  # an index's own: told where it is dropped
        name = ", ".join(referrer.tags) or str(referrer.digest)
        writer.task.notice(
            "referrer", f"{source.where}: the {referrer.kind} {name} speaks of {referrer.subject}: not of the changed image"
        )
