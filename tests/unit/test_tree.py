"""Laws of the merged tree: image-spec layer.md, "Applying Changesets"."""

from __future__ import annotations

import pytest
from support.images import entry, layer_tar
from support.layers import END, head, scanned

from ocitool import limits
from ocitool.errors import LimitError, UnsafeError
from ocitool.layers.entry import Kind
from ocitool.layers.index import LayerIndex
from ocitool.trees.nodes import Directory, HiddenFile
from ocitool.trees.tree import Tree

Item = tuple[str, bytes | str | None]


def layer(*items: Item, **changes: object) -> LayerIndex:
    """A layer as its tar gives it. `changes` apply to every entry."""
    return scanned(layer_tar([entry(*item, **changes) for item in items]))


def tree(*layers: tuple[Item, ...] | LayerIndex, missing_base: bool = False) -> Tree:
    made = [one if isinstance(one, LayerIndex) else layer(*one) for one in layers]
    return Tree(made, missing_base=missing_base)


def paths(found: Tree) -> list[str]:
    return [path.decode() + ("/" if isinstance(node, Directory) else "") for path, node in found.walk()]


def ref(found: Tree, path: str) -> int:
    node = found.find(path.encode())
    assert node is not None, path
    return node.ref if isinstance(node, Directory) else node


def made_by(found: Tree, path: str) -> int:
    return found.layer(ref(found, path))


def content_of(found: Tree, path: str) -> tuple[int, int]:
    """Layer and row of the entry whose content a path has."""
    inode = found.inode(ref(found, path))
    return found.layer(inode), found.row(inode)


# Opaque markers


@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "middle", "last"])
def test_opaque_marker_hides_only_lower_entries_wherever_it_stands(place: int) -> None:
    own: list[Item] = [("d/", None), ("d/own", b"")]
    own.insert(place, ("d/.wh..wh..opq", b""))
    assert paths(tree((("d/", None), ("d/low", b""), ("e", b"")), tuple(own))) == ["d/", "d/own", "e"]


def test_opaque_marker_at_the_root_hides_everything_below() -> None:
    assert paths(tree((("a", b""), ("d/", None), ("d/x", b"")), ((".wh..wh..opq", b""), ("b", b"")))) == ["b"]


def test_opaque_marker_keeps_the_directory_and_its_attributes() -> None:
    found = tree((("d/", None), ("d/low", b"")), (("d/.wh..wh..opq", b""),))
    assert (paths(found), made_by(found, "d")) == (["d/"], 0)


def test_opaque_marker_of_what_is_no_directory_does_nothing() -> None:
    assert paths(tree((("f", b""),), (("f/.wh..wh..opq", b""), ("g/.wh..wh..opq", b"")))) == ["f"]


def test_opaque_marker_in_a_directory_that_replaces_a_link_spares_what_the_link_led_to() -> None:
    lower: tuple[Item, ...] = (("real/", None), ("real/kept", b""), ("d", "link:real"))
    assert paths(tree(lower, (("d/", None), ("d/.wh..wh..opq", b"")))) == ["d/", "real/", "real/kept"]


def test_whiteout_in_a_directory_that_replaces_a_link_spares_what_the_link_led_to() -> None:
    lower: tuple[Item, ...] = (("real/", None), ("real/kept", b""), ("d", "link:real"))
    assert paths(tree(lower, (("d/", None), ("d/.wh.kept", b"")))) == ["d/", "real/", "real/kept"]


def test_opaque_marker_below_a_link_that_stays_clears_what_it_leads_to() -> None:
    lower: tuple[Item, ...] = (("real/", None), ("real/gone", b""), ("d", "link:real"))
    assert paths(tree(lower, (("d/.wh..wh..opq", b""),))) == ["d", "real/"]


# Whiteouts


def test_whiteout_removes_the_lower_path_with_all_below_it() -> None:
    assert paths(tree((("d/", None), ("d/x", b""), ("e", b"")), ((".wh.d", b""),))) == ["e"]


@pytest.mark.parametrize("order", [1, -1], ids=["whiteout first", "whiteout last"])
def test_whiteout_never_hides_an_entry_of_its_own_layer(order: int) -> None:
    found = tree((("a", b"low"),), ((".wh.a", b""), ("a", b"own"))[::order])
    assert (paths(found), made_by(found, "a")) == (["a"], 1)


def test_whiteout_of_a_directory_keeps_what_its_own_layer_has_there() -> None:
    assert paths(tree((("d/", None), ("d/low", b"")), (("d/", None), ("d/own", b""), (".wh.d", b"")))) == ["d/", "d/own"]


