"""The edits of an image's layers that change its merged tree as asked: pure functions from indexes and changes to a
`Plan`.

`rewrite` changes each path in the layer it is visible from, `append` puts all changes into one new layer, `removal`
takes paths out of every layer that has them. `rules` makes a plan with one draft for each layer (`layer_drafts`);
`verify` compares the merged tree that it gives with the old tree and the changes. If they differ, the plan is made
again with the wrong paths moved up, at last into a new layer: no plan is returned that was not verified.

The content of a new entry is the content of the file at its path, also if a plan has to copy a file that did not
change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ocitool.errors import FormatError, NotFoundError, UnsafeError, UnsupportedError
from ocitool.layers.entry import WHITEOUT_PREFIX, Kind, escapes
from ocitool.layers.index import LayerIndex
from ocitool.trees.changes import Change
from ocitool.trees.nodes import Directory, HiddenFile, ref_of
from ocitool.trees.plan.rules import Planner, without_storage
from ocitool.trees.plan.verify import Plan, wrong_paths
from ocitool.trees.tree import Tree, node_at

__all__ = ["NotCarriedError", "Plan", "append", "check", "removal", "rewrite"]


class NotCarriedError(NotFoundError):
    """No layer has these paths."""

    def __init__(self, paths: Iterable[bytes]) -> None:
        self.paths = frozenset(paths)
        super().__init__("no layer carries this path", min(self.paths).decode("utf-8", "replace"))


def rewrite(tree: Tree, changes: Sequence[Change], *, keep_base: int = 0) -> Plan:
    """Returns the plan that changes each path in its own layer.

    The first `keep_base` layers are not edited: what they hold is overridden or hidden in the lowest layer above them,
    or in a new one.
    """
    return _find_plan(tree, changes, keep_base, frozenset())


def append(tree: Tree, changes: Sequence[Change]) -> Plan:
    """Returns the plan that puts all changes into one new layer on top."""
    return _find_plan(tree, changes, len(tree.indexes), frozenset())


def removal(indexes: Sequence[LayerIndex], paths: Iterable[bytes], also: Iterable[tuple[int, int]] = ()) -> Plan:
    """Returns the plan that removes these paths, all below them, and all hard links to any of it, from every layer.

    `also`: files, by layer and row, that are removed too, with their hard links; other versions of such a file stay.
    Whiteouts of the paths may stay. Raises `NotCarriedError` for paths that no layer has.
    """
    hidden: list[HiddenFile] = []
    tree = Tree(indexes, hidden=hidden.append)
    wanted = frozenset(paths)
    gone = {path for path, _ in tree.walk() if _within(path, wanted) is not None}
    real = {one.ref: one.path for one in hidden}  # where an entry stands, which a layer may spell through a link
    real |= {ref_of(node): path for path, node in tree.walk()}
    removed_rows: set[int] = set()
    found: set[bytes | None] = {_within(path, wanted) for path in gone}
    for layer, index in enumerate(tree.indexes):
        for row, spelt in enumerate(index.paths):
            ref = tree.ref(layer, row)
            path = real.get(ref, spelt)
            root = _within(path, wanted)
            if root is None and spelt != path and index.kinds[row] not in (Kind.DIRECTORY, Kind.WHITEOUT, Kind.OPAQUE):
                spelt_root = _within(spelt, wanted)
                if spelt_root is not None and tree.real_path(spelt) != path:  # through a link that is gone since
                    root = spelt_root
            if root is not None and not (index.kinds[row] == Kind.WHITEOUT and path == root):
                removed_rows.add(ref)
                found.add(root)
    if wanted - found:
        raise NotCarriedError(wanted - found)
    removed_rows |= {tree.ref(layer, row) for layer, row in also}
    inodes = {tree.inode(ref) for ref in removed_rows if tree.indexes[tree.layer(ref)].kinds[tree.row(ref)] != Kind.DIRECTORY}
    removed_rows |= inodes
    for layer, index in enumerate(tree.indexes):
        for row, kind in enumerate(index.kinds):
            if kind == Kind.HARDLINK and tree.inode(tree.ref(layer, row)) in inodes:
                removed_rows.add(tree.ref(layer, row))
    for path, node in tree.walk():
        if not isinstance(node, Directory) and tree.inode(node) in inodes:
            gone.add(path)
    return _find_plan(tree, [Change(path, None) for path in sorted(gone)], 0, frozenset(removed_rows))


def check(plan: Plan, tree: Tree, changes: Sequence[Change]) -> None:
    """Raises `RuntimeError`, which means a bug, if the plan's merged tree is not the tree with the changes applied."""
    wrong = wrong_paths(tree, _with_all_names(tree, changes), plan)
    if wrong:
        raise RuntimeError(f"the planned layers differ from what was asked at {len(wrong)} paths, first {wrong[0]!r}")


