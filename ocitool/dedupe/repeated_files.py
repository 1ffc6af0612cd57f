"""Collects all files of a collection's layers by content: every distinct layer once, every distinct content once.

Layers are added as they are indexed, in any order; the result does not depend on it. A file is a regular file of a
layer's tar (hard links are further names of it), a content its SHA-256. Memory: about 300 bytes for each distinct
content, 8 for each layer that has it, and 300 for each file of 4 kB or more.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from ocitool.dedupe.collection import StoredBlob
from ocitool.layers.entry import Kind
from ocitool.layers.index import LayerIndex


class FileLocation(NamedTuple):
    """A file in a layer."""

    layer: StoredBlob
    path: bytes


class RepeatedFile(NamedTuple):
    """A content that occurs `times` times, and some of its locations."""

    content: bytes
    size: int
    times: int
    locations: tuple[FileLocation, ...]

    @property
    def saves(self) -> int:
        """Bytes of all occurrences but one."""
        return self.size * (self.times - 1)


class ContentTotals(NamedTuple):
    """Number and bytes of files in all distinct layers, and of distinct contents."""

    references: int
    unique: int
    bytes: int
    unique_bytes: int
    top: tuple[RepeatedFile, ...]


_SMALLEST = 4096
_PLACES = 10
"""Most locations that are listed for one content."""


class DistinctContents:
    """Collects contents. Each layer is added once, with an index in which all contents are hashed."""

    def __init__(self) -> None:
        self.layers: list[StoredBlob] = []
        self.equal_but_times: dict[int, list[StoredBlob]] = {}
        """Layers by the hash of their entries without times; those with the same hash probably have equal entries apart
        from times."""
        self.timeless_hashes: dict[StoredBlob, int] = {}
        """For each layer a hash of its entries without times."""
        self.large_files: dict[StoredBlob, dict[tuple[int, int], int]] = {}
        """For each layer the sizes of its larger files, by hashes of path with content and of content alone."""
        self._counts: dict[bytes, list[int]] = {}
        self._files = 0
        self._bytes = 0

    def add(self, layer: StoredBlob, index: LayerIndex) -> None:
        """Adds the files of a layer."""
        number = len(self.layers)
        self.layers.append(layer)
        if len(index):
            self.timeless_hashes[layer] = _timeless(index)
            self.equal_but_times.setdefault(self.timeless_hashes[layer], []).append(layer)
        contents, sizes, paths, counts = bytes(index.contents), index.sizes, index.paths, self._counts
        marks = self.large_files[layer] = {}
        for row in index.rows_of(Kind.FILE):
            content = contents[32 * row : 32 * row + 32]
            size = sizes[row]
            self._files += 1
            self._bytes += size
            if size >= _SMALLEST:
                marks[hash((paths[row], content)), hash(content)] = size
            found = counts.get(content)
            if found is None:
                counts[content] = [size, 1, number]
            else:
                found[1] += 1
                if found[-1] != number:
                    found.append(number)

    def times(self, index: LayerIndex, row: int) -> int:
        """Returns how many files of all layers have the content of a file of a layer that was added."""
        found = self._counts.get(bytes(index.contents[32 * row : 32 * row + 32]))
        return found[1] if found is not None else 0

    def totals(self, top: int, recall: Callable[[StoredBlob], LayerIndex]) -> ContentTotals:
        """Returns the totals. `top`: number of repeated contents that are listed. `recall` returns the index of a layer
        that was added."""
        unique = sum(found[0] for found in self._counts.values())
        several = ((found, content) for content, found in self._counts.items() if found[1] > 1 and found[0])
        largest = heapq.nsmallest(top, several, key=lambda one: (-one[0][0] * (one[0][1] - 1), one[1]))
        spots = self._spots([(content, found[2:]) for found, content in largest], recall)
        repeated = tuple(RepeatedFile(content, found[0], found[1], tuple(spots[content])) for found, content in largest)
        return ContentTotals(self._files, len(self._counts), self._bytes, unique, repeated)

    def _spots(
        self, wanted: Sequence[tuple[bytes, Sequence[int]]], recall: Callable[[StoredBlob], LayerIndex]
    ) -> dict[bytes, list[FileLocation]]:
        spots: dict[bytes, list[FileLocation]] = {content: [] for content, _ in wanted}
        asked: dict[int, list[bytes]] = {}
        for content, numbers in wanted:
            for number in sorted(numbers, key=lambda number: self.layers[number].key)[:_PLACES]:
                asked.setdefault(number, []).append(content)
        for number in sorted(asked, key=lambda number: self.layers[number].key):
            index = recall(self.layers[number])
            for content in asked[number]:
                spots[content] += (FileLocation(self.layers[number], path) for path in _paths(index, content))
        return {content: found[:_PLACES] for content, found in spots.items()}


def _timeless(index: LayerIndex) -> int:
    """Returns a hash of all entries without their times, in any order; valid within one process."""
    links = index.links.column(len(index))
    columns = index.paths, index.kinds, index.modes, index.uids, index.gids, index.sizes, links
    contents = bytes(index.contents)
    texts = (contents[at : at + 32] for at in range(0, len(contents), 32))
    rare = ((index.paths[row], value) for table in (index.xattrs, index.devices) for row, value in table.items())
    return sum(map(hash, zip(*columns, texts, strict=True))) + sum(map(hash, rare))


def hash_of_rows(index: LayerIndex, rows: Iterable[int]) -> int:
    """Returns what these rows contribute to the hash of their layer."""
    total = 0
    for row in rows:
        text = bytes(index.contents[32 * row : 32 * row + 32])
        columns = (index.paths, index.kinds, index.modes, index.uids, index.gids, index.sizes, index.links)
        total += hash((*(column[row] for column in columns), text))
        for table in (index.xattrs, index.devices):
            if row in table:
                total += hash((index.paths[row], table[row]))
    return total


def _paths(index: LayerIndex, content: bytes) -> Iterator[bytes]:
    """Yields the paths of the files with this content."""
    at = index.contents.find(content)
    while at >= 0:
        if at % 32 == 0 and index.kinds[at // 32] == Kind.FILE:
            yield index.paths[at // 32]
        at = index.contents.find(content, at + (1 if at % 32 else 32))
