"""Any images, any edits: the planned layers show exactly what the edited file system holds, and are well written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.edits import Disk, applied, breaches, changes, content

from ocitool.errors import NotFoundError
from ocitool.layers.entry import Entry, Kind
from ocitool.layers.index import LayerIndex
from ocitool.trees import plan
from ocitool.trees.nodes import Directory, HiddenFile
from ocitool.trees.tree import Tree

Edit = Callable[[Disk], None]


def made(path: str, kind: Kind, link: str = "", uid: int = 0) -> Entry:
    return Entry(path.encode(), kind, 0o644, uid, 0, 0, 0, link.encode(), 0, 0, None, None, None)


def index_of(entries: Sequence[Entry]) -> LayerIndex:
    """Every file with a content of its own."""
    index = LayerIndex()
    for entry in entries:
        size = content() if entry.kind == Kind.FILE else 0
        index.add(entry._replace(size=size, stored=size))
    return index


# Layers and edits of few names, so that they meet.

names = st.sampled_from(["a", "b", "c"])
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
spots = paths.map(str.encode)
owners = st.integers(0, 2)
targets = st.one_of(paths, st.sampled_from(["..", "../a", "/a", "/b/c", ".", "nowhere", "a/../b"]))
layer = st.lists(
    st.one_of(
        st.builds(lambda p, u: made(p, Kind.DIRECTORY, uid=u), paths, owners),
        st.builds(lambda p, u: made(p, Kind.FILE, uid=u), paths, owners),
        st.builds(lambda p, t, u: made(p, Kind.SYMLINK, t, u), paths, targets, owners),
        st.builds(lambda p, t: made(p, Kind.HARDLINK, t), paths, paths),
        st.builds(made, paths, st.sampled_from([Kind.WHITEOUT, Kind.OPAQUE])),
    ),
    max_size=7,
).map(index_of)
stacks = st.lists(layer, max_size=4)


def _edit(method: Callable[..., None], *arguments: Any) -> Edit:
    return lambda disk: method(disk, *arguments)


edits = st.one_of(
    st.builds(_edit, st.just(Disk.delete), spots),
    st.builds(_edit, st.just(Disk.make), spots, st.sampled_from([Kind.FILE, Kind.DIRECTORY, Kind.FIFO])),
    st.builds(_edit, st.just(Disk.make), spots, st.just(Kind.SYMLINK), targets.map(str.encode)),
    st.builds(_edit, st.just(Disk.modify), spots),
    st.builds(_edit, st.just(Disk.chmod), st.one_of(spots, st.just(b"")), st.integers(0, 3)),
    st.builds(_edit, st.just(Disk.link), spots, spots),
    st.builds(_edit, st.just(Disk.copy_file), spots, spots),
    st.builds(_edit, st.just(Disk.rename), spots, spots),
)
scripts = st.lists(edits, max_size=6)
few = st.sampled_from([b"a", b"b", b"c"])
linking = st.one_of(
    st.builds(_edit, st.just(Disk.link), few, few),
    st.builds(_edit, st.just(Disk.delete), few),
    st.builds(_edit, st.just(Disk.modify), few),
    st.builds(_edit, st.just(Disk.make), few, st.just(Kind.FILE)),
    st.builds(_edit, st.just(Disk.copy_file), few, few),
)

LINKED = (_edit(Disk.make, b"a", Kind.FILE), _edit(Disk.link, b"a", b"b"), _edit(Disk.link, b"b", b"c"))


def edited(tree: Tree, script: Sequence[Edit]) -> tuple[Disk, Disk]:
    before = Disk.of(tree)
    after = before.copy()
    for edit in script:
        edit(after)
    return before, after


@settings(max_examples=600)
@given(stacks, scripts, st.integers(0, 4))
def test_planned_layers_show_the_edited_file_system(layers: list[LayerIndex], script: list[Edit], base: int) -> None:
    tree = Tree(layers)
    assume(not tree.broken)
    before, after = edited(tree, script)
    asked = changes(before, after)
    keep = min(base, len(layers))
    for found in (plan.rewrite(tree, asked), plan.append(tree, asked), plan.rewrite(tree, asked, keep_base=keep)):
        assert after.state() == applied(found.applied(layers))


@settings(max_examples=200)
@given(stacks, scripts, st.integers(0, 4))
def test_layers_of_the_base_are_never_made_again(layers: list[LayerIndex], script: list[Edit], base: int) -> None:
    tree = Tree(layers)
    assume(not tree.broken)
    keep = min(base, len(layers))
    found = plan.rewrite(tree, changes(*edited(tree, script)), keep_base=keep)
    assert [] == [number for number in found.edits if number < keep]


@st.composite
def portable(
    draw: st.DrawFn, edits: st.SearchStrategy[Edit] = edits, first: tuple[tuple[Edit, ...], ...] = ()
) -> list[LayerIndex]:
    """Layers as careful tools write them: each holds what a script changed, and keeps the rules of writing."""
    layers: list[LayerIndex] = []
    for script in (*first, *draw(st.lists(st.lists(edits, min_size=1, max_size=6), max_size=3))):
        tree = Tree(layers)
        layers = plan.append(tree, changes(*edited(tree, script))).applied(layers)
    return layers


@settings(max_examples=400)
@given(portable(), scripts, st.integers(0, 4))
def test_layers_are_written_so_that_all_engines_agree(layers: list[LayerIndex], script: list[Edit], base: int) -> None:
    tree = Tree(layers)
    asked = changes(*edited(tree, script))
    keep = min(base, len(layers))
    for found in (plan.rewrite(tree, asked), plan.append(tree, asked), plan.rewrite(tree, asked, keep_base=keep)):
        assert [] == [breach for index in found.applied(layers) for breach in breaches(index)]


@settings(max_examples=300)
@given(portable(linking, first=(LINKED,)), st.lists(linking, max_size=4))
def test_hard_links_stand_behind_their_targets_in_every_layer(layers: list[LayerIndex], script: list[Edit]) -> None:
    tree = Tree(layers)
    before, after = edited(tree, script)
    found = plan.rewrite(tree, changes(before, after)).applied(layers)
    assert ([], after.state()) == ([breach for index in found for breach in breaches(index)], applied(found))


@settings(max_examples=300)
@given(portable(), scripts)
def test_portable_images_need_no_new_layer(layers: list[LayerIndex], script: list[Edit]) -> None:
    assume(layers)
    tree = Tree(layers)
    assert plan.rewrite(tree, changes(*edited(tree, script))).added is None


@settings(max_examples=300)
@given(stacks, spots)
def test_what_is_removed_is_in_no_layer_and_nothing_else_changes(layers: list[LayerIndex], path: bytes) -> None:
    hidden: list[HiddenFile] = []
    tree = Tree(layers, hidden=hidden.append)
    assume(not tree.broken)
    disk = Disk.of(tree)
    old = {tree.inode(one.ref) for one in hidden if _is_within(one.path, path)}
    linked = [p for p, node in tree.walk() if not isinstance(node, Directory) and tree.inode(node) in old]
    gone = [disk.nodes[p] for p in disk.nodes if _is_within(p, path) or p in linked]
    for other in [p for p, one in disk.nodes.items() if any(one is inode for inode in gone)]:
        del disk.nodes[other]
    try:
        found = plan.removal(layers, [path])
    except NotFoundError:
        assert not gone
        return
    left = found.applied(layers)
    assert disk.state() == applied(left)
    assert set() == {inode.entry.size for inode in gone if inode.entry.size} & {e.size for index in left for e in index}
    if all(entry.kind != Kind.SYMLINK for index in layers for entry in index):
        assert [] == [e for index in left for e in index if e.kind < Kind.WHITEOUT and _is_within(e.path, path)]


def _is_within(path: bytes, root: bytes) -> bool:
    return path == root or path.startswith(root + b"/")
