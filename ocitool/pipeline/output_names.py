"""Decides which names images get at a destination, and collects what was written there by digest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ocitool.digest import Digest
from ocitool.errors import UsageError
from ocitool.reference import canonical, distinct, is_bare
from ocitool.task import Task
from ocitool.transports.destinations import Destination
from ocitool.transports.sink import OutputImage


def with_names(outputs: Sequence[OutputImage], names: tuple[str, ...], target: Destination, task: Task) -> list[OutputImage]:
    """Returns the outputs with the names that they get at the destination. Raises `UsageError` if two different images
    would get one name. A referrer does not get a name that an image gets; a notice says so."""
    tops = [output for output in outputs if output.subject is None]
    if names and len({output.digest for output in tops}) > 1:
        hint = "docker://HOST/PREFIX/ gives each its own" if target.remote else "name them one by one"
        raise UsageError(f"{len(tops)} images cannot have one name", ", ".join(names), hint=hint)
    taken: dict[str, Digest] = {}
    named: list[OutputImage] = []
    for output in tops:
        own = () if target.nameless else names or distinct(map(target.destination_name, output.names))
        digest = output.digest
        for name in own:
            if taken.setdefault(canonical(name), digest) != digest:
                raise UsageError(f"two different images with the name {name}", hint="--tag names them one by one")
        at = (target.repository.name,) if target.repository is not None else _repositories(own)
        named.append(output.named(own)._replace(repositories=at))
    if len(tops) == len(outputs):
        return named
    homes: dict[Digest, tuple[str, ...]] = {}
    before: dict[Digest, tuple[str, ...]] = {}
    for one, top in zip(named, tops, strict=True):
        for digest, _, _ in one.blobs:
            homes.setdefault(digest, one.repositories)
            before.setdefault(digest, _repositories(map(canonical, top.names)))
    renamed = bool(names) or target.repository is not None
    for output in outputs:
        if output.subject is None:
            continue
        at, old = homes.get(output.subject, ()), before.get(output.subject, ())
        for digest, _, _ in output.blobs:
            homes.setdefault(digest, at)
            before.setdefault(digest, old)
        given: list[str] = []
        mine = output.digest
        for name in output.names:
            wanted = _beside(name, at, old) if renamed or is_bare(name) else [target.destination_name(name)]
            free = [one for one in wanted if taken.setdefault(canonical(one), mine) == mine]
            if not free or len(free) < len(wanted):
                text = f"{output.where}: {mine}, which speaks of {output.subject}, does not keep the name"
                task.notice("referrer", f"{text} {name}: {'an image has it' if wanted else 'it is of another repository'}")
            given += free
        named.append(output._replace(names=distinct(given), repositories=at))
    return named


def _beside(name: str, at: Sequence[str], old: Sequence[str]) -> list[str]:
    """Returns the names of a referrer whose subject was copied from the repositories `old` to the repositories `at`: its
    tag in these, if it was in one of the old ones."""
    repository, _, tag = canonical(name).rpartition(":") if not is_bare(name) else ("", "", name)
    if repository and repository not in old:
        return []
    return [f"{place}:{tag}" for place in at] or [tag]


def roots(outputs: Sequence[OutputImage], target: Destination) -> tuple[OutputImage, ...]:
    """Returns the outputs at the top level, each digest once, with all of its names."""
    found: dict[Digest, OutputImage] = {}
    names: dict[Digest, list[str]] = {}
    for output in outputs:
        digest = output.digest
        one = output.without_bytes()._replace(references=target.digest_references(digest, output.repositories))
        if (known := found.get(digest)) is not None:
            references = dict.fromkeys((*known.references, *one.references))
            one = known._replace(references=tuple(references))
        found[digest] = one
        names.setdefault(digest, []).extend(output.names)
    return tuple(root.named(distinct(names[digest])) for digest, root in found.items())


def _repositories(names: Iterable[str]) -> tuple[str, ...]:
    """Returns the repositories in names; a bare tag has none."""
    return tuple(dict.fromkeys(name.rpartition(":")[0] for name in names if not is_bare(name)))
