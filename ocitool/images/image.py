"""An image: manifest, configuration and layers. Layers, diff_ids and history are paired here, and only here.

If documents disagree, what cannot be paired for certain is not paired: see `Image.aligned` and `Image.history_aligned`.
"""

from collections.abc import Sequence
from typing import NamedTuple
from weakref import WeakValueDictionary

from ocitool import limits
from ocitool.blob import Blob, BytesBlob, FileBlob, missing_blob
from ocitool.digest import Digest, verified
from ocitool.errors import CancelledError, IntegrityError, LimitError, OcitoolError
from ocitool.images.platforms import with_missing_values
from ocitool.layers import codecs
from ocitool.spec import mediatypes
from ocitool.spec.document import parse_object
from ocitool.spec.manifest import Config, Descriptor, Index, Manifest, Platform, read, read_unknown
from ocitool.spec.mediatypes import LayerType
from ocitool.transports.source import DockerImageRecord, Source


class Layer(NamedTuple):
    """A layer as its image states it; the lowest has number 0.

    `blob` is None if the bytes are missing. `size` is the stored size in bytes. `digest` is None in docker archives
    that name no blobs. `created_by` is the instruction that made the layer, from the history.
    """

    number: int
    blob: Blob | None
    digest: Digest | None
    diff_id: Digest | None
    size: int
    media_type: str
    created_by: str | None
    created: str | None

    @property
    def type(self) -> LayerType:
        """What the layer's bytes are: by its media type; by the first bytes if the media type is unknown."""
        stated = mediatypes.layer_type(self.media_type)
        if stated.content != "unknown" or self.blob is None or self.blob.remote:
            return stated
        return _type_of(self.blob)

    @property
    def compression(self) -> str | None:
        """The compression by the first bytes; by the media type if the blob is not on this machine or its first bytes
        cannot show it (an encrypted layer). None if neither tells."""
        stated = mediatypes.layer_type(self.media_type)
        if self.blob is None or self.blob.remote or not (stated.tar or stated.content == "unknown"):
            return stated.codec
        if self.digest is None and stated.tar:
            return stated.codec  # a docker archive states no media type: `_record_type` found it in the first bytes
        return codecs.detected(self.blob)


class Image(NamedTuple):
    """An image. `manifest` is None for docker archives. `image_id` is the digest of the configuration (for a v1 archive
    its own id).

    `aligned`: there are as many diff_ids as layers, so each layer has its own. `history_aligned`: the same for history
    entries.
    """

    where: str
    transport: str
    tags: tuple[str, ...]
    digest: Digest | None
    manifest: Manifest | None
    config: Config
    image_id: str
    layers: tuple[Layer, ...]
    platform: Platform
    aligned: bool
    history_aligned: bool
    described: int | None = None
    """Only if an engine described the image: its size in bytes. `config` is then made of the engine's answers, and not
    its exact bytes; `image_id` is the engine's, and layers cannot be read."""

    @property
    def is_image(self) -> bool:
        """False for an artifact: a manifest whose config is not an image configuration."""
        return self.manifest is None or self.manifest.is_image

    def is_foreign(self, layer: Layer) -> bool:
        """Returns whether a layer's bytes are kept elsewhere (`urls`), or may not be distributed."""
        elsewhere = self.manifest is not None and self.manifest.layers[layer.number].urls
        return bool(elsewhere) or mediatypes.is_foreign(layer.media_type)

    @property
    def media_type(self) -> str:
        return self.manifest.media_type if self.manifest else mediatypes.DOCKER_MANIFEST

    @property
    def missing(self) -> tuple[Digest, ...]:
        """Digests of the layers whose bytes are missing."""
        return tuple(layer.digest for layer in self.layers if layer.blob is None and layer.digest is not None)

    @property
    def sizes_known(self) -> bool:
        """Whether layers have their sizes: not if an engine described the image, and its history cannot be paired with them."""
        return self.described is None or (self.history_aligned and bool(self.config.history))

    @property
    def size(self) -> int:
        """Stored bytes of all layers."""
        if self.described is not None:
            return self.described
        return sum(layer.size for layer in self.layers)


