"""What a layer on an image changes of the image's own: files that it writes over, directories whose attributes it changes."""

from __future__ import annotations

from dataclasses import dataclass, field

from ocitool.disk.scan_directory import first_paths
from ocitool.layers.entry import Kind, shown_path
from ocitool.layers.index import LayerIndex
from ocitool.task import Task
from ocitool.trees.inherited import attributes, differing
from ocitool.trees.tree import Directory, Node, Tree, node_at

_NAMES = {
    Kind.FILE: "a file", Kind.DIRECTORY: "a directory", Kind.SYMLINK: "a symbolic link", Kind.CHAR: "a device",
    Kind.BLOCK: "a device", Kind.FIFO: "a FIFO",
}  # fmt: skip
_NAMED = 3


@dataclass(slots=True)
class Overwritten:
    """Paths, in the order of the layer. `types`: what is of another type now, with both."""

    files: list[bytes] = field(default_factory=list)
    types: list[tuple[bytes, str, str]] = field(default_factory=list)
    directories: list[bytes] = field(default_factory=list)

    def tell(self, name: str, task: Task) -> None:
        if self.types:
            named = [f"{shown_path(path)} was {was} and is {now} now" for path, was, now in self.types[:_NAMED]]
            more = f", and {len(self.types) - _NAMED:,} more" if len(self.types) > _NAMED else ""
            task.notice("type-changed", f"{name} changes what the image has: {', '.join(named)}{more}")
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
    """What the layer of this index changes of `tree`. Whiteouts say themselves what goes."""
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
