"""What every transport gives, whatever it reads from."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from ocitool import reference
from ocitool.blob import Blob
from ocitool.digest import Digest
from ocitool.errors import OcitoolError
from ocitool.reference import Transport
from ocitool.spec.manifest import Descriptor, Index, Manifest, Stated


class DockerImageRecord(NamedTuple):
    """An image of a docker archive, which has no manifest: its configuration, and its layers lowest first.

    A layer that the archive names but does not hold is None. `image_id` is stated only where it is not the digest of
    `config` (the v1 format). `problem`: why the image cannot be read. `number`: its position in `manifest.json`.
    `instead_of`: the manifest of an index beside it that contradicts it, and is not read.
    """

    tags: tuple[str, ...]
    config: bytes
    layers: tuple[Blob | None, ...]
    image_id: str | None = None
    problem: OcitoolError | None = None
    number: int | None = None
    instead_of: Digest | None = None


class ArchiveNames(tuple[str, ...]):
    """Names of one manifest that stand outside of the index: in an archive those of its `manifest.json`. As an archive gives a
    manifest an entry for each of its names, one object serves all of these entries, and its hash is computed once."""

    spellings: frozenset[str] = frozenset()
    """How an entry of the index may say one of the names again: as it stands, in full, or what follows one of its colons."""

    @classmethod
    def of(cls, names: Iterable[str]) -> "ArchiveNames":
        """The names in their order, without those that another one spells."""
        kept: list[str] = []
        spellings: set[str] = set()
        for name in names:
            if name not in spellings:
                kept.append(name)
                spellings |= {name, reference.qualified(name), *reference.suffixes(name, ":")}
        made = cls(kept)
        made.spellings = frozenset(spellings)
        return made

    def __eq__(self, other: object) -> bool:
        return self is other or super().__eq__(other)

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = super().__hash__()
        return self._hash

    _hash: int | None = None


NO_NAMES = ArchiveNames()


def _untold(code: str, text: str) -> None:
    """For a source that is opened by itself."""


class SilentUntilOpened:
    """A source whose notices are dropped until whatever opened it gives `tell` a taker, and that has read no manifest yet."""

    tell: Callable[[str, str], None] = staticmethod(_untold)
    manifests: Mapping[Stated, Manifest | Index] = {}


class Source(Protocol):
    """Images at one place: those that `index` names (OCI), then `records` (docker archives). A hybrid archive has both: then
    `records` are the images that its index does not name.

    Blobs are valid as long as they are referenced. `remote`: each look costs a request. `names`: tags that stand outside of the
    index, by manifest digest. `tell`: takes notices (code, text) of what is read or chosen here. `manifests`: some of the
    documents that its index leads to, by what their entries state, which opening it had to read and verify.
    """

    transport: Transport
    where: str
    remote: bool
    index: Index | None
    records: tuple[DockerImageRecord, ...]
    names: dict[Digest, ArchiveNames]
    tell: Callable[[str, str], None]
    manifests: Mapping[Stated, Manifest | Index]

    def blob(self, descriptor: Descriptor) -> Blob | None:
        """The blob that stands under the descriptor's digest, unverified; None when it is not here. A place that keeps
        documents apart from other blobs knows by the media type which it is asked for."""


class Referrer(NamedTuple):
    """What speaks of a manifest (`subject`) and is not part of it: a signature, an SBOM, an attestation. `tag`: the one by
    which it is found, or a name that it has beside that, None if it has none."""

    subject: Digest
    descriptor: Descriptor
    tag: str | None


class RemoteSource(ABC):
    """What a remote source can do beside reading: a base of such sources, which are asked for it a thousand times."""

    @abstractmethod
    def reuse_documents(self, find: Callable[[Digest], Blob | None]) -> None:
        """Documents that `find` gives are taken from there, verified, and not fetched."""

    @abstractmethod
    def referrers(self, digest: Digest) -> Sequence[Referrer]:
        """What speaks of a manifest."""

    @property
    @abstractmethod
    def unlisted(self) -> OcitoolError | None:
        """Why the tags that stand for lists of referrers were read, if the registry did not give such a list;
        `NotFoundError` if it says that it keeps none."""

    @abstractmethod
    def resolve(self) -> Digest | None:
        """What the tag names by now, where that is not what was read."""
