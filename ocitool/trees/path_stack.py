"""The position of a path lookup in a tree of directories."""

from __future__ import annotations

from typing import Generic, TypeVar

D = TypeVar("D")


class PathStack(Generic[D]):
    """The directories from the root to the current one, and their names.

    `hops`: symbolic links followed so far. `last`: the name of the path's end if it is not a directory. `size`: bytes
    of `path`.
    """

    __slots__ = ("directories", "hops", "last", "names", "size")

    def __init__(self, root: D) -> None:
        self.directories = [root]
        self.names: list[bytes] = []
        self.size = 0
        self.hops = 0
        self.last: bytes | None = None

    def copy(self) -> PathStack[D]:
        copy = PathStack(self.directories[0])
        copy.directories, copy.names, copy.size, copy.hops = self.directories[:], self.names[:], self.size, self.hops
        return copy

    @property
    def directory(self) -> D:
        """The current directory."""
        return self.directories[-1]

    @property
    def path(self) -> bytes:
        """The path of the current directory, or of `last` in it."""
        return b"/".join(self.names if self.last is None else (*self.names, self.last))

    def enter(self, directory: D, name: bytes) -> None:
        """Makes `directory` the current one; it is `name` in the one before."""
        self.directories.append(directory)
        self.names.append(name)
        self.size += len(name) + 1

    def leave(self) -> None:
        """Returns to the parent; at the root it does nothing, as `..` does."""
        if self.names:
            self.directories.pop()
            self.size -= len(self.names.pop()) + 1

    def to_root(self) -> None:
        del self.directories[1:], self.names[:]
        self.size = 0
