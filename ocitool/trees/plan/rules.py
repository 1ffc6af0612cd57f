"""The rules by which a plan assigns each change to a layer and edits that layer.

A changed path is changed in the layer it is visible from; a deleted path leaves that layer; a new one goes to the
top-most layer that lists its directory, but never below a layer that mentions it or a directory above it (the root's
own entry, which hides nothing, does not count). Unusual images can break these rules: the caller verifies the plan, and
then has the wrong paths `pinned` to the top-most layer.

The edited layers keep what all engines agree on: parents are listed, with their merged attributes; no name occurs
twice, nor with its whiteout; a hard link comes after its target, in one layer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from ocitool.layers.entry import Entry, Kind
from ocitool.layers.index import LayerIndex
from ocitool.trees.changes import Change
from ocitool.trees.nodes import IMPLIED, Directory, Node, ref_of
from ocitool.trees.plan.layer_drafts import LayerDraft, ancestors, draft_layers
from ocitool.trees.plan.verify import Plan, metadata
from ocitool.trees.tree import Tree, node_at

_WHITEOUT = int(Kind.WHITEOUT)


class Planner:
    """Makes one plan.

    `after`: the changes by path, with all names of each file. `keep`: layers below this number are not edited. `top`:
    the layer for `pinned` paths; the number of layers means a new one. `removed_rows`: refs that are removed in any
    case.
    """

    def __init__(
        self, tree: Tree, after: Mapping[bytes, Change], *, keep: int, top: int, pinned: Collection[bytes] = (),
        removed_rows: Iterable[int] = (),
    ) -> None:  # fmt: skip
        self.tree = tree
        self.after = after
        self.keep = keep
        self.top = top
        self.pinned = pinned
        self.before: dict[bytes, Node | None] = {path: node_at(tree, path) for path in after}
        directories = {path for path in after if self._is_directory(path) and isinstance(self.before[path], Directory)}
        subtrees = frozenset(after.keys() - directories)
        self.drafts = [*draft_layers(tree.indexes, after, subtrees), LayerDraft(LayerIndex())]
        for ref in removed_rows:
            self.drafts[tree.layer(ref)].drop.add(tree.row(ref))
        self.left_with_whiteouts: list[bytes] = []
        """Removed directories below which a layer still has whiteouts: some engines would make the directory for them."""
        self._remove()
        for path in sorted(after):
            change = after[path]
            if change.entry is not None and change.entry.kind == Kind.DIRECTORY:
                self._directory(path, change.entry)
        for names in self._groups():
            self._file(names)

    def plan(self) -> Plan:
        """Returns the plan of all edits made so far."""
        self._drop_hidden_links()
        for draft in self.drafts:
            self._list_parents(draft)
        *drafts, new = self.drafts
        edits = {layer: edit for layer, draft in enumerate(drafts) if (edit := draft.edit()) is not None}
        added = new.edit()
        return Plan(edits, None if added is None else added.add)

    def hide(self, paths: Iterable[bytes]) -> bool:
        """Adds whiteouts for removed paths that must not reappear, each in the top-most layer that has it or anything
        below it.

        Returns whether any was added.
        """
        hidden: set[bytes] = set()
        for path in sorted(paths):
            change = self.after.get(path)
            if change is None or change.entry is not None or any(above in hidden for above in ancestors(path)):
                continue
            hidden.add(path)
            layer = self.top if path in self.pinned else self._writable(self._top_carrier(path))
            draft = self.drafts[layer]
            draft.drop_subtree(path)
            if not self._is_directory(path.rpartition(b"/")[0]):
                continue  # its parent becomes a file, which hides what was below
            draft.add[path, False] = Entry(path, Kind.WHITEOUT, 0o600, 0, 0, 0, 0)
        return bool(hidden)

    # Removing

    def _drop_hidden_links(self) -> None:
        """Drops hard links to a removed or changed file if an upper layer hides the link: engines would link it to a
        missing file, or give the new file its old attributes."""
        tree = self.tree
        gone = {
            tree.ref(layer, row)
            for layer, draft in enumerate(self.drafts)
            for row in (*draft.drop, *draft.replace)
            if draft.index.kinds[row] not in (Kind.DIRECTORY, Kind.HARDLINK)
        }
        for layer, draft in enumerate(self.drafts[self.keep :], self.keep):
            index = draft.index
            lost = {index.paths[row] for row in (*draft.drop, *draft.replace)}
            while True:
                hidden = [
                    row
                    for row in index.rows_of(Kind.HARDLINK)
                    if row not in draft.drop
                    and row not in draft.replace
                    and (index.links[row] in lost or tree.inode(tree.ref(layer, row)) in gone)
                    and node_at(tree, index.paths[row]) != tree.ref(layer, row)
                ]
                draft.drop_rows(hidden)
                lost = {index.paths[row] for row in hidden}
                if not hidden:
                    break

    def _remove(self) -> None:
        covered: set[bytes] = set()
        for path in sorted(path for path, change in self.after.items() if change.entry is None):
            parent = path.rpartition(b"/")[0]
            above = self.after.get(parent)
            if parent in covered or (above and above.entry and above.entry.kind != Kind.DIRECTORY):
                covered.add(path)  # a file replaces its directory, and hides all that was in it
                continue
            node = self.before[path]
            if node is None:
                continue
            layer = self._visible_layer(node)
            if layer >= self.keep and path not in self.pinned:
                draft = self.drafts[layer]
                draft.drop_rows(draft.entries(path))
                draft.drop.add(self.tree.row(ref_of(node)))
                draft.drop_rows(draft.opaque_markers(path))
                for implied in ancestors(path):
                    directory = node_at(self.tree, implied)
                    if isinstance(directory, Directory) and directory.ref == IMPLIED and self._is_directory(implied):
                        self._put(layer, implied, self._merged(implied))
            if isinstance(node, Directory) and self._is_directory(parent):
                self.left_with_whiteouts.append(path)
        self.left_with_whiteouts = [
            path for path in self.left_with_whiteouts if any(self._has_whiteouts_below(draft, path) for draft in self.drafts)
        ]

    def _has_whiteouts_below(self, draft: LayerDraft, path: bytes) -> bool:
        kinds, paths = draft.index.kinds, draft.index.paths
        return any(
            row not in draft.drop and kinds[row] >= _WHITEOUT and not (kinds[row] == _WHITEOUT and paths[row] == path)
            for row in draft.under.get(path, ())
        )

    # Adding and changing

    def _directory(self, path: bytes, entry: Entry) -> None:
        node = self.before[path]
        if isinstance(node, Directory) and path not in self.pinned and metadata(self.tree.entry(node.ref)) == metadata(entry):
            return
        layer = self._layer_for(path)
        draft = self.drafts[layer]
        fresh = bool(draft.whiteouts(path)) or (not isinstance(node, Directory) and (node is not None or path in self.pinned))
        self._put(layer, path, entry)
        if fresh and any(below.has_directory(path) for below in self.drafts[:layer]):
            self._opaque(draft, path)

    def _groups(self) -> list[list[Change]]:
        """Returns the changes that add or change a file of any kind, grouped by file, the first name of each file
        first."""
        groups: dict[bytes, list[Change]] = {}
        for path in sorted(self.after):
            entry = self.after[path].entry
            if entry is not None and entry.kind != Kind.DIRECTORY:
                groups.setdefault(entry.link if entry.kind == Kind.HARDLINK else path, []).append(self.after[path])
        return list(groups.values())

    def _file(self, names: list[Change]) -> None:
        """Puts one file with all its names into one layer."""
        if self._is_untouched(names):
            return
        layer = max(self._layer_for(change.path) for change in names)
        draft = self.drafts[layer]
        for change in names:
            if isinstance(self.before[change.path], Directory):
                draft.drop_subtree(change.path)
        first = names[0].entry
        assert first is not None
        if len(names) == 1:
            self._put(layer, first.path, first, new_content=names[0].content and first.kind == Kind.FILE)
            return
        kept = self._kept_inode(layer, names)
        for change in names:
            entry = change.entry
            assert entry is not None
            row = self._visible_row(layer, change.path)
            if kept is not None and row is not None and (row == kept or self._links_to(draft, row, kept)):
                draft.drop_rows(other for other in draft.entries(change.path) if other != row)
                draft.drop_rows(draft.whiteouts(change.path))
                continue
            self._drop_old(change.path)
            draft.drop_rows((*draft.entries(change.path), *draft.whiteouts(change.path), *draft.opaque_markers(change.path)))
            if kept is not None:
                target = draft.index.paths[kept]
                entry = without_storage(entry._replace(kind=Kind.HARDLINK, link=target))
            draft.add[change.path, False] = entry

    def _is_untouched(self, names: list[Change]) -> bool:
        """Returns whether these names belong to one unchanged file of layers that stay, which lost only other names: nothing
        must be written."""
        inodes = set()
        first = names[0].entry
        assert first is not None
        for change in names:
            node = self.before[change.path]
            if change.content or change.path in self.pinned or node is None or isinstance(node, Directory):
                return False
            if self._visible_layer(node) >= self.keep or metadata(self.tree.entry(node)) != metadata(first):
                return False
            inodes.add(self.tree.inode(node))
        return len(inodes) == 1

    def _kept_inode(self, layer: int, names: list[Change]) -> int | None:
        """Returns the layer's row that already holds this file under one of its names, with the same attributes; None
        if there is none."""
        first = names[0].entry
        assert first is not None
        for change in names:
            node = self.before[change.path]
            if change.content or node is None or isinstance(node, Directory):
                continue
            inode = self.tree.inode(node)
            row = self.tree.row(inode)
            if self.tree.layer(inode) != layer or metadata(self.tree.entry(inode)) != metadata(first):
                continue
            path = self.drafts[layer].index.paths[row]
            if row not in self.drafts[layer].drop and self._visible_row(layer, path) == row:
                return row if any(one.path == path for one in names) else None
        return None

    def _visible_row(self, layer: int, path: bytes) -> int | None:
        node = self.before.get(path)
        if node is None or isinstance(node, Directory) or self._visible_layer(node) != layer:
            return None
        row = self.tree.row(node)
        return row if self.drafts[layer].index.paths[row] == path else None

    def _links_to(self, draft: LayerDraft, row: int, target: int) -> bool:
        index = draft.index
        return index.kinds[row] == Kind.HARDLINK and index.links[row] == index.paths[target] and target < row

    def _drop_old(self, path: bytes) -> None:
        """Drops the old entry of a path from its layer, unless the layer stays or the path is pinned."""
        node = self.before[path]
        if node is None or isinstance(node, Directory) or path in self.pinned:
            return
        layer = self._visible_layer(node)
        if layer >= self.keep:
            self.drafts[layer].drop_rows([self.tree.row(node)])

    # The layer of a path

    def _layer_for(self, path: bytes) -> int:
        """Returns the layer that a changed path goes to."""
        if path in self.pinned:
            return self.top
        node = self.before[path]
        entry = self.after[path].entry
        if node is None or ref_of(node) == IMPLIED:
            return self._layer_for_new(path)
        if isinstance(node, Directory) and entry is not None and entry.kind != Kind.DIRECTORY:
            return self._writable(self._top_carrier(path))
        return self._writable(self._visible_layer(node))

    def _layer_for_new(self, path: bytes) -> int:
        """Returns the layer that a new path goes to."""
        parent = path.rpartition(b"/")[0]
        layers = range(len(self.tree.indexes) - 1, -1, -1)
        listing = next((layer for layer in layers if self.drafts[layer].lists_directory(parent)), None)
        if self.drafts[-1].lists_directory(parent) or listing is None:
            return self._writable(max(self.top, self.keep))
        names = (path, *ancestors(path))
        floor = next(
            (
                layer
                for layer in layers
                if self.drafts[layer].opaque_markers(b"") or any(self.drafts[layer].mentions(name) for name in names)
            ),
            0,
        )
        return self._writable(max(listing, floor))

    def _visible_layer(self, node: Node) -> int:
        """Returns the layer that a node is visible from; -1 if no layer lists it."""
        ref = ref_of(node)
        return -1 if ref == IMPLIED else self.tree.layer(ref)

    def _top_carrier(self, path: bytes) -> int:
        """Returns the top-most layer that has a path or anything below it."""
        found = [layer for layer, draft in enumerate(self.drafts) if draft.carries(path)]
        return found[-1] if found else self.top

    def _writable(self, layer: int) -> int:
        return max(layer, self.keep)

    # Editing the drafts

    def _put(self, layer: int, path: bytes, entry: Entry, *, new_content: bool = False) -> None:
        """Gives the layer this entry at the path: in the row of the old entry if that keeps the order, else at the end."""
        draft = self.drafts[layer]
        draft.drop_rows(draft.whiteouts(path))
        if entry.kind != Kind.DIRECTORY:
            draft.drop_rows(draft.opaque_markers(path))
        own = draft.entries(path)
        if own:
            last = own[-1]
            draft.drop_rows(own[:-1])
            if not new_content and metadata(draft.index.entry(last)) == metadata(entry):
                return
            if all(draft.lists_directory(above, last) for above in ancestors(path)):
                draft.replace[last] = entry
                return
            if entry.kind == Kind.DIRECTORY and draft.kind(last) == Kind.DIRECTORY:
                draft.replace[last] = entry  # its children come after it
                return
            draft.drop_rows([last])
        else:
            node = self.before.get(path)
            if node is not None and self._visible_layer(node) == layer and not isinstance(node, Directory):
                draft.drop_rows([self.tree.row(ref_of(node))])  # listed under a path that leads through a link
        draft.add[path, False] = entry

    def _opaque(self, draft: LayerDraft, path: bytes) -> None:
        if not draft.opaque_markers(path):
            draft.add[path, True] = Entry(path, Kind.OPAQUE, 0o600, 0, 0, 0, 0)

    def _list_parents(self, draft: LayerDraft) -> None:
        for path in {*(path for path, _ in draft.add), *(entry.path for entry in draft.replace.values())}:
            for above in ancestors(path):
                if draft.lists_directory(above):
                    continue
                hidden = draft.whiteouts(above)
                draft.drop_rows(hidden)
                draft.drop_rows(draft.entries(above))
                draft.add[above, False] = self._merged(above)
                if hidden:
                    self._opaque(draft, above)

    def _is_directory(self, path: bytes) -> bool:
        """Returns whether a path shall be a directory."""
        change = self.after.get(path)
        if change is not None:
            return change.entry is not None and change.entry.kind == Kind.DIRECTORY
        return isinstance(node_at(self.tree, path), Directory)

    def _merged(self, path: bytes) -> Entry:
        """Returns a directory's entry with the attributes that it shall have."""
        change = self.after.get(path)
        if change is not None and change.entry is not None and change.entry.kind == Kind.DIRECTORY:
            return change.entry
        node = node_at(self.tree, path)
        if change is not None or not isinstance(node, Directory):
            raise RuntimeError(f"a change is below {path!r}, which is not a directory")
        return without_storage(self.tree.entry(node.ref)._replace(path=path))


def without_storage(entry: Entry) -> Entry:
    """Returns an entry without what depends on how its old layer stores it (offset, segments), as a tar written here is
    indexed."""
    size = entry.size if entry.kind == Kind.FILE else 0
    return entry._replace(
        size=size, stored=size, offset=0, segments=None, xattrs=tuple(sorted(entry.xattrs)) if entry.xattrs else None,
        link=entry.link if entry.kind in (Kind.SYMLINK, Kind.HARDLINK) else b"",
        device=entry.device if entry.kind in (Kind.CHAR, Kind.BLOCK) else None,
    )  # fmt: skip
