"""Verification of a plan: its merged tree is compared with the old tree and the changes.

Independent of how plans are made: it looks at the merged trees, and at the old row that each row of an edited layer
comes from.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ocitool.layers.entry import Entry, Kind
from ocitool.layers.index import LayerIndex
from ocitool.layers.rewrite import LayerEdit, apply_edit, kept_runs
from ocitool.trees.changes import Change
from ocitool.trees.nodes import Directory, Node, ref_of
from ocitool.trees.tree import Tree, node_at


class Plan(NamedTuple):
    """The edits of an image's layers.

    `edits`: the edit by layer number; layers without one keep their bytes. `added`: the entries of a new layer on top;
    None for none.
    """

    edits: Mapping[int, LayerEdit]
    added: tuple[Entry, ...] | None = None

    def applied(self, indexes: Sequence[LayerIndex]) -> list[LayerIndex]:
        """Returns the indexes of the layers that the plan gives; without offsets for layers that are written again."""
        found = [apply_edit(index, self.edits[layer]) if layer in self.edits else index for layer, index in enumerate(indexes)]
        return found if self.added is None else [*found, apply_edit(LayerIndex(), LayerEdit(add=self.added))]


def metadata(entry: Entry) -> tuple[object, ...]:
    """Returns what a file system shows of an entry, except its content and names."""
    return (
        entry.kind, entry.mode, entry.uid, entry.gid, entry.mtime, entry.size if entry.kind == Kind.FILE else 0,
        entry.link if entry.kind in (Kind.SYMLINK, Kind.HARDLINK) else b"", entry.device, entry.xattrs or None,
    )  # fmt: skip


def wrong_paths(tree: Tree, after: Mapping[bytes, Change], plan: Plan) -> list[bytes]:
    """Returns the paths, sorted, at which the plan's merged tree is not `tree` with the changes applied."""
    return _Verifier(tree, after, plan).wrong()


