"""What was edited in an unpacked image: its directory against its snapshot."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator

from ocitool.images.changes import Change
from ocitool.images.snapshot import Header, Recorded
from ocitool.layers.entry import Entry
from ocitool.task import Task

ContentOf = Callable[[bytes, Entry], bytes | None]
"""The SHA-256 of a recorded file's content, by path and recorded entry; None where nobody knows: it then counts as changed."""


def changes(
    header: Header,
    rows: Iterable[Recorded],
    root: int | str | os.PathLike[str],
    task: Task,
    *,
    content_of: ContentOf,
    checksum: bool = False,
    dir_times: bool = False,
) -> Iterator[Change]:
    """Each changed path once, in no promised order (names of hard-link groups come last).

    checksum: files are compared by content even where their status is as recorded. dir_times: False leaves a directory whose
    only difference is its mtime, and which had a child added, removed or replaced, as it was recorded.
    """
    raise NotImplementedError
