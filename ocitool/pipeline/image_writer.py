"""What every writing command shares: a destination that is held, layers that are made, images that are delivered.

    with Writer(writing, reading) as writer:
        piece = writer.layer(pieces, codec, image, origin="new")    # run once, into a spool
        written = writer.deliver("append", [draft_output(finish(draft), image.tags, image)])

Nothing can be seen at the destination before `deliver` ends; at a registry, no tag.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from ocitool import masking
from ocitool.atomic import SpooledBlob, Temporary
from ocitool.blob import Blob, BytesBlob, FileBlob, expected
from ocitool.digest import Digest, verified
from ocitool.errors import (
    FormatError,
    IntegrityError,
    LimitError,
    NotFoundError,
    OcitoolError,
    TransportError,
    UnsupportedError,
    UsageError,
)
from ocitool.images import drafts, indexes, select
from ocitool.images.drafts import FinishedImage, Origin, OutputLayer
from ocitool.images.image import Image, Layer
from ocitool.images.indexes import ReferrerReport
from ocitool.layers import codecs
from ocitool.pipeline.fallback_blobs import FallbackBlobs
from ocitool.pipeline.output_layers import Claim, from_fallback, is_hashed, kept, unhashed_layer, unpacked
from ocitool.pipeline.problems import Problem, placed
from ocitool.pipeline.session import Session
from ocitool.reference import PREFIX, distinct, full, is_bare
from ocitool.spec import mediatypes
from ocitool.spec.manifest import Platform
from ocitool.task import Notice, OneAtATime, Task
from ocitool.transports import destinations
from ocitool.transports.destinations import Destination
from ocitool.transports.sink import DockerImage, Losses, RequestedImage, Sink, WriteOutcome, WriteRequest
from ocitool.transports.source import RemoteSource, Source

if TYPE_CHECKING:
    from types import TracebackType

    from ocitool.layers.compress import Compression


class WriteOptions(NamedTuple):
    """Where to write and how. `names`, beside the destination's own, replace the source's; `compression` converts layers;
    `supplies`: references whose blobs may be used if the source lacks them; `omit`: digests that are left out."""

    destination: str
    names: tuple[str, ...] = ()
    compression: Compression | None = None
    force: bool = False
    dry_run: bool = False
    supplies: tuple[str, ...] = ()
    omit: frozenset[Digest] = frozenset()


class WrittenLayer(NamedTuple):
    digest: Digest
    diff_id: Digest | None
    size: int
    origin: Origin
    media_type: str


class WrittenImage(NamedTuple):
    """An image as it stands at the destination."""

    digest: Digest
    image_id: Digest
    names: tuple[str, ...]
    platform: Platform | None
    layers: tuple[WrittenLayer, ...]


class WrittenRoot(NamedTuple):
    """What names point to at the destination: an image, an index, or what speaks of one (`subject`). `platforms`: of an index,
    those of the images that came with it; None for what is no index. `references`: how it is asked for by its digest, which
    keeps an index whole; none on standard output."""

    digest: Digest
    media_type: str
    names: tuple[str, ...]
    platforms: tuple[Platform, ...] | None
    references: tuple[str, ...]
    subject: Digest | None
    kind: str | None = None
    """The type of an artifact; None for an image or an index."""


class OutputImage(NamedTuple):
    """One root of the destination with all it needs. `blobs`: documents first; None where the bytes are not at the source.
    `foreign`: digests that may be absent, because their descriptors say where else they are (`urls`)."""

    descriptor: dict[str, Any]
    names: tuple[str, ...]
    blobs: tuple[tuple[Digest, int, Blob | None], ...]
    images: tuple[WrittenImage, ...]
    docker: DockerImage | None
    made: frozenset[Digest] = frozenset()
    """Those of the blobs that this run made."""
    foreign: frozenset[Digest] = frozenset()
    where: str = ""
    subject: Digest | None = None
    """For what is no image by itself: the digest that it speaks of."""
    repositories: tuple[str, ...] = ()
    """For the same: where the image that it speaks of goes, once that is known."""
    is_index: bool = False
    kind: str | None = None
    """As `WrittenRoot` has it."""
    optional: bool = False
    """As `sink.Root` has it."""
    is_there: bool = False
    """Whether the destination has it under all of its names: nothing of it is written, and blobs are without bytes."""


class WriteResult(NamedTuple):
    """What a writing command did. Sizes are bytes of blobs: `kept` taken over as they were, `written` made, `skipped` at the
    destination already, `omitted` left out; `lent`, of what was kept, came from what `--with` names. `transferred` went over a
    network, documents and what was repeated with it. `verified`: as `sink.Stored` has it."""

    command: str
    destination: str
    dry_run: bool
    verified: bool
    roots: tuple[WrittenRoot, ...]
    images: tuple[WrittenImage, ...]
    kept: int
    written: int
    skipped: int
    omitted: int
    transferred: int
    lent: int
    engines: tuple[str, ...]
    notices: tuple[Notice, ...]
    details: Mapping[str, Any] | None = None
    """What one command alone tells: members of its JSON report."""
    findings: int = 0
    """Things found that make the exit code 1 although the image was written."""
    problems: tuple[Problem, ...] = ()
    """Of many images, those that could not be copied."""
    unchanged: int = 0
    """How many of the names led to their images before: nothing of these was written."""


class ImageWriter:
    """An open destination, and the layers made for it. A context manager: leaving it lets go of locks and spools."""

    def __init__(self, writing: WriteOptions, reading: Session, *, platform: str | None = None) -> None:
        """`platform`: the one that was asked for. Then one image may take the place of an index, as with `force`."""
        self.writing = writing
        self.task: Task = reading.task
        self._reading = reading
        self.target = target = destinations.parse(writing.destination)
        self._names = target.names(writing.names)
        self._sink: Sink = destinations.open_sink(
            target, self.task, reading.registries, force=writing.force, dry_run=writing.dry_run,
            replaces_index=writing.force or platform is not None, cached=reading.cached,
        )  # fmt: skip
        self._engines: list[str] = []
        self._rewritten: dict[Digest, OutputLayer] = {}
        self._lent: dict[Digest, int] = {}
        self._claims: dict[tuple[Digest, int, int], Claim] = {}
        """By digest and place."""
        self.problems: list[Problem] = []
        """What is left out and named, of many images."""
        self._referrers: dict[int, tuple[Source, Mapping[Digest, Sequence[ReferrerReport]]]] = {}
        self._spools: list[Temporary] = []
        self._opened: FallbackBlobs | None = None
        self._turns = OneAtATime(self.task)

    @property
    def _supplies(self) -> FallbackBlobs:
        """What `--with` names, opened when it is first asked for."""
        if self._opened is None:
            with self._turns.of("supplies"):  # layers ask from several threads
                self._opened = self._opened or FallbackBlobs(self.writing.supplies, self._reading, self._sink.spool)
        return self._opened

    def __enter__(self) -> ImageWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for spool in self._spools:
            spool.discard()  # nothing happens to one that became a blob
        self._sink.close()

    def blob(self, digest: Digest) -> Blob | None:
        """A blob that the destination has, unverified."""
        return self._sink.blob(digest)

    def sound(self, digest: Digest, size: int) -> Blob | None:
        """A blob of this size that the destination has, to be relied on."""
        return self._sink.sound(digest, size, verify=self._reading.verify)

    def named(self, names: Sequence[str]) -> set[Digest | None]:
        """What these names lead to at the destination, as far as it says; names of the source, or those asked for."""
        own = self._names or distinct(map(self.target.placed, names))
        return {self._sink.named(name) for name in own}

    def lends(self, digest: Digest) -> Blob | None:
        """A blob that is said to be on this machine: at the destination, or in what `--with` names."""
        there = self._sink.blob(digest) if not self.target.remote else None
        return there or self._supplies.stored(digest)

    def referrers(self, source: Source, digest: Digest) -> Sequence[ReferrerReport]:
        """What speaks of a manifest at a source."""
        if isinstance(source, RemoteSource):
            try:
                found = indexes.told(source.referrers(digest))
                if source.unlisted is not None and not isinstance(source.unlisted, NotFoundError):
                    self.tell_unlisted(source)
                return found
            except (TransportError, FormatError, LimitError) as error:
                text = f"{source.where}: whether anything speaks of {digest} is not known: {error.what}"
                self.task.notice("referrer", text)
                return ()
        return self._searched(source).get(digest, ())

    def tell_unlisted(self, source: RemoteSource) -> None:
        """Tells it if a registry did not give its list of referrers."""
        if (error := source.unlisted) is not None:
            text = f"its list of referrers is not known: {error.what}; its fallback tag (sha256-HEX) is read instead"
            self.task.notice("referrer", f"{error.where}: {text}")

    def _searched(self, source: Source) -> Mapping[Digest, Sequence[ReferrerReport]]:
        """What speaks of what, looked for once: by the digest spoken of."""
        if id(source) not in self._referrers:
            manifests = select.everything(source, source.index) if source.index is not None else ()
            found: dict[Digest, list[ReferrerReport]] = {}
            for referrer in indexes.referrers(source, {listed.descriptor.digest for listed, _ in manifests}):
                found.setdefault(referrer.subject, []).append(referrer)
            self._referrers[id(source)] = source, found
        return self._referrers[id(source)][1]

    # Layers

    def completed(self, image: Image) -> Image:
        """The image with layers that its source lacks, but the destination has, or what `--with` names."""
        layers = [
            layer._replace(blob=self._found(layer.digest, layer.size, None))
            if layer.blob is None and layer.digest is not None
            else layer
            for layer in image.layers
        ]
        return image._replace(layers=tuple(layers))

    def lent(self, image: Image, layer: Layer, lender: Image, other: Layer) -> OutputLayer:
        """A layer of another image for this one: its very blob. One that a docker archive holds has no stored form that anyone
        could have: it is compressed as `layer` would be, for which it stands."""
        if other.digest is None and self.codec(layer) != "none":
            assert other.blob is not None
            return self.layer(unpacked(other.blob, self.task), self.codec(layer), image, "rewritten")
        return from_fallback(image, lender, other, self.task)

    def pieces(self, image: Image) -> tuple[OutputLayer, ...]:
        """The image's layers as they are. Those of docker archives without digests are hashed, and what the archive states of
        them is checked: now, or of plain ones while they are written."""
        stated = {} if self._asked(image) is not None else self._claimed(image)
        self.task.expect(expected(one.blob for one in image.layers if is_hashed(image, one) and one.number not in stated))
        return tuple(self.task.map(lambda one: stated.get(one.number) or kept(image, one, self.task), image.layers))

    def _claimed(self, image: Image) -> dict[int, OutputLayer]:
        """By number, the layers that are named by what the configuration states, so that their bytes are read and hashed once,
        when they are written; `deliver` ends the claims."""
        found: dict[int, OutputLayer] = {}
        for layer in image.layers if not self.writing.supplies else ():
            piece = unhashed_layer(image, layer)
            if piece is not None and isinstance(piece.blob, FileBlob) and piece.digest not in self.writing.omit:
                claim = Claim(piece.blob.named(piece.digest), f"{image.where}: layer {layer.number}")
                self._claims[piece.digest, *claim.place] = claim
                found[layer.number] = piece._replace(blob=claim.blob)
        return found

    def pieces_as_asked(self, image: Image) -> tuple[OutputLayer, ...]:
        """`pieces`, then `recompressed`. A layer that a docker archive names no digest of is hashed once, in the conversion."""
        asked = self._asked(image)
        if asked is None and not self.writing.supplies:
            return self.pieces(image)

        def converted_as_stated(layer: Layer) -> OutputLayer | None:
            if asked is None or asked.codec == "none" or self.writing.supplies:
                return None
            stated = unhashed_layer(image, layer)
            return stated if stated is not None and stated.digest not in self.writing.omit else None

        def piece(layer: Layer) -> OutputLayer:
            if image.manifest is None and self.writing.supplies:
                return self._supplied(image, kept(image, layer, self.task))
            return converted_as_stated(layer) or kept(image, layer, self.task)

        hashed = [one.blob for one in image.layers if is_hashed(image, one) and converted_as_stated(one) is None]
        self.task.expect(expected(hashed))
        return self.recompressed(image, self.task.map(piece, image.layers))

    def _supplied(self, image: Image, piece: OutputLayer) -> OutputLayer:
        """A layer of an image without a manifest as `--with` has it, in the compression asked for: then it need not be made."""
        found = self._supplies.same(piece.diff_id) if piece.diff_id is not None else None
        asked = self._asked(image)
        if found is None or piece.digest in self.writing.omit:
            return piece
        layer, digest, blob = found
        if asked is not None and codecs.of(blob) != asked.codec:
            return piece
        media_type = drafts.layer_type(image, codecs.of(blob))
        return OutputLayer(digest, layer.size, piece.diff_id, media_type, "reused", blob)

    def _asked(self, image: Image) -> Compression | None:
        """The compression that layers are to have, None as they are. At a registry the plain layers of a `docker save` archive
        are compressed, as every engine does that pushes them: its manifest is made anyway."""
        if self.writing.compression is None and self.target.remote and image.manifest is None:
            from ocitool.layers import compress

            return compress.parse("gzip")
        return self.writing.compression

    def converts(self, image: Image) -> bool:
        """Whether layers that are not in the compression asked for are made again: sizes are then known afterwards."""
        return self._asked(image) is not None

    def layer(
        self, tar: Iterable[bytes | memoryview], codec: str, image: Image, origin: Origin, *, level: int | None = None
    ) -> OutputLayer:
        """A made layer from the bytes of its tar, with this codec at the level asked for, else at `level`, else the codec's."""
        from ocitool.layers import compress

        asked = self.writing.compression
        compression = compress.parse(codec)
        if asked is not None and asked.codec == codec:
            compression = asked
        elif level is not None:
            compression = compression._replace(level=level)
        temporary = self._sink.spool()
        self._spools.append(temporary)
        try:
            plain, stored = hashlib.sha256(), hashlib.sha256()

            def counted() -> Iterable[bytes | memoryview]:
                for chunk in tar:
                    plain.update(chunk)
                    yield chunk

            for chunk in compress.compress(counted(), compression, self.task):
                self.task.check()
                stored.update(chunk)
                temporary.write(chunk)
            digest = Digest("sha256", stored.hexdigest())
            blob = SpooledBlob(temporary, digest)
        except BaseException:
            temporary.discard()
            raise
        engine = compress.engine(compression)
        if compression.codec != "none" and engine not in self._engines:
            self._engines.append(engine)
        diff_id = Digest("sha256", plain.hexdigest())
        return OutputLayer(digest, blob.size, diff_id, drafts.layer_type(image, codec), origin, blob)

    def codec(self, layer: Layer) -> str:
        """The codec that a re-made layer gets: the one asked for, else the one it had."""
        if self.writing.compression is not None:
            return self.writing.compression.codec
        had = layer.compression
        if self.target.remote and had == "none" and layer.digest is None:
            return "gzip"  # as `_asked`
        return had if had in mediatypes.SUFFIXES else "gzip"

    def new_codec(self, image: Image) -> str:
        """The codec of a layer that is put on the image: the one asked for, else that of its top-most layer, else gzip."""
        if image.layers:
            return self.codec(image.layers[-1])
        return self.writing.compression.codec if self.writing.compression is not None else "gzip"

    def recompressed(self, image: Image, pieces: Sequence[OutputLayer]) -> tuple[OutputLayer, ...]:
        """The pieces in the compression that was asked for. As they are stay: a layer that has it already, one that the
        other side has (`omit`), and one whose descriptor says where else its bytes are (`urls`)."""
        asked = self._asked(image)
        if asked is None:
            return tuple(pieces)
        made = {piece.digest: piece.blob for piece in pieces if self._differs(piece, asked.codec)}
        self.task.expect(expected(blob for digest, blob in made.items() if digest not in self._rewritten))
        return tuple(self._recompressed(image, piece, asked.codec) for piece in pieces)

    def _stays(self, piece: OutputLayer) -> bool:
        urls = piece.descriptor is not None and piece.descriptor.get("urls")
        return bool(urls) or piece.digest in self.writing.omit or piece.origin != "kept"

    def _differs(self, piece: OutputLayer, codec: str) -> bool:
        """Whether it is to be made again, by what its type states."""
        stated = mediatypes.layer_codec(piece.media_type) if piece.media_type else None
        keeps = stated == codec or (self.writing.compression is None and stated != "none")
        return not self._stays(piece) and not keeps

    def _recompressed(self, image: Image, piece: OutputLayer, codec: str) -> OutputLayer:
        if self._stays(piece):
            return piece
        where = f"{image.where}: layer {piece.digest}"
        if piece.descriptor is not None and piece.media_type and mediatypes.layer_codec(piece.media_type) is None:
            raise UnsupportedError(f"a layer of the type {masking.stated(piece.media_type)} cannot be converted", where)
        blob = self._found(piece.digest, piece.size, piece.blob)
        if blob is None:
            raise _missing(piece.digest, image.where)
        if codecs.of(blob) == codec or (self.writing.compression is None and codecs.of(blob) != "none"):
            return piece._replace(blob=blob)
        made = self._rewritten.get(piece.digest)
        if made is None:  # else another image has the layer too
            tar: Iterable[bytes] = unpacked(blob, self.task)
            if piece.diff_id is not None and piece.diff_id.algorithm != "sha256":
                tar = verified(tar, piece.diff_id, None)
            try:
                made = self._rewritten[piece.digest] = self.layer(tar, codec, image, "rewritten")
            except OcitoolError as error:
                raise error.at(where) from None
        if piece.diff_id is not None and piece.diff_id.algorithm == "sha256" and made.diff_id != piece.diff_id:
            raise IntegrityError(f"unpacks to {made.diff_id}, the configuration states {piece.diff_id}", where)
        return made._replace(diff_id=piece.diff_id or made.diff_id, media_type=drafts.layer_type(image, codec))

    def _found(self, digest: Digest, size: int, blob: Blob | None) -> Blob | None:
        """The source's blob, else the destination's, else a lent one, which then is hashed when it is written. Before the
        network comes what is here. A damaged one of the destination comes last: what reads it says so."""
        if blob is not None and not blob.remote:
            return blob
        near = blob is None or not self.target.remote
        there = self.sound(digest, size) if near else None
        if there is not None:
            return there
        lent = self._supplies.near(digest, size) if blob is not None else self._supplies.blob(digest, size)
        if lent is None:
            damaged = self._sink.blob(digest) if blob is None else None
            return damaged if damaged is not None and damaged.size == size else blob
        self._lent[digest] = size
        return lent

    # Delivery

    def deliver(
        self, command: str, outputs: Sequence[OutputImage], *, details: Mapping[str, Any] | None = None, findings: int = 0
    ) -> WriteResult:
        """Writes these images. `UsageError` where names clash, `NotFoundError` where a blob is nowhere. What is left out of
        many goes into `problems`; if that is all of them, the first of these errors is raised."""
        named = _named(outputs, self._names, self.target, self.task)
        new = [output for output in named if not output.is_there]
        blobs, omitted = self._gathered(new)
        roots = tuple(
            RequestedImage(
                output.descriptor, output.names, self._docker(output, blobs), output.subject, output.repositories,
                output.is_index, _needs(output), output.optional,
            )
            for output in new
        )  # fmt: skip
        self._warn(new)
        self._check_unwritten(blobs)
        bundle = WriteRequest(roots, tuple(blobs.values()), tuple(omitted), lambda blob: self._others(blob, new))
        stored = WriteOutcome(frozenset(), not self.writing.dry_run)
        try:
            if roots or not named:
                stored = self._sink.write(bundle, self.task, verify=self._reading.verify)
        except IntegrityError:
            for claim in self._claims.values():
                claim.check(Task())  # this one's task has ended
            raise
        if stored.losses:
            named = self._arrived(named, stored.losses)
        refuse_nothing(named, self.problems, self.task)
        sizes = {digest: size for output in named for digest, size, _ in output.blobs}
        there = {digest for output in named if output.is_there for digest, _, _ in output.blobs}
        fresh = frozenset().union(*(output.made for output in named)) - stored.skipped
        made = sum(size for digest, size in sizes.items() if digest in fresh)
        skipped = sum(sizes[digest] for digest in stored.skipped if digest in sizes)
        kept = sum(sizes[digest] for digest in blobs if digest in sizes) - made - skipped
        return WriteResult(
            command, self.writing.destination, self.writing.dry_run, stored.verified, _roots(named, self.target),
            tuple(image for output in named for image in output.images),
            kept, made, skipped + sum(sizes[digest] for digest in there - blobs.keys()), sum(omitted.values()),
            self.task.bytes_transferred, sum(size for digest, size in self._lent.items() if digest not in stored.skipped),
            tuple(self._engines), tuple(self.task.notices), details, findings, tuple(self.problems),
            stored.unchanged + sum(len(output.names) for output in named if output.is_there),
        )  # fmt: skip

    def _others(self, blob: Blob, outputs: Sequence[OutputImage]) -> Iterator[Blob]:
        """The blobs of other images, and of what `--with` names, that are said to be this one. None for what a docker archive
        states: that is refused if it is not so."""
        digest = blob.digest
        assert digest is not None
        if any(claim.blob.digest == digest for claim in self._claims.values()):
            return
        own = [one for output in outputs for stated, _, one in output.blobs if stated == digest and one is not None]
        for one in chain(own, self._supplies.all(digest, blob.size)):
            if one is not blob and one.size == blob.size:
                yield one

    def _check_unwritten(self, blobs: Mapping[Digest, Blob]) -> None:
        """Hashes the layers whose names are claims, and whose very bytes the destination will not read."""
        for (digest, *place), claim in self._claims.items():
            blob = blobs.get(digest)
            written = isinstance(blob, FileBlob) and [id(blob.file), blob.offset] == place
            if not written or self.writing.dry_run or self.target.remote or self._sink.blob(digest) is not None:
                claim.check(self.task)

    def _arrived(self, outputs: Sequence[OutputImage], losses: Losses) -> list[OutputImage]:
        """What of these was written; the rest goes into `problems`."""
        found = []
        for output in outputs:
            lost = losses.of(_needs(output)) if not output.is_there else None
            if lost is not None:
                self.problems.append(placed(output.where, copy(lost)))  # which others have too, in other places
                continue
            refused = {name: error for name in output.names if (error := losses.of_name(name)) is not None}
            self.problems += [placed(name, copy(error)) for name, error in refused.items()]
            names = tuple(name for name in output.names if name not in refused)
            if names or not refused:
                images = tuple(image._replace(names=names) for image in output.images)
                found.append(output._replace(names=names, images=images) if refused else output)
        return found

    def _gathered(self, outputs: Sequence[OutputImage]) -> tuple[dict[Digest, Blob], dict[Digest, int]]:
        """The blobs of these outputs wherever they are, and the sizes of the layers that are left out."""
        blobs: dict[Digest, Blob] = {}
        omitted: dict[Digest, int] = {}
        for output in outputs:
            layers = {layer.digest for image in output.images for layer in image.layers}
            for digest, size, blob in output.blobs:
                if digest in self.writing.omit and digest in layers:
                    omitted[digest] = size
                elif digest not in blobs:
                    found = self._found(digest, size, blob)
                    if found is not None:
                        blobs[digest] = found
                    elif digest not in output.foreign:
                        raise _missing(digest, output.where)
                    else:
                        text = f"the layer {digest} is kept elsewhere (urls) and is not copied"
                        fetched = "; --foreign fetches it" if output.where.startswith(PREFIX) else ""
                        self.task.notice("foreign", f"{output.where}: {text}{fetched}")
        return blobs, omitted

    def _docker(self, output: OutputImage, blobs: Mapping[Digest, Blob]) -> DockerImage | None:
        """What `manifest.json` says of an output: nothing where a layer stays elsewhere, since engines would refuse it."""
        docker = output.docker
        if docker is None or all(digest in blobs for digest in (docker.config, *docker.layers)):
            return docker
        if self._archived and not any(digest in self.writing.omit for digest in docker.layers):
            text = f"{output.where}: a layer is kept elsewhere (urls), so docker load will not see the image"
            self.task.notice("foreign", text)
        return None

    @property
    def _archived(self) -> bool:
        return self.target.kind in ("archive", "stdout")

    def _warn(self, outputs: Sequence[OutputImage]) -> None:
        archive = self._archived
        for output in outputs:
            for image in output.images:
                if len(image.layers) > drafts.MOST_LAYERS:
                    self.task.notice("layers", f"{len(image.layers)} layers: Docker takes no more than {drafts.MOST_LAYERS}")
            if not archive:
                continue
            if not output.names:
                self.task.notice("untagged", "the archive holds an image without a name; --tag NAME:TAG gives one")
            for name in output.names:
                if name and "/" not in name and ":" not in name:
                    self.task.notice(
                        "untagged", f"{name} is a tag without a repository: docker load will not name the image; "
                        f"--tag NAME:{name} does",
                    )  # fmt: skip
            held = {digest: blob for digest, _, blob in output.blobs}
            zstd = output.docker is not None and any(
                _codec(held.get(layer.digest), layer) not in (None, *mediatypes.DOCKER_CODECS)
                for image in output.images for layer in image.layers
                if layer.digest in output.docker.layers
            )  # fmt: skip
            if zstd:
                self.task.notice("zstd", "layers in zstd: older engines refuse them; --compression gzip converts")


