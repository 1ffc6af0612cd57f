"""Reading a layer's content a second time, by its index, in one pass that verifies it.

An index may come from the cache or from headers alone, so the layer's bytes may not have been hashed in this run.
Whatever writes a layer's contents elsewhere reads them here: the stored bytes are compared with the digest, the
unpacked bytes with the diff_id. Reading, hashing and inflating run ahead on the CPU pool.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from ocitool.blob import label, missing_blob
from ocitool.digest import wrong_diff_id
from ocitool.errors import FormatError, IntegrityError, OcitoolError
from ocitool.images.image import Image, Layer
from ocitool.layers import codecs
from ocitool.layers.index import LayerIndex
from ocitool.layers.tarinput import ChunkInput
from ocitool.task import Task


@contextmanager
def verified_content(image: Image, layer: Layer, index: LayerIndex, task: Task) -> Iterator[ChunkInput]:
    """Opens a layer's unpacked bytes, to be read forward by the offsets of its index.

    What was not read when the block ends is read too; then digest and diff_id are compared. Raises `IntegrityError` at
    the end of the block if they differ: nothing that was read may be trusted before. `NotFoundError` if the layer's
    blob is missing.
    """
    where = f"{image.where}: layer {layer.number}"
    blob = layer.blob
    if blob is None:
        raise missing_blob("layer", layer.digest or layer.number, image.where)
    compression = codecs.detected(blob)
    name = label(blob)
    # The cache knows the diff_id of this digest: comparing the unpacked bytes with it verifies the stored bytes too.
    known = index.diff_id is not None and index.digest == layer.digest
    stored: Any = layer.digest.hasher() if layer.digest is not None and not known else None
    diff_ids = {digest for digest in (layer.diff_id, index.diff_id) if digest is not None}
    hashers = {digest: digest.hasher() for digest in diff_ids}

    def read() -> Iterator[bytes]:
        for chunk in blob.chunks():
            task.check()
            if stored is not None:
                stored.update(chunk)
            task.advance(name, len(chunk), blob.size)
            yield chunk

    def hashed(pieces: Iterator[bytes]) -> Iterator[bytes]:
        try:
            for piece in pieces:
                for hasher in hashers.values():
                    hasher.update(piece)
                yield piece
            if stored is not None and stored.hexdigest() != layer.digest.encoded:  # type: ignore[union-attr]
                raise IntegrityError(f"content is {stored.name}:{stored.hexdigest()}, stated is {layer.digest}")
            for digest, hasher in hashers.items():
                if hasher.hexdigest() != digest.encoded:
                    raise wrong_diff_id(f"{hasher.name}:{hasher.hexdigest()}", digest)
        except FormatError as error:
            raise IntegrityError(f"not the bytes that were indexed: {error.what}", where) from None
        except OcitoolError as error:
            raise error.at(where) from None

    unpacked = codecs.decode(read(), compression)
    with task.ahead(unpacked) if blob.size > 1 << 20 else nullcontext(unpacked) as pieces:
        source = ChunkInput(hashed(pieces))
        yield source
        for _ in source.rest():
            pass
