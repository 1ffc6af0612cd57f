"""A directory as if it had just been unpacked: its snapshot, the contents that its image knows, and what was edited."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ocitool.disk import snapshot
from ocitool.disk.disk_changes import edited_paths
from ocitool.disk.scan_directory import scan
from ocitool.disk.snapshot import SnapshotEntry, SnapshotHeader
from ocitool.layers.entry import Entry, Kind
from ocitool.layers.index import LayerIndex
from ocitool.task import Task
from ocitool.trees.changes import Change
from ocitool.trees.tree import Tree

EXACT = SnapshotHeader()
"""As root unpacks."""


def tree_of_directory(root: Path) -> Tree:
    """The tree of an image whose one layer is the directory."""
    index = LayerIndex()
    with Task() as task:
        for path, entry, leader in scan(root, task):
            if leader is not None and leader != path:
                entry = entry._replace(kind=Kind.HARDLINK, link=leader)
            index.add(entry)
    return Tree([index])


def snapshot_of(root: Path, file: Path, header: SnapshotHeader = EXACT) -> Path:
    """Writes the directory's snapshot to `file`."""
    snapshot.write(file, header, snapshot.snapshot_rows(tree_of_directory(root), root, header))
    return file


def content_in(root: Path) -> Callable[[bytes, Entry], bytes | None]:
    """What the layers' indexes would say, by the files as they are at this moment."""
    known = {}
    for base, _, files in os.walk(os.fsencode(root)):
        for name in files:
            full = os.path.join(base, name)
            if os.path.isfile(full) and not os.path.islink(full):
                known[os.path.relpath(full, os.fsencode(root))] = hashlib.sha256(Path(os.fsdecode(full)).read_bytes()).digest()
    return lambda path, entry: known.get(path)


def found_by(
    header: SnapshotHeader,
    rows: list[SnapshotEntry],
    root: Path,
    content_of: Callable[[bytes, Entry], bytes | None],
    **how: Any,
) -> dict[bytes, Change]:
    """The changes by path; a path named twice is an error."""
    found: dict[bytes, Change] = {}
    with Task() as task:
        for change in edited_paths(header, rows, root, task, content_of=content_of, **how):
            assert change.path not in found
            found[change.path] = change
    return found
