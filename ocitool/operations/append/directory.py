"""Turns a directory of the host into the entries of a layer, and decides which attributes they get.

Directories such as `etc` and `tmp` in a directory to be appended were made with an arbitrary mode and owner. So directories
that the image has keep their attributes unless `Placement.directories`, and files belong to root unless `Placement.owner`
says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ocitool.disk import scan_directory
from ocitool.disk.overlay_changes import Member
from ocitool.errors import UsageError
from ocitool.layers.entry import Entry, Kind, shown_path
from ocitool.pipeline.source_date import clamped
from ocitool.task import Task
from ocitool.trees.nodes import Directory
from ocitool.trees.tree import Tree, node_at

_MODE = 0o755


class Placement(NamedTuple):
    """Where and how a directory is put into an image. `to`: the directory of the image. `owner`: user and group of new
    files, None for the owners on disk. `directories`: directories that the image has get the attributes of those on
    disk."""

    to: bytes = b""
    owner: tuple[int, int] | None = (0, 0)
    directories: bool = False


def members(path: str, placement: Placement, tree: Tree, task: Task) -> Iterator[Member]:
    """Yields the entries of the layer with their contents; a content must be read before the next entry. `tree` is what the
    layer is put on."""
    with scan_directory.HeldDirectories(path) as below:
        for at, entry in _placed(path, placement, tree, task):
            if at and entry.kind == Kind.FILE:
                found = scan_directory.with_holes(below, at, entry)
                yield found, scan_directory.open_file(below, at, found)
            else:
                yield entry, iter(())


def entries(path: str, placement: Placement, tree: Tree, task: Task) -> Iterator[Entry]:
    """Yields the entries of the layer without their contents."""
    return (entry for _, entry in _placed(path, placement, tree, task))


def _placed(path: str, placement: Placement, tree: Tree, task: Task) -> Iterator[tuple[bytes, Entry]]:
    """Yields each entry with its path on disk. The root is left out, since its mode and owner mean nothing for the
    image."""
    to = _target(placement.to, tree)
    for at, entry, leader in scan_directory.scan(path, task):
        if not at:
            yield from ((b"", one) for one in _parents(to, placement, tree, entry.mtime))
            continue
        place = to + b"/" + at if to else at
        if leader is not None and leader != at:
            link = to + b"/" + leader if to else leader
            entry = entry._replace(kind=Kind.HARDLINK, link=link, size=0, stored=0, device=None)
        yield at, _with_attributes(place, entry, placement, tree)


def _with_attributes(place: bytes, entry: Entry, placement: Placement, tree: Tree) -> Entry:
    """Returns the entry at its path in the image, with the attributes that it gets there."""
    if entry.kind == Kind.DIRECTORY and not placement.directories:
        node = node_at(tree, place)
        if isinstance(node, Directory):
            return tree.entry(node.ref)._replace(path=place)
    entry = entry._replace(path=place, mtime=clamped(entry.mtime))
    return entry if placement.owner is None else entry._replace(uid=placement.owner[0], gid=placement.owner[1])


def _target(to: bytes, tree: Tree) -> bytes:
    """Resolves a directory path of the image. Raises `UsageError` if a part of it is not a directory."""
    at = b""
    for name in to.split(b"/") if to else ():
        if name == b"..":  # the parent of the resolved path, as for a process in the image
            at = at.rpartition(b"/")[0]
            continue
        at = at + b"/" + name if at else name
        node = tree.find(at, follow=True)
        if isinstance(node, Directory):
            real = tree.real_path(at + b"/.")
            at = at if real is None else real.removesuffix(b".").rstrip(b"/")
        elif node is not None or tree.find(at) is not None:
            raise UsageError("--to: not a directory in the image", shown_path(at), hint="name the directory itself")
    return at


def _parents(to: bytes, placement: Placement, tree: Tree, mtime: int) -> Iterator[Entry]:
    """Yields the directories down to `to`: those of the image, and new ones with mode 0755."""
    owner = placement.owner or (0, 0)
    at = b""
    for name in to.split(b"/") if to else ():
        at = at + b"/" + name if at else name
        node = node_at(tree, at)
        if isinstance(node, Directory):
            yield tree.entry(node.ref)._replace(path=at)
        else:
            yield Entry(at, Kind.DIRECTORY, _MODE, *owner, clamped(mtime), 0)
