"""A change to images, carried through to what stands around them: one image, or every image of an index.

A change is a function from an image to its new documents; what comes of it is the output to deliver. Of an index the entries
are replaced, the attestations of what changed are dropped, and everything else is kept byte for byte. Signatures and other
referrers of a digest that is gone are named.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from ocitool import masking
from ocitool.blob import Blob, BytesBlob
from ocitool.digest import Digest
from ocitool.errors import LimitError, NotFoundError
from ocitool.images import indexes
from ocitool.images.closure import Closure, closure
from ocitool.images.image import Image, from_manifest, read_entry
from ocitool.images.index_children import index_children
from ocitool.images.platforms import parse_platform, rank
from ocitool.images.select import Target
from ocitool.limits import INDEX_DEPTH
from ocitool.pipeline.image_writer import ImageWriter
from ocitool.spec import mediatypes
from ocitool.spec.document import parse_object, serialised
from ocitool.spec.manifest import Descriptor, Index, InvalidDescriptor, Manifest, Platform, string, with_names
from ocitool.transports.opening import Opened
from ocitool.transports.sink import OutputImage, OutputLayer
from ocitool.transports.source import Source

Finish = Callable[[Image], OutputImage]
"""From an image to what is written in its place: see `rewrite`."""


class IndexChange(Protocol):
    """A change of an index besides its images."""

    def index(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """Returns the new fields of an index, or of the descriptor of one."""

    def carried(self, descriptor: Descriptor, found: Closure) -> None:
        """Called for each descriptor that does not lead to an image and is copied unchanged."""


def rewrite_index(
    opened: Opened, target: Target, writer: ImageWriter, finish: Finish, around: IndexChange | None = None
) -> OutputImage:
    """Returns an index in which each image is replaced by what `finish` returns for it."""
    source = opened.source
    document, descriptor = index_of(opened, target)
    parts = _IndexParts(source, writer, finish, around)
    revised = parts.revised(document, 0)
    digest = descriptor.digest
    if revised.raw != document.raw:
        digest = revised.digest
        parts.gone.append(descriptor.digest)
        parts.made.add(digest)
    _report_lost_referrers(source, list(dict.fromkeys(parts.gone)), writer)
    size = len(revised.raw)
    stated = around.index(descriptor.fields) if around is not None else descriptor.fields
    fields = {**stated, "mediaType": revised.media_type, "digest": str(digest), "size": size}
    names = names_of(target)
    blobs = {digest: (digest, size, BytesBlob(revised.raw, digest)), **parts.blobs}
    return OutputImage(
        {key: value for key, value in fields.items() if key != "data"}, names, tuple(blobs.values()),
        parts=tuple(image._replace(names=names) for image in parts.images), is_index=True, loaded=loaded(parts.images),
        made=frozenset(parts.made), foreign=frozenset(parts.foreign), where=source.where,
    )  # fmt: skip


def with_descriptor_of(made: OutputImage, old: Descriptor) -> OutputImage:
    """Returns the output of one image with the other fields of its descriptor in the source's index, such as annotations."""
    fields = {key: value for key, value in old.fields.items() if key not in ("data", "urls")}
    return made._replace(descriptor={**fields, **made.descriptor})


