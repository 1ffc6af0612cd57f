"""What every destination takes, whatever it writes to.

A destination is given finished blobs and what stands at its top, all at once: it knows everything before the first byte
is written, and shows nothing before the last one is.
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
from ocitool.reference import is_digest_tag
from ocitool.spec.manifest import Platform
from ocitool.task import Task

T = TypeVar("T")


Origin = Literal["kept", "rewritten", "new", "squashed", "reused"]


class OutputLayer(NamedTuple):
    """A layer that is written, and as it was written. `blob` is None if the bytes are not here: of a kept layer that the
    destination has or that is left out, and when all is written. `descriptor`: the fields of a kept layer's own descriptor,
    None of a made one. `stated`: the place (`ARCHIVE: layer N`) of a layer that goes by what a docker archive's configuration
    states of it, whose bytes were not hashed yet; None of any other."""

    digest: Digest
    size: int
    diff_id: Digest | None
    media_type: str
    origin: Origin
    blob: Blob | None
    descriptor: Mapping[str, Any] | None = None
    stated: str | None = None


class OutputImage(NamedTuple):
    """One image, or one index or artifact, that is written, and as it was written.

    `descriptor`: its fields, without names. `names`: as the user knows them, may be none. `blobs`: all that it leads to with
    sizes, documents first; None for bytes that are not at the source. `image_id`, `platform`, `layers` are those of an image,
    `parts` the images of an index."""

    descriptor: Mapping[str, Any]
    names: tuple[str, ...] = ()
    blobs: tuple[tuple[Digest, int, Blob | None], ...] = ()
    image_id: Digest | None = None
    platform: Platform | None = None
    layers: tuple[OutputLayer, ...] = ()
    parts: tuple[OutputImage, ...] = ()
    is_index: bool = False
    loaded: Digest | None = None
    """The `image_id` of the one that an engine without OCI support is to load: a line of `manifest.json`."""
    made: frozenset[Digest] = frozenset()
    """Those of the blobs that this run made."""
    foreign: frozenset[Digest] = frozenset()
    """Those that may be absent, because their descriptors say where else they are (`urls`)."""
    where: str = ""
    kind: str | None = None
    """The type of an artifact; None for an image or an index."""
    subject: Digest | None = None
    """For what is no image by itself: the digest that it speaks of."""
    repositories: tuple[str, ...] = ()
    """The repositories of a registry that it goes to, once that is known."""
    references: tuple[str, ...] = ()
    """How what was written is asked for by its digest, which keeps an index whole; none on standard output."""
    optional: bool = False
    """Whether the others are written even if a part of this one cannot be had: without one that is not, nothing is."""
    is_there: bool = False
    """Whether the destination has it under all of its names: nothing of it is written, and blobs are without bytes."""

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
        """The platforms of an index, each once; None of what is no index."""
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
        """Returns it under these names, and so its images."""
        return self._replace(names=names, parts=tuple(part._replace(names=names) for part in self.parts))

    def without_bytes(self) -> OutputImage:
        """Returns what a report tells of it, which holds no file open."""
        layers = tuple(layer._replace(blob=None, descriptor=None) for layer in self.layers)
        return self._replace(layers=layers, blobs=(), parts=tuple(part.without_bytes() for part in self.parts))

    @property
    def sparing(self) -> tuple[str, ...]:
        """The names that are not to take the place of an index, unless that is asked for: those of one image, or of what speaks
        of one. Not those that speak of a digest, under which only their like stands."""
        if self.is_index:
            return ()
        return tuple(name for name in self.names if self.subject is None or not is_digest_tag(name))


def _document(blob: Blob | None) -> bytes:
    assert blob is not None
    return blob.pread(blob.size, 0)


class WriteRequest(NamedTuple):
    """Everything that is to be written. `blobs`: each digest once, documents before what they name, all with size and
    digest. `omitted`: digests that are named and left out on purpose. `others`: where else a blob is said to be."""

    roots: tuple[OutputImage, ...]
    blobs: tuple[Blob, ...]
    omitted: tuple[Digest, ...] = ()
    others: Callable[[Blob], Iterable[Blob]] = lambda _: ()

    def sound(self, blob: Blob, write: Callable[[Blob], T], task: Task) -> T:
        """What `write` returns of a blob or, if its bytes are not what its digest says, of the next one that is said to be it;
        `write` begins anew then. Raises what it raised first if all are damaged."""
        try:
            return write(blob)
        except IntegrityError as error:
            for other in self.others(blob):
                try:
                    done = write(other)
                except IntegrityError:
                    continue
                task.notice("damaged", f"the blob {blob.digest} is damaged ({error}); it is taken from {_place(other)}")
                return done
            raise

    def left(self, losses: Losses) -> WriteRequest:
        """The roots that can be written, and what they need."""
        roots = losses.left()
        needed = frozenset[Digest]().union(*(root.needs for root in roots))
        return self._replace(roots=roots, blobs=tuple(blob for blob in self.blobs if blob.digest in needed))


def _place(blob: Blob) -> str:
    """Where a blob is read, as far as it has a name."""
    path = blob.path if isinstance(blob, FileBlob) else None
    return path if path is not None else "another source"


class WriteOutcome(NamedTuple):
    """What writing came to. `skipped`: blobs that were there already. `verified`: every byte was hashed, in this run or, of a
    blob that was there already, in an earlier one that is on record."""

    skipped: frozenset[Digest]
    verified: bool
    lost: Mapping[Digest, OcitoolError] = MappingProxyType({})
    """Why blobs of optional roots were not written."""
    refused: Mapping[str, OcitoolError] = MappingProxyType({})
    """Why names of optional roots were not given."""
    unchanged: int = 0
    """How many names led to their roots before, and were not given again."""

    def why(self, root: OutputImage) -> OcitoolError | None:
        """Why a root was not written; None of one that was."""
        if not self.lost:
            return None
        needs = root.needs
        return next((error for digest, error in self.lost.items() if digest in needs), None)


class Losses:
    """What of a bundle cannot be had, or put where it belongs, while its other roots are written. Used by several threads."""

    def __init__(self, roots: Sequence[OutputImage]) -> None:
        self._roots = roots
        self._needs = [root.needs for root in roots]
        self._blobs: dict[Digest, OcitoolError] = {}
        self._names: dict[str, OcitoolError] = {}

    def __bool__(self) -> bool:
        return bool(self._blobs or self._names)

    def blob(self, digest: Digest, error: OcitoolError) -> None:
        """A blob or document is not written. Raises the error if more than this one has it, or not only optional roots need
        the blob."""
        need = [root.optional for root, needs in zip(self._roots, self._needs, strict=True) if digest in needs]
        if error.ends_run or not need or not all(need):
            raise error
        self._blobs.setdefault(digest, error)

    def name(self, name: str, error: OcitoolError) -> None:
        """A name is not given. Raises the error as `blob` does."""
        if not all(root.optional for root in self._roots if name in root.names):
            raise error
        self._names.setdefault(name, error)

    def outcome(self, skipped: Iterable[Digest], *, verified: bool, unchanged: int = 0) -> WriteOutcome:
        """What writing all but this came to."""
        return WriteOutcome(frozenset(skipped), verified, dict(self._blobs), dict(self._names), unchanged)

    def left(self) -> tuple[OutputImage, ...]:
        """The roots that can be written, with the names that they can have."""
        found = []
        for root, needs in zip(self._roots, self._needs, strict=True):
            if not needs.isdisjoint(self._blobs):
                continue
            names = tuple(name for name in root.names if name not in self._names)
            if names or not root.names:
                found.append(root._replace(names=names))
        return tuple(found)


class Sink(Protocol):
    """A place to write to, held until `close`."""

    where: str

    def blob(self, digest: Digest) -> Blob | None:
        """A blob that is there already, unverified: for one who verifies what it reads of it."""

    def sound(self, digest: Digest, size: int, *, verify: bool) -> Blob | None:
        """A blob of this size that is there already, to be relied on. On this machine its bytes are what its digest says: they
        are hashed once a run, unless that is on record and not `verify`."""

    def spool(self) -> Temporary:
        """Where a layer is made: on the destination's file system where that saves a copy."""

    def write(self, bundle: WriteRequest, task: Task, *, verify: bool) -> WriteOutcome:
        """Writes all of it or nothing that anyone could see; at a registry, where blobs are seen at once, nothing has a tag
        before all that it leads to is there. Takes ownership of spooled blobs.

        No byte has a name there before it was hashed; `verify`: nor is a record of an earlier run believed.

        Raises `DestinationError` (a registry: `TransportError`), and what reading the blobs raises."""

    def named(self, name: str) -> Digest | None:
        """What a name leads to now, if asking costs less than writing it again: at a registry."""

    def close(self) -> None:
        """Lets go of locks and of whatever was not written."""


