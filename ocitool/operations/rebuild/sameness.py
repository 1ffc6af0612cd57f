"""Whether an image that was made of another one's layers is the file system that was wanted, and in what it is not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ocitool.images.changeset import Ignored, changeset
from ocitool.images.compare import compare
from ocitool.images.image import Image
from ocitool.images.tree import Directory, Tree, node_at, ref_of
from ocitool.layers.entry import Entry, Kind
from ocitool.layers.scan import open_contents
from ocitool.operations.stacks import Stack

_CACHE = b"__pycache__"
_PYC_HEADER, _PYC_LARGEST = 16, 64 << 20


class Differences(NamedTuple):
    """ignored: paths that were not to be compared and do differ. stale: .pyc files that embed another time than their source
    has now, while they embed the one that it was to have."""

    ignored: tuple[bytes, ...]
    stale: tuple[bytes, ...]


def same(made: Tree, wanted: Tree, *, times: bool, ignored: Ignored | None) -> bool:
    return not changeset(made, wanted, times=times, ignored=ignored)


def differences(made: Tree, wanted: Stack, *, times: bool, ignored: Ignored | None) -> Differences:
    """What is to be told of two trees that are the `same`."""
    paths: Iterable[bytes] = ()
    if ignored is not None:
        found = changeset(made, wanted.tree, times=times)
        paths = sorted(path for path in set(found.paths(wanted.tree)) if ignored(path))
    return Differences(tuple(paths), tuple(sorted(_stale(made, wanted))))


def _stale(made: Tree, wanted: Stack) -> Iterator[bytes]:
    """See PEP 552: of a .pyc that is checked by time, bytes 8 to 12 are its source's mtime."""
    doubtful: dict[int, list[tuple[bytes, Entry, int]]] = {}
    for path, node in wanted.tree.walk():
        if isinstance(node, Directory) or not path.endswith(b".pyc"):
            continue
        inode = wanted.tree.inode(node)
        entry = wanted.tree.entry(inode)
        stated, now = _mtime(wanted.tree, source_of(path)), _mtime(made, source_of(path))
        checkable = entry.kind == Kind.FILE and _PYC_HEADER <= entry.size <= _PYC_LARGEST
        if checkable and None not in (stated, now) and stated != now:
            doubtful.setdefault(wanted.tree.layer(inode), []).append((path, entry, stated or 0))
    for number, files in doubtful.items():
        files.sort(key=lambda one: one[1].offset)
        blob = wanted.layers[number].blob
        assert blob is not None
        for (path, _, stated), content in zip(files, open_contents(blob, [entry for _, entry, _ in files]), strict=True):
            if content[4:8] == bytes(4) and int.from_bytes(content[8:12], "little") == stated & 0xFFFFFFFF:
                yield path


def source_of(path: bytes) -> bytes:
    """Where the source of a .pyc is looked for (PEP 3147): beside it, or beside the `__pycache__` that it is in."""
    directory, _, name = path.rpartition(b"/")
    module = name.partition(b".")[0] + b".py"
    parent, _, last = directory.rpartition(b"/")
    if last == _CACHE:
        directory = parent
    return directory + b"/" + module if directory else module


def _mtime(tree: Tree, path: bytes) -> int | None:
    """Whole seconds."""
    node = node_at(tree, path)
    if node is None or isinstance(node, Directory):
        return None
    return tree.entry(ref_of(node)).mtime // 1_000_000_000


class Shipped(NamedTuple):
    """A file that an image's layers hold and another image does not have: hidden, and passed on all the same."""

    path: bytes
    size: int
    layer: int
    kind: str
    """`removed`: the other image has nothing of that name; `overwritten`: it has something else there."""


def shipped(old: Stack, new: Stack, ignored: Ignored | None) -> list[Shipped]:
    """Files of the old layers, hidden there or not, that no layer of the new image holds at their path; largest first."""
    known = {index.diff_id for index in new.indexes}
    held = {
        (index.paths[row], index.sizes[row], index.content(row)) for index in new.indexes for row in _files(index.kinds)
    }
    found = []
    for number, index in enumerate(old.indexes):
        if index.diff_id in known:
            continue
        for row in _files(index.kinds):
            path = index.paths[row]
            if (path, index.sizes[row], index.content(row)) in held or (ignored is not None and ignored(path)):
                continue
            kind = "removed" if node_at(new.tree, path) is None else "overwritten"
            found.append(Shipped(path, index.entry(row).stored, number, kind))
    return sorted(found, key=lambda one: (-one.size, one.path, one.layer))


def _files(kinds: bytearray) -> Iterator[int]:
    row = kinds.find(Kind.FILE)
    while row >= 0:
        yield row
        row = kinds.find(Kind.FILE, row + 1)


def taken_out(old: Stack, new: Stack) -> tuple[int, bytes] | None:
    """A layer of the old image that the new one has with files taken out, and one of these files: what `edit --rm` leaves. Told
    by the same history entry, time included, which no rebuild gives; else, where none is stated, by entries that are all the
    same otherwise."""
    carried = {path for index in new.indexes for path in index.paths}
    for a, before in enumerate(old.indexes):
        files = {path for path, kind in zip(before.paths, before.kinds, strict=True) if kind < Kind.WHITEOUT}
        gone = files - carried
        for b, after in enumerate(new.indexes if gone else ()):
            said = _one_step(old.image, a, new.image, b)
            alike = said is None and a == b and all(change.after is None for change in compare(before, after))
            if before.diff_id != after.diff_id and (said or alike):
                return a, min(gone)
    return None


def _one_step(old: Image, a: int, new: Image, b: int) -> bool | None:
    """Whether two layers are of one build step; None where the images do not say."""
    mine, other = old.layers[a], new.layers[b]
    if None in (mine.created, other.created, mine.created_by, other.created_by):
        return None
    return (mine.created, mine.created_by) == (other.created, other.created_by)
