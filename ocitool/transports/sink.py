"""What every destination takes, whatever it writes to.

A destination is given finished blobs and what stands at its top, all at once: it knows everything before the first byte
is written, and shows nothing before the last one is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from ocitool import masking
from ocitool.atomic import Temporary, anonymous_temporary
from ocitool.blob import Blob, FileBlob
from ocitool.digest import Digest
from ocitool.errors import DestinationError, IntegrityError, OcitoolError
from ocitool.reference import speaks_of_a_digest
from ocitool.task import Task

T = TypeVar("T")


class DockerImage(NamedTuple):
    """What an engine without OCI support needs to know of an image: a line of `manifest.json`."""

    config: Digest
    layers: tuple[Digest, ...]


class RequestedImage(NamedTuple):
    """One image or index at the top. `descriptor`: its fields, without names. `names`: as the user knows them, may be
    none. `docker`: the one image of it that `manifest.json` names, None for what is no image. `subject`: for what is no image
    by itself, the digest that it speaks of, and `repositories` where that goes."""

    descriptor: Mapping[str, Any]
    names: tuple[str, ...]
    docker: DockerImage | None
    subject: Digest | None = None
    repositories: tuple[str, ...] = ()
    is_index: bool = False
    needs: frozenset[Digest] = frozenset()
    """All that it leads to."""
    optional: bool = False
    """Whether the others are written even if a part of this one cannot be had: without one that is not, nothing is."""

    @property
    def sparing(self) -> tuple[str, ...]:
        """The names that are not to take the place of an index, unless that is asked for: those of one image, or of what speaks
        of one. Not those that speak of a digest, under which only their like stands."""
        if self.is_index:
            return ()
        return tuple(name for name in self.names if self.subject is None or not speaks_of_a_digest(name))


class WriteRequest(NamedTuple):
    """Everything that is to be written. `blobs`: each digest once, documents before what they name, all with size and
    digest. `omitted`: digests that are named and left out on purpose. `others`: where else a blob is said to be."""

    roots: tuple[RequestedImage, ...]
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
    losses: Losses | None = None
    """What was not written, of a bundle with optional roots."""
    unchanged: int = 0
    """How many names led to their roots before, and were not given again."""


class Losses:
    """What of a bundle cannot be had, or put where it belongs, while its other roots are written. Used by several threads."""

    def __init__(self, roots: Sequence[RequestedImage]) -> None:
        self._roots = roots
        self._blobs: dict[Digest, OcitoolError] = {}
        self._names: dict[str, OcitoolError] = {}

    def __bool__(self) -> bool:
        return bool(self._blobs or self._names)

    def blob(self, digest: Digest, error: OcitoolError) -> None:
        """A blob or document is not written. Raises the error if more than this one has it, or not only optional roots need
        the blob."""
        need = [root.optional for root in self._roots if digest in root.needs]
        if error.of_all or not need or not all(need):
            raise error
        self._blobs.setdefault(digest, error)

    def name(self, name: str, error: OcitoolError) -> None:
        """A name is not given. Raises the error as `blob` does."""
        if not all(root.optional for root in self._roots if name in root.names):
            raise error
        self._names.setdefault(name, error)

    def of(self, needs: frozenset[Digest]) -> OcitoolError | None:
        """Why a root that leads to these blobs was not written."""
        return next((error for digest, error in self._blobs.items() if digest in needs), None)

    def of_name(self, name: str) -> OcitoolError | None:
        """Why a name was not given."""
        return self._names.get(name)

    def left(self) -> tuple[RequestedImage, ...]:
        """The roots that can be written, with the names that they can have."""
        found = []
        for root in self._roots:
            if not root.needs.isdisjoint(self._blobs):
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
