"""The nodes of a merged tree, and how paths lead to them.

An entry is named by a ref: the layer's number and the row of its index in one integer (`Tree.ref`, `Tree.layer`,
`Tree.row`). Integers instead of objects keep a tree of millions of paths small; hot loops split a ref in place.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ocitool import limits
from ocitool.errors import LimitError
from ocitool.layers.entry import Kind, shown_path
from ocitool.layers.index import LayerIndex
from ocitool.trees.path_stack import PathStack

SHOWN = 200
"""Bytes of a path that a message shows."""
_SYMLINK = int(Kind.SYMLINK)

REF_SHIFT = 32
"""Bits of a ref below the layer's number."""
ROW_MASK = (1 << REF_SHIFT) - 1
"""The bits of a ref that are the row."""
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


def walk(directory: Directory, prefix: bytes = b"") -> Iterator[tuple[bytes, Node]]:
    """Yields path and node of everything below a directory, sorted by name, parents first. `prefix`: its path."""
    stack: list[tuple[bytes, Node]] = []

    def push(found: Directory, at: bytes) -> None:
        children = found.children
        stack.extend((at + name, children[name]) for name in sorted(children, reverse=True))

    push(directory, prefix + b"/" if prefix else b"")
    while stack:
        path, node = stack.pop()
        yield path, node
        if isinstance(node, Directory):
            push(node, path + b"/")


class PathLookup:
    """Finds nodes by path, with symbolic links followed inside the root, as the kernel does in a changed root.

    `indexes`: those of the layers, lowest first. `inodes`: for a hard link the ref of the file that it shares.
    """

    def __init__(self) -> None:
        self.root = Directory(IMPLIED)
        self.indexes: tuple[LayerIndex, ...] = ()
        self.inodes: dict[int, int] = {}
        self.steps = 0
        """Names in the targets of all links that were followed, of which there may be `max_steps`."""
        self.max_steps = limits.LINK_STEPS

    def kind(self, ref: int) -> int:
        """Returns the kind of the entry itself, which may be a hard link."""
        return self.indexes[ref >> REF_SHIFT].kinds[ref & ROW_MASK]

    def is_symlink(self, ref: int) -> bool:
        """Returns whether an entry, or the file that it shares as a hard link, is a symbolic link."""
        return self.kind(self.inodes.get(ref, ref)) == _SYMLINK

    def resolve(self, path: bytes, follow: bool) -> tuple[Node | None, bytes]:
        """Returns the node at a normalised path, and its real path. A link at the end is followed only with `follow`."""
        directory = self.root
        *above, last = path.split(b"/")
        for name in above:
            child = directory.children.get(name)
            if not isinstance(child, Directory):
                break
            directory = child
        else:  # no link in its directories
            child = directory.children.get(last)
            if isinstance(child, Directory) or (child is not None and not (follow and self.is_symlink(child))):
                return child, path
        stack = PathStack(self.root)
        node = self.walk(stack, path, follow, path)
        return node, stack.path if node is not None else b""

    def walk(self, stack: PathStack[Directory], path: bytes, follow: bool, whole: bytes) -> Node | None:
        """Follows `path` from the position of `stack`, which it moves, and returns the node there: `..` at the root stays
        there. `whole`: the path named in errors.

        Names in link targets are counted, so that neither long detours nor links to links cost more than `LINK_STEPS`
        and `ENTRY_LINK_STEPS` allow for the tree.
        """
        parts = path.split(b"/")
        parts.reverse()
        while parts:
            name = parts.pop()
            if not name or name == b".":
                continue
            if name == b"..":
                stack.leave()
                continue
            child = stack.directory.children.get(name)
            if child is None:
                return None
            if isinstance(child, Directory):
                stack.enter(child, name)
            elif self.is_symlink(child) and (parts or follow):
                stack.hops += 1
                if stack.hops > limits.SYMLINK_HOPS:
                    return None
                inode = self.inodes.get(child, child)
                target = self.indexes[inode >> REF_SHIFT].links[inode & ROW_MASK]
                if target.startswith(b"/"):
                    stack.to_root()
                more = target.split(b"/")
                more.reverse()
                parts += more
                self.steps += len(more)
                if self.steps > self.max_steps:
                    text = f"symbolic links with more than {self.max_steps} names in their targets were followed"
                    raise LimitError(text, shown_path(whole, SHOWN))
            elif parts:
                return None
            else:
                stack.last = name
                return child
        return stack.directory

    def follow_link(self, stack: PathStack[Directory], name: bytes, path: bytes) -> PathStack[Directory] | None:
        """Returns the position that the symbolic link `name` leads to; None if it does not lead to a directory. `path`:
        named in errors."""
        target = stack.copy()
        if not isinstance(self.walk(target, name, True, path), Directory):
            return None
        if target.size > limits.PATH_LENGTH or len(target.names) > limits.PATH_DEPTH:
            raise LimitError(
                f"symbolic links lead to a path of {target.size} bytes, {len(target.names)} levels deep",
                shown_path(path, SHOWN),
            )
        return target
