"""Small images that would cost much: what they may cost is counted in steps, objects and bytes, never in time."""

from __future__ import annotations

import difflib
import json
import random
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.images import entry, gz, image, layer_tar, write_layout, zst
from support.layers import END, head, listed, member, old_sparse, pax, scanned, sparse_1_0, sparse_map, sparse_pairs

from ocitool import limits
from ocitool.blob import BytesBlob, FileBlob
from ocitool.comparison.alignment import Alignment, unified
from ocitool.dedupe import DedupeOptions, RepositoryFilter, dedupe, layer_jobs
from ocitool.digest import Digest
from ocitool.errors import FormatError, LimitError
from ocitool.globs import Automaton, Matcher, unmatched
from ocitool.images.index_children import all_children, index_children
from ocitool.layers import cache, codecs, tar_extensions
from ocitool.layers.index import LayerIndex
from ocitool.layers.scan import hash_rows, index_headers, index_layer
from ocitool.pipeline.session import Session
from ocitool.spec.manifest import Index
from ocitool.task import Task
from ocitool.transports import records
from ocitool.transports.layout import Layout
from ocitool.trees.nodes import Directory, PathLookup
from ocitool.trees.tree import Tree
from ocitool.trees.waste import Waste

Item = tuple[str, bytes | str | None]


def layer(*items: Item) -> LayerIndex:
    return scanned(layer_tar([entry(*item) for item in items]))


# Symbolic links


def detours(length: int, files: int) -> list[Item]:
    way = "/" + "d/../" * length + "d"
    deep = "/".join(["L"] * 30)
    return [("d/", None), ("L", f"link:{way}"), ("d/L", f"link:{way}"), *((f"{deep}/u{n}/f", b"") for n in range(files))]


def test_names_in_targets_of_links_are_counted_and_the_path_beyond_the_bound_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LINK_STEPS", 10_000)
    with pytest.raises(LimitError, match="symbolic links") as caught:
        Tree([layer(*detours(500, 3))])
    assert caught.value.where is not None
    assert caught.value.where.startswith("/L/L/L")


def test_a_way_round_below_the_bound_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LINK_STEPS", 100_000)
    tree = Tree([layer(*detours(500, 3))])
    assert isinstance(tree.find(b"d/u2"), Directory)


def test_the_bound_on_links_grows_with_the_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LINK_STEPS", 0)
    links: list[Item] = [("d/", None), ("l", "link:d"), *((f"l/{n}/f", b"") for n in range(500))]
    assert len(list(Tree([layer(*links)]).walk())) == 1002


def test_looking_up_paths_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Tree([layer(*detours(500, 0))])
    monkeypatch.setattr(tree._lookup, "max_steps", tree._lookup.steps + 2000)
    assert tree.find(b"L", follow=True) is not None
    with pytest.raises(LimitError):
        tree.find(b"L", follow=True)
        tree.find(b"L", follow=True)


def test_links_do_not_lead_to_paths_longer_than_a_path_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PATH_LENGTH", 100)
    items: list[Item] = [("a" * 60 + "/", None), ("L", "link:" + "a" * 60), ("L/" + "b" * 60 + "/", None)]
    deeper: list[Item] = [("M", "link:L/" + "b" * 60), ("M/c/f", b"")]
    assert len(list(Tree([layer(*items)]).walk())) == 3
    with pytest.raises(LimitError):
        Tree([layer(*items, *deeper)])


def test_paths_of_directories_that_no_layer_lists_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "IMPLIED_PATHS", 1000)
    with pytest.raises(LimitError, match="no layer lists"):
        Tree([layer(*((f"{n}/" + "x" * 100 + "/f", b"") for n in range(20)))])


def test_directories_that_no_layer_lists_are_few_for_each_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "IMPLIED_FREE", 0)
    assert len(list(Tree([layer(("a/" * 32 + "f", b""))]).walk())) == 33
    with pytest.raises(LimitError, match="no layer lists"):
        Tree([layer(("a/" * 33 + "f", b""))])


