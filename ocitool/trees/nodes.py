"""The nodes of a merged tree, and how paths lead to them."""

from __future__ import annotations

from typing import NamedTuple

REF_SHIFT = 32
ROW_MASK = (1 << REF_SHIFT) - 1
IMPLIED = -1
"""The ref of a directory that no layer lists: a missing parent."""


class Directory:
    """A directory. `ref` is the entry of its attributes; `children` maps names to directories, or to the refs of
    everything else."""

    __slots__ = ("children", "ref")

    def __init__(self, ref: int) -> None:
        self.ref = ref
        self.children: dict[bytes, Directory | int] = {}


class ImpliedDirectory(Directory):
    """A directory that no layer lists and `layer` needs as a parent; `ref` is `IMPLIED` until a layer lists it too."""

    __slots__ = ("layer",)

    def __init__(self, layer: int) -> None:
        super().__init__(IMPLIED)
        self.layer = layer


Node = Directory | int
"""What a name stands for: a directory, or the ref of anything else."""


class HiddenFile(NamedTuple):
    """A file or link that a later layer hides. `by`: that layer; `replaced`: the ref that took its name, or None."""

    ref: int
    path: bytes
    by: int
    replaced: int | None


def ref_of(node: Node) -> int:
    return node.ref if isinstance(node, Directory) else node


def layer_of(node: Node) -> int | None:
    """Returns the number of the layer that a node comes from; None for a root that no layer lists."""
    ref = ref_of(node)
    if ref != IMPLIED:
        return ref >> REF_SHIFT
    return node.layer if isinstance(node, ImpliedDirectory) else None
