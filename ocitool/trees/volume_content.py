"""What layers write below a volume that was declared before."""

from __future__ import annotations

from typing import NamedTuple

from ocitool.images.declared_volumes import DeclaredVolumes
from ocitool.layers.entry import Kind, path_text
from ocitool.layers.index import LayerIndex

_FEW = 16
"""Volumes up to which it is cheaper to compare each path with all of them at once."""
_NO_CONTENT = (Kind.METADATA, Kind.INVALID, Kind.OPAQUE)


class VolumeContent(NamedTuple):
    """The entries of one layer below one volume: how many, and the first of them."""

    volume: bytes
    paths: int
    first: bytes

    def __str__(self) -> str:
        what = "1 path" if self.paths == 1 else f"{self.paths} paths, the first of them"
        return (
            f"writes below the volume {path_text(self.volume)}, which was declared before: {what} {path_text(self.first)};"
            " a volume that has content already hides them"
        )


def volume_content(index: LayerIndex, number: int, volumes: DeclaredVolumes) -> list[VolumeContent]:
    """Returns what layer `number` writes below each of the volumes that were declared before it. Takes time for each entry,
    however many volumes there are."""
    first = volumes.first
    if not first or number in volumes.merged:
        return []
    few = tuple(volume + b"/" for volume in first) if len(first) <= _FEW else None
    found: dict[bytes, VolumeContent] = {}
    for path, kind in zip(index.paths, index.kinds, strict=True):
        if (few is not None and not path.startswith(few)) or kind in _NO_CONTENT:
            continue
        slash = path.find(b"/")
        while slash > 0:
            volume = path[:slash]
            if number >= first.get(volume, number + 1):
                known = found.get(volume)
                found[volume] = known._replace(paths=known.paths + 1) if known else VolumeContent(volume, 1, path)
            slash = path.find(b"/", slash + 1)
    return list(found.values())
