"""The command lines of advice, for a POSIX shell: an image written again where it is, an image deleted, a layout collected."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence

from ocitool.operations.dedupe.collection import Member, Named

_WRITABLE = (".tar", ".tar.gz", ".tar.zst")


def rewritable(member: Member) -> bool:
    """Whether one command a place puts another image where this one is: one image for one platform, under names that move in a
    layout or registry, or the only one of an archive."""
    return member.kind == "image" and len(member.stacks) == 1 and all(map(_replaceable, member.places.values()))


def _replaceable(named: Named) -> bool:
    if named.site.transport == "docker":
        return "@" not in named.reference
    if named.site.transport == "oci":
        return bool(named.tags) and named.site.path is not None
    return named.alone and named.site.path is not None and named.site.path.endswith(_WRITABLE)


def rewritten(command: str, member: Member, options: str = "") -> list[str]:
    """The command for every place of a rewritable image, from there to there."""
    return [
        f"ocitool {command} {shlex.quote(named.reference)} {destination(named)}{' ' + options if options else ''}"
        for named in member.places.values()
    ]


def destination(named: Named) -> str:
    """Where a command writes to, to replace what is there, with the options that this takes."""
    if named.site.transport == "docker":
        return shlex.quote(named.reference)
    path = named.site.path or ""
    if named.site.transport == "oci":
        # A reference by one name is that name alone.
        tags = "".join(f" --tag {shlex.quote(tag)}" for tag in named.tags) if len(named.tags) > 1 else ""
        return shlex.quote(path.rstrip("/") + "/") + tags
    return f"{shlex.quote(path)} --force"


def removed(member: Member) -> list[str] | None:
    """The commands that delete an image everywhere; None where there is none: registries have their own ways."""
    commands = []
    for named in member.places.values():
        if named.site.path is None:
            return None
        if named.site.transport == "oci":
            name = named.tags[0] if len(named.tags) == 1 else f"@{member.digest}"
            commands.append(f"ocitool layout rm {shlex.quote(named.site.path)} {shlex.quote(name)}")
        elif named.alone:
            commands.append(f"rm {shlex.quote(named.site.path)}")
        else:
            return None
    return commands


def collected(members: Iterable[Member]) -> list[str]:
    """The commands that free what these images no longer need."""
    sites = (named.site for one in members for named in one.places.values())
    paths = dict.fromkeys(site.path for site in sites if site.transport == "oci" and site.path is not None)
    return [f"ocitool layout gc {shlex.quote(path)}" for path in paths]


def line(commands: Iterable[str]) -> str:
    return " && ".join(commands)


def names(references: Sequence[str]) -> str:
    """Some of them, for a sentence."""
    more = f" and {len(references) - 2:,} more" if len(references) > 3 else ""
    return ", ".join(references[:2] if more else references) + more
