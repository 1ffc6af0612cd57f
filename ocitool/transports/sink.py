"""The interface of every destination, whatever transport it writes.

A sink gets all images and blobs in one request. So it knows everything before it writes the first byte, and makes
nothing visible before it wrote the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from ocitool import masking
from ocitool.atomic import Temporary, anonymous_temporary
from ocitool.blob import Blob, FileBlob
from ocitool.digest import Digest
from ocitool.errors import DestinationError, IntegrityError, OcitoolError
from ocitool.layers import codecs
from ocitool.reference import is_digest_tag
from ocitool.spec import mediatypes
from ocitool.spec.manifest import Platform
from ocitool.task import Task

T = TypeVar("T")


Origin = Literal["kept", "rewritten", "new", "squashed", "reused"]


class OutputLayer(NamedTuple):
    """A layer to be written, or one that was written. `blob`: None if the bytes are not available (of a kept layer that
    the destination has or that is left out), and after writing. `descriptor`: the fields of a kept layer's descriptor,
    None for a new layer. `stated`: for a layer of a docker archive whose digest is only a statement of the
    configuration and was not verified yet, its place (`ARCHIVE: layer N`); else None."""

    digest: Digest
    size: int
    diff_id: Digest | None
    media_type: str
    origin: Origin
    blob: Blob | None
    descriptor: Mapping[str, Any] | None = None
    stated: str | None = None

    def codec(self, blob: Blob | None) -> str | None:
        """Returns the compression of the layer in this blob, by its first bytes if they are on this machine, else by its media
        type."""
        return mediatypes.layer_codec(self.media_type) if blob is None or blob.remote else codecs.detected(blob)


PLAIN = 1 << 20
"""From how many bytes of plain layers it is worth a notice that they could be compressed."""


def plain_size(layers: Iterable[OutputLayer], blobs: Mapping[Digest, Blob | None]) -> int:
    """Returns the bytes of those layers that are not compressed. `blobs`: where they are."""
    return sum(layer.size for layer in layers if layer.codec(blobs.get(layer.digest)) == "none")


class OutputImage(NamedTuple):
    """An image, index or artifact to be written, or one that was written.

    `descriptor`: its fields, without names. `names`: as the user knows them; may be empty. `blobs`: digests and sizes
    of all that it leads to, documents first; the blob is None if the source lacks the bytes. `image_id`, `platform` and
    `layers` are set for an image, `parts` (the images of an index) for an index."""

    descriptor: Mapping[str, Any]
    names: tuple[str, ...] = ()
    blobs: tuple[tuple[Digest, int, Blob | None], ...] = ()
    image_id: Digest | None = None
    platform: Platform | None = None
    layers: tuple[OutputLayer, ...] = ()
    parts: tuple[OutputImage, ...] = ()
    is_index: bool = False
    loaded: Digest | None = None
    """The `image_id` of the image that an engine without OCI support loads: the entry in `manifest.json`."""
    made: frozenset[Digest] = frozenset()
    """The digests of blobs that this run made."""
    foreign: frozenset[Digest] = frozenset()
    """The digests of blobs that may be absent, since their descriptors have `urls`."""
    where: str = ""
    kind: str | None = None
    """The artifact type; None for an image or an index."""
    subject: Digest | None = None
    """The digest of its subject, for a referrer."""
    repositories: tuple[str, ...] = ()
    """The repositories of a registry to which it is written, once they are known."""
    references: tuple[str, ...] = ()
    """References by digest to what was written; empty for standard output."""
    optional: bool = False
    """Whether other images are written even if a part of this one is not available. If a part of any other image is
    missing, nothing is written."""
    is_there: bool = False
    """Whether the destination has it under all of its names, so that nothing of it is written; its blobs have no bytes."""

    @property
    def digest(self) -> Digest:
        return Digest.parse(self.descriptor["digest"])

    @property
    def media_type(self) -> str:
        return self.descriptor.get("mediaType") or ""

    @property
    def needs(self) -> frozenset[Digest]:
        """The digests of all that it leads to."""
        return frozenset(digest for digest, _, _ in self.blobs)

    @property
    def images(self) -> tuple[OutputImage, ...]:
        """The image itself, or the images of the index."""
        return (self,) if self.image_id is not None else self.parts

    @property
    def platforms(self) -> tuple[Platform, ...] | None:
        """The platforms of an index, each once; None if this is not an index."""
        found = dict.fromkeys(image.platform for image in self.images if image.platform is not None)
        return tuple(found) if self.is_index else None

    @property
    def loaded_image(self) -> OutputImage | None:
        """The image that `loaded` names."""
        return next((one for one in self.images if one.image_id == self.loaded), None) if self.loaded is not None else None

    @property
    def manifest(self) -> bytes:
        """The bytes of an image's manifest."""
        return _document(self.blobs[0][2])

    @property
    def config(self) -> bytes:
        """The bytes of an image's configuration."""
        return _document(self.blobs[1][2])

    def named(self, names: tuple[str, ...]) -> OutputImage:
        """Returns the same with these names, and its images with them too."""
        return self._replace(names=names, parts=tuple(part._replace(names=names) for part in self.parts))

    def without_bytes(self) -> OutputImage:
        """Returns what a report needs; it keeps no file open."""
        layers = tuple(layer._replace(blob=None, descriptor=None) for layer in self.layers)
        return self._replace(layers=layers, blobs=(), parts=tuple(part.without_bytes() for part in self.parts))

    @property
    def non_replacing_names(self) -> tuple[str, ...]:
        """The names under which an index must not be replaced unless the user asked for it: those of a single image or
        of a referrer. Tags that contain a digest are left out, since only referrers have such tags."""
        if self.is_index:
            return ()
        return tuple(name for name in self.names if self.subject is None or not is_digest_tag(name))


