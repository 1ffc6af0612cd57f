"""The rules by which a layer changes the file system of the layers below it (image-spec layer.md, "Applying Changesets").

A layer's whiteouts and opaque markers act on lower layers only, and before its own entries, wherever they occur in the tar.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ocitool import limits
from ocitool.errors import LimitError, UnsafeError
from ocitool.layers.entry import Kind, escapes, shown_path
from ocitool.layers.index import LayerIndex
from ocitool.trees.nodes import REF_SHIFT, ROW_MASK, SHOWN, Directory, HiddenFile, ImpliedDirectory, Node, PathLookup, walk
from ocitool.trees.path_stack import PathStack

_LONGER = 256
"""Bytes by which a real path may be longer than the path in the tar before all real paths are counted."""

_FILE, _DIRECTORY, _SYMLINK, _HARDLINK = int(Kind.FILE), int(Kind.DIRECTORY), int(Kind.SYMLINK), int(Kind.HARDLINK)
_AUFS = b".wh..wh."
_WHITEOUT, _OPAQUE, _METADATA, _INVALID = int(Kind.WHITEOUT), int(Kind.OPAQUE), int(Kind.METADATA), int(Kind.INVALID)


class LayerMerge:
    """Applies layers to the nodes of `lookup`, lowest layer first. Arguments and errors are those of `Tree`."""

    def __init__(self, lookup: PathLookup, *, missing_base: bool, hidden: Callable[[HiddenFile], None] | None) -> None:
        self.needs_base = False
        self.removed: dict[bytes, int] = {}
        self.broken: list[tuple[bytes, int]] = []
        self._lookup = lookup
        self._root = lookup.root
        self._inodes = lookup.inodes
        self._missing_base = missing_base
        self._hidden = hidden
        self._implied = self._implied_size = self._max_implied = self._entries = 0
        self._linked, self._long_paths = 0, False
        self._parents: dict[bytes, Directory] = {}
        self._aliases: dict[bytes, bytes] = {}  # of parents reached through a link: their real paths

    def apply(self, first: int, indexes: Sequence[LayerIndex]) -> None:
        """Applies layers, of which the lowest has the number `first`."""
        self._parents = {b"": self._root}
        for layer, index in enumerate(indexes, first):
            self._apply(layer, index)
        self._parents, self._aliases = {}, {}

    def _apply(self, layer: int, index: LayerIndex) -> None:
        """Applies one layer: first its whiteouts and opaque markers to the layers below, then its entries in order,
        then pending links.

        `before` holds the targets of hard links as they were before the whiteouts, for links to files that this layer
        deletes. Links whose target comes later in the tar are `pending`. `parents` remembers the directory of each
        parent path; it is cleared if a directory or a symbolic link is replaced, since any path may then lead
        elsewhere.
        """
        base = layer << REF_SHIFT
        kinds, paths = index.kinds, index.paths
        prefixes = paths.prefixes
        self._lookup.max_steps += limits.ENTRY_LINK_STEPS * len(paths)
        self._entries += len(paths)
        implied = limits.IMPLIED_FREE + limits.ENTRY_IMPLIED * self._entries
        self._max_implied = min(limits.IMPLIED_DIRECTORIES, implied)
        before: dict[int, int] = {}
        if _WHITEOUT in kinds or _OPAQUE in kinds or _INVALID in kinds:
            if _HARDLINK in kinds:
                before = self._targets_before_whiteouts(index)
            self._hide(layer, index)
            before = {row: inode for row, inode in before.items() if self._target(index.links[row]) is None}
        parents = self._parents  # by prefix
        bookkeeping: dict[bytes, int] = {}
        pending: list[tuple[int, bytes, bytes]] = []
        for row, (number, name, kind) in enumerate(zip(paths.prefix_of, paths.names, kinds, strict=True)):
            if kind >= _WHITEOUT:
                continue
            prefix = prefixes[number]
            parent = parents.get(prefix)
            if parent is None:
                path = prefix + name
                if escapes(path):
                    raise UnsafeError(f"an entry leaves the root: {path[:200]!r}")
                if path.startswith(_AUFS):
                    if kind == _FILE:
                        bookkeeping[path] = base + row  # not a file of the tree, but AUFS makes hard links to it
                    continue
                parent_path = prefix[:-1]
                parent, place = self._directory(parent_path, layer)
                parents[prefix] = parent
                if place != parent_path or parent_path in self._aliases:
                    self._alias(parent_path, place)
            if not name:
                self._root.ref = base + row
                continue
            if name == b"..":
                raise UnsafeError(f"an entry leaves the root: {(prefix + name)[:200]!r}")
            children = parent.children
            old = children.get(name)
            ref = base + row
            if kind == _DIRECTORY:
                if isinstance(old, Directory):
                    old.ref = ref
                else:
                    if old is not None:
                        self._drop(old, self._real_entry_path(prefix, name), layer, None)
                    children[name] = parents[prefix + name + b"/"] = Directory(ref)
                    if self._aliases:
                        self._alias(prefix + name, self._real_entry_path(prefix, name))
                    if old is not None:
                        parents.clear()
                        parents[b""] = self._root
                continue
            if kind == _HARDLINK:
                path, link = prefix + name, index.links[row]
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
                self._drop(old, self._real_entry_path(prefix, name), layer, ref)
                if isinstance(old, Directory) or self._lookup.is_symlink(old) or kind == _SYMLINK:
                    parents.clear()
                    parents[b""] = self._root
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
            raise LimitError(f"paths of more than {most} bytes that symbolic links lead to", shown_path(path, SHOWN))

    def _target(self, link: bytes) -> int | None:
        """Returns the entry with the content that a hard link to this path shares; None if there is none (yet)."""
        target = self._lookup.resolve(link, False)[0]
        if target is None or isinstance(target, Directory):
            return None
        inode = self._inodes.get(target, target)
        return None if self._lookup.kind(inode) == _HARDLINK else inode

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
        self.broken += [(path, ref) for ref, path, _ in pending if self._lookup.resolve(path, False)[0] == ref]

    def _resolve_ready(self, pending: list[tuple[int, bytes, bytes]]) -> list[tuple[int, bytes, bytes]]:
        """Resolves the links whose target exists, and the links to those; returns the links that have no target yet."""
        waiting: dict[int, list[int]] = {}
        ready: list[int] = []
        for ref, path, link in pending:
            target = self._lookup.resolve(link, False)[0] if link != path else None
            if target is None or isinstance(target, Directory):
                continue
            inode = self._inodes.get(target, target)
            if self._lookup.kind(inode) == _HARDLINK:
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
        self._parents[b""] = self._root

    def _directory_hidden_in(self, path: bytes, listed: set[bytes]) -> tuple[Directory | None, bytes]:
        """Returns the lower directory that a whiteout or opaque marker applies to, and its real path; None if there is
        none.

        A symbolic link to a directory is followed, unless the layer itself lists a directory at that path: this
        directory replaces the link, and hides nothing of what the link led to. `listed`: directories that the layer
        lists.
        """
        stack = PathStack(self._root)
        names = path.split(b"/") if path else []
        for depth, name in enumerate(names, 1):
            child = stack.directory.children.get(name)
            if isinstance(child, Directory):
                stack.enter(child, name)
                continue
            link = child is not None and self._lookup.is_symlink(child)
            if (link or self._missing_base) and b"/".join(names[:depth]) not in listed:
                if self._missing_base:
                    self.needs_base = True  # only the base knows whether this is a directory or a link to one
                if link and (target := self._lookup.follow_link(stack, name, path)) is not None:
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

    def _real_entry_path(self, prefix: bytes, name: bytes) -> bytes:
        """Returns the real path of an entry whose parent may be reached through a link."""
        if self._aliases:
            parent = prefix[:-1]
            place = self._aliases.get(parent, parent)
            return place + b"/" + name if place else name
        return prefix + name

    def _drop(self, node: Node, path: bytes, layer: int, replaced: int | None) -> None:
        """Records that a node is removed; the caller takes it out of its directory."""
        if isinstance(node, Directory) or replaced is None:
            self.removed[path] = layer
        if self._hidden is None:
            return
        if not isinstance(node, Directory):
            self._hidden(HiddenFile(node, path, layer, replaced))
            return
        for below, child in walk(node, path):
            if not isinstance(child, Directory):
                self._hidden(HiddenFile(child, below, layer, None))

    def _directory(self, path: bytes, layer: int) -> tuple[Directory, bytes]:
        """Returns the directory that a path's entries go to, and its real path.

        Links to directories are followed, anything else on the path is replaced by a directory, and missing directories
        are made.
        """
        names = path.split(b"/")
        current = self._root
        for name in names:
            child = current.children.get(name)
            if not isinstance(child, Directory):
                break
            current = child
        else:
            return current, path
        stack = PathStack(self._root)
        for name in names:
            if name == b"..":
                raise UnsafeError(f"an entry leaves the root: {path[:200]!r}")
            child = stack.directory.children.get(name)
            if isinstance(child, Directory):
                stack.enter(child, name)
                continue
            if (
                child is not None
                and self._lookup.is_symlink(child)
                and (target := self._lookup.follow_link(stack, name, path)) is not None
            ):
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
                raise LimitError(f"more than {self._max_implied} directories that no layer lists", shown_path(path, SHOWN))
            if self._implied_size > limits.IMPLIED_PATHS:
                raise LimitError(f"directories that no layer lists with paths of more than {limits.IMPLIED_PATHS} bytes")
        return stack.directory, stack.path