def refuse_nothing(left: Sequence[object], problems: Sequence[Problem], task: Task) -> None:
    """Raises the first of the problems if nothing else is left; the others are told."""
    if not left and problems:
        for one in problems[1:]:
            task.notice("problem", str(one.error))
        raise problems[0].error


def _needs(output: OutputImage) -> frozenset[Digest]:
    return frozenset(digest for digest, _, _ in output.blobs)


def refuse_inside(destination: str, directory: str) -> None:
    """`UsageError` for a destination in a directory that becomes part of the image: what is written would be read."""
    target = destinations.parse(destination)
    inside = os.path.realpath(directory).rstrip("/") + "/"
    if target.kind not in ("stdout", "registry") and (os.path.realpath(target.path) + "/").startswith(inside):
        raise UsageError(f"the destination stands in {directory}, which goes into the image", target.path)


def _missing(digest: Digest, where: str) -> NotFoundError:
    return NotFoundError(
        f"the blob {digest} is not here", where,
        hint="the image was packed without it; --with names an image that has it",
    )  # fmt: skip


def _codec(blob: Blob | None, layer: WrittenLayer) -> str | None:
    """A layer's compression by its first bytes where they are on this machine, else by its media type."""
    return mediatypes.layer_codec(layer.media_type) if blob is None or blob.remote else codecs.of(blob)