def test_real_paths_of_short_names_below_a_link_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LINKED_PATHS", 0)
    deep = "/".join(["d" * 60] * 10)
    items: list[Item] = [(f"{deep}/", None), ("L", f"link:{deep}"), *((f"L/{n}", b"") for n in range(50))]
    with pytest.raises(LimitError, match="links lead to"):
        Tree([layer(*items)])
    below: list[Item] = [(f"L/{n}/f", b"") for n in range(50)]
    with pytest.raises(LimitError, match="links lead to"):
        Tree([layer(*items[:2], *below)])


def test_ordinary_links_to_directories_are_not_bounded_by_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LINKED_PATHS", 0)
    items: list[Item] = [("usr/", None), ("usr/lib/", None), ("lib", "link:usr/lib"), *((f"lib/{n}/f", b"") for n in range(50))]
    assert len(list(Tree([layer(*items)]).walk())) == 103


# Hard links


@pytest.mark.parametrize("count", [100, 400])
def test_links_before_their_targets_are_looked_up_a_few_times_each(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    resolve = PathLookup.resolve

    def counted(self: PathLookup, path: bytes, follow: bool) -> Any:
        nonlocal calls
        calls += 1
        return resolve(self, path, follow)

    monkeypatch.setattr(PathLookup, "resolve", counted)
    items: list[Item] = [*((f"l{n}", f"hard:l{n + 1}") for n in range(count)), (f"l{count}", b"")]
    tree = Tree([layer(*items)])
    assert calls <= 4 * count
    assert (tree.links(0), tree.broken) == (sorted(name.encode() for name, _ in items), [])


def test_a_ring_of_hard_links_is_broken_and_what_leads_to_it_too() -> None:
    tree = Tree([layer(("a", "hard:b"), ("b", "hard:c"), ("c", "hard:b"), ("f", b""), ("g", "hard:f"))])
    assert [b"a", b"b", b"c"] == sorted(path for path, _ in tree.broken)


def test_a_late_link_through_a_late_link_to_a_symbolic_link_is_settled() -> None:
    tree = Tree([layer(("h", "hard:k/f"), ("k", "hard:s"), ("d/", None), ("d/f", b""), ("s", "link:d"))])
    node = tree.find(b"h")
    assert isinstance(node, int)
    assert (tree.entry(node).path, tree.broken) == (b"d/f", [])


# Headers of a tar


def test_the_headers_before_one_entry_are_bounded_in_number() -> None:
    one = pax((b"a", b"b"))
    assert len(listed(one * limits.TAR_HEADERS + member() + END)) == 1
    with pytest.raises(LimitError, match="extension headers"):
        listed(one * (limits.TAR_HEADERS + 1) + member() + END)


def test_records_of_several_headers_count_together() -> None:
    found = listed(pax((b"uid", b"7"), (b"gid", b"8")) + pax((b"gid", b"9")) + member() + END)
    assert [(7, 9)] == [(one.uid, one.gid) for one in found]


def test_xattrs_that_a_global_header_gives_are_one_object_for_all_entries() -> None:
    given = pax(*((b"SCHILY.xattr.user.%d" % n, b"v") for n in range(100)), flag=b"g")
    data = given + member(b"a") + member(b"b") + pax((b"mtime", b"1")) + member(b"c") + END
    index = scanned(data)
    assert len({id(found) for found in index.xattrs.values()}) == 1
    again = cache.load(b"".join(cache.dump(index)))
    assert again.xattrs == index.xattrs
    assert len({id(found) for found in again.xattrs.values()}) == 1


def test_pairs_that_a_global_header_gives_are_shared_by_entries_with_xattrs_of_their_own() -> None:
    given = pax((b"SCHILY.xattr.user.a", b"1"), (b"SCHILY.xattr.user.b", b"1"), flag=b"g")
    own = pax((b"SCHILY.xattr.user.a", b"2"))
    first, second = listed(given + member(b"a") + own + member(b"b") + END)
    assert ((b"user.a", b"2"), (b"user.b", b"1")) == second.xattrs
    assert first.xattrs is not None
    assert second.xattrs is not None
    assert first.xattrs[1] is second.xattrs[1]


def test_what_global_headers_give_to_all_entries_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "GLOBAL_RECORDS", 5_000)
    given = pax((b"SCHILY.xattr.user.a", b"x" * 93), flag=b"g")
    assert len(listed(given + member() * 50 + END)) == 50
    with pytest.raises(LimitError, match="global"):
        listed(given + member() * 51 + END)