def _type_of(blob: Blob) -> LayerType:
    """Returns what a layer of unknown media type is, by its first bytes. Compressed content is not looked into."""
    found = codecs.detected(blob)
    if found != "none":
        return LayerType("unknown", found)
    from ocitool.layers import magic

    if magic.is_tar(blob):
        return LayerType("tar", "none", tar=True, plain=True)
    known = magic.recognise(blob)
    return LayerType(known.content if known is not None else "unknown", None)


def document_bytes(source: Source, descriptor: Descriptor, what: str) -> bytes:
    """Returns a document's verified bytes. `what` names it in errors.

    Raises `NotFoundError` if the blob is missing, `IntegrityError` if the bytes are others, `LimitError` if it is too
    large.
    """
    where = f"{source.where}: {what} {descriptor.digest.algorithm}:{descriptor.digest.short}"
    blob = source.blob(descriptor)
    if blob is None:
        embedded = descriptor.embedded()
        if embedded is None:
            raise missing_blob(what, descriptor.digest, source.where)
        blob = BytesBlob(embedded)
    if blob.size != descriptor.size:
        raise IntegrityError(f"{blob.size} bytes where {descriptor.size} are stated", where)
    if blob.size > limits.DOCUMENT_SIZE:
        raise LimitError(f"a document of {blob.size} bytes, more than {limits.DOCUMENT_SIZE}", where)
    try:
        chunks = (blob.pread(blob.size, 0),) if isinstance(blob, FileBlob) else blob.chunks()
        return b"".join(verified(chunks, descriptor.digest, descriptor.size))
    except OcitoolError as error:
        raise error.at(where) from None


def read_manifest(source: Source, descriptor: Descriptor) -> Manifest | Index:
    """Returns the manifest or index of a descriptor; one that was read before is not read again."""
    known = source.manifests.get(descriptor.stated)
    if known is not None:
        return known
    where = f"{source.where}: manifest {descriptor.digest.algorithm}:{descriptor.digest.short}"
    return read(document_bytes(source, descriptor, "manifest"), where, descriptor.media_type)


def read_entry(source: Source, descriptor: Descriptor) -> Manifest | Index | None:
    """Returns the manifest or index that an entry of an index leads to; None if it is neither, which an index may list
    too (image-index.md, "manifests").

    For an unknown media type the content decides, except at a registry, where that would be one more request. Raises
    `NotFoundError` if it is missing, and what `read_manifest` raises.
    """
    if descriptor.media_type in mediatypes.DOCUMENTS or not descriptor.media_type:
        return read_manifest(source, descriptor)
    if source.remote:
        return None
    raw = _object_bytes(source, descriptor)
    where = f"{source.where}: manifest {descriptor.digest.algorithm}:{descriptor.digest.short}"
    return read_unknown(raw, where, descriptor.media_type) if raw is not None else None


def _object_bytes(source: Source, descriptor: Descriptor) -> bytes | None:
    """Returns the verified bytes of what may be a JSON object of bounded size; None for anything else."""
    blob = source.blob(descriptor)
    sound = blob is not None and blob.size == descriptor.size
    if blob is not None and sound and (blob.size > limits.DOCUMENT_SIZE or blob.pread(64, 0).lstrip()[:1] != b"{"):
        return None
    return document_bytes(source, descriptor, "manifest")


def platform_of_config(source: Source, manifest: Manifest) -> Platform:
    """Returns the platform that an image's configuration states; one without values if the configuration cannot be
    read."""
    try:
        raw = document_bytes(source, manifest.config, "config")
        return Config(raw, parse_object(raw, source.where)).platform
    except CancelledError:
        raise
    except OcitoolError:
        return Platform(None, None, None)


_CONFIGS: WeakValueDictionary[Digest, Config] = WeakValueDictionary()
"""Configurations in use, by digest: thousands of images may share one of 4 MiB, which is parsed and held once."""