@pytest.mark.parametrize("order", [1, -1])
def test_order_of_whiteouts_is_irrelevant_even_where_one_hides_the_way_of_another(order: int) -> None:
    lower: tuple[Item, ...] = (("real/", None), ("real/x", b""), ("real/y", b""), ("l", "link:real"))
    assert paths(tree(lower, ((".wh.l", b""), ("l/.wh.x", b""))[::order])) == ["real/", "real/y"]


def test_whiteout_of_nothing_that_exists_does_nothing() -> None:
    assert paths(tree((("a", b""),), ((".wh.b", b""), ("x/.wh.y", b"")))) == ["a"]


def test_only_one_whiteout_prefix_is_taken_off() -> None:
    # A file `.wh.a` cannot stand in a layer, so `.wh..wh.a` is bookkeeping and hides nothing.
    assert paths(tree((("a", b""),), ((".wh..wh.a", b""),))) == ["a"]


def test_whiteout_of_a_name_that_begins_with_a_dot() -> None:
    assert paths(tree(((".a", b""), ("a", b"")), ((".wh..a", b""),))) == ["a"]


@pytest.mark.parametrize("name", [".wh.", "d/.wh.", ".wh..", ".wh...", "d/.wh.."])
def test_whiteout_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(UnsafeError):
        tree(((name, b""),))


@pytest.mark.parametrize("name", ["../.wh.a", "a/../../.wh.b", "../.wh..wh..opq"])
def test_whiteout_outside_of_the_root_is_refused(name: str) -> None:
    with pytest.raises(UnsafeError):
        tree(((name, b""),))


# AUFS


@pytest.mark.parametrize("name", [".wh..wh.aufs", ".wh..wh.orph/", ".wh..wh.plnk/"])
def test_aufs_metadata_is_dropped(name: str) -> None:
    assert paths(tree(((name, None if name.endswith("/") else b""), ("a", b"")))) == ["a"]


def test_what_stands_below_aufs_metadata_is_dropped() -> None:
    assert paths(tree(((".wh..wh.plnk/", None), (".wh..wh.plnk/12.34", b"x"), ("a", b"")))) == ["a"]


def test_hard_link_to_an_aufs_pseudo_link_has_its_content() -> None:
    found = tree(((".wh..wh.plnk/12.34", b"x"), ("a", "hard:.wh..wh.plnk/12.34"), ("b", "hard:.wh..wh.plnk/12.34")))
    assert (paths(found), content_of(found, "a"), found.links(ref(found, "a"))) == (["a", "b"], (0, 0), [b"a", b"b"])


# One kind over another


def test_directory_over_directory_keeps_the_children_and_takes_the_attributes() -> None:
    found = tree(layer(("d/", None), ("d/x", b""), mode=0o700), layer(("d/", None), mode=0o1777, uid=7))
    entry_of = found.entry(ref(found, "d"))
    assert (paths(found), entry_of.mode, entry_of.uid, made_by(found, "d")) == (["d/", "d/x"], 0o1777, 7, 1)


@pytest.mark.parametrize("what", [b"", "link:x", "hard:z"])
def test_anything_else_over_a_directory_deletes_the_whole_subtree(what: bytes | str) -> None:
    found = tree((("d/", None), ("d/e/", None), ("d/e/x", b""), ("z", b"")), (("d", what),))
    assert paths(found) == ["d", "z"]


@pytest.mark.parametrize("what", [b"", "link:x"])
def test_directory_over_anything_else_begins_empty(what: bytes | str) -> None:
    found = tree((("real/", None), ("real/x", b""), ("d", what)), (("d/", None),))
    assert [p for p in paths(found) if p.startswith("d")] == ["d/"]


def test_link_over_a_file_and_file_over_a_link() -> None:
    found = tree((("a", b""), ("b", "link:a")), (("a", "link:b"), ("b", b"")))
    kinds = [found.entry(ref(found, path)).kind for path in ("a", "b")]
    assert kinds == [Kind.SYMLINK, Kind.FILE]


def test_of_duplicates_in_one_layer_the_later_wins() -> None:
    found = tree((("a", b"1"), ("./a", b"22"), ("a", b"333")))
    assert found.entry(ref(found, "a")).size == 3


def test_spellings_of_one_path_are_one_path() -> None:
    assert paths(tree((("./d/", None), ("/d/a", b""), ("d//b", b""), ("d/./c", b"")))) == ["d/", "d/a", "d/b", "d/c"]