class _IndexParts:
    """The blobs and images of a rewritten index, collected while the index is read."""

    def __init__(self, source: Source, writer: ImageWriter, finish: Finish, around: IndexChange | None) -> None:
        self.blobs: dict[Digest, tuple[Digest, int, Blob | None]] = {}
        self.images: list[OutputImage] = []
        self.made: set[Digest] = set()
        self.foreign: set[Digest] = set()
        self.gone: list[Digest] = []
        self._source = source
        self._writer = writer
        self._finish = finish
        self._around = around
        self._finished: dict[Digest, OutputImage] = {}
        self._revised: dict[Digest, Index] = {}
        """What came of each manifest and index: an index may name one often, and nest such indexes."""

    def revised(self, document: Index, depth: int) -> Index:
        """Returns the index with every image changed. Raises `LimitError` if indexes are nested too deep, and the
        problem of an entry that cannot be read."""
        source = self._source
        if depth > INDEX_DEPTH:
            raise LimitError(f"indexes nested more than {INDEX_DEPTH} deep", source.where)
        replaced: dict[Digest, Mapping[str, Any] | None] = {}
        for entry in index_children(source, document):
            old = entry.descriptor.digest
            if entry.problem is not None:
                raise entry.problem
            if entry.kind == "image" and isinstance(entry.document, Manifest):
                new = self._image(entry.descriptor, entry.document).descriptor
            elif isinstance(entry.document, Index):
                new = self._index(entry.descriptor, entry.document, depth)
            else:
                continue
            if new["digest"] != str(old):
                replaced[old] = new
                self.gone.append(old)
        edited = indexes.edit(document, replaced)
        for dropped in edited.dropped:
            text = f"{source.where}: the attestation {dropped.digest} spoke of an image that changed, and was dropped"
            self._writer.task.notice("attestation", text)
        report_others(source, (), document.invalid, self._writer)
        gone = {dropped.digest for dropped in edited.dropped}
        for descriptor in document.manifests:
            if descriptor.digest not in gone and descriptor.digest not in replaced and descriptor.digest not in self.blobs:
                self._copy(descriptor)
        fields = parse_object(edited.raw, source.where)
        kinds = {new["mediaType"] for new in replaced.values() if new is not None}
        if document.media_type == mediatypes.DOCKER_LIST and kinds & {mediatypes.OCI_MANIFEST, mediatypes.OCI_INDEX}:
            fields["mediaType"] = mediatypes.OCI_INDEX  # Docker's lists hold Docker's manifests only
        if self._around is not None:
            fields = dict(self._around.index(fields))
        if fields != parse_object(edited.raw, source.where):
            return Index(serialised(fields), fields, source.where)
        return Index(edited.raw, fields, source.where)

    def _image(self, descriptor: Descriptor, manifest: Manifest) -> OutputImage:
        if descriptor.digest not in self._finished:
            image = from_manifest(self._source, descriptor, manifest, ())
            output = self._finished[descriptor.digest] = self._finish(image)
            self._add(output)
        return self._finished[descriptor.digest]

    def _index(self, descriptor: Descriptor, document: Index, depth: int) -> dict[str, Any]:
        """Returns the new descriptor of a nested index."""
        if descriptor.digest not in self._revised:
            self._revised[descriptor.digest] = self.revised(document, depth + 1)
        revised = self._revised[descriptor.digest]
        digest, size = descriptor.digest, len(revised.raw)
        if revised.raw != document.raw:
            digest = revised.digest
            self.made.add(digest)
        self.blobs.setdefault(digest, (digest, size, BytesBlob(revised.raw, digest)))
        return {"mediaType": revised.media_type, "digest": str(digest), "size": size}

    def _copy(self, descriptor: Descriptor) -> None:
        try:
            found = closure(self._source, descriptor)
        except NotFoundError:
            _report_absent(self._source, [descriptor], self._writer)
            return
        if self._around is not None:
            self._around.carried(descriptor, found)
        self._add(copy_found(self._source, descriptor, (), found, self._writer))

    def _add(self, part: OutputImage) -> None:
        for row in part.blobs:
            self.blobs.setdefault(row[0], row)
        self.images += part.images
        self.made |= part.made
        self.foreign |= part.foreign


def copy_closure(
    source: Source, descriptor: Descriptor, names: Sequence[str], found: Closure, writer: ImageWriter
) -> OutputImage:
    """Returns a manifest or index and everything below it unchanged, with the images that are present."""
    images = tuple(_kept(source, d, m, names) for d, m in found.manifests if m.is_image and not d.is_attestation)
    return _with_images(copy_found(source, descriptor, names, found, writer), images)


def _with_images(output: OutputImage, images: tuple[OutputImage, ...]) -> OutputImage:
    """Returns the output of an image or index with its images for the report."""
    if not output.is_index and len(images) == 1:
        (one,) = images
        output = output._replace(image_id=one.image_id, platform=one.platform, layers=one.layers)
    return output._replace(parts=images, loaded=loaded(images))


def copy_found(
    source: Source, descriptor: Descriptor, names: Sequence[str], found: Closure, writer: ImageWriter
) -> OutputImage:
    """Returns a manifest or index and everything below it unchanged, without images for the report, as for a referrer."""
    _report_absent(source, found.absent, writer)
    report_others(source, found.others, found.invalid, writer)
    blobs: list[tuple[Digest, int, Blob | None]] = [
        (document.digest, document.size, document) for document in found.documents if document.digest is not None
    ]
    blobs += [(named.digest, named.size, blob) for named, blob in found.blobs]
    return OutputImage(
        dict(descriptor.fields), tuple(names), tuple(blobs),
        foreign=frozenset(d.digest for d, _ in found.blobs if d.urls), where=source.where,
        is_index=all(one.digest != descriptor.digest for one in (*(top for top, _ in found.manifests), *found.others)),
        kind=_kind_of(descriptor, found),
    )  # fmt: skip


def _kind_of(descriptor: Descriptor, found: Closure) -> str | None:
    """Returns the type of an artifact; None for an image or index."""
    for one, manifest in found.manifests:
        if one.digest == descriptor.digest:
            return None if manifest.is_image and not descriptor.is_attestation else _stated_kind(manifest)
    return descriptor.media_type if any(one.digest == descriptor.digest for one in found.others) else None


def _stated_kind(manifest: Manifest) -> str:
    return string(manifest.fields.get("artifactType")) or manifest.config.media_type


