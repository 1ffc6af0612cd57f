"""`unpack --as tar`: the merged file system as one flat tar.

The indexes say what is visible; then each layer's bytes are read once more, in order, and what is visible is written as it
passes: nothing is buffered. Directories come first, then files by layer and place, then what has no content, then hard
links, so that nothing stands before what it needs. The same image gives the same bytes, always. A reader that sets times
and modes of directories at its end restores all; GNU tar does so with --delay-directory-restore, else files made later change
the times of directories.
Memory: indexes and tree, and about 100 bytes a visible file.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ocitool.errors import DestinationError, OcitoolError, UnsafeError, UsageError
from ocitool.images.contents import content
from ocitool.images.image import Image, Layer
from ocitool.images.staging import check
from ocitool.images.tree import IMPLIED, Directory, Tree
from ocitool.layers.entry import Entry, Kind
from ocitool.layers.index import LayerIndex
from ocitool.layers.tarwriter import END, header, sparse_header
from ocitool.operations.reading import Reading
from ocitool.task import Notice, Task
from ocitool.transports.whole import Temporary, exists, keep_mode, sweep

_BLOCK = 512
_STEP = 1 << 18
_LARGE = 1 << 15


@dataclass(frozen=True, slots=True)
class Flat:
    """`entries`: members written; `size`: bytes of the tar."""

    reference: str
    image: Image
    destination: str
    entries: int
    size: int
    notices: tuple[Notice, ...]


def unpack(reference: str, dest: str, reading: Reading, *, platform: str | None = None, force: bool = False) -> Flat:
    """The tar into a file, whole or not at all, or for `-` to standard output.

    An existing file is a `DestinationError` unless `force` replaces it. On standard output a layer that turns out not
    to be what it states ends the tar without its end-of-archive blocks, and the command with an `IntegrityError`.
    """
    task = reading.task
    if dest == "-" and sys.stdout.isatty():
        raise UsageError("a tar is not written to a terminal", hint="redirect the output, or name a file")
    if dest != "-" and os.path.isdir(dest):
        raise DestinationError("a directory, where a tar is to be written", dest)
    if dest != "-" and not force and os.path.lexists(dest):
        raise exists(dest)
    place = os.path.realpath(dest)  # `force` replaces the file that a link leads to, not the link
    if dest != "-" and os.path.exists(place) and not os.path.isfile(place):
        raise DestinationError("neither a file nor absent: a device or a pipe is not replaced", dest)
    image = reading.image(reference, platform)
    check(image)
    tree = Tree(reading.indexer().indexes(image))
    size = 0
    if dest == "-":
        for piece in _blocks(flat(image, tree, task)):
            sys.stdout.buffer.write(piece)
            size += len(piece)
        sys.stdout.buffer.flush()
    else:
        directory = os.path.dirname(place if force else dest) or "."
        sweep(directory)
        temporary = Temporary(directory)
        try:
            for piece in _blocks(flat(image, tree, task)):
                temporary.write(piece)
                size += len(piece)
            if force:
                keep_mode(temporary, place)
                temporary.replace(place)
            else:
                temporary.place(dest)
        finally:
            temporary.discard()
    entries = (tree.root.ref != IMPLIED) + sum(1 for _ in tree.walk())
    return Flat(reference, image, dest, entries, size, tuple(task.notices))


def flat(image: Image, tree: Tree, task: Task) -> Iterator[bytes | memoryview]:
    """The tar in pieces, each valid until the next is asked for. `tree` is of all of the image's layers.

    `UnsafeError` before the first piece where a hard link leads to nothing: no file system can hold it.
    """
    for path, ref in tree.broken:
        if tree.find(path) == ref:
            raise UnsafeError("a hard link to nothing in the image", "/" + path.decode("utf-8", "replace"))
    files: list[dict[int, bytes]] = [{} for _ in tree.indexes]
    special: list[tuple[bytes, int]] = []
    first: dict[int, bytes] = {}
    links: list[tuple[bytes, int]] = []
    if tree.root.ref != IMPLIED:
        yield _header(tree.entry(tree.root.ref)._replace(path=b""))
    for path, node in tree.walk():
        if isinstance(node, Directory):
            yield _header(tree.entry(node.ref)._replace(path=path))
            continue
        inode = tree.inode(node)
        if tree.has_links and first.setdefault(inode, path) is not path:
            links.append((path, inode))
        elif tree.indexes[tree.layer(inode)].kinds[tree.row(inode)] == Kind.FILE:
            files[tree.layer(inode)][tree.row(inode)] = path
        else:
            special.append((path, inode))
    read: set[str] = set()
    for layer, index, names in zip(image.layers, tree.indexes, files, strict=True):
        key = str(layer.digest) if layer.digest else layer.blob.identity if layer.blob else None
        if names or key is None or key not in read:
            yield from _files(image, layer, index, names, task)
            read.add(key or "")
    for path, ref in special:
        yield _header(tree.entry(ref)._replace(path=path))
    for path, inode in links:
        entry = tree.entry(inode)
        yield _header(entry._replace(path=path, kind=Kind.HARDLINK, link=first[inode], size=0, segments=None))
    yield END


def _files(image: Image, layer: Layer, index: LayerIndex, names: dict[int, bytes], task: Task) -> Iterator[bytes | memoryview]:
    """A layer's visible files under their visible names; the layer is read and verified also where there are none."""
    with content(image, layer, index, task) as tar:
        for row in sorted(names):
            entry = index.entry(row)._replace(path=names[row])
            tar.skip(entry.offset - tar.offset)
            yield _header(entry)
            yield from tar.pieces(entry.stored)
            if entry.stored % _BLOCK:
                yield bytes(-entry.stored % _BLOCK)


def _header(entry: Entry) -> bytes:
    try:
        return sparse_header(entry) if entry.segments is not None else header(entry)
    except OcitoolError as error:
        raise error.at(repr(entry.path[:200])) from None


def _blocks(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """Small pieces joined, since most are headers; large ones as they are."""
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
