"""Descriptors, manifests, indexes and configurations as values over their documents.

Sources: image-spec descriptor.md, manifest.md, image-index.md, config.md; Docker image manifest version 2 schema 2.
Fields that are used are checked here (`FormatError`); everything else that the specification requires is checked by
`ocitool.spec.schema`.
"""

import base64
import binascii
import contextlib
from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

from ocitool.digest import Digest
from ocitool.errors import FormatError, LimitError, UnsupportedError
from ocitool.spec import mediatypes
from ocitool.spec.document import Document, parse_object

REF_NAME = "org.opencontainers.image.ref.name"
CONTAINERD_NAME = "io.containerd.image.name"
BASE_NAME = "org.opencontainers.image.base.name"
BASE_DIGEST = "org.opencontainers.image.base.digest"
ATTESTATION_TYPE = "vnd.docker.reference.type"
ATTESTATION_SUBJECT = "vnd.docker.reference.digest"


class Platform(NamedTuple):
    """A platform (image-index.md, "platform"); None for what a document does not state. Compare platforms by
    `platforms.normalized`."""

    os: str | None
    architecture: str | None
    variant: str | None
    os_version: str | None = None
    os_features: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The platform as containerd writes it: `linux/arm64/v8`, `windows(10.0.17763.1)/amd64`, `linux(+erofs)/amd64`."""
        only = "".join((self.os_version or "", *(f"+{feature}" for feature in self.os_features)))
        name = (self.os or "unknown") + (f"({only})" if only else "")
        return "/".join(part for part in (name, self.architecture or "unknown", self.variant) if part)


Stated = tuple[str, Digest, int]
"""The required members of a descriptor (descriptor.md): media type, digest and size. They decide how its document is read."""


class Descriptor(NamedTuple):
    """A descriptor (image-spec descriptor.md). `fields` is the whole object, unknown members included."""

    media_type: str
    digest: Digest
    size: int
    fields: Mapping[str, Any]

    @property
    def annotations(self) -> dict[str, str]:
        """Its annotations; values that are not strings are left out."""
        return string_members(self.fields.get("annotations"))

    @property
    def platform(self) -> Platform | None:
        """Its platform; None if it states none."""
        found = self.fields.get("platform")
        return parse_platform_object(found) if isinstance(found, dict) else None

    @property
    def urls(self) -> tuple[str, ...]:
        urls = self.fields.get("urls")
        return tuple(url for url in urls if isinstance(url, str)) if isinstance(urls, list) else ()

    @property
    def stated(self) -> "Stated":
        """Media type, digest and size together, as a key."""
        return self[:3]

    @property
    def is_attestation(self) -> bool:
        """Whether it is a buildx attestation: a manifest for no platform, listed beside the image that it is about."""
        return self.annotations.get(ATTESTATION_TYPE) == "attestation-manifest"

    def embedded(self) -> bytes | None:
        """Returns the content that the descriptor carries (descriptor.md, "data"), verified; None if it carries none.
        Raises `FormatError`."""
        data = self.fields.get("data")
        if not isinstance(data, str):
            return None
        try:
            content = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError):
            raise FormatError(f"the embedded data of {self.digest} is not base64") from None
        hasher = self.digest.hasher()
        hasher.update(content)
        if len(content) != self.size or hasher.hexdigest() != self.digest.encoded:
            raise FormatError(f"the embedded data of {self.digest} is not what its digest says")
        return content


class InvalidDescriptor(NamedTuple):
    """An entry of an index that is not a valid descriptor: its position, its value, and what is wrong."""

    position: int
    value: Any
    what: str

    @property
    def fields(self) -> Mapping[str, Any]:
        """Its members; none if it is not an object."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def media_type(self) -> str:
        return string(self.fields.get("mediaType")) or ""

    @property
    def annotations(self) -> dict[str, str]:
        return string_members(self.fields.get("annotations"))

    @property
    def platform(self) -> Platform | None:
        found = self.fields.get("platform")
        return parse_platform_object(found) if isinstance(found, dict) else None

    @property
    def digest(self) -> Digest | None:
        """Its digest, if that is valid; else None."""
        try:
            return Digest.parse(self.fields.get("digest"))
        except FormatError:
            return None

    def error(self, where: str) -> FormatError:
        """Returns the error to raise if the entry must be read."""
        return FormatError(f"entry @{self.position}: {self.what}", where)


