"""`ocitool rebase`: an own layer that only lists a directory as it stood on the old base does not bring the old base's back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.images import AnyEntry, entry, image, layer_tar, write_layout
from support.report import report_of

from ocitool.layers import tarwriter
from ocitool.layers.entry import Entry, Kind

Run = Callable[..., Any]
Layer = list[AnyEntry]
ACL = (b"user.acl", b"\x01\x00")


def srv(**more: Any) -> Any:
    return entry("srv/", None, **{"mode": 0o777, "mtime": 5 * 10**9, **more})


class Rebased:
    """What became of an image whose own layers stand on another base now."""

    def __init__(self, ocitool: Run, place: Path, bases: tuple[Layer, Layer], own: tuple[Layer | bytes, ...]) -> None:
        below = [layer_tar([("etc/", None), ("etc/os", b"1"), *base]) for base in bases]
        tars = [layer if isinstance(layer, bytes) else layer_tar(layer) for layer in own]
        for name, layers in (("old", below[:1]), ("new", below[1:]), ("app", [below[0], *tars])):
            write_layout(place / name, [image(layers)])
        words = ("--old-base", place / "old", "--new-base", place / "new", "--fail-on", "conflict", "--format", "json")
        result = ocitool("rebase", place / "app", f"oci:{place / 'out'}", *words)
        report = report_of(result, 0, 1)
        (rebase_report,) = report["details"]["rebased"]
        self.code = result.code
        self.conflicts = [(one["path"], one["base"], one["app"], one["layer"]) for one in rebase_report["conflicts"]]
        self.directories = [(one["path"], one["layer"]) for one in rebase_report["directories"]]
        self.origins = [layer["origin"] for layer in report["images"][0]["layers"]][1:]
        self.notices = [one["text"] for one in report["notices"] if one["code"] == "directories"]
        listed = report_of(ocitool("ls", place / "out", "--recursive", "--format", "json"))
        self.at = {one["path"]: one for one in listed["entries"]}


class Rebase:
    def __init__(self, ocitool: Run, place: Path) -> None:
        self.ocitool, self.place = ocitool, place

    def __call__(self, old: Layer, new: Layer, *own: Layer | bytes) -> Rebased:
        return Rebased(self.ocitool, self.place, (old, new), own)


@pytest.fixture
def rebase(ocitool: Run, tmp_path: Path) -> Rebase:
    return Rebase(ocitool, tmp_path)


FILE = ("srv/app", b"app")


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [({"mode": 0o700}, "mode", "0700"), ({"mode": 0o1777}, "mode", "1777"), ({"uid": 7}, "uid", 7), ({"gid": 7}, "gid", 7),
     ({"xattrs": (ACL,)}, "xattrs", {"user.acl": "AQA="})],
)  # fmt: skip
def test_a_directory_that_is_only_listed_has_what_the_new_base_gives_it(
    change: Any, field: str, value: Any, rebase: Rebase
) -> None:
    made = rebase([srv()], [srv(**change)], [srv(), FILE])
    assert (value, 0, [("/srv", 1)]) == (made.at["/srv"][field], made.code, made.directories)


def test_an_extended_attribute_that_the_new_base_took_away_does_not_come_back(rebase: Rebase) -> None:
    made = rebase([srv(xattrs=(ACL,))], [srv()], [srv(xattrs=(ACL,)), FILE])
    assert ({}, [("/srv", 1)]) == (made.at["/srv"]["xattrs"] or {}, made.directories)


def test_a_layer_that_is_made_again_is_said_and_the_others_are_kept(rebase: Rebase) -> None:
    made = rebase([srv()], [srv(mode=0o700)], [("app", b"1")], [srv(), FILE], [("etc/", None), ("etc/app", b"1")])
    assert ["kept", "rewritten", "kept"] == made.origins
    assert ["layer 2 is made again" in text and "/srv" in text for text in made.notices] == [True]


def test_a_layer_that_lists_only_what_the_new_base_left_alone_is_kept(rebase: Rebase) -> None:
    made = rebase([srv()], [srv(mtime=9)], [srv(), FILE])
    assert (["kept"], []) == (made.origins, made.conflicts)


@pytest.mark.parametrize("layers", [1, 3])
def test_every_own_layer_that_lists_the_directory_follows(layers: int, rebase: Rebase) -> None:
    made = rebase([srv()], [srv(mode=0o700)], *[[srv(), FILE]] * layers)
    assert (["rewritten"] * layers, "0700") == (made.origins, made.at["/srv"]["mode"])


def test_the_root_directory_follows_too(rebase: Rebase) -> None:
    made = rebase([entry("", None, mode=0o777)], [entry("", None, mode=0o755)], [entry("", None, mode=0o777), ("app", b"1")])
    assert ([("/", 1)], []) == (made.directories, made.conflicts)


def test_a_parent_that_no_base_lists_counts_as_roots_and_755(rebase: Rebase) -> None:
    made = rebase([("srv/x", b"1")], [srv(mode=0o700), ("srv/x", b"1")], [srv(mode=0o755), FILE])
    assert "0700" == made.at["/srv"]["mode"]


def test_what_the_image_itself_changed_stays_and_is_no_conflict_if_the_base_left_it_alone(rebase: Rebase) -> None:
    made = rebase([srv()], [srv()], [srv(mode=0o750), FILE])
    assert ("0750", ["kept"], []) == (made.at["/srv"]["mode"], made.origins, made.conflicts)


def test_what_both_changed_stays_the_images_and_is_a_conflict(rebase: Rebase) -> None:
    made = rebase([srv()], [srv(mode=0o700)], [("app", b"1")], [srv(mode=0o750), FILE])
    assert (1, [("/srv", "changed", "changed", 2)]) == (made.code, made.conflicts)
    assert ("0750", ["kept", "kept"]) == (made.at["/srv"]["mode"], made.origins)


def test_each_attribute_goes_by_itself(rebase: Rebase) -> None:
    made = rebase([srv()], [srv(uid=7)], [srv(mode=0o750), FILE])
    assert ("0750", 7, []) == (made.at["/srv"]["mode"], made.at["/srv"]["uid"], made.conflicts)


def test_what_one_own_layer_changed_a_later_one_may_list(rebase: Rebase) -> None:
    made = rebase([srv()], [srv()], [srv(mode=0o750)], [srv(mode=0o750), FILE])
    assert ("0750", ["kept", "kept"]) == (made.at["/srv"]["mode"], made.origins)


def test_what_an_own_layer_changed_back_stays(rebase: Rebase) -> None:
    made = rebase([srv()], [srv(mode=0o700)], [srv(mode=0o750)], [srv(), FILE])
    assert ("0777", 1) == (made.at["/srv"]["mode"], made.code)


def test_a_directory_that_was_removed_and_made_again_is_the_images(rebase: Rebase) -> None:
    made = rebase([srv(), ("srv/x", b"")], [srv(mode=0o700), ("srv/x", b"")], [(".wh.srv", b"")], [srv(), FILE])
    assert ("0777", [("/srv", "changed", "changed", 2)]) == (made.at["/srv"]["mode"], made.conflicts)


def test_a_directory_that_both_added_with_other_attributes_is_a_conflict(rebase: Rebase) -> None:
    made = rebase([], [srv(mode=0o700)], [srv(), FILE])
    assert [("/srv", "added", "added", 1)] == made.conflicts


def test_a_directory_that_the_new_base_removed_and_the_image_changed_is_a_conflict(rebase: Rebase) -> None:
    made = rebase([srv()], [], [srv(mode=0o750), FILE])
    assert (1, [("/srv", "removed", "changed", 1)]) == (made.code, made.conflicts)


def test_a_directory_that_the_new_base_removed_and_that_comes_back_empty_is_a_conflict(rebase: Rebase) -> None:
    made = rebase([srv()], [], [srv()])
    assert (1, [("/srv", "removed", "changed", 1)]) == (made.code, made.conflicts)


def test_a_directory_that_the_new_base_removed_is_there_for_the_images_files(rebase: Rebase) -> None:
    made = rebase([srv()], [], [srv(), FILE])
    assert (0, [], "0777") == (made.code, made.conflicts, made.at["/srv"]["mode"])


def test_a_layer_that_cannot_be_made_again_is_kept_and_a_conflict(rebase: Rebase) -> None:
    lasting = tarwriter.header(Entry(b"x", Kind.FILE, 0o644, 0, 0, 0, 0, xattrs=((b"user.a", b"1"),)))[:1024]
    own = lasting[:156] + b"g" + lasting[157:]
    own = own[:148] + b"%06o\0 " % (sum(own[:148]) + 8 * 32 + sum(own[156:512])) + own[156:]
    made = rebase([srv()], [srv(mode=0o700)], own + layer_tar([srv(), FILE]))
    assert ("0777", ["kept"], 1) == (made.at["/srv"]["mode"], made.origins, made.code)


def test_a_file_that_is_listed_as_the_old_base_had_it_is_a_conflict(rebase: Rebase) -> None:
    file = ("etc/conf", b"1")
    made = rebase([file], [("etc/conf", b"2")], [file])
    assert [("/etc/conf", "changed", "changed", 1)] == made.conflicts


def test_a_dropped_layer_whose_directories_an_upper_one_lists_is_told(ocitool: Run, tmp_path: Path) -> None:
    tars = [layer_tar([srv(mode=0o700), ("srv/x", b"")]), layer_tar([srv()]), layer_tar([srv(), FILE])]
    words = (write_layout(tmp_path / "src", [image(tars)]), f"oci:{tmp_path / 'out'}", "--drop-layer", "1", "--format", "json")
    rebase_report = [one["text"] for one in report_of(ocitool("edit", *words))["notices"] if one["code"] == "directories"]
    assert ["of layer 1, because layer 2 lists them too: /srv" in text for text in rebase_report] == [True]


@pytest.mark.parametrize("own", [[entry("srv/", None, mode=0o711), FILE], [FILE], [("app", b"")]])
def test_a_dropped_layer_of_whose_directories_nothing_stays_is_not(own: Layer, ocitool: Run, tmp_path: Path) -> None:
    tars = [layer_tar([srv(mode=0o700), ("srv/x", b"")]), layer_tar([srv()]), layer_tar(own)]
    words = (write_layout(tmp_path / "src", [image(tars)]), f"oci:{tmp_path / 'out'}", "--drop-layer", "1", "--format", "json")
    assert [] == [one for one in report_of(ocitool("edit", *words))["notices"] if one["code"] == "directories"]
