"""The merged file system of layers, and for each path the layer that made it.

Source: image-spec layer.md, "Applying Changesets". A layer's whiteouts and opaque markers act on lower layers only, and
before its own entries, wherever they occur in the tar. Memory: about 150 bytes a path beside the indexes.

An entry is named by a ref: the layer's number and the row of its index in one integer (`Tree.ref`, `Tree.layer`,
`Tree.row`). Integers instead of objects keep a tree of millions of paths small; hot loops split a ref in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from ocitool import limits
from ocitool.errors import LimitError, UnsafeError
from ocitool.layers.entry import Entry, Kind, escapes, shown_path
from ocitool.layers.index import LayerIndex
from ocitool.trees.nodes import IMPLIED, REF_SHIFT, ROW_MASK, Directory, HiddenFile, ImpliedDirectory, Node
from ocitool.trees.path_stack import PathStack

T = TypeVar("T")
_SHOWN = 200
"""Bytes of a path that a message shows."""
_LONGER = 256
"""Bytes by which a real path may be longer than the path in the tar before all real paths are counted."""

_FILE, _DIRECTORY, _SYMLINK, _HARDLINK = int(Kind.FILE), int(Kind.DIRECTORY), int(Kind.SYMLINK), int(Kind.HARDLINK)
_AUFS = b".wh..wh."
_WHITEOUT, _OPAQUE, _METADATA, _INVALID = int(Kind.WHITEOUT), int(Kind.OPAQUE), int(Kind.METADATA), int(Kind.INVALID)


class Tree:
    """The merged tree of `indexes`, lowest layer first. Built once, then only read.

    `missing_base`: the layers of a base below these are not given; see `needs_base`. `hidden` is called for each file
    that a later layer hides, in order. Raises `UnsafeError` for an entry or link that leaves the root, `LimitError`
    beyond the bounds of `limits`.
    """

    def __init__(
        self, indexes: Sequence[LayerIndex], *, missing_base: bool = False, hidden: Callable[[HiddenFile], None] | None = None
    ) -> None:
        self.indexes = tuple(indexes)
        self.root = Directory(IMPLIED)
        self.needs_base = False  # with `missing_base`: whether the tree depends on what the base has
        self.removed: dict[bytes, int] = {}
        """Paths that a whiteout, an opaque marker or an entry of another kind removed, with the last layer that did."""
        self.broken: list[tuple[bytes, int]] = []
        """Hard links whose target does not exist: path and ref."""
        self._inodes: dict[int, int] = {}
        self._missing_base = missing_base
        self._implied = self._implied_size = self._max_implied = self._entries = 0
        self._linked, self._long_paths = 0, False
        self._steps, self._max_steps = 0, limits.LINK_STEPS
        self._hidden = hidden
        self._parents: dict[bytes, Directory] = {b"": self.root}
        self._aliases: dict[bytes, bytes] = {}  # of parents reached through a link: their real paths
        self._links: dict[int, list[bytes]] | None = None
        self._removers: dict[bytes, int | None] = {}
        self._tops: dict[int, dict[bytes, bytes | None]] = {}
        for layer, index in enumerate(self.indexes):
            self._apply(layer, index)
        self._parents, self._aliases = {}, {}

    def add(self, index: LayerIndex) -> None:
        """Puts one more layer on top. Only for the code that builds the tree, before it is shared."""
        self.indexes = (*self.indexes, index)
        self._parents = {b"": self.root}
        self._apply(len(self.indexes) - 1, index)
        self._parents, self._aliases = {}, {}

    # Reading

    @staticmethod
    def layer(ref: int) -> int:
        """Returns the number of the layer of a ref; -1 for `IMPLIED`."""
        return ref >> REF_SHIFT

    @staticmethod
    def row(ref: int) -> int:
        return ref & ROW_MASK

    @staticmethod
    def ref(layer: int, row: int) -> int:
        """Returns the ref of a row of a layer, the inverse of `layer` and `row`."""
        return layer << REF_SHIFT | row

    def inode(self, ref: int) -> int:
        """Returns the ref of the entry with content and attributes: for a hard link the file that it shares, else the
        ref itself."""
        return self._inodes.get(ref, ref)

    def entry(self, ref: int) -> Entry:
        """Returns the entry with content and attributes. An implied directory belongs to root, has mode 755 and mtime
        0."""
        if ref == IMPLIED:
            return Entry(b"", Kind.DIRECTORY, 0o755, 0, 0, 0, 0)
        ref = self.inode(ref)
        return self.indexes[ref >> REF_SHIFT].entry(ref & ROW_MASK)

    def find(self, path: bytes, *, follow: bool = False) -> Node | None:
        """Returns the node at a normalised path, or None. Symbolic links in its directories are followed inside the
        root; one at the end only with `follow`."""
        return self._resolve(path, follow)[0]

    def real_path(self, path: bytes) -> bytes | None:
        """Returns a path with the links in its directories followed, but not its last name; None if its directory does
        not exist."""
        parent, _, name = path.rpartition(b"/")
        node, place = self._resolve(parent, True)
        if not isinstance(node, Directory):
            return None
        return place + b"/" + name if place else name

    def walk(self, directory: Directory | None = None, prefix: bytes = b"") -> Iterator[tuple[bytes, Node]]:
        """Yields path and node of everything below a directory (default: the root), sorted by name, parents first."""
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

    @property
    def has_links(self) -> bool:
        """Whether any hard link was resolved: without one, no file has several names."""
        return bool(self._inodes)

    @property
    def shared(self) -> frozenset[int]:
        """The refs (as `inode` returns them) of files that a hard link shares, even if the link is hidden by now."""
        return frozenset(self._inodes.values())

    def links(self, ref: int) -> list[bytes]:
        """Returns all names of the file of a ref, sorted, if it has more than one; else an empty list. Do not change
        the list: it is shared."""
        if self._links is None:
            found: dict[int, list[bytes]] = {}
            if self._inodes:
                shared = set(self._inodes.values())
                for path, node in self.walk():
                    if not isinstance(node, Directory):
                        inode = self._inodes.get(node, node)
                        if inode in shared:
                            found.setdefault(inode, []).append(path)
            self._links = {inode: names for inode, names in found.items() if len(names) > 1}
        return self._links.get(self.inode(ref), [])

    def remover(self, path: bytes) -> int | None:
        """Returns the last layer that removed this path or a directory above it; None if none did."""
        return self._computed_from_root(path, self._removers, self.removed.get)

    def removed_directory(self, path: bytes, layer: int) -> bytes:
        """Returns the top-most directory above a path that `layer` removed; the path itself if it was removed alone."""

        def top(at: bytes, above: bytes | None) -> bytes | None:
            return at if above is None and at and self.removed.get(at) == layer else above

        if layer not in self._tops:  # they are asked for by layer
            self._tops = {layer: {}}
        return self._computed_from_root(path, self._tops[layer], top) or path

    def _computed_from_root(
        self, path: bytes, known: dict[bytes, T | None], of: Callable[[bytes, T | None], T | None]
    ) -> T | None:
        """Returns `of(path, value of its parent)`, where each parent's value is computed the same way from the root
        down.

        `known` remembers the values of some parents: for paths asked in the order of a walk, no call goes up to the
        root.
        """
        above = []
        at = path
        while at and (at := at.rpartition(b"/")[0]) not in known:
            above.append(at)
        value = known.get(at)
        if len(known) > 2 * limits.PATH_DEPTH:
            known.clear()
        for directory in reversed(above):
            value = known[directory] = of(directory, value)
        return of(path, value)

    # Building

    def _apply(self, layer: int, index: LayerIndex) -> None:
        """Applies one layer: first its whiteouts and opaque markers to the layers below, then its entries in order,
        then pending links.

        `before` holds the targets of hard links as they were before the whiteouts, for links to files that this layer
        deletes. Links whose target comes later in the tar are `pending`. `parents` remembers the directory of each
        parent path; it is cleared if a directory or a symbolic link is replaced, since any path may then lead
        elsewhere.
        """
        base = layer << REF_SHIFT
        self._removers, self._tops = {}, {}
        kinds, paths = index.kinds, index.paths
        self._max_steps += limits.ENTRY_LINK_STEPS * len(paths)
        self._entries += len(paths)
        implied = limits.IMPLIED_FREE + limits.ENTRY_IMPLIED * self._entries
        self._max_implied = min(limits.IMPLIED_DIRECTORIES, implied)
        before: dict[int, int] = {}
        if _WHITEOUT in kinds or _OPAQUE in kinds or _INVALID in kinds:
            if _HARDLINK in kinds:
                before = self._targets_before_whiteouts(index)
            self._hide(layer, index)
            before = {row: inode for row, inode in before.items() if self._target(index.links[row]) is None}
        parents = self._parents
        bookkeeping: dict[bytes, int] = {}
        pending: list[tuple[int, bytes, bytes]] = []
        for row, path in enumerate(paths):
            kind = kinds[row]
            if kind >= _WHITEOUT:
                continue
            parent_path, _, name = path.rpartition(b"/")
            parent = parents.get(parent_path)
            if parent is None:
                if escapes(path):
                    raise UnsafeError(f"an entry leaves the root: {path[:200]!r}")
                if path.startswith(_AUFS):
                    if kind == _FILE:
                        bookkeeping[path] = base + row  # not a file of the tree, but AUFS makes hard links to it
                    continue
                parent, place = self._directory(parent_path, layer)
                parents[parent_path] = parent
                if place != parent_path or parent_path in self._aliases:
                    self._alias(parent_path, place)
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
                        self._drop(old, self._real_entry_path(path), layer, None)
                    children[name] = parents[path] = Directory(ref)
                    if self._aliases:
                        self._alias(path, self._real_entry_path(path))
                    if old is not None:
                        parents.clear()
                        parents[b""] = self.root
                continue
            if kind == _HARDLINK:
                link = index.links[row]
                if escapes(link):
                    raise UnsafeError(f"a hard link leaves the root: {path[:200]!r}")
                if link == path and old is not None:
                    if isinstance(old, Directory) and self._missing_base:
                        self.needs_base = True
                    continue  # a link to itself changes nothing
                inode = self._target(link) if link != path else None
                if inode is None:
                    inode = bookkeeping.get(link)
                if inode is None:
                    pending.append((ref, path, link))
                else:
                    self._inodes[ref] = inode
            if old is not None:
                self._drop(old, self._real_entry_path(path), layer, ref)
                if isinstance(old, Directory) or self._is_symlink(old) or kind == _SYMLINK:
                    parents.clear()
                    parents[b""] = self.root
            children[name] = ref
        if self._long_paths:
            for path in paths:
                self._linked += len(self._aliases.get(path.rpartition(b"/")[0], b""))
            self._check_linked(paths[-1])
        self._resolve_pending(pending, before)

    def _alias(self, path: bytes, place: bytes) -> None:
        """Records the real path of a directory that is reached through a link."""
        self._aliases[path] = place
        self._linked += len(place)
        self._long_paths = self._long_paths or len(place) > len(path) + _LONGER
        self._check_linked(path)

    def _check_linked(self, path: bytes) -> None:
        """Raises `LimitError` if real paths get too long in total: short names below a link to a deep directory have
        long real paths."""
        most = limits.LINKED_PATHS + limits.ENTRY_LINKED * self._entries
        if self._linked > most:
            raise LimitError(f"paths of more than {most} bytes that symbolic links lead to", shown_path(path, _SHOWN))

    def _target(self, link: bytes) -> int | None:
        """Returns the entry with the content that a hard link to this path shares; None if there is none (yet)."""
        target = self._resolve(link, False)[0]
        if target is None or isinstance(target, Directory):
            return None
        inode = self._inodes.get(target, target)
        return None if self._kind(inode) == _HARDLINK else inode

    def _targets_before_whiteouts(self, index: LayerIndex) -> dict[int, int]:
        """Returns the targets of a layer's hard links before its whiteouts apply: a link may share a file that its own
        layer deletes."""
        found = {}
        for row, kind in enumerate(index.kinds):
            if kind == _HARDLINK and index.links[row] != index.paths[row]:
                inode = self._target(index.links[row])
                if inode is not None:
                    found[row] = inode
        return found

    def _resolve_pending(self, pending: list[tuple[int, bytes, bytes]], before: dict[int, int]) -> None:
        """Resolves links that come before their target, also in chains, then links to files that their own layer
        deleted.

        One pass resolves every chain, except one that leads through a link to a symbolic link: each of those needs one
        more pass, and there are at most `SYMLINK_HOPS` of them. What is left goes to `broken`.
        """
        if pending and self._missing_base:
            self.needs_base = True  # the base may have the target
        for _ in range(limits.SYMLINK_HOPS):
            left = self._resolve_ready(pending)
            if len(left) == len(pending):
                deleted = {ref: before[ref & ROW_MASK] for ref, _, _ in left if ref & ROW_MASK in before}
                if not deleted:
                    break
                self._inodes.update(deleted)
                left = [item for item in left if item[0] not in deleted]
            pending = left
        self.broken += [(path, ref) for ref, path, _ in pending if self._resolve(path, False)[0] == ref]

    def _resolve_ready(self, pending: list[tuple[int, bytes, bytes]]) -> list[tuple[int, bytes, bytes]]:
        """Resolves the links whose target exists, and the links to those; returns the links that have no target yet."""
        waiting: dict[int, list[int]] = {}
        ready: list[int] = []
        for ref, path, link in pending:
            target = self._resolve(link, False)[0] if link != path else None
            if target is None or isinstance(target, Directory):
                continue
            inode = self._inodes.get(target, target)
            if self._kind(inode) == _HARDLINK:
                waiting.setdefault(target, []).append(ref)
            else:
                self._inodes[ref] = inode
                ready.append(ref)
        while ready:
            target = ready.pop()
            for ref in waiting.pop(target, ()):
                self._inodes[ref] = self._inodes[target]
                ready.append(ref)
        return [item for item in pending if item[0] not in self._inodes]

    def _hide(self, layer: int, index: LayerIndex) -> None:
        """Applies a layer's whiteouts and opaque markers to the layers below.

        All are looked up before the first is applied, so that their order does not matter.
        """
        listed: set[bytes] = set()
        for path, kind in zip(index.paths, index.kinds, strict=True):
            if kind == _DIRECTORY:
                listed.add(path)
        hides: list[tuple[Directory, bytes, bytes | None]] = []
        for row, kind in enumerate(index.kinds):
            if kind < _WHITEOUT or kind == _METADATA:
                continue
            path = index.paths[row]
            if kind == _INVALID or escapes(path):
                raise UnsafeError(f"a whiteout of nothing or of what is outside: {path[:200]!r}")
            parent_path, _, name = path.rpartition(b"/")
            directory, place = self._directory_hidden_in(path if kind == _OPAQUE else parent_path, listed)
            if directory is not None:
                hides.append((directory, place, None if kind == _OPAQUE else name))
        for directory, place, hidden in hides:
            if not directory.children:
                continue  # iterating a dict that was emptied still costs its old size
            prefix = place + b"/" if place else b""
            for name in list(directory.children) if hidden is None else [hidden]:
                node = directory.children.pop(name, None)
                if node is not None:
                    self._drop(node, prefix + name, layer, None)
                    if isinstance(node, Directory) and len(hides) > 1:
                        self._empty(node)
        self._parents.clear()
        self._parents[b""] = self.root

    def _directory_hidden_in(self, path: bytes, listed: set[bytes]) -> tuple[Directory | None, bytes]:
        """Returns the lower directory that a whiteout or opaque marker applies to, and its real path; None if there is
        none.

        A symbolic link to a directory is followed, unless the layer itself lists a directory at that path: this
        directory replaces the link, and hides nothing of what the link led to. `listed`: directories that the layer
        lists.
        """
        stack = PathStack(self.root)
        names = path.split(b"/") if path else []
        for depth, name in enumerate(names, 1):
            child = stack.directory.children.get(name)
            if isinstance(child, Directory):
                stack.enter(child, name)
                continue
            link = child is not None and self._is_symlink(child)
            if (link or self._missing_base) and b"/".join(names[:depth]) not in listed:
                if self._missing_base:
                    self.needs_base = True  # only the base knows whether this is a directory or a link to one
                if link and (target := self._follow_link(stack, name, path)) is not None:
                    stack = target
                    continue
            if self._missing_base and not self.needs_base:
                self.needs_base = any(b"/".join(names[:n]) not in listed for n in range(depth + 1, len(names) + 1))
            return None, b""
        return stack.directory, stack.path

    def _empty(self, directory: Directory) -> None:
        """Empties a removed directory, so that nothing in it is reported as hidden a second time."""
        stack = [directory]
        while stack:
            children = stack.pop().children
            stack.extend(node for node in children.values() if isinstance(node, Directory))
            children.clear()

    def _real_entry_path(self, path: bytes) -> bytes:
        """Returns the real path of an entry whose parent may be reached through a link."""
        if self._aliases:
            parent, _, name = path.rpartition(b"/")
            place = self._aliases.get(parent, parent)
            return place + b"/" + name if place else name
        return path

    def _drop(self, node: Node, path: bytes, layer: int, replaced: int | None) -> None:
        """Records that a node is removed; the caller takes it out of its directory."""
        if isinstance(node, Directory) or replaced is None:
            self.removed[path] = layer
        if self._hidden is None:
            return
        if not isinstance(node, Directory):
            self._hidden(HiddenFile(node, path, layer, replaced))
            return
        for below, child in self.walk(node, path):
            if not isinstance(child, Directory):
                self._hidden(HiddenFile(child, below, layer, None))

    def _directory(self, path: bytes, layer: int) -> tuple[Directory, bytes]:
        """Returns the directory that a path's entries go to, and its real path.

        Links to directories are followed, anything else on the path is replaced by a directory, and missing directories
        are made.
        """
        names = path.split(b"/")
        current = self.root
        for name in names:
            child = current.children.get(name)
            if not isinstance(child, Directory):
                break
            current = child
        else:
            return current, path
        stack = PathStack(self.root)
        for name in names:
            if name == b"..":
                raise UnsafeError(f"an entry leaves the root: {path[:200]!r}")
            child = stack.directory.children.get(name)
            if isinstance(child, Directory):
                stack.enter(child, name)
                continue
            if child is not None and self._is_symlink(child) and (target := self._follow_link(stack, name, path)) is not None:
                stack = target
                continue
            made = ImpliedDirectory(layer)
            if self._missing_base:
                self.needs_base = True  # only the base knows whether this is a directory or a link to one
            parent = stack.directory
            stack.enter(made, name)
            if child is not None:
                self._drop(child, stack.path, layer, None)
            parent.children[name] = made
            self._implied += 1
            self._implied_size += stack.size
            if self._implied > self._max_implied:
                raise LimitError(f"more than {self._max_implied} directories that no layer lists", shown_path(path, _SHOWN))
            if self._implied_size > limits.IMPLIED_PATHS:
                raise LimitError(f"directories that no layer lists with paths of more than {limits.IMPLIED_PATHS} bytes")
        return stack.directory, stack.path

    def _follow_link(self, stack: PathStack[Directory], name: bytes, path: bytes) -> PathStack[Directory] | None:
        """Returns the position that the symbolic link `name` leads to; None if it does not lead to a directory. `path`:
        named in errors."""
        target = stack.copy()
        if not isinstance(self._walk(target, name, True, path), Directory):
            return None
        if target.size > limits.PATH_LENGTH or len(target.names) > limits.PATH_DEPTH:
            raise LimitError(
                f"symbolic links lead to a path of {target.size} bytes, {len(target.names)} levels deep",
                shown_path(path, _SHOWN),
            )
        return target

    def _kind(self, ref: int) -> int:
        return self.indexes[ref >> REF_SHIFT].kinds[ref & ROW_MASK]

    def _is_symlink(self, ref: int) -> bool:
        return self._kind(self._inodes.get(ref, ref)) == _SYMLINK

    def _resolve(self, path: bytes, follow: bool) -> tuple[Node | None, bytes]:
        """Returns the node at a path, and its real path."""
        current = self.root
        names = path.split(b"/")
        for depth, name in enumerate(names, 1):
            child = current.children.get(name)
            if isinstance(child, Directory):
                current = child
            elif child is None or depth < len(names) or (follow and self._is_symlink(child)):
                break
            else:
                return child, path
        else:
            return current, path
        stack = PathStack(self.root)
        node = self._walk(stack, path, follow, path)
        return node, stack.path if node is not None else b""

    def _walk(self, stack: PathStack[Directory], path: bytes, follow: bool, whole: bytes) -> Node | None:
        """Follows `path` from the position of `stack`, which it moves, and returns the node there, as the kernel does
        in a changed root: `..` at the root stays there. `whole`: the path named in errors.

        Names in link targets are counted, so that neither long detours nor links to links cost more than `LINK_STEPS`
        and `ENTRY_LINK_STEPS` allow for the tree.
        """
        parts = path.split(b"/")
        parts.reverse()
        while parts:
            name = parts.pop()
            if not name or name == b".":
                continue
            if name == b"..":
                stack.leave()
                continue
            child = stack.directory.children.get(name)
            if child is None:
                return None
            if isinstance(child, Directory):
                stack.enter(child, name)
            elif self._is_symlink(child) and (parts or follow):
                stack.hops += 1
                if stack.hops > limits.SYMLINK_HOPS:
                    return None
                inode = self._inodes.get(child, child)
                target = self.indexes[inode >> REF_SHIFT].links[inode & ROW_MASK]
                if target.startswith(b"/"):
                    stack.to_root()
                more = target.split(b"/")
                more.reverse()
                parts += more
                self._steps += len(more)
                if self._steps > self._max_steps:
                    text = f"symbolic links with more than {self._max_steps} names in their targets were followed"
                    raise LimitError(text, shown_path(whole, _SHOWN))
            elif parts:
                return None
            else:
                stack.last = name
                return child
        return stack.directory


def node_at(tree: Tree, path: bytes) -> Node | None:
    """Returns the node at a path without following any symbolic link."""
    node: Node | None = tree.root
    for name in path.split(b"/") if path else ():
        node = node.children.get(name) if isinstance(node, Directory) else None
    return node


def walk_both(a: Tree, b: Tree) -> Iterator[tuple[bytes, Node | None, Node | None]]:
    """Yields every path of either tree with its two nodes, the root first if either tree lists it, parents before
    children."""
    if a.root.ref != IMPLIED or b.root.ref != IMPLIED:
        yield b"", a.root, b.root
    stack: list[tuple[bytes, Node | None, Node | None]] = []

    def push(x: Node | None, y: Node | None, at: bytes) -> None:
        left = x.children if isinstance(x, Directory) else {}
        right = y.children if isinstance(y, Directory) else {}
        names = left.keys() | right.keys() if left.keys() != right.keys() else left.keys()
        stack.extend((at + name, left.get(name), right.get(name)) for name in sorted(names, reverse=True))

    push(a.root, b.root, b"")
    while stack:
        path, x, y = stack.pop()
        yield path, x, y
        if isinstance(x, Directory) or isinstance(y, Directory):
            push(x, y, path + b"/")