class _Verifier:
    def __init__(self, tree: Tree, after: Mapping[bytes, Change], plan: Plan) -> None:
        self.tree = tree
        self.after = after
        self.made = Tree(plan.applied(tree.indexes))
        self.origins = {layer: _origins(tree.indexes[layer], edit) for layer, edit in plan.edits.items()}
        self.groups = (
            tree.has_links
            or self.made.has_links
            or any(change.entry is not None and change.entry.kind == Kind.HARDLINK for change in after.values())
        )
        self.asked: dict[int, object] = {}  # inode of the made tree -> the file that its names shall be
        self.shown: dict[object, int] = {}  # the inverse of `asked`
        self.unchanged: dict[bytes, set[int]] = {}  # first name of a changed file -> the old files with its content
        for path, change in after.items():
            node = None if change.content or change.entry is None else node_at(tree, path)
            if change.entry is not None and node is not None and not isinstance(node, Directory):
                first = change.entry.link if change.entry.kind == Kind.HARDLINK else path
                self.unchanged.setdefault(first, set()).add(tree.inode(node))

    def wrong(self) -> list[bytes]:
        found: list[bytes] = []
        root = self.after.get(b"")
        if not self._same_directory(root.entry if root and root.entry else None, self.tree.root, self.made.root):
            found.append(b"")
        stack: list[tuple[bytes, Node | None, Node | None, bool]] = [(b"", self.tree.root, self.made.root, True)]
        while stack:
            prefix, old, new, alive = stack.pop()
            olds = old.children if isinstance(old, Directory) else {}
            news = new.children if isinstance(new, Directory) else {}
            for name in (*olds, *(name for name in news if name not in olds)):
                path = prefix + b"/" + name if prefix else name
                was, now = olds.get(name), news.get(name)
                change = self.after.get(path)
                if change is not None:
                    alive_below = change.entry is not None and change.entry.kind == Kind.DIRECTORY
                    right = self._as_changed(change, was, now)
                elif not alive or was is None:
                    alive_below = False
                    right = now is None
                else:
                    alive_below = isinstance(was, Directory)
                    right = self._as_before(path, was, now)
                if not right:
                    found.append(path)
                if isinstance(was, Directory) or isinstance(now, Directory):
                    stack.append((path, was, now, alive_below))
        found += [path for path, change in self.after.items() if change.entry is not None and node_at(self.made, path) is None]
        return sorted(set(found))

    def _as_before(self, path: bytes, was: Node, now: Node | None) -> bool:
        if isinstance(was, Directory):
            return isinstance(now, Directory) and self._same_directory(None, was, now)
        if now is None or isinstance(now, Directory):
            return False
        if not self._grouped(path, now):
            return False
        inode, asked = self.made.inode(now), self.tree.inode(was)
        origin = self._origin(inode)
        if origin == asked:
            return self._origin(now) == was or metadata(self.made.entry(now)) == metadata(self.tree.entry(was))
        entry, expected = self.made.entry(now), self.tree.entry(was)
        return metadata(entry) == metadata(expected) and (expected.kind != Kind.FILE or self._own_content(path, origin, entry))

    def _as_changed(self, change: Change, was: Node | None, now: Node | None) -> bool:
        entry = change.entry
        if entry is None:
            return now is None
        if entry.kind == Kind.DIRECTORY:
            return isinstance(now, Directory) and self._same_directory(entry, was, now)
        if now is None or isinstance(now, Directory):
            return False
        first = self.after[entry.link] if entry.kind == Kind.HARDLINK else change
        assert first.entry is not None
        found = self.made.entry(now)
        if metadata(first.entry) != metadata(found) or not self._grouped(change.path, now):
            return False
        origin = self._origin(self.made.inode(now))
        if found.kind != Kind.FILE or origin is None:
            return found.kind != Kind.FILE or self._own_content(change.path, origin, found)
        return origin in self.unchanged.get(first.path, ())

    def _same_directory(self, entry: Entry | None, was: Node | None, now: Directory) -> bool:
        if entry is None:
            assert isinstance(was, Directory)
            if self._origin(now.ref) == was.ref:
                return True
            entry = self.tree.entry(was.ref)
        return metadata(entry) == metadata(self.made.entry(now.ref))

    def _own_content(self, path: bytes, origin: int | None, entry: Entry) -> bool:
        """Returns whether a new entry is written with the right content: that of its own path must be that of the same file."""
        return origin is None and self._file(entry.path) == self._file(path)

    def _grouped(self, path: bytes, now: int) -> bool:
        """Returns whether a name shares its file with exactly the names that it shall share it with."""
        if not self.groups:
            return True
        inode, file = self.made.inode(now), self._file(path)
        return self.asked.setdefault(inode, file) == file and self.shown.setdefault(file, inode) == inode

    def _file(self, path: bytes) -> object:
        """Returns a key of the file that a path shall be: equal for names of one file."""
        change = self.after.get(path)
        if change is not None and change.entry is not None:
            return change.entry.link if change.entry.kind == Kind.HARDLINK else path
        node = node_at(self.tree, path)
        return None if node is None or change is not None else self.tree.inode(ref_of(node))

    def _origin(self, ref: int) -> int | None:
        """Returns the ref in the old layers that a ref of the made tree comes from; None for a new entry."""
        if ref < 0:
            return ref
        layer = self.made.layer(ref)
        if layer >= len(self.tree.indexes):
            return None
        origins = self.origins.get(layer)
        if origins is None:
            return ref
        row = self.made.row(ref)
        old = origins[row] if row < len(origins) else -1
        return ref - row + old if old >= 0 else None


def _origins(index: LayerIndex, edit: LayerEdit) -> array[int]:
    """Returns, for each row of the edited index that comes from the old one, its old row; -1 if it was replaced."""
    found = array("q")
    for start, stop in kept_runs(index, edit):
        found.extend(-1 if row in edit.replace else row for row in range(start, stop))
    return found
