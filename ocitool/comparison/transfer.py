"""The bytes that a host with one image must fetch to have another."""

from __future__ import annotations

from ocitool.images.image import Image
from ocitool.pipeline.layer_identity import layer_identity


def transfer_bytes(old: Image, new: Image) -> tuple[int, bool]:
    """Returns the stored bytes of what the old image does not have (layers, configuration, manifest), and whether they
    are estimated, because the new image does not state how its layers would be stored in a registry."""
    digests = {layer.digest for layer in old.layers if layer.digest is not None}
    diff_ids = {layer.diff_id for layer in old.layers if layer.diff_id is not None}
    total = 0
    estimated = new.manifest is None
    seen: set[str | None] = set()
    for layer in new.layers:
        if layer.digest is not None and layer.digest in digests:
            continue
        one_sided = layer.digest is None or not digests
        if one_sided and layer.diff_id is not None and layer.diff_id in diff_ids:
            continue
        known = str(layer.digest) if layer.digest else layer_identity(layer)
        if known is not None and known in seen:
            continue
        seen.add(known)
        total += layer.size
        estimated = estimated or layer.compression == "none"
    if new.image_id != old.image_id:
        total += len(new.config.raw)
    if new.manifest is not None and new.digest != old.digest:
        total += len(new.manifest.raw)
    return total, estimated and total > 0
