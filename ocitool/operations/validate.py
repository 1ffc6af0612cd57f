"""`validate`: all that a source holds, read and hashed, and every rule that it breaks.

Documents first (schemas, digests, what a schema cannot say), then each distinct layer once in one streaming pass (digest,
diff_id, the rules of its tar), then what only the stack of an image's layers shows. Damage inside an image is a finding; a
source of which nothing can be read is an error. Findings are bounded: one for each rule and place, `LIMIT` in all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from ocitool import limits, reference
from ocitool.blob import Blob, BytesBlob, FileBlob
from ocitool.digest import Digest, verified
from ocitool.errors import (
    FormatError,
    IntegrityError,
    LimitError,
    NotFoundError,
    OcitoolError,
    UnsafeError,
    UsageError,
)  # fmt: skip
from ocitool.images.select import roots, tags_of
from ocitool.images.tree import Directory, Tree
from ocitool.layers import codec
from ocitool.layers.entry import Kind, escapes
from ocitool.layers.index import LayerIndex
from ocitool.layers.scan import scan
from ocitool.reference import Selector
from ocitool.spec import mediatypes
from ocitool.spec.document import parse, parse_object
from ocitool.spec.manifest import (
    ATTESTATION_SUBJECT,
    REF_NAME,
    Config,
    Descriptor,
    Index,
    Manifest,
    Platform,
    descriptor,
    platform_of,
    read,
)  # fmt: skip
from ocitool.spec.schema import problems
from ocitool.task import Task
from ocitool.transports.archive import DockerArchive, OciArchive, images_of
from ocitool.transports.layout import Layout
from ocitool.transports.opening import open_source
from ocitool.transports.source import Source

RULES: dict[str, str] = {
    # Documents
    "schema": "a document does not match its JSON Schema",
    "document": "a document is not strict JSON, or cannot be read as what it is said to be",
    "ambiguous": "a document is a manifest and an index at once (CVE-2021-41190)",
    "layout-file": "the file oci-layout is missing",
    "limit": "something is larger, deeper or more than the limits allow",
    "cycle": "an index leads back to itself",
    "duplicate-tag": "one tag names several manifests",
    "duplicate-member": "an archive holds two members of one name: readers disagree which counts",
    "config-name": "the configuration's file name in a docker archive is not its digest",
    "hybrid": "index.json and manifest.json of one archive describe different images",
    "legacy-format": "a docker archive from before 1.10: it states nothing that layers could be checked against",
    "dangling-attestation": "an attestation speaks of a manifest that its index does not list",
    "platform": "index and configuration state different platforms",
    # Blobs
    "digest": "content is not what its digest says",
    "digest-algorithm": "a digest of an algorithm that cannot be checked",
    "size": "content is not as long as its descriptor says",
    "embedded-data": "a descriptor's embedded data is not what its digest says",
    "missing-blob": "a blob that the image needs is not here",
    "missing-platform": "blobs of one entry of an index are not here, while another image of it is complete",
    "foreign-layer": "a layer is to be fetched from elsewhere (urls); that is never done here",
    # Layers
    "layer-count": "the number of layers is not the number of diff_ids",
    "layer-limit": "more layers than engines accept (125)",
    "layer-type": "a layer's media type is not known",
    "layer-damaged": "a layer cannot be decompressed or is no tar",
    "diff-id": "a layer unpacks to other bytes than the configuration states",
    "media-type": "a layer's media type states another compression than its bytes have",
    "history": "the history has another number of layers than the image",
    # The tar of a layer
    "tar-no-end": "the end-of-archive blocks are missing",
    "tar-trailing-data": "data stands after the end-of-archive blocks",
    "tar-global-pax": "a global pax header, which many readers ignore",
    "tar-size-without-data": "an entry that has no data states a size",
    "tar-absolute-name": "a name begins with a slash",
    "unsafe-path": "a path or hard link leads out of the root file system",
    "duplicate-path": "a layer lists one path twice: the later counts",
    "invalid-whiteout": "a whiteout of nothing, of `.` or of `..`",
    "whiteout-and-entry": "a layer hides a path and lists it too: engines disagree about what was below",
    "opaque-order": "an opaque marker stands before its directory",
    "aufs-metadata": "bookkeeping of AUFS, part of no file system",
    "missing-parent": "a parent directory is not listed in the layer: engines disagree about its attributes",
    "below-non-directory": "an entry stands below a symbolic link or file: engines disagree about where it goes",
    "hardlink-broken": "a hard link leads to nothing or to itself",
    "hardlink-directory": "a hard link to a directory",
    "hardlink-late": "a hard link stands before its target",
    "hardlink-across": "a hard link's target is in a lower layer: not every engine can make it",
}
"""Every rule id `validate` can report, stable, with its meaning."""

DOCUMENTS = (
    "descriptor", "manifest", "index", "config", "layout", "docker-manifest", "docker-manifest-list",
    "docker-archive-manifest",
)  # fmt: skip
"""The kinds of `validate_document`."""

LIMIT = 200
"""Findings of one validation."""

MAX_LAYERS = 125
_TEXT = 200
_SCHEMA_PROBLEMS = 20
_MISSING = 300

_DAMAGE = (FormatError, IntegrityError, LimitError, UnsafeError, NotFoundError)
"""What a broken image raises; anything else (a file that cannot be read, an interrupt) ends the validation."""

Severity = Literal["error", "warning"]
_KEYS = {"config": "Config", "repotags": "RepoTags", "layers": "Layers", "parent": "Parent", "layersources": "LayerSources"}


class Finding(NamedTuple):
    """One broken rule. `subject` and `message` may hold any character of the image: whoever prints them escapes."""

    rule: str
    severity: Severity
    subject: str
    message: str


class Checked(NamedTuple):
    """What was read: documents parsed, blobs hashed (documents and layers too), layers unpacked, entries, bytes hashed."""

    documents: int
    blobs: int
    layers: int
    entries: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Validation:
    """`truncated`: there was more than the findings listed; errors are kept before warnings."""

    reference: str | None
    findings: tuple[Finding, ...]
    checked: Checked
    truncated: bool

    @property
    def valid(self) -> bool:
        return not any(finding.severity == "error" for finding in self.findings)


def validate(reference: str, task: Task) -> Validation:
    """Everything the reference names: the whole source, or what its selector picks.

    Raises what opening raises (`UsageError`, `NotFoundError`, `FormatError`, `LimitError`, `TransportError`).
    """
    source, selector = open_source(reference, "layers", task)
    check = _Check(source, task)
    check.container()
    if source.index is None:
        check.records(selector)
    else:
        check.index(source.index, selector)
    check.layers()
    return check.result(reference)


def validate_document(kind: str, raw: bytes, where: str) -> Validation:
    """One bare document. Raises `FormatError` or `LimitError` where it is no strict JSON at all."""
    if kind not in DOCUMENTS:
        raise UsageError(f"{kind} is no kind of document", hint="one of " + ", ".join(DOCUMENTS))
    found = _Findings()
    value = parse(raw, where)
    clean = found.schema(kind, value, kind)
    fields = value if isinstance(value, dict) else {}
    ambiguous = _ambiguous(fields) and kind not in ("descriptor", "config", "layout")
    if ambiguous:
        found.error("ambiguous", kind, "it has both manifests and layers or config")
    if kind == "config":
        config = Config(raw, fields)
        made = [entry for entry in config.history if not entry.empty_layer]
        if config.history and len(made) != len(config.diff_ids):
            found.warn("history", kind, f"{len(made)} layers in the history, {len(config.diff_ids)} diff_ids")
        for digest in config.diff_ids:
            found.checkable(digest, kind)
    elif clean and not ambiguous:
        try:
            if kind == "descriptor":
                found.descriptors([descriptor(value, where)], kind)
            elif kind in ("manifest", "docker-manifest"):
                manifest = Manifest(raw, fields, where)
                found.descriptors([manifest.config, *manifest.layers], kind)
                found.manifest(manifest, kind)
            elif kind in ("index", "docker-manifest-list"):
                index = Index(raw, fields, where)
                found.descriptors(index.manifests, kind)
                found.attestations(index, kind)
        except FormatError as error:
            found.error("document", kind, error.what)
    return found.result(where, Checked(1, 0, 0, 0, len(raw)))


# ------------------------------------------------------------------------------------------------ findings


class _Findings:
    """Findings in the order they are made, each once; beyond `LIMIT` errors and `LIMIT` warnings only their being is known."""

    def __init__(self) -> None:
        self._found: list[Finding] = []
        self._seen: set[tuple[str, str, str]] = set()
        self._counts: Counter[str] = Counter()

    def _add(self, rule: str, severity: Severity, subject: str, message: str) -> None:
        finding = Finding(rule, severity, subject[:_TEXT], message[:_TEXT])
        key = (rule, finding.subject, finding.message)
        if key in self._seen:
            return
        self._counts[severity] += 1
        if self._counts[severity] <= LIMIT:
            self._seen.add(key)
            self._found.append(finding)

    def error(self, rule: str, subject: str, message: str) -> None:
        self._add(rule, "error", subject, message)

    def warn(self, rule: str, subject: str, message: str) -> None:
        self._add(rule, "warning", subject, message)

    def damage(self, error: OcitoolError, subject: str, rule: str) -> None:
        """What an exception says of a thing; `rule` where its class does not tell."""
        if isinstance(error, IntegrityError):
            rule = "digest"
        elif isinstance(error, LimitError):
            rule = "limit"
        elif isinstance(error, UnsafeError):
            rule = "unsafe-path"
        elif isinstance(error, NotFoundError):
            rule = "missing-blob"
        self.error(rule, subject, error.what)

    def schema(self, kind: str, value: object, subject: str) -> bool:
        """Whether the document matches its schema."""
        found = problems(kind, value, _SCHEMA_PROBLEMS)
        for problem in found:
            self.error("schema", subject, f"{problem.pointer[:100] or '/'}: {problem.message}")
        return not found

    def checkable(self, digest: Digest | None, subject: str) -> bool:
        if digest is None:
            return False
        try:
            digest.hasher()
        except FormatError as error:
            self.error("digest-algorithm", subject, error.what)
            return False
        return True

    def descriptors(self, found: Sequence[Descriptor], subject: str) -> None:
        for one in found:
            if self.checkable(one.digest, subject):
                try:
                    one.embedded()
                except FormatError as error:
                    self.error("embedded-data", subject, error.what)

    def manifest(self, manifest: Manifest, subject: str) -> None:
        """What a manifest alone shows."""
        if not manifest.is_image:
            return
        if len(manifest.layers) > MAX_LAYERS:
            self.warn("layer-limit", subject, f"{len(manifest.layers)} layers, engines accept {MAX_LAYERS}")
        foreign = [layer for layer in manifest.layers if layer.urls]
        if foreign:
            self.warn("foreign-layer", subject, f"{len(foreign)} layers with urls; the first: {foreign[0].digest}")
        if _is_attestation(manifest):
            return
        for number, layer in enumerate(manifest.layers):
            if layer.media_type and mediatypes.layer_codec(layer.media_type) is None:
                self.warn("layer-type", f"layer {number} {layer.digest}", f"the media type {layer.media_type} is not known")

    def attestations(self, index: Index, subject: str) -> None:
        listed = {str(one.digest) for one in index.manifests}
        for one in index.manifests:
            about = one.annotations.get(ATTESTATION_SUBJECT)
            if one.is_attestation and about not in listed:
                self.error(
                    "dangling-attestation", subject,
                    f"the attestation {one.digest} is about {about or 'nothing'}, which is not listed",
                )  # fmt: skip

    def result(self, reference: str | None, checked: Checked) -> Validation:
        errors = min(self._counts["error"], LIMIT)
        room = LIMIT - errors
        kept: list[Finding] = []
        for finding in self._found:
            if finding.severity == "warning":
                if not room:
                    continue
                room -= 1
            kept.append(finding)
        return Validation(reference, tuple(kept), checked, self._counts.total() > len(kept))


def _ambiguous(fields: dict[str, Any]) -> bool:
    return "manifests" in fields and ("layers" in fields or "config" in fields)


def _is_attestation(manifest: Manifest) -> bool:
    """A manifest of statements (in-toto), which only looks like an image."""
    return bool(manifest.layers) and all("in-toto" in layer.media_type for layer in manifest.layers)


# ------------------------------------------------------------------------------------------------ a source


class _Layer(NamedTuple):
    """A layer as an image uses it. `blob` is None where it is not here, or is not to be unpacked."""

    subject: str
    blob: Blob | None
    media_type: str | None
    diff_id: Digest | None
    key: str


class _Image(NamedTuple):
    subject: str
    layers: tuple[_Layer, ...]


@dataclass(slots=True)
class _Below:
    """What was found below an entry of an index: whether some image is complete, and what is missing."""

    complete: bool = False
    missing: dict[str, str] = field(default_factory=dict)

    def take(self, other: _Below) -> None:
        self.complete |= other.complete
        for subject, message in other.missing.items():
            if len(self.missing) < _MISSING:
                self.missing.setdefault(subject, message)


class _Scanned(NamedTuple):
    """A layer that was read: its index, or why there is none."""

    layer: LayerIndex | None
    error: OcitoolError | None
    size: int


class _Check:
    def __init__(self, source: Source, task: Task) -> None:
        self.source = source
        self.task = task
        self.found = _Findings()
        self.images: list[_Image] = []
        self.documents = self.blobs = self.layer_count = self.entries = self.bytes = 0
        self._below: dict[Digest, _Below] = {}
        self._configs: dict[Digest, tuple[Digest, ...]] = {}
        self._hashed: set[Digest] = set()
        self._visited = 0

    def result(self, reference: str) -> Validation:
        checked = Checked(self.documents, self.blobs, self.layer_count, self.entries, self.bytes)
        return self.found.result(reference, checked)

    # The container

    def container(self) -> None:
        source = self.source
        if isinstance(source, (OciArchive, DockerArchive)):
            repeated = source.members.duplicates
            if repeated:
                self.found.warn("duplicate-member", "archive", _counted("stand twice", len(repeated), repeated[0]))
        if isinstance(source, DockerArchive):
            return
        if isinstance(source, (OciArchive, Layout)):
            document = source.members.document if isinstance(source, OciArchive) else source.document
            raw = document("oci-layout")
            if raw is None:
                self.found.error("layout-file", "oci-layout", "the file is missing")
            else:
                self._parsed("layout", raw, "oci-layout")

    def _parsed(self, kind: str, raw: bytes, subject: str) -> Any:
        """The value of a document that matches its schema, else None."""
        self.documents += 1
        try:
            value = parse(raw, subject)
        except (FormatError, LimitError) as error:
            self.found.damage(error, subject, "document")
            return None
        return value if self.found.schema(kind, value, subject) else None

    # Indexes and manifests

    def index(self, index: Index, selector: Selector | None) -> None:
        self._parsed("index", index.raw, "index.json")
        if "layers" in index.fields or "config" in index.fields:
            self.found.error("ambiguous", "index.json", "it has both manifests and layers or config")
        if len(index.manifests) > limits.INDEX_MANIFESTS:
            self.found.error("limit", "index.json", f"more than {limits.INDEX_MANIFESTS} manifests")
            return
        if selector is None:
            chosen = list(index.manifests)
            self.found.attestations(index, "index.json")
            self._duplicate_tags(index)
        else:
            chosen = [entry.descriptor for entry in roots(self.source, index, selector)]
        # Several platforms under one name are one image, as if an index stood between.
        groups: dict[object, _Below] = {}
        for position, one in enumerate(chosen):
            tags = tags_of(self.source, one)
            key: object = position
            if one.is_attestation:
                key = "attestation"
            elif one.platform is not None:
                key = tags
            groups.setdefault(key, _Below()).take(self._node(one, "index.json", ()))
        anything = any(below.complete for below in groups.values())
        for key, below in groups.items():
            self._missing(below, below.complete or (key == "attestation" and anything))
        self._hybrid(selector)

    def _missing(self, below: _Below, complete: bool) -> None:
        for subject, message in below.missing.items():
            if complete:
                self.found.warn("missing-platform", subject, message)
            else:
                self.found.error("missing-blob", subject, message)

    def _duplicate_tags(self, index: Index) -> None:
        names: dict[str, set[tuple[Digest, Platform | None]]] = {}
        for one in index.manifests:
            name = one.annotations.get(REF_NAME)
            if name and not one.is_attestation:
                known = names.setdefault(name, set())
                for other, platform in known:
                    full = tags_of(self.source, one)
                    if other != one.digest and (platform is None or platform == one.platform) and name in full:
                        self.found.warn("duplicate-tag", "index.json", f"{name} names {other} and {one.digest}")
                        break
                if len(known) < 2 * MAX_LAYERS:
                    known.add((one.digest, one.platform))

    def _node(self, one: Descriptor, parent: str, path: tuple[Digest, ...]) -> _Below:
        """One entry of an index, and all below it."""
        if one.digest in path:
            self.found.error("cycle", f"index {one.digest}", "the index leads back to itself")
            return _Below()
        known = self._below.get(one.digest)
        if known is not None:
            return known
        below = self._below[one.digest] = _Below()
        self._visited += 1
        if len(path) > limits.INDEX_DEPTH:
            self.found.error("limit", parent, f"indexes nested more than {limits.INDEX_DEPTH} deep")
            return below
        if self._visited > limits.INDEX_MANIFESTS:
            self.found.error("limit", "index.json", f"more than {limits.INDEX_MANIFESTS} manifests")
            return below
        subject = f"{'index' if one.media_type in mediatypes.INDEXES else 'manifest'} {one.digest}"
        raw = self._document(one, subject, below)
        if raw is None:
            return below
        document = self._manifest_or_index(raw, one, subject)
        if isinstance(document, Index):
            self.found.descriptors(document.manifests, subject)
            self.found.attestations(document, subject)
            if len(document.manifests) > limits.INDEX_MANIFESTS:
                self.found.error("limit", subject, f"more than {limits.INDEX_MANIFESTS} manifests")
                return below
            for child in document.manifests:
                below.take(self._node(child, subject, (*path, one.digest)))
        elif document is not None:
            self._image(document, one, subject, below)
        return below

    def _manifest_or_index(self, raw: bytes, one: Descriptor, subject: str) -> Manifest | Index | None:
        self.documents += 1
        try:
            fields = parse_object(raw, subject)
        except (FormatError, LimitError) as error:
            self.found.damage(error, subject, "document")
            return None
        if _ambiguous(fields):
            self.found.error("ambiguous", subject, "it has both manifests and layers or config")
            return None
        says = fields.get("mediaType") or one.media_type
        docker = says in (mediatypes.DOCKER_LIST, mediatypes.DOCKER_MANIFEST)
        if "manifests" in fields or (says in mediatypes.INDEXES and "config" not in fields):
            kind = "docker-manifest-list" if docker else "index"
        else:
            kind = "docker-manifest" if docker else "manifest"
        clean = self.found.schema(kind, fields, subject)
        try:
            return read(raw, subject, one.media_type)
        except FormatError as error:
            if clean:
                self.found.error("document", subject, error.what)
            return None

    def _blob(self, one: Descriptor, subject: str) -> Blob | None:
        blob = self.source.blob(one.digest)
        if blob is None:
            try:
                data = one.embedded()
            except FormatError as error:
                self.found.error("embedded-data", subject, error.what)
                return None
            blob = BytesBlob(data, one.digest) if data is not None else None
        if blob is not None and blob.size != one.size:
            self.found.error("size", subject, f"{blob.size} bytes where {one.size} are stated")
        return blob

    def _document(self, one: Descriptor, subject: str, below: _Below) -> bytes | None:
        """A document's bytes, checked; None where there are none or they are others."""
        try:
            blob = self._blob(one, subject)
            if blob is None:
                below.missing[subject] = f"the blob {one.digest} is not here"
                return None
            if blob.size > limits.DOCUMENT_SIZE:
                raise LimitError(f"a document of {blob.size} bytes, more than {limits.DOCUMENT_SIZE}")
            digest = one.digest if self.found.checkable(one.digest, subject) else None
            raw = b"".join(verified(blob.chunks(), digest, blob.size))
        except _DAMAGE as error:
            self.found.damage(error, subject, "document")
            return None
        if one.digest not in self._hashed:
            self._hashed.add(one.digest)
            self.blobs += 1
            self.bytes += len(raw)
        return raw

    # Images

    def _image(self, manifest: Manifest, one: Descriptor, subject: str, below: _Below) -> None:
        self.found.descriptors([manifest.config, *manifest.layers], subject)
        self.found.manifest(manifest, subject)
        mine = _Below()
        raw = self._document(manifest.config, f"config {manifest.config.digest}", mine)
        self._configs[manifest.config.digest] = tuple(layer.digest for layer in manifest.layers)
        is_image = manifest.is_image
        statement = one.is_attestation or _is_attestation(manifest)
        config: Config | None = None
        if raw is not None and is_image:
            config = self._config(raw, f"config {manifest.config.digest}")
        diff_ids: tuple[Digest | None, ...] = ()
        if config is not None and not statement:
            diff_ids = self._aligned(config, len(manifest.layers), subject)
            stated = one.fields.get("platform")
            if isinstance(stated, dict):
                self._platform(config, platform_of(stated), subject)
        layers = []
        for number, layer in enumerate(manifest.layers):
            name = f"layer {number} {layer.digest}"
            try:
                blob = self._blob(layer, name)
            except _DAMAGE as error:
                self.found.damage(error, name, "missing-blob")
                continue
            if blob is None:
                if not layer.urls:
                    mine.missing[name] = f"the blob {layer.digest} is not here"
            elif not is_image or statement or not _is_tar(layer.media_type):
                self._hash(blob, layer, name)
                blob = None
            diff_id = diff_ids[number] if diff_ids else None
            layers.append(_Layer(name, blob, layer.media_type, diff_id, _key(blob, diff_id)))
        below.take(mine)
        if is_image and not statement:
            self.images.append(_Image(subject, tuple(layers)))
        below.complete |= not mine.missing and not statement

    def _config(self, raw: bytes, subject: str) -> Config | None:
        self.documents += 1
        try:
            fields = parse_object(raw, subject)
        except (FormatError, LimitError) as error:
            self.found.damage(error, subject, "document")
            return None
        self.found.schema("config", fields, subject)
        return Config(raw, fields)

    def _aligned(self, config: Config, layers: int, subject: str) -> tuple[Digest | None, ...]:
        """The diff_ids, where there is one for each layer."""
        made = [entry for entry in config.history if not entry.empty_layer]
        if config.history and len(made) != layers:
            self.found.warn("history", subject, f"{len(made)} layers in the history, {layers} in the image")
        if len(config.diff_ids) != layers:
            self.found.error("layer-count", subject, f"{layers} layers, {len(config.diff_ids)} diff_ids")
            return ()
        return config.diff_ids

    def _platform(self, config: Config, stated: Platform, subject: str) -> None:
        said = config.platform
        pairs = ((stated.os, said.os), (stated.architecture, said.architecture))
        if any(one and other and one != other for one, other in pairs):
            self.found.warn("platform", subject, f"listed for {stated}, the configuration says {said}")

    def _hash(self, blob: Blob, layer: Descriptor, subject: str) -> None:
        """A blob that holds no file system: its digest, and no more."""
        if layer.digest in self._hashed or not self.found.checkable(layer.digest, subject):
            return
        self._hashed.add(layer.digest)
        try:
            for chunk in verified(blob.chunks(), layer.digest, None):
                self.task.check()
                self.bytes += len(chunk)
            self.blobs += 1
        except _DAMAGE as error:
            self.found.damage(error, subject, "digest")

    # Docker archives

    def records(self, selector: Selector | None) -> None:
        source = self.source
        assert isinstance(source, DockerArchive)
        raw = source.members.document("manifest.json")
        listed = images_of(raw, source.where) if raw is not None else []
        if raw is not None:
            self.documents += 1
            spelt = [{_KEYS.get(key, key): value for key, value in image.items()} for image in listed]
            self.found.schema("docker-archive-manifest", spelt, "manifest.json")
        tags: dict[str, str] = {}
        for position in self._positions(source, selector):
            record = source.records[position]
            names = listed[position] if raw is not None else {}
            subject = f"image @{position}"
            legacy = record.image_id is not None
            digest = Digest.of(record.config)
            for tag in record.tags:
                if tags.setdefault(tag, str(digest)) != str(digest):
                    self.found.warn("duplicate-tag", "manifest.json", f"{tag} names {tags[tag]} and {digest}")
            if legacy:
                self.found.warn("legacy-format", subject, "no configuration states what its layers are")
            else:
                self._config_name(names.get("config"), digest, subject)
            config = Config(record.config, {}) if legacy else self._config(record.config, f"config {digest}")
            if digest not in self._hashed and not legacy:
                self._hashed.add(digest)
                self.blobs += 1
                self.bytes += len(record.config)
            if len(record.layers) > MAX_LAYERS:
                self.found.warn("layer-limit", subject, f"{len(record.layers)} layers, engines accept {MAX_LAYERS}")
            diff_ids: tuple[Digest | None, ...] = ()
            if config is not None and not legacy:
                diff_ids = self._aligned(config, len(record.layers), subject)
            paths = names.get("layers") or []
            layers = []
            for number, blob in enumerate(record.layers):
                diff_id = diff_ids[number] if diff_ids else None
                stated = (blob.digest if blob is not None else None) or diff_id
                name = f"layer {number} {stated}" if stated else f"layer {number} of {subject}"
                if blob is None:
                    path = f"{paths[number]} " if number < len(paths) else ""
                    self.found.error("missing-blob", name, f"the member {path}is not in the archive")
                layers.append(_Layer(name, blob, None, diff_id, _key(blob, diff_id)))
            self.images.append(_Image(subject, tuple(layers)))

    def _positions(self, source: DockerArchive, selector: Selector | None) -> Iterator[int]:
        if selector is None:
            yield from range(len(source.records))
            return
        for position, record in enumerate(source.records):
            if (
                position == selector.position
                or (selector.name is not None and reference.matches(selector.name, record.tags))
                or (selector.digest is not None
                    and str(selector.digest) == (record.image_id or str(Digest.of(record.config))))
            ):  # fmt: skip
                yield position
                return
        raise NotFoundError(f"no image {selector.text}", source.where)

    def _config_name(self, name: object, digest: Digest, subject: str) -> None:
        """Docker names a configuration by its digest: `<hex>.json`, `sha256:<hex>`, `blobs/sha256/<hex>`."""
        if not isinstance(name, str):
            return
        text = name.rpartition("/")[2].removesuffix(".json").removeprefix("sha256:")
        try:
            stated = Digest.parse(f"sha256:{text}")
        except FormatError:
            return  # a name of another kind states nothing
        if stated != digest:
            self.found.error("config-name", subject, f"the configuration {name} is {digest}")

    def _hybrid(self, selector: Selector | None) -> None:
        """Whether the manifest.json of an OCI archive names the same images as its index."""
        source = self.source
        if not isinstance(source, OciArchive):
            return
        try:
            raw = source.members.document("manifest.json")
            listed = images_of(raw, source.where) if raw is not None else []
        except (FormatError, LimitError) as error:
            self.found.damage(error, "manifest.json", "document")
            return
        if raw is None:
            return
        self.documents += 1
        spelt = [{_KEYS.get(key, key): value for key, value in image.items()} for image in listed]
        self.found.schema("docker-archive-manifest", spelt, "manifest.json")
        for position, image in enumerate(listed):
            subject = f"manifest.json, image @{position}"
            name, paths = image.get("config"), image.get("layers") or []
            if not isinstance(name, str) or not isinstance(paths, list):
                continue  # the schema's
            try:
                config = source.members.document(name)
            except (FormatError, LimitError) as error:
                self.found.damage(error, subject, "document")
                continue
            if config is None:
                if selector is None:
                    self.found.error("missing-blob", subject, f"the configuration {name} is not in the archive")
                continue
            layers = self._configs.get(Digest.of(config))
            if layers is None:
                if selector is None and not self._unread(Digest.of(config)):
                    self.found.error("hybrid", subject, f"no manifest of index.json has its configuration {name}")
                continue
            digests = [_digest_of_path(path) for path in paths]
            if len(digests) != len(layers) or any(
                stated is not None and stated != layer for stated, layer in zip(digests, layers, strict=True)
            ):
                self.found.error("hybrid", subject, "its layers are not those of the manifest in index.json")

    def _unread(self, digest: Digest) -> bool:
        """Whether a manifest that could tell was not readable with another algorithm's digest."""
        return any(one.algorithm != digest.algorithm for one in self._configs)

    # Layers

    def layers(self) -> None:
        """Reads every distinct layer, some images at a time, so that no more indexes are held than needed."""
        last = {layer.key: n for n, image in enumerate(self.images) for layer in image.layers if layer.blob is not None}
        held: dict[str, _Scanned] = {}
        reported: set[str] = set()
        batch: list[tuple[int, _Image]] = []
        wanted: dict[str, _Layer] = {}
        for number, image in enumerate(self.images):
            batch.append((number, image))
            for layer in image.layers:
                if layer.blob is not None and layer.key not in held:
                    wanted.setdefault(layer.key, layer)
            if len(wanted) < 2 * self.task.jobs and number + 1 < len(self.images):
                continue
            held.update(zip(wanted, self.task.map(self._scan, list(wanted.values())), strict=True))
            for done, one in batch:
                self._stack(one, held, reported)
                for layer in one.layers:
                    if last.get(layer.key) == done:
                        held.pop(layer.key, None)
            batch, wanted = [], {}

    def _scan(self, layer: _Layer) -> _Scanned:
        """On a thread of its own: makes no finding."""
        blob = layer.blob
        assert blob is not None
        try:
            if blob.digest is not None and not _known(blob.digest):
                blob = blob.named(None) if isinstance(blob, FileBlob) else BytesBlob(b"".join(blob.chunks()))
            algorithm = layer.diff_id.algorithm if layer.diff_id is not None and _known(layer.diff_id) else "sha256"
            return _Scanned(scan(blob, self.task, algorithm=algorithm), None, blob.size)
        except _DAMAGE as error:
            return _Scanned(None, error, blob.size)

    def _stack(self, image: _Image, held: dict[str, _Scanned], reported: set[str]) -> None:
        tree: Tree | None = Tree(())  # made only as far as a layer asks: most never do
        below: list[LayerIndex] = []
        for layer in image.layers:
            scanned = held.get(layer.key) if layer.blob is not None else None
            if scanned is None:
                tree = None  # what stands on an unknown layer cannot be judged
                continue
            self.task.check()
            first = layer.key not in reported
            reported.add(layer.key)
            if first:
                self.blobs += 1
                self.bytes += scanned.size
                self._magic(layer)
            index = scanned.layer
            if index is None:
                assert scanned.error is not None
                self.found.damage(scanned.error, layer.subject, "layer-damaged")
                tree = None
                continue
            checkable = layer.diff_id is not None and self.found.checkable(layer.diff_id, layer.subject)
            if checkable and index.diff_id != layer.diff_id:
                self.found.error("diff-id", layer.subject, f"unpacks to {index.diff_id}, stated is {layer.diff_id}")
            rules = _Rules(index)
            if first:
                self.layer_count += 1
                self.entries += len(index)
                rules.alone()
            below.append(index)
            if tree is not None and rules.asks(len(below) > 1):
                try:
                    for lower in below[len(tree.indexes) : -1]:
                        tree.add(lower)
                    rules.on(tree)
                except UnsafeError:
                    tree = None  # reported by the layer's own rules
            for (rule, text), (count, path) in rules.broken.items():
                severity = self.found.error if rule in _ERRORS else self.found.warn
                severity(rule, layer.subject, _counted(text, count, path))

    def _magic(self, layer: _Layer) -> None:
        if layer.media_type is None or layer.blob is None:
            return
        stated = mediatypes.layer_codec(layer.media_type)
        if stated is not None and layer.blob.size and codec.of(layer.blob) != stated:
            self.found.warn(
                "media-type", layer.subject, f"{layer.media_type} states {stated}, the bytes are {codec.of(layer.blob)}"
            )


