"""Checks an index: its manifests, their configurations, and missing blobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ocitool import limits, masking
from ocitool.blob import Blob
from ocitool.digest import Digest
from ocitool.errors import FormatError, LimitError
from ocitool.images.declared_volumes import DeclaredVolumes, declared_volumes
from ocitool.images.index_children import IndexChild, tags_of
from ocitool.images.platforms import normalized
from ocitool.layers import magic
from ocitool.reference import Selector
from ocitool.spec import mediatypes
from ocitool.spec.document import parse_object
from ocitool.spec.manifest import (
    REF_NAME,
    Config,
    Descriptor,
    Index,
    Manifest,
    Platform,
    parse_platform_object,
    read,
    read_unknown,
    referenced_descriptors,
)
from ocitool.trees.indexing import unpacked_head
from ocitool.validation.archives import hybrid
from ocitool.validation.documents import ImageToCheck, LayerUse, ValidationReader, layer_key
from ocitool.validation.findings import DAMAGE, ambiguous, is_attestation

_MAX_MISSING = 300


@dataclass(slots=True)
class _Below:
    """What was found below an entry of an index: whether an image is complete, and the missing blobs (message by
    subject)."""

    complete: bool = False
    missing: dict[str, str] = field(default_factory=dict)

    def merge(self, other: _Below) -> None:
        """Adds what was found below another entry."""
        self.complete |= other.complete
        for subject, message in other.missing.items():
            if len(self.missing) < _MAX_MISSING:
                self.missing.setdefault(subject, message)


class ImageChecks:
    """Checks the images below an index."""

    def __init__(self, reader: ValidationReader) -> None:
        self.reader = reader
        self.findings = reader.findings
        self.configs: dict[Digest, list[tuple[Digest, ...]]] = {}
        self._below: dict[tuple[Digest, str], _Below] = {}
        self._sizes: dict[Digest, int] = {}
        self._visited = 0
        self._unclean: set[Digest] = set()
        """Documents that do not match their schemas."""

    def index(self, index: Index, selector: Selector | None, entries: Sequence[IndexChild]) -> None:
        """Checks the entries that the selector picks; all of them without one."""
        self._invalid(index, "index.json", self.reader.parsed("index", index.raw, "index.json") is not None)
        if "layers" in index.fields or "config" in index.fields:
            self.findings.error("ambiguous", "index.json", "it has both manifests and layers or config")
        if len(index.manifests) > limits.INDEX_MANIFESTS:
            self.findings.error("limit", "index.json", f"more than {limits.INDEX_MANIFESTS} manifests")
            return
        if selector is None:
            chosen = list(index.manifests)
            self.findings.attestations(index, "index.json")
            self._duplicate_tags(index)
        else:
            chosen = [entry.descriptor for entry in entries]
        self.findings.descriptors(chosen, "index.json")
        # Manifests of several platforms under one name belong together, as if they were in a nested index.
        groups: dict[object, _Below] = {}
        for position, one in enumerate(chosen):
            tags = tags_of(self.reader.source, one)
            key: object = position
            if one.is_attestation:
                key = "attestation"
            elif one.platform is not None:
                key = tags
            groups.setdefault(key, _Below()).merge(self._node(one, "index.json", ()))
        anything = any(below.complete for below in groups.values())
        for key, below in groups.items():
            self._missing(below, below.complete or (key == "attestation" and anything))
        hybrid(self.reader, self.configs, selector)

    def _invalid(self, index: Index, subject: str, clean: bool) -> None:
        """Adds findings for entries that are not valid descriptors, if the schema check did not."""
        for one in index.invalid if clean else ():
            self.findings.error("document", subject, one.error("").what)

    def _missing(self, below: _Below, complete: bool) -> None:
        for subject, message in below.missing.items():
            if complete:
                self.findings.warn("missing-platform", subject, message)
            else:
                self.findings.error("missing-blob", subject, message)

    def _duplicate_tags(self, index: Index) -> None:
        names: dict[str, set[tuple[Digest, Platform | None]]] = {}
        for one in index.manifests:
            name, mine = one.annotations.get(REF_NAME), one.platform and normalized(one.platform)
            if name and not one.is_attestation:
                known = names.setdefault(name, set())
                for other, platform in known:
                    full = tags_of(self.reader.source, one)
                    if other != one.digest and (platform is None or platform == mine) and name in full:
                        self.findings.warn("duplicate-tag", "index.json", f"{name} names {other} and {one.digest}")
                        break
                if len(known) < 2 * limits.MAX_LAYERS:
                    known.add((one.digest, mine))

    def _node(self, one: Descriptor, parent: str, path: tuple[Digest, ...]) -> _Below:
        """Checks one entry of an index, and everything below it."""
        if one.digest in path:
            self.findings.error("cycle", f"index {one.digest}", "the index leads back to itself")
            return _Below()
        stated = one.media_type if one.media_type in mediatypes.DOCUMENTS else ""
        known = self._below.get((one.digest, stated))
        size = self._sizes.setdefault(one.digest, one.size)
        if size != one.size:
            self.findings.error("size", parent, f"it lists {one.digest} with {size} bytes and with {one.size}")
        if known is not None:
            return known
        below = self._below[one.digest, stated] = _Below()
        self._visited += 1
        if len(path) > limits.INDEX_DEPTH:
            self.findings.error("limit", parent, f"indexes nested more than {limits.INDEX_DEPTH} deep")
            return below
        if self._visited > limits.INDEX_MANIFESTS:
            self.findings.error("limit", "index.json", f"more than {limits.INDEX_MANIFESTS} manifests")
            return below
        subject = f"{'index' if one.media_type in mediatypes.INDEXES else 'manifest'} {one.digest}"
        if self._is_other(one, subject, below):
            return below
        raw = self.reader.document(one, subject, below.missing)
        if raw is None:
            return below
        document = self._manifest_or_index(raw, one, subject)
        if isinstance(document, Index):
            self._invalid(document, subject, one.digest not in self._unclean)
            self.findings.descriptors(document.manifests, subject)
            self.findings.attestations(document, subject)
            if len(document.manifests) > limits.INDEX_MANIFESTS:
                self.findings.error("limit", subject, f"more than {limits.INDEX_MANIFESTS} manifests")
                return below
            for child in document.manifests:
                below.merge(self._node(child, subject, (*path, one.digest)))
        elif document is not None:
            self._image(document, one, subject, below)
        return below

    def _is_other(self, one: Descriptor, subject: str, below: _Below) -> bool:
        """Returns whether the content of an entry is neither a manifest nor an index; such content is only hashed."""
        if not one.media_type or one.media_type in mediatypes.DOCUMENTS:
            return False
        try:
            blob = self.reader.blob(one, subject)
            if blob is None:
                below.missing[subject] = f"the blob {one.digest} is not here"
                return True
            self._named_by(blob, one, subject)
            may_be = blob.size <= limits.DOCUMENT_SIZE and blob.pread(64, 0).lstrip()[:1] == b"{"
            if may_be and read_unknown(b"".join(blob.chunks()), subject, one.media_type) is not None:
                return False
        except DAMAGE:
            return False  # reported when it is read as a document
        text = f"{masking.stated(one.media_type)} is neither a manifest nor an index: its content is not checked"
        self.findings.warn("entry-type", subject, text)
        self.reader.hash(blob, one, subject)
        return True

    def _named_by(self, blob: Blob, one: Descriptor, subject: str) -> None:
        """Records what a document of another kind refers to, such as an artifact manifest or a record of BuildKit's
        cache."""
        if blob.size <= limits.DOCUMENT_SIZE and blob.pread(64, 0).lstrip()[:1] == b"{":
            try:
                self.reader.named.update(
                    child.digest for child in referenced_descriptors(b"".join(blob.chunks()), subject, one.media_type)
                )
            except DAMAGE:
                self.reader.unread = True

    def _manifest_or_index(self, raw: bytes, one: Descriptor, subject: str) -> Manifest | Index | None:
        self.reader.documents += 1
        try:
            fields = parse_object(raw, subject)
        except (FormatError, LimitError) as error:
            self.findings.damage(error, subject, "document")
            self.reader.unread = True
            return None
        if ambiguous(fields):
            self.findings.error("ambiguous", subject, "it has both manifests and layers or config")
            self.reader.unread = True
            return None
        media_type = fields.get("mediaType") or one.media_type
        docker = media_type in (mediatypes.DOCKER_LIST, mediatypes.DOCKER_MANIFEST)
        if "manifests" in fields or (media_type in mediatypes.INDEXES and "config" not in fields):
            kind = "docker-manifest-list" if docker else "index"
        else:
            kind = "docker-manifest" if docker else "manifest"
        clean = self.findings.schema(kind, fields, subject)
        if not clean:
            self._unclean.add(one.digest)
        try:
            return read(raw, subject, one.media_type)
        except FormatError as error:
            if clean:
                self.findings.error("document", subject, error.what)
            self.reader.unread = True
            return None

    def _image(self, manifest: Manifest, one: Descriptor, subject: str, below: _Below) -> None:
        """Checks a manifest and its configuration, and records its layers for `LayerChecks`."""
        self.findings.descriptors([manifest.config, *manifest.layers], subject)
        self.findings.manifest(manifest, subject, attests=one.is_attestation)
        mine = _Below()
        raw = self.reader.document(manifest.config, f"config {manifest.config.digest}", mine.missing)
        self.configs.setdefault(manifest.config.digest, []).append(tuple(layer.digest for layer in manifest.layers))
        is_image = manifest.is_image
        statement = one.is_attestation or is_attestation(manifest)
        config: Config | None = None
        if raw is not None and is_image:
            config = self.reader.config(raw, f"config {manifest.config.digest}")
        diff_ids: tuple[Digest | None, ...] = ()
        if config is not None and not statement:
            diff_ids = self.reader.paired_diff_ids(config, len(manifest.layers), subject)
            stated = one.fields.get("platform")
            if isinstance(stated, dict):
                self._platform(config, parse_platform_object(stated), subject)
        layers = []
        for number, layer in enumerate(manifest.layers):
            name = f"layer {number} {layer.digest}"
            try:
                blob = self.reader.blob(layer, name)
            except DAMAGE as error:
                self.findings.damage(error, name, "missing-blob")
                continue
            if blob is None:
                if not layer.urls:
                    mine.missing[name] = f"the blob {layer.digest} is not here"
            elif not is_image or statement or not _is_tar(layer.media_type, blob):
                self.reader.hash(blob, layer, name)
                blob = None
            diff_id = diff_ids[number] if diff_ids else None
            layers.append(LayerUse(name, blob, layer.media_type, diff_id, layer_key(blob, diff_id)))
        below.merge(mine)
        if is_image and not statement:
            whole = len(layers) == len(manifest.layers)
            volumes = declared_volumes(config, len(layers)) if config is not None and whole else DeclaredVolumes({})
            self.reader.images.append(ImageToCheck(subject, tuple(layers), volumes))
        below.complete |= not mine.missing and not statement

    def _platform(self, config: Config, stated: Platform, subject: str) -> None:
        own = config.platform
        one, other = normalized(stated), normalized(own)
        pairs = [(one.os, other.os), (one.architecture, other.architecture), (stated.os_version, own.os_version)]
        if stated.variant and own.variant:
            pairs.append((one.variant, other.variant))
        if any(a and b and a != b for a, b in pairs):
            self.findings.warn("platform", subject, f"listed for {stated}, the configuration says {own}")


def _is_tar(media_type: str, blob: Blob) -> bool:
    """Returns whether a layer is read as a tar: by its media type, or by its first bytes if that is unknown."""
    kind = mediatypes.layer_type(media_type)
    if kind.content != "unknown" or not media_type:
        return kind.tar or not media_type
    try:
        return magic.is_tar(unpacked_head(blob))
    except DAMAGE:
        return False
