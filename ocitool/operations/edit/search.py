"""Searches texts in the bytes of layers and other blobs, in one pass, with the memory of a chunk, also across chunks."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator, Iterable, Mapping, Sequence

from ocitool.blob import Blob
from ocitool.images.image import Image
from ocitool.layers import codecs
from ocitool.layers.entry import Kind
from ocitool.layers.index import LayerIndex
from ocitool.layers.scan import open_contents
from ocitool.operations.edit.content_edits import EntryLocation
from ocitool.task import Task
from ocitool.trees.indexing import Indexer

_LARGEST = 64 << 10
"""Most bytes of a removed file whose content is searched in other files."""

_MAX_FILES = 100
"""Most removed files whose contents are searched."""


class Needles:
    """Texts to search, in UTF-8, or bytes as they are."""

    def __init__(self, texts: Sequence[str | bytes]) -> None:
        self._needles = [text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass") for text in texts]
        self._overlap = max((len(needle) for needle in self._needles), default=1) - 1

    def spots(self, chunks: Iterable[bytes], task: Task) -> Generator[int, int | None, None]:
        """Yields offsets at which a needle begins, chunk by chunk, needle by needle. An offset that the caller sends back
        skips what comes before it. Memory: a chunk and the longest needle."""
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

    def occur_in(self, blob: Blob, task: Task) -> bool:
        """Returns whether a blob holds any of them."""
        return next(self.spots(blob.chunks(), task), None) is not None


def contents(image: Image, rows: Mapping[int, Iterable[int]], shortest: int, indexer: Indexer, task: Task) -> list[bytes]:
    """Returns the contents of these files of layers, without white space at both ends; contents shorter than `shortest` are
    left out, since they would be found everywhere. Files of more than `_LARGEST` bytes, and more than `_MAX_FILES`, are not
    searched, which is a notice."""
    found: dict[bytes, None] = {}
    left = 0
    for number, asked in rows.items():
        layer = image.layers[number]
        index = indexer.indexes(image, [layer])[0]
        small = sorted((index.entry(row) for row in asked if index.sizes[row] <= _LARGEST), key=lambda entry: entry.offset)
        taken = small[: max(0, _MAX_FILES - len(found))]
        left += len(set(asked)) - len(taken)
        assert layer.blob is not None
        for content in open_contents(layer.blob, taken):
            task.check()
            found[content.strip()] = None
    if left:
        files = "removed file is" if left == 1 else "removed files are"
        task.notice("search", f"{image.where}: {left} {files} not searched in other files: too large, or too many")
    return [content for content in found if len(content) >= shortest]


def holders(
    image: Image, numbers: Iterable[int], texts: Sequence[str | bytes], indexer: Indexer, task: Task
) -> list[EntryLocation]:
    """Returns the entries of these layers whose content, name or attributes hold one of the texts. Each layer is read
    whole."""
    needles = Needles(texts)
    found: list[EntryLocation] = []
    for number in numbers:
        layer = image.layers[number]
        index = indexer.indexes(image, [layer])[0]
        blob = layer.blob
        assert blob is not None
        found += [EntryLocation(number, path) for path in _holders(blob, index, needles, task)]
    return found


def _holders(blob: Blob, index: LayerIndex, needles: Needles, task: Task) -> list[bytes]:
    rows = sorted(range(len(index.paths)), key=lambda row: index.offsets[row])
    ends = [index.offsets[row] + (index.stored(row) if index.kinds[row] == Kind.FILE else 0) for row in rows]
    found: dict[bytes, None] = {}
    search = needles.spots(codecs.decode(blob.chunks(), codecs.detected(blob)), task)
    spot = next(search, None)
    while spot is not None:
        at = bisect_right(ends, spot)  # the entry of this content or header: a header comes before its content
        if at < len(rows):
            found[index.paths[rows[at]]] = None
        try:
            spot = search.send(ends[at] if at < len(ends) else None)
        except StopIteration:
            break
    return list(found)