def _known(digest: Digest) -> bool:
    return digest.algorithm in ("sha256", "sha512")


def _is_tar(media_type: str) -> bool:
    if mediatypes.layer_codec(media_type) is not None or not media_type:
        return True
    return ("layer" in media_type or "diff" in media_type) and "+encrypted" not in media_type


def _key(blob: Blob | None, diff_id: Digest | None) -> str:
    """What makes two layers one read."""
    if blob is None:
        return ""
    name = str(blob.digest) if blob.digest is not None else blob.identity or _place(blob)
    return f"{diff_id.algorithm if diff_id is not None else 'sha256'} {name}"


def _place(blob: Blob) -> str:
    return f"{blob.offset}:{blob.size}" if isinstance(blob, FileBlob) else f"memory {id(blob)}"


def _digest_of_path(path: object) -> Digest | None:
    parts = path.removeprefix("./").split("/") if isinstance(path, str) else []
    if len(parts) == 3 and parts[0] == "blobs":
        try:
            return Digest.parse(f"{parts[1]}:{parts[2]}")
        except FormatError:
            return None
    return None


def _counted(text: str, count: int, path: bytes) -> str:
    """One sentence for all that break a rule in one place, with the first as example."""
    if not path:
        return text if count == 1 else f"{text} ({count} times)"
    shown = "/" + path[:150].decode("utf-8", "replace")
    return f"{text}: {shown}" if count == 1 else f"{text}: {count}, the first {shown}"


