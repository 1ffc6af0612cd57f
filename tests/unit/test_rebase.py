"""Which paths both the new base and the image's own layers changed, and what is told of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.images import AnyEntry, entry, image, layer_tar, write_layout

from ocitool.operations.rebase import BaseReferences, rebase
from ocitool.pipeline.image_writer import WriteOptions
from ocitool.pipeline.session import Session
from ocitool.task import Task

Layer = list[AnyEntry]
STOOD: Layer = [("d/", None), ("d/a", b"1"), ("d/b", b"1"), ("f", b"1"), ("l", "link:d"), ("e/", None), ("e/a", b"1")]
CHANGED_A: Layer = [("d/", None), ("d/a", b"2")]
MADE_A: Layer = [("d/", None), ("d/a", b"3")]


class Conflicts:
    """What is told where the new base has some layers on the old one, and the image others."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.notices: list[tuple[str, str]] = []

    def all(self, theirs: Sequence[Layer], mine: Sequence[Layer]) -> list[tuple[str, str, str, int]]:
        below = layer_tar(STOOD)
        place = self.place
        for name, layers in (("old", []), ("new", theirs), ("src", mine)):
            write_layout(place / name, [image([below, *map(layer_tar, layers)])])
        with Task(jobs=1, cores=1) as task:
            bases = BaseReferences(str(place / "old"), str(place / "new"))
            reading = Session(task, cached=False)
            found: Any = rebase(str(place / "src"), bases, reading, WriteOptions(f"oci:{place / 'out'}", dry_run=True))
        self.notices = [(notice.code, notice.text) for notice in found.notices]
        (rebase_report,) = found.details.rebased
        conflicts = [("/" + one.path.decode(), one.base, one.app, one.layer) for one in rebase_report.conflicts]
        assert sorted(path for path, *_ in conflicts) == [path for path, *_ in conflicts]
        assert len({path for path, *_ in conflicts}) == len(conflicts)
        assert bool(conflicts) == (["conflict"] == [code for code, _ in self.notices])
        return conflicts

    def __call__(self, theirs: Layer, mine: Layer) -> list[tuple[str, str, str, int]]:
        return self.all([theirs], [mine])

    def paths(self, theirs: Layer, mine: Layer) -> list[str]:
        return [path for path, *_ in self(theirs, mine)]


@pytest.fixture
def conflicts(tmp_path: Path) -> Conflicts:
    return Conflicts(tmp_path)


@pytest.mark.parametrize(
    ("theirs", "mine", "expected"),
    [
        ([("f", b"2")], [("f", b"3")], [("/f", "changed", "changed", 1)]),
        ([("n", b"2")], [("n", b"3")], [("/n", "added", "added", 1)]),
        ([(".wh.f", b"")], [("f", b"3")], [("/f", "removed", "changed", 1)]),
        ([("f", b"2")], [(".wh.f", b"")], [("/f", "changed", "removed", 1)]),
        (CHANGED_A, [(".wh.d", b"")], [("/d/a", "changed", "removed", 1)]),
        (CHANGED_A, [("d/", None), ("d/.wh..wh..opq", b"")], [("/d/a", "changed", "removed", 1)]),
        ([("d/new", b"")], [("d/", None), ("d/.wh..wh..opq", b"")], [("/d/new", "added", "removed", 1)]),
        ([("d/a", b"2"), ("f", b"2")], [(".wh..wh..opq", b"")],
         [("/d/a", "changed", "removed", 1), ("/f", "changed", "removed", 1)]),
        ([("f", "link:d")], [("f", b"3")], [("/f", "changed", "changed", 1)]),
        ([("l", "link:f")], [("l", "link:e")], [("/l", "changed", "changed", 1)]),
        ([entry("f", b"1", mode=0o755)], [("f", b"3")], [("/f", "changed", "changed", 1)]),
        ([("f", b"2")], [entry("f", b"1", uid=7)], [("/f", "changed", "changed", 1)]),
        ([("f", b"2")], [entry("f", b"2", uid=7)], [("/f", "changed", "changed", 1)]),
        ([("f", b"2")], [entry("f", b"2", xattrs=((b"user.a", b"1"),))], [("/f", "changed", "changed", 1)]),
        ([("f", b"2")], [("f/", None)], [("/f", "changed", "changed", 1)]),
        ([("d/", None), ("d/a", b"2"), ("d/b", b"2")], [*MADE_A, ("d/b", b"2")], [("/d/a", "changed", "changed", 1)]),
        ([("e/", None), ("e/.wh.a", b"")], [("e/a", b"3")], [("/e/a", "removed", "changed", 1)]),
    ],
)  # fmt: skip
def test_what_both_changed_is_told_with_what_each_did(theirs: Layer, mine: Layer, expected: Any, conflicts: Conflicts) -> None:
    assert expected == conflicts(theirs, mine)


