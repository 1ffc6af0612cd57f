"""A file system in memory that is edited as a person edits one, and the changes between two of its states.

Nothing but the rules of a file system, so that plans are checked by something that knows no layers. A file's size stands for
its content: every content that is ever written has a size of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ocitool.layers.entry import Entry, Kind
from ocitool.layers.index import LayerIndex
from ocitool.trees.changes import Change
from ocitool.trees.nodes import Directory
from ocitool.trees.tree import Tree

State = dict[bytes, object]
_next = 1_000_000


@dataclass
class Inode:
    """What its names share. Told apart by `is`."""

    entry: Entry


class Disk:
    """Paths and what stands there; the root is always there."""

    def __init__(self, nodes: dict[bytes, Inode]) -> None:
        self.nodes = nodes

    @classmethod
    def of(cls, tree: Tree) -> Disk:
        nodes: dict[bytes, Inode] = {b"": Inode(tree.entry(tree.root.ref)._replace(path=b""))}
        shared: dict[int, Inode] = {}
        for path, node in tree.walk():
            if isinstance(node, Directory):
                nodes[path] = Inode(tree.entry(node.ref))
            else:
                nodes[path] = shared.setdefault(tree.inode(node), Inode(tree.entry(node)))
        return cls(nodes)

    def copy(self) -> Disk:
        copies: dict[int, Inode] = {}
        return Disk({path: copies.setdefault(id(one), replace(one)) for path, one in self.nodes.items()})

    def is_directory(self, path: bytes) -> bool:
        return path in self.nodes and self.nodes[path].entry.kind == Kind.DIRECTORY

    def state(self) -> State:
        """Path -> its facts and the names of its file."""
        names: dict[int, list[bytes]] = {}
        for path in sorted(self.nodes):
            names.setdefault(id(self.nodes[path]), []).append(path)
        return {
            path: (*_facts(one.entry), () if one.entry.kind == Kind.DIRECTORY else tuple(names[id(one)]))
            for path, one in self.nodes.items()
        }

    # Edits. Those that a file system would refuse do nothing.

    def delete(self, path: bytes) -> None:
        if path:
            for other in list(self.nodes):
                if other == path or other.startswith(path + b"/"):
                    del self.nodes[other]

    def make(self, path: bytes, kind: Kind, link: bytes = b"") -> None:
        """A new thing in place of whatever is there; a directory that is there stays."""
        if not path or not self.is_directory(path.rpartition(b"/")[0]):
            return
        if kind == Kind.DIRECTORY and self.is_directory(path):
            return
        self.delete(path)
        size = content() if kind == Kind.FILE else 0
        self.nodes[path] = Inode(Entry(path, kind, 0o644, 0, 0, 0, size, link, 0, size, None, None, None))

    def modify(self, path: bytes) -> None:
        one = self.nodes.get(path)
        if one is not None and one.entry.kind == Kind.FILE:
            one.entry = one.entry._replace(size=content())

    def chmod(self, path: bytes, mode: int) -> None:
        if path in self.nodes:
            self.nodes[path].entry = self.nodes[path].entry._replace(mode=mode)

    def link(self, old: bytes, new: bytes) -> None:
        free = new not in self.nodes and self.is_directory(new.rpartition(b"/")[0])
        if free and old in self.nodes and not self.is_directory(old):
            self.nodes[new] = self.nodes[old]

    def copy_file(self, old: bytes, new: bytes) -> None:
        """A name becomes a file of its own."""
        if old in self.nodes and not self.is_directory(old) and new in self.nodes and not self.is_directory(new):
            self.nodes[new] = replace(self.nodes[old])

    def rename(self, old: bytes, new: bytes) -> None:
        if not old or old not in self.nodes or new == old or new.startswith(old + b"/") or old.startswith(new + b"/"):
            return
        if not new or not self.is_directory(new.rpartition(b"/")[0]):
            return
        moved = {new + path[len(old) :]: one for path, one in self.nodes.items() if path == old or path.startswith(old + b"/")}
        self.delete(old)
        self.delete(new)
        self.nodes.update(moved)


def content() -> int:
    """A size that no content had before."""
    global _next
    _next += 1
    return _next


def _facts(entry: Entry) -> tuple[object, ...]:
    return entry.kind, entry.mode, entry.uid, entry.size if entry.kind == Kind.FILE else 0, entry.link, entry.xattrs


def changes(before: Disk, after: Disk) -> list[Change]:
    """As `ocitool.trees.changes` says: files with all their names, removed directories with all below them."""
    old, new = before.state(), after.state()
    names: dict[int, list[bytes]] = {}
    for path in sorted(after.nodes):
        names.setdefault(id(after.nodes[path]), []).append(path)
    found = [Change(path, None) for path in sorted(old.keys() - new.keys())]
    for group in names.values():
        if all(old.get(path) == new[path] for path in group):
            continue
        entry = after.nodes[group[0]].entry
        for path in group:
            was = before.nodes.get(path)
            same = was is not None and was.entry.kind == entry.kind and was.entry.size == entry.size
            one = entry._replace(path=path, offset=0, stored=entry.size, segments=None)
            if path != group[0]:
                one = one._replace(kind=Kind.HARDLINK, link=group[0], size=0, stored=0)
            found.append(Change(path, one, content=not same))
    return sorted(found)


def applied(indexes: Sequence[LayerIndex]) -> State:
    """What layers show, as a disk would."""
    return Disk.of(Tree(indexes)).state()


def breaches(index: LayerIndex) -> list[str]:
    """Which rules of writing a layer breaks: parents listed, no name twice or beside its whiteout, links behind targets."""
    found: list[str] = []
    seen: dict[bytes, Kind] = {}
    hidden: set[bytes] = set()
    opaque: set[bytes] = set()
    for entry in index:
        parent = entry.path if entry.kind == Kind.OPAQUE else entry.path.rpartition(b"/")[0]
        if parent and seen.get(parent) != Kind.DIRECTORY:
            found.append(f"{entry.path!r}: its parent is not listed before it")
        if entry.kind in (Kind.WHITEOUT, Kind.OPAQUE):
            marks = hidden if entry.kind == Kind.WHITEOUT else opaque
            if entry.path in marks:
                found.append(f"{entry.path!r}: hidden twice")
            marks.add(entry.path)
            continue
        if entry.path in seen:
            found.append(f"{entry.path!r}: listed twice")
        if entry.kind == Kind.HARDLINK and seen.get(entry.link) in (None, Kind.DIRECTORY, Kind.HARDLINK):
            found.append(f"{entry.path!r}: its target {entry.link!r} is no earlier file")
        seen[entry.path] = entry.kind
    found += [f"{path!r}: stands beside its whiteout" for path in sorted(hidden & seen.keys())]
    return found
