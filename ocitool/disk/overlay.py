"""Layers in the form that the kernel's overlayfs stacks, and the names of the directories to stack.

Sources: the kernel's Documentation/filesystems/overlayfs.rst, and image-spec config.md for chain IDs. Limits of
overlayfs, observed on Linux 6.18: it shows whiteouts in a directory that only one layer has (as names without a file),
it ignores an opaque mark on a layer's root, and it refuses a directory that is listed twice. So a whiteout is written
only if it hides something or a lower layer has its directory, and the layers below an opaque root are left out of the
stack.

A layer is *self-contained* if its form depends on itself alone. Any other layer has a form for each chain of layers
below it: what must be added to their merged tree to get the merged tree with this layer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ocitool.digest import Digest
from ocitool.errors import UnsafeError
from ocitool.layers.entry import Entry, Kind, escapes
from ocitool.layers.index import LayerIndex
from ocitool.trees.nodes import IMPLIED, Directory
from ocitool.trees.tree import Tree

layer_of, row_of = Tree.layer, Tree.row
WHITEOUT = -2
"""Used instead of a ref: the name is a whiteout, which hides what lower layers have."""

_OVERLAY_XATTRS = (b"trusted.overlay.", b"user.overlay.")
_DIRECTORY, _HARDLINK, _WHITEOUT, _OPAQUE, _METADATA = (
    int(Kind.DIRECTORY), int(Kind.HARDLINK), int(Kind.WHITEOUT), int(Kind.OPAQUE), int(Kind.METADATA),
)  # fmt: skip
MOUNT_OPTIONS_SIZE = 4096
"""Bytes that the options of one mount may have (a page of the kernel)."""


class OverlayDir:
    """A directory of a layer in overlay form.

    `ref`: the entry of its attributes. `children`: a directory, `WHITEOUT`, or the ref of the entry that holds anything
    else (the names of one file have one ref).
    """

    __slots__ = ("children", "opaque", "ref")

    def __init__(self, ref: int) -> None:
        self.ref = ref
        self.opaque = False
        self.children: dict[bytes, OverlayDir | int] = {}


class OverlayLayer(NamedTuple):
    """A layer in overlay form.

    `name`: of the directory that holds it: an algorithm and a diff_id or chain ID; forms of one name are equal. The
    root is opaque if all below is hidden.
    """

    number: int
    name: str
    root: OverlayDir


def chain_ids(diff_ids: Sequence[Digest]) -> list[Digest]:
    """Returns the chain ID of each layer, which names the layers up to it (image-spec config.md, "Layer ChainID")."""
    found: list[Digest] = []
    for diff_id in diff_ids:
        found.append(Digest.of(f"{found[-1]} {diff_id}".encode()) if found else diff_id)
    return found


def possible_names(diff_id: Digest, chain_id: Digest) -> list[str]:
    """Returns the names that a layer's form may have."""
    return [f"{diff_id.algorithm}/{diff_id.encoded}", f"{chain_id.algorithm}/{chain_id.encoded}", _lowest_name(diff_id)]


def _lowest_name(diff_id: Digest) -> str:
    """Returns the name of the lowest layer if its self-contained form cannot be used: its chain ID is its diff_id,
    which is taken."""
    return f"{diff_id.algorithm}/{diff_id.encoded}-lowest"


def overlay_layers(indexes: Sequence[LayerIndex], diff_ids: Sequence[Digest]) -> list[OverlayLayer]:
    """Returns the form of every layer, lowest first.

    Raises what `Tree` raises, and `UnsafeError` for an entry that overlayfs would take for one of its own marks.
    """
    found: list[OverlayLayer] = []
    lower, upper = Tree([]), Tree([])  # the layers below this one; the same with it, brought up to date only if needed
    chains = chain_ids(diff_ids)
    counts = Counter(diff_ids)
    for number, index in enumerate(indexes):
        refuse_reserved(index)
        own, chain, lowest = possible_names(diff_ids[number], chains[number])
        root = _form_of_self_contained(index, number) if self_contained(index) else None
        name = own
        if root is None:
            name = chain
        elif not _whiteouts_have_lower(root, lower) or (counts[diff_ids[number]] > 1 and _has_marks(root)):
            root, name = None, chain if number else lowest
        if root is None:
            for missing in indexes[len(upper.indexes) : number + 1]:
                upper.add(missing)
            root = _form_between(lower, upper)
        found.append(OverlayLayer(number, name, root))
        if number + 1 < len(indexes):
            lower.add(index)
    return found


def stack_names(made: Sequence[OverlayLayer]) -> list[str]:
    """Returns the names to stack, top-most first: none twice, and none below an opaque root.

    A name that occurs twice is needed once: the upper occurrence adds and hides what the lower one does.
    """
    found: dict[str, None] = {}
    for form in reversed(made):
        found[form.name] = None
        if form.root.opaque:
            break
    return list(found)


def file_refs(root: OverlayDir) -> Iterator[int]:
    """Yields the refs of all names in a form that are not directories."""
    todo = [root]
    while todo:
        for child in todo.pop().children.values():
            if isinstance(child, OverlayDir):
                todo.append(child)
            elif child != WHITEOUT:
                yield child


def entry_of(indexes: Sequence[LayerIndex], ref: int) -> Entry:
    if ref == IMPLIED:
        return Entry(b"", Kind.DIRECTORY, 0o755, 0, 0, 0, 0)
    return indexes[layer_of(ref)].entry(row_of(ref))


