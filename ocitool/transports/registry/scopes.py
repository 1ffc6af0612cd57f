"""What a request needs to be allowed (distribution's "Token Scope Documentation")."""

from __future__ import annotations

from typing import NamedTuple


class Scope(NamedTuple):
    """What a request needs: credentials for `path` (None: for the registry), and these claims in its token."""

    path: str | None
    resource_scopes: tuple[str, ...]


def pull_scope(path: str) -> Scope:
    return Scope(path, (f"repository:{path}:pull",))


def push_scope(path: str, *mount_from: str) -> Scope:
    """Writing to a repository, and reading from those whose blobs are mounted."""
    return Scope(path, (f"repository:{path}:pull,push", *(f"repository:{other}:pull" for other in mount_from)))


CATALOG_SCOPE = Scope(None, ("registry:catalog:*",))
NO_SCOPE = Scope(None, ())
