"""Where changes go: each rule of `repack` on the smallest image that shows it."""

from __future__ import annotations

import pytest
from support.edits import breaches
from support.images import entry, layer_tar
from support.layers import pax, scanned, sparse_1_0

from ocitool.blob import BytesBlob
from ocitool.errors import NotFoundError, UnsafeError, UnsupportedError
from ocitool.layers.entry import Entry, Kind
from ocitool.layers.index import LayerIndex
from ocitool.layers.rewrite import LayerEdit, rewrite_layer
from ocitool.task import Task
from ocitool.trees import plan
from ocitool.trees.changes import Change
from ocitool.trees.plan import Plan
from ocitool.trees.plan.verify import wrong_paths
from ocitool.trees.tree import Tree

Item = tuple[str, bytes | str | None]


def layer(*items: Item) -> LayerIndex:
    return scanned(layer_tar([entry(*item) for item in items]))


def tree(*layers: tuple[Item, ...]) -> Tree:
    return Tree([layer(*items) for items in layers])


def put(name: str, what: bytes | str | None = b"new", *, content: bool = True, **changes: object) -> Change:
    return Change(name.encode(), entry(name, what, **changes)[0], content)


def gone(*names: str) -> list[Change]:
    return [Change(name.encode(), None) for name in names]


def spelt(one: Entry) -> str:
    name = one.path.decode()
    if one.kind == Kind.WHITEOUT:
        return "-" + name
    if one.kind == Kind.OPAQUE:
        return "=" + name
    if one.kind == Kind.HARDLINK:
        return f"{name}>{one.link.decode()}"
    return name + ("/" if one.kind == Kind.DIRECTORY else "*" if one.size == 3 and one.kind == Kind.FILE else "")


def layers(found: Plan, of: Tree) -> list[str]:
    """What each layer lists after the plan: `d/` a directory, `a*` a new file, `-a` a whiteout, `=d` an opaque marker."""
    return [" ".join(spelt(one) for one in index) for index in found.applied(of.indexes)]


def rewritten(of: Tree, *changes: Change, keep_base: int = 0) -> list[str]:
    return layers(plan.rewrite(of, changes, keep_base=keep_base), of)


def appended(of: Tree, *changes: Change) -> list[str]:
    return layers(plan.append(of, changes), of)


# Nothing to do


@pytest.mark.parametrize("make", [plan.rewrite, plan.append])
def test_no_changes_give_an_empty_plan(make: object) -> None:
    assert Plan({}) == make(tree((("a", b""),)), [])  # type: ignore[operator]


def test_layers_without_a_change_are_not_in_the_plan() -> None:
    of = tree((("a", b""),), (("b", b""),), (("c", b""),))
    assert {1} == plan.rewrite(of, [put("b")]).edits.keys()


def test_a_file_said_again_as_it_is_changes_no_layer() -> None:
    assert Plan({}) == plan.rewrite(tree((("a", b"new"),)), [put("a", content=False)])


# Changed paths


def test_a_changed_file_is_changed_in_the_layer_it_is_visible_from() -> None:
    assert ["a b", "a*", "c"] == rewritten(tree((("a", b""), ("b", b"")), (("a", b""),), (("c", b""),)), put("a"))


def test_a_changed_file_stays_in_its_place_in_the_layer() -> None:
    assert ["a b* c"] == rewritten(tree((("a", b""), ("b", b""), ("c", b""))), put("b"))


def test_directory_attributes_follow_their_top_most_owner() -> None:
    of = tree((("d/", None), ("d/a", b"")), (("d/", None), ("d/b", b"")))
    found = plan.rewrite(of, [put("d", None, mode=0o700)])
    assert [[0o755], [0o700]] == [[e.mode for e in index if e.path == b"d"] for index in found.applied(of.indexes)]


def test_root_attributes_follow_their_owner() -> None:
    of = tree((("./", None), ("a", b"")), (("b", b""),))
    of.indexes[0].paths[0] = b""
    assert {0} == plan.rewrite(Tree(of.indexes), [Change(b"", entry("", None, mode=0o700)[0])]).edits.keys()


def test_of_a_layer_listed_twice_only_the_upper_changes() -> None:
    twice = layer(("a", b""), ("b", b""))
    of = Tree([twice, twice])
    assert ["a b", "a* -b"] == rewritten(of, put("a"), *gone("b"))


