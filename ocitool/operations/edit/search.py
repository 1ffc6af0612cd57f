"""Texts looked for in the bytes of layers and other blobs: in one pass, in the memory of a chunk, across chunks."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator, Iterable, Sequence

from ocitool.blob import Blob
from ocitool.images.image import Image
from ocitool.images.indexing import Indexer
from ocitool.layers import codec
from ocitool.layers.entry import Kind
from ocitool.layers.index import LayerIndex
from ocitool.operations.edit.content import Place
from ocitool.task import Task


class Needles:
    """Texts to be found in UTF-8."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._needles = [text.encode("utf-8", "surrogatepass") for text in texts]
        self._overlap = max((len(needle) for needle in self._needles), default=1) - 1

    def spots(self, chunks: Iterable[bytes], task: Task) -> Generator[int, int | None, None]:
        """Offsets at which any of them begins, ascending by chunk; of each needle the first in a chunk, then whatever follows
        from the offset that is sent back. Memory: a chunk and the longest needle."""
        tail = b""
        start = 0
        for chunk in chunks:
            task.check()
            window = tail + bytes(chunk)
            for needle in self._needles:
                at = window.find(needle)
                while at >= 0:
                    follow = yield start + at
                    at = window.find(needle, max(at + 1, (follow or 0) - start))
            tail = window[len(window) - self._overlap :] if self._overlap and len(window) > self._overlap else window
            tail = tail if self._overlap else b""
            start += len(window) - len(tail)

    def stand_in(self, blob: Blob, task: Task) -> bool:
        return next(self.spots(blob.chunks(), task), None) is not None


def holders(image: Image, numbers: Iterable[int], texts: Sequence[str], indexer: Indexer, task: Task) -> list[Place]:
    """The entries of these layers whose content, name or attributes hold one of the texts. Each layer is read whole."""
    needles = Needles(texts)
    found: list[Place] = []
    for number in numbers:
        layer = image.layers[number]
        index = indexer.indexes(image, [layer])[0]
        blob = layer.blob
        assert blob is not None
        found += [Place(number, path) for path in _holders(blob, index, needles, task)]
    return found


def _holders(blob: Blob, index: LayerIndex, needles: Needles, task: Task) -> list[bytes]:
    rows = sorted(range(len(index.paths)), key=lambda row: index.offsets[row])
    ends = [index.offsets[row] + (index.stored(row) if index.kinds[row] == Kind.FILE else 0) for row in rows]
    found: dict[bytes, None] = {}
    search = needles.spots(codec.decode(blob.chunks(), codec.of(blob)), task)
    spot = next(search, None)
    while spot is not None:
        at = bisect_right(ends, spot)  # the entry whose content this is, or whose header: that stands before its content
        if at < len(rows):
            found[index.paths[rows[at]]] = None
        try:
            spot = search.send(ends[at] if at < len(ends) else None)
        except StopIteration:
            break
    return list(found)
