"""Differences of two merged file systems.

Only layers that differ are read. The shared base is indexed only if the other layers of the two images do not list the
same paths in the same roles (directory, other entry, whiteout, opaque marker): as long as they do, whatever the base
holds is visible on both sides or on neither.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import compress, count
from typing import NamedTuple

from ocitool.comparison.layers import pair
from ocitool.comparison.result import ChangeKind, FileChange, LayerPair, Side
from ocitool.images.image import Image, Layer
from ocitool.layers.entry import Entry, Kind
from ocitool.layers.index import LayerIndex
from ocitool.layers.paths import share_names
from ocitool.masking.files import secret_path
from ocitool.pipeline.layer_identity import common_base_length, layer_identity
from ocitool.trees.changeset import rows_to_hash
from ocitool.trees.compare import differing, equal_rows
from ocitool.trees.indexing import Indexer
from ocitool.trees.nodes import IMPLIED, Directory, HiddenFile, Node, layer_of, ref_of
from ocitool.trees.tree import Tree, visible_bytes, walk_both

_FILE, _DIRECTORY, _METADATA = int(Kind.FILE), int(Kind.DIRECTORY), int(Kind.METADATA)


class ShippedFile(NamedTuple):
    """A file that `layer` of the after image deletes or overwrites, though a lower layer, `holder`, still ships it. `top`:
    the top-most path that was removed with it; `size`: bytes of its content."""

    path: bytes
    size: int
    layer: Layer
    holder: Layer
    top: bytes
    overwritten: bool


class ComparedFiles(NamedTuple):
    """The differences. `shipped`: files that the after image deletes, or overwrites to remove their content, and the before
    image did not. `before_size`: bytes of all visible files of the before image, None unless requested. `trees`: the merged
    trees of both sides, of all layers if `whole`, else of those above the common base."""

    pairs: tuple[LayerPair, ...]
    files: tuple[FileChange, ...]
    shipped: tuple[ShippedFile, ...]
    before_size: int | None
    trees: tuple[Tree, Tree]
    whole: bool


def compare_images(
    before: Image, after: Image, indexer: Indexer, *, ignore: Collection[str], keep: Callable[[bytes], bool], whole: bool
) -> ComparedFiles:
    """Returns the differences of two images' layers and files. `keep(path)`: whether a path is compared. `whole`: compute
    `before_size`, for which all layers of the before image must be indexed."""
    pairs, sides = _merged(before, after, indexer, whole=whole)
    sides.complete(keep)
    known = {layer_identity(layer) for layer in before.layers} & {layer_identity(layer) for layer in after.layers} - {None}
    heirs = {p.before.number: p.after for p in pairs if p.status in ("equivalent", "changed") and p.before and p.after}
    files = tuple(sides.changes(known, heirs, ignore, keep))
    size = visible_bytes(sides.before) if whole else None
    return ComparedFiles(pairs, files, tuple(sides.shipped()), size, (sides.before, sides.after), not sides.base)


def _merged(before: Image, after: Image, indexer: Indexer, *, whole: bool) -> tuple[tuple[LayerPair, ...], _Sides]:
    """Returns the pairs of layers, and the merged trees of both images: of all layers if `whole` or needed, else of those above
    the common base."""
    base = common_base_length(before, after)
    verify = indexer.verify
    needed = [(before, layer) for layer in before.layers if verify or layer.number >= base]
    needed += [(after, layer) for layer in after.layers if verify or layer.number >= base]
    found = indexer.indexes_of(needed)
    before_indexes: dict[int, LayerIndex] = {}
    after_indexes: dict[int, LayerIndex] = {}
    for (image, layer), index in zip(needed, found, strict=True):
        (before_indexes if image is before else after_indexes)[layer.number] = index
    _share(before, after, before_indexes, after_indexes)
    share_names(
        index.paths for index in {id(index): index for index in (*before_indexes.values(), *after_indexes.values())}.values()
    )
    pairs = pair(before, after, indexer, before_indexes, after_indexes)

    upper_a = [before_indexes[n] for n in range(base, len(before.layers))]
    upper_b = [after_indexes[n] for n in range(base, len(after.layers))]
    sides = None
    if base and not whole and not verify and _roles(upper_a) == _roles(upper_b):
        sides = _Sides(before, after, upper_a, upper_b, base, indexer, missing_base=True)
    if sides is None or sides.before.needs_base or sides.after.needs_base:
        for layer, index in zip(before.layers[:base], indexer.indexes(before, before.layers[:base]), strict=True):
            before_indexes[layer.number] = after_indexes[layer.number] = index
        sides = _Sides(
            before, after, [before_indexes[n] for n in range(len(before.layers))],
            [after_indexes[n] for n in range(len(after.layers))], 0, indexer, missing_base=False,
        )  # fmt: skip
    return pairs, sides


def _share(before: Image, after: Image, a: dict[int, LayerIndex], b: dict[int, LayerIndex]) -> None:
    """Gives equal layers one index object, so that their entries are recognised as equal at once."""
    objects = {layer_identity(layer): a[layer.number] for layer in before.layers if layer.number in a}
    for layer in after.layers:
        known = layer_identity(layer)
        if layer.number in b and known is not None and known in objects:
            one, other = objects[known], b[layer.number]
            if one is not other and one.hashed == other.hashed and len(one) == len(other):
                b[layer.number] = one


def _roles(indexes: list[LayerIndex]) -> dict[tuple[bytes, int], set[bytes]]:
    """Returns the paths that layers list, as names by directory and role: 0 for a directory, 1 for another entry, else the
    kind of whiteout."""
    role = [1] * 16
    role[_DIRECTORY] = 0
    for kind in (Kind.WHITEOUT, Kind.OPAQUE, Kind.INVALID):
        role[kind] = kind
    found: dict[tuple[bytes, int], set[bytes]] = {}
    for index in indexes:
        paths, roles = index.paths, index.kinds.translate(bytes(role) + bytes(240))
        groups: dict[int, set[bytes]] = {}
        for number, name, part in zip(paths.prefix_of, paths.names, roles, strict=True):
            group = groups.get(number << 4 | part)
            if group is None:
                group = groups[number << 4 | part] = found.setdefault((paths.prefixes[number], part), set())
            group.add(name)
    return found


class _Sides:
    """The two merged trees and their layer indexes: all layers, or only those above the common base (`missing_base`)."""

    def __init__(
        self, before: Image, after: Image, a: list[LayerIndex], b: list[LayerIndex], base: int, indexer: Indexer, *,
        missing_base: bool,
    ) -> None:  # fmt: skip
        self.hidden: list[HiddenFile] = []
        self.base = base
        self._overwritten: set[bytes] = set()
        self.before = Tree(a, missing_base=missing_base, hidden=self._note)
        self.after = Tree(b, missing_base=missing_base, hidden=self.hidden.append)
        self._images = (before, after)
        self._indexer = indexer
        self._a, self._b = list(a), list(b)
        self._linked = self.before.has_links or self.after.has_links
        self._all_names: dict[tuple[int, int], tuple[bytes, ...]] = {}
        self._same_names: dict[tuple[int, int], bool] = {}  # cached, since each name of a file asks
        self._moved_sizes: frozenset[int] = frozenset()
        """Sizes of files that only one side has, if each side has one: their contents tell what was renamed."""

    def _note(self, event: HiddenFile) -> None:
        if event.replaced is not None:
            self._overwritten.add(event.path)

    def shipped(self) -> Iterator[ShippedFile]:
        """Yields the files that new layers hide and lower layers still ship, unless the before image hid them as well."""
        known = {layer_identity(layer) for layer in self._images[0].layers}
        layers = self._images[1].layers[self.base :]
        for event in self.hidden:
            inode = self.after.inode(event.ref)
            index, row = self._b[self.after.layer(inode)], self.after.row(inode)
            if index.kinds[row] != _FILE or not index.sizes[row] or layer_identity(layers[event.by]) in known:
                continue
            if event.replaced is None:
                was = self.before.remover(event.path) is not None
            else:
                was = event.path in self._overwritten or not self._removes_content(event)
            if not was:
                holder = layers[self.after.layer(inode)]
                top = self.after.removed_directory(event.path, event.by) if event.replaced is None else event.path
                yield ShippedFile(event.path, index.sizes[row], layers[event.by], holder, top, event.replaced is not None)

    def _removes_content(self, event: HiddenFile) -> bool:
        """Returns whether a file was overwritten to remove its content: a secret by any file, other files by an empty
        one."""
        assert event.replaced is not None
        inode = self.after.inode(event.replaced)
        index, row = self._b[self.after.layer(inode)], self.after.row(inode)
        return (index.kinds[row] == _FILE and not index.sizes[row]) or secret_path(event.path)

    def complete(self, keep: Callable[[bytes], bool]) -> None:
        """Hashes contents that have to be compared: those of files with the same path and size on both sides, and those of
        files that were perhaps renamed: both sides have such sizes at paths of their own."""
        if not any(
            map(
                self._is_partly_known,
                (
                    *zip(self._images[0].layers[self.base :], self._a, strict=True),
                    *zip(self._images[1].layers[self.base :], self._b, strict=True),
                ),
            )
        ):
            return
        lone = (array("q"), array("q"))
        below, above = rows_to_hash(self.before, self.after, times=False, keep=keep, lone=lone)
        self._find_moved_sizes(lone, (below, above))
        work: dict[int, tuple[Layer, LayerIndex, bytearray]] = {}  # what both sides share is read once, and stays one object
        for image, held, wanted in zip(self._images, (self._a, self._b), (below, above), strict=True):
            for layer, index, rows in zip(image.layers[self.base :], held, wanted, strict=True):
                if rows:
                    marks = work.setdefault(id(index), (layer, index, bytearray(len(index))))[2]
                    for row in rows:
                        marks[row] = 1
        del below, above, lone
        done = self._indexer.task.map(
            lambda item: self._indexer.with_hashes(item[0], item[1], compress(count(), item[2])), [*work.values()]
        )
        known = dict(zip(work, done, strict=True))
        for held in (self._a, self._b):
            held[:] = [known.get(id(index), index) for index in held]
        self.before.replace_indexes(self._a)
        self.after.replace_indexes(self._b)

    def _is_partly_known(self, held: tuple[Layer, LayerIndex]) -> bool:
        """Returns whether contents of a layer count as known only if they were asked for."""
        return held[1].hashed != "all" or self._indexer.reads_headers_only(*held)

    def _find_moved_sizes(self, lone: tuple[array[int], array[int]], wanted: tuple[list[array[int]], list[array[int]]]) -> None:
        """Sets `_moved_sizes`, and adds the rows of `lone` with such a size and no known content to `wanted`."""
        sides = (self._a, self._b)
        sizes = [
            array("q", (held[ref >> 32].sizes[ref & 0xFFFFFFFF] for ref in refs))
            for held, refs in zip(sides, lone, strict=True)
        ]
        self._moved_sizes = frozenset(sizes[0]).intersection(sizes[1]) - {0}
        for held, refs, its_sizes, found in zip(sides, lone, sizes, wanted, strict=True):
            for ref, size in zip(refs, its_sizes, strict=True):
                if size in self._moved_sizes and held[ref >> 32].content(ref & 0xFFFFFFFF) is None:
                    found[ref >> 32].append(ref & 0xFFFFFFFF)

    def changes(
        self,
        known: Collection[str | None],
        heirs: Mapping[int, Layer],
        ignore: Collection[str],
        keep: Callable[[bytes], bool],
    ) -> Iterator[FileChange]:
        """Yields the changes in the order of paths. `known`: identities of layers that both images have. `heirs`: by number
        of a layer of the before image, the corresponding layer of the after image."""
        for path, x, y in walk_both(self.before, self.after):
            if not keep(path):
                continue
            if x is None or y is None:
                kind: ChangeKind = "added" if x is None else "removed"
                yield FileChange(path, kind, (), *self._both(x, y), self._cause(path, x, y, known, heirs))
                continue
            fields = self._fields(x, y, ignore)
            if not fields:
                continue
            kind = "metadata"
            if fields[0] == "type":
                kind, fields = "type", ()
            elif not {"content", "linkTarget", "device"}.isdisjoint(fields):
                kind = "modified"
            yield FileChange(path, kind, fields, *self._both(x, y), self._cause(path, x, y, known, heirs))

    def _cause(
        self, path: bytes, x: Node | None, y: Node | None, known: Collection[str | None], heirs: Mapping[int, Layer]
    ) -> Layer | None:
        """Returns the layer that made the path in the after image (for a directory that no layer lists, the first layer
        with a path in it), or that removed it.

        If that is a layer of both images, or none, returns the layer that corresponds to the one that made it in the before
        image, or None.
        """
        images, base = self._images, self.base
        number = self.after.remover(path) if y is None else layer_of(y)
        layer = None if number is None else images[1].layers[base + number]
        if layer is not None and layer_identity(layer) not in known:
            return layer
        was = None if x is None else layer_of(x)
        return None if was is None else heirs.get(base + was)

    def _fields(self, x: Node, y: Node, ignore: Collection[str]) -> tuple[str, ...]:
        """Returns the fields in which two nodes differ; `type` alone if they are of different types."""
        r, s = ref_of(x), ref_of(y)
        p, q = self.before.inode(r), self.after.inode(s)
        found: tuple[str, ...] = ()
        if p != IMPLIED and q != IMPLIED:
            a, b = self._a[p >> 32], self._b[q >> 32]
            i, j = p & 0xFFFFFFFF, q & 0xFFFFFFFF
            if not (a is b and i == j) and not equal_rows(a, i, b, j):
                same = a.sizes[i] == b.sizes[j] and a.content(i) == b.content(j)
                found = differing(a.entry(i), b.entry(j), same, ignore)
        elif p != q:
            found = differing(self._entry(0, p), self._entry(1, q), True, ignore)
        if not self._linked or "links" in ignore or isinstance(x, Directory) or isinstance(y, Directory):
            return found
        if found[:1] == ("type",):
            return found
        if (p, q) not in self._same_names:
            self._same_names[p, q] = self.before.links(r) == self.after.links(s)
        return found if self._same_names[p, q] else (*found, "links")

    def _entry(self, which: int, ref: int) -> Entry:
        return (self.before, self.after)[which].entry(ref)

    def _both(self, x: Node | None, y: Node | None) -> tuple[Side | None, Side | None]:
        return self._side(0, x, y), self._side(1, y, x)

    def _size_of(self, which: int, node: Node | None) -> int | None:
        """Returns the size of a regular file, None for any other node."""
        if node is None or isinstance(node, Directory):
            return None
        tree = (self.before, self.after)[which]
        inode = tree.inode(node)
        if inode == IMPLIED:
            return None
        index, row = (self._a, self._b)[which][tree.layer(inode)], tree.row(inode)
        return index.sizes[row] if index.kinds[row] == _FILE else None

    def _is_asked(self, which: int, other: Node | None, size: int) -> bool:
        """Returns whether `complete` asked for the content of a file of this size. `other`: what the other side has at its
        path."""
        others = self._size_of(1 - which, other)
        return size in self._moved_sizes if others is None else size == others

    def _names(self, which: int, ref: int) -> tuple[bytes, ...]:
        """Returns all names of a file with several, else an empty tuple. All names of a file share one tuple."""
        tree = (self.before, self.after)[which]
        found = tree.links(ref)
        if not found:
            return ()
        key = which, tree.inode(ref)
        if key not in self._all_names:
            self._all_names[key] = tuple(found)
        return self._all_names[key]

    def _side(self, which: int, node: Node | None, other: Node | None) -> Side | None:
        if node is None:
            return None
        tree = (self.before, self.after)[which]
        ref = ref_of(node)
        inode = tree.inode(ref)
        content: bytes | None = None
        holder: Layer | None = None
        if inode != IMPLIED:
            holder = self._images[which].layers[self.base + tree.layer(inode)]
            index, row = (self._a, self._b)[which][tree.layer(inode)], tree.row(inode)
            if index.kinds[row] == _FILE and not index.has_map_hash(row):
                needed = not self._indexer.reads_headers_only(holder, index) or self._is_asked(which, other, index.sizes[row])
                content = index.content(row) if needed else None
        links = () if isinstance(node, Directory) else self._names(which, ref)
        return Side(tree.entry(ref), content, links, holder)
