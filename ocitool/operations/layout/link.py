"""`layout link`: makes equal blobs of several layouts hard links of one file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import NamedTuple

from ocitool.digest import Digest
from ocitool.errors import OcitoolError, UsageError
from ocitool.operations.layout.reach import absent_entries
from ocitool.progress import Notice
from ocitool.task import Task
from ocitool.transports import layout_store
from ocitool.transports.layout_store import LockedLayout, StoredFile


class NotLinked(NamedTuple):
    """A blob that stays a separate file, and the reason."""

    path: str
    size: int
    reason: str


class Linked(NamedTuple):
    """The result. `linked` and `cloned`: numbers of blobs that now share their bytes, by hard link or reflink. `already`:
    number of those that did before. `damaged`: paths of files that do not match their digest; they are not changed."""

    directories: tuple[str, ...]
    dry_run: bool
    linked: int
    cloned: int
    already: int
    saved: int
    refused: tuple[NotLinked, ...]
    damaged: tuple[str, ...]
    temporaries: int
    notices: tuple[Notice, ...]


def link(directories: Sequence[str], task: Task, *, dry_run: bool = False) -> Linked:
    """Replaces every blob that several of the layouts have by a hard link to that of the first one, or by a reflink if a
    hard link is not possible. Every file is hashed before.

    This is safe only as long as no program changes a blob in place.
    """
    if len({os.path.realpath(directory) for directory in directories}) < 2:
        raise UsageError("link needs at least two layouts", hint="ocitool layout link A B")
    with contextlib.ExitStack() as stack:
        held = []
        # Locked in a fixed order, so that two ocitool processes never wait for each other with a gc between them.
        for directory in sorted({os.path.realpath(one): one for one in reversed(directories)}.items()):
            held.append(stack.enter_context(LockedLayout(directory[1], task, read_only=dry_run)))
        held.sort(key=lambda store: directories.index(store.directory))
        groups: dict[tuple[Digest, int], list[tuple[LockedLayout, StoredFile]]] = {}
        for store in held:
            for file in store.files().blobs:
                groups.setdefault((file.digest, file.size), []).append((store, file))
            _say_absent(store, task)
        several = [group for group in groups.values() if len(group) > 1]
        parts = task.map(lambda group: _group(group, task, dry_run), several)
        return Linked(
            tuple(directories), dry_run, sum(part.linked for part in parts), sum(part.cloned for part in parts),
            sum(part.already for part in parts), sum(part.saved for part in parts),
            tuple(one for part in parts for one in part.refused), tuple(path for part in parts for path in part.damaged),
            sum(store.swept for store in held), tuple(task.notices),
        )  # fmt: skip


def _say_absent(store: LockedLayout, task: Task) -> None:
    """Adds notices for missing entries of `index.json`. If it cannot be read, that is a notice too: blobs can be linked
    anyway."""
    try:
        absent = absent_entries(store.source())
    except OcitoolError as error:
        task.notice("unreadable", f"the images in it are not known: {error}")
        return
    for digest in absent:
        task.notice("missing", f"{store.directory}: {digest}, an entry of index.json, is not here")


class _FileGroup(NamedTuple):
    """The outcome for one blob: the counts of `Linked`."""

    linked: int = 0
    cloned: int = 0
    already: int = 0
    saved: int = 0
    refused: tuple[NotLinked, ...] = ()
    damaged: tuple[str, ...] = ()


def _group(group: Sequence[tuple[LockedLayout, StoredFile]], task: Task, dry_run: bool) -> _FileGroup:
    """Joins the files of one blob in several layouts. A file that cannot share its bytes with the first one, because of its
    file system, mode or owner, becomes the first of another group."""
    sound: dict[tuple[int, int], bool] = {}

    def good(store: LockedLayout, file: StoredFile) -> bool:
        if file.key not in sound:
            sound[file.key] = layout_store.is_intact(store, file, task)
        return sound[file.key]

    part = _FileGroup()
    firsts: list[tuple[LockedLayout, StoredFile]] = []
    names: dict[tuple[int, int], int] = {}
    if len({file.key for _, file in group}) == 1:
        return _FileGroup(already=len(group) - 1)
    for store, file in group:
        task.check()
        if any(file.key == first.key for _, first in firsts):
            part = part._replace(already=part.already + 1)
            continue
        if not good(store, file):
            part = part._replace(damaged=(*part.damaged, file.path))
            continue
        if not firsts:
            firsts.append((store, file))
            continue
        first = next((one for one in firsts if _alike(one[1], file)), firsts[0])
        outcome = _predicted(first[1], file) if dry_run else layout_store.share(first, (store, file), task)
        if outcome not in ("linked", "cloned"):
            part = part._replace(refused=(*part.refused, NotLinked(file.path, file.size, outcome)))
            firsts.append((store, file))
            continue
        # Bytes are freed only with the last hard link of the old file.
        names[file.key] = names.get(file.key, file.links) - 1
        saved = part.saved + (0 if names[file.key] else file.size)
        if outcome == "linked":
            part = part._replace(linked=part.linked + 1, saved=saved)
        else:
            part = part._replace(cloned=part.cloned + 1, saved=saved)
    return part


def _alike(one: StoredFile, other: StoredFile) -> bool:
    return (one.key[0], one.mode, one.owner) == (other.key[0], other.mode, other.owner)


def _predicted(kept: StoredFile, other: StoredFile) -> str:
    """Returns the outcome that `share` would have, for a dry run."""
    if kept.key[0] != other.key[0]:
        return "they are on different file systems"
    return "linked" if _alike(kept, other) else "they differ in mode or owner"
