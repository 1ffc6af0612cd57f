"""A directory as it stands on disk, as entries of an image."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from ocitool.layers.entry import Entry
from ocitool.task import Task


class Found(NamedTuple):
    """leader: the first name (in the order of the walk) of a file with several names in the directory, else None."""

    path: bytes
    entry: Entry
    leader: bytes | None


def scan(root: int | str | os.PathLike[str], task: Task) -> Iterator[Found]:
    """Everything in a directory, the root first, in the order of `Tree.walk`; `entry` is the file's own for every name."""
    raise NotImplementedError


def open_file(root: int | str | os.PathLike[str], path: bytes, entry: Entry) -> Iterator[bytes]:
    """Exactly `entry.size` bytes of a regular file below a directory; no link is followed on the way.

    `TransportError` where there are more or fewer, or no regular file."""
    raise NotImplementedError
