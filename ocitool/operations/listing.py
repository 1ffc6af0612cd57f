"""`ls` and `cat`: files of the merged file system, or of one layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ocitool.errors import FormatError, NotFoundError, UsageError
from ocitool.images.image import Image, Layer
from ocitool.layers.entry import Entry, Kind, normalise, path_text, shown_path
from ocitool.layers.index import LayerIndex
from ocitool.layers.scan import content_at, known_content, open_content
from ocitool.pipeline.session import Session
from ocitool.progress import Notice
from ocitool.task import Task
from ocitool.trees.file_hashes import verified_content
from ocitool.trees.nodes import IMPLIED, REF_SHIFT, ROW_MASK, Directory, Node, ref_of
from ocitool.trees.tree import Tree

if TYPE_CHECKING:
    from ocitool.trees.indexing import Indexer

_FILE, _DIRECTORY = int(Kind.FILE), int(Kind.DIRECTORY)


class File(NamedTuple):
    """A file of any type: regular file, directory, link, device, FIFO; in the listing of one layer also a whiteout.

    `path`: without leading slash. `links`: all paths of a file with several hard links, else empty. `layer`: the layer that
    it comes from; None for a directory that no layer lists, but that is the parent of a listed file."""

    path: bytes
    entry: Entry
    links: Sequence[bytes]
    layer: Layer | None

    @property
    def name(self) -> str:
        """The whole path as text, with a leading slash."""
        return path_text(self.path)


Name = tuple[bytes, int, bytes]
"""A file's path, kind and link, as its `File` has them."""


class Files(Protocol):
    """Files that are listed, in order. Each is made when it is asked for: a million of them need no memory."""

    def __iter__(self) -> Iterator[File]: ...

    def names(self) -> Iterator[Name]:
        """Yields the names of all files, which costs less than the files."""


class Listing(NamedTuple):
    """The result of `ls`. `layer`: the number of the layer that is listed; None for the merged file system. `verified`: the
    bytes of the layers were hashed."""

    reference: str
    image: Image
    layer: int | None
    verified: bool
    items: Files
    notices: tuple[Notice, ...]


def layer_by_number(image: Image, number: int) -> Layer:
    """Returns a layer by its number; negative numbers count from the top. Raises `UsageError`."""
    count = len(image.layers)
    if not -count <= number < count:
        raise UsageError(f"no layer {number}", image.where, hint=f"layers are numbered 0 to {count - 1}" if count else None)
    return image.layers[number]


def ls(
    reference: str,
    path: str,
    session: Session,
    *,
    layer: int | None = None,
    recursive: bool = False,
    platform: str | None = None,
) -> Listing:
    """Returns the files at a path: a directory's children, or the file itself. `layer`: the number of one layer to list
    instead of the merged file system. Raises `NotFoundError` if there is no such path, `UsageError` if there is no such
    layer."""
    wanted = normal_path(path)
    image = session.image(reference, platform)
    indexer = session.indexer()
    if layer is None:
        items = files(Tree(indexer.indexes(image)), image, wanted, recursive=recursive)
    else:
        items = files_of_layer(image, layer, indexer, wanted, recursive=recursive)
    number = None if layer is None else layer_by_number(image, layer).number
    return Listing(reference, image, number, session.verify, items, tuple(session.task.notices))


def file_at(tree: Tree, image: Image, path: bytes, node: Node) -> File:
    """Returns a node of an image's merged file system as a `File`."""
    ref = ref_of(node)
    links = [] if isinstance(node, Directory) else tree.links(ref)
    entry = tree.entry(ref)
    if ref == IMPLIED:
        entry = entry._replace(path=path)
    return File(path, entry, links, None if ref == IMPLIED else image.layers[tree.layer(ref)])


def files(tree: Tree, image: Image, path: bytes, *, recursive: bool) -> Files:
    """Returns the files at a path of the merged file system: a directory's children (`recursive`: everything below it),
    or the file itself. Raises `NotFoundError`."""
    node = tree.find(path, follow=True)
    if node is None:
        node = tree.find(path)  # a symbolic link to nothing is listed itself
    if node is None:
        raise NotFoundError("no such path in the image", shown_path(path))
    return _MergedFiles(tree, image, path, node, recursive)


class _MergedFiles:
    """Files of the merged file system: `Files`."""

    def __init__(self, tree: Tree, image: Image, path: bytes, node: Node, recursive: bool) -> None:
        self._tree, self._image, self._path, self._node, self._recursive = tree, image, path, node, recursive

    def __iter__(self) -> Iterator[File]:
        return (file_at(self._tree, self._image, path, node) for path, node in self._nodes())

    def names(self) -> Iterator[Name]:
        tree = self._tree
        inodes = tree.inodes
        columns = [(index.kinds, index.links) for index in tree.indexes]
        for path, node in self._nodes():
            if isinstance(node, Directory):
                yield path, _DIRECTORY, b""
                continue
            if inodes:
                node = inodes.get(node, node)
            kinds, links = columns[node >> REF_SHIFT]
            row = node & ROW_MASK
            kind = kinds[row]
            yield path, kind, b"" if kind == _FILE else links[row]

    def _nodes(self) -> Iterator[tuple[bytes, Node]]:
        node, path = self._node, self._path
        if not isinstance(node, Directory):
            return iter([(path, node)])
        if self._recursive:
            return self._tree.walk(node, path)
        prefix = path + b"/" if path else b""
        return ((prefix + name, node.children[name]) for name in sorted(node.children))


