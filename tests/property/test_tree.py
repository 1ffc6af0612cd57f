"""The merged tree against a naive model of "Applying Changesets" (image-spec layer.md), for any layers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ocitool.layers.entry import Entry, Kind
from ocitool.layers.index import LayerIndex
from ocitool.trees.nodes import IMPLIED, Directory, HiddenFile
from ocitool.trees.tree import Tree

Layers = Sequence[Sequence[Entry]]


def made(path: str, kind: Kind, link: str = "", uid: int = 0) -> Entry:
    return Entry(path.encode(), kind, 0o644, uid, 0, 0, 0, link.encode(), 0, 0, None, None, None)


def index_of(entries: Sequence[Entry]) -> LayerIndex:
    index = LayerIndex()
    for entry in entries:
        index.add(entry)
    return index


def tree_of(layers: Layers, *, missing_base: bool = False) -> Tree:
    return Tree([index_of(layer) for layer in layers], missing_base=missing_base)


# The model: a dictionary of real paths. Slow, and nothing but the rules.


@dataclass
class Node:
    kind: Kind
    source: tuple[int, int] | None
    """Layer and row; None for a directory that no layer lists."""
    inode: tuple[int, int] | None = None
    """Of a file or hard link: the entry whose content it has; None for a link to nothing."""
    target: bytes = b""


class Model:
    def __init__(self, layers: Layers) -> None:
        self.nodes: dict[bytes, Node] = {b"": Node(Kind.DIRECTORY, None)}
        for number, layer in enumerate(layers):
            self._layer(number, layer)

    def resolve(self, path: bytes, follow: bool) -> bytes | None:
        """The real path of what stands at a path, or None."""
        at: list[bytes] = []
        left = path.split(b"/")
        hops = 0
        while left:
            name = left.pop(0)
            if name in (b"", b"."):
                continue
            if name == b"..":
                at = at[:-1]
                continue
            here = b"/".join([*at, name])
            node = self.nodes.get(here)
            if node is None:
                return None
            if node.kind == Kind.SYMLINK and (left or follow):
                hops += 1
                if hops > 40:
                    return None
                if node.target.startswith(b"/"):
                    at = []
                left = node.target.split(b"/") + left
            elif node.kind != Kind.DIRECTORY and left:
                return None
            else:
                at.append(name)
        return b"/".join(at)

    def directory_at(self, path: bytes) -> bytes | None:
        real = self.resolve(path, True)
        return real if real is not None and self.nodes[real].kind == Kind.DIRECTORY else None

    def remove(self, path: bytes) -> None:
        for other in list(self.nodes):
            if other == path or other.startswith(path + b"/"):
                del self.nodes[other]

    def content(self, link: bytes) -> tuple[int, int] | None:
        real = self.resolve(link, False)
        return None if real is None else self.nodes[real].inode

    def _lower_directory(self, path: bytes, own: set[bytes]) -> bytes | None:
        """The directory of the layers below that a layer means by a path, where its own directories hide links."""
        real = b""
        spelt: list[bytes] = []
        for name in path.split(b"/") if path else []:
            spelt.append(name)
            here = real + b"/" + name if real else name
            node = self.nodes.get(here)
            if node is None:
                return None
            if node.kind == Kind.DIRECTORY:
                real = here
                continue
            led = self.directory_at(b"/".join(spelt))
            if node.kind != Kind.SYMLINK or b"/".join(spelt) in own or led is None:
                return None
            real = led
        return real

    def _layer(self, number: int, layer: Sequence[Entry]) -> None:
        own = {entry.path for entry in layer if entry.kind == Kind.DIRECTORY}
        before = {entry.link: self.content(entry.link) for entry in layer if entry.kind == Kind.HARDLINK}
        gone: set[bytes] = set()
        for entry in layer:
            if entry.kind == Kind.WHITEOUT:
                parent, _, name = entry.path.rpartition(b"/")
                real = self._lower_directory(parent, own)
                if real is not None:
                    gone.add(real + b"/" + name if real else name)
            elif entry.kind == Kind.OPAQUE:
                real = self._lower_directory(entry.path, own)
                if real is not None:
                    gone |= {p for p in self.nodes if p and p.rpartition(b"/")[0] == real}
        for path in gone:
            self.remove(path)
        deleted = {link: content for link, content in before.items() if self.content(link) is None}
        waiting: list[tuple[bytes, Node, bytes]] = []
        for row, entry in enumerate(layer):
            if entry.kind < Kind.WHITEOUT:
                self._entry(number, row, entry, waiting)
        for may_be_deleted in (False, True):
            progress = True
            while progress:
                progress = False
                for path, node, link in waiting:
                    if node.inode is None and path != link:
                        node.inode = self.content(link)
                        progress |= node.inode is not None
            if not may_be_deleted:
                for path, node, link in waiting:
                    if node.inode is None and path != link:
                        node.inode = deleted.get(link)

    def _entry(self, number: int, row: int, entry: Entry, waiting: list[tuple[bytes, Node, bytes]]) -> None:
        parent, _, name = entry.path.rpartition(b"/")
        real = self._make(parent)
        path = real + b"/" + name if real else name
        old = self.nodes.get(path)
        source = (number, row)
        if entry.kind == Kind.DIRECTORY:
            if old is not None and old.kind == Kind.DIRECTORY:
                old.source = source
                return
            self.remove(path)
            self.nodes[path] = Node(Kind.DIRECTORY, source)
            return
        node = Node(entry.kind, source, source, entry.link)
        if entry.kind == Kind.HARDLINK:
            if entry.link == entry.path and old is not None:
                return
            node.inode = self.content(entry.link) if entry.link != entry.path else None
            if node.inode is None:
                waiting.append((entry.path, node, entry.link))
            target = self.resolve(entry.link, False)
            if target is not None and node.inode is not None and self.nodes[target].kind == Kind.SYMLINK:
                node.kind, node.target = Kind.SYMLINK, self.nodes[target].target
        self.remove(path)
        self.nodes[path] = node

    def _make(self, path: bytes) -> bytes:
        real = b""
        spelt: list[bytes] = []
        for name in path.split(b"/") if path else []:
            spelt.append(name)
            here = real + b"/" + name if real else name
            node = self.nodes.get(here)
            led = self.directory_at(b"/".join(spelt)) if node is not None and node.kind == Kind.SYMLINK else None
            if led is not None:
                real = led
                continue
            if node is None or node.kind != Kind.DIRECTORY:
                self.remove(here)
                self.nodes[here] = Node(Kind.DIRECTORY, None)
            real = here
        return real

    def seen(self) -> dict[bytes, object]:
        return {
            path: ("directory", node.source) if node.kind == Kind.DIRECTORY else (node.source, node.inode)
            for path, node in self.nodes.items()
            if path
        }


def seen(tree: Tree) -> dict[bytes, object]:
    """What the tree says, in the model's words."""

    def place(ref: int) -> tuple[int, int] | None:
        return None if ref == IMPLIED else (tree.layer(ref), tree.row(ref))

    found: dict[bytes, object] = {}
    for path, node in tree.walk():
        if isinstance(node, Directory):
            found[path] = ("directory", place(node.ref))
        else:
            inode = tree.inode(node)
            broken = tree.entry(node).kind == Kind.HARDLINK
            found[path] = (place(node), None if broken else place(inode))
    return found


