"""`layout gc`: removes the blobs that nothing in a layout needs."""

from __future__ import annotations

from typing import NamedTuple

from ocitool import masking
from ocitool.operations.layout.reach import Reached, reached
from ocitool.progress import Notice
from ocitool.spec.manifest import parse_platform_object
from ocitool.task import Task
from ocitool.transports.layout_store import LockedLayout, StoredFile

_MAX_ABSENT = 5
_MAX_STRANGERS = 20


class Collected(NamedTuple):
    """The result. `linked_bytes`: bytes of removed blobs that stay on disk because another layout has hard links to
    them."""

    directory: str
    dry_run: bool
    freed: tuple[StoredFile, ...]
    freed_bytes: int
    linked_bytes: int
    kept: int
    kept_bytes: int
    temporaries: int
    notices: tuple[Notice, ...]


def collect(directory: str, task: Task, *, dry_run: bool = False) -> Collected:
    """Removes the blobs that nothing needs. Waits until no other ocitool writes to the layout, and keeps writers waiting
    meanwhile.

    If an entry of `index.json` is missing, or a document is damaged or cannot be read, nothing is removed: raises what
    `reach.reached` raises.
    """
    with LockedLayout(directory, task, exclusive=True, read_only=dry_run) as store:
        source = store.source()
        files = store.files()
        needed = reached(source, files.blobs, task)
        freed = tuple(file for file in files.blobs if file.digest not in needed.digests)
        if not dry_run:
            store.remove(freed, task)
        for path in files.other_paths[:_MAX_STRANGERS]:
            task.notice("unknown", f"{path} is not a blob; it is left alone")
        if len(files.other_paths) > _MAX_STRANGERS:
            task.notice("unknown", f"{len(files.other_paths) - _MAX_STRANGERS:,} more files are not blobs; they are left alone")
        if needed.absent:
            task.notice("absent", _absent(needed))
        kept = [file for file in files.blobs if file.digest in needed.digests]
        return Collected(
            directory, dry_run, freed, sum(file.size for file in freed if file.links == 1),
            sum(file.size for file in freed if file.links > 1), len(kept), sum(file.size for file in kept),
            store.swept, tuple(task.notices),
        )  # fmt: skip


def _absent(needed: Reached) -> str:
    """Returns a sentence on the manifests that an index or another document names, and that are missing."""
    names = []
    for fields in needed.absent[:_MAX_ABSENT]:
        platform = parse_platform_object(fields["platform"]) if isinstance(fields.get("platform"), dict) else None
        names.append(f"{masking.stated(platform)} {fields['digest']}" if platform else fields["digest"])
    more = f" and {len(needed.absent) - _MAX_ABSENT} more" if len(needed.absent) > _MAX_ABSENT else ""
    what = "a manifest that a document lists is" if len(needed.absent) == 1 else "manifests that documents list are"
    return f"{what} not here: {', '.join(names)}{more}; blobs that nothing else names are not kept for them"
