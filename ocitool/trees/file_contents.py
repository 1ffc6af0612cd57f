"""The contents of files of an image, by the rows of its layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ocitool.images.image import Layer
from ocitool.layers.entry import Entry
from ocitool.layers.scan import open_contents
from ocitool.task import Task
from ocitool.trees.tree import Tree


def contents(files: Sequence[tuple[Layer, Entry] | None], task: Task | None = None) -> Iterator[tuple[int, bytes]]:
    """Yields the whole contents of several regular files of layers, each with its position in `files`; nothing for None.

    Each layer is read once for all of its files, so they come in its order. Memory: one file."""
    by_layer: dict[int, tuple[Layer, list[int]]] = {}
    for position, file in enumerate(files):
        if file is not None:
            by_layer.setdefault(id(file[0]), (file[0], []))[1].append(position)
    for layer, positions in by_layer.values():
        if task is not None:
            task.check()
        entries = {position: file[1] for position in positions if (file := files[position]) is not None}
        positions.sort(key=lambda position: entries[position].offset)
        assert layer.blob is not None
        pieces = open_contents(layer.blob, [entries[position] for position in positions])
        yield from zip(positions, pieces, strict=True)


def content_hash(tree: Tree, ref: int) -> bytes | None:
    """Returns the SHA-256 of the content of a file of a merged tree; None if it was not hashed or is not a regular file."""
    return tree.indexes[Tree.layer(ref)].content(Tree.row(ref))