# Layers of few names, so that they meet.

names = st.sampled_from(["a", "b", "c"])
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
owners = st.integers(0, 2)
targets = st.one_of(paths, st.sampled_from(["..", "../a", "/a", "/b/c", ".", "nowhere", "a/../b"]))
directories = st.builds(lambda p, u: made(p, Kind.DIRECTORY, uid=u), paths, owners)
files = st.builds(lambda p, u: made(p, Kind.FILE, uid=u), paths, owners)
symlinks = st.builds(lambda p, t, u: made(p, Kind.SYMLINK, t, u), paths, targets, owners)
hard_links = st.builds(lambda p, t: made(p, Kind.HARDLINK, t), paths, paths)
hides = st.builds(made, paths, st.sampled_from([Kind.WHITEOUT, Kind.OPAQUE]))
layer = st.lists(st.one_of(directories, files, symlinks, hard_links, hides), max_size=7)
stacks = st.lists(layer, min_size=1, max_size=4)


@settings(max_examples=500)
@given(stacks)
def test_tree_equals_the_naive_model(layers: list[list[Entry]]) -> None:
    assert seen(tree_of(layers)) == Model(layers).seen()


plain = st.lists(st.one_of(directories, files, hard_links, hides), max_size=12)


@settings(max_examples=250)
@given(st.lists(plain, min_size=2, max_size=3))
def test_tree_equals_the_naive_model_with_many_hard_links(layers: list[list[Entry]]) -> None:
    assert seen(tree_of(layers)) == Model(layers).seen()


@settings(max_examples=150)
@given(stacks, layer, st.integers(0, 1 << 30))
def test_whiteouts_may_stand_anywhere_in_their_layer(lower: list[list[Entry]], top: list[Entry], seed: int) -> None:
    special = [entry for entry in top if entry.kind >= Kind.WHITEOUT]
    normal = [entry for entry in top if entry.kind < Kind.WHITEOUT]
    chance = random.Random(seed)
    chance.shuffle(special)
    mixed = list(normal)
    for entry in special:
        mixed.insert(chance.randrange(len(mixed) + 1), entry)
    assert state(tree_of([*lower, [*special, *normal]])) == state(tree_of([*lower, mixed]))


