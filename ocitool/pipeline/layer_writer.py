"""Layers on their way to a destination: those of an image as they are, new ones out of tars, and converted ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ocitool import masking
from ocitool.atomic import SpooledBlob, Temporary
from ocitool.blob import LEFT_OUT, Blob, FileBlob, expected_sizes, missing_blob
from ocitool.digest import Digest, hashed, verified, wrong_diff_id
from ocitool.errors import OcitoolError, UnsupportedError
from ocitool.images import drafts
from ocitool.images.image import Image, Layer
from ocitool.layers import codecs
from ocitool.pipeline.blob_lookup import BlobLookup
from ocitool.pipeline.output_layers import Claim, from_fallback, is_hashed, kept, unhashed_layer, unpacked
from ocitool.reference import ENGINE
from ocitool.spec import mediatypes
from ocitool.task import Task
from ocitool.transports.sink import Origin, OutputLayer, Sink

if TYPE_CHECKING:
    from ocitool.layers.compress import Compression


_DEFAULT_CODEC = "gzip"
"""Of layers that nothing says a codec for: every engine and registry takes it."""


class _Conversion(NamedTuple):
    """What layers are converted to. `plain`: only those that are not compressed are."""

    codec: str
    plain: bool

    def keeps(self, codec: str | None) -> bool:
        """Returns whether a layer with this codec stays as it is."""
        return codec == self.codec or (self.plain and codec != "none")


class LayerWriter:
    """Makes layers for one destination (`remote`: a registry). `compression`: what `--compression` asks for; `omit`: digests of
    layers that are left out. `close` gives up what was made and not written."""

    def __init__(
        self, sink: Sink, lookup: BlobLookup, compression: Compression | None, omit: frozenset[Digest], task: Task, *,
        remote: bool,
    ) -> None:  # fmt: skip
        self.engines: list[str] = []
        """The libraries that compressed layers."""
        self._sink = sink
        self._lookup = lookup
        self._compression = compression
        self._omit = omit
        self._task = task
        self._remote = remote
        self._converted: dict[Digest, OutputLayer] = {}
        self._claims: dict[tuple[Digest, int, int], Claim] = {}
        """By digest and place."""
        self._spools: list[Temporary] = []

    def close(self) -> None:
        for spool in self._spools:
            spool.discard()  # nothing happens to one that became a blob

    def spool(self) -> Temporary:
        """Returns a file for a layer, at the destination if that saves a copy; `close` removes it unless it was written."""
        temporary = self._sink.spool()
        self._spools.append(temporary)
        return temporary

    # The layers of an image

    def of_image(self, image: Image) -> tuple[OutputLayer, ...]:
        """Returns the image's layers as they are. A plain one of a docker archive goes by what the configuration states
        (`OutputLayer.stated`) until `converted` sees whether it stays; other ones without digests are hashed.
        Raises `IntegrityError`, `NotFoundError`, `FormatError` as `output_layers.kept` does."""
        stated = {layer.number: found for layer in image.layers if (found := unhashed_layer(image, layer)) is not None}
        self._task.expect(
            expected_sizes(one.blob for one in image.layers if is_hashed(image, one) and one.number not in stated)
        )
        return tuple(self._task.map(lambda one: stated.get(one.number) or kept(image, one, self._task), image.layers))

    def of_other(self, image: Image, layer: Layer, lender: Image, other: Layer) -> OutputLayer:
        """Returns a layer of another image for this one: its very blob. One of a docker archive has no stored form that another
        place could have: it is compressed as `layer` would be, for which it stands."""
        if other.digest is None and self.codec(layer) != "none":
            assert other.blob is not None
            return self.made(unpacked(other.blob, self._task), self.codec(layer), image, "rewritten")
        return from_fallback(image, lender, other, self._task)

    # New layers

    def made(
        self, tar: Iterable[bytes | memoryview], codec: str, image: Image, origin: Origin, *, level: int | None = None
    ) -> OutputLayer:
        """Returns a layer made of the bytes of its tar, with this codec at the level asked for, else at `level`, else the
        codec's."""
        from ocitool.layers import compress

        asked = self._compression
        compression = compress.parse(codec)
        if asked is not None and asked.codec == codec:
            compression = asked
        elif level is not None:
            compression = compression._replace(level=level)
        diff_id, blob = self.compressed(tar, compression)
        assert blob.digest is not None
        return OutputLayer(blob.digest, blob.size, diff_id, drafts.layer_type(image, codec), origin, blob)

    def compressed(self, tar: Iterable[bytes | memoryview], compression: Compression) -> tuple[Digest, SpooledBlob]:
        """Returns the digest of these bytes, and what they are compressed to, in a temporary file of the destination's."""
        from ocitool.layers import compress

        temporary = self.spool()
        try:
            plain, stored = hashlib.sha256(), hashlib.sha256()

            for chunk in hashed(compress.compress(hashed(tar, plain), compression, self._task), stored):
                self._task.check()
                temporary.write(chunk)
            blob = SpooledBlob(temporary, Digest("sha256", stored.hexdigest()))
        except BaseException:
            temporary.discard()
            raise
        engine = compress.engine(compression)
        if compression.codec != "none" and engine not in self.engines:
            self.engines.append(engine)
        return Digest("sha256", plain.hexdigest()), blob

    def codec(self, layer: Layer) -> str:
        """Returns the codec of a layer that is made again: the one asked for, else the one it had."""
        if self._compression is not None:
            return self._compression.codec
        had = layer.compression
        if self._remote and had == "none" and layer.digest is None:
            return _DEFAULT_CODEC  # as `_conversion`
        return had if had in mediatypes.SUFFIXES else _DEFAULT_CODEC

    def new_codec(self, image: Image, own: str | None = None) -> str:
        """Returns the codec of a layer that is put on the image: the one asked for, else its `own`, else that of the image's
        top-most layer, else gzip."""
        if self._compression is not None:
            return self._compression.codec
        return own or (self.codec(image.layers[-1]) if image.layers else _DEFAULT_CODEC)

    # Conversion

    def _conversion(self, image: Image, *, changed: bool) -> _Conversion | None:
        """Returns how layers are to be converted, or None. For a registry the uncompressed layers of a `docker save`
        archive are compressed, as engines do when they push them: the manifest has to be made in any case."""
        if self._compression is not None and changed:
            return _Conversion(self._compression.codec, False)
        return _Conversion(_DEFAULT_CODEC, True) if self._remote and image.manifest is None else None

    def converts(self, image: Image, *, changed: bool) -> bool:
        """Returns whether layers may be made again to be converted: sizes are then known afterwards."""
        return self._conversion(image, changed=changed) is not None

    def converted(self, image: Image, layers: Sequence[OutputLayer], *, changed: bool) -> tuple[OutputLayer, ...]:
        """Returns the layers as they are to be written: in the compression that was asked for if the image `changed`,
        and under digests of bytes that were hashed or will be when they are written. These stay as they are: a layer
        that has the compression already, one that is left out (`omit`), one whose descriptor states other places of its
        bytes (`urls`), one that the command made, and one of another image."""
        to = self._conversion(image, changed=changed)
        if image.manifest is None and self._lookup.references:
            layers = self._with_fallback(image, layers, to)
        made = {one.digest: one.blob for one in layers if to is not None and self._differs(one, to)}
        self._task.expect(expected_sizes(blob for digest, blob in made.items() if digest not in self._converted))
        found = [one if to is None else self._recompressed(image, one, to) for one in layers]
        checked = [one for one in found if one.stated and not isinstance(one.blob, FileBlob)]
        self._task.expect(expected_sizes(one.blob for one in checked))
        return tuple(map(self._claimed, found))

    def _with_fallback(self, image: Image, layers: Sequence[OutputLayer], to: _Conversion | None) -> tuple[OutputLayer, ...]:
        """Returns the layers of an image without a manifest, replaced by those of `--with` that have the compression
        asked for, so that they need not be compressed; for an engine's image any compression does that stays as it is, because
        these are the blobs that the engine once unpacked."""
        from_engine = image.transport == ENGINE.name
        self._task.expect(expected_sizes(one.blob for one in layers if one.stated))

        def replaced(layer: OutputLayer) -> OutputLayer:
            layer = self._hashed(layer)
            if layer.origin != "kept" or layer.diff_id is None or layer.digest in self._omit:
                return layer
            found = self._lookup.fallback.same(layer.diff_id)
            if found is None:
                return layer
            other, digest, blob = found
            codec = codecs.detected(blob)
            if to is not None and codec != to.codec and not (from_engine and to.keeps(codec)):
                return layer
            return OutputLayer(digest, other.size, layer.diff_id, drafts.layer_type(image, codec), "reused", blob)

        return tuple(self._task.map(replaced, layers))

    def _stays(self, layer: OutputLayer) -> bool:
        urls = layer.descriptor is not None and layer.descriptor.get("urls")
        return bool(urls) or layer.digest in self._omit or layer.origin != "kept"

    def _differs(self, layer: OutputLayer, to: _Conversion) -> bool:
        """Returns whether it is to be made again, by what its type states."""
        return not self._stays(layer) and not to.keeps(mediatypes.layer_codec(layer.media_type) if layer.media_type else None)

    def _recompressed(self, image: Image, layer: OutputLayer, to: _Conversion) -> OutputLayer:
        if self._stays(layer):
            return layer
        where = f"{image.where}: layer {layer.digest}"
        if layer.descriptor is not None and layer.media_type and mediatypes.layer_codec(layer.media_type) is None:
            raise UnsupportedError(f"a layer of the type {masking.stated(layer.media_type)} cannot be converted", where)
        blob = self._lookup.found(layer.digest, layer.size, layer.blob)
        if blob is None:
            raise missing_blob("blob", layer.digest, image.where, hint=LEFT_OUT)
        if to.keeps(codecs.detected(blob)):
            return layer._replace(blob=blob)
        made = self._converted.get(layer.digest)
        if made is None:  # else another image has the layer too
            tar: Iterable[bytes] = unpacked(blob, self._task)
            if layer.diff_id is not None and layer.diff_id.algorithm != "sha256":
                tar = verified(tar, layer.diff_id, None)
            try:
                made = self._converted[layer.digest] = self.made(tar, to.codec, image, "rewritten")
            except OcitoolError as error:
                raise error.at(where) from None
        if layer.diff_id is not None and layer.diff_id.algorithm == "sha256" and made.diff_id != layer.diff_id:
            raise wrong_diff_id(made.diff_id, layer.diff_id, where)
        return made._replace(diff_id=layer.diff_id or made.diff_id, media_type=drafts.layer_type(image, to.codec))

    # Layers that go by what a docker archive states of them

    def _claimed(self, layer: OutputLayer) -> OutputLayer:
        """Returns a layer under its stated digest if it will be hashed when it is written; any other is hashed now.
        `check_unwritten` hashes those that are not written after all."""
        if not isinstance(layer.blob, FileBlob) or layer.stated is None:
            return self._hashed(layer)
        blob = layer.blob.with_digest(layer.digest)
        self._claims[layer.digest, id(blob.file), blob.offset] = Claim(blob, layer.digest, layer.stated)
        return layer._replace(blob=blob)

    def _hashed(self, layer: OutputLayer) -> OutputLayer:
        if layer.stated is None:
            return layer
        assert layer.blob is not None
        Claim(layer.blob, layer.digest, layer.stated).check(self._task)
        blob = layer.blob.with_digest(layer.digest) if isinstance(layer.blob, FileBlob) else layer.blob
        return layer._replace(blob=blob, stated=None)

    def is_claimed(self, digest: Digest) -> bool:
        return any(claim.digest == digest for claim in self._claims.values())

    def check_claims(self) -> None:
        """Hashes the layers with stated digests after the task has ended. Raises `IntegrityError` if a digest is wrong."""
        for claim in self._claims.values():
            claim.check(Task())

    def check_unwritten(self, blobs: Mapping[Digest, Blob], *, dry_run: bool) -> None:
        """Hashes the layers with stated digests whose bytes the destination will not read."""
        for (digest, *place), claim in self._claims.items():
            blob = blobs.get(digest)
            written = isinstance(blob, FileBlob) and [id(blob.file), blob.offset] == place
            if not written or dry_run or self._remote or self._sink.blob(digest) is not None:
                claim.check(self._task)