def test_a_layer_that_lists_a_name_twice_lists_it_once_when_it_changes() -> None:
    assert ["a*"] == rewritten(tree((("a", b"1"), ("a", b"22"))), put("a"))


def test_a_whiteout_beside_a_changed_file_goes() -> None:
    assert ["a", "a*"] == rewritten(tree((("a", b""),), ((".wh.a", b""), ("a", b""))), put("a"))


def test_an_unlisted_parent_of_a_changed_file_is_listed() -> None:
    assert ["d/ d/a", "d/ d/a*"] == rewritten(tree((("d/", None), ("d/a", b"")), (("d/a", b""),)), put("d/a"))


# Hard links


def test_a_layer_with_a_hard_link_to_a_changed_file_is_made_again_with_it() -> None:
    of = tree((("a", b""), ("z", b"")), (("b", "hard:a"),))
    assert ["z", "a* b>a"] == rewritten(of, put("a"), put("b", "hard:a"))


def test_changed_links_stand_in_one_layer_behind_their_target() -> None:
    of = tree((("b", b""), ("a", "hard:b"), ("c", b"")))
    assert ["c a* b>a"] == rewritten(of, put("a"), put("b", "hard:a"))


def test_a_new_name_of_an_unchanged_file_is_a_link_to_where_it_stands() -> None:
    of = tree((("b", b"new"), ("z", b"")))
    assert ["b* z a>b"] == rewritten(of, put("a"), put("b", "hard:a", content=False))


def test_the_file_of_which_one_name_goes_stays_as_it_is() -> None:
    of = tree((("a", b"new"), ("b", "hard:a")))
    assert LayerEdit(frozenset({1})) == plan.rewrite(of, [*gone("b"), put("a", content=False)]).edits[0]


def test_a_link_whose_target_goes_becomes_the_file() -> None:
    of = tree((("a", b"new"), ("b", "hard:a")))
    assert ["b*"] == rewritten(of, *gone("a"), put("b", content=False))


def test_all_names_of_a_file_change_when_one_does() -> None:
    of = tree((("a", b"new"), ("b", "hard:a"), ("c", "hard:a")))
    assert ["b* c>b"] == rewritten(of, *gone("a"))


def test_a_name_that_an_upper_layer_hides_goes_with_its_file() -> None:
    of = tree((("a", b"1"), ("b", "hard:a"), ("z", b"")), ((".wh.b", b""),))
    assert ["z", "-b"] == rewritten(of, *gone("a"))


def test_a_name_that_an_upper_layer_hides_does_not_follow_a_changed_file() -> None:
    of = tree((("a", b"1"), ("b", "hard:a"), ("c", "hard:b")), (("b", b""), (".wh.c", b"")))
    assert ["a*", "b -c"] == rewritten(of, put("a"))


def test_a_name_in_another_layer_that_is_hidden_goes_too() -> None:
    of = tree((("a", b"1"),), (("b", "hard:a"), ("z", b"")), ((".wh.b", b""),))
    assert ["a*", "z", "-b"] == rewritten(of, put("a"))


# Deleted paths


def test_a_deleted_file_leaves_its_layer() -> None:
    assert ["b", "c"] == rewritten(tree((("a", b""), ("b", b"")), (("c", b""),)), *gone("a"))


def test_a_deleted_path_gets_a_whiteout_where_it_was_when_a_lower_version_would_reappear() -> None:
    assert ["a", "b -a"] == rewritten(tree((("a", b""),), (("a", b""), ("b", b""))), *gone("a"))


def test_no_whiteout_where_another_layer_hides_the_lower_version_already() -> None:
    assert ["a", "-a", "b"] == rewritten(tree((("a", b""),), ((".wh.a", b""),), (("a", b""), ("b", b""))), *gone("a"))


def test_a_deleted_directory_gets_its_whiteout_in_the_top_most_layer_that_carries_anything_below_it() -> None:
    of = tree((("d/", None), ("d/a", b""), ("z", b"")), (("d/", None), ("d/b", b"")), (("y", b""),))
    assert ["d/ z", "-d", "y"] == rewritten(of, *gone("d", "d/a", "d/b"))