def from_manifest(source: Source, descriptor: Descriptor, manifest: Manifest, tags: tuple[str, ...]) -> Image:
    """Returns the image of a manifest. Reads its configuration, not its layers. Raises what `document_bytes` and
    parsing raise."""
    if manifest.is_image:
        raw = document_bytes(source, manifest.config, "config")
        held = _CONFIGS.get(manifest.config.digest)
        config = held if held is not None and held.raw == raw else None
        if config is None:
            config = Config(raw, parse_object(raw, f"{source.where}: config {manifest.config.digest.short}"))
            _CONFIGS[manifest.config.digest] = config
    else:
        config = Config(b"{}", {})  # an artifact's config has a format of its own
    rows = [_stored(source, layer) for layer in manifest.layers]
    layers, aligned, history_aligned = _zip(config, rows)
    if manifest.is_image and not aligned:
        _tell_counts(source, f"the manifest {descriptor.digest}", len(rows), config)
    return Image(
        source.where, source.transport.name, tags, descriptor.digest, manifest, config, str(manifest.config.digest),
        layers, with_missing_values(config.platform, descriptor.platform), aligned or not manifest.is_image, history_aligned,
    )  # fmt: skip


def _tell_counts(source: Source, what: str, named: int, config: Config) -> None:
    """Adds a notice that an image may have lost layers: its documents state different numbers of layers.

    A configuration that states none at all, as in v1 archives, is no sign of that.
    """
    stated = len(config.diff_ids)
    if stated:
        layers = "1 layer" if named == 1 else f"{named} layers"
        source.tell("layers", f"{source.where}: {what} names {layers}, its configuration {config.digest} states {stated}")


def _stored(source: Source, layer: Descriptor) -> tuple[Blob | None, Digest, int, str]:
    blob = source.blob(layer)
    if blob is None:
        embedded = layer.embedded()
        blob = BytesBlob(embedded, layer.digest) if embedded is not None else None
    if blob is not None and blob.size != layer.size:
        raise IntegrityError(f"{blob.size} bytes where {layer.size} are stated", f"{source.where}: layer {layer.digest}")
    return blob, layer.digest, layer.size, layer.media_type


def from_record(source: Source, record: DockerImageRecord) -> Image:
    """Returns the image of a docker archive's record. Raises the record's problem, and what parsing its configuration
    raises."""
    if record.problem is not None:
        raise record.problem
    config = Config(record.config, parse_object(record.config, f"{source.where}: config"))
    rows = [
        (blob, blob.digest if blob else None, blob.size if blob else 0, _record_type(record, blob)) for blob in record.layers
    ]
    layers, aligned, history_aligned = _zip(config, rows)
    if not aligned:
        _tell_counts(source, f"manifest.json, image @{record.number},", len(rows), config)
    return Image(
        source.where, source.transport.name, record.tags, None, None, config, record.image_id or str(config.digest), layers,
        config.platform, aligned, history_aligned, record.described,
    )  # fmt: skip


def _record_type(record: DockerImageRecord, blob: Blob | None) -> str:
    if record.layer_type is not None:
        return record.layer_type
    found = codecs.detected(blob) if blob is not None and not blob.remote else "none"
    return mediatypes.DOCKER_LAYER if found == "none" else f"{mediatypes.DOCKER_LAYER}.{found}"


def _zip(config: Config, rows: Sequence[tuple[Blob | None, Digest | None, int, str]]) -> tuple[tuple[Layer, ...], bool, bool]:
    """Returns layers with their diff_ids and history entries, paired if the counts agree, and whether each of the two
    agreed."""
    diff_ids = config.diff_ids
    made = [entry for entry in config.history if not entry.empty_layer]
    aligned = len(diff_ids) == len(rows)
    history_aligned = len(made) == len(rows)
    layers = tuple(
        Layer(
            index, blob, digest, diff_ids[index] if aligned else None, size, media_type,
            made[index].created_by if history_aligned else None, made[index].created if history_aligned else None,
        )
        for index, (blob, digest, size, media_type) in enumerate(rows)
    )  # fmt: skip
    return layers, aligned, history_aligned or not config.history