def _find_plan(tree: Tree, changes: Sequence[Change], keep: int, removed_rows: frozenset[int]) -> Plan:
    """Returns the first plan that is verified, of several attempts.

    Paths that an attempt gets wrong are pinned to the top-most layer for the next, then all changes, at last in a new
    layer. `removed_rows`: refs that are removed in any case.
    """
    after = _with_all_names(tree, changes)
    if not after and not removed_rows:
        return Plan({})
    count = len(tree.indexes)
    top = max(count - 1, keep)
    asked = dict(after)
    pinned: set[bytes] = set()
    wrong: list[bytes] = []
    for layer in (top, top, top, count, count):
        planner = Planner(tree, after, keep=keep, top=layer, pinned=pinned, removed_rows=removed_rows)
        if planner.left_with_whiteouts:
            planner.hide(planner.left_with_whiteouts)
        plan = planner.plan()
        wrong = wrong_paths(tree, asked, plan)
        if wrong and planner.hide(wrong):
            plan = planner.plan()
            wrong = wrong_paths(tree, asked, plan)
        if not wrong:
            return plan
        after = _with_present(tree, after, wrong)
        pinned = (pinned | set(wrong)) if not pinned else set(after)
    stray = sorted({path for path, _ in tree.broken}.intersection(wrong))
    if stray:
        raise FormatError("a hard link without a target, which would get one", stray[0].decode("utf-8", "replace"))
    raise RuntimeError(f"no plan for the changes: {len(wrong)} paths come out wrong, first {wrong[0]!r}")


def _with_all_names(tree: Tree, changes: Iterable[Change]) -> dict[bytes, Change]:
    """Returns the changes by path, with a change for every name of a file of which one name changes."""
    after = {change.path: change for change in changes}
    for path, change in after.items():
        if change.entry is not None:
            _refuse_name(path)
            after[path] = change._replace(entry=without_storage(change.entry))
    if tree.has_links:
        done: set[int] = set()
        for path in list(after):
            node = node_at(tree, path)
            if node is not None and not isinstance(node, Directory) and (inode := tree.inode(node)) not in done:
                done.add(inode)
                _add_names(tree, after, node, [name for name in tree.links(node) if name not in after])
    return after


def _with_present(tree: Tree, after: Mapping[bytes, Change], paths: Iterable[bytes]) -> dict[bytes, Change]:
    """Returns the changes, and the present state of `paths` as changes too, for plans that have to write it again."""
    found = dict(after)
    for path in paths:
        node = node_at(tree, path)
        if path in found:
            continue
        if node is None:
            found[path] = Change(path, None)
        elif isinstance(node, Directory):
            found[path] = Change(path, without_storage(tree.entry(node.ref)._replace(path=path)), content=False)
        else:
            _add_names(tree, found, node, [name for name in tree.links(node) or [path] if name not in found])
    return found


def _add_names(tree: Tree, after: dict[bytes, Change], node: int, names: Sequence[bytes]) -> None:
    """Adds changes which state that `names` are the names of one unchanged file."""
    for name in names:
        entry = without_storage(tree.entry(node)._replace(path=name))
        if name != names[0]:
            entry = without_storage(entry._replace(kind=Kind.HARDLINK, link=names[0]))
        after[name] = Change(name, entry, content=False)


def _refuse_name(path: bytes) -> None:
    """Raises for a path that no layer can hold."""
    shown = path.decode("utf-8", "replace")
    if escapes(path) or path.startswith(b"/"):
        raise UnsafeError("a path leaves the root", shown)
    if any(name.startswith(WHITEOUT_PREFIX) for name in path.split(b"/")):
        raise UnsupportedError(
            "a name that begins with .wh. means a deleted file in a layer", shown, hint="rename or remove the file"
        )


def _within(path: bytes, roots: frozenset[bytes]) -> bytes | None:
    """Returns the one of `roots` that a path is, or that it is below; None if there is none."""
    while path not in roots:
        if not path:
            return None
        path = path.rpartition(b"/")[0]
    return path
