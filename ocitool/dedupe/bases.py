"""The common bases of images: sequences of lowest layers, compared by diff_id, that several images begin with.

The images form a tree: its nodes are layers, and images that begin with the same layers share the nodes from the root on. A
base is a path from the root to a node at which images branch, or at which one of them ends. Cost: one step for each layer
of an image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ocitool import masking
from ocitool.dedupe.collection import Collection, PlatformImage, StoredBlob


@dataclass(slots=True)
class SharedBase:
    """Layers that several images begin with, lowest layer first.

    `users`: numbers of the images that begin with them; `exact_users`: of those that have no other layers (its keys).
    `parent`: the position, in the list that `bases` returns, of the largest base that these layers begin with. `name`: see
    `_name`. `chain_id`: None if a diff_id is unknown. `size`: stored bytes of the layers in the first image.
    """

    layers: tuple[StoredBlob, ...]
    users: list[int]
    exact_users: dict[int, None]
    parent: int | None
    name: str | None
    chain_id: str | None
    size: int

    @property
    def saved(self) -> int:
        """Bytes that are not stored because several images share the base."""
        return self.size * (len(self.users) - 1)

    @property
    def short(self) -> str:
        """The short digest of the top layer, by which a base without a name is called."""
        return self.layers[-1].key.partition(":")[2][:12]


class _Tail(NamedTuple):
    """The layers that only one image has at this place of the tree, which is most of them."""

    number: int
    image: PlatformImage


@dataclass(slots=True)
class _Node:
    """A layer in the tree of images. `children`: the layers that follow it in some image, by diff_id. `users`: the images
    that have the layers from the root to here; `exact_users`: those that end here."""

    layer: StoredBlob | None = None
    diff_id: str | None = None
    children: dict[str, _Node | _Tail] = field(default_factory=dict)
    users: dict[int, PlatformImage] = field(default_factory=dict)
    exact_users: dict[int, PlatformImage] = field(default_factory=dict)

    def add(self, number: int, image: PlatformImage) -> None:
        """Adds an image to the tree of which this is the root."""
        node = self
        for depth, (layer, diff_id) in enumerate(zip(image.layers, image.diff_ids, strict=True), 1):
            key = diff_id or layer.key
            child = node.children.get(key)
            if child is None:
                node.children[key] = _Tail(number, image)
                return
            if isinstance(child, _Tail):
                first, child = child, _Node(layer, diff_id)
                node.children[key] = child
                child._follow(first, depth)
            node = child
            node.users.setdefault(number, image)
        if node is not self:
            node.exact_users[number] = image

    def _follow(self, first: _Tail, depth: int) -> None:
        """Makes the image that had this layer alone so far, the one at `depth`, one of its users."""
        layers, diff_ids = first.image.layers, first.image.diff_ids
        self.layer, self.diff_id = layers[depth - 1], diff_ids[depth - 1]
        self.users[first.number] = first.image
        if len(layers) > depth:
            self.children[diff_ids[depth] or layers[depth].key] = first
        else:
            self.exact_users[first.number] = first.image


def bases(collection: Collection) -> list[SharedBase]:
    """Returns the bases, those of most images first, each after its parent."""
    root = _Node()
    for entry in collection.members:
        for image in entry.platform_images:
            root.add(entry.number, image)
    found: list[SharedBase] = []
    waiting: list[tuple[_Node, tuple[_Node, ...], int | None]] = [(root, (), None)]
    while waiting:
        node, prefix, parent = waiting.pop()
        while len(node.children) == 1 and not node.exact_users and (node is root or len(node.users) > 1):
            (child,) = node.children.values()  # no image branches off here
            if isinstance(child, _Tail):
                break
            node = child
            prefix = (*prefix, node)
        if prefix and len(node.users) > 1:
            layers = tuple(one.layer for one in prefix if one.layer is not None)
            chain = _chain_id([one.diff_id for one in prefix])
            size = sum(layer.size for layer in dict.fromkeys(layers))
            found.append(SharedBase(layers, list(node.users), dict.fromkeys(node.exact_users), parent, None, chain, size))
            found[-1].name = _name(found[-1], node, collection, found)
            parent = len(found) - 1
        shared = [one for one in node.children.values() if isinstance(one, _Node) and len(one.users) > 1]
        for child in sorted(shared, key=lambda one: len(one.users)):  # `pop` takes the last first
            waiting.append((child, (*prefix, child), parent))
    return found


def repeated_builds(collection: Collection) -> tuple[int, int]:
    """Returns how many images the same instructions made as another one for the same platform, and the bytes of their layers
    that no earlier one of them has: at most so much is equal but for times and volatile files, which only contents tell."""
    first: dict[tuple[str, int], tuple[StoredBlob, ...]] = {}
    held: dict[tuple[str, int], set[StoredBlob]] = {}
    counted: set[StoredBlob] = set()
    count = 0
    for entry in collection.members:
        for image in entry.platform_images:
            if image.instructions_hash is None:
                continue
            key = image.platform, image.instructions_hash
            if (before := first.setdefault(key, image.layers)) is image.layers:
                continue
            known = held.setdefault(key, set(before))
            if not known.issuperset(image.layers):
                count += 1
                counted.update(layer for layer in image.layers if layer not in known)
            known.update(image.layers)
    return count, sum(layer.size for layer in counted)


def _name(base: SharedBase, node: _Node, collection: Collection, found: Sequence[SharedBase]) -> str | None:
    """Returns a name of the base: the reference of an image that has its layers and no others; else the name that the
    annotations of all its users state as their base, unless a smaller base has that name."""
    for number, image in node.exact_users.items():
        entry = collection.members[number]
        return entry.reference if entry.kind == "image" else f"{entry.reference} {masking.stated(image.platform)}"
    stated = {image.base[0] for image in node.users.values()}
    if len(stated) != 1:
        return None
    (name,) = stated
    return name if name not in {found[number].name for number in _ancestors(base, found)} else None


def _ancestors(base: SharedBase, found: Sequence[SharedBase]) -> Iterator[int]:
    """Yields the positions of the base's parent, of the parent of that, and so on."""
    parent = base.parent
    while parent is not None:
        yield parent
        parent = found[parent].parent


def _chain_id(diff_ids: Sequence[str | None]) -> str | None:
    """Returns the chain ID (config.md, "Layer ChainID"); None if a diff_id is unknown."""
    chain = None
    for diff_id in diff_ids:
        if diff_id is None:
            return None
        chain = diff_id if chain is None else "sha256:" + hashlib.sha256(f"{chain} {diff_id}".encode()).hexdigest()
    return chain