def refuse_reserved(index: LayerIndex) -> None:
    """Raises `UnsafeError` for a layer with attributes or devices that overlayfs would take for its own marks."""
    for row, xattrs in index.xattrs.items():
        if any(name.startswith(_OVERLAY_XATTRS) for name, _ in xattrs):
            raise UnsafeError(f"an attribute that overlayfs would obey: {index.paths[row][:200]!r}")
    for row, device in index.devices.items():
        if device == (0, 0) and index.kinds[row] == Kind.CHAR:
            raise UnsafeError(f"a device 0:0, which overlayfs takes for a whiteout: {index.paths[row][:200]!r}")


def self_contained(index: LayerIndex) -> bool:
    """Returns whether the layer's form is the same over any lower layers: every parent is listed before its entries, every hard
    link comes after its target, and no path is listed twice."""
    directories = {b""}
    seen: set[bytes] = set()
    hiding: list[bytes] = []
    for path, kind, link in zip(index.paths, index.kinds, index.links.column(len(index)), strict=True):
        if kind == _METADATA:
            continue
        parent = path.rpartition(b"/")[0]
        if kind >= _WHITEOUT:
            if kind not in (_WHITEOUT, _OPAQUE):
                return False
            hiding.append(path if kind == _OPAQUE else parent)
            continue
        if path in seen or escapes(path) or parent not in directories:
            return False
        if kind == _HARDLINK and (link not in seen or link in directories):
            return False
        seen.add(path)
        if kind == _DIRECTORY:
            directories.add(path)
    return all(path in directories for path in hiding)


def _form_of_self_contained(index: LayerIndex, number: int) -> OverlayDir:
    """Returns the form of a self-contained layer. `number` is the layer's, for its refs."""
    tree = Tree([index])
    base = Tree.ref(number, 0)
    root = _whole_directory(tree.root, tree, base)
    for path, kind in zip(index.paths, index.kinds, strict=True):
        if kind not in (_WHITEOUT, _OPAQUE):
            continue
        parent, _, name = path.rpartition(b"/")
        over = _directory_at(root, path if kind == _OPAQUE else parent)
        if kind == _OPAQUE:
            over.opaque = True
            continue
        child = over.children.setdefault(name, WHITEOUT)
        if isinstance(child, OverlayDir):
            child.opaque = True
    _drop_hidden_marks(root)
    return root


def _directory_at(root: OverlayDir, path: bytes) -> OverlayDir:
    for name in path.split(b"/") if path else ():
        child = root.children[name]
        assert isinstance(child, OverlayDir)
        root = child
    return root


def _whole_directory(directory: Directory, tree: Tree, base: int) -> OverlayDir:
    """Returns the form of all of a directory, with `base` added to its refs."""
    root = OverlayDir(directory.ref + base if directory.ref != IMPLIED else IMPLIED)
    todo = [(directory, root)]
    while todo:
        source, over = todo.pop()
        for name, node in source.children.items():
            if isinstance(node, Directory):
                below = over.children[name] = OverlayDir(node.ref + base if node.ref != IMPLIED else IMPLIED)
                todo.append((node, below))
            else:
                over.children[name] = tree.inode(node) + base
    return root


def _drop_hidden_marks(root: OverlayDir) -> None:
    """Removes whiteouts and opaque marks below an opaque directory, where they hide nothing."""
    todo = [(root, False)]
    while todo:
        over, hidden = todo.pop()
        if hidden:
            over.opaque = False
        hidden = hidden or over.opaque
        if hidden and WHITEOUT in over.children.values():
            over.children = {name: child for name, child in over.children.items() if child != WHITEOUT}
        todo.extend((child, hidden) for child in over.children.values() if isinstance(child, OverlayDir))


def _whiteouts_have_lower(root: OverlayDir, lower: Tree) -> bool:
    """Returns whether every whiteout is in a directory that lower layers have too. (The root always counts as one.)"""
    todo: list[tuple[OverlayDir, Directory | int | None]] = [(root, lower.root)]
    while todo:
        over, node = todo.pop()
        below = node if isinstance(node, Directory) else None
        if below is None and WHITEOUT in over.children.values():
            return False
        for name, child in over.children.items():
            if isinstance(child, OverlayDir):
                todo.append((child, below.children.get(name) if below is not None else None))
    return True


def _has_marks(root: OverlayDir) -> bool:
    todo = [root]
    while todo:
        over = todo.pop()
        if over.opaque or WHITEOUT in over.children.values():
            return True
        todo.extend(child for child in over.children.values() if isinstance(child, OverlayDir))
    return False


def _form_between(lower: Tree, upper: Tree) -> OverlayDir:
    """Returns the form that turns `lower` into `upper`: whiteouts for what is gone, or an opaque mark if nothing of a
    directory is left."""
    root = OverlayDir(upper.root.ref)
    frames: list[tuple[Directory, Directory, OverlayDir, OverlayDir | None, bytes]] = [
        (upper.root, lower.root, root, None, b"")
    ]
    inherits: set[int] = set()
    for now, before, over, _, _ in frames:  # `frames` grows while it is iterated
        for name, node in now.children.items():
            old = before.children.get(name)
            if isinstance(node, Directory):
                if isinstance(old, Directory):
                    frames.append((node, old, OverlayDir(node.ref), over, name))
                else:
                    over.children[name] = _whole_directory(node, upper, 0)
            elif node == old:
                inherits.add(id(over))
            else:
                over.children[name] = upper.inode(node)
        for name in before.children.keys() - now.children.keys():
            over.children[name] = WHITEOUT
    for now, before, over, parent, name in reversed(frames):
        if id(over) not in inherits and WHITEOUT in over.children.values():
            over.opaque = True
        if parent is None:
            continue
        changed = over.children or over.opaque or now.ref != before.ref
        if changed:
            parent.children[name] = over
        if not changed or id(over) in inherits:
            inherits.add(id(parent))
    _drop_hidden_marks(root)
    return root
