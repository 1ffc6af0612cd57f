"""The interface of every source, whatever transport it reads."""

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
    """An image of a docker archive, which has no manifest: its configuration, and its layers, lowest first. A layer
    that the archive names but lacks is None.

    `image_id` is set only if it is not the digest of `config` (the v1 format). `problem`: why the image cannot be read.
    `number`: its position in `manifest.json`. `instead_of`: the manifest in the index of a hybrid archive that
    contradicts this image and is therefore not read."""

    tags: tuple[str, ...]
    config: bytes
    layers: tuple[Blob | None, ...]
    image_id: str | None = None
    problem: OcitoolError | None = None
    number: int | None = None
    instead_of: Digest | None = None
    described: int | None = None
    """Only if it is an engine's description: the image's size in bytes. `config` is then made of what the engine says of the
    image, and blobs of layers have sizes alone, 0 if they are not known."""
    layer_type: str | None = None
    """The media type of its layers. None: the first bytes tell it; of a description, Docker's type."""


class ArchiveNames(tuple[str, ...]):
    """Names of one manifest that are not in the index: in an archive those of `manifest.json`. An archive has one index
    entry for each name of a manifest; all of them share one object, so that its hash is computed once."""

    spellings: frozenset[str] = frozenset()
    """The forms in which an index entry may repeat one of the names: as it is, fully qualified, or the part after one
    of its colons."""

    @classmethod
    def of(cls, names: Iterable[str]) -> "ArchiveNames":
        """Returns the names in their order, without those that are another form of an earlier one."""
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


def _drop_notice(code: str, text: str) -> None:
    """The default of `Source.tell`: drops the notice."""


class SilentUntilOpened:
    """A base of sources that drops notices until `tell` is set, and has no manifests that were read on opening."""

    tell: Callable[[str, str], None] = staticmethod(_drop_notice)
    manifests: Mapping[Stated, Manifest | Index] = {}


class Source(Protocol):
    """The images at one place: those in `index` (OCI), then those in `records` (docker archives). A hybrid archive has
    both; then `records` are the images that its index does not name.

    Blobs are valid as long as they are referenced. `remote`: each look-up costs a request. `names`: tags that are not
    in the index, by manifest digest. `tell` is called with notices (code, text) about what is read or selected.
    `manifests`: documents that were read and verified when the source was opened, by the digest, size and media type in
    their entries."""

    transport: Transport
    where: str
    remote: bool
    index: Index | None
    records: tuple[DockerImageRecord, ...]
    names: dict[Digest, ArchiveNames]
    tell: Callable[[str, str], None]
    manifests: Mapping[Stated, Manifest | Index]

    def blob(self, descriptor: Descriptor) -> Blob | None:
        """Returns the blob under the descriptor's digest, unverified; None if it is absent. Some places keep manifests
        apart from other blobs; the media type says which is meant."""


class Referrer(NamedTuple):
    """A manifest that refers to another (`subject`) and is not part of it: a signature, an SBOM, an attestation. `tag`:
    a tag or name under which it is stored, None without one."""

    subject: Digest
    descriptor: Descriptor
    tag: str | None


class RemoteSource(ABC):
    """What a remote source can do in addition. A base class instead of a Protocol, since `isinstance` is called a
    thousand times."""

    @abstractmethod
    def reuse_documents(self, find: Callable[[Digest], Blob | None]) -> None:
        """Takes documents that `find` returns from there, verified, and does not fetch them."""

    @abstractmethod
    def referrers(self, digest: Digest) -> Sequence[Referrer]:
        """Returns the referrers of a manifest."""

    @property
    @abstractmethod
    def referrers_error(self) -> OcitoolError | None:
        """Why the referrers tag was read instead of a list of referrers of the registry; `NotFoundError` if the
        registry says that it has no such list."""

    @abstractmethod
    def resolve(self) -> Digest | None:
        """Returns the digest that the tag points to now, if it is not the one that was read."""
