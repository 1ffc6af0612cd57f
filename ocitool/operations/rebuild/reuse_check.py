"""Checks an image that was made of the layers of another one: whether it has the wanted file system, and what it ships in
addition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ocitool.images import drafts
from ocitool.images.image import Image
from ocitool.layers.entry import Kind
from ocitool.operations.edit.content_edits import CREATED_BY, path_mark
from ocitool.pipeline.indexed_image import IndexedImage
from ocitool.trees.changeset import Ignored, changeset, same_entry
from ocitool.trees.nodes import Directory
from ocitool.trees.tree import Tree, node_at


def same(made: Tree, wanted: Tree, *, times: bool, ignored: Ignored | None) -> bool:
    """Returns whether two file systems are equal, apart from ignored paths, and from times unless `times`."""
    return not changeset(made, wanted, times=times, ignored=ignored)


def ignored_differences(made: Tree, wanted: Tree, *, times: bool, ignored: Ignored | None) -> tuple[bytes, ...]:
    """Returns the ignored paths that differ, sorted."""
    if ignored is None:
        return ()
    found = changeset(made, wanted, times=times)
    paths = set(found.paths(wanted))
    for entry in found.head:
        if entry.kind == Kind.OPAQUE:
            gone = node_at(made, entry.path)
            paths.update(entry.path + b"/" + name for name in (gone.children if isinstance(gone, Directory) else ()))
    return tuple(sorted(path for path in paths if ignored(path) and not _is_parent_only(made, wanted, path, times)))


def _is_parent_only(made: Tree, wanted: Tree, path: bytes, times: bool) -> bool:
    """Returns whether a path is an equal directory, which the changeset has only as the parent of a difference."""
    a, b = node_at(made, path), node_at(wanted, path)
    if not isinstance(a, Directory) or not isinstance(b, Directory):
        return False
    return same_entry(made, a.ref, wanted, b.ref, () if times else ("mtime",))


class LeftoverFile(NamedTuple):
    """A file in the layers of an old image that the new image does not have: it would be hidden, but shipped."""

    path: bytes
    size: int
    layer: int
    kind: str
    """`removed`: the new image has nothing at the path; `overwritten`: it has something else there."""


def shipped(old: IndexedImage, new: IndexedImage) -> list[LeftoverFile]:
    """Returns the files of the old layers, hidden there or not, that no layer of the new image has at their path; largest
    first."""
    known = {index.diff_id for index in new.indexes}
    held = {
        (index.paths[row], index.sizes[row], index.content(row)) for index in new.indexes for row in index.rows_of(Kind.FILE)
    }
    found = []
    for number, index in enumerate(old.indexes):
        if index.diff_id in known:
            continue
        for row in index.rows_of(Kind.FILE):
            path = index.paths[row]
            if (path, index.sizes[row], index.content(row)) in held:
                continue
            kind = "removed" if node_at(new.tree, path) is None else "overwritten"
            found.append(LeftoverFile(path, index.stored(row), number, kind))
    return sorted(found, key=lambda one: (-one.size, one.path, one.layer))


def removed_since(old: Image, new: Image) -> bool:
    """Returns whether the history of the new image has an `edit --rm` that the history of the old one does not have."""
    return bool(_removals(new) - _removals(old))


def refused(files: Sequence[LeftoverFile], old: Image, new: Image) -> Sequence[LeftoverFile]:
    """Returns those of the `shipped` files that a delta on the old image must not ship: all of them if `edit --rm` removed
    files from the new image since, or if its history does not tell; else those at paths that were ever removed."""
    stated = drafts.aligned_history(new.config.fields, len(new.layers)) is not None
    unstated = not stated or any(entry.comment == drafts.UNSTATED for entry in new.config.history)
    if unstated or removed_since(old, new):
        return files
    marks = {mark for comment in _removals(new) for mark in comment.split()}
    return [one for one in files if marks and not marks.isdisjoint(map(path_mark, _upwards(one.path)))]


def _upwards(path: bytes) -> Iterator[bytes]:
    """Yields a path and its parents."""
    while path:
        yield path
        path = path.rpartition(b"/")[0]


def _removals(image: Image) -> Counter[str]:
    return Counter(entry.comment or "" for entry in image.config.history if entry.created_by == CREATED_BY)
