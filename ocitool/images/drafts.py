"""Drafts of images to be written: layers, configuration and annotations, from which the documents are made.

Every editing command calls `start` (the image as it is), then pure functions from draft to draft, then `finish`. Documents
that did not change are not serialised again: an image with the same layers and configuration keeps both documents byte for
byte.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ocitool.blob import Blob, BytesBlob
from ocitool.digest import Digest
from ocitool.errors import FormatError, UsageError
from ocitool.images.image import Image, Layer
from ocitool.spec import mediatypes
from ocitool.spec.document import serialised
from ocitool.spec.manifest import Descriptor
from ocitool.transports.sink import OutputImage, OutputLayer


class ImageDraft(NamedTuple):
    """An image to be written. `config`: the new fields of the configuration, with the new `history`; `rootfs` follows from
    the layers. `annotations`: the new annotations of the manifest; None if they stay. `dated`: the change itself sets the
    time of creation."""

    image: Image
    layers: tuple[OutputLayer, ...]
    config: Mapping[str, Any]
    annotations: Mapping[str, str] | None = None
    dated: bool = False

    @property
    def diff_ids(self) -> list[str]:
        """The diff_ids of the layers."""
        return [str(layer.diff_id) for layer in self.layers]

    @property
    def is_configured_anew(self) -> bool:
        """Whether the configuration differs from that of the image."""
        return self.config != self.image.config.fields or self.diff_ids != list(map(str, self.image.config.diff_ids))

    def differs(self, other: ImageDraft) -> bool:
        """Returns whether the drafts make different images, by layers, configuration and annotations."""
        ours, theirs = ([(one.digest, one.descriptor) for one in draft.layers] for draft in (self, other))
        return ours != theirs or (self.config, self.annotations) != (other.config, other.annotations)


def kept(image: Image, layer: Layer) -> OutputLayer:
    """Returns a layer of the image as an output layer. It must have a digest: layers of docker archives must be hashed
    first."""
    descriptor = image.manifest.layers[layer.number].fields if image.manifest else None
    assert layer.digest is not None
    return OutputLayer(layer.digest, layer.size, layer.diff_id, layer.media_type, "kept", layer.blob, descriptor)


def start(image: Image, layers: Sequence[OutputLayer]) -> ImageDraft:
    """Returns the draft of an unchanged image with these layers. A configuration without diff_ids, as in v1 archives, gets
    those of the layers. Raises `FormatError` if layers and diff_ids do not align, `UsageError` for an artifact."""
    if not image.is_image:
        raise UsageError("expected an image, got an artifact", image.where)
    if any(layer.diff_id is None for layer in layers) or (image.config.diff_ids and not image.aligned):
        raise FormatError("layers and diff_ids do not align", image.where, hint="ocitool validate says more")
    return ImageDraft(image, tuple(layers), image.config.fields)


def replaced(draft: ImageDraft, number: int, layer: OutputLayer) -> ImageDraft:
    """Returns the draft with another layer in place of a layer."""
    return draft._replace(layers=(*draft.layers[:number], layer, *draft.layers[number + 1 :]))


def inserted(draft: ImageDraft, number: int, layer: OutputLayer, entry: Mapping[str, Any]) -> ImageDraft:
    """Returns the draft with one more layer, which gets this number, and its history entry."""
    config = dict(draft.config)
    history = _history(draft)
    if history is not None:
        at = _positions(history)[number] if number < len(draft.layers) else len(history)
        config["history"] = [*history[:at], dict(entry), *history[at:]]
    layers = (*draft.layers[:number], layer, *draft.layers[number:])
    return draft._replace(layers=layers, config=config)


def dropped(draft: ImageDraft, number: int) -> ImageDraft:
    """Returns the draft without a layer and its history entry."""
    config = dict(draft.config)
    history = _history(draft)
    if history is not None:
        at = _positions(history)[number]
        config["history"] = [*history[:at], *history[at + 1 :]]
    return draft._replace(layers=(*draft.layers[:number], *draft.layers[number + 1 :]), config=config)


def noted(draft: ImageDraft, entry: Mapping[str, Any]) -> ImageDraft:
    """Returns the draft with one more history entry that has no layer."""
    config = dict(draft.config)
    history = _history(draft)
    if history is not None:
        config["history"] = [*history, {**entry, "empty_layer": True}]
    return draft._replace(config=config)


def configured(draft: ImageDraft, config: Mapping[str, Any]) -> ImageDraft:
    """Returns the draft with another configuration. `config` must have the history that belongs to the layers."""
    return draft._replace(config=config)


def annotated(draft: ImageDraft, annotations: Mapping[str, str]) -> ImageDraft:
    """Returns the draft with other annotations of the manifest."""
    return draft._replace(annotations=annotations)


def squashed(draft: ImageDraft, count: int, layer: OutputLayer | None, entry: Mapping[str, Any]) -> ImageDraft:
    """Returns the draft with one layer, or None for no layer, on top. The draft has the lower layers of an image that had
    `count`; the new layer replaces the others. Their history entries are removed, and `entry` takes the place of the last
    one; entries without layers stay. A history that does not align is replaced by one that does."""
    config = dict(draft.config)
    history = aligned_history(config, count)
    if history is None and "history" in config:
        unstated = {**_placeholder_entry(), "empty_layer": True}
        config["history"] = [
            *(_placeholder_entry() for _ in draft.layers),
            unstated,
            *([dict(entry)] if layer is not None else ()),
        ]
    elif history is not None:
        at = _positions(history)
        gone = set(at[len(draft.layers) :])
        before = [old for number, old in enumerate(history[: at[-1]]) if number not in gone]
        new = dict(entry) if layer is not None else {**entry, "empty_layer": True}
        config["history"] = [*before, new, *history[at[-1] + 1 :]]
    layers = draft.layers if layer is None else (*draft.layers, layer)
    return draft._replace(layers=layers, config=config)


def layered(draft: ImageDraft, layers: Sequence[OutputLayer], history: Sequence[Mapping[str, Any]] | None) -> ImageDraft:
    """Returns the draft with other layers and their history; None removes the history."""
    config = {key: value for key, value in draft.config.items() if history is not None or key != "history"}
    if history is not None:
        config["history"] = [dict(entry) for entry in history]
    return draft._replace(layers=tuple(layers), config=config)


def history_of(image: Image) -> list[dict[str, Any]]:
    """Returns the history of an image with an entry for each layer; placeholders if its own history does not match its
    layers."""
    found = aligned_history(image.config.fields, len(image.layers))
    return found if found is not None else [_placeholder_entry() for _ in image.layers]


UNSTATED = "the image stated no history"
"""The comment of a placeholder entry."""


def _placeholder_entry() -> dict[str, Any]:
    """Returns a history entry for a layer of which nothing is known."""
    return {"comment": UNSTATED}


def aligned_history(config: Mapping[str, Any], count: int) -> list[Any] | None:
    """Returns the history if it has an entry for each of `count` layers, so that it can be edited; None if it is absent
    or does not."""
    history = config.get("history")
    if history is None and not count:
        return []
    if not isinstance(history, list) or not all(isinstance(entry, dict) for entry in history):
        return None
    return history if len(_positions(history)) == count else None


def _history(draft: ImageDraft) -> list[Any] | None:
    return aligned_history(draft.config, len(draft.layers))


def _positions(history: Sequence[Mapping[str, Any]]) -> list[int]:
    """Returns the positions of the entries that have a layer."""
    return [at for at, entry in enumerate(history) if entry.get("empty_layer") is not True]


def finish(draft: ImageDraft) -> OutputImage:
    """Returns the image of a draft: its documents, and all blobs that they name. A document that did not change keeps its
    bytes and its digest, whatever its algorithm."""
    image = draft.image
    manifest = image.manifest
    config = image.config.raw
    if draft.is_configured_anew:
        fields = dict(draft.config)
        rootfs = fields.get("rootfs")
        fields["rootfs"] = {**(rootfs if isinstance(rootfs, dict) else {"type": "layers"}), "diff_ids": draft.diff_ids}
        config = serialised(fields)
    media_type, layers = _converted(image, draft.layers)
    if manifest is not None and draft.annotations is None and config == image.config.raw and _same(manifest.layers, layers):
        digest = image.digest or manifest.digest
        return _output(image, manifest.raw, digest, manifest.media_type, manifest.config.digest, config, layers)
    document: dict[str, Any] = dict(manifest.fields) if manifest else {"schemaVersion": 2}
    if manifest is None or "mediaType" in document or media_type != manifest.media_type:
        document["mediaType"] = media_type
    old = manifest.config if manifest else None
    config_digest = old.digest if old is not None and config == image.config.raw else Digest.of(config)
    document["config"] = _config_descriptor(old, media_type, config_digest, len(config))
    document["layers"] = [_layer_descriptor(layer) for layer in layers]
    if draft.annotations is not None:
        document.pop("annotations", None)
        if draft.annotations:
            document["annotations"] = dict(draft.annotations)
    raw = serialised(document)
    return _output(image, raw, Digest.of(raw), media_type, config_digest, config, layers)


def _output(
    image: Image, manifest: bytes, digest: Digest, media_type: str, config_digest: Digest, config: bytes,
    layers: tuple[OutputLayer, ...],
) -> OutputImage:  # fmt: skip
    blobs: list[tuple[Digest, int, Blob | None]] = [
        (digest, len(manifest), BytesBlob(manifest, digest)),
        (config_digest, len(config), BytesBlob(config, config_digest)),
        *((layer.digest, layer.size, layer.blob) for layer in layers),
    ]
    made = {layer.digest for layer in layers if layer.origin not in ("kept", "reused")}
    made |= {digest} if digest != image.digest else set()
    made |= {config_digest} if config != image.config.raw else set()
    return OutputImage(
        {"mediaType": media_type, "digest": str(digest), "size": len(manifest)}, image.tags, tuple(blobs), config_digest,
        image.platform, layers, loaded=config_digest, made=frozenset(made),
        foreign=frozenset(one.digest for one in layers if one.descriptor is not None and one.descriptor.get("urls")),
        where=image.where,
    )  # fmt: skip


def _same(stated: Sequence[Descriptor], layers: Sequence[OutputLayer]) -> bool:
    return [one.fields for one in stated] == [layer.descriptor for layer in layers]


def _converted(image: Image, layers: tuple[OutputLayer, ...]) -> tuple[str, tuple[OutputLayer, ...]]:
    """Returns the media type of the manifest, and the layers with theirs. Docker has no media type for zstd: an image that
    gets such a layer becomes an OCI image, with OCI types for every layer. So does an image of a docker archive, which has
    no manifest."""
    own = image.manifest.media_type if image.manifest else None
    docker = own == mediatypes.DOCKER_MANIFEST
    if docker and not any(layer.media_type.startswith(mediatypes.OCI_LAYER) for layer in layers):
        return mediatypes.DOCKER_MANIFEST, layers
    if own is not None and not docker:
        return own, layers
    return mediatypes.OCI_MANIFEST, tuple(_as_oci(layer) for layer in layers)


def _as_oci(layer: OutputLayer) -> OutputLayer:
    media_type = mediatypes.as_oci(layer.media_type)
    descriptor = None if layer.descriptor is None else {**layer.descriptor, "mediaType": media_type}
    return layer._replace(media_type=media_type, descriptor=descriptor)


def _config_descriptor(old: Descriptor | None, media_type: str, digest: Digest, size: int) -> dict[str, Any]:
    kind = mediatypes.DOCKER_CONFIG if media_type == mediatypes.DOCKER_MANIFEST else mediatypes.OCI_CONFIG
    if old is None:
        return {"mediaType": kind, "digest": str(digest), "size": size}
    fields = {key: value for key, value in old.fields.items() if key != "data"}
    if old.media_type in mediatypes.CONFIGS:
        fields["mediaType"] = kind
    return {**fields, "digest": str(digest), "size": size}


def _layer_descriptor(layer: OutputLayer) -> Mapping[str, Any]:
    if layer.descriptor is not None:
        return layer.descriptor
    return {"mediaType": layer.media_type, "digest": str(layer.digest), "size": layer.size}


def layer_type(image: Image, codec: str) -> str:
    """Returns the media type of a new layer: a Docker type if the manifest has one and Docker has one for the compression,
    else an OCI type."""
    docker = image.manifest is not None and image.manifest.media_type == mediatypes.DOCKER_MANIFEST
    return mediatypes.tar_layer(codec, docker=docker)
