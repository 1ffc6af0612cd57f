"""Which archives an engine is asked for to get the changed paths of a container.

Each request costs a few milliseconds, whatever it gives. So a directory with many changed paths is asked for as a whole if what
is unchanged in it costs less than the requests that it saves. A new directory is one request.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from ocitool.layers.entry import Kind
from ocitool.transports.engine.containers import NETWORK_FILES, RUNTIME_DIRECTORIES
from ocitool.trees.nodes import Directory
from ocitool.trees.tree import Tree

REQUEST = 1 << 20
"""Bytes of content that take an engine about as long as one request: 3 ms."""
ENTRY = 1 << 13
"""Bytes of content that take an engine about as long as one more entry."""
_FEW = 4
"""Requests that are made one by one, whatever they are for."""


class ArchiveRequest(NamedTuple):
    """A request for the archive of a path; an empty path means the whole file system. `whole`: all that is below a
    directory is taken too, else its own entry alone."""

    path: bytes
    whole: bool


def parent_of(path: bytes) -> bytes:
    """Returns the directory of a path; the root's is the root."""
    return path.rpartition(b"/")[0]


def in_order(paths: Iterable[bytes]) -> list[bytes]:
    """Returns paths in the order of a walk: each directory before what is in it."""
    return sorted(paths, key=lambda path: path.split(b"/"))


def is_below(path: bytes, directories: Collection[bytes]) -> bool:
    """Whether a path is one of these, or in one of them."""
    while path and path not in directories:
        path = parent_of(path)
    return bool(path)


def plan(
    alone: Iterable[bytes], added: Iterable[bytes], whole: Iterable[bytes], image: Tree, mounts: Collection[bytes]
) -> list[ArchiveRequest]:
    """Returns the requests for these paths.

    `alone`: paths of which a directory's content is not wanted, or is listed itself; `added`: paths of which everything is
    wanted, and listed too; `whole`: those of which everything is wanted. `mounts`: where something is mounted. A directory that
    holds a mount is never asked for as a whole, since its archive has what is mounted; that of the whole file system has not.
    """
    foreign = {mount for mount in mounts if mount not in NETWORK_FILES and mount not in RUNTIME_DIRECTORIES}
    holding = {above for mount in foreign for above in _above(mount)}
    whole = set(whole)
    if b"" in whole or not whole.isdisjoint(holding):
        return [ArchiveRequest(b"", True)]
    added = set(added)
    whole |= added - holding
    units = {path: True for path in in_order(whole) if not is_below(parent_of(path), whole)}
    units |= {path: False for path in (*alone, *added) if not is_below(path, units)}
    if len(units) <= _FEW:
        return [ArchiveRequest(path, units[path]) for path in in_order(units)]
    return _merged(units, image, holding - {b""})


def _above(path: bytes) -> Iterator[bytes]:
    while path:
        path = parent_of(path)
        yield path


def _merged(units: Mapping[bytes, bool], image: Tree, holding: Collection[bytes]) -> list[ArchiveRequest]:
    """Returns the cheapest requests for these paths. `holding`: directories that are not asked for as a whole."""
    directories = {above for path in units for above in _above(path)} - {path for path, whole in units.items() if whole}
    below = _content(image, directories)
    best: dict[bytes, tuple[int, list[ArchiveRequest]]] = {}
    children: dict[bytes, list[bytes]] = {}
    for path in units.keys() | directories:
        if path:
            children.setdefault(parent_of(path), []).append(path)
    for path in sorted(units.keys() | directories, key=lambda path: -_depth(path)):
        cost = 0
        requests: list[ArchiveRequest] = []
        if path in units:
            cost, requests = REQUEST, [ArchiveRequest(path, units[path])]
        for child in children.get(path, ()):
            cost += best[child][0]
            requests += best[child][1]
            del best[child]
        if path in directories and path not in holding and REQUEST + below[path] < cost:
            cost, requests = REQUEST + below[path], [ArchiveRequest(path, True)]
        best[path] = cost, requests
    return sorted(best[b""][1], key=lambda request: request.path.split(b"/"))


def _depth(path: bytes) -> int:
    return path.count(b"/") + 1 if path else 0


def _content(image: Tree, directories: Collection[bytes]) -> dict[bytes, int]:
    """Returns the cost of everything that an image has below each of these directories."""
    found = dict.fromkeys(directories, 0)
    found.setdefault(b"", 0)
    stack: list[bytes] = [b""]

    def close() -> None:
        done = stack.pop()
        found[stack[-1]] += found[done]

    for path, node in image.walk():
        while len(stack) > 1 and not path.startswith(stack[-1] + b"/"):
            close()
        if path in found:
            stack.append(path)
        cost = ENTRY
        if not isinstance(node, Directory):
            inode = image.inode(node)
            index, row = image.indexes[image.layer(inode)], image.row(inode)
            cost += index.sizes[row] if index.kinds[row] == Kind.FILE else 0
        found[stack[-1]] += cost
    while len(stack) > 1:
        close()
    return found
