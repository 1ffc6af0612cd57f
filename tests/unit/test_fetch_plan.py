"""Which archives of a container are asked for, by what that costs."""

from __future__ import annotations

from support.images import layer_tar

from ocitool.blob import BytesBlob
from ocitool.containers.fetch_plan import REQUEST, ArchiveRequest, in_order, is_below, plan
from ocitool.layers.scan import index_layer
from ocitool.task import Task
from ocitool.transports.engine.containers import NETWORK_FILES, RUNTIME_DIRECTORIES, as_engine_text
from ocitool.trees.tree import Tree

USUAL = {*NETWORK_FILES, *RUNTIME_DIRECTORIES}


def tree(big: int = 0) -> Tree:
    members = [("d", None), ("d/big", b"x" * big), ("e", None), ("e/small", b"s"), ("v", None)]
    with Task() as task:
        return Tree([index_layer(BytesBlob(layer_tar(members)), task)])


def asked(requests: list[ArchiveRequest]) -> list[tuple[bytes, bool]]:
    return [(one.path, one.whole) for one in requests]


def test_an_added_directory_is_one_request() -> None:
    added = [b"new", b"new/a", b"new/b", b"new/sub", b"new/sub/c"]
    assert asked(plan([b"d"], added, [], tree(), USUAL)) == [(b"d", False), (b"new", True)]


def test_few_paths_are_asked_for_one_by_one() -> None:
    assert asked(plan([b"d/a", b"e", b"e/small"], [], [], tree(5 * REQUEST), USUAL)) == [
        (b"d/a", False), (b"e", False), (b"e/small", False),
    ]  # fmt: skip


def test_a_directory_with_many_changes_is_asked_for_as_a_whole_if_that_is_cheaper() -> None:
    changed = [b"e/%d" % n for n in range(9)]
    assert asked(plan([*changed, b"d/big"], [], [], tree(50 * REQUEST), USUAL)) == [(b"d/big", False), (b"e", True)]
    assert asked(plan([b"d/%d" % n for n in range(9)], [], [], tree(50 * REQUEST), USUAL)) == [
        (b"d/%d" % n, False) for n in range(9)
    ]
    everywhere = [b"%s/%d" % (place, n) for place in (b"d", b"e", b"v") for n in range(9)]
    assert asked(plan(everywhere, [], [], tree(), USUAL)) == [(b"", True)]


def test_what_holds_a_mount_is_never_asked_for_as_a_whole() -> None:
    mounts = {*USUAL, b"new/vol", b"v/data"}
    assert asked(plan([], [b"new", b"new/a", b"new/sub", b"new/sub/x"], [], tree(), mounts)) == [
        (b"new", False), (b"new/a", True), (b"new/sub", True),
    ]  # fmt: skip
    assert asked(plan([b"v/%d" % n for n in range(9)], [], [], tree(90 * REQUEST), mounts)) == [
        (b"v/%d" % n, False) for n in range(9)
    ]
    # One that was made again must be known as a whole: by the archive without mounts.
    assert asked(plan([b"d"], [], [b"v"], tree(), mounts)) == [(b"", True)]


def test_names_that_sort_between_a_directory_and_what_is_in_it() -> None:
    assert in_order([b"a b", b"a/b", b"a"]) == [b"a", b"a/b", b"a b"]
    assert asked(plan([], [b"a", b"a b", b"a/b"], [], tree(), USUAL)) == [(b"a", True), (b"a b", True)]
    assert is_below(b"a/b/c", {b"a"}) and is_below(b"a", {b"a"}) and not is_below(b"a b", {b"a"})


def test_bytes_that_are_not_utf8_are_one_replacement_character_each_as_in_go() -> None:
    assert as_engine_text(b"a/\xe9\xff/\xe2\x82/\xc3\xa9") == "a/\ufffd\ufffd/\ufffd\ufffd/\u00e9"