# Parents


def test_missing_parent_keeps_the_lower_attributes() -> None:
    found = tree(layer(("tmp/", None), mode=0o1777), (("tmp/x", b""),))
    assert (found.entry(ref(found, "tmp")).mode, made_by(found, "tmp")) == (0o1777, 0)


def test_missing_parent_that_nobody_lists_is_roots_and_755() -> None:
    found = tree((("a/b/c", b""),))
    entry_of = found.entry(ref(found, "a"))
    assert (paths(found), entry_of.mode, entry_of.uid, entry_of.mtime) == (["a/", "a/b/", "a/b/c"], 0o755, 0, 0)


def test_directory_listed_after_its_entries_gives_the_attributes() -> None:
    found = tree((("a/b", b""), ("a/", None)))
    assert (paths(found), made_by(found, "a")) == (["a/", "a/b"], 0)


def test_root_entry_gives_the_root_its_attributes() -> None:
    found = tree(layer(("./", None), mode=0o700, uid=5))
    root = found.entry(found.root.ref)
    assert (root.mode, root.uid, paths(found)) == (0o700, 5, [])


def test_write_below_a_lower_link_goes_where_it_leads() -> None:
    assert paths(tree((("real/", None), ("l", "link:real")), (("l/x", b""),))) == ["l", "real/", "real/x"]


@pytest.mark.parametrize("target", ["/real", "/../real", "../../real", "d/../real", "./real/."])
def test_links_on_the_way_are_resolved_inside_the_root(target: str) -> None:
    found = tree((("real/", None), ("d/", None), ("l", f"link:{target}")), (("l/x", b""),))
    assert paths(found) == ["d/", "l", "real/", "real/x"]


def test_links_in_chains_are_followed() -> None:
    found = tree((("real/", None), ("m", "link:real"), ("l", "link:m")), (("l/x", b""),))
    assert paths(found) == ["l", "m", "real/", "real/x"]


def test_link_that_leads_out_of_a_replaced_directory_is_looked_up_again() -> None:
    found = tree(
        (("one/", None), ("two/", None), ("l", "link:one")), (("l/x", b""), ("l", "link:two"), ("l/y", b"")),
    )  # fmt: skip
    assert paths(found) == ["l", "one/", "one/x", "two/", "two/y"]


@pytest.mark.parametrize("target", ["l", "m", "nowhere", "file"], ids=["itself", "circle", "dangling", "file"])
def test_link_that_leads_to_no_directory_becomes_one(target: str) -> None:
    found = tree((("file", b""), ("m", "link:l"), ("l", f"link:{target}")), (("l/x", b""),))
    assert paths(found) == ["file", "l/", "l/x", "m"]


def test_more_links_than_the_kernel_follows_become_a_directory() -> None:
    links: list[Item] = [(f"l{n}", f"link:l{n + 1}") for n in range(41)]
    assert "l0/" in paths(tree((("l41/", None), *links), (("l0/x", b""),)))


def test_write_below_a_lower_file_makes_a_directory_of_it() -> None:
    found = tree((("f", b""),), (("f/x", b""),))
    assert (paths(found), found.removed) == (["f/", "f/x"], {b"f": 1})


# Names that leave the root


@pytest.mark.parametrize("name", ["..", "../a", "a/../../b", "/../a", "../a/b/c"])
def test_names_that_leave_the_root_are_refused(name: str) -> None:
    with pytest.raises(UnsafeError):
        tree(((name, b""),))


@pytest.mark.parametrize("name", ["..", "../d"])
def test_directories_that_leave_the_root_are_refused(name: str) -> None:
    with pytest.raises(UnsafeError):
        tree(scanned(head(name.encode() + b"/", b"5") + END))


def test_hard_link_to_what_is_outside_of_the_root_is_refused() -> None:
    with pytest.raises(UnsafeError):
        tree((("a", "hard:../etc/passwd"),))


def test_two_dots_that_stay_inside_are_no_escape() -> None:
    assert paths(tree((("a/../b", b""),))) == ["b"]


# Hard links


def test_hard_link_shares_the_content_and_all_names_are_known() -> None:
    found = tree((("a", b"x"), ("b", "hard:a"), ("c", b"x")))
    assert (content_of(found, "b"), found.links(ref(found, "a")), found.links(ref(found, "c"))) == ((0, 0), [b"a", b"b"], [])