@pytest.mark.parametrize(
    ("theirs", "mine"),
    [
        ([("f", b"2")], CHANGED_A),
        ([("f", b"2")], [("f", b"2")]),
        ([("n", b"2")], [("n", b"2")]),
        ([(".wh.f", b"")], [(".wh.f", b"")]),
        ([(".wh.d", b"")], [(".wh.d", b"")]),
        ([("e/.wh.a", b"")], [(".wh.e", b"")]),
        ([("l", "link:f")], [("l", "link:f")]),
        ([("f", b"1")], [("f", b"3")]),
        ([("f", b"2")], []),
        ([], [("f", b"3")]),
        ([], [(".wh.d", b"")]),
        ([entry("d/", None, mode=0o700), ("d/new", b"")], CHANGED_A),
        ([("d/new", b"")], [entry("d/", None, mode=0o700)]),
        ([("n", b"2"), (".wh.f", b"")], [("m", b"2"), ("d/.wh.a", b"")]),
        ([("n/", None), ("n/x", b"")], [("n/", None), ("n/y", b"")]),
        ([("n", b"2")], [("d/.wh.none", b"")]),
    ],
)
def test_other_changes_and_equal_ones_are_no_conflict(theirs: Layer, mine: Layer, conflicts: Conflicts) -> None:
    assert [] == conflicts(theirs, mine)


@pytest.mark.parametrize(
    ("theirs", "mine"),
    [([("f/", None), ("f/x", b"")], [("f", b"3")]), ([("f", "link:d")], [("f/", None), ("f/y", b"")])],
)
def test_two_kinds_at_one_path_are_a_conflict(theirs: Layer, mine: Layer, conflicts: Conflicts) -> None:
    assert "/f" in conflicts.paths(theirs, mine)


@pytest.mark.parametrize("theirs", [[("d", "link:e")], [("d", b"file")]])
def test_a_directory_that_the_new_base_made_something_else_and_the_image_still_has_is_a_conflict(
    conflicts: Conflicts, theirs: Layer
) -> None:
    """As /lib that became a link: what the base has behind it is hidden."""
    assert ("/d", "changed", "changed", 1) in conflicts(theirs, [("d/", None), ("d/new", b"3")])


def test_a_conflict_is_told_once_with_the_own_layer_that_decides(conflicts: Conflicts) -> None:
    mine: list[Layer] = [CHANGED_A, [("f", b"3")], [("f", b"4")]]
    assert [("/f", "changed", "changed", 3)] == conflicts.all([[("f", b"2")], [("e/a", b"2")]], mine)


def test_what_a_new_base_changed_and_changed_back_is_no_conflict(conflicts: Conflicts) -> None:
    assert [] == conflicts.all([[("f", b"2")], [("f", b"1")]], [[("f", b"3")]])


def test_the_first_three_paths_are_in_the_notice(conflicts: Conflicts) -> None:
    every: Layer = [(name, b"2") for name in ("p", "q", "r", "s")]
    conflicts(every, [(name, b"3") for name in ("p", "q", "r", "s")])
    ((_, text),) = conflicts.notices
    assert "changed 4 paths: /p, /q, /r, ..." in text


@pytest.mark.parametrize(
    ("theirs", "mine", "path"),
    [
        ([("d/", None), ("d/.wh.a", b""), ("d/.wh.b", b"")], MADE_A, "/d/a"),
        ([(".wh.d", b"")], MADE_A, "/d/a"),
        ([("d", b"a file")], [("d/a", b"3")], "/d/a"),
        ([("d-x", b""), ("d/a", b"2")], [(".wh.d", b"")], "/d/a"),
        (CHANGED_A, [("d", b"a file")], "/d/a"),
        ([("d/new", b"")], [("d", "link:e")], "/d/new"),
        (CHANGED_A, [("l/a", b"3")], "/d/a"),
        (CHANGED_A, [("l/.wh.a", b"")], "/d/a"),
    ],
    ids=["the base empties", "the base removes", "the base replaces", "another sorts between", "own file over a directory",
         "own link over a directory", "own through a link", "own whiteout through a link"],
)  # fmt: skip
def test_a_conflict_is_told_whatever_way_a_directory_goes_or_is_reached(
    theirs: Layer, mine: Layer, path: str, conflicts: Conflicts
) -> None:
    assert path in conflicts.paths(theirs, mine)


@pytest.mark.parametrize(
    ("theirs", "mine"),
    [
        ([("n", b"2"), ("m", "hard:n")], [("n", b"2"), ("m", "hard:n")]),
        ([entry("n/", None, mtime=5), ("n/x", b"")], [entry("n/", None, mtime=7), ("n/y", b"")]),
    ],
    ids=["equal hard links", "a directory that both made"],
)
def test_equal_links_and_directories_of_both_are_no_conflict(theirs: Layer, mine: Layer, conflicts: Conflicts) -> None:
    assert [] == conflicts(theirs, mine)