def _named(outputs: Sequence[OutputImage], names: tuple[str, ...], target: Destination, task: Task) -> list[OutputImage]:
    """The outputs under the names that they get; a name for two different images is a mistake. What speaks of an image gets no
    name that an image gets, which is told."""
    tops = [output for output in outputs if output.subject is None]
    if names and len({output.descriptor["digest"] for output in tops}) > 1:
        hint = "docker://HOST/PREFIX/ gives each its own" if target.remote else "name them one by one"
        raise UsageError(f"{len(tops)} images cannot have one name", ", ".join(names), hint=hint)
    taken: dict[str, Any] = {}
    named: list[OutputImage] = []
    for output in tops:
        own = () if target.nameless else names or distinct(map(target.placed, output.names))
        for name in own:
            if taken.setdefault(full(name), output.descriptor["digest"]) != output.descriptor["digest"]:
                raise UsageError(f"two different images with the name {name}", hint="--tag names them one by one")
        images = tuple(image._replace(names=own) for image in output.images)
        at = (target.repository.name,) if target.repository is not None else _repositories(own)
        named.append(output._replace(names=own, images=images, repositories=at))
    if len(tops) == len(outputs):
        return named
    homes: dict[Digest, tuple[str, ...]] = {}
    before: dict[Digest, tuple[str, ...]] = {}
    for one, top in zip(named, tops, strict=True):
        for digest, _, _ in one.blobs:
            homes.setdefault(digest, one.repositories)
            before.setdefault(digest, _repositories(map(full, top.names)))
    renamed = bool(names) or target.repository is not None
    for output in outputs:
        if output.subject is None:
            continue
        at, old = homes.get(output.subject, ()), before.get(output.subject, ())
        for digest, _, _ in output.blobs:
            homes.setdefault(digest, at)
            before.setdefault(digest, old)
        given: list[str] = []
        for name in output.names:
            wanted = _beside(name, at, old) if renamed or is_bare(name) else [target.placed(name)]
            mine = output.descriptor["digest"]
            free = [one for one in wanted if taken.setdefault(full(one), mine) == mine]
            if not free or len(free) < len(wanted):
                text = f"{output.where}: {mine}, which speaks of {output.subject}, does not keep the name"
                task.notice("referrer", f"{text} {name}: {'an image has it' if wanted else 'it is of another repository'}")
            given += free
        named.append(output._replace(names=distinct(given), repositories=at))
    return named


