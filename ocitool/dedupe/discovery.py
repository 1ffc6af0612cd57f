"""Finds images: the repositories and tags of a registry that globs select, and the archives and layouts below a
directory."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from fnmatch import fnmatchcase
from typing import NamedTuple

from ocitool import reference
from ocitool.blob import unreadable
from ocitool.errors import UsageError
from ocitool.globs import nothing_matches
from ocitool.layers import codecs
from ocitool.operations import tags
from ocitool.pipeline.session import Session
from ocitool.reference import Repository
from ocitool.transports.opening import is_image_directory

Tolerant = Callable[[str], AbstractContextManager[None]]
"""A function from a location to a context in which an error becomes a problem of that location instead of being raised."""


class RepositoryFilter(NamedTuple):
    """The selection in registries: globs of repositories and of tags."""

    repositories: Sequence[str] = ()
    tags: Sequence[str] = ()
    allow_no_match: bool = False


def is_registry(text: str) -> bool:
    """Returns whether a reference names a registry without a repository."""
    details = text.removeprefix(reference.PREFIX).rstrip("/")
    return text.startswith(reference.PREFIX) and "/" not in details and reference.is_host(details)


def is_fanned_out(text: str) -> bool:
    """Returns whether a reference names several images, of which globs of tags select some."""
    if is_registry(text):
        return True
    where = reference.at_registry(text)
    return where is not None and where.tag is None and where.digest is None


def repositories(text: str, choice: RepositoryFilter, session: Session) -> list[Repository]:
    """Returns the repositories that a reference and the globs select. Raises `UsageError`, `NothingMatches`,
    `TransportError`."""
    details = text[len(reference.PREFIX) :].rstrip("/")
    if not is_registry(text):
        return [reference.parse_repository(details)]
    if not choice.repositories:
        hint = f"{text.rstrip('/')} --repos '*' means all of it, {text.rstrip('/')}/REPOSITORY one"
        raise UsageError("--repos is needed to select repositories of a registry", text, hint=hint)
    host = reference.host_name(details)
    known = session.asked().client(host).repositories()
    chosen = [path for path in known if any(fnmatchcase(path, glob) for glob in choice.repositories)]
    if not chosen and not choice.allow_no_match:
        raise nothing_matches("repository", choice.repositories, text)
    return [Repository(host, path) for path in chosen if reference.is_path(path)]


def images_of(where: Repository, choice: RepositoryFilter, listed: bool, session: Session) -> list[str]:
    """Returns references to the selected images of a repository: its tags, if it is named without one. `listed`: the
    repository comes from a registry's list, and was not named itself."""
    if where.tag or where.digest or not (choice.tags or listed):
        return [str(where)]
    found = tags.matching_tags(where, choice.tags or ("*",), session).images
    if not found and not listed and not choice.allow_no_match:
        raise nothing_matches("tag", choice.tags, str(where))
    return [str(where._replace(tag=tag)) for tag in found]


def find_images(top: str, tolerant: Tolerant) -> tuple[list[tuple[str, bool]], int]:
    """Returns every layout below a directory and every file that may be an archive, in order, each with whether it surely
    is one (a compressed file may be anything), and the number of other files. Links to directories are not followed."""
    found: list[tuple[str, bool]] = []
    others = 0

    def refused(error: OSError) -> None:
        where = error.filename or top
        with tolerant(where):
            raise unreadable(where, error)

    for path, directories, names in os.walk(top, onerror=refused):
        if is_image_directory(path):
            directories.clear()
            found.append((path, True))
            continue
        directories.sort()
        for name in sorted(names):
            file = os.path.join(path, name)
            with tolerant(file):
                looks = _looks_like_archive(file)
                if looks is None:
                    others += 1
                else:
                    found.append((file, looks))
    return found, others


def _looks_like_archive(path: str) -> bool | None:
    """Returns whether a file is an archive by its name or first bytes; False if it is only known to be compressed, None if
    it is not an archive or not a regular file."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            return None
        if path.lower().endswith(tuple(codecs.ENDINGS)):
            return True
        with open(path, "rb") as file:
            head = file.read(512)
    except FileNotFoundError:
        return None  # a dangling link
    except OSError as error:
        raise unreadable(path, error) from None
    if head[257:262] == b"ustar":
        return True
    return False if codecs.sniff(head) != "none" else None
