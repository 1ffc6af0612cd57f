"""Laws of what `diff` says happened to files: a rename is found, and groups have each changed path once."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from property.test_diff import built, compared, images
from support.images import Image, entry, image, layer_tar

from ocitool.comparison import Diff

SHORT, LONG = [b"", b"1", b"22"], [letter * 40 for letter in (b"a", b"b", b"c")]
Tree = dict[str, Any]
trees = st.dictionaries(
    st.lists(st.sampled_from(["x", "y", "z"]), min_size=1, max_size=3).map(lambda names: "/".join(names) + ".f"),
    st.sampled_from([*SHORT, *LONG, "link:x.f"]), min_size=1, max_size=8,
)  # fmt: skip


def of(tree: Tree, codec: str = "none") -> Image:
    directories = {path.rsplit("/", n)[0] for path in tree for n in range(1, path.count("/") + 1)}
    entries = [*(entry(path, None) for path in sorted(directories)), *(entry(path, what) for path, what in tree.items())]
    return image([layer_tar(entries)], codec=codec)


def below(root: str, tree: Tree) -> Tree:
    return {f"{root}/{path}": what for path, what in tree.items()}


def renames(result: Diff) -> dict[str, str]:
    """The path before of each renamed path."""
    sources = result.groups.sources
    return {result.files[n].name: result.files[source].name for n, source in enumerate(sources) if source >= 0}


def is_large(tree: Tree) -> bool:
    return any(what in LONG for what in tree.values())


@settings(max_examples=25)
@given(trees.filter(is_large), st.sampled_from(["none", "gzip"]))
def test_a_directory_that_moved_is_one_group_with_all_that_was_in_it(tree: Tree, codec: str) -> None:
    result = compared(*(of(below(root, tree) | {"app/keep": b"k"}, codec) for root in ("app/old", "app/new")))
    came = [change for change in result.files if change.kind == "added"]
    assert renames(result) == {change.name: change.name.replace("/app/new", "/app/old") for change in came}
    (group,) = result.groups.groups
    assert (group.kind, group.path, group.source, group.span) == ("renamed", b"app/new", b"app/old", "tree")
    assert (group.renamed, group.edited, result.summary.renamed) == (len(came), 0, len(came))


@settings(max_examples=25)
@given(trees, trees, st.sampled_from(["none", "gzip"]))
def test_a_rename_is_of_a_path_that_is_gone_and_one_that_is_new(x: Tree, y: Tree, codec: str) -> None:
    a, b = (tree | below(root, tree) for root, tree in (("p", x), ("q", y)))
    result = compared(of(a, codec), of(b, codec))
    kinds = {change.name: change.kind for change in result.files}
    for new, old in renames(result).items():
        assert kinds[new] in ("added", "type") and kinds[old] in ("removed", "type")
        assert new == old or new.removeprefix("/") not in a or old.removeprefix("/") not in b
    assert len(set(renames(result).values())) == len(renames(result))


@settings(max_examples=25)
@given(trees, trees)
def test_the_other_way_round_has_the_same_renames_and_groups(x: Tree, y: Tree) -> None:
    there, back = compared(of(x), of(y)), compared(of(y), of(x))
    assert renames(there) == {old: new for new, old in renames(back).items()}
    assert sorted(Counter(there.groups.numbers).values()) == sorted(Counter(back.groups.numbers).values())


@settings(max_examples=25)
@given(images, images, images)
def test_groups_have_each_changed_path_once(base: Any, x: Any, y: Any) -> None:
    result = compared(*built([*base, *x], [*base, *y]))
    assert len(result.groups.numbers) == len(result.files)
    for number, group in enumerate(result.groups.groups):
        members = [change for change, at in zip(result.files, result.groups.numbers, strict=True) if at == number]
        assert members and sum(group.counts.values()) == len(members)
        assert {kind: count for kind, count in group.counts.items() if count} == Counter(change.kind for change in members)
        for change in members:
            assert within(change.path, group.path) or (group.source is not None and within(change.path, group.source))
    assert sum(group.size_delta for group in result.groups.groups) == result.summary.size_delta


def within(path: bytes, directory: bytes) -> bool:
    return path == directory or not directory or path.startswith(directory + b"/")


@settings(max_examples=25)
@given(trees)
def test_an_image_and_itself_have_no_groups(tree: Tree) -> None:
    result = compared(of(tree), of(tree, "gzip"))
    assert not result.groups.groups and not result.groups.sources