def test_a_whiteout_below_a_deleted_directory_is_not_left_behind() -> None:
    of = tree((("d/", None), ("d/a", b"")), (("d/.wh.a", b""), ("x", b"")))
    assert ["d/a", "x -d"] == rewritten(of, *gone("d"))


def test_parents_of_a_whiteout_are_listed_with_their_merged_attributes() -> None:
    low = layer_tar([entry("d/", None, mode=0o700), entry("d/a", b"")])
    of = Tree([scanned(low), layer(("d/a", b""))])
    found = plan.rewrite(of, gone("d/a"))
    assert [(b"d", 0o700), (b"d/a", 0o600)] == [(one.path, one.mode) for one in found.edits[1].add]


# New paths


def test_a_new_file_goes_to_the_top_most_layer_that_lists_its_directory() -> None:
    of = tree((("d/", None), ("d/a", b"")), (("d/", None), ("d/b", b"")), (("e/", None),))
    assert ["d/ d/a", "d/ d/b d/n*", "e/"] == rewritten(of, put("d/n"))


def test_a_new_file_does_not_go_below_an_entry_for_a_directory_above_it() -> None:
    of = tree((("d/", None), ("d/e/", None)), (("d/", None), ("d/x", b"")), (("y", b""),))
    assert ["d/ d/e/", "d/ d/x d/e/ d/e/n*", "y"] == rewritten(of, put("d/e/n"))


def test_a_new_file_does_not_go_below_a_whiteout_of_its_name_and_replaces_it() -> None:
    of = tree((("d/", None), ("d/a", b"")), (("d/.wh.a", b""),), (("y", b""),))
    assert ["d/ d/a", "d/ d/a*", "y"] == rewritten(of, put("d/a"))


def test_a_new_file_does_not_go_below_an_opaque_marker_of_its_directory() -> None:
    of = tree((("d/", None), ("d/a", b"")), (("d/.wh..wh..opq", b""),), (("y", b""),))
    assert ["d/ d/a", "=d d/ d/n*", "y"] == rewritten(of, put("d/n"))


def test_a_new_file_of_an_unlisted_directory_goes_to_the_top_most_layer() -> None:
    assert ["d/a", "b d/ d/n*"] == rewritten(tree((("d/a", b""),), (("b", b""),)), put("d/n"))


def test_a_new_directory_takes_its_files_along() -> None:
    of = tree((("d/", None),), (("e/", None),))
    assert ["d/ d/n/ d/n/x*", "e/"] == rewritten(of, put("d/n", None), put("d/n/x"))


def test_the_entry_of_the_root_draws_no_new_path_up() -> None:
    low, top = layer(("./", None), ("d/", None)), layer(("./", None), ("e/", None))
    low.paths[0] = top.paths[0] = b""
    assert ["/ d/ d/n*", "/ e/"] == rewritten(Tree([low, top]), put("d/n"))


def test_a_directory_made_anew_over_a_deleted_one_is_opaque() -> None:
    of = tree((("d/", None), ("d/a", b"")), ((".wh.d", b""),))
    assert ["d/ d/a", "d/ =d d/n*"] == rewritten(of, put("d", None), put("d/n"))


def test_an_image_without_layers_gets_one() -> None:
    assert ["a*"] == rewritten(tree(), put("a"))


# Other kinds


def test_a_directory_in_place_of_a_file_is_opaque_when_a_lower_layer_has_one() -> None:
    of = tree((("d/", None), ("d/a", b"")), (("d", b""),), (("x", b""),))
    assert ["d/ d/a", "d/ =d d/n*", "x"] == rewritten(of, put("d", None), put("d/n"))


def test_a_directory_in_place_of_a_file_is_not_opaque_when_no_lower_layer_has_one() -> None:
    assert ["d/ d/n*"] == rewritten(tree((("d", b""),)), put("d", None), put("d/n"))


def test_a_file_in_place_of_a_directory_stands_in_the_top_most_layer_with_anything_of_it() -> None:
    of = tree((("d/", None), ("d/a", b"")), (("d/", None), ("d/b", b"")), (("x", b""),))
    assert ["d/ d/a", "d*", "x"] == rewritten(of, *gone("d/a", "d/b"), put("d"))


# A base that stays


