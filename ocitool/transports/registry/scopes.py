"""Scopes: which repositories and actions a token must allow (distribution's "Token Scope Documentation")."""

from __future__ import annotations

from typing import NamedTuple


class Scope(NamedTuple):
    """What a request needs: the credentials for the repository `path` (None: those for the registry), and a token with
    these resource scopes."""

    path: str | None
    resource_scopes: tuple[str, ...]


def pull_scope(path: str) -> Scope:
    return Scope(path, (f"repository:{path}:pull",))


def push_scope(path: str, *mount_from: str) -> Scope:
    """Returns the scope for writing to a repository and reading from those from which blobs are mounted."""
    return Scope(path, (f"repository:{path}:pull,push", *(f"repository:{other}:pull" for other in mount_from)))


CATALOG_SCOPE = Scope(None, ("registry:catalog:*",))
NO_SCOPE = Scope(None, ())
