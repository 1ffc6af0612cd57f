"""A changeset on its lower tree gives the upper one, for any two stacks of layers; and says no more than it must."""

from __future__ import annotations

from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.images import layer_tar
from support.layers import scanned
from support.merged import described, memory_image
from support.stacks import Stack, layers

from ocitool.errors import UnsafeError
from ocitool.images.image import Image
from ocitool.layers.entry import Kind
from ocitool.layers.index import LayerIndex
from ocitool.task import Task
from ocitool.trees import changeset_tar
from ocitool.trees.changeset import Changeset, changeset
from ocitool.trees.nodes import Directory
from ocitool.trees.tree import Tree, node_at


class Made:
    """Two stacks, the layer between them, and the trees of all."""

    def __init__(self, lower: list[bytes], upper: list[bytes]) -> None:
        self.image: Image = memory_image(upper)
        self.upper = Tree([scanned(tar) for tar in upper])
        self.lower = Tree([scanned(tar) for tar in lower])
        self.changes: Changeset = changeset(self.lower, self.upper)
        with Task() as task:
            self.tar = b"".join(map(bytes, changeset_tar.tar_chunks(self.changes, self.image, self.upper, task)))
        self.layer: LayerIndex = scanned(self.tar)
        self.stack = [*lower, self.tar]
        self.result = Tree([*self.lower.indexes, self.layer])

    def seen(self) -> tuple[dict[bytes, dict[str, Any]], dict[bytes, dict[str, Any]]]:
        return plain(self.image, self.upper), plain(memory_image(self.stack), self.result)


def plain(image: Image, tree: Tree) -> dict[bytes, dict[str, Any]]:
    found = described(image, tree)
    for fields in found.values():
        fields["xattrs"] = fields["xattrs"] or None
        if fields["kind"] == Kind.SYMLINK:
            fields["mode"] = 0  # no file system keeps it
    return found


def made(lower: Stack, upper: Stack) -> Made:
    try:
        return Made([layer_tar(layer) for layer in lower], [layer_tar(layer) for layer in upper])
    except UnsafeError:
        assume(False)
        raise


def between(stack: Stack, kept: int) -> Made:
    return made(stack[: kept % (len(stack) + 1)], stack)


numbers = st.integers(0, 3)


@settings(max_examples=250)
@given(layers, numbers)
def test_the_upper_layers_of_an_image_as_one_give_the_same_tree(stack: Stack, kept: int) -> None:
    before, after = between(stack, kept).seen()
    assert before == after


@settings(max_examples=250)
@given(layers, layers)
def test_a_changeset_turns_any_tree_into_any_other(lower: Stack, upper: Stack) -> None:
    before, after = made(lower, upper).seen()
    assert before == after


@given(layers, layers)
def test_nothing_is_said_where_nothing_differs(lower: Stack, upper: Stack) -> None:
    found = made(lower, upper)
    assert not changeset(found.result, found.upper)
    assert not changeset(found.upper, found.result)


@given(layers, layers)
def test_a_whiteout_hides_what_is_there_in_a_directory_that_stays(lower: Stack, upper: Stack) -> None:
    found = made(lower, upper)
    for entry in found.layer:
        if entry.kind not in (Kind.WHITEOUT, Kind.OPAQUE):
            continue
        directory = entry.path if entry.kind == Kind.OPAQUE else entry.path.rpartition(b"/")[0]
        below, above = node_at(found.lower, directory), node_at(found.upper, directory)
        assert isinstance(below, Directory)
        assert isinstance(above, Directory)
        if entry.kind == Kind.WHITEOUT:
            assert node_at(found.lower, entry.path) is not None
            assert node_at(found.upper, entry.path) is None
        else:
            assert len(below.children) > 1
            assert below.children.keys().isdisjoint(above.children)


@given(layers, layers)
def test_what_is_written_is_what_all_engines_agree_on(lower: Stack, upper: Stack) -> None:
    """Parents stand before what is in them, no name stands twice or beside its whiteout, links lead to earlier entries."""
    found = made(lower, upper)
    seen: dict[bytes, Kind] = {}
    hidden = {entry.path for entry in found.layer if entry.kind == Kind.WHITEOUT}
    for entry in found.layer:
        parent = entry.path if entry.kind == Kind.OPAQUE else entry.path.rpartition(b"/")[0]
        assert not parent or seen[parent] == Kind.DIRECTORY
        if entry.kind >= Kind.WHITEOUT:
            continue
        assert entry.path not in seen
        assert entry.path not in hidden
        if entry.kind == Kind.HARDLINK:
            assert seen[entry.link] not in (Kind.DIRECTORY, Kind.HARDLINK)
        seen[entry.path] = entry.kind


@given(layers, numbers)
def test_what_the_kept_layers_show_already_is_not_said_again(stack: Stack, kept: int) -> None:
    found = between(stack, kept)
    count = len(found.lower.indexes)
    for layer, names in enumerate(found.changes.files[:count]):
        for row, path in names.items():
            # Only a file whose names are others now, or one that stood elsewhere.
            inode = Tree.ref(layer, row)
            node = node_at(found.lower, path)
            before = sorted(p for p, n in found.lower.walk() if not isinstance(n, Directory) and found.lower.inode(n) == inode)
            after = sorted(p for p, n in found.upper.walk() if not isinstance(n, Directory) and found.upper.inode(n) == inode)
            assert node is None or before != after