def _document(blob: Blob | None) -> bytes:
    assert blob is not None
    return blob.pread(blob.size, 0)


class WriteRequest(NamedTuple):
    """Everything that is to be written. `blobs`: each digest once, documents before what they name, all with size and
    digest. `omitted`: digests that are named but left out on purpose. `alternatives`: returns other places that may
    have a blob."""

    roots: tuple[OutputImage, ...]
    blobs: tuple[Blob, ...]
    omitted: tuple[Digest, ...] = ()
    alternatives: Callable[[Blob], Iterable[Blob]] = lambda _: ()

    def write_any(self, blob: Blob, write: Callable[[Blob], T], task: Task) -> T:
        """Returns the result of `write` for a blob. If the bytes do not match its digest, `write` is called again for
        each alternative. Raises the first error if none of them matches."""
        try:
            return write(blob)
        except IntegrityError as error:
            for other in self.alternatives(blob):
                try:
                    done = write(other)
                except IntegrityError:
                    continue
                task.notice("damaged", f"the blob {blob.digest} is damaged ({error}); it is taken from {_source_name(other)}")
                return done
            raise

    def writable(self, losses: Losses) -> WriteRequest:
        """Returns the request without the images that cannot be written, and without blobs that only they need."""
        roots = losses.writable()
        needed = frozenset[Digest]().union(*(root.needs for root in roots))
        return self._replace(roots=roots, blobs=tuple(blob for blob in self.blobs if blob.digest in needed))


def _source_name(blob: Blob) -> str:
    """Returns the path of a blob's file, if it has one."""
    path = blob.path if isinstance(blob, FileBlob) else None
    return path if path is not None else "another source"


class WriteOutcome(NamedTuple):
    """The result of writing. `skipped`: blobs that the destination had already. `verified`: every byte was hashed, in
    this run or, for a blob that was there already, in an earlier run with a record."""

    skipped: frozenset[Digest]
    verified: bool
    lost: Mapping[Digest, OcitoolError] = MappingProxyType({})
    """Why blobs of optional images were not written."""
    refused: Mapping[str, OcitoolError] = MappingProxyType({})
    """Why names of optional images were not given."""
    unchanged: int = 0
    """The number of names that pointed to their images already."""

    def why(self, root: OutputImage) -> OcitoolError | None:
        """Returns why an image was not written; None if it was."""
        if not self.lost:
            return None
        needs = root.needs
        return next((error for digest, error in self.lost.items() if digest in needs), None)


