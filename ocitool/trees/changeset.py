"""The members of the layer that turns one merged tree into another, found by comparing the two.

Source: image-spec layer.md, "Representing Changes". Without a lower tree the layer is all of the upper one. Otherwise:

- a whiteout for each top-most path that is gone and whose directory is still there; one opaque marker instead if a
  directory lost all it had. A name never occurs beside its own whiteout.
- every parent directory of a member is a member too, with its final attributes: engines disagree on anything else.
- a file with several names is written with all of them or not at all, since a hard link refers to an earlier entry of
  the same layer.

Memory: about 100 bytes for each member.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple

from ocitool.errors import UnsafeError
from ocitool.layers.entry import Entry, Kind, shown_path
from ocitool.layers.index import LayerIndex
from ocitool.trees.compare import differing, equal_rows
from ocitool.trees.nodes import IMPLIED, Directory, Node
from ocitool.trees.tree import Tree, node_at, walk_both

Ignored = Callable[[bytes], bool]
"""Whether a path is left out of the comparison. It never holds for a directory that only one tree has, nor for what replaces
a directory; of a directory that both trees have, only the attributes are left out."""

_FILE, _HARDLINK = int(Kind.FILE), int(Kind.HARDLINK)


class HardLink(NamedTuple):
    """A further name of a file. `target` is the name that comes first in this layer, `ref` the file's entry in the
    upper tree."""

    path: bytes
    target: bytes
    ref: int


class Changeset(NamedTuple):
    """The members of a layer, in the order in which they are written.

    `head`: directories, opaque markers and whiteouts, each directory before what is in it. `files`: for each layer of
    the upper tree its rows whose contents are copied, and their paths. `special`: path and ref of what has no content.
    `links`: hard links, last, since their targets come first.
    """

    head: tuple[Entry, ...]
    files: tuple[Mapping[int, bytes], ...]
    special: tuple[tuple[bytes, int], ...]
    links: tuple[HardLink, ...]

    def __bool__(self) -> bool:
        return bool(self.head or self.special or self.links or any(self.files))

    def __len__(self) -> int:
        return len(self.head) + len(self.special) + len(self.links) + sum(map(len, self.files))

    def size(self, upper: Tree, lowest: int = 0) -> int:
        """Returns the bytes of content that come from the upper tree's layers from number `lowest` on; of sparse files
        only the data."""
        taken = zip(upper.indexes[lowest:], self.files[lowest:], strict=True)
        return sum(index.stored(row) for index, names in taken for row in names)

    def entries_after_files(self, upper: Tree) -> Iterator[Entry]:
        """Yields the entries that follow the files: special files and hard links. None has content."""
        for path, ref in self.special:
            yield upper.entry(ref)._replace(path=path)
        for path, target, ref in self.links:
            yield upper.entry(ref)._replace(path=path, kind=Kind.HARDLINK, link=target, size=0, segments=None)

    def paths(self, upper: Tree) -> Iterator[bytes]:
        """Yields the paths of all members, directories and whiteouts too, in no promised order."""
        yield from (entry.path for entry in self.head)
        yield from (path for names in self.files for path in names.values())
        yield from (entry.path for entry in self.entries_after_files(upper))


def changeset(lower: Tree | None, upper: Tree, *, times: bool = True, ignored: Ignored | None = None) -> Changeset:
    """Returns the members of a layer on `lower` that give `upper`; an empty changeset if the trees are equal.

    The contents of the rows that `rows_to_hash` returns must be known. `times=False`: paths that differ only in mtime
    are equal. Raises `UnsafeError` if a hard link without a target would have to be written.
    """
    return _Comparison(lower, upper, times, ignored).changeset()


def rows_to_hash(
    lower: Tree, upper: Tree, *, times: bool = True, keep: Callable[[bytes], bool] | None = None,
    lone: tuple[array[int], array[int]] | None = None,
) -> tuple[list[array[int]], list[array[int]]]:  # fmt: skip
    """Returns, for each layer of either tree, the rows whose contents are not known and alone decide whether a path
    changed.

    These are files of one path and size, and with `times` of one mtime. `keep` limits them to the paths for which it is
    true. `lone` gets the refs, as `Tree.inode` returns them, of the files of either tree whose path is no file in the other
    one.
    """
    found = ([array("I") for _ in lower.indexes], [array("I") for _ in upper.indexes])
    keep = keep or _every_path
    for path, old, new in walk_both(lower, upper):
        if old is None or new is None or isinstance(old, Directory) or isinstance(new, Directory):
            if lone is not None and keep(path):
                _add_files(lone, (lower, upper), (old, new))
            continue
        theirs, ours = lower.inode(old), upper.inode(new)
        a, b = lower.indexes[lower.layer(theirs)], upper.indexes[upper.layer(ours)]
        i, j = lower.row(theirs), upper.row(ours)
        if a is b and i == j:
            continue
        if a.kinds[i] != _FILE or b.kinds[j] != _FILE:
            if lone is not None and keep(path):
                _add_files(lone, (lower, upper), (old, new))
            continue
        if a.sizes[i] != b.sizes[j] or (times and a.mtimes[i] != b.mtimes[j]) or not keep(path):
            continue
        if a.content(i) is None:
            found[0][lower.layer(theirs)].append(i)
        if b.content(j) is None:
            found[1][upper.layer(ours)].append(j)
    return found


def _every_path(path: bytes) -> bool:
    return True


def _add_files(lone: tuple[array[int], array[int]], trees: tuple[Tree, Tree], nodes: tuple[Node | None, Node | None]) -> None:
    """Adds the refs of two nodes that are regular files to the refs of their sides."""
    for refs, tree, node in zip(lone, trees, nodes, strict=True):
        if node is not None and not isinstance(node, Directory):
            ref = tree.inode(node)
            if tree.indexes[tree.layer(ref)].kinds[tree.row(ref)] == _FILE:
                refs.append(ref)


def content_size(index: LayerIndex) -> int:
    """Returns the bytes of content in a layer's tar; of sparse files only the data."""
    return sum(map(index.stored, index.rows_of(_FILE)))


