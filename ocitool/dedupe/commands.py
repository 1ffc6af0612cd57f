"""Makes the command lines of advice for a POSIX shell: to rewrite an image in place, delete an image, collect a layout."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Sequence

from ocitool.dedupe.collection import ImageEntry, ImageRef
from ocitool.transports import destinations


def rewritable(member: ImageEntry) -> bool:
    """Returns whether one command for each location can replace this image: it is a single image for one platform, under
    names that can be moved in a layout or registry, or the only image of an archive."""
    return single(member) and all(map(replaceable, member.places.values()))


def single(member: ImageEntry) -> bool:
    """Returns whether it is a single image for one platform, so that any command accepts its reference."""
    return member.kind == "image" and len(member.platform_images) == 1


def replaceable(named: ImageRef, *, whole: bool = False) -> bool:
    """Returns whether a command that writes to the location of an image replaces it. `whole`: the command writes all images
    of the location."""
    if named.source.transport.remote:
        return "@" not in named.reference
    if named.source.transport.store:
        return bool(named.tags) and named.source.path is not None and not any(tag.startswith(("@", "-")) for tag in named.tags)
    return (
        (named.only_one or whole)
        and named.source.path is not None
        and destinations.archive_codec(named.source.path) is not None
    )


def shell_word(text: str) -> str:
    """Returns a reference or path quoted for a shell, in a form that is not taken for an option."""
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def rewrite_commands(command: str, members: Iterable[ImageEntry], options: str) -> list[str]:
    """Returns the command for each place of rewritable images, which reads and writes there."""
    return [
        f"ocitool {command} {shell_word(named.reference)} {destination(named)} {options}"
        for member in members for named in member.places.values()
    ]  # fmt: skip


def destination(named: ImageRef) -> str:
    """Returns the destination, with its options, that replaces an image."""
    if named.source.transport.remote:
        return shell_word(named.reference)
    path = named.source.path or ""
    if named.source.transport.store:
        # Writing to a layout sets one name, or none for a reference by digest: all further names need --tag.
        tags = named.tags if len(named.tags) > 1 or "@" in named.reference else ()
        return " ".join([shell_word(path.rstrip("/") + "/"), *(f"--tag {shlex.quote(tag)}" for tag in tags)])
    return f"{shell_word(path)} --force"


def repack_commands(member: ImageEntry, changes: Sequence[str], options: str) -> list[str]:
    """Returns the commands that change files of an image, unpacked to `unpacked/rootfs`, in each of its places."""
    return [
        command
        for named in member.places.values()
        for command in (
            f"ocitool unpack {shell_word(named.reference)} unpacked", *changes,
            f"ocitool repack unpacked {destination(named)}{options}", "rm -rf unpacked",
        )
    ]  # fmt: skip


def delete_commands(member: ImageEntry) -> list[str] | None:
    """Returns the commands that delete an image everywhere; None if there are none, as at registries."""
    commands = []
    for named in member.places.values():
        if named.source.path is None or (named.source.transport.store and member.digest is None):
            return None
        if named.source.transport.store:
            # By its digest, which means this image with all its names, and no other.
            commands.append(f"ocitool layout rm {shell_word(named.source.path)} @{member.digest}")
        elif named.only_one:
            commands.append(f"rm {'-r ' if os.path.isdir(named.source.path) else ''}{shell_word(named.source.path)}")
        else:
            return None
    return commands


def command_line(commands: Iterable[str], members: Iterable[ImageEntry]) -> str:
    """Returns one line of the commands and of `layout gc` for the layouts of these images."""
    sites = (named.source for one in members for named in one.places.values())
    paths = dict.fromkeys(site.path for site in sites if site.transport.store and site.path is not None)
    return " && ".join([*commands, *(f"ocitool layout gc {shell_word(path)}" for path in paths)])


def short_list(references: Sequence[str]) -> str:
    """Returns the first of several references, for a sentence."""
    more = f" and {len(references) - 2:,} more" if len(references) > 3 else ""
    return ", ".join(references[:2] if more else references) + more
