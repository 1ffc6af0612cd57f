"""The merged file system of layers, and for each path the layer that made it.

Source: image-spec layer.md ("Applying Changesets"). A layer's whiteouts and opaque markers act on lower layers only, and
before its own entries, wherever they stand in the tar. Memory: about 150 bytes a path beside the indexes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from ocitool import limits
from ocitool.errors import UnsafeError
from ocitool.layers.entry import Entry, Kind, escapes
from ocitool.layers.index import LayerIndex

_SHIFT = 32
_MASK = (1 << _SHIFT) - 1
IMPLIED = -1
"""The reference of a directory that no layer lists: a missing parent."""

_FILE, _DIRECTORY, _SYMLINK, _HARDLINK = int(Kind.FILE), int(Kind.DIRECTORY), int(Kind.SYMLINK), int(Kind.HARDLINK)
_WHITEOUT, _OPAQUE, _METADATA, _INVALID = int(Kind.WHITEOUT), int(Kind.OPAQUE), int(Kind.METADATA), int(Kind.INVALID)


class Directory:
    """`ref` is the entry that gave its attributes; children are directories or the refs of everything else."""

    __slots__ = ("children", "ref")

    def __init__(self, ref: int) -> None:
        self.ref = ref
        self.children: dict[bytes, Directory | int] = {}


Node = Directory | int
"""What stands at a name. A ref is layer and row in one number: see `Tree.layer` and `Tree.row`."""


class Hidden(NamedTuple):
    """A file or link that a later layer hid. `by`: that layer; `replaced`: the file that took its name, or None."""

    ref: int
    path: bytes
    by: int
    replaced: int | None


def ref_of(node: Node) -> int:
    return node.ref if isinstance(node, Directory) else node


class Tree:
    """Built once from indexes, lowest first, and then only read.

    `missing_base`: these are the upper layers of a base that is not looked at; see `needs_base`.
    """

    def __init__(
        self, indexes: Sequence[LayerIndex], *, missing_base: bool = False, hidden: Callable[[Hidden], None] | None = None
    ) -> None:
        self.indexes = tuple(indexes)
        self.root = Directory(IMPLIED)
        self.needs_base = False
        self.removed: dict[bytes, int] = {}
        """Paths that a whiteout, an opaque marker or another kind of entry removed -> the layer that did, the last one."""
        self.broken: list[tuple[bytes, int]] = []
        """Hard links whose target does not exist: path and ref."""
        self._inodes: dict[int, int] = {}
        self._missing_base = missing_base
        self._hidden = hidden
        self._parents: dict[bytes, Directory] = {b"": self.root}
        self._links: dict[int, list[bytes]] | None = None
        for layer, index in enumerate(self.indexes):
            self._apply(layer, index)
        self._parents = {}

    # Reading

    def layer(self, ref: int) -> int:
        """The number of the layer that holds an entry."""
        return ref >> _SHIFT

    def row(self, ref: int) -> int:
        return ref & _MASK

    def inode(self, ref: int) -> int:
        """The entry that holds content and attributes: of a hard link the file that it shares, else itself."""
        return self._inodes.get(ref, ref)

    def entry(self, ref: int) -> Entry:
        """The entry with content and attributes. An implied directory is root's, mode 755, at the epoch."""
        if ref == IMPLIED:
            return Entry(b"", Kind.DIRECTORY, 0o755, 0, 0, 0, 0, b"", 0, 0, None, None, None)
        ref = self.inode(ref)
        return self.indexes[ref >> _SHIFT].entry(ref & _MASK)

    def find(self, path: bytes, *, follow: bool = False) -> Node | None:
        """What stands at a normalised path. Symbolic links on the way are followed inside the root; the last one only
        with `follow`."""
        return self._lookup(path, follow, [0])

    def walk(self, directory: Directory | None = None, prefix: bytes = b"") -> Iterator[tuple[bytes, Node]]:
        """Everything below a directory in the order of names, parents first."""
        stack: list[tuple[bytes, Node]] = []

        def push(found: Directory, at: bytes) -> None:
            children = found.children
            stack.extend((at + name, children[name]) for name in sorted(children, reverse=True))

        push(directory or self.root, prefix + b"/" if prefix else b"")
        while stack:
            path, node = stack.pop()
            yield path, node
            if isinstance(node, Directory):
                push(node, path + b"/")

    def links(self, ref: int) -> list[bytes]:
        """All names of the file behind a ref, sorted, where it has more than one; else nothing."""
        if self._links is None:
            self._links = {}
            if self._inodes:
                shared = set(self._inodes.values())
                for path, node in self.walk():
                    if not isinstance(node, Directory):
                        inode = self._inodes.get(node, node)
                        if inode in shared:
                            self._links.setdefault(inode, []).append(path)
        found = self._links.get(self.inode(ref), [])
        return found if len(found) > 1 else []

    def remover(self, path: bytes) -> int | None:
        """The layer that removed this path or a directory above it."""
        while True:
            found = self.removed.get(path)
            if found is not None or not path:
                return found
            path = path.rpartition(b"/")[0]

    # Building

    def _apply(self, layer: int, index: LayerIndex) -> None:
        base = layer << _SHIFT
        kinds, paths = index.kinds, index.paths
        if _WHITEOUT in kinds or _OPAQUE in kinds or _INVALID in kinds:
            self._hide(layer, index)
        parents = self._parents
        pending: list[tuple[int, bytes, bytes]] = []
        for row, path in enumerate(paths):
            kind = kinds[row]
            if kind >= _WHITEOUT:
                continue
            parent_path, slash, name = path.rpartition(b"/")
            parent = parents.get(parent_path)
            if parent is None:
                if escapes(path):
                    raise UnsafeError(f"an entry leaves the root: {path[:200]!r}")
                parent = self._directory(parent_path, layer)
                parents[parent_path] = parent
            if not name:
                self.root.ref = base + row
                continue
            if name == b"..":
                raise UnsafeError(f"an entry leaves the root: {path[:200]!r}")
            children = parent.children
            old = children.get(name)
            ref = base + row
            if kind == _DIRECTORY:
                if isinstance(old, Directory):
                    old.ref = ref
                else:
                    if old is not None:
                        self._drop(old, path, layer, None)
                    children[name] = parents[path] = Directory(ref)
                    if old is not None:
                        parents.clear()
                        parents[b""] = self.root
                continue
            if kind == _HARDLINK:
                link = index.links[row]
                if link == path and old is not None:
                    continue  # a link to itself changes nothing
                target = self._lookup(link, False, [0]) if link != path else None
                if target is None or isinstance(target, Directory):
                    pending.append((ref, path, link))
                else:
                    self._inodes[ref] = self._inodes.get(target, target)
            if old is not None:
                self._drop(old, path, layer, ref)
                if isinstance(old, Directory) or self._is_symlink(old) or kind == _SYMLINK:
                    parents.clear()
                    parents[b""] = self.root
            children[name] = ref
        # Links that stand before their target, also in chains.
        while pending:
            left = []
            for ref, path, link in pending:
                target = self._lookup(link, False, [0])
                if target is None or isinstance(target, Directory) or link == path:
                    left.append((ref, path, link))
                    continue
                inode = self._inodes.get(target, target)
                if self._kind(inode) == _HARDLINK:
                    left.append((ref, path, link))
                else:
                    self._inodes[ref] = inode
            if len(left) == len(pending):
                if self._missing_base:
                    self.needs_base = True
                self.broken += [(path, ref) for ref, path, _ in left]
                break
            pending = left

    def _hide(self, layer: int, index: LayerIndex) -> None:
        """Applies a layer's whiteouts and opaque markers to what is below it."""
        for row, kind in enumerate(index.kinds):
            if kind < _WHITEOUT or kind == _METADATA:
                continue
            path = index.paths[row]
            if kind == _INVALID or escapes(path):
                raise UnsafeError(f"a whiteout of nothing or of what is outside: {path[:200]!r}")
            if kind == _OPAQUE:
                found = self._lookup(path, True, [0])
                if isinstance(found, Directory):
                    self._clear(found, path, layer)
                continue
            parent_path, _, name = path.rpartition(b"/")
            parent = self._lookup(parent_path, True, [0])
            if isinstance(parent, Directory) and name in parent.children:
                old = parent.children.pop(name)
                self._drop(old, path, layer, None)
        self._parents.clear()
        self._parents[b""] = self.root

    def _clear(self, directory: Directory, path: bytes, layer: int) -> None:
        prefix = path + b"/" if path else b""
        for name, node in list(directory.children.items()):
            self._drop(node, prefix + name, layer, None)
        directory.children.clear()

    def _drop(self, node: Node, path: bytes, layer: int, replaced: int | None) -> None:
        """Notes that a node goes; the caller takes it out of its directory."""
        if isinstance(node, Directory) or replaced is None:
            self.removed[path] = layer
        if self._hidden is None:
            return
        if not isinstance(node, Directory):
            self._hidden(Hidden(node, path, layer, replaced))
            return
        for below, child in self.walk(node, path):
            if not isinstance(child, Directory):
                self._hidden(Hidden(child, below, layer, None))

    def _directory(self, path: bytes, layer: int) -> Directory:
        """The directory that a path's entries go to: links to directories are followed, anything else in the way
        becomes a directory, and what is missing is made."""
        current, at = self.root, b""
        for name in path.split(b"/"):
            if name == b"..":
                raise UnsafeError(f"an entry leaves the root: {path[:200]!r}")
            at = at + b"/" + name if at else name
            child = current.children.get(name)
            if isinstance(child, Directory):
                current = child
                continue
            if child is not None and self._is_symlink(child):
                target = self._lookup(at, True, [0])
                if isinstance(target, Directory):
                    current = target
                    continue
            made = Directory(IMPLIED)
            if self._missing_base:
                self.needs_base = True  # only the base knows whether this is a directory or a link to one
            if child is not None:
                self._drop(child, at, layer, None)
            current.children[name] = made
            current = made
        return current

    def _kind(self, ref: int) -> int:
        return self.indexes[ref >> _SHIFT].kinds[ref & _MASK]

    def _is_symlink(self, ref: int) -> bool:
        return self._kind(self._inodes.get(ref, ref)) == _SYMLINK

    def _lookup(self, path: bytes, follow: bool, hops: list[int]) -> Node | None:
        """As the kernel walks a path in a changed root: `..` at the root stays there."""
        if not path:
            return self.root
        trail: list[Directory] = [self.root]
        parts = path.split(b"/")
        parts.reverse()
        node: Node = self.root
        while parts:
            name = parts.pop()
            if not name or name == b".":
                continue
            if name == b"..":
                if len(trail) > 1:
                    trail.pop()
                node = trail[-1]
                continue
            child = trail[-1].children.get(name)
            if child is None:
                return None
            node = child
            if isinstance(child, Directory):
                trail.append(child)
            elif self._is_symlink(child) and (parts or follow):
                hops[0] += 1
                if hops[0] > limits.SYMLINK_HOPS:
                    return None
                inode = self._inodes.get(child, child)
                target = self.indexes[inode >> _SHIFT].links[inode & _MASK]
                if target.startswith(b"/"):
                    del trail[1:]
                parts += reversed(target.split(b"/"))
                node = trail[-1]
            elif parts:
                return None
        return node