def test_what_the_base_owns_is_overridden_in_the_lowest_layer_above() -> None:
    of = tree((("a", b""), ("b", b"")), (("x", b""),), (("y", b""),))
    assert ["a b", "x a* -b", "y"] == rewritten(of, put("a"), *gone("b"), keep_base=1)


def test_what_upper_layers_own_is_changed_there_with_a_kept_base() -> None:
    of = tree((("a", b""),), (("x", b""),), (("y", b""),))
    assert ["a", "x", "y*"] == rewritten(of, put("y"), keep_base=1)


def test_an_image_that_is_all_base_gets_a_new_layer() -> None:
    assert ["a b", "a*"] == rewritten(tree((("a", b""), ("b", b""))), put("a"), keep_base=1)


def test_a_file_of_the_base_of_which_one_name_goes_is_not_written_again() -> None:
    of = tree((("a", b"new"), ("b", "hard:a")))
    assert ["a* b>a", "-b"] == rewritten(of, *gone("b"), put("a", content=False), keep_base=1)


# Appending


def test_appending_puts_every_change_into_one_new_layer() -> None:
    of = tree((("d/", None), ("d/a", b""), ("d/b", b"")), (("e", b""),))
    assert ["d/ d/a d/b", "e", "d/ d/a* -d/b d/n* -e"] == appended(of, put("d/a"), put("d/n"), *gone("d/b", "e"))


def test_an_appended_directory_in_place_of_a_file_is_opaque_when_a_lower_layer_has_one() -> None:
    of = tree((("d/", None), ("d/a", b"")), (("d", b""),))
    assert ["d/ d/a", "d", "d/ =d"] == appended(of, put("d", None))


def test_a_deleted_directory_is_one_whiteout() -> None:
    assert ["d/ d/a", "-d"] == appended(tree((("d/", None), ("d/a", b""))), *gone("d", "d/a"))


# Images that are stranger than the rules


def test_a_file_behind_a_link_to_its_directory_is_changed_where_it_really_is() -> None:
    of = tree((("real/", None), ("l", "link:real")), (("l/a", b""),))
    assert ["real/ l", "real/ real/a*"] == rewritten(of, put("real/a"))


def test_bookkeeping_of_a_changed_layer_stays() -> None:
    assert [".wh..wh.plnk a*"] == rewritten(tree(((".wh..wh.plnk", b""), ("a", b""))), put("a"))


# Refused


def test_a_file_whose_name_means_a_whiteout_is_refused() -> None:
    with pytest.raises(UnsupportedError):
        plan.rewrite(tree(), [put("d", None), put("d/.wh.a")])


def test_a_path_that_leaves_the_root_is_refused() -> None:
    with pytest.raises(UnsafeError):
        plan.append(tree(), [put("../a")])


# Removing from every layer


def test_a_removed_path_leaves_every_layer_that_carries_it() -> None:
    of = tree((("s", b"1"), ("a", b"")), (("s", b"2"),), ((".wh.s", b""),))
    assert ["a", "", "-s"] == layers(plan.removal(of.indexes, [b"s"]), of)


def test_a_removed_directory_goes_with_all_below_it() -> None:
    of = tree((("d/", None), ("d/a", b"")), (("d/b", b""), ("x", b"")))
    assert ["", "x"] == layers(plan.removal(of.indexes, [b"d"]), of)


def test_hard_links_to_a_removed_file_go_wherever_they_are() -> None:
    of = tree((("s", b"1"), ("l", "hard:s")), (("m", "hard:l"), ("a", b"")))
    assert ["", "a"] == layers(plan.removal(of.indexes, [b"s"]), of)


def test_removing_a_link_removes_the_file_it_shares() -> None:
    of = tree((("s", b"1"), ("a", b"")), (("l", "hard:s"),))
    assert ["a", ""] == layers(plan.removal(of.indexes, [b"l"]), of)


def test_a_removed_link_does_not_bring_back_what_it_replaced() -> None:
    of = tree((("s", b"1"), ("l", b"old")), (("l", "hard:s"),))
    assert ["l*", "-l"] == layers(plan.removal(of.indexes, [b"s"]), of)


