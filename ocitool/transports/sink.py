"""What every destination takes, whatever it writes to.

A destination is given finished blobs and what stands at its top, all at once: it knows everything before the first byte
is written, and shows nothing before the last one is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

from ocitool import masking
from ocitool.blob import Blob, FileBlob
from ocitool.digest import Digest
from ocitool.errors import DestinationError, IntegrityError
from ocitool.task import Task
from ocitool.transports.whole import Temporary, nameless

T = TypeVar("T")


class DockerImage(NamedTuple):
    """What an engine without OCI support needs to know of an image: a line of `manifest.json`."""

    config: Digest
    layers: tuple[Digest, ...]


class Root(NamedTuple):
    """One image or index at the top. `descriptor`: its fields, without names. `names`: as the user knows them, may be
    none. `docker`: the one image of it that `manifest.json` names, None for what is no image. `subject`: for what is no image
    by itself, the digest that it speaks of, and `repositories` where that goes."""

    descriptor: Mapping[str, Any]
    names: tuple[str, ...]
    docker: DockerImage | None
    subject: Digest | None = None
    repositories: tuple[str, ...] = ()
    is_index: bool = False

    @property
    def is_one_image(self) -> bool:
        """Whether a tag that comes to name it leads to one image, where an index leads to those of several platforms."""
        return not self.is_index and self.subject is None


class Bundle(NamedTuple):
    """Everything that is to be written. `blobs`: each digest once, documents before what they name, all with size and
    digest. `omitted`: digests that are named and left out on purpose. `others`: where else a blob is said to be."""

    roots: tuple[Root, ...]
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


def _place(blob: Blob) -> str:
    """Where a blob is read, as far as it has a name."""
    path = blob.path if isinstance(blob, FileBlob) else None
    return path if path is not None else "another source"


class Stored(NamedTuple):
    """What writing came to. `skipped`: blobs that were there already. `verified`: every byte was hashed, in this run or, of a
    blob that was there already, in an earlier one that is on record."""

    skipped: frozenset[Digest]
    verified: bool


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

    def write(self, bundle: Bundle, task: Task, *, verify: bool) -> Stored:
        """Writes all of it or nothing that anyone could see; at a registry, where blobs are seen at once, nothing has a tag
        before all that it leads to is there. Takes ownership of spooled blobs.

        No byte has a name there before it was hashed; `verify`: nor is a record of an earlier run believed.

        Raises `DestinationError` (a registry: `TransportError`), and what reading the blobs raises."""

    def close(self) -> None:
        """Lets go of locks and of whatever was not written."""


class Unheld:
    """What destinations share that hold nothing: they lend no blob, let go of no lock, and layers are made elsewhere."""

    def blob(self, digest: Digest) -> Blob | None:
        return None

    def sound(self, digest: Digest, size: int, *, verify: bool) -> Blob | None:
        there = self.blob(digest)
        return there if there is not None and there.size == size else None

    def spool(self) -> Temporary:
        return nameless()

    def close(self) -> None:
        pass


class Rehearsal(Unheld):
    """A destination that only says what writing to it would come to. It holds nothing yet."""

    def __init__(self, where: str) -> None:
        self.where = where

    def write(self, bundle: Bundle, task: Task, *, verify: bool) -> Stored:
        skipped = set()
        for blob in bundle.blobs:
            there = self.blob(blob.digest) if blob.digest else None
            if there is not None and there.digest is not None and there.size == blob.size:
                skipped.add(there.digest)
        return Stored(frozenset(skipped), False)


def index_in_the_way(place: str, platforms: Iterable[str]) -> DestinationError:
    """One image where an index stands under the tag: a mistake unless it was asked for."""
    named = ", ".join(map(masking.stated, platforms))
    return DestinationError(
        f"the tag holds an index{f' (platforms: {named})' if named else ''}, and one image would take its place", place,
        hint="--force puts the one image there; --all-platforms, if the source is an index, writes all of it",
    )  # fmt: skip
