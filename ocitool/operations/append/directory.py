"""A directory of the host as a layer of an image: what its files are given, and what stays the image's.

Whoever makes a directory to be appended makes `etc` and `tmp` in it with a mode and an owner of no meaning. So directories that
the image has keep their attributes unless they are asked for, and files are root's unless an owner is.
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
from ocitool.trees.tree import Directory, Tree, node_at

_MODE = 0o755


class Placement(NamedTuple):
    """`to`: the directory of the image that the tree is put into. `owner`: of what is new, None for owners as on disk.
    `directories`: directories that the image has take the attributes of those on disk too."""

    to: bytes = b""
    owner: tuple[int, int] | None = (0, 0)
    directories: bool = False


def members(path: str, placing: Placement, tree: Tree, task: Task) -> Iterator[Member]:
    """The entries of the layer with their contents, each content to be taken before the next entry. `tree` is what the layer is
    put on."""
    with scan_directory.HeldDirectories(path) as below:
        for at, entry in _placed(path, placing, tree, task):
            if at and entry.kind == Kind.FILE:
                found = scan_directory.with_holes(below, at, entry)
                yield found, scan_directory.open_file(below, at, found)
            else:
                yield entry, iter(())


def entries(path: str, placing: Placement, tree: Tree, task: Task) -> Iterator[Entry]:
    """The entries alone."""
    return (entry for _, entry in _placed(path, placing, tree, task))


def _placed(path: str, placing: Placement, tree: Tree, task: Task) -> Iterator[tuple[bytes, Entry]]:
    """Each entry, and where it stands on disk. The root is none, since its attributes are those of whoever made it."""
    to = _target(placing.to, tree)
    for at, entry, leader in scan_directory.scan(path, task):
        if not at:
            yield from ((b"", one) for one in _parents(to, placing, tree, entry.mtime))
            continue
        place = to + b"/" + at if to else at
        if leader is not None and leader != at:
            link = to + b"/" + leader if to else leader
            entry = entry._replace(kind=Kind.HARDLINK, link=link, size=0, stored=0, device=None)
        yield at, _dressed(place, entry, placing, tree)


def _dressed(place: bytes, entry: Entry, placing: Placement, tree: Tree) -> Entry:
    if entry.kind == Kind.DIRECTORY and not placing.directories:
        node = node_at(tree, place)
        if isinstance(node, Directory):
            return tree.entry(node.ref)._replace(path=place)
    entry = entry._replace(path=place, mtime=clamped(entry.mtime))
    return entry if placing.owner is None else entry._replace(uid=placing.owner[0], gid=placing.owner[1])


def _target(to: bytes, tree: Tree) -> bytes:
    """Where a path of the image leads to. `UsageError` if something else than a directory is in the way."""
    at = b""
    for name in to.split(b"/") if to else ():
        if name == b"..":  # of where links led to, as a process in the image would find it
            at = at.rpartition(b"/")[0]
            continue
        at = at + b"/" + name if at else name
        node = tree.find(at, follow=True)
        if isinstance(node, Directory):
            real = tree.real_path(at + b"/.")
            at = at if real is None else real.removesuffix(b".").rstrip(b"/")
        elif node is not None or tree.find(at) is not None:
            raise UsageError("--to: no directory in the image", shown_path(at), hint="name the directory itself")
    return at


def _parents(to: bytes, placing: Placement, tree: Tree, mtime: int) -> Iterator[Entry]:
    """The directories down to the one that the tree is put into: the image's, or new ones that anybody may enter."""
    owner = placing.owner or (0, 0)
    at = b""
    for name in to.split(b"/") if to else ():
        at = at + b"/" + name if at else name
        node = node_at(tree, at)
        if isinstance(node, Directory):
            yield tree.entry(node.ref)._replace(path=at)
        else:
            yield Entry(at, Kind.DIRECTORY, _MODE, *owner, clamped(mtime), 0)
