"""Finds what a new layer changes of an image: files that it overwrites, directories whose attributes it changes."""

from __future__ import annotations

from dataclasses import dataclass, field

from ocitool.disk.scan_directory import first_paths
from ocitool.layers.entry import Kind, shown_path
from ocitool.layers.index import LayerIndex
from ocitool.task import Task
from ocitool.trees.inherited import attributes, differing
from ocitool.trees.nodes import Directory, Node
from ocitool.trees.tree import Tree, node_at

_NAMES = {
    Kind.FILE: "a file", Kind.DIRECTORY: "a directory", Kind.SYMLINK: "a symbolic link", Kind.CHAR: "a device",
    Kind.BLOCK: "a device", Kind.FIFO: "a FIFO",
}  # fmt: skip
_MAX_LISTED = 3


@dataclass(slots=True)
class Overwritten:
    """The changed paths in the order of the layer. `types`: paths of another type now, with the type before and after."""

    files: list[bytes] = field(default_factory=list)
    types: list[tuple[bytes, str, str]] = field(default_factory=list)
    directories: list[bytes] = field(default_factory=list)

    def notice(self, name: str, task: Task) -> None:
        """Adds a notice for each kind of change. `name`: what the layer is made of."""
        if self.types:
            listed = [f"{shown_path(path)} was {was} and is {now} now" for path, was, now in self.types[:_MAX_LISTED]]
            more = f", and {len(self.types) - _MAX_LISTED:,} more" if len(self.types) > _MAX_LISTED else ""
            task.notice("type-changed", f"{name} changes what the image has: {', '.join(listed)}{more}")
        if self.files:
            task.notice(
                "overwritten", f"{name} overwrites {_count(len(self.files), 'file')} of the image: {first_paths(self.files)}"
            )
        if self.directories:
            what = "directory" if len(self.directories) == 1 else "directories"
            text = f"{name} changes mode, owner or extended attributes of {len(self.directories):,} {what} of the image"
            task.notice("directories", f"{text}: {first_paths(self.directories)}")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def overwritten(index: LayerIndex, tree: Tree) -> Overwritten:
    """Returns what the layer of this index changes of `tree`. Paths that its whiteouts delete are not included."""
    found = Overwritten()
    listed = {index.paths[row] for row in index.rows_of(Kind.DIRECTORY)} | {b""}
    for row, path in enumerate(index.paths):
        kind = Kind(index.kinds[row])
        if kind >= Kind.WHITEOUT:
            continue
        node = tree.find(path) if path and path.rpartition(b"/")[0] not in listed else node_at(tree, path)
        if node is None:
            continue
        was, now = _kind(tree, node), Kind.FILE if kind == Kind.HARDLINK else kind
        if was != now:
            found.types.append((path, _NAMES.get(was, "a file"), _NAMES[now]))
        elif not isinstance(node, Directory):
            found.files.append(path)
        elif differing(attributes(tree.entry(node.ref)), attributes(index.entry(row))):
            found.directories.append(path)
    return found


def _kind(tree: Tree, node: Node) -> Kind:
    return Kind.DIRECTORY if isinstance(node, Directory) else tree.entry(node).kind
