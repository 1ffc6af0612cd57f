"""Checks the tar of a layer, alone and on top of the layers below it."""

from __future__ import annotations

from collections.abc import Callable

from ocitool.layers.entry import Kind, escapes
from ocitool.layers.index import LayerIndex
from ocitool.trees.nodes import Directory
from ocitool.trees.tree import Tree

ERRORS = frozenset({"unsafe-path", "invalid-whiteout", "hardlink-broken", "hardlink-directory"})
"""The tar rules whose violation is an error; that of any other is a warning."""

_Say = Callable[[str, str, bytes], object]
"""Reports the breach of a rule: its name, what is wrong, and the path."""


class TarRules:
    """Checks the tar of one layer. `broken`: the number of violations and the first path, by rule and message."""

    def __init__(self, index: LayerIndex) -> None:
        self.index = index
        self.violations: dict[tuple[str, str], tuple[int, bytes]] = {}
        self._kinds: dict[bytes, int] | None = None
        self._whiteouts: set[bytes] = set()
        self._outside: list[int] = []
        self._loose: dict[bytes, bytes] = {}

    def _add(self, rule: str, text: str, path: bytes, count: int = 1) -> None:
        known, first = self.violations.get((rule, text), (0, path))
        self.violations[rule, text] = (known + count, first)

    def _learn(self, report: bool) -> dict[bytes, int]:
        """Returns what the layer lists, after one pass in tar order: entries, whiteouts, links and parents that leave
        the layer."""
        if self._kinds is not None:
            return self._kinds
        index = self.index
        kinds: dict[bytes, int] = {}
        hidden = self._whiteouts
        opaque: dict[bytes, bytes] = {}
        links: list[int] = []
        parents: dict[bytes, bytes] = {}
        self._kinds = kinds
        say = self._add if report else (lambda *_: None)
        for row, path in enumerate(index.paths):
            kind = index.kinds[row]
            if escapes(path):
                say("unsafe-path", "paths that leave the root", path)
                continue
            if kind >= Kind.WHITEOUT:
                if kind == Kind.INVALID:
                    say("invalid-whiteout", "whiteouts of nothing", path)
                    continue
                if kind == Kind.METADATA:
                    say("aufs-metadata", "AUFS metadata", path)
                    continue
                if kind == Kind.OPAQUE:
                    if path and kinds.get(path) != Kind.DIRECTORY:
                        opaque.setdefault(path, path)
                    parents.setdefault(path, path)
                    continue
                if path in hidden:
                    say("duplicate-path", "paths hidden twice", path)
                hidden.add(path)
            else:
                if path in kinds:
                    say("duplicate-path", "paths listed twice", path)
                if kind == Kind.HARDLINK:
                    target = index.links[row]
                    before = kinds.get(target)
                    if escapes(target):
                        say("unsafe-path", "hard links that leave the root", path)
                    elif target == path:
                        say("hardlink-broken", "hard links to themselves", path)
                    elif before == Kind.DIRECTORY:
                        say("hardlink-directory", "hard links to directories", path)
                    elif before is None:
                        links.append(row)
                kinds[path] = kind
            slash = path.rfind(b"/")
            if slash > 0:
                parents.setdefault(path[:slash], path)
        self._learn_links(links, kinds, say)
        for path in opaque:
            if kinds.get(path) == Kind.DIRECTORY:
                say("opaque-order", "opaque markers before their directory", path)
        for path in hidden:
            if path in kinds:
                say("whiteout-and-entry", "paths both hidden and listed", path)
        self._learn_parents(parents, kinds, say)
        return kinds

    def _learn_links(self, links: list[int], kinds: dict[bytes, int], say: _Say) -> None:
        """Looks up the targets of hard links (their rows) that no entry before them has."""
        for row in links:
            later = kinds.get(self.index.links[row])
            if later is None:
                self._outside.append(row)
            elif later == Kind.DIRECTORY:
                say("hardlink-directory", "hard links to directories", self.index.paths[row])
            else:
                say("hardlink-late", "hard links before their target", self.index.paths[row])

    def _learn_parents(self, parents: dict[bytes, bytes], kinds: dict[bytes, int], say: _Say) -> None:
        """Looks up the parents of the entries, each with the first path below it."""
        for parent, child in parents.items():
            if not parent or kinds.get(parent) == Kind.DIRECTORY:
                continue
            at = parent
            while at and at not in kinds:
                at = at.rpartition(b"/")[0]
            if at and kinds[at] != Kind.DIRECTORY:
                say("below-non-directory", "entries below a link or file of the same layer", child)
            else:
                self._loose[parent] = child
                say("missing-parent", "parent directories not listed", parent)

    def check_alone(self) -> None:
        """Checks the layer by itself."""
        self._learn(report=True)
        for note in self.index.notes:
            self._add(note.rule, note.text, note.path)
        if self.index.notes_dropped:
            last = self.index.notes[-1]
            self._add(last.rule, last.text, last.path, self.index.notes_dropped)

    def needs_tree(self, lower: bool) -> bool:
        """Returns whether `check_on` can find a violation, since an entry depends on lower layers. `lower`: whether there are
        any."""
        self._learn(report=False)
        return bool(self._outside or (lower and self._loose))

    def check_on(self, tree: Tree) -> None:
        """Checks the layer on the merged tree of the lower layers, and adds it to the tree. Raises `UnsafeError` as the
        tree does."""
        index = self.index
        kinds = self._learn(report=False)
        for parent, child in self._loose.items():
            if self._blocked(tree, parent, kinds):
                self._add("below-non-directory", "entries below a link or file of a lower layer", child)
        lower = {row: tree.find(index.links[row]) for row in self._outside}
        number, known = len(tree.indexes), len(tree.broken)
        tree.add(index)
        lost = {tree.row(ref) for _, ref in tree.broken[known:] if tree.layer(ref) == number}
        for row, target in lower.items():
            path = index.paths[row]
            if isinstance(target, Directory):
                self._add("hardlink-directory", "hard links to directories", path)
            elif row in lost:
                self._add("hardlink-broken", "hard links to nothing", path)
            elif target is not None:
                self._add("hardlink-across", "hard links to files of lower layers", path)

    def _blocked(self, tree: Tree, path: bytes, kinds: dict[bytes, int]) -> bool:
        """Returns whether a parent of the path is something else than a directory in the lower layers."""
        directory = tree.root
        parts = path.split(b"/")
        for depth, name in enumerate(parts):
            child = directory.children.get(name)
            if child is None:
                return False
            if not isinstance(child, Directory):
                at = b"/".join(parts[: depth + 1])
                return kinds.get(at) != Kind.DIRECTORY and at not in self._whiteouts
            directory = child
        return False
