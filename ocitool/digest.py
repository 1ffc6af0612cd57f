"""Digests: parsed strictly, computed incrementally, verified while reading.

Grammar: image-spec descriptor.md, "Digests". The registered algorithms are sha256 and sha512. A digest of another
algorithm can be named but not checked: its hasher is an `UnsupportedError`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

from ocitool.errors import FormatError, IntegrityError, UnsupportedError
from ocitool.patterns import pattern

_GRAMMAR = pattern(r"([a-z0-9]+(?:[+._-][a-z0-9]+)*):([a-zA-Z0-9=_-]+)", re.ASCII)
_HEX_LENGTH = {"sha256": 64, "sha512": 128}
_SHA256 = pattern(r"sha256:[0-9a-f]{64}", re.ASCII)
_HEX = pattern(r"[0-9a-f]+", re.ASCII)


Chunk = TypeVar("Chunk")
_new = tuple.__new__


class Digest(NamedTuple):
    """A digest, `algorithm:encoded`. Once parsed it is safe as a path component and in a URL."""

    algorithm: str
    encoded: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.encoded}"

    @property
    def short(self) -> str:
        """The first twelve characters, for messages."""
        return self.encoded[:12]

    @property
    def referrers_tag(self) -> str:
        """The tag of the list of referrers at a registry without the referrers API (distribution-spec, "Referrers Tag
        Schema")."""
        return f"{self.algorithm[:32]}-{self.encoded[:64]}".replace("+", "-").replace("=", "-")

    @classmethod
    def parse(cls, text: object) -> Digest:
        """Returns the digest of a text. Raises `FormatError`; a registered algorithm must have its exact length."""
        if isinstance(text, str) and _SHA256.fullmatch(text):  # the common case, quicker
            return _new(cls, ("sha256", text[7:]))
        match = _GRAMMAR.fullmatch(text) if isinstance(text, str) and len(text) < 1024 else None
        if match is None:
            raise FormatError("not a digest")
        algorithm, encoded = match.groups()
        length = _HEX_LENGTH.get(algorithm)
        if length is not None and (len(encoded) != length or not _HEX.fullmatch(encoded)):
            raise FormatError(f"not a {algorithm} digest")
        return cls(algorithm, encoded)

    @classmethod
    def of(cls, data: bytes | memoryview, algorithm: str = "sha256") -> Digest:
        """Returns the digest of these bytes. Raises `UnsupportedError` for an algorithm that cannot be computed."""
        hasher = cls(algorithm, "").hasher()
        hasher.update(data)
        return cls(algorithm, hasher.hexdigest())

    @property
    def checkable(self) -> bool:
        """Whether its algorithm can be computed."""
        return self.algorithm in _HEX_LENGTH

    def hasher(self) -> Any:
        """Returns a new hash object of this digest's algorithm. Raises `UnsupportedError`."""
        if not self.checkable:
            raise UnsupportedError(f"digest algorithm {self.algorithm} cannot be checked")
        return hashlib.new(self.algorithm)


def verified(chunks: Iterable[bytes], digest: Digest | None, size: int | None) -> Iterator[bytes]:
    """Yields the chunks unchanged, and checks size and digest (None: not checked). Raises `IntegrityError` if they
    differ.

    The last chunk is yielded before the check: nothing may be trusted before the iterator ends.
    """
    hasher = digest.hasher() if digest is not None else None
    seen = 0
    for chunk in chunks:
        seen += len(chunk)
        if size is not None and seen > size:
            raise IntegrityError(f"longer than its stated size of {size} bytes")
        if hasher is not None:
            hasher.update(chunk)
        yield chunk
    if size is not None and seen != size:
        raise IntegrityError(f"{seen} bytes where {size} are stated")
    if hasher is not None and digest is not None and hasher.hexdigest() != digest.encoded:
        raise IntegrityError(f"content is {digest.algorithm}:{hasher.hexdigest()}, stated is {digest}")


def wrong_diff_id(found: Digest | str | None, stated: Digest | None, where: str | None = None) -> IntegrityError:
    """Returns the error for a layer that unpacks to other bytes than the diff_id in its image's configuration."""
    return IntegrityError(f"unpacks to {found}, the configuration states {stated}", where)


def hashed(chunks: Iterable[Chunk], *hashers: Any) -> Iterator[Chunk]:
    """Yields the chunks; each was passed to the hashers (of `hashlib`) before."""
    for chunk in chunks:
        for hasher in hashers:
            hasher.update(chunk)
        yield chunk


def digest_of(chunks: Iterable[bytes], algorithm: str = "sha256") -> Digest:
    """Returns the digest of all the chunks together."""
    hasher = Digest(algorithm, "").hasher()
    for chunk in chunks:
        hasher.update(chunk)
    return Digest(algorithm, hasher.hexdigest())
