"""Where one is on the way through a tree of directories."""

from __future__ import annotations

from typing import Generic, TypeVar

D = TypeVar("D")


class PathStack(Generic[D]):
    """The directories from the root down to one, and their names. `hops`: symbolic links followed; `last`: the name of what
    stands at the end and is no directory."""

    __slots__ = ("hops", "last", "names", "size", "trail")

    def __init__(self, root: D) -> None:
        self.trail = [root]
        self.names: list[bytes] = []
        self.size = 0
        self.hops = 0
        self.last: bytes | None = None

    def copy(self) -> PathStack[D]:
        way = PathStack(self.trail[0])
        way.trail, way.names, way.size, way.hops = self.trail[:], self.names[:], self.size, self.hops
        return way

    @property
    def directory(self) -> D:
        return self.trail[-1]

    @property
    def place(self) -> bytes:
        return b"/".join(self.names if self.last is None else (*self.names, self.last))

    def enter(self, directory: D, name: bytes) -> None:
        self.trail.append(directory)
        self.names.append(name)
        self.size += len(name) + 1

    def leave(self) -> None:
        if self.names:
            self.trail.pop()
            self.size -= len(self.names.pop()) + 1

    def to_root(self) -> None:
        del self.trail[1:], self.names[:]
        self.size = 0
