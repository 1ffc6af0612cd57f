"""The common bases of images: the prefixes of layers, by diff_id, that several images share.

A base is a prefix at which images branch, or at which one of them ends: a node of the tree of builds. Cost: one step
for each layer of an image.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ocitool import masking
from ocitool.dedupe.collection import Collection, PlatformImage, StoredBlob
from ocitool.digest import Digest


@dataclass(slots=True)
class SharedBase:
    """A prefix of layers that several images share, lowest layer first.

    `users`: numbers of the images that have it; `whole`: numbers of those that have no other layers. `parent`: position of
    the base below. `size`: stored bytes of the prefix, as in the first image.
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
        """A short name for a base without a name: the short digest of its top layer."""
        return self.layers[-1].key.partition(":")[2][:12]


@dataclass(slots=True)
class _Node:
    """A layer in the tree of builds. `users`: the images with the layers up to here; `whole`: those that end here."""

    layer: StoredBlob | None = None
    diff_id: Digest | None = None
    children: dict[str, _Node] = field(default_factory=dict)
    users: dict[int, PlatformImage] = field(default_factory=dict)
    exact_users: dict[int, PlatformImage] = field(default_factory=dict)


def bases(collection: Collection) -> list[SharedBase]:
    """Returns the bases, those of most images first, each after its parent."""
    root = _Node()
    for member in collection.members:
        for stack in member.platform_images:
            node = root
            for layer, diff_id in zip(stack.layers, stack.diff_ids, strict=True):
                known = str(diff_id) if diff_id is not None else layer.key
                if known not in node.children:
                    node.children[known] = _Node(layer, diff_id)
                node = node.children[known]
                node.users.setdefault(member.number, stack)
            if node is not root:
                node.exact_users[member.number] = stack
    found: list[SharedBase] = []
    waiting: list[tuple[_Node, tuple[_Node, ...], int | None]] = [(root, (), None)]
    while waiting:
        node, prefix, parent = waiting.pop()
        while len(node.children) == 1 and not node.exact_users and (node is root or len(node.users) > 1):
            (node,) = node.children.values()  # no image branches off here
            prefix = (*prefix, node)
        if prefix and len(node.users) > 1:
            layers = tuple(one.layer for one in prefix if one.layer is not None)
            chain = _chain_id([one.diff_id for one in prefix])
            size = sum(layer.size for layer in dict.fromkeys(layers))
            found.append(SharedBase(layers, list(node.users), dict.fromkeys(node.exact_users), parent, None, chain, size))
            found[-1].name = _name(found[-1], node, collection, found)
            parent = len(found) - 1
        several = [one for one in node.children.values() if len(one.users) > 1]
        for one in sorted(several, key=lambda one: len(one.users)):
            waiting.append((one, (*prefix, one), parent))
    return found


def _name(base: SharedBase, node: _Node, collection: Collection, found: Sequence[SharedBase]) -> str | None:
    """Returns the image that is this base and nothing else; else the base name that all its images state, unless the
    parent has it."""
    for number, stack in node.exact_users.items():
        member = collection.members[number]
        return member.reference if member.kind == "image" else f"{member.reference} {masking.stated(stack.platform)}"
    named = Counter(stack.base[0] for stack in node.users.values())
    if len(named) != 1:
        return None
    (name,) = named
    above = {found[number].name for number in _ancestors(base, found)}
    return name if name not in above else None


def _ancestors(base: SharedBase, found: Sequence[SharedBase]) -> Iterator[int]:
    """Yields the positions of the base's parent and of all its parents."""
    parent = base.parent
    while parent is not None:
        yield parent
        parent = found[parent].parent


def _chain_id(diff_ids: Sequence[Digest | None]) -> str | None:
    """Returns the chain ID (config.md, "Layer ChainID"); None if a diff_id is unknown."""
    chain = None
    for diff_id in diff_ids:
        if diff_id is None:
            return None
        text = str(diff_id)
        chain = text if chain is None else "sha256:" + hashlib.sha256(f"{chain} {text}".encode()).hexdigest()
    return chain