def _beside(name: str, at: Sequence[str], old: Sequence[str]) -> list[str]:
    """The names of what speaks of an image that went from the repositories `old` to `at`: its tag there, if it was of them."""
    repository, _, tag = full(name).rpartition(":") if not is_bare(name) else ("", "", name)
    if repository and repository not in old:
        return []
    return [f"{place}:{tag}" for place in at] or [tag]


def _roots(outputs: Sequence[OutputImage], target: Destination) -> tuple[WrittenRoot, ...]:
    """What was written at the top, each digest once, with all of its names."""
    found: dict[Digest, WrittenRoot] = {}
    names: dict[Digest, list[str]] = {}
    for output in outputs:
        digest = Digest.parse(output.descriptor["digest"])
        platforms = dict.fromkeys(image.platform for image in output.images if image.platform is not None)
        one = WrittenRoot(
            digest, output.descriptor.get("mediaType") or "", output.names, tuple(platforms) if output.is_index else None,
            target.pinned(digest, output.repositories), output.subject, output.kind,
        )  # fmt: skip
        if (known := found.get(digest)) is not None:
            references = dict.fromkeys((*known.references, *one.references))
            one = known._replace(references=tuple(references))
        found[digest] = one
        names.setdefault(digest, []).extend(output.names)
    return tuple(root._replace(names=distinct(names[digest])) for digest, root in found.items())