class Losses:
    """The blobs and names of a request that cannot be written, while the other images are. Used by several threads."""

    def __init__(self, roots: Sequence[OutputImage]) -> None:
        self._roots = roots
        self._needs = [root.needs for root in roots]
        self._blobs: dict[Digest, OcitoolError] = {}
        self._names: dict[str, OcitoolError] = {}

    def __bool__(self) -> bool:
        return bool(self._blobs or self._names)

    def blob(self, digest: Digest, error: OcitoolError) -> None:
        """Records a blob or document that is not written. Raises the error if it affects all blobs, or if an image that
        is not optional needs this one."""
        are_optional = [root.optional for root, needs in zip(self._roots, self._needs, strict=True) if digest in needs]
        if error.ends_run or not are_optional or not all(are_optional):
            raise error
        self._blobs.setdefault(digest, error)

    def name(self, name: str, error: OcitoolError) -> None:
        """Records a name that is not given. Raises the error if an image that has it is not optional."""
        if not all(root.optional for root in self._roots if name in root.names):
            raise error
        self._names.setdefault(name, error)

    def outcome(self, skipped: Iterable[Digest], *, verified: bool, unchanged: int = 0) -> WriteOutcome:
        """Returns the outcome of writing everything else."""
        return WriteOutcome(frozenset(skipped), verified, dict(self._blobs), dict(self._names), unchanged)

    def writable(self) -> tuple[OutputImage, ...]:
        """Returns the images that can be written, with the names that can be given."""
        found = []
        for root, needs in zip(self._roots, self._needs, strict=True):
            if not needs.isdisjoint(self._blobs):
                continue
            names = tuple(name for name in root.names if name not in self._names)
            if names or not root.names:
                found.append(root._replace(names=names))
        return tuple(found)


class Sink(Protocol):
    """A destination. It may hold locks until `close`."""

    where: str

    def blob(self, digest: Digest) -> Blob | None:
        """Returns a blob that the destination has, unverified: the caller verifies what it reads."""

    def verified_blob(self, digest: Digest, size: int, *, verify: bool) -> Blob | None:
        """Returns a blob of this size that the destination has and that can be relied on. On this machine its bytes
        match its digest: they are hashed once in a run, unless an earlier run recorded that and `verify` is false."""

    def spool(self) -> Temporary:
        """Returns a temporary file for a new layer, on the file system of the destination if that saves a copy."""

    def write(self, request: WriteRequest, task: Task, *, verify: bool) -> WriteOutcome:
        """Writes everything, or nothing that is visible. At a registry, where blobs are visible at once, no tag is put
        before everything it leads to is there. Takes ownership of spooled blobs.

        No bytes are stored under a digest before they were hashed. `verify`: records of earlier runs are ignored.

        Raises `DestinationError` (at a registry `TransportError`), and what reading the blobs raises."""

    def tag_digest(self, name: str) -> Digest | None:
        """Returns the digest that a name points to now, if looking it up costs less than writing it again, as at a
        registry; else None."""

    def close(self) -> None:
        """Releases locks and removes what was not completed."""


class StatelessSink:
    """The methods of sinks without locks and without blobs of their own."""

    def blob(self, digest: Digest) -> Blob | None:
        return None

    def verified_blob(self, digest: Digest, size: int, *, verify: bool) -> Blob | None:
        there = self.blob(digest)
        return there if there is not None and there.size == size else None

    def spool(self) -> Temporary:
        return anonymous_temporary()

    def tag_digest(self, name: str) -> Digest | None:
        return None

    def close(self) -> None:
        pass


class DryRunSink(StatelessSink):
    """A destination without any blobs, which only computes the outcome of writing."""

    def __init__(self, where: str) -> None:
        self.where = where

    def write(self, request: WriteRequest, task: Task, *, verify: bool) -> WriteOutcome:
        skipped = set()
        for blob in request.blobs:
            there = self.blob(blob.digest) if blob.digest else None
            if there is not None and there.digest is not None and there.size == blob.size:
                skipped.add(there.digest)
        return WriteOutcome(frozenset(skipped), False)


def would_replace_index(place: str, platforms: Iterable[str], *, is_referrer: bool = False) -> DestinationError:
    """Returns the error for an image, or an artifact if `is_referrer`, that would replace an index under a tag although
    the user did not ask for it."""
    named = ", ".join(map(masking.stated, platforms))
    what = f"the tag holds an index{f' (platforms: {named})' if named else ''}, and"
    if is_referrer:
        return DestinationError(f"{what} an artifact would take its place", place, hint="--force puts the artifact there")
    return DestinationError(
        f"{what} one image would take its place", place,
        hint="--force puts the one image there; --all-platforms, if the source is an index, writes all of it",
    )  # fmt: skip