def test_a_removed_file_that_a_later_layer_hides_goes_too() -> None:
    of = tree((("s", b"1"), ("a", b"")), ((".wh.s", b""),))
    assert ["a", "-s"] == layers(plan.removal(of.indexes, [b"s"]), of)


def test_a_path_that_no_layer_has_is_not_found() -> None:
    with pytest.raises(NotFoundError):
        plan.removal(tree((("a", b""),)).indexes, [b"b"])


# What the plan promises of bytes


def test_a_sparse_file_that_only_lost_a_name_keeps_its_encoding() -> None:
    sparse = sparse_1_0(b"s", [(1024, b"E" * 512)], 9000)
    data = sparse + layer_tar([("l", "hard:s"), ("z", b"")])
    index = scanned(data)
    found = plan.rewrite(Tree([index]), gone("l"))
    with Task(jobs=1) as task:
        made = b"".join(rewrite_layer(BytesBlob(data), index, found.edits[0], lambda entry: (entry, []), task))
    assert sparse == made[: len(sparse)]


def test_unknown_records_of_untouched_members_stay() -> None:
    kept = pax((b"VENDOR.key", b"v")) + layer_tar([("k", b"1")], end=b"")
    data = kept + layer_tar([("a", b"")])
    index = scanned(data)
    found = plan.rewrite(Tree([index]), [put("a")])
    with Task(jobs=1) as task:
        made = b"".join(rewrite_layer(BytesBlob(data), index, found.edits[0], lambda entry: (entry, [b"new"]), task))
    assert kept == made[: len(kept)]


# The checks can fail


WRONG: dict[str, Plan] = {
    "nothing done": Plan({}),
    "another content": Plan({0: LayerEdit(add=(entry("a", b"new", mode=0o600)[0],))}),
    "too much gone": Plan({0: LayerEdit(frozenset({1}), {0: entry("a", b"new")[0]})}),
    "too much there": Plan({0: LayerEdit(replace={0: entry("a", b"new")[0]}, add=(entry("n", b"")[0],))}),
    "another kind": Plan({0: LayerEdit(replace={0: entry("a", "link:b")[0]})}),
    "a link instead": Plan({0: LayerEdit(frozenset({0}), {}, (entry("a", "hard:b")[0],))}),
    "an old version shown": Plan({}, (entry("x", b"", mode=0o1)[0],)),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_plan_that_gives_another_tree_is_a_bug(wrong: Plan) -> None:
    with pytest.raises(RuntimeError):
        plan.check(wrong, tree((("a", b"1"), ("b", b"2"))), [put("a")])


def test_the_right_plan_passes() -> None:
    of = tree((("a", b"1"), ("b", b"2")))
    plan.check(Plan({0: LayerEdit(replace={0: entry("a", b"new")[0]})}), of, [put("a")])


def test_an_old_content_under_a_changed_name_is_told() -> None:
    of = tree((("a", b"old"),))
    assert [b"a"] == wrong_paths(of, {b"a": put("a")}, Plan({}))


def test_a_copy_that_is_written_with_another_files_content_is_told() -> None:
    of = tree((("a", b"old"), ("b", b"new")))
    found = Plan({}, (entry("b", b"new")[0], entry("c", "hard:b")[0]))
    assert [b"c"] == wrong_paths(of, {b"c": put("c")}, found)


def test_names_that_come_apart_are_told() -> None:
    of = tree((("a", b"old"), ("b", "hard:a")))
    assert [b"b"] == wrong_paths(of, {}, Plan({}, (entry("b", b"old")[0],)))


BROKEN: dict[str, list[Item]] = {
    "parent": [("d/a", b"")], "duplicate": [("a", b""), ("a", b"")], "whiteout": [("a", b""), (".wh.a", b"")],
    "target": [("a", "hard:b"), ("b", b"")], "opaque": [("d/.wh..wh..opq", b""), ("d/", None)],
}  # fmt: skip


@pytest.mark.parametrize("items", BROKEN.values(), ids=BROKEN)
def test_a_badly_written_layer_is_told(items: list[Item]) -> None:
    assert breaches(layer(*items))


def test_a_well_written_layer_is_not() -> None:
    assert [] == breaches(layer(("d/", None), ("d/.wh..wh..opq", b""), ("d/a", b""), ("d/b", "hard:d/a"), ("d/.wh.c", b"")))
