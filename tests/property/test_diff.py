"""Laws of `diff` for any images: of one with itself, both ways round, in other layers, and with everything read."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from support.images import Image, entry, image, layer_tar, write_layout

from ocitool.comparison import Diff, DiffOptions, diff
from ocitool.images import platform_choice
from ocitool.layers.cache import IndexCache
from ocitool.layers.entry import Kind
from ocitool.pipeline.session import Session
from ocitool.report.json import diff as as_json
from ocitool.task import Task
from ocitool.trees.indexing import Indexer
from ocitool.trees.nodes import Directory
from ocitool.trees.tree import Tree

TIME = 1_700_000_000_000_000_000
names = st.sampled_from(["a", "b", "d", "d/a", "d/b", "d/e", "d/e/a", "f", "f/a", "l/a"])
contents = st.sampled_from([b"", b"1", b"2", b"two", b"three" * 200])


def a_file(name: str, content: bytes, mode: int) -> Any:
    return entry(name, content, mode=mode)


entries = st.one_of(
    st.builds(a_file, names, contents, st.sampled_from([0o644, 0o755, 0o4755])),
    st.builds(lambda n, t: entry(n, b"x", mtime=TIME + t), names, st.integers(0, 1)),
    st.builds(lambda n, m: entry(n, None, mode=m), names, st.sampled_from([0o755, 0o700])),
    st.builds(lambda n, t: entry(n, f"link:{t}"), st.sampled_from(["l", "a", "d/l"]), st.sampled_from(["d", "/d/e", "a", "l"])),
    st.builds(lambda n, t: entry(n, f"hard:{t}"), names, names),
    st.builds(lambda n: entry(f"{n.rpartition('/')[0]}/.wh.{n.rpartition('/')[2]}".lstrip("/"), b""), names),
    st.builds(lambda n: entry(f"{n}/.wh..wh..opq", b""), st.sampled_from(["d", "d/e", "f", "l"])),
)
layers = st.lists(entries, max_size=6, unique_by=lambda pair: pair[0].path)
images = st.lists(layers, max_size=3)


def built(*stacks: Any) -> list[Image]:
    return [image([layer_tar(one) for one in stack], codec="none") for stack in stacks]


def compared(a: Image, b: Image, *, verify: bool = False, **question: Any) -> Diff:
    with tempfile.TemporaryDirectory() as folder, Task(jobs=1) as task:
        before, after = (write_layout(Path(folder) / name, [made]) for name, made in (("a", a), ("b", b)))
        result = diff(str(before), str(after), DiffOptions(**question), Session(task, None, verify))
        as_json.diff_json(result)
        return result


def visible_bytes(made: Image) -> int:
    """Of all files, each inode once; computed from the verified tree alone."""
    with tempfile.TemporaryDirectory() as folder, Task(jobs=1) as task:
        where = write_layout(Path(folder) / "x", [made])
        reading = Session(task, None, True)
        one = platform_choice.single(reading.open(str(where), "layers"), None)
        tree = Tree(Indexer(IndexCache(None), task, verify=True).indexes(one))
        inodes = {tree.inode(node) for _, node in tree.walk() if not isinstance(node, Directory)}
        found = [tree.indexes[tree.layer(inode)].entry(tree.row(inode)) for inode in inodes]
        return sum(item.size for item in found if item.kind == Kind.FILE)


def sides(result: Diff) -> list[Any]:
    return [(c.path, c.kind, c.fields, _plain(c.before), _plain(c.after)) for c in result.files]


def _plain(side: Any) -> Any:
    """What a side says, wherever in a layer it stands; a content that is not needed may be known or not."""
    return None if side is None else (side.entry._replace(offset=0), side.links)


@settings(max_examples=50)
@given(images)
def test_an_image_does_not_differ_from_itself(stack: Any) -> None:
    (a,) = built(stack)
    for verify in (False, True):
        result = compared(a, a, verify=verify)
        assert result.identical and not result.files and not result.config and not result.notable
        assert result.summary.size_delta == result.summary.transfer_bytes == 0


@settings(max_examples=80)
@given(images, images, images)
def test_the_other_way_round_is_the_mirror(base: Any, x: Any, y: Any) -> None:
    a, b = built([*base, *x], [*base, *y])
    there, back = compared(a, b), compared(b, a)
    swap = {"added": "removed", "removed": "added"}
    assert [(p, swap.get(k, k), f, after, before) for p, k, f, before, after in sides(there)] == sides(back)
    assert there.summary.size_delta == -back.summary.size_delta
    assert there.identical == back.identical


@settings(max_examples=80)
@given(images, images, images)
def test_the_size_delta_is_that_of_all_visible_bytes(base: Any, x: Any, y: Any) -> None:
    a, b = built([*base, *x], [*base, *y])
    assert compared(a, b).summary.size_delta == visible_bytes(b) - visible_bytes(a)


@settings(max_examples=80)
@given(images, images, images)
def test_leaving_shared_layers_unread_changes_nothing(base: Any, x: Any, y: Any) -> None:
    """The short cut of the shared base against full trees."""
    a, b = built([*base, *x], [*base, *y])
    quick, whole = compared(a, b), compared(a, b, verify=True)
    assert sides(quick) == sides(whole)
    assert quick.summary == whole.summary
    assert [(n.rule, n.path) for n in quick.notable] == [(n.rule, n.path) for n in whole.notable]


plain = st.lists(
    st.one_of(
        st.builds(a_file, st.sampled_from(["a", "b", "c", "d/a", "d/e/b"]), contents, st.just(0o644)),
        st.builds(lambda n: entry(n, "link:a"), st.sampled_from(["l", "d/l"])),
    ),
    max_size=6, unique_by=lambda pair: pair[0].path,
)  # fmt: skip


@settings(max_examples=60)
@given(plain, st.integers(0, 6), st.integers(0, 6))
def test_the_same_files_in_other_layers_show_no_change(files: Any, i: int, j: int) -> None:
    parents = [entry("d", None), entry("d/e", None)]
    whole = [*parents, *files]
    i, j = sorted((i, j))
    junk = entry("d/junk", b"junk")
    split = [[*parents, *files[:i], junk], [entry("d/.wh.junk", b""), *files[i:j]], files[j:]]
    a, b = built([whole], split)
    for verify in (False, True):
        result = compared(a, b, semantic=True, verify=verify)
        assert not result.files and result.summary.size_delta == 0
