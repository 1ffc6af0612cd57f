"""Whether an image that was made of another one's layers is the file system that was wanted, and in what it is not."""

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
from ocitool.trees.tree import Directory, Tree, node_at


def same(made: Tree, wanted: Tree, *, times: bool, ignored: Ignored | None) -> bool:
    return not changeset(made, wanted, times=times, ignored=ignored)


def ignored_differences(made: Tree, wanted: Tree, *, times: bool, ignored: Ignored | None) -> tuple[bytes, ...]:
    """The paths that were not to be compared and do differ, sorted."""
    if ignored is None:
        return ()
    found = changeset(made, wanted, times=times)
    paths = set(found.paths(wanted))
    for entry in found.head:
        if entry.kind == Kind.OPAQUE:
            gone = node_at(made, entry.path)
            paths.update(entry.path + b"/" + name for name in (gone.children if isinstance(gone, Directory) else ()))
    return tuple(sorted(path for path in paths if ignored(path) and not _parent(made, wanted, path, times)))


def _parent(made: Tree, wanted: Tree, path: bytes, times: bool) -> bool:
    """Whether a directory is said only because of what is in it."""
    a, b = node_at(made, path), node_at(wanted, path)
    if not isinstance(a, Directory) or not isinstance(b, Directory):
        return False
    return same_entry(made, a.ref, wanted, b.ref, () if times else ("mtime",))


class LeftoverFile(NamedTuple):
    """A file that an image's layers hold and another image does not have: hidden, and passed on all the same."""

    path: bytes
    size: int
    layer: int
    kind: str
    """`removed`: the other image has nothing of that name; `overwritten`: it has something else there."""


def shipped(old: IndexedImage, new: IndexedImage) -> list[LeftoverFile]:
    """Files of the old layers, hidden there or not, that no layer of the new image holds at their path; largest first."""
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
    """Whether the new image's history tells of an `edit --rm` that the old one's does not."""
    return bool(_removals(new) - _removals(old))


def refused(files: Sequence[LeftoverFile], old: Image, new: Image) -> Sequence[LeftoverFile]:
    """Those of the `shipped` files that a delta on the old image must not pass on: all, where files were taken out of the new
    one since, or where it does not say whether they were; else those at paths that were ever taken out."""
    stated = drafts.aligned_history(new.config.fields, len(new.layers)) is not None
    unstated = not stated or any(entry.comment == drafts.UNSTATED for entry in new.config.history)
    if unstated or removed_since(old, new):
        return files
    marks = {mark for comment in _removals(new) for mark in comment.split()}
    return [one for one in files if marks and not marks.isdisjoint(map(path_mark, _upwards(one.path)))]


def _upwards(path: bytes) -> Iterator[bytes]:
    while path:
        yield path
        path = path.rpartition(b"/")[0]


def _removals(image: Image) -> Counter[str]:
    return Counter(entry.comment or "" for entry in image.config.history if entry.created_by == CREATED_BY)
