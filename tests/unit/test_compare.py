"""Comparing two layers: what counts as a difference, and which contents must be known for it."""

from __future__ import annotations

from typing import Any

import pytest
from support.images import entry, layer_tar
from support.layers import file_entry, scanned

from ocitool.blob import BytesBlob
from ocitool.layers.entry import Kind
from ocitool.layers.scan import index_headers
from ocitool.trees.compare import FIELDS, compare, differing, rows_to_hash


def layer(*items: Any) -> Any:
    return scanned(layer_tar(items))


def changes(a: Any, b: Any, *ignore: str) -> list[tuple[bytes, bool, bool, tuple[str, ...]]]:
    return [(c.path, c.before is not None, c.after is not None, c.fields) for c in compare(a, b, ignore)]


def test_layer_does_not_differ_from_itself() -> None:
    one = layer(("d/", None), ("d/a", b"x"), ("l", "link:d"), ("h", "hard:d/a"), (".wh.z", b""), ("d/.wh..wh..opq", b""))
    assert changes(one, one) == []


def test_order_of_entries_does_not_count() -> None:
    assert changes(layer(("a", b"x"), ("b", b"y")), layer(("b", b"y"), ("a", b"x"))) == []


def test_entries_of_one_side_are_told_with_that_side() -> None:
    assert changes(layer(("a", b"")), layer(("b", b""))) == [(b"a", True, False, ()), (b"b", False, True, ())]


def test_content_of_equal_size_differs_by_its_hash() -> None:
    assert changes(layer(("a", b"x")), layer(("a", b"y"))) == [(b"a", True, True, ("content",))]


def test_other_type_is_the_only_field_told() -> None:
    assert changes(layer(("a", b"x")), layer(("a", None))) == [(b"a", True, True, ("type",))]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"mode": 0o600}, "mode"),
        ({"uid": 1}, "uid"),
        ({"gid": 1}, "gid"),
        ({"mtime": 1}, "mtime"),
        ({"xattrs": ((b"user.a", b"1"),)}, "xattrs"),
    ],
)
def test_every_field_counts_and_may_be_ignored(change: dict[str, Any], field: str) -> None:
    a, b = layer(entry("a", b"x")), layer(entry("a", b"x", **change))
    assert (changes(a, b), changes(a, b, field)) == ([(b"a", True, True, (field,))], [])


def test_mode_of_a_symlink_does_not_count() -> None:
    assert changes(layer(entry("a", "link:x", mode=0o777)), layer(entry("a", "link:x", mode=0o700))) == []


@pytest.mark.parametrize("how", ["link", "hard"])
def test_link_target_counts(how: str) -> None:
    assert changes(layer(("a", f"{how}:x")), layer(("a", f"{how}:y"))) == [(b"a", True, True, ("linkTarget",))]


def test_device_number_counts() -> None:
    a, b = (file_entry(kind=Kind.CHAR, device=(1, minor)) for minor in (3, 5))
    assert differing(a, b, True) == ("device",)


def test_ignored_type_hides_whatever_else_differs() -> None:
    assert differing(file_entry(), file_entry(kind=Kind.FIFO, uid=1), True, ("type",)) == ()


def test_fields_are_told_in_one_order() -> None:
    a = file_entry(kind=Kind.FILE)
    b = a._replace(mode=0, uid=1, gid=1, mtime=1, xattrs=((b"a", b""),))
    found = differing(a, b, False)
    assert list(found) == sorted(found, key=FIELDS.index) and len(found) == 6


def test_whiteout_and_file_of_one_name_are_two_things() -> None:
    assert changes(layer(("a", b""), (".wh.a", b"")), layer(("a", b""))) == [(b"a", True, False, ())]


def test_whiteouts_compare_by_their_path_alone() -> None:
    assert changes(layer(entry(".wh.a", b"", mtime=1, uid=4)), layer(entry(".wh.a", b""))) == []


def test_whiteout_and_opaque_marker_of_one_path_differ() -> None:
    assert len(changes(layer((".wh.a", b"")), layer(("a/.wh..wh..opq", b"")))) == 2


def test_aufs_metadata_does_not_count() -> None:
    assert changes(layer((".wh..wh.aufs", b"")), layer()) == []


def test_of_duplicates_the_later_counts() -> None:
    assert changes(layer(("a", b"1"), ("a", b"22")), layer(("a", b"22"))) == []


def test_contents_are_asked_for_only_where_both_have_a_file_of_one_size() -> None:
    a = layer_tar([("same", b"x"), ("size", b"x"), ("kind", b"x"), ("only", b"x"), ("dir", None)])
    b = layer_tar([("dir", None), ("kind", "link:x"), ("size", b"xx"), ("same", b"y")])
    assert rows_to_hash(index_headers(BytesBlob(a)), index_headers(BytesBlob(b))) == ([0], [3])


def test_nothing_is_asked_for_where_contents_are_known() -> None:
    assert rows_to_hash(layer(("a", b"x")), layer(("a", b"y"))) == ([], [])
