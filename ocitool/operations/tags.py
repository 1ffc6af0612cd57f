"""`tags` and `catalog`: lists the tags of a repository, and the repositories of a registry."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from ocitool import masking, reference
from ocitool.errors import UsageError
from ocitool.pipeline.session import Session
from ocitool.progress import Notice
from ocitool.reference import Repository


class Tags(NamedTuple):
    """The tags of a repository, in the registry's order."""

    repository: str
    tags: tuple[str, ...]
    notices: tuple[Notice, ...]


class Catalog(NamedTuple):
    """The repositories of a registry, in its order, without the host."""

    host: str
    repositories: tuple[str, ...]
    notices: tuple[Notice, ...]


def tags(repository: str, session: Session) -> Tags:
    """Returns the tags of a repository. Raises `NotFoundError` if there is no such repository, `UsageError`,
    `TransportError`."""
    where = reference.at_registry(repository)
    if where is None:
        raise UsageError("not a repository", repository, hint="docker://HOST/REPOSITORY")
    if where.tag or where.digest:
        raise UsageError("expected a repository without a tag", repository, hint=f"docker://{where.name}")
    found = session.asked().client(where.host).tags(where.path)
    return Tags(where.name, tuple(found), tuple(session.task.notices))


class MatchedTags(NamedTuple):
    """Tags that a glob matches. `of_digests`: those that contain a digest (of cosign, and of lists of referrers); `images`:
    all others."""

    images: list[str]
    of_digests: list[str]


def matching_tags(where: Repository, globs: Sequence[str], session: Session) -> MatchedTags:
    """Returns the tags of a repository that one of the globs matches. Names in the registry's list that are not valid
    tags are left out, with a notice."""
    picked = MatchedTags([], [])
    odd: list[str] = []
    for tag in session.asked().client(where.host).tags(where.path):
        if not reference.is_tag(tag):
            odd.append(tag)
        elif matches_any(tag, globs):
            (picked.of_digests if reference.is_digest_tag(tag) else picked.images).append(tag)
    if odd:
        text = f"{where}: {len(odd)} invalid {'tag' if len(odd) == 1 else 'tags'} in its list left out"
        session.task.notice("tag", f"{text}: {masking.stated(odd[0])}{' ...' if len(odd) > 1 else ''}")
    return picked


def matches_any(name: str, globs: Sequence[str]) -> bool:
    """Returns whether one of the globs matches a tag or repository."""
    return any(fnmatchcase(name, glob) for glob in globs)


def unmatched_globs(globs: Sequence[str], names: Sequence[str]) -> list[str]:
    """Returns the globs that match none of these names."""
    return [glob for glob in globs if not any(matches_any(name, (glob,)) for name in names)]


def catalog(host: str, session: Session) -> Catalog:
    """Returns the repositories of a registry. Raises `NotFoundError` if it has no catalog, `TransportError`."""
    return Catalog(host, tuple(session.asked().client(host).repositories()), tuple(session.task.notices))