# ------------------------------------------------------------------------------------------------ one layer

_ERRORS = frozenset({"unsafe-path", "invalid-whiteout", "hardlink-broken", "hardlink-directory"})


class _Rules:
    """The tar rules of one layer: `broken` counts each with the first path that breaks it."""

    def __init__(self, index: LayerIndex) -> None:
        self.index = index
        self.broken: dict[tuple[str, str], tuple[int, bytes]] = {}
        self._kinds: dict[bytes, int] | None = None
        self._whiteouts: set[bytes] = set()
        self._outside: list[int] = []
        self._loose: dict[bytes, bytes] = {}

    def _breaks(self, rule: str, text: str, path: bytes, count: int = 1) -> None:
        known, first = self.broken.get((rule, text), (0, path))
        self.broken[rule, text] = (known + count, first)

    def _learn(self, report: bool) -> dict[bytes, int]:
        """One pass in tar order: what the layer lists, what it hides, links and parents that lead out of it."""
        if self._kinds is not None:
            return self._kinds
        index = self.index
        kinds: dict[bytes, int] = {}
        hidden = self._whiteouts
        opaque: dict[bytes, bytes] = {}
        links: list[int] = []
        parents: dict[bytes, bytes] = {}
        self._kinds = kinds
        say = self._breaks if report else (lambda *_: None)
        for row, path in enumerate(index.paths):
            kind = index.kinds[row]
            if escapes(path):
                say("unsafe-path", "paths that leave the root", path)
                continue
            if kind >= Kind.WHITEOUT:
                if kind == Kind.INVALID:
                    say("invalid-whiteout", "whiteouts of nothing", path)
                    continue
                if kind == Kind.METADATA:
                    say("aufs-metadata", "AUFS metadata", path)
                    continue
                if kind == Kind.OPAQUE:
                    if path and kinds.get(path) != Kind.DIRECTORY:
                        opaque.setdefault(path, path)
                    parents.setdefault(path, path)
                    continue
                if path in hidden:
                    say("duplicate-path", "paths hidden twice", path)
                hidden.add(path)
            else:
                if path in kinds:
                    say("duplicate-path", "paths listed twice", path)
                if kind == Kind.HARDLINK:
                    target = index.links[row]
                    before = kinds.get(target)
                    if escapes(target):
                        say("unsafe-path", "hard links that leave the root", path)
                    elif target == path:
                        say("hardlink-broken", "hard links to themselves", path)
                    elif before == Kind.DIRECTORY:
                        say("hardlink-directory", "hard links to directories", path)
                    elif before is None:
                        links.append(row)
                kinds[path] = kind
            slash = path.rfind(b"/")
            if slash > 0:
                parents.setdefault(path[:slash], path)
        for row in links:
            target = index.links[row]
            later = kinds.get(target)
            if later is None:
                self._outside.append(row)
            elif later == Kind.DIRECTORY:
                say("hardlink-directory", "hard links to directories", index.paths[row])
            else:
                say("hardlink-late", "hard links before their target", index.paths[row])
        for path in opaque:
            if kinds.get(path) == Kind.DIRECTORY:
                say("opaque-order", "opaque markers before their directory", path)
        for path in hidden:
            if path in kinds:
                say("whiteout-and-entry", "paths both hidden and listed", path)
        for parent, child in parents.items():
            if not parent or kinds.get(parent) == Kind.DIRECTORY:
                continue
            at = parent
            while at and at not in kinds:
                at = at.rpartition(b"/")[0]
            if at and kinds[at] != Kind.DIRECTORY:
                say("below-non-directory", "entries below a link or file of the same layer", child)
            else:
                self._loose[parent] = child
                say("missing-parent", "parent directories not listed", parent)
        return kinds

    def alone(self) -> None:
        """What the layer shows by itself."""
        self._learn(report=True)
        for note in self.index.notes:
            self._breaks(note.rule, note.text, note.path)
        if self.index.notes_dropped:
            last = self.index.notes[-1]
            self._breaks(last.rule, last.text, last.path, self.index.notes_dropped)

    def asks(self, lower: bool) -> bool:
        """Whether anything of the layer depends on the layers below; `lower`: there are some."""
        self._learn(report=False)
        return bool(self._outside or (lower and self._loose))

    def on(self, tree: Tree) -> None:
        """What shows on the layers below; then puts the layer on them. Raises `UnsafeError` as the tree does."""
        index = self.index
        kinds = self._learn(report=False)
        for parent, child in self._loose.items():
            if self._blocked(tree, parent, kinds):
                self._breaks("below-non-directory", "entries below a link or file of a lower layer", child)
        lower = {row: tree.find(index.links[row]) for row in self._outside}
        number, known = len(tree.indexes), len(tree.broken)
        tree.add(index)
        lost = {tree.row(ref) for _, ref in tree.broken[known:] if tree.layer(ref) == number}
        for row, target in lower.items():
            path = index.paths[row]
            if isinstance(target, Directory):
                self._breaks("hardlink-directory", "hard links to directories", path)
            elif row in lost:
                self._breaks("hardlink-broken", "hard links to nothing", path)
            elif target is not None:
                self._breaks("hardlink-across", "hard links to files of lower layers", path)

    def _blocked(self, tree: Tree, path: bytes, kinds: dict[bytes, int]) -> bool:
        """Whether something other than a directory stands on the way in the layers below."""
        directory = tree.root
        parts = path.split(b"/")
        for depth, name in enumerate(parts):
            child = directory.children.get(name)
            if child is None:
                return False
            if not isinstance(child, Directory):
                at = b"/".join(parts[: depth + 1])
                return kinds.get(at) != Kind.DIRECTORY and at not in self._whiteouts
            directory = child
        return False
