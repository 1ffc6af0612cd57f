"""`--as tar` against the merged tree it is made of, for any layers."""

from __future__ import annotations

from typing import Any

from hypothesis import assume, given, settings
from support.images import layer_tar
from support.merged import described, memory_image, tree_of
from support.stacks import layers

from ocitool.layers.entry import Entry
from ocitool.task import Task
from ocitool.trees import changeset_tar
from ocitool.trees.changeset import changeset
from ocitool.trees.nodes import IMPLIED


def merged(tars: list[bytes]) -> tuple[dict[bytes, dict[str, Any]], bytes] | None:
    """The tree of these layers and their flat tar; None where a link leads to nothing."""
    with Task() as task:
        image = memory_image(tars)
        tree = tree_of(image, task)
        if any(tree.find(path) == ref for path, ref in tree.broken):
            return None
        found = described(image, tree)
        if tree.root.ref == IMPLIED:
            del found[b""]
        return found, b"".join(map(bytes, changeset_tar.tar_chunks(changeset(None, tree), image, tree, task)))


@settings(max_examples=150)
@given(layers)
def test_the_flat_tar_is_the_merged_tree(stack: list[list[tuple[Entry, bytes]]]) -> None:
    made = merged([layer_tar(layer) for layer in stack])
    assume(made is not None)
    assert made is not None
    again = merged([made[1]])
    assert again is not None
    assert made[0] == again[0]


@settings(max_examples=50)
@given(layers)
def test_the_flat_tar_of_a_flat_tar_lists_the_same_paths_once(stack: list[list[tuple[Entry, bytes]]]) -> None:
    made = merged([layer_tar(layer) for layer in stack])
    assume(made is not None)
    assert made is not None
    with Task() as task:
        listed = [entry.path for entry in tree_of(memory_image([made[1]]), task).indexes[0]]
    assert sorted(made[0]) == sorted(listed)
