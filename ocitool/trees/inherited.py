"""Attributes of directories that layers repeat from the base below, and what becomes of them on another base.

A layer lists the directories above its entries with the attributes that they had in the base. On another base those are
still the old base's. So an attribute (mode, owner, group, each extended attribute) that a layer repeats as it was below
becomes the one that is below now; an attribute that the layer itself set stays. The mtime follows only if another
attribute does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from ocitool.layers.entry import Entry, Kind, Xattrs
from ocitool.layers.index import LayerIndex
from ocitool.layers.rewrite import LayerEdit
from ocitool.trees.nodes import Directory
from ocitool.trees.tree import Tree, node_at

Attributes = Mapping[str | bytes, object]


class InheritedAttributes(NamedTuple):
    """A directory of the layers below: its entry on the old base, and on the new one."""

    was: Entry
    now: Entry


def attributes(entry: Entry) -> dict[str | bytes, object]:
    """Returns the attributes that are compared: mode, uid, gid, and extended attributes by their names."""
    return {"mode": entry.mode, "uid": entry.uid, "gid": entry.gid, **dict(entry.xattrs or ())}


def differing(one: Attributes, other: Attributes) -> set[str | bytes]:
    """Returns the names of the attributes in which two directories differ."""
    return {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}


def follow_base(
    base: Sequence[LayerIndex], own: Sequence[LayerIndex], changed: Mapping[bytes, InheritedAttributes]
) -> list[LayerEdit]:
    """Returns, for each of the `own` layers above `base`, the edit that gives repeated attributes their values on the
    new base.

    `changed`: directories that both bases have, with different attributes. A directory that a layer removes and makes
    again is no longer followed.
    """
    if not changed:
        return [LayerEdit() for _ in own]
    tree = Tree(base)
    below = dict(changed)
    edits = []
    for index in own:
        before = {path: node_at(tree, path) for path in below}
        tree.add(index)
        replace: dict[int, Entry] = {}
        for path, stood in before.items():
            node = node_at(tree, path)
            if not isinstance(node, Directory) or node is not stood:
                del below[path]
                continue
            if tree.layer(node.ref) != len(tree.indexes) - 1:
                continue
            said = tree.entry(node.ref)
            made = _follow(said, below[path])
            below[path] = InheritedAttributes(said, made)
            if differing(attributes(said), attributes(made)):
                replace[tree.row(node.ref)] = made
        edits.append(LayerEdit(replace=replace))
    return edits


def _follow(said: Entry, below: InheritedAttributes) -> Entry:
    """Returns the entry with each attribute that equals the old base's replaced by the new base's."""

    def either(mine: int, was: int, now: int) -> int:
        return now if mine == was else mine

    was, now = below
    return said._replace(
        mode=either(said.mode, was.mode, now.mode), uid=either(said.uid, was.uid, now.uid),
        gid=either(said.gid, was.gid, now.gid), mtime=either(said.mtime, was.mtime, now.mtime),
        xattrs=_xattrs(dict(said.xattrs or ()), dict(was.xattrs or ()), dict(now.xattrs or ())),
    )  # fmt: skip


def _xattrs(said: dict[bytes, bytes], was: Mapping[bytes, bytes], now: Mapping[bytes, bytes]) -> Xattrs | None:
    for key in was.keys() | now.keys():
        if said.get(key) == was.get(key):
            said.pop(key, None)
            if key in now:
                said[key] = now[key]
    return tuple(sorted(said.items())) or None


def outlived_directories(indexes: Sequence[LayerIndex], dropped: Collection[int]) -> Iterator[tuple[bytes, int, int]]:
    """Yields directories that keep the attributes of a dropped layer because an upper layer repeats them: path, number
    of the dropped layer, number of the upper one.

    `indexes`: of all layers; `dropped`: numbers of those that are dropped.
    """
    tree = Tree(())
    given: dict[bytes, tuple[int, Entry]] = {}
    for number, index in enumerate(indexes):
        before = {}
        if number in dropped:
            paths = [index.paths[row] for row in index.rows_of(Kind.DIRECTORY)]
            stood = ((path, node_at(tree, path)) for path in paths)
            before = {path: tree.entry(node.ref) for path, node in stood if isinstance(node, Directory)}
        tree.add(index)
        for path, entry in before.items():
            node = node_at(tree, path)
            if isinstance(node, Directory) and differing(attributes(entry), attributes(tree.entry(node.ref))):
                given[path] = number, tree.entry(node.ref)
    for path, (number, entry) in given.items():
        node = node_at(tree, path)
        if not isinstance(node, Directory) or differing(attributes(entry), attributes(tree.entry(node.ref))):
            continue
        upper = tree.layer(node.ref)
        if upper > number and upper not in dropped:
            yield path, number, upper