def unchanged(source: Source, descriptor: Descriptor, names: Sequence[str]) -> OutputImage:
    """Returns the output for names that point to this manifest or index at the destination already. Nothing below it is
    read: an image is described by its manifest alone, an index without its images."""
    document = read_entry(source, descriptor)
    rows: list[tuple[Digest, int, Blob | None]] = [(descriptor.digest, descriptor.size, None)]
    images: tuple[OutputImage, ...] = ()
    if isinstance(document, Manifest):
        rows += ((one.digest, one.size, None) for one in (document.config, *document.layers))
        if document.is_image:
            images = (_image_of(descriptor, document, names, descriptor.platform, [None] * len(document.layers)),)
    output = OutputImage(
        dict(descriptor.fields), tuple(names), tuple(rows), where=source.where,
        is_index=isinstance(document, Index), is_there=True,
        kind=_stated_kind(document) if isinstance(document, Manifest) and not images else None,
    )  # fmt: skip
    return _with_images(output, images)._replace(loaded=None)


def _report_absent(source: Source, descriptors: Iterable[Descriptor], writer: ImageWriter) -> None:
    for descriptor in descriptors:
        platform = f" for {masking.stated(descriptor.platform)}" if descriptor.platform is not None else ""
        text = f"{source.where}: the manifest {descriptor.digest}{platform} is named and not here; it stays named"
        writer.task.notice("absent", text)


def report_others(
    source: Source, others: Iterable[Descriptor], invalid: Iterable[InvalidDescriptor], writer: ImageWriter
) -> None:
    """Sends notices of the entries of an index that are copied without being read, and of invalid descriptors."""
    counts = Counter(one.media_type for one in others if mediatypes.layer_codec(one.media_type) is None)
    for media_type, count in counts.items():
        entries = "1 entry" if count == 1 else f"{count} entries"
        text = f"{source.where}: {entries} of the type {masking.stated(media_type)}, carried byte for byte"
        writer.task.notice("other", text)
    for one in invalid:
        text = f"{source.where}: {one.error('').what}; it stays listed, and what it may mean is not carried"
        writer.task.notice("unreadable", text)


def _kept(source: Source, descriptor: Descriptor, manifest: Manifest, names: Sequence[str]) -> OutputImage:
    platform = descriptor.platform
    diff_ids: Sequence[Digest | None] = [None] * len(manifest.layers)
    try:
        image = from_manifest(source, descriptor, manifest, tuple(names))
    except NotFoundError:
        pass  # a configuration that only the destination has, or --with
    else:
        platform = image.platform
        diff_ids = [layer.diff_id for layer in image.layers]
    return _image_of(descriptor, manifest, names, platform, diff_ids)


def _image_of(
    descriptor: Descriptor, manifest: Manifest, names: Sequence[str], platform: Platform | None,
    diff_ids: Sequence[Digest | None],
) -> OutputImage:  # fmt: skip
    """Returns the output of an image that is copied unchanged, as reports show it."""
    layers = tuple(
        OutputLayer(layer.digest, layer.size, diff_id, layer.media_type, "kept", None)
        for layer, diff_id in zip(manifest.layers, diff_ids, strict=True)
    )
    return OutputImage(dict(descriptor.fields), tuple(names), image_id=manifest.config.digest, platform=platform, layers=layers)


def loaded(images: Sequence[OutputImage]) -> Digest | None:
    """Returns the `image_id` of the image that `manifest.json` can name: that of the nearest to the host's platform,
    else the first."""
    if not images:
        return None
    wanted = parse_platform(None)
    near = [(found, n) for n, image in enumerate(images) if (found := rank(wanted, image.platform)) is not None]
    return (images[min(near)[1]] if near else images[0]).image_id


def names_of(target: Target) -> tuple[str, ...]:
    """Returns the names that a target has at its source, each once."""
    found = target.image.tags if target.image is not None else [tag for entry in target.entries for tag in entry.tags]
    return tuple(dict.fromkeys(found))


def index_of(opened: Opened, target: Target) -> tuple[Index, Descriptor]:
    """Returns the index of a target and its descriptor. If the manifests of several platforms are listed in the
    top-level index of a source under one name, without an index between, that index is made."""
    source = opened.source
    document = target.document
    assert document is not None and source.index is not None
    if document is source.index:
        manifests = [with_names(entry.descriptor.fields, {}) for entry in target.entries[: target.direct]]
        fields = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": manifests}
        made = Index(serialised(fields), fields, source.where)
        own = {"mediaType": mediatypes.OCI_INDEX, "digest": str(made.digest), "size": len(made.raw)}
        return made, Descriptor(mediatypes.OCI_INDEX, made.digest, len(made.raw), own)
    assert target.top is not None
    return document, target.top


def report_lost_referrers(source: Source, image: Image, output: OutputImage, writer: ImageWriter) -> None:
    """Sends a notice of each referrer of the image, since it does not refer to the changed one."""
    if image.digest is not None and output.digest != image.digest:
        _report_lost_referrers(source, [image.digest], writer)


def _report_lost_referrers(source: Source, gone: Sequence[Digest], writer: ImageWriter) -> None:
    for referrer in (one for digest in gone for one in writer.referrers(source, digest)):
        if referrer.kind == "attestation" and not referrer.tags:
            continue  # an index's own: told where it is dropped
        name = ", ".join(referrer.tags) or str(referrer.digest)
        writer.task.notice(
            "referrer", f"{source.where}: the {referrer.kind} {name} speaks of {referrer.subject}: not of the changed image"
        )