@pytest.mark.parametrize("key", [b"path", b"linkpath"])
def test_a_name_that_a_global_header_gives_counts_for_each_entry(key: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "GLOBAL_RECORDS", 50_000)
    with pytest.raises(LimitError, match="global"):
        listed(pax((key, b"./" + b"a" * 1000), flag=b"g") + member() * 100 + END)


def test_a_sparse_map_for_all_entries_is_refused() -> None:
    with pytest.raises(FormatError, match="sparse"):
        listed(pax((b"GNU.sparse.map", b"0,1"), (b"GNU.sparse.size", b"1"), flag=b"g") + member(b"a", b"x") + END)


@pytest.mark.parametrize(
    "headers",
    [
        pax((b"path", b"a" * 3000)),
        pax(*((b"SCHILY.xattr.%d" % n, b"") for n in range(50))),
        pax((b"GNU.sparse.map", b",".join(b"%d,1" % (2 * n) for n in range(50))), (b"GNU.sparse.size", b"100")),
    ],
    ids=["names", "xattrs", "segments"],
)
def test_what_headers_hold_of_all_entries_is_bounded(headers: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LAYER_HEADERS", 20_000)
    one = headers + member(b"f", b"x" * 50)
    assert len(listed(one * 2 + END)) == 2
    with pytest.raises(LimitError, match="in one layer"):
        listed(one * 20 + END)


def test_many_opaque_markers_of_one_directory_go_through_it_once() -> None:
    class Counted(dict[bytes, Directory | int]):
        walked = 0

        def __iter__(self) -> Iterator[bytes]:
            self.walked += 1
            return super().__iter__()

    tree = Tree([layer(*((f"a/{n}", b"") for n in range(10)))])
    lower = tree.root.children[b"a"]
    assert isinstance(lower, Directory)
    lower.children = counted = Counted(lower.children)
    tree.add(layer(*[("a/.wh..wh..opq", b"")] * 50))
    assert (1, {}) == (counted.walked, counted)


def upwards(path: bytes) -> Iterator[bytes]:
    while path:
        yield path
        path = path.rpartition(b"/")[0]
    yield b""


FEW = st.lists(st.sampled_from("abc"), max_size=5).map("/".join).map(str.encode)


@given(st.dictionaries(FEW, st.integers(0, 2)), st.data())
def test_what_removed_a_path_is_found_in_any_order_of_questions(removed: dict[bytes, int], data: st.DataObject) -> None:
    tree = Tree(())
    tree.removed.update(removed)
    for path, by in data.draw(st.lists(st.tuples(FEW, st.integers(0, 2)), max_size=12)):
        assert tree.remover(path) == next((removed[at] for at in upwards(path) if at in removed), None)
        assert tree.removed_directory(path, by) == [path, *(at for at in upwards(path) if at and removed.get(at) == by)][-1]


@pytest.mark.parametrize("ask", [lambda tree, path: tree.remover(path), lambda tree, path: tree.removed_directory(path, 0)])
def test_what_removed_files_of_a_deep_directory_is_looked_up_once_for_its_parents(ask: Callable[[Tree, bytes], Any]) -> None:
    class Counted(dict[bytes, int]):
        looked = 0

        def get(self, *args: Any) -> Any:
            self.looked += 1
            return super().get(*args)

    tree = Tree(())
    tree.removed = counted = Counted()
    for n in range(500):
        ask(tree, b"d/" * 300 + b"%d" % n)
    assert counted.looked <= 300 + 2 * 500


@pytest.mark.parametrize("form", [old_sparse, sparse_map, sparse_pairs, sparse_1_0])
def test_empty_segments_of_all_sparse_files_count_too(form: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LAYER_HEADERS", 20_000)
    data = form(b"s", [(0, b"")] * 100, 0)
    assert len(listed(data + END)) == 1
    with pytest.raises(LimitError, match="sparse maps"):
        listed(data * 3 + END)


def test_global_headers_that_give_nothing_do_not_gather_again_what_others_give(monkeypatch: pytest.MonkeyPatch) -> None:
    gathered: list[int] = []
    gather = tar_extensions._xattrs
    monkeypatch.setattr(tar_extensions, "_xattrs", lambda records: gathered.append(len(records)) or gather(records))
    given = pax(*((b"SCHILY.xattr.user.%d" % n, b"") for n in range(100)), flag=b"g")
    found = listed(given + (head(b"g", b"g") + pax((b"comment", b"c"), flag=b"g")) * 200 + member() + END)
    assert len(found[0].xattrs or ()) == 100
    assert gathered == [100]


def test_ordinary_headers_are_not_bounded_by_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LAYER_HEADERS", 0)
    one = pax((b"mtime", b"1.5"), (b"path", b"p" * 200), (b"SCHILY.xattr.security.selinux", b"s" * 60)) + member()
    assert len(listed(one * 100 + END)) == 100


def test_a_compressed_layer_has_no_more_entries_than_stored_bytes_beyond_the_free_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ENTRIES_FREE", 10)
    data = zst(member() * 5_000 + END)
    assert len(data) < 5_000
    with Task(jobs=1) as task, pytest.raises(LimitError, match=f"{len(data)} entries in one layer of {len(data)} bytes"):
        index_layer(BytesBlob(data), task)


def test_the_variable_alone_bounds_entries_if_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ENTRIES_FREE", 10)
    monkeypatch.setenv("OCITOOL_MAX_LAYER_ENTRIES", "6000")
    with Task(jobs=1) as task:
        assert len(index_layer(BytesBlob(zst(member() * 5_000 + END)), task)) == 5_000


# Bombs


def test_what_layers_unpack_to_beyond_the_ratio_counts_for_the_whole_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EXPANSION", 5 << 20)
    bomb = zst(head(b"z", size=2 << 20) + bytes(2 << 20) + END)
    with Task(jobs=1) as task:
        for _ in range(2):
            index_layer(BytesBlob(bomb), task)
        with pytest.raises(LimitError, match="together"):
            index_layer(BytesBlob(bomb), task)


def test_holes_that_are_hashed_beyond_the_ratio_count_for_the_whole_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EXPANSION", 3 << 20)
    holey = sparse_1_0(b"s", [], 2 << 20) + END
    with Task(jobs=1) as task:
        for _ in range(2):
            index_layer(BytesBlob(holey), task)
        with pytest.raises(LimitError, match="holes"):
            index_layer(BytesBlob(holey), task)
        with pytest.raises(LimitError, match="holes"):
            hash_rows(index_headers(BytesBlob(holey)), BytesBlob(holey), [0], task)


def test_holes_below_the_ratio_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EXPANSION", 0)
    with Task(jobs=1) as task:
        assert len(index_layer(BytesBlob(sparse_1_0(b"s", [], 100 << 10) + END), task)) == 1


def test_dedupe_begins_no_layer_once_those_before_it_unpacked_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EXPANSION", 5 << 20)
    bombs = [head(b"z%d" % n, size=2 << 20) + bytes(2 << 20) + END for n in range(8)]
    images = [image([bomb], codec="zstd", tag=f"t{n}") for n, bomb in enumerate(bombs)]
    begun: list[str] = []
    index = layer_jobs.index
    monkeypatch.setattr(layer_jobs, "index", lambda job, **more: begun.append(job.key) or index(job, **more))
    with Task(jobs=1) as task:
        where = str(write_layout(tmp_path / "layout", images))
        found = dedupe([where], DedupeOptions(RepositoryFilter(), files=True), Session(task, cached=False))
    assert len(begun) == 3
    assert len(found.problems) == 5
    assert all(isinstance(problem.error, LimitError) for problem in found.problems)


def job_of(raw: bytes) -> layer_jobs.LayerJob:
    return layer_jobs.LayerJob("one", None, BytesBlob(raw, Digest.of(raw)), len(raw), Digest.of(raw), "sha256")


def test_layers_that_are_compressed_to_know_their_size_count_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EXPANSION", 5 << 20)
    monkeypatch.setattr(limits, "unpacked_ratio", lambda: 2)
    begun: list[str] = []
    as_zstd = layer_jobs.as_zstd
    monkeypatch.setattr(layer_jobs, "as_zstd", lambda job, level: begun.append(job.key) or as_zstd(job, level))
    images = [image([head(b"z%d" % n, size=2 << 20) + bytes(2 << 20) + END], codec="gzip", tag=f"t{n}") for n in range(8)]
    with Task(jobs=1) as task:
        where = str(write_layout(tmp_path / "layout", images))
        found = dedupe([where], DedupeOptions(RepositoryFilter(), zstd=3), Session(task, cached=False))
    assert len(begun) == 3
    assert len(found.problems) == 5
    assert all(isinstance(problem.error, LimitError) for problem in found.problems)


@pytest.mark.parametrize(
    "measure", [lambda job: layer_jobs.as_zstd(job, 3), lambda job: layer_jobs.compressed(job, (job_file(job),))]
)
@pytest.mark.parametrize("compress", [gz, zst])
def test_what_is_measured_tells_what_it_unpacked(
    measure: Callable[[layer_jobs.LayerJob], layer_jobs.CompressedSize],
    compress: Callable[[bytes], bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "unpacked_ratio", lambda: 2)
    job = job_of(compress(head(b"z", size=2 << 20) + bytes(2 << 20) + END))
    assert 2 << 20 < measure(job).expansion + 2 * job.size + (64 << 10)


def job_file(job: layer_jobs.LayerJob) -> Any:
    assert job.blob is not None
    with Task(jobs=1) as task:
        return index_layer(job.blob, task).entry(0)


@pytest.mark.parametrize("size", [1 << 20, 1 << 50])
def test_holes_of_a_file_that_is_compressed_to_know_its_size_are_bounded(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EXPANSION", 3 << 20)
    raw = sparse_1_0(b"s", [], size) + END
    measured = layer_jobs.compressed(job_of(raw), (index_headers(BytesBlob(raw)).entry(0),))
    assert measured.size <= (1 << 20) + 512


def test_what_is_below_the_ratio_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EXPANSION", 0)
    data = gz(member(b"r", random.Random(1).randbytes(1 << 20)) + END)
    with Task(jobs=1) as task:
        list(codecs.decode(iter([data]), "gzip", task))


# Globs


PARTS = ["*", "**", "**/", "/", "a", "b", "?", "[ab]", "[!a]", "."]
GLOBS = st.lists(st.sampled_from(PARTS), min_size=1, max_size=8).map("".join)
PATHS = st.lists(st.text("ab.", min_size=1, max_size=4), min_size=1, max_size=4).map("/".join).map(str.encode)


@given(GLOBS, PATHS)
def test_the_automaton_matches_what_the_expression_matches(glob: str, path: bytes) -> None:
    matcher = Matcher([glob])
    assert (matcher._fullmatch(path) is not None) is matcher._automaton.matches(path)


@given(GLOBS, PATHS)
def test_a_path_is_reached_if_it_or_a_directory_above_it_matches(glob: str, path: bytes) -> None:
    matcher = Matcher([glob])
    parts = path.split(b"/")
    above = any(matcher._fullmatch(b"/".join(parts[:n])) is not None for n in range(1, len(parts) + 1))
    assert above is matcher.reaches(path)


@pytest.mark.parametrize("glob", ["*a*a*a*b", "**a*a*b", "**/*a*a*b", "a*[ab]*?*b", "**/a**/a**/b"])
def test_a_glob_of_many_stars_goes_over_a_long_path_once(glob: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    over = Automaton._over
    monkeypatch.setattr(Automaton, "_over", lambda self, path: seen.append(len(path)) or over(self, path))
    matcher = Matcher([glob])
    matcher._fullmatch = None  # type: ignore[assignment]
    path = b"a" * 4000
    assert not matcher.matches(path)
    assert seen == [4000]
    assert matcher._late is not None
    assert len(matcher._late._known) < 100


def test_what_an_automaton_keeps_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Automaton, "KEPT", 8)
    matcher = Matcher(["*a?????????b"])
    for seed in range(50):
        text = bytes(random.Random(seed).choices(b"ab", k=200))
        assert matcher._automaton.matches(text) is (matcher._fullmatch(text) is not None)
        assert len(matcher._automaton._known) <= 8


def test_globs_of_deep_paths_are_looked_for_without_holding_every_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bytes] = []
    reaches = Matcher.reaches
    monkeypatch.setattr(Matcher, "reaches", lambda self, path: calls.append(path) or reaches(self, path))
    deep = b"a/" * 500 + b"f"
    assert ["b"] == unmatched(["b", "a/a"], [deep])
    assert len(calls) == 2


# Texts


def applied(alignment: Alignment) -> list[str]:
    made: list[str] = []
    for tag, i, to_i, j, to_j in alignment.get_opcodes():
        made += alignment.a[i:to_i] if tag == "equal" else alignment.b[j:to_j]
        if tag == "equal":
            assert alignment.a[i:to_i] == alignment.b[j:to_j]
    return made


def shuffled(lines: int, different: int, seed: int) -> list[str]:
    made = [str(n % different) for n in range(lines)]
    random.Random(seed).shuffle(made)
    return made


@pytest.mark.parametrize("lines", [2000, 4000])
def test_texts_of_equal_lines_are_aligned_in_steps_that_grow_with_the_lines(
    lines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ocitool.comparison.alignment.FREE", 0)
    total = 0
    find = Alignment.find_longest_match

    def counted(self: Alignment, *args: Any) -> Any:
        nonlocal total
        before = self.steps
        found = find(self, *args)
        total += self.steps - before
        return found

    monkeypatch.setattr(Alignment, "find_longest_match", counted)
    a, b = shuffled(lines, 20, 1), shuffled(lines, 20, 2)
    alignment = Alignment(a, b, autojunk=False)
    assert applied(alignment) == b
    assert alignment.coarse
    assert total <= 2 * 200 * 2 * lines


@given(st.lists(st.sampled_from("abcdefgh"), max_size=30), st.lists(st.sampled_from("abcdefgh"), max_size=30))
def test_short_texts_are_aligned_as_difflib_does_it(a: list[str], b: list[str]) -> None:
    expected = list(difflib.unified_diff(a, b, "a/f", "b/f", lineterm=""))
    lines, alignment = unified("f", a, b)
    assert expected == list(lines)
    assert not alignment.coarse


@given(st.lists(st.sampled_from("abcdefgh"), max_size=30), st.lists(st.sampled_from("abcdefgh"), max_size=30))
def test_any_two_texts_are_aligned_by_anchors(a: list[str], b: list[str]) -> None:
    alignment = Alignment(a, b)
    alignment._most = -1
    assert applied(alignment) == b
    blocks = alignment.get_matching_blocks()
    assert all(one.a + one.size <= other.a and one.b + one.size <= other.b for one, other in pairwise(blocks))
    assert (len(a), len(b), 0) == blocks[-1]


def test_lines_that_stand_once_are_anchors_where_difflib_would_take_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocitool.comparison.alignment.FREE", 0)
    monkeypatch.setattr("ocitool.comparison.alignment.STEPS", 20)
    common = [line for n in range(300) for line in (f"unique {n}", "", "}", "")]
    changed = [line if n != 602 else "changed" for n, line in enumerate(common)]
    lines, alignment = unified("f", common, changed)
    assert ["-}", "+changed"] == [line for line in list(lines)[3:] if line[0] in "+-"]
    assert not alignment.coarse


@pytest.mark.parametrize("pattern", ["text", "html"])
def test_runs_of_blanks_and_backslashes_are_gone_over_once(pattern: str) -> None:
    from ocitool.report import escape, phrases

    expression = phrases._NOISE if pattern == "text" else escape._AFTER_BACKSLASH
    run = " " * 50 if pattern == "text" else "\\" * 50
    assert [found.start() for found in expression.finditer("x" + run + ("# buildkit" if pattern == "text" else "|"))] == [1]
    assert expression.match("x" + run + ("# buildkit" if pattern == "text" else "|"), 20) is None


def test_a_media_type_longer_than_any_is_of_no_known_kind() -> None:
    from ocitool.spec import mediatypes

    assert mediatypes.layer_type("application/x.wasm").content == "wasm"
    assert mediatypes.layer_type("application/x" + ".wasm" * 60).content == "unknown"


def test_a_cache_looks_at_its_files_once_a_run_unless_it_grows_beyond_its_bound(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    trim = cache.IndexCache._trim
    monkeypatch.setattr(cache.IndexCache, "_trim", lambda self: calls.append(1) or trim(self))
    kept = cache.IndexCache(str(tmp_path / "cache"))
    for n in range(5):
        kept.store(scanned(member(b"f%d" % n) + END), None)
    assert calls == [1]
    monkeypatch.setenv("OCITOOL_CACHE_SIZE", "100")
    kept.store(scanned(member(b"g") + END), None)
    assert calls == [1, 1]


# Documents


def test_descriptors_of_one_blob_share_its_open_file(tmp_path: Path) -> None:
    source = Layout(str(write_layout(tmp_path / "layout", [image([layer_tar([("a", b"x")])], tag="t")])))
    assert source.index is not None
    one = source.index.manifests[0]
    first, second = source.blob(one), source.blob(one)
    assert isinstance(first, FileBlob)
    assert isinstance(second, FileBlob)
    assert first.file is second.file


def test_a_document_that_is_listed_under_many_unknown_types_is_looked_at_once(tmp_path: Path) -> None:
    source = Layout(str(write_layout(tmp_path / "layout", [image([layer_tar([("a", b"x")])], tag="t")])))
    assert source.index is not None
    fields = source.index.manifests[0].fields
    many = [{**fields, "mediaType": f"application/x.{n}"} for n in range(20)]
    listed = index_children(source, Index(b"", {"manifests": many}, "x"))
    assert len({id(entry.probe) for entry in listed}) == 1


def test_an_index_that_is_listed_many_times_is_gone_through_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_layout(tmp_path / "layout", [image([layer_tar([("a", b"x")])], tag="t")])
    source = Layout(str(path))
    assert source.index is not None
    inner = json.dumps({"schemaVersion": 2, "manifests": [source.index.manifests[0].fields] * 30}).encode()
    digest = Digest.of(inner)
    (path / "blobs" / "sha256" / digest.encoded).write_bytes(inner)
    nested = {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": str(digest), "size": len(inner)}
    calls: list[int] = []
    listed = index_children
    monkeypatch.setattr("ocitool.images.index_children.index_children", lambda *args: calls.append(1) or listed(*args))
    found = list(all_children(source, Index(b"", {"manifests": [nested] * 40}, "x")))
    assert (len(calls), len(found)) == (2, 41)


class ParentChain:
    """The `json` of directories of a v1 archive, each the parent of the next."""

    where = "archive"

    def __init__(self, count: int) -> None:
        self.read = 0
        self._count = count

    def document(self, name: str) -> bytes | None:
        self.read += 1
        number = int(name.partition("/")[0])
        return json.dumps({"id": str(number), **({"parent": str(number - 1)} if number else {})}).encode()

    def get(self, name: str) -> None:
        return None


def test_what_images_of_a_v1_archive_repeat_of_their_parents_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STORE", limits.JsonLimits(100_000, 3_000_000))
    members = ParentChain(500)
    tags = json.dumps({"app": {f"t{n}": str(n) for n in range(400, 500)}}).encode()
    found = list(records.v1_records(members, tags, set()))  # type: ignore[arg-type]
    assert len(found) == 100
    assert isinstance(found[-1].problem, LimitError)
    assert members.read <= 100_000 // 256 + 101


def test_layers_of_one_shape_are_compared_a_bounded_number_of_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ocitool.comparison import layers

    calls: list[int] = []
    equal = layers._equal
    monkeypatch.setattr(layers, "_equal", lambda *args: calls.append(1) or equal(*args))
    monkeypatch.setattr(layers, "_MAX_TRIES", 50)
    tars = [[layer_tar([("a", b"%d%d" % (side, n + 10))]) for n in range(20)] for side in (1, 2)]
    for name, made in zip("ij", tars, strict=True):
        write_layout(tmp_path / name, [image(made, tag="t")])
    with Task(jobs=1) as task:
        from ocitool.comparison import DiffOptions, diff
        from ocitool.pipeline.session import Session

        found = diff(str(tmp_path / "i"), str(tmp_path / "j"), DiffOptions(), Session(task, cached=False))
    assert len(calls) <= 50
    assert len(found.layers) >= 20


def test_sums_of_one_layer_are_those_of_all_that_it_hides() -> None:
    sums: dict[Any, tuple[int, int]] = {("deleted", 1): (2, 20), ("overwritten", 1): (1, 5), ("deleted", 2): (4, 40)}
    found = Waste((), (), (), 10, sums)
    assert [(3, 25), (2, 20), (6, 60), (7, 65)] == [
        found.total(by=1), found.total("deleted", 1), found.total("deleted"), found.total(),
    ]  # fmt: skip


# One configuration of many images


def of_one_configuration(path: Path, count: int) -> str:
    """A layout of images that differ in an annotation alone."""
    made = [image([layer_tar([("a", b"a")])], tag=f"t{n}") for n in range(count)]
    for n, one in enumerate(made):
        one.manifest["annotations"] = {"n": str(n)}
    assert len({one.config for one in made}) == 1
    return str(write_layout(path, made))


def test_a_configuration_is_printed_again_within_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ocitool.operations.inspect import inspect
    from ocitool.pipeline.session import Session

    layout = of_one_configuration(tmp_path / "l", 6)
    with Task(jobs=1) as task:
        assert len(inspect(layout, Session(task, cached=False)).images) == 6
        one = inspect(f"{layout}:t0", Session(task, cached=False)).images[0].image
        monkeypatch.setattr(limits, "REPEATED", 4 * len(one.config.raw))
        with pytest.raises(LimitError, match="the same configuration"):
            inspect(layout, Session(task, cached=False))


def test_a_configuration_of_many_images_is_checked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ocitool.validation import findings, validate

    checked: list[str] = []
    problems = findings.problems
    monkeypatch.setattr(findings, "problems", lambda kind, *rest: checked.append(kind) or problems(kind, *rest))
    with Task(jobs=1) as task:
        validate(of_one_configuration(tmp_path / "l", 5), task)
    assert checked.count("config") == 1
    assert checked.count("manifest") == 5
