"""Compares compiled Python files, which embed the time of their source: if times do not count, the embedded time does not
either.

Sources: PEP 552 (bytes 4 to 8 are flags, 0 for a file that is checked by time; then bytes 8 to 12 are the mtime of its
source in seconds) and PEP 3147 (the path of the source).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ocitool.errors import IntegrityError
from ocitool.layers.entry import Kind
from ocitool.pipeline.indexed_image import IndexedImage
from ocitool.trees.compare import differing
from ocitool.trees.file_contents import content_hash, contents
from ocitool.trees.nodes import Directory
from ocitool.trees.tree import Tree, node_at

_SUFFIX, _CACHE = b".pyc", b"__pycache__"
_HEADER, _LARGEST = 16, 8 << 20


def with_equal_pyc(new: IndexedImage, old: IndexedImage) -> IndexedImage:
    """Returns the new image with the contents of the old one for each .pyc file that differs only in the embedded time of
    its source, if the sources differ only in their times: the old pair of files is as good as the new one."""
    pairs = dict(_pairs(new.tree, old.tree))
    mine = _compiled(new, {path: ref for path, (ref, _) in pairs.items()})
    theirs = _compiled(old, {path: ref for path, (_, ref) in pairs.items()})
    known: dict[int, list[tuple[int, bytes]]] = {}
    for path, (ref, other) in pairs.items():
        a, b = mine[path], theirs[path]
        times = _seconds(new.tree, source_of(path)), _seconds(old.tree, source_of(path))
        content = content_hash(old.tree, other)
        if a.rest == b.rest and content is not None and (a.embedded, b.embedded) == times:
            known.setdefault(Tree.layer(ref), []).append((Tree.row(ref), content))
    return _with(new, known)


def with_accepted_pyc(
    made: IndexedImage, wanted: IndexedImage, news: Sequence[IndexedImage]
) -> tuple[IndexedImage, tuple[bytes, ...]]:
    """Returns the wanted image with those .pyc contents of the made one that `with_equal_pyc` accepted (`news`), and their
    paths."""
    known: dict[int, list[tuple[int, bytes]]] = {}
    paths = []
    for path, node in wanted.tree.walk():
        if not path.endswith(_SUFFIX) or isinstance(node, Directory):
            continue
        ref, there = wanted.tree.inode(node), node_at(made.tree, path)
        if there is None or isinstance(there, Directory):
            continue
        content = content_hash(made.tree, made.tree.inode(there))
        if content is None or content == content_hash(wanted.tree, ref):
            continue
        if any(new.indexes[Tree.layer(ref)].content(Tree.row(ref)) == content for new in news):
            known.setdefault(Tree.layer(ref), []).append((Tree.row(ref), content))
            paths.append(path)
    return _with(wanted, known), tuple(sorted(paths))


def _with(image: IndexedImage, known: Mapping[int, list[tuple[int, bytes]]]) -> IndexedImage:
    if not known:
        return image
    indexes = (index.with_contents(known[layer]) if layer in known else index for layer, index in enumerate(image.indexes))
    return IndexedImage(image.image, list(indexes))


def _pairs(new: Tree, old: Tree) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """Yields the .pyc files that may differ in the embedded time only: of equal size and attributes, with equal sources but
    for times."""
    for path, node in new.walk():
        if not path.endswith(_SUFFIX) or isinstance(node, Directory):
            continue
        other = node_at(old, path)
        if other is None or isinstance(other, Directory):
            continue
        ref, theirs = new.inode(node), old.inode(other)
        a, b = new.entry(ref), old.entry(theirs)
        alike = not differing(a, b, True, ("mtime",)) and a.size == b.size and _HEADER <= a.size <= _LARGEST
        differs = a.kind == Kind.FILE and alike and content_hash(new, ref) != content_hash(old, theirs)
        if differs and _same_source(new, old, path):
            yield path, (ref, theirs)


def _same_source(new: Tree, old: Tree, path: bytes) -> bool:
    mine, other = (node_at(tree, source_of(path)) for tree in (new, old))
    if mine is None or other is None or isinstance(mine, Directory) or isinstance(other, Directory):
        return False
    a, b = new.inode(mine), old.inode(other)
    same = content_hash(new, a) == content_hash(old, b)
    return new.entry(a).kind == Kind.FILE and not differing(new.entry(a), old.entry(b), same, ("mtime",))


def stale(made: IndexedImage, wanted: IndexedImage) -> tuple[bytes, ...]:
    """Returns the .pyc files of the made image that embed another time than their source has, so that Python will not use
    them. Only files that differ from the wanted image are read."""
    doubtful = {}
    for path, node in made.tree.walk():
        if not path.endswith(_SUFFIX) or isinstance(node, Directory):
            continue
        ref, source = made.tree.inode(node), source_of(path)
        other = node_at(wanted.tree, path)
        same = other is not None and not isinstance(other, Directory)
        same = same and content_hash(made.tree, ref) == content_hash(wanted.tree, wanted.tree.inode(other))  # type: ignore[arg-type]
        if same and _seconds(made.tree, source) == _seconds(wanted.tree, source):
            continue
        entry = made.tree.entry(ref)
        if entry.kind == Kind.FILE and _HEADER <= entry.size <= _LARGEST and _seconds(made.tree, source) is not None:
            doubtful[path] = ref
    found = _compiled(made, doubtful)
    return tuple(path for path in sorted(found) if found[path].embedded not in (None, _seconds(made.tree, source_of(path))))


class _Compiled(NamedTuple):
    """A .pyc file. `embedded`: the time of the source, None if the file is not checked by time. `rest`: a digest of all
    other bytes."""

    embedded: int | None
    rest: bytes


def _compiled(image: IndexedImage, refs: dict[bytes, int]) -> dict[bytes, _Compiled]:
    """Reads the .pyc files at these paths. A layer is read once for all of its files. Raises `IntegrityError` if it
    changed."""
    found = {}
    places = list(refs.items())
    for position, content in contents([(image.layers[Tree.layer(ref)], image.tree.entry(ref)) for _, ref in places]):
        path, ref = places[position]
        if hashlib.sha256(content).digest() != image.indexes[Tree.layer(ref)].content(Tree.row(ref)):
            raise IntegrityError("not the bytes that were indexed", f"{image.image.where}: layer {Tree.layer(ref)}")
        timed = content[4:8] == bytes(4)
        rest = hashlib.sha256(content[:8])
        rest.update(memoryview(content)[12 if timed else 8 :])
        found[path] = _Compiled(int.from_bytes(content[8:12], "little") if timed else None, rest.digest())
    return found


def source_of(path: bytes) -> bytes:
    """Returns the path of the source of a .pyc file: in the same directory, or in the parent of `__pycache__`."""
    directory, _, name = path.rpartition(b"/")
    module = name.partition(b".")[0] + b".py"
    parent, _, last = directory.rpartition(b"/")
    if last == _CACHE:
        directory = parent
    return directory + b"/" + module if directory else module


def _seconds(tree: Tree, path: bytes) -> int | None:
    """Returns the mtime of a file in the form in which a .pyc embeds it; None if there is no file."""
    node = node_at(tree, path)
    if node is None or isinstance(node, Directory):
        return None
    return tree.entry(node).mtime // 1_000_000_000 & 0xFFFFFFFF
