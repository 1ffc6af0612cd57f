"""The grammar of references: `transport:details` as in containers-transports(5), or a plain path.

Touches no disk and no network. A path may hold colons, so where it ends is decided by whoever opens it: `Reference.splits`
lists the possibilities, the longest path first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from ocitool.digest import Digest
from ocitool.errors import FormatError, UsageError

LOCAL = ("docker-archive", "oci-archive", "oci")
_REMOTE = ("docker://", "docker-daemon:")


class Selector(NamedTuple):
    """What picks one image of several: a name, a position (`@N`) or a digest. One of the three is set."""

    text: str
    name: str | None = None
    position: int | None = None
    digest: Digest | None = None


class Reference(NamedTuple):
    """`transport` is None for a plain path, which is recognised by its content. `-` is standard input."""

    text: str
    transport: str | None
    details: str

    def splits(self) -> Iterator[tuple[str, str | None]]:
        """(path, selector text or None), longest path first."""
        yield self.details, None
        end = len(self.details)
        while (end := self.details.rfind(":", 0, end)) > 0:
            yield self.details[:end], self.details[end + 1 :]


def parse(text: str) -> Reference:
    """Raises `UsageError` for an empty reference and for transports this version does not have."""
    for prefix in _REMOTE:
        if text.startswith(prefix):
            raise UsageError(
                f"this version reads files only, not {prefix}", text, hint="save the image to an archive first"
            )
    for transport in LOCAL:
        if text.startswith(transport + ":"):
            details = text[len(transport) + 1 :]
            if not details:
                raise UsageError(f"{transport}: needs a path", text)
            return Reference(text, transport, details)
    if not text:
        raise UsageError("an empty reference")
    return Reference(text, None, text)


def selector(text: str) -> Selector:
    """`NAME[:TAG]`, `@N` or `@ALGORITHM:HEX`."""
    if not text.startswith("@"):
        if not text:
            raise UsageError("an empty name behind the colon")
        return Selector(text, name=text)
    if text[1:].isascii() and text[1:].isdigit() and len(text) < 10:
        return Selector(text, position=int(text[1:]))
    try:
        return Selector(text, digest=Digest.parse(text[1:]))
    except FormatError:
        raise UsageError(f"{text} is neither @N nor @sha256:...", hint="positions count from 0") from None


def qualified(name: str) -> str:
    """A name with its defaults: `app` is `docker.io/library/app:latest`. A digest behind `@` stays."""
    first, slash, _ = name.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        name = f"docker.io/{name}" if slash else f"docker.io/library/{name}"
    last = name.rpartition("/")[2]
    return name if ":" in last or "@" in last else f"{name}:latest"


_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_IMAGE_NAME = re.compile(
    rf"(?:(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::[0-9]+)?/)?{_PART}(?:/{_PART})*(?::\w[\w.-]{{0,127}})?", re.ASCII
)
_LAYOUT_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@+/-]{0,511}")


def is_image_name(text: str) -> bool:
    """Whether engines take it for `NAME[:TAG]` (distribution's grammar of references)."""
    return _IMAGE_NAME.fullmatch(text) is not None


def is_layout_name(text: str) -> bool:
    """Whether it may stand as a `ref.name` (image-spec annotations.md, a little wider)."""
    return _LAYOUT_NAME.fullmatch(text) is not None


def is_bare(name: str) -> bool:
    """Whether it is a tag alone, as layouts have them: it names no repository."""
    return "/" not in name and ":" not in name


def full(name: str) -> str:
    """One spelling for names that mean one thing: in full, or a bare tag as it stands."""
    return name if is_bare(name) else qualified(name)


def matches(name: str, tags: tuple[str, ...]) -> bool:
    """Whether one of an image's tags is this name: as it stands, by its full name, or by a layout's bare tag."""
    return name in tags or any(qualified(name) == qualified(tag) for tag in tags if not is_bare(tag))
