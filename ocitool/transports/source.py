"""What every transport gives, whatever it reads from."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from ocitool.blob import Blob
from ocitool.digest import Digest
from ocitool.spec.manifest import Index


class Record(NamedTuple):
    """An image of a docker archive, which has no manifest: its configuration, and its layers lowest first.

    A layer that the archive names but does not hold is None. `image_id` is stated only where it is not the digest of
    `config` (the v1 format).
    """

    tags: tuple[str, ...]
    config: bytes
    layers: tuple[Blob | None, ...]
    image_id: str | None = None


class Source(Protocol):
    """Images at one place. Either `index` is set (OCI), or `records` are the images (docker archives).

    Blobs are valid as long as they are referenced. `names`: tags that stand outside of the index, by manifest digest.
    """

    transport: str
    where: str
    index: Index | None
    records: tuple[Record, ...]
    names: dict[Digest, tuple[str, ...]]

    def blob(self, digest: Digest) -> Blob | None:
        """The blob stored under this digest, unverified; None when it is not here."""


class Finding(NamedTuple):
    """What is wrong with the container itself, for `validate`: rule, severity, subject, message."""

    rule: str
    severity: str
    subject: str
    message: str