def with_names(descriptor: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Returns a descriptor's object with these names (`REF_NAME`, `CONTAINERD_NAME`) and no others; all else stays."""
    entry = dict(descriptor)
    given = entry.pop("annotations", None)
    kept = {k: v for k, v in given.items() if k not in (REF_NAME, CONTAINERD_NAME)} if isinstance(given, dict) else {}
    annotations = {**kept, **names}
    if annotations:
        entry["annotations"] = annotations
    return entry


def string_members(value: object) -> dict[str, str]:
    """Returns the members of an object that are strings, as annotations and labels must be; none if it is not an
    object."""
    if not isinstance(value, dict):
        return {}
    return {key: text for key, text in value.items() if isinstance(text, str)}


def string(value: object) -> str | None:
    """Returns the value if it is a non-empty string; else None."""
    return value if isinstance(value, str) and value else None


def parse_platform_object(fields: Mapping[str, Any]) -> Platform:
    """Returns the platform of a `platform` object or a configuration; values of a wrong type read as absent."""
    features = fields.get("os.features")
    return Platform(
        string(fields.get("os")), string(fields.get("architecture")), string(fields.get("variant")),
        string(fields.get("os.version")),
        tuple(one for one in features if isinstance(one, str) and one) if isinstance(features, list) else (),
    )  # fmt: skip


def parse_descriptor(value: object, where: str) -> Descriptor:
    """Returns the descriptor of a JSON value. Raises `FormatError`."""
    if not isinstance(value, dict):
        raise FormatError("a descriptor is not an object", where)
    media_type, size = value.get("mediaType", ""), value.get("size")
    if not isinstance(media_type, str):
        raise FormatError("a descriptor's mediaType is not a string", where)
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 63:
        raise FormatError("a descriptor without a size" if size is None else "a descriptor with an invalid size", where)
    try:
        digest = Digest.parse(value.get("digest"))
    except FormatError:
        what = "without a digest" if value.get("digest") is None else "with an invalid digest"
        raise FormatError(f"a descriptor {what}", where) from None
    return Descriptor(media_type, digest, size, value)


def list_member(fields: Mapping[str, Any], key: str, where: str) -> list[Any]:
    """Returns the list that is under a key, empty if it is absent or null. Raises `FormatError` for any other value."""
    found = fields.get(key)
    if found is None:
        return []
    if not isinstance(found, list):
        raise FormatError(f"{key} is not a list", where)
    return found


def _entry(value: object, position: int, where: str) -> Descriptor | InvalidDescriptor:
    try:
        return parse_descriptor(value, where)
    except FormatError as error:
        return InvalidDescriptor(position, value, error.what)


class Manifest(Document):
    """An image manifest, OCI or Docker schema 2; also the manifest of an artifact (`is_image` is false)."""

    config: Descriptor
    layers: tuple[Descriptor, ...]

    def __init__(self, raw: bytes, fields: Mapping[str, Any], where: str) -> None:
        super().__init__(raw, fields)
        self.config = parse_descriptor(fields.get("config"), where)
        self.layers = tuple(parse_descriptor(value, where) for value in list_member(fields, "layers", where))

    @property
    def media_type(self) -> str:
        return string(self.fields.get("mediaType")) or mediatypes.OCI_MANIFEST

    @property
    def annotations(self) -> dict[str, str]:
        return string_members(self.fields.get("annotations"))

    @property
    def artifact_type(self) -> str | None:
        """The type of an artifact (manifest.md, "Guidelines for Artifact Usage"); None for an image."""
        stated = string(self.fields.get("artifactType"))
        if stated:
            return stated
        return None if self.config.media_type in mediatypes.CONFIGS else self.config.media_type

    @property
    def is_image(self) -> bool:
        """Whether the config is an image configuration; otherwise it is an artifact."""
        return self.config.media_type in mediatypes.CONFIGS or self.config.media_type == ""


class Index(Document):
    """An image index or Docker manifest list. `"manifests": null`, which some tools write, is an empty list.

    `entries` are all that `manifests` lists, in its order; `manifests` and `invalid` are the valid and the invalid
    ones. An invalid entry does not hide others, and is written back as it is if the index is written again.
    """

    entries: tuple[Descriptor | InvalidDescriptor, ...]
    manifests: tuple[Descriptor, ...]
    invalid: tuple[InvalidDescriptor, ...]

    def __init__(self, raw: bytes, fields: Mapping[str, Any], where: str) -> None:
        super().__init__(raw, fields)
        self.entries = tuple(_entry(value, n, where) for n, value in enumerate(list_member(fields, "manifests", where)))
        self.manifests = tuple(one for one in self.entries if isinstance(one, Descriptor))
        self.invalid = tuple(one for one in self.entries if isinstance(one, InvalidDescriptor))

    @property
    def media_type(self) -> str:
        return string(self.fields.get("mediaType")) or mediatypes.OCI_INDEX


def schema_1(where: str) -> UnsupportedError:
    """Returns the error for a manifest in the form that came before schema 2."""
    hint = "skopeo copy --format v2s2 writes the image anew in a form that is"
    return UnsupportedError("Docker schema 1 manifests are not supported", where, hint=hint)


def read(raw: bytes, where: str, stated: str | None = None) -> Manifest | Index:
    """Returns the manifest or index of a document, told apart by content. `stated`: the media type of its descriptor,
    if there is one.

    A document that could be read as both, or that contradicts its descriptor's media type, raises `FormatError`
    (CVE-2021-41190); a document of another kind raises `UnsupportedError`.
    """
    fields = parse_object(raw, where)
    own = fields.get("mediaType")
    if own is not None and not isinstance(own, str):
        raise FormatError("mediaType is not a string", where)
    index_like = "manifests" in fields
    manifest_like = "layers" in fields or "config" in fields
    if index_like and manifest_like:
        raise FormatError("the document is a manifest and an index at once", where)
    if "fsLayers" in fields:
        raise schema_1(where)
    known = mediatypes.INDEXES | mediatypes.MANIFESTS
    if own and stated in known and own != stated:
        raise FormatError(f"the document says {own}, its descriptor {stated}", where)
    says = own or stated
    if (says in mediatypes.MANIFESTS and index_like) or (says in mediatypes.INDEXES and manifest_like):
        raise FormatError(f"the document is not the {says} it is said to be", where)
    if index_like or (says in mediatypes.INDEXES and not manifest_like):
        return Index(raw, fields, where)
    if manifest_like:
        return Manifest(raw, fields, where)
    raise UnsupportedError("neither a manifest nor an index", where)


def read_unknown(raw: bytes, where: str, stated: str) -> Manifest | Index | None:
    """Returns the manifest or index of a document of unknown media type, by its content; None if it is neither.

    Raises `FormatError`, as `read` does, for a document that states itself to be a manifest or index, or could be read
    as both.
    """
    try:
        fields = parse_object(raw, where)
    except (FormatError, LimitError):
        return None
    manifest_like = "layers" in fields or "config" in fields
    try:
        return read(raw, where, stated)
    except FormatError:
        if fields.get("mediaType") in mediatypes.DOCUMENTS or ("manifests" in fields and manifest_like):
            raise
        return None


def referenced_descriptors(raw: bytes, where: str, media_type: str) -> tuple[Descriptor, ...]:
    """Returns what a manifest of a kind that is not supported refers to: the blobs of an artifact manifest, or the
    layers of a Docker schema 1 manifest, which states no sizes (here 0)."""
    fields = parse_object(raw, where)
    if media_type == mediatypes.OCI_ARTIFACT:
        entries = (_entry(value, n, where) for n, value in enumerate(list_member(fields, "blobs", where)))
        return tuple(one for one in entries if isinstance(one, Descriptor))
    found = []
    for layer in list_member(fields, "fsLayers", where):
        with contextlib.suppress(FormatError):
            digest = Digest.parse(layer.get("blobSum") if isinstance(layer, dict) else None)
            found.append(Descriptor("", digest, 0, {"digest": str(digest)}))
    return tuple(found)


class HistoryEntry(NamedTuple):
    """A history entry (config.md, "history"); None for what the document does not state."""

    created: str | None
    created_by: str | None
    comment: str | None
    empty_layer: bool


class Config(Document):
    """An image configuration (config.md). What is missing or of a wrong type reads as absent; nothing raises."""

    @cached_property
    def platform(self) -> Platform:
        return parse_platform_object(self.fields)

    @property
    def created(self) -> str | None:
        return string(self.fields.get("created"))

    @property
    def author(self) -> str | None:
        return string(self.fields.get("author"))

    @property
    def settings(self) -> dict[str, Any]:
        """The `config` section: the defaults for containers."""
        found = self.fields.get("config")
        return found if isinstance(found, dict) else {}

    @cached_property
    def diff_ids(self) -> tuple[Digest | None, ...]:
        """The diff_ids as stated, lowest layer first; None for an invalid one."""
        rootfs = self.fields.get("rootfs")
        stated = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
        if not isinstance(stated, list):
            return ()
        found: list[Digest | None] = []
        for text in stated:
            try:
                found.append(Digest.parse(text))
            except FormatError:
                found.append(None)
        return tuple(found)

    @cached_property
    def history(self) -> tuple[HistoryEntry, ...]:
        stated = self.fields.get("history")
        if not isinstance(stated, list):
            return ()
        found = []
        for item in stated:  # without a function for each member: thousands of configurations have dozens of entries
            if isinstance(item, dict):
                get = item.get
                created, created_by, comment = get("created"), get("created_by"), get("comment")
                found.append(HistoryEntry(
                    created if isinstance(created, str) and created else None,
                    created_by if isinstance(created_by, str) and created_by else None,
                    comment if isinstance(comment, str) and comment else None, get("empty_layer") is True,
                ))  # fmt: skip
        return tuple(found)

    def keys(self, setting: str) -> tuple[str, ...]:
        """The keys of a set written as an object: `Volumes`, `ExposedPorts`."""
        found = self.settings.get(setting)
        return tuple(sorted(found)) if isinstance(found, dict) else ()
