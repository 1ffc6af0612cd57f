"""Stacked as the kernel stacks them, layers in overlay form are the merged tree, for any layers.

The model of overlayfs below is of what was tried on Linux 6.18; the conformance tests ask the kernel itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.images import layer_tar
from support.layers import scanned

from ocitool.digest import Digest
from ocitool.disk.overlay import WHITEOUT, OverlayDir, OverlayLayer, overlay_layers, self_contained, stack_names
from ocitool.layers.entry import Entry, Kind
from ocitool.layers.index import LayerIndex
from ocitool.trees.nodes import Directory
from ocitool.trees.tree import Tree

names = st.sampled_from([b"a", b"b", b"c"])
paths = st.lists(names, min_size=1, max_size=3).map(b"/".join)
targets = st.one_of(paths, st.sampled_from([b"..", b"/a", b"nowhere", b"a/../b"]))
kinds = st.sampled_from([Kind.FILE, Kind.DIRECTORY, Kind.DIRECTORY, Kind.SYMLINK, Kind.HARDLINK, Kind.WHITEOUT, Kind.OPAQUE])


@st.composite
def members(draw: st.DrawFn) -> Entry:
    kind = draw(kinds)
    link = draw(paths if kind == Kind.HARDLINK else targets) if kind in (Kind.SYMLINK, Kind.HARDLINK) else b""
    path = draw(st.one_of(paths, st.just(b""))) if kind == Kind.OPAQUE else draw(paths)
    return Entry(path, kind, 0o755, draw(st.integers(0, 3)), 0, 0, 0, link, 0, 0, None, None, None)


def made(path: bytes, kind: Kind) -> Entry:
    return Entry(path, kind, 0o755, 0, 0, 0, 0, b"", 0, 0, None, None, None)


def with_parents(entries: Sequence[Entry]) -> list[Entry]:
    """The layer as careful tools write it."""
    found: list[Entry] = []
    listed = {b""}
    for entry in entries:
        parts = entry.path.split(b"/")
        for depth in range(1, len(parts)):
            parent = b"/".join(parts[:depth])
            if parent not in listed:
                listed.add(parent)
                found.append(entry._replace(path=parent, kind=Kind.DIRECTORY, link=b""))
        if entry.kind == Kind.DIRECTORY and entry.path in listed:
            continue
        listed.add(entry.path)
        found.append(entry)
    return found


wild = st.lists(members(), max_size=7)
layers = st.one_of(wild, wild.map(with_parents))
stacks = st.lists(layers, min_size=1, max_size=4)


def indexed(layer: Sequence[Entry]) -> LayerIndex:
    return scanned(layer_tar(layer))


def merged(made: Sequence[OverlayLayer]) -> dict[bytes, object]:
    """What the kernel shows of the stack: path -> the ref of what is there."""
    roots = {form.name: form.root for form in made}
    found: dict[bytes, object] = {}
    todo = [(b"", [roots[name] for name in stack_names(made)])]
    while todo:
        path, parts = todo.pop()
        for name in {name for part in parts for name in part.children}:
            at = path + b"/" + name if path else name
            below: list[OverlayDir] = []
            for part in parts:
                child = part.children.get(name)
                if child is None:
                    continue
                if isinstance(child, OverlayDir):
                    below.append(child)
                    if not child.opaque:
                        continue
                elif child == WHITEOUT:
                    assert not path or len(parts) > 1, f"the kernel shows the whiteout {at!r}"
                elif not below:
                    found[at] = child
                break
            if below:
                found[at] = ("directory", below[0].ref)
                todo.append((at, below))
    return found


def shown(tree: Tree) -> dict[bytes, object]:
    return {path: ("directory", node.ref) if isinstance(node, Directory) else tree.inode(node) for path, node in tree.walk()}


def diff_ids(indexes: Sequence[LayerIndex]) -> list[Digest]:
    return [index.diff_id for index in indexes if index.diff_id is not None]


@settings(max_examples=300)
@given(stacks)
def test_the_stacked_layers_are_the_merged_tree(stacked: list[list[Entry]]) -> None:
    indexes = [indexed(layer) for layer in stacked]
    assert shown(Tree(indexes)) == merged(overlay_layers(indexes, diff_ids(indexes)))


@settings(max_examples=100)
@given(stacks)
def test_a_layer_twice_changes_nothing_about_it(stacked: list[list[Entry]]) -> None:
    indexes = [indexed(layer) for layer in [*stacked, *stacked]]
    made = overlay_layers(indexes, diff_ids(indexes))
    assert len(stack_names(made)) == len(set(stack_names(made)))
    assert shown(Tree(indexes)) == merged(made)


@settings(max_examples=60)
@given(stacks, stacks)
def test_forms_of_one_name_are_the_same_in_every_image(one: list[list[Entry]], other: list[list[Entry]]) -> None:
    def described(over: OverlayDir, index: LayerIndex) -> object:
        return index.entry(over.ref & 0xFFFFFFFF) if over.ref >= 0 else None, over.opaque, {
            name: described(child, index) if isinstance(child, OverlayDir)
            else None if child == WHITEOUT else index.entry(child & 0xFFFFFFFF)
            for name, child in over.children.items()
        }  # fmt: skip

    found: dict[str, object] = {}
    for layers_of_image in (one, [*other, *one], [*one, *other], [*one, *one]):
        indexes = [indexed(layer) for layer in layers_of_image]
        for form in overlay_layers(indexes, diff_ids(indexes)):
            if self_contained(indexes[form.number]):
                content = described(form.root, indexes[form.number])
                assert found.setdefault(form.name, content) == content


def test_the_model_notices_a_whiteout_that_the_kernel_shows() -> None:
    root, below = OverlayDir(-1), OverlayDir(0)
    root.children[b"d"] = below
    below.children[b"x"] = WHITEOUT
    with pytest.raises(AssertionError, match="shows"):
        merged([OverlayLayer(0, "sha256/1", root)])


def test_the_model_notices_a_mark_that_is_missing() -> None:
    lower, upper = (indexed([entry]) for entry in (made(b"a", Kind.FILE), made(b"a", Kind.WHITEOUT)))
    good = overlay_layers([lower, upper], diff_ids([lower, upper]))
    assert merged([good[0], OverlayLayer(1, "other", OverlayDir(-1))]) != shown(Tree([lower, upper])) == merged(good)