class StatelessSink:
    """What destinations share that hold nothing: they lend no blob, let go of no lock, and layers are made elsewhere."""

    def blob(self, digest: Digest) -> Blob | None:
        return None

    def sound(self, digest: Digest, size: int, *, verify: bool) -> Blob | None:
        there = self.blob(digest)
        return there if there is not None and there.size == size else None

    def spool(self) -> Temporary:
        return anonymous_temporary()

    def named(self, name: str) -> Digest | None:
        return None

    def close(self) -> None:
        pass


class Rehearsal(StatelessSink):
    """A destination that only says what writing to it would come to. It holds nothing yet."""

    def __init__(self, where: str) -> None:
        self.where = where

    def write(self, bundle: WriteRequest, task: Task, *, verify: bool) -> WriteOutcome:
        skipped = set()
        for blob in bundle.blobs:
            there = self.blob(blob.digest) if blob.digest else None
            if there is not None and there.digest is not None and there.size == blob.size:
                skipped.add(there.digest)
        return WriteOutcome(frozenset(skipped), False)


def index_in_the_way(place: str, platforms: Iterable[str], *, speaks: bool = False) -> DestinationError:
    """One image where an index stands under the tag, or what `speaks` of one: a mistake unless it was asked for."""
    named = ", ".join(map(masking.stated, platforms))
    what = f"the tag holds an index{f' (platforms: {named})' if named else ''}, and"
    if speaks:
        return DestinationError(f"{what} an artifact would take its place", place, hint="--force puts the artifact there")
    return DestinationError(
        f"{what} one image would take its place", place,
        hint="--force puts the one image there; --all-platforms, if the source is an index, writes all of it",
    )  # fmt: skip