class _Comparison:
    """One walk through both trees at once, which collects the members of the layer."""

    def __init__(self, lower: Tree | None, upper: Tree, times: bool, ignored: Ignored | None) -> None:
        self.flat = lower is None
        self.lower = lower if lower is not None else Tree(())
        self.upper = upper
        self.ignore = () if times else ("mtime",)
        self.ignored = ignored
        self.linked = self.lower.has_links or upper.has_links
        self.listed: set[bytes] = set()
        self.head: list[Entry] = []
        self.files: list[dict[int, bytes]] = [{} for _ in upper.indexes]
        self.special: list[tuple[bytes, int]] = []
        self.links: list[HardLink] = []
        self.first_names: dict[int, bytes] = {}
        self.kept: dict[int, bool] = {}  # of files with several names, by their inode in the upper tree
        self.continued_as: dict[int, int] = {}  # inode of the lower tree -> the upper one that it goes on to be

    def changeset(self) -> Changeset:
        root, ref = self.upper.root, self.upper.root.ref
        if (self.flat and ref != IMPLIED) or not self._same(self.lower.root.ref, ref):
            self.head.append(self.upper.entry(ref)._replace(path=b""))
        self.listed.add(b"")
        stack: list[tuple[bytes, Node | None, Node]] = [(b"", self.lower.root, root)]
        while stack:
            path, old, new = stack.pop()
            if not isinstance(new, Directory):
                if not self._is_kept(path, old, new):
                    self._add_file(path, new)
                continue
            below = old.children if isinstance(old, Directory) else {}
            if path and (not isinstance(old, Directory) or not (self._ignores(path) or self._same(old.ref, new.ref))):
                self._add_directory(path, new)
            if below:
                self._add_whiteouts(path, below, new)
            prefix = path + b"/" if path else b""
            children = new.children
            for name in sorted(children, reverse=True):
                at, child, other = prefix + name, children[name], below.get(name)
                if isinstance(child, Directory) or isinstance(other, Directory) or not self._ignores(at):
                    stack.append((at, other, child))
        return Changeset(tuple(self.head), tuple(self.files), tuple(self.special), tuple(self.links))

    def _add_whiteouts(self, path: bytes, below: Mapping[bytes, Node], new: Directory) -> None:
        """Adds whiteouts of the names that a directory lost, or one opaque marker if it lost all it had."""
        prefix = path + b"/" if path else b""
        gone = sorted(
            name
            for name, node in below.items()
            if name not in new.children and (isinstance(node, Directory) or not self._ignores(prefix + name))
        )
        if not gone:
            return
        self._add_directory(path, new)
        if path and len(gone) == len(below) > 1:
            self.head.append(_marker(path, Kind.OPAQUE))
        else:
            self.head += [_marker(prefix + name, Kind.WHITEOUT) for name in gone]

    def _add_directory(self, path: bytes, directory: Directory) -> None:
        """Adds a directory as a member, after its parents. Does nothing if it is one already."""
        if path not in self.listed:
            self._add_parents(path)
            self.listed.add(path)
            self.head.append(self.upper.entry(directory.ref)._replace(path=path))

    def _add_parents(self, path: bytes) -> None:
        missing = []
        while (path := path.rpartition(b"/")[0]) not in self.listed:
            missing.append(path)
        for parent in reversed(missing):
            above = node_at(self.upper, parent)
            assert isinstance(above, Directory)
            self.listed.add(parent)
            self.head.append(self.upper.entry(above.ref)._replace(path=parent))

    def _add_file(self, path: bytes, node: int) -> None:
        inode = self.upper.inode(node)
        kind = self.upper.indexes[inode >> 32].kinds[inode & 0xFFFFFFFF]
        if kind == _HARDLINK:
            raise UnsafeError("a hard link without a target in the image", shown_path(path))
        self._add_parents(path)
        if self.linked and (first := self.first_names.setdefault(inode, path)) is not path:
            self.links.append(HardLink(path, first, inode))
        elif kind == _FILE:
            self.files[inode >> 32][inode & 0xFFFFFFFF] = path
        else:
            self.special.append((path, inode))

    def _is_kept(self, path: bytes, old: Node | None, new: int) -> bool:
        """Returns whether the lower tree already has the wanted file at a path, with all of its names."""
        if old is None or isinstance(old, Directory):
            return False
        theirs, ours = self.lower.inode(old), self.upper.inode(new)
        if not self.linked:
            return self._same(theirs, ours)
        names = self.upper.links(new)
        if not names and not self.lower.links(old):
            return self._same(theirs, ours)
        found = self.kept.get(ours)
        if found is None:
            found = self.kept[ours] = self._are_kept(names or [path], theirs, ours)
        return found

    def _are_kept(self, names: list[bytes], theirs: int, ours: int) -> bool:
        """Returns whether exactly these names lead to one file in the lower tree, and no other file of the upper tree continues
        it."""
        for name in names:
            if self._ignores(name):
                continue
            other = node_at(self.lower, name)
            if other is None or isinstance(other, Directory) or self.lower.inode(other) != theirs:
                return False
        return self._same(theirs, ours) and self.continued_as.setdefault(theirs, ours) == ours

    def _ignores(self, path: bytes) -> bool:
        return self.ignored is not None and self.ignored(path)

    def _same(self, theirs: int, ours: int) -> bool:
        return same_entry(self.lower, theirs, self.upper, ours, self.ignore)


def same_entry(lower: Tree, theirs: int, upper: Tree, ours: int, ignore: Collection[str] = ()) -> bool:
    """Returns whether two refs, one of each tree, stand for equal entries, their names aside. Contents that are not known count
    as different."""
    theirs, ours = lower.inode(theirs), upper.inode(ours)
    if theirs == IMPLIED or ours == IMPLIED:
        return theirs == ours or not differing(lower.entry(theirs), upper.entry(ours), True, ignore)
    a, b = lower.indexes[theirs >> 32], upper.indexes[ours >> 32]
    i, j = theirs & 0xFFFFFFFF, ours & 0xFFFFFFFF
    if a is b and i == j:
        return True
    if a.kinds[i] != b.kinds[j]:
        return False
    if a.kinds[i] == _FILE and (a.sizes[i] != b.sizes[j] or a.content(i) is None or a.content(i) != b.content(j)):
        return False
    return equal_rows(a, i, b, j) or not differing(a.entry(i), b.entry(j), True, ignore)


def _marker(path: bytes, kind: Kind) -> Entry:
    return Entry(path, kind, 0o600, 0, 0, 0, 0)
