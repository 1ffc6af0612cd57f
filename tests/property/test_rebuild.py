"""Any two images: what `rebuild` makes of one out of the other is the wanted tree, by every plan; and `match` is right."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.images import image, layer_tar, write_layout
from support.layers import scanned
from support.merged import described, memory_image, tree_of
from support.stacks import Stack, layers, members

from ocitool.errors import UnsafeError
from ocitool.globs import matcher
from ocitool.images.image import Image
from ocitool.layers.entry import Entry, Kind
from ocitool.layers.index import LayerIndex
from ocitool.operations.rebuild import Plan, RebuildOptions, RebuildReport, rebuild
from ocitool.operations.rebuild.layer_match import LayerMatch, OldImage, match
from ocitool.operations.rebuild.reuse import chosen
from ocitool.operations.rebuild.reuse_check import same
from ocitool.pipeline import indexed_image
from ocitool.pipeline.image_writer import WriteOptions, WriteResult
from ocitool.pipeline.session import Session
from ocitool.task import Task
from ocitool.trees.compare import rows_by_path
from ocitool.trees.tree import Tree

Made = tuple[Entry, bytes]
Seen = dict[bytes, dict[str, Any]]
some, more = settings(max_examples=50), settings(max_examples=60)


# Images that have much in common


def _content(made: Made) -> Made:
    entry, content = made
    return entry, bytes([content[0] ^ 1]) + content[1:] if content else b""


CHANGES = {
    "mode": lambda made: (made[0]._replace(mode=made[0].mode ^ 0o100), made[1]),
    "uid": lambda made: (made[0]._replace(uid=made[0].uid + 1), made[1]),
    "gid": lambda made: (made[0]._replace(gid=made[0].gid + 1), made[1]),
    "xattrs": lambda made: (made[0]._replace(xattrs=None if made[0].xattrs else ((b"user.a", b""),)), made[1]),
    "link": lambda made: (made[0]._replace(link=made[0].link and made[0].link + b"b"), made[1]),
    "device": lambda made: (made[0]._replace(device=made[0].device and (made[0].device[0] + 1, made[0].device[1])), made[1]),
    "content": _content,
}
"""Each of them an entry that differs in one field, or the same where it has no such field."""


def later(layer: Sequence[Made], seconds: int) -> list[Made]:
    return [(entry._replace(mtime=entry.mtime + seconds * 10**9), content) for entry, content in layer]


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Stack, Stack]:
    """An old image, and a new one of new layers and of old ones: as they are, later, in another order, with a field changed."""
    old = draw(layers)
    new: Stack = []
    for layer in [*old, *draw(st.lists(st.lists(members(), max_size=4), max_size=1))]:
        how = draw(st.sampled_from(["as it is", "later", "order", "field", "other", "gone"]))
        if how == "later":
            layer = later(layer, draw(st.integers(-1, 1)))
        elif how == "order":
            layer = draw(st.permutations(layer))
        elif how == "field" and layer:
            at = draw(st.integers(0, len(layer) - 1))
            layer = [*layer[:at], CHANGES[draw(st.sampled_from(sorted(CHANGES)))](layer[at]), *layer[at + 1 :]]
        elif how == "other":
            layer = draw(st.lists(members(), max_size=6))
        if how != "gone":
            new.append(layer)
    return old, new


either = st.one_of(pairs(), st.tuples(layers, layers))


# What comes out


class Rebuilt:
    """A rebuild from a layout into another one, and the merged trees of what was wanted and of what was written."""

    def __init__(self, old: Stack, new: Stack, plan: Plan, *, times: bool = False, ignore: tuple[str, ...] = ()) -> None:
        with tempfile.TemporaryDirectory() as name, Task() as task:
            place = Path(name)
            for number, stack in enumerate((old, new)):
                history = [{"created": f"202{number}-01-01T00:00:00Z", "created_by": f"RUN {n}"} for n in range(len(stack))]
                write_layout(place / f"{number}", [image([layer_tar(layer) for layer in stack], codec="none", history=history)])
            reading = Session(task, cached=False)
            question = RebuildOptions((f"{place}/0",), plan, times, ignore, allow_no_match=True)
            self.written: WriteResult = rebuild(f"{place}/1", question, reading, WriteOptions(f"oci:{place}/2"))
            self.old, self.wanted, self.found = (self._seen(reading.image(f"{place}/{n}", None), task) for n in range(3))
        assert isinstance(self.written.details, RebuildReport)
        (self.rebuild_report,) = self.written.details.rebuilt

    def _seen(self, image: Image, task: Task) -> Seen:
        return plain(described(image, tree_of(image, task)))

    def differing(self, *fields: str) -> set[bytes]:
        """The paths at which it is not what was wanted, these fields aside."""
        wanted, found = ({path: without(one, fields) for path, one in tree.items()} for tree in (self.wanted, self.found))
        return {path for path in wanted.keys() | found.keys() if wanted.get(path) != found.get(path)}


def plain(tree: Seen) -> Seen:
    """Without the modes of symlinks, which no system keeps."""
    found = {path: {**fields, "xattrs": fields["xattrs"] or None} for path, fields in tree.items()}
    return {path: without(one, ("mode",) if one["kind"] == Kind.SYMLINK else ()) for path, one in found.items()}


def without(fields: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}


def rebuilt(old: Stack, new: Stack, plan: Plan, *, times: bool = False, ignore: tuple[str, ...] = ()) -> Rebuilt:
    try:
        return Rebuilt(old, new, plan, times=times, ignore=ignore)
    except UnsafeError:  # a hard link that leads to nothing
        assume(False)
        raise


@some
@given(either, st.sampled_from(["as-is", "reuse", "auto"]))
def test_reuse_gives_the_wanted_tree_but_for_times(pair: tuple[Stack, Stack], plan: Plan) -> None:
    assert set() == rebuilt(*pair, plan).differing("mtime")


@some
@given(either)
def test_a_delta_gives_the_wanted_tree_but_for_times(pair: tuple[Stack, Stack]) -> None:
    assert set() == rebuilt(*pair, "delta").differing("mtime")


@some
@given(either, st.sampled_from(["reuse", "delta"]))
def test_strict_times_give_the_very_tree(pair: tuple[Stack, Stack], plan: Plan) -> None:
    assert set() == rebuilt(*pair, plan, times=True).differing()


@some
@given(either)
def test_a_delta_changes_the_time_of_no_path_that_stays(pair: tuple[Stack, Stack]) -> None:
    """Where only the time differs it is OLD's, else it is NEW's: there is no third one."""
    made = rebuilt(*pair, "delta")
    for path, fields in made.found.items():
        assert fields["mtime"] in {tree[path]["mtime"] for tree in (made.old, made.wanted) if path in tree}


@some
@given(either)
def test_reuse_sends_no_more_than_the_image_as_it_is(pair: tuple[Stack, Stack]) -> None:
    made = rebuilt(*pair, "auto")
    plans = {one.plan: one.transfer for one in made.rebuild_report.plans}
    assert plans["reuse"] <= plans["as-is"]
    assert ("reuse" if plans["reuse"] < plans["as-is"] else "as-is") == made.rebuild_report.plan


globs = st.sampled_from([("a/**",), ("a", "a/**"), ("**/b", "**/b/**"), ("*/c", "*/c/**", "b/**"), ("**",)])
"""What matches a path matches all that can be in it."""
shallow = st.sampled_from([("a",), ("**/b",), ("*/c", "b*")])
"""What is in a directory that matches may not match."""


def wrong(pair: tuple[Stack, Stack], ignore: tuple[str, ...], plan: Plan) -> list[bytes]:
    """The paths that are neither ignored nor as they should be."""
    ignored = matcher(ignore)
    return [path for path in rebuilt(*pair, plan, ignore=ignore).differing("mtime", "links") if not ignored(path)]


@some
@given(either, globs, st.sampled_from(["reuse", "delta"]))
def test_what_was_not_ignored_is_as_wanted(pair: tuple[Stack, Stack], ignore: tuple[str, ...], plan: Plan) -> None:
    assert [] == wrong(pair, ignore, plan)


def shown(path: bytes) -> str:
    return "/" + path.decode("utf-8", "replace")


@more
@given(either, shallow, st.sampled_from(["reuse", "delta"]))
def test_what_is_in_an_ignored_directory_and_not_ignored_is_as_wanted(
    pair: tuple[Stack, Stack], ignore: tuple[str, ...], plan: Plan
) -> None:
    assert [] == wrong(pair, ignore, plan)


@some
@given(either, globs, st.sampled_from(["reuse", "delta"]))
def test_every_ignored_difference_is_reported_or_stands_below_one(
    pair: tuple[Stack, Stack], ignore: tuple[str, ...], plan: Plan
) -> None:
    made = rebuilt(*pair, plan, ignore=ignore)
    reported = {shown(path) for path in made.rebuild_report.ignored}
    for path in made.differing("mtime", "links"):
        names = path.decode("utf-8", "replace").split("/")
        assert any("/" + "/".join(names[:depth]) in reported for depth in range(1, len(names) + 1)), (path, reported)


# Matching


def stack_of(*tars: bytes) -> indexed_image.IndexedImage:
    return indexed_image.IndexedImage(memory_image(tars), [scanned(tar) for tar in tars])


def facts(index: LayerIndex) -> dict[Any, tuple[object, ...]]:
    """What a layer says of each path in the end, contents included and times not: nothing of the code under test."""
    found: dict[Any, tuple[object, ...]] = {}
    for row, one in enumerate(index):
        if one.kind == Kind.METADATA:
            continue
        mark = one.kind in (Kind.WHITEOUT, Kind.OPAQUE)
        mode = None if one.kind == Kind.SYMLINK else one.mode
        rest = (mode, one.uid, one.gid, one.size, one.link, one.device, one.xattrs or None, one.segments, index.content(row))
        found[(one.path, one.kind) if mark else one.path] = (one.kind,) if mark else (one.kind, *rest)
    return found


def times_of(index: LayerIndex) -> dict[Any, int]:
    return {key: index.mtimes[row] for key, row in rows_by_path(index).items() if isinstance(key, bytes)}


def matched(
    old: Stack, new: Stack, *, times: bool
) -> tuple[indexed_image.IndexedImage, indexed_image.IndexedImage, list[LayerMatch]]:
    before, after = (stack_of(*map(layer_tar, stack)) for stack in (old, new))
    return before, after, match(after, [OldImage(before, after, None)], times=times)


@more
@given(either, st.booleans())
def test_a_match_never_says_equal_where_anything_but_a_time_differs(pair: tuple[Stack, Stack], times: bool) -> None:
    before, after, found = matched(*pair, times=times)
    for number, one in enumerate(found):
        if one.layer is None:
            assert "changed" == one.how
            continue
        here, there = after.indexes[number], before.indexes[one.layer.number]
        assert facts(here) == facts(there)
        if times:
            assert times_of(here) == times_of(there)
        if one.how == "same":
            assert here.diff_id == there.diff_id


@more
@given(
    st.lists(members(), min_size=1, max_size=8, unique_by=lambda made: made[0].path),
    st.data(),
    st.sampled_from(sorted(CHANGES)),
)
def test_a_layer_with_one_field_changed_is_no_match(layer: list[Made], data: st.DataObject, field: str) -> None:
    at = data.draw(st.integers(0, len(layer) - 1))
    changed = [*layer[:at], CHANGES[field](layer[at]), *layer[at + 1 :]]
    before, after, (found,) = matched([layer], [changed], times=False)
    assert (found.how == "changed") == (facts(before.indexes[0]) != facts(after.indexes[0]))


@some
@given(st.lists(members(), max_size=8, unique_by=lambda made: made[0].path), st.randoms(use_true_random=False))
def test_a_layer_in_another_order_and_at_other_times_is_a_match(layer: list[Made], chance: Any) -> None:
    shuffled = later(layer, 1)
    chance.shuffle(shuffled)
    _, _, (found,) = matched([layer], [shuffled], times=False)
    assert found.how in ("same", "equal")


def plainly(layer: Sequence[Made]) -> list[Made]:
    """Of a layer what needs no order: each path once, nothing below what is no directory, links behind what they lead to."""
    kept: dict[bytes, Made] = {}
    for made in layer:
        kept.setdefault(made[0].path, made)
    closed = {path + b"/" for path, (entry, _) in kept.items() if entry.kind != Kind.DIRECTORY}
    found = [made for path, made in kept.items() if not any(path.startswith(one) for one in closed)]
    return sorted(found, key=lambda made: made[0].kind == Kind.HARDLINK)


@some
@given(layers, either)
def test_equal_layers_do_the_same_to_whatever_is_below(lower: Stack, pair: tuple[Stack, Stack]) -> None:
    """Where their order matters they may not, which is why every result is compared."""
    below = [layer_tar(layer) for layer in lower]
    old, new = ([plainly(layer) for layer in stack] for stack in pair)
    for number, one in enumerate(matched(old, new, times=False)[2]):
        if one.layer is not None:
            trees = []
            for layer in (old[one.layer.number], new[number]):
                tars = [*below, layer_tar(layer)]
                seen = plain(described(memory_image(tars), Tree([scanned(tar) for tar in tars])))
                trees.append({path: without(fields, ("mtime",)) for path, fields in seen.items()})
            assert trees[0] == trees[1]


# The comparison that every result has to pass


@more
@given(either, st.booleans())
def test_trees_are_the_same_only_if_they_are(pair: tuple[Stack, Stack], times: bool) -> None:
    """`same`, which is asked before anything is written, against the two trees as plain values."""
    before, after, _ = matched(*pair, times=times)
    fields = () if times else ("mtime",)
    trees = [
        {path: without(one, fields) for path, one in plain(described(stack.image, stack.tree)).items()}
        for stack in (before, after)
    ]
    try:
        assert (trees[0] == trees[1]) == same(before.tree, after.tree, times=times, ignored=None)
    except UnsafeError:  # links to nothing, which lead to other names
        assert after.tree.broken


@more
@given(pairs())
def test_the_tree_of_matches_is_the_tree_of_the_layers_that_they_name(pair: tuple[Stack, Stack]) -> None:
    _, after, found = matched(*pair, times=False)
    tars = [layer_tar(pair[1][n] if one.layer is None else pair[0][one.layer.number]) for n, one in enumerate(found)]
    made = chosen(after, found).tree
    assert described(memory_image(tars), Tree([scanned(tar) for tar in tars])) == described(memory_image(tars), made)
