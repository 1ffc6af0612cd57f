"""What a request needs to be allowed (distribution's "Token Scope Documentation")."""

from __future__ import annotations

from typing import NamedTuple


class Scope(NamedTuple):
    """What a request needs: credentials for `path` (None: for the registry), and these claims in its token."""

    path: str | None
    claims: tuple[str, ...]


def pulling(path: str) -> Scope:
    return Scope(path, (f"repository:{path}:pull",))


def pushing(path: str, *mounted: str) -> Scope:
    """Writing to a repository, and reading from those whose blobs are mounted."""
    return Scope(path, (f"repository:{path}:pull,push", *(f"repository:{other}:pull" for other in mounted)))


CATALOG = Scope(None, ("registry:catalog:*",))
NOTHING = Scope(None, ())