def files_of_layer(image: Image, number: int, indexer: Indexer, path: bytes, *, recursive: bool) -> Files:
    """Returns the entries of one layer at a path, whiteouts too. Raises `NotFoundError` if it lists no such path, `UsageError`
    if there is no such layer."""
    layer = layer_by_number(image, number)
    return _in_layer(indexer.indexes(image, [layer])[0], layer, path, recursive, image.where)


def _in_layer(index: LayerIndex, layer: Layer, path: bytes, recursive: bool, where: str) -> Files:
    """Returns the entries of a layer, whiteouts too, sorted by path. Unlike the merged file system, it has no directories that
    the layer does not list."""
    prefix = path + b"/" if path else b""
    rows = [
        row
        for row, at in enumerate(index.paths)
        if index.kinds[row] != Kind.METADATA
        and (at == path or at.startswith(prefix))
        and (recursive or _is_self_or_child(at, path))
    ]
    if path and not rows and not any(at.startswith(prefix) for at in index.paths):
        raise NotFoundError(f"no such path in layer {layer.number}", f"{where}: {shown_path(path)}")
    below = [row for row in rows if index.paths[row] != path or index.kinds[row] != Kind.DIRECTORY]
    below.sort(key=lambda row: (index.paths[row], row))
    return _LayerFiles(index, layer, below)


class _LayerFiles:
    """Entries of one layer: `Files`."""

    def __init__(self, index: LayerIndex, layer: Layer, rows: Sequence[int]) -> None:
        self._index, self._layer, self._rows = index, layer, rows

    def __iter__(self) -> Iterator[File]:
        index = self._index
        return (File(index.paths[row], index.entry(row), [], self._layer) for row in self._rows)

    def names(self) -> Iterator[Name]:
        index = self._index
        return ((index.paths[row], index.kinds[row], index.links[row]) for row in self._rows)


def _is_self_or_child(at: bytes, path: bytes) -> bool:
    return at == path or at.rpartition(b"/")[0] == path


def cat(
    reference: str, path: str, session: Session, *, layer: int | None = None, platform: str | None = None
) -> Iterator[bytes]:
    """Yields the content of a file in chunks. Raises `NotFoundError` if there is no such path, `UsageError` if it is not a
    file.

    The content is always verified, since the output has no room for a warning: the layer is read in full, unless the cache
    has the hash of the file, which is then compared while it is read. `IntegrityError` may be raised after the last chunk.
    """
    wanted = normal_path(path)
    image = session.image(reference, platform)
    return content_at_path(image, wanted, session, session.indexer(), layer=layer, hint=f"ocitool ls {reference} {path}")


def content_at_path(
    image: Image,
    wanted: bytes,
    session: Session,
    indexer: Indexer,
    *,
    layer: int | None = None,
    hint: str | None = None,
    tree: Tree | None = None,
) -> Iterator[bytes]:
    """Yields what `cat` yields, for an open image. `hint`: the hint of the error for a directory. `tree`: the merged file
    system, if the caller has it."""
    if layer is not None:
        one = layer_by_number(image, layer)
        index = indexer.indexes(image, [one])[0]
        row = _row_of(index, wanted)
        if row is None:
            raise NotFoundError(f"no such path in layer {one.number}", f"{image.where}: {shown_path(wanted)}")
        if index.kinds[row] == Kind.HARDLINK:
            target = _row_of(index, index.links[row])
            if target is None:
                raise UsageError("a hard link to a file of a lower layer", shown_path(wanted), hint="leave --layer out")
            row = target
    else:
        tree = tree or Tree(indexer.indexes(image))
        node = tree.find(wanted, follow=True)
        if node is None:
            raise NotFoundError("no such path in the image", shown_path(wanted))
        if isinstance(node, Directory):
            raise UsageError("a directory, not a file", shown_path(wanted), hint=hint)
        inode = tree.inode(node)
        one, index, row = image.layers[tree.layer(inode)], tree.indexes[tree.layer(inode)], tree.row(inode)
    entry = index.entry(row)
    if entry.kind != Kind.FILE:
        raise UsageError("not a regular file", shown_path(wanted))
    if indexer.reads_headers_only(one, index):  # then it has no hash of the content
        index = session.indexer().computed_indexes([(image, one)])[0]
    assert one.blob is not None
    known = None if index.has_map_hash(row) else index.content(row)
    if known is None:
        return _with_layer(image, one, index, entry, session.task)
    return _checked(open_content(one.blob, entry), known, f"{image.where}: {shown_path(wanted)}")


def _row_of(index: LayerIndex, path: bytes) -> int | None:
    """Returns the number of the entry with a path, the last one if several have it; None if there is none. Whiteouts are
    not considered."""
    for row in range(len(index) - 1, -1, -1):
        if index.paths[row] == path and index.kinds[row] < Kind.WHITEOUT:
            return row
    return None


def _with_layer(image: Image, layer: Layer, index: LayerIndex, entry: Entry, task: Task) -> Iterator[bytes]:
    """Yields the content of a file, then reads and verifies the rest of its layer."""
    with verified_content(image, layer, index, task) as tar:
        yield from content_at(tar, entry)


def _checked(chunks: Iterator[bytes], known: bytes, where: str) -> Iterator[bytes]:
    """Yields the content of a file. Raises `IntegrityError` after the last chunk if its SHA-256 is not `known`."""
    try:
        yield from known_content(chunks, known, where)
    except FormatError as error:
        raise error.at(where) from None


def normal_path(path: str | bytes) -> bytes:
    """Returns a path in the form of `File.path`. Raises `UsageError` if it is empty, as an unset shell variable makes it."""
    if not path:
        raise UsageError("an empty path", hint="/ is the whole image")
    return normalise(path if isinstance(path, bytes) else path.encode("utf-8", "surrogateescape"))
