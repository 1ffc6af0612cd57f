"""The columns of an index: paths that share their directory, and what an index and its file in the cache take in memory."""

from __future__ import annotations

import tracemalloc
from array import array
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocitool.digest import Digest
from ocitool.layers import cache
from ocitool.layers.entry import Entry, Kind
from ocitool.layers.index import LayerIndex
from ocitool.layers.paths import Paths, share_names
from ocitool.trees.compare import compare, rows_to_hash
from ocitool.trees.tree import Tree

FEW, MANY = 20_000, 60_000
PATHS = st.lists(st.text("ab/.", max_size=12).map(str.encode), max_size=12)


@given(PATHS, PATHS)
def test_paths_are_a_list_of_what_was_added(first: list[bytes], then: list[bytes]) -> None:
    paths = Paths(first)
    paths.extend(then)
    expected = first + then
    assert list(paths) == expected == [paths[row] for row in range(len(paths))] == paths[:]
    middle = paths.of_runs([(0, len(first) // 2), (len(first), len(expected))])
    assert list(middle) == first[: len(first) // 2] + then
    for row, path in enumerate(reversed(expected)):
        middle.append(path)
        paths[row] = path
    assert list(paths) == expected[::-1] and list(middle)[-len(expected) or len(middle) :] == expected[::-1]


def test_paths_are_equal_as_lists_are() -> None:
    grown = Paths([b"x", b"b/a"])
    grown[0] = b"a"
    assert grown == Paths([b"a", b"b/a"]) != Paths([b"a", b"c/a"])


def test_equal_names_become_one_object() -> None:
    one, other = Paths([b"a/first", b"a/second"]), Paths([b"b/zero", b"b/second"])
    share_names((one, other))
    assert one == Paths([b"a/first", b"a/second"]) and other == Paths([b"b/zero", b"b/second"])
    assert one.names[1] is other.names[1]


def test_columns_of_unequal_length_are_no_paths() -> None:
    for numbers in ([0], [0, 0, 0], [0, 2]):
        with pytest.raises(ValueError, match="unequal"):
            Paths.of_columns([b"a", b"b"], array("I", numbers), [b"", b"x/"])


def index_of(count: int) -> LayerIndex:
    index = LayerIndex()
    for n in range(count):
        path = b"usr/lib/python3/dist-packages/some/where/deep/%03d/module_%06d.py" % (n // 100, n)
        index.add(Entry(path, Kind.FILE, 0o644, 0, 0, n, n, offset=n * 1024), n.to_bytes(32, "little"))
    index.hashed, index.diff_id = "all", Digest.of(b"")
    return index


def memory_per_entry(work: Callable[[int], Callable[[], Any]]) -> tuple[float, float]:
    """Returns the bytes that the result of `work(entries)()` holds for each entry, and those that were held at most meanwhile:
    by the difference between few and many entries, since compressors take a megabyte for any."""
    found = []
    for count in (FEW, MANY):
        prepared = work(count)
        tracemalloc.start()
        try:
            result = prepared()
            found.append(tracemalloc.get_traced_memory())
            del result
        finally:
            tracemalloc.stop()
    (held, most), (held_of_many, most_of_many) = found
    return (held_of_many - held) / (MANY - FEW), (most_of_many - most) / (MANY - FEW)


def test_an_index_holds_the_path_of_a_directory_once() -> None:
    held, _ = memory_per_entry(lambda count: lambda: index_of(count))
    assert held < 190, "the path of each entry alone is 100 of them"


def test_a_tree_takes_its_names_from_the_index() -> None:
    def work(count: int) -> Callable[[], Tree]:
        index = index_of(count)
        return lambda: Tree([index])

    held, _ = memory_per_entry(work)
    assert held < 110, "a name of its own for each entry is 50 more"


def test_an_index_is_written_to_the_cache_column_by_column() -> None:
    def work(count: int) -> Callable[[], int]:
        index = index_of(count)
        return lambda: sum(map(len, cache.dump(index)))

    _, most = memory_per_entry(work)
    assert most < 70, "all columns are 110"


def test_an_index_is_read_from_the_cache_column_by_column() -> None:
    def work(count: int) -> Callable[[], LayerIndex]:
        stored = b"".join(cache.dump(index_of(count)))
        return lambda: cache.load(stored)

    held, most = memory_per_entry(work)
    assert most < held + 70


def test_an_index_is_the_same_from_the_cache() -> None:
    index = index_of(1000)
    index.add(Entry(b"link", Kind.SYMLINK, 0o777, 1, 2, 3, 0, b"target"))
    assert list(cache.load(b"".join(cache.dump(index)))) == list(index)


@pytest.mark.parametrize("part", ["times", "contents", "modes"])
def test_two_layers_are_compared_without_a_dictionary_of_all_paths(part: str) -> None:
    def work(count: int) -> Callable[[], Any]:
        one, other = index_of(count), index_of(count)
        if part == "times":
            other.mtimes = array("q", (time + 1 for time in other.mtimes))
        elif part == "contents":
            other.contents[:32] = bytes(31) + b"x"
        else:
            other.modes[0] += 1
        return lambda: (rows_to_hash(one, other), compare(one, other, ("mtime",)))

    _, most = memory_per_entry(work)
    assert most < 40, "a dictionary of paths takes 150"


def test_a_complete_index_holds_numbers_in_as_few_bytes_as_they_need() -> None:
    index = index_of(300)
    index.add(Entry(b"large", Kind.FILE, 0o644, 70_000, -1, 0, 1 << 40, offset=1 << 33))
    before = list(index)
    index.complete()
    assert list(index) == before == list(cache.load(b"".join(cache.dump(index))))
    assert [getattr(index, name).itemsize for name in ("uids", "gids", "sizes", "offsets")] == [4, 8, 8, 8]
    small = index_of(300)
    small.complete()
    assert [getattr(small, name).itemsize for name in ("uids", "gids", "sizes", "offsets")] == [1, 1, 2, 4]