def _repositories(names: Iterable[str]) -> tuple[str, ...]:
    """The names without their tags; bare tags name none."""
    return tuple(dict.fromkeys(name.rpartition(":")[0] for name in names if not is_bare(name)))


def draft_output(documents: FinishedImage, names: Sequence[str], image: Image) -> OutputImage:
    """A drafted image as a root of its own."""
    layers = tuple(WrittenLayer(p.digest, p.diff_id, p.size, p.origin, p.media_type) for p in documents.pieces)
    written = WrittenImage(documents.digest, documents.config_digest, tuple(names), image.platform, layers)
    blobs: list[tuple[Digest, int, Blob | None]] = [
        (documents.digest, len(documents.manifest), BytesBlob(documents.manifest, documents.digest)),
        (documents.config_digest, len(documents.config), BytesBlob(documents.config, documents.config_digest)),
        *((piece.digest, piece.size, piece.blob) for piece in documents.pieces),
    ]
    made = {piece.digest for piece in documents.pieces if piece.origin not in ("kept", "reused")}
    if documents.digest != image.digest:
        made.add(documents.digest)
    if documents.config != image.config.raw:
        made.add(documents.config_digest)
    return OutputImage(
        documents.descriptor, tuple(names), tuple(blobs), (written,),
        DockerImage(documents.config_digest, tuple(piece.digest for piece in documents.pieces)), frozenset(made),
        frozenset(p.digest for p in documents.pieces if p.descriptor is not None and p.descriptor.get("urls")), image.where,
    )  # fmt: skip
