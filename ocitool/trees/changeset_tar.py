"""The tar of a changeset: contents are copied from the layers that hold them.

Each layer is read once, in order, and each wanted file is written while it is read: nothing is buffered. Directories
come first, then files by layer and offset, then entries without content, then hard links, so that no entry comes before
one it needs. A sparse file stays sparse. The bytes depend on the trees alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ocitool.errors import OcitoolError
from ocitool.images.image import Image, Layer
from ocitool.layers.entry import Entry
from ocitool.layers.index import LayerIndex
from ocitool.layers.tarwriter import END, header
from ocitool.task import Task
from ocitool.trees.changeset import Changeset
from ocitool.trees.file_hashes import verified_content
from ocitool.trees.tree import Tree

_BLOCK = 512
_STEP = 1 << 18
_LARGE = 1 << 15


def tar_chunks(
    changes: Changeset, image: Image, tree: Tree, task: Task, *, lowest: int = 0, unhashed: bool = True
) -> Iterator[bytes | memoryview]:
    """Yields the tar in chunks, each valid until the next is asked for.

    `tree` is the upper tree of the changeset, merged from all layers of `image`. The layers from number `lowest` on are
    read to their end and verified even if nothing is taken from them; lower ones only, with `unhashed`, if their index
    comes from bytes that were not hashed yet. Raises `IntegrityError`, at the latest when the iterator ends: until then no
    chunk may be trusted.
    """
    return _joined(_members(changes, image, tree, task, lowest, unhashed))


def _members(
    changes: Changeset, image: Image, tree: Tree, task: Task, lowest: int, unhashed: bool
) -> Iterator[bytes | memoryview]:
    for entry in changes.head:
        yield _header(entry)
    read: set[tuple[object, ...]] = set()
    for layer, index, names in zip(image.layers, tree.indexes, changes.files, strict=True):
        key = (layer.digest or (layer.blob.identity if layer.blob else None) or layer.number, layer.diff_id)
        owed = layer.number >= lowest or (unhashed and index.diff_id is None)
        if names or (owed and key not in read):
            yield from _files(image, layer, index, names, task)
            read.add(key)
    for entry in changes.entries_after_files(tree):
        yield _header(entry)
    yield END


def _files(
    image: Image, layer: Layer, index: LayerIndex, names: Mapping[int, bytes], task: Task
) -> Iterator[bytes | memoryview]:
    with verified_content(image, layer, index, task) as source:
        for row in sorted(names):
            entry = index.entry(row)
            if entry.path != names[row]:  # a name that goes through a link, or another of its names
                entry = entry._replace(path=names[row])
            source.skip(entry.offset - source.offset)
            yield _header(entry)
            yield from source.pieces(entry.stored)
            if entry.stored % _BLOCK:
                yield bytes(-entry.stored % _BLOCK)


def _joined(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """Joins small chunks, since most are headers and each costs the consumer a call; large chunks are passed on
    uncopied."""
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        if len(piece) >= _LARGE:
            yield b"".join(held)
            held, size = [], 0
            yield piece
            continue
        held.append(bytes(piece))
        size += len(piece)
        if size >= _STEP:
            yield b"".join(held)
            held, size = [], 0
    yield b"".join(held)


def _header(entry: Entry) -> bytes:
    try:
        return header(entry)
    except OcitoolError as error:
        raise error.at(repr(entry.path[:200])) from None
