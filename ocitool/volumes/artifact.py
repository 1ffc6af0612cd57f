"""A saved volume as an OCI artifact (image-spec 1.1, "Guidelines for Artifact Usage"): an empty config, the content as one
layer, and what else is to be known of the volume in annotations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from ocitool.blob import Blob, BytesBlob, missing_blob
from ocitool.digest import Digest
from ocitool.errors import FormatError, OcitoolError, UsageError
from ocitool.images import select
from ocitool.images.image import Image
from ocitool.pipeline.session import Session
from ocitool.pipeline.source_date import made_at
from ocitool.spec import mediatypes
from ocitool.spec.document import parse_object, serialised
from ocitool.transports.engine.volumes import VolumeInfo
from ocitool.transports.sink import OutputImage

ARTIFACT_TYPE = "application/vnd.ocitool.volume.v1"
LAYER_TYPE = f"{ARTIFACT_TYPE}.tar+zstd"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
EMPTY = b"{}"

_CREATED = "org.opencontainers.image.created"
_NAME, _DRIVER, _LABELS, _WAY = (f"org.ocitool.volume.{word}" for word in ("name", "driver", "labels", "read-by"))
_WAYS = {"helper": True, "engine": False}
"""What read the content: a helper, which keeps all of it, or the archive API of the engine."""


class SavedVolume(NamedTuple):
    """A volume as an artifact has it. `whole`: whether it was read by a helper, so that times have fractions of a second and
    all extended attributes are there."""

    info: VolumeInfo
    whole: bool
    layer: Blob
    digest: Digest
    where: str
    tags: tuple[str, ...]


def output(info: VolumeInfo, layer: Blob, *, whole: bool, where: str) -> OutputImage:
    """Returns the artifact of a volume, ready to be delivered. `layer`: its content, compressed and hashed."""
    assert layer.digest is not None
    annotations = {
        _NAME: info.name, _DRIVER: info.driver, _LABELS: json.dumps(dict(info.labels), sort_keys=True, ensure_ascii=False),
        _WAY: "helper" if whole else "engine",
    }  # fmt: skip
    if (created := made_at(_moment(info.created))) is not None:
        annotations[_CREATED] = created
    empty = Digest.of(EMPTY)
    raw = serialised(
        {
            "schemaVersion": 2, "mediaType": mediatypes.OCI_MANIFEST, "artifactType": ARTIFACT_TYPE,
            "config": {"mediaType": EMPTY_TYPE, "digest": str(empty), "size": len(EMPTY), "data": "e30="},
            "layers": [{"mediaType": LAYER_TYPE, "digest": str(layer.digest), "size": layer.size}],
            "annotations": dict(sorted(annotations.items())),
        }
    )  # fmt: skip
    digest = Digest.of(raw)
    descriptor = {
        "mediaType": mediatypes.OCI_MANIFEST, "digest": str(digest), "size": len(raw), "artifactType": ARTIFACT_TYPE,
    }  # fmt: skip
    return OutputImage(
        descriptor, (info.name,),
        ((digest, len(raw), BytesBlob(raw, digest)), (empty, len(EMPTY), BytesBlob(EMPTY, empty)),
         (layer.digest, layer.size, layer)),
        made=frozenset((digest, empty, layer.digest)), where=where, kind=ARTIFACT_TYPE,
    )  # fmt: skip


def _moment(text: str | None) -> str | None:
    """Returns the time that an engine states, in whole seconds of UTC; None for what is not a time."""
    if text is None or len(text) > 64:
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError):
        return None


def read(reference: str, session: Session) -> SavedVolume:
    """Returns a saved volume. Its layer is not read yet.

    Raises `UsageError` if the reference names something else, and what opening it raises."""
    opened = session.open(reference, "layers")
    target = select.sole_target(opened)
    image = target.image
    if image is None or image.manifest is None or image.manifest.artifact_type != ARTIFACT_TYPE:
        raise UsageError("not a saved volume", opened.source.where, hint="ocitool volume save makes one")
    if len(image.layers) != 1 or image.layers[0].media_type != LAYER_TYPE:
        raise FormatError("a saved volume has one layer, which is a tar in zstd", opened.source.where)
    (layer,) = image.layers
    if layer.blob is None or layer.digest is None:
        raise missing_blob("layer", layer.digest or 0, opened.source.where)
    assert image.digest is not None
    found = image.manifest.annotations
    info = VolumeInfo(found.get(_NAME, ""), found.get(_DRIVER, ""), _labels(found, image), {}, found.get(_CREATED))
    return SavedVolume(info, _WAYS.get(found.get(_WAY, ""), False), layer.blob, image.digest, opened.source.where, image.tags)


def _labels(annotations: Mapping[str, str], image: Image) -> dict[str, str]:
    text = annotations.get(_LABELS, "{}")
    try:
        found = parse_object(text.encode("utf-8", "surrogatepass"), image.where)
    except OcitoolError as error:
        raise FormatError(f"the annotation {_LABELS} is not a JSON object: {error.what}", image.where) from None
    if not all(isinstance(value, str) for value in found.values()):
        raise FormatError(f"the annotation {_LABELS} has a value that is not a string", image.where)
    return dict(found)