def state(tree: Tree) -> dict[bytes, object]:
    """Path -> kind, owner, link, and the names that share its content: what a diff of two trees looks at."""
    found: dict[bytes, object] = {}
    for path, node in tree.walk():
        ref = node.ref if isinstance(node, Directory) else node
        entry = tree.entry(ref)
        links = () if isinstance(node, Directory) else tuple(tree.links(node))
        found[path] = (entry.kind, entry.uid, entry.link, links)
    return found


@settings(max_examples=150)
@given(stacks)
def test_empty_layers_change_nothing(layers: list[list[Entry]]) -> None:
    spaced: list[list[Entry]] = [[]]
    for one in layers:
        spaced += [one, []]
    assert state(tree_of(layers)) == state(tree_of(spaced))


@settings(max_examples=150)
@given(stacks)
def test_a_whole_deletion_leaves_what_its_own_layer_has(layers: list[list[Entry]]) -> None:
    top = [made("", Kind.OPAQUE), made("a", Kind.DIRECTORY), made("a/b", Kind.FILE)]
    assert state(tree_of([*layers, top])) == state(tree_of([top]))


@settings(max_examples=150)
@given(stacks)
def test_every_hidden_file_is_told_once_and_is_visible_no_more(layers: list[list[Entry]]) -> None:
    reported: list[HiddenFile] = []
    tree = Tree([index_of(one) for one in layers], hidden=reported.append)
    refs = [hidden.ref for hidden in reported]
    assert sorted(set(refs)) == sorted(refs)
    assert not set(refs) & {node for _, node in tree.walk() if not isinstance(node, Directory)}


@settings(max_examples=150)
@given(stacks)
def test_removed_names_a_layer_that_exists_and_nothing_implied(layers: list[list[Entry]]) -> None:
    tree = tree_of(layers)
    assert all(0 <= number < len(layers) for number in tree.removed.values())
    before: set[bytes] = set()
    for count in range(1, len(layers) + 1):
        before |= {path for path, _ in tree_of(layers[:count]).walk()}
    for path in before - {path for path, _ in tree.walk()}:
        assert tree.remover(path) is not None, path


# Upper layers without their base.


def with_parents(entries: Sequence[Entry]) -> list[Entry]:
    """The layer as careful tools write it: every parent is listed before its entries."""
    found: list[Entry] = []
    listed = {entry.path for entry in entries if entry.kind == Kind.DIRECTORY}
    for entry in entries:
        parts = entry.path.split(b"/")
        for depth in range(1, len(parts)):
            parent = b"/".join(parts[:depth])
            if parent not in listed:
                listed.add(parent)
                found.append(made(parent.decode(), Kind.DIRECTORY))
        found.append(entry)
    return found


def listed(layers: Layers) -> set[tuple[bytes, str]]:
    """What `needs_base` goes with: each path with whether it is a directory, something else, or hides."""
    return {
        (e.path, e.kind.name if e.kind in (Kind.DIRECTORY, Kind.WHITEOUT, Kind.OPAQUE) else "other")
        for one in layers
        for e in one
    }


@st.composite
def suffixes(draw: st.DrawFn) -> tuple[list[list[Entry]], list[list[Entry]]]:
    """Two stacks that list the same paths: one's entries, others' owners and kinds, in another order and other layers."""
    first = [with_parents(one) for one in draw(st.lists(layer, min_size=1, max_size=3))]
    chance = draw(st.randoms(use_true_random=False))
    second = [list(one) for one in first]
    change = draw(st.sampled_from(["owners", "order", "layers"]))
    if change == "layers":
        entries = [entry for one in first for entry in one]
        cut = chance.randrange(len(entries) + 1)
        second = [entries[:cut], entries[cut:]] if chance.random() < 0.5 else [entries[cut:], entries[:cut]]
    elif change == "order":
        for one in second:
            chance.shuffle(one)
        if chance.random() < 0.3:
            second.reverse()
    second = [[entry._replace(uid=chance.randrange(3)) if chance.random() < 0.5 else entry for entry in one] for one in second]
    return first, second


def differences(a: Tree, b: Tree) -> dict[bytes, tuple[object, object]]:
    left, right = state(a), state(b)
    return {path: (left.get(path), right.get(path)) for path in left.keys() | right.keys() if left.get(path) != right.get(path)}


@settings(max_examples=500)
@given(st.lists(layer, min_size=1, max_size=2), suffixes())
def test_differences_of_upper_layers_are_those_of_the_images_when_no_base_is_needed(
    base: list[list[Entry]], pair: tuple[list[list[Entry]], list[list[Entry]]]
) -> None:
    first, second = pair
    a, b = tree_of(first, missing_base=True), tree_of(second, missing_base=True)
    assume(not a.needs_base and not b.needs_base and listed(first) == listed(second))
    assert differences(a, b) == differences(tree_of([*base, *first]), tree_of([*base, *second]))
