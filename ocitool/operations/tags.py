"""What a registry holds: the tags of a repository, and its repositories."""

from __future__ import annotations

from dataclasses import dataclass

from ocitool import reference
from ocitool.errors import UsageError
from ocitool.operations.reading import Reading
from ocitool.task import Notice


@dataclass(frozen=True, slots=True)
class Tags:
    """In the registry's order."""

    repository: str
    tags: tuple[str, ...]
    notices: tuple[Notice, ...]


@dataclass(frozen=True, slots=True)
class Catalog:
    """In the registry's order: names without the host."""

    host: str
    repositories: tuple[str, ...]
    notices: tuple[Notice, ...]


def tags(word: str, reading: Reading) -> Tags:
    """Raises `NotFoundError` where there is no such repository, `TransportError`."""
    where = reference.at_registry(word)
    if where is None:
        raise UsageError("a repository is needed", word, hint="docker://HOST/REPOSITORY")
    if where.tag or where.digest:
        raise UsageError("a repository is needed, without a tag", word, hint=f"docker://{where.name}")
    found = reading.asked().client(where.host).tags(where.path)
    return Tags(where.name, tuple(found), tuple(reading.task.notices))


def catalog(host: str, reading: Reading) -> Catalog:
    """Raises `NotFoundError` where the registry has no catalogue, `TransportError`."""
    return Catalog(host, tuple(reading.asked().client(host).repositories()), tuple(reading.task.notices))