def test_hard_link_keeps_its_content_when_the_target_is_overwritten_later() -> None:
    found = tree((("a", b"old"), ("b", "hard:a")), (("a", b"newer"),))
    assert (found.entry(ref(found, "b")).size, found.links(ref(found, "b"))) == (3, [])


def test_hard_link_keeps_its_content_when_the_target_is_deleted_later() -> None:
    found = tree((("a", b"old"), ("b", "hard:a")), ((".wh.a", b""),))
    assert (paths(found), found.entry(ref(found, "b")).size, found.broken) == (["b"], 3, [])


def test_hard_link_keeps_its_content_when_the_target_is_overwritten_in_its_own_layer() -> None:
    found = tree((("a", b"old"),), (("b", "hard:a"), ("a", b"newer")))
    assert (content_of(found, "b"), content_of(found, "a")) == ((0, 0), (1, 1))


@pytest.mark.parametrize("order", [1, -1])
def test_hard_link_keeps_its_content_when_the_target_is_deleted_in_its_own_layer(order: int) -> None:
    found = tree((("a", b"old"),), (("b", "hard:a"), (".wh.a", b""))[::order])
    assert (paths(found), content_of(found, "b"), found.broken) == (["b"], (0, 0), [])


def test_hard_link_across_layers() -> None:
    found = tree((("a", b"x"),), (("b", "hard:a"),))
    assert (content_of(found, "b"), made_by(found, "b"), found.links(ref(found, "a"))) == ((0, 0), 1, [b"a", b"b"])


def test_hard_link_before_its_target() -> None:
    found = tree((("b", "hard:a"), ("a", b"x")))
    assert (content_of(found, "b"), found.broken) == ((0, 1), [])


def test_hard_links_in_a_chain() -> None:
    found = tree((("a", b"x"), ("b", "hard:a"), ("c", "hard:b")))
    assert found.links(ref(found, "c")) == [b"a", b"b", b"c"]


@pytest.mark.parametrize("order", [(2, 1, 0), (1, 2, 0), (1, 0, 2), (2, 0, 1)])
def test_hard_links_in_a_chain_before_their_targets(order: tuple[int, ...]) -> None:
    items: list[Item] = [("a", b"x"), ("b", "hard:a"), ("c", "hard:b")]
    found = tree(tuple(items[n] for n in order))
    assert (found.links(ref(found, "c")), found.broken) == ([b"a", b"b", b"c"], [])


def test_hard_link_to_a_symlink_is_one() -> None:
    found = tree((("real/", None), ("s", "link:real"), ("h", "hard:s")), (("h/x", b""),))
    assert (found.entry(ref(found, "h")).kind, paths(found)) == (Kind.SYMLINK, ["h", "real/", "real/x", "s"])


def test_hard_link_to_itself_changes_nothing() -> None:
    found = tree((("a", b"x"),), (("a", "hard:a"),))
    assert (content_of(found, "a"), made_by(found, "a"), found.broken) == ((0, 0), 0, [])


def test_hard_link_to_itself_alone_is_broken() -> None:
    assert tree((("a", "hard:./a"),)).broken == [(b"a", 0)]


def test_hard_links_in_a_circle_are_broken() -> None:
    assert [path for path, _ in tree((("a", "hard:b"), ("b", "hard:a"))).broken] == [b"a", b"b"]


@pytest.mark.parametrize("target", ["nowhere", "d"])
def test_hard_link_to_nothing_or_to_a_directory_is_broken(target: str) -> None:
    found = tree((("d/", None), ("a", f"hard:{target}")))
    assert ([path for path, _ in found.broken], found.entry(ref(found, "a")).kind) == ([b"a"], Kind.HARDLINK)


def test_broken_link_that_its_layer_overwrites_is_not_reported() -> None:
    assert tree((("a", "hard:nowhere"), ("a", b"x"))).broken == []


def test_hard_link_whose_target_stands_behind_a_link() -> None:
    found = tree((("real/", None), ("real/a", b"x"), ("l", "link:real"), ("b", "hard:l/a")))
    assert found.links(ref(found, "b")) == [b"b", b"real/a"]


# Whose doing


def test_every_path_names_the_layer_that_made_it() -> None:
    found = tree((("a", b""), ("b", b"")), (("b", b""),), (("c", b""),))
    assert [made_by(found, path) for path in "abc"] == [0, 1, 2]


def test_removed_paths_name_the_layer_that_removed_them() -> None:
    found = tree(
        (("a", b""), ("d/", None), ("d/x", b""), ("o/", None), ("o/y", b""), ("t/", None), ("t/z", b"")),
        ((".wh.a", b""), ("o/.wh..wh..opq", b"")), ((".wh.d", b""),), (("t", b""),),
    )  # fmt: skip
    assert [found.remover(path) for path in (b"a", b"o/y", b"d/x", b"t/z", b"o")] == [1, 1, 2, 3, None]


def test_path_removed_twice_names_the_last() -> None:
    assert tree((("a", b""),), ((".wh.a", b""),), (("a", b""),), ((".wh.a", b""),)).remover(b"a") == 3


def test_path_removed_through_a_link_is_known_by_where_it_was() -> None:
    found = tree((("real/", None), ("real/x", b""), ("l", "link:real")), (("l/.wh.x", b""),))
    assert found.removed == {b"real/x": 1}


def test_directory_replaced_through_a_link_is_known_by_where_it_was() -> None:
    found = tree((("real/", None), ("real/d/", None), ("real/d/x", b""), ("l", "link:real")), (("l/d", b""),))
    assert found.remover(b"real/d/x") == 1


def test_hidden_files_are_told_once_with_what_replaced_them() -> None:
    reported: list[HiddenFile] = []
    layers = [layer(("d/", None), ("d/x", b""), ("a", b"")), layer((".wh.d", b""), ("d/.wh.x", b""), ("a", b"2"))]
    Tree(layers, hidden=reported.append)
    assert [(h.path, h.by, h.replaced is not None) for h in reported] == [(b"d/x", 1, False), (b"a", 1, True)]


# Odd layers


def test_no_layers_make_an_empty_tree() -> None:
    assert paths(tree()) == []


def test_same_layer_twice_is_the_layer_once() -> None:
    one = layer(("d/", None), ("d/a", b"x"), ("b", "hard:d/a"), (".wh.z", b""))
    assert paths(tree(one, one)) == paths(tree(one)) == ["b", "d/", "d/a"]


def test_layer_of_whiteouts_alone() -> None:
    assert paths(tree((("a", b""), ("b", b"")), ((".wh.a", b""), (".wh.b", b"")))) == []


def test_all_zero_layer_changes_nothing() -> None:
    assert paths(tree((("a", b""),), scanned(bytes(10240)))) == ["a"]


def test_walk_is_in_the_order_of_names_and_parents_come_first() -> None:
    assert paths(tree((("b", b""), ("a/", None), ("a/z", b""), ("a-", b""), ("a.", b"")))) == ["a/", "a/z", "a-", "a.", "b"]


def test_find_follows_the_last_link_only_when_asked() -> None:
    found = tree((("real/", None), ("l", "link:real")))
    assert (isinstance(found.find(b"l"), Directory), isinstance(found.find(b"l", follow=True), Directory)) == (False, True)


def test_find_below_a_file_finds_nothing() -> None:
    assert tree((("f", b""),)).find(b"f/x") is None


# Upper layers without their base


@pytest.mark.parametrize(
    ("items", "needed"),
    [
        ((("a", b""),), False),
        ((("d/", None), ("d/a", b"")), False),
        ((("d/a", b""),), True),
        ((("d/a", b""), ("d/", None)), True),
        (((".wh.a", b""),), False),
        ((("d/", None), ("d/.wh.a", b"")), False),
        ((("d/.wh.a", b""),), True),
        ((("d/.wh..wh..opq", b""),), True),
        ((("d/.wh..wh..opq", b""), ("d/", None)), False),
        ((("b", "hard:a"),), True),
        ((("a", b""), ("b", "hard:a")), False),
        ((("b", "hard:a"), ("a", b"")), True),
        ((("l", "link:d"), ("l/a", b"")), True),
        ((("d/", None), ("l", "link:d"), ("l/a", b"")), False),
        ((("a", "hard:a"),), True),
        ((("d/", None), ("d", "hard:d")), True),
    ],
    ids=str,
)
def test_upper_layers_need_their_base_where_it_decides_what_an_entry_means(items: tuple[Item, ...], needed: bool) -> None:
    assert tree(items, missing_base=True).needs_base is needed


def test_directories_that_no_layer_lists_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "IMPLIED_DIRECTORIES", 5)
    assert paths(tree((("a/b/c/d/e/f", b""),)))[-1] == "a/b/c/d/e/f"
    with pytest.raises(LimitError):
        tree((("a/b/c/d/e/f/g", b""),))
