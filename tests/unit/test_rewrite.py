"""Laws of rewriting a layer: what is not edited stays byte for byte, whatever dialect it is written in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest
from support.images import entry, gz, layer_tar, zst
from support.layers import (
    END,
    GNU,
    chunked,
    contents,
    file_entry,
    head,
    long,
    member,
    old_sparse,
    pax,
    rules,
    sample,
    scanned,
    sparse_1_0,
)

from ocitool.blob import BytesBlob
from ocitool.digest import Digest
from ocitool.errors import FormatError, IntegrityError, UnsupportedError
from ocitool.layers.entry import Entry, Kind
from ocitool.layers.index import LayerIndex
from ocitool.layers.rewrite import LayerEdit, apply_edit, rewrite_layer, write_new
from ocitool.layers.scan import index_headers
from ocitool.task import Task

NEW = b"new content"


def content(entry: Entry) -> tuple[Entry, Iterable[bytes]]:
    return entry, [NEW[: entry.size]] if entry.kind == Kind.FILE else []


def new(path: bytes, **changes: object) -> Entry:
    return file_entry(path, len(NEW), **changes)


def rewritten(data: bytes, edit: LayerEdit, *, stored: bytes | None = None, diff_id: Digest | None = None) -> bytes:
    with Task(jobs=1) as task:
        return b"".join(rewrite_layer(BytesBlob(stored or data), scanned(data), edit, content, task, diff_id=diff_id))


def without(*rows: int) -> LayerEdit:
    return LayerEdit(drop=frozenset(rows))


def seen(index: LayerIndex) -> list[Entry]:
    return [one._replace(offset=0) for one in index]


# What stays


@pytest.mark.parametrize("encode", [bytes, gz, zst], ids=["none", "gzip", "zstd"])
def test_empty_edit_gives_the_same_bytes(encode: object) -> None:
    data = sample() + b"trailing" + bytes(100)
    assert data == rewritten(data, LayerEdit(), stored=encode(data))  # type: ignore[operator]


LABEL = head(b"label", b"V")
"""The archive's, not the next member's."""

MEMBERS = [
    pax((b"path", b"\xff\xfe" * 80), (b"SCHILY.xattr.user.a", b"\0\n=\xff"), (b"VENDOR.x", b"kept")) + member(b"p", b"pax"),
    long(b"L", b"n/" * 90 + b"end") + member(b"short", b"long name", magic=GNU),
    old_sparse(b"old", [(512 * n, b"A" * 256) for n in range(30)], 1 << 20),
    sparse_1_0(b"s10", [(1024, b"E" * 512)], 9000),
    head(b"d/", b"5", mode=0o1777),
    head(b"hard", b"1", link=b"./d/../p", size=4),
    member(b"v7", b"x", magic=bytes(8), flag=b"\0"),
    LABEL + member(b"odd", b"y" * 700, mtime=b" 17  "),
]


@pytest.mark.parametrize("row", range(len(MEMBERS)))
def test_a_dropped_member_takes_nothing_with_it(row: int) -> None:
    kept = list(MEMBERS)
    kept[row] = b""
    assert b"".join(kept) + END == rewritten(b"".join(MEMBERS) + END, without(row))


@pytest.mark.parametrize("row", range(len(MEMBERS)))
def test_all_but_one_member_can_go(row: int) -> None:
    others = frozenset(range(len(MEMBERS))) - {row}
    assert MEMBERS[row] + END == rewritten(b"".join(MEMBERS) + END, LayerEdit(drop=others))


def test_global_records_stay_when_the_member_behind_them_goes() -> None:
    lasting = pax((b"mtime", b"77"), flag=b"g")
    data = lasting + pax((b"uid", b"5")) + member(b"a", b"1") + member(b"b", b"2") + END
    assert lasting + member(b"b", b"2") + END == rewritten(data, without(0))


def test_the_label_of_an_archive_stays_in_front_of_the_next_member() -> None:
    data = LABEL + member(b"a") + member(b"b") + END
    assert LABEL + member(b"b") + END == rewritten(data, without(0))


def test_global_records_with_nothing_behind_them_go() -> None:
    data = member(b"a") + pax((b"mtime", b"77"), flag=b"g") + member(b"b") + END
    assert member(b"a") + END == rewritten(data, without(1))


def test_a_long_layer_is_copied_in_pieces() -> None:
    data = member(b"a", b"1" * 3_000_000) + member(b"b", b"2" * 1000) + END

    class Steps(BytesBlob):
        def chunks(self, offset: int = 0) -> Iterator[bytes]:
            return chunked(data, 1000, 65_536)

    with Task(jobs=1) as task:
        pieces = list(rewrite_layer(Steps(data), scanned(data), without(1), content, task))
    assert (member(b"a", b"1" * 3_000_000) + END, True) == (b"".join(pieces), max(map(len, pieces)) <= 65_536)


# The end


TAILS = {"none": b"", "one block": bytes(512), "two": END, "data": END + b"more", "many": bytes(10240)}


@pytest.mark.parametrize("tail", TAILS.values(), ids=TAILS)
def test_what_stands_behind_the_last_member_stays(tail: bytes) -> None:
    data = member(b"a", b"1") + member(b"b", b"2") + tail
    got = rewritten(data, LayerEdit(replace={0: new(b"a")}))
    assert tail == got[len(got) - len(tail) :]


@pytest.mark.parametrize("tail", TAILS.values(), ids=TAILS)
def test_where_members_go_only_zeros_stay_behind_the_last_member(tail: bytes) -> None:
    data = member(b"a", b"1") + member(b"b", b"2") + tail
    assert member(b"a", b"1") + bytes(len(tail)) == rewritten(data, without(1))


def test_added_entries_stand_before_the_end_blocks() -> None:
    data = member(b"a", b"1") + END + b"tail"
    got = rewritten(data, LayerEdit(add=(new(b"n"),)))
    assert ([b"a", b"n"], END + b"tail") == ([one.path for one, _ in contents(got)], got[-1028:])


def test_a_layer_without_end_blocks_gets_them_with_an_added_entry() -> None:
    assert [] == rules(rewritten(member(b"a", b"1"), LayerEdit(add=(new(b"n"),))))


def test_a_layer_without_end_blocks_keeps_to_it_otherwise() -> None:
    assert member(b"a", b"1") == rewritten(member(b"a", b"1") + member(b"b", b"2"), without(1))


def test_padding_that_a_writer_left_out_is_put_before_added_entries() -> None:
    data = head(b"a", size=1) + b"1"
    got = rewritten(data, LayerEdit(add=(new(b"n"),)))
    assert [(b"a", b"1"), (b"n", NEW)] == [(one.path, found) for one, found in contents(got)]


def test_padding_that_a_writer_left_out_stays_out() -> None:
    data = member(b"x", b"2") + head(b"a", size=1) + b"1"
    assert head(b"a", size=1) + b"1" == rewritten(data, without(0))


def test_the_last_member_may_go_whose_padding_was_left_out() -> None:
    assert member(b"x", b"2") == rewritten(member(b"x", b"2") + head(b"a", size=1) + b"1", without(1))


@pytest.mark.parametrize("edit", [without(1), LayerEdit(replace={1: new(b"a")})], ids=["dropped", "replaced"])
def test_entries_are_added_where_a_member_without_padding_was(edit: LayerEdit) -> None:
    data = member(b"x", b"2") + head(b"a", size=1) + b"1"
    got = rewritten(data, edit._replace(add=(new(b"n"),)))
    assert ([], (b"n", NEW)) == (rules(got), [(one.path, found) for one, found in contents(got)][-1])


def test_an_empty_layer_can_be_added_to() -> None:
    assert [new(b"n")] == seen(scanned(rewritten(bytes(10240), LayerEdit(add=(new(b"n"),)))))


# What comes


def test_a_replaced_member_is_written_in_its_place() -> None:
    data = member(b"a", b"1") + member(b"b", b"2") + member(b"c", b"3") + END
    got = rewritten(data, LayerEdit(replace={1: new(b"b")}))
    assert [(b"a", b"1"), (b"b", NEW), (b"c", b"3")] == [(one.path, found) for one, found in contents(got)]


def test_rewritten_bytes_are_what_the_edited_index_says() -> None:
    data = sample()
    index = scanned(data)
    dropped = frozenset(range(0, len(index), 3))
    replaced = {row: new(b"r%d" % row, uid=row, xattrs=((b"user.x", b"y"),)) for row in range(1, len(index), 3)}
    edit = LayerEdit(dropped, replaced, (new(b"added"), entry("dir", None)[0], entry("s", "link:t")[0]))
    assert seen(apply_edit(index, edit)) == seen(scanned(rewritten(data, edit)))


def test_contents_of_kept_files_are_still_known() -> None:
    index = scanned(layer_tar([("a", b"1"), ("b", b"2"), ("c", b"3")]))
    made = apply_edit(index, LayerEdit(frozenset({0}), {1: new(b"b")}))
    assert [None, index.content(2)] == [made.content(0), made.content(1)]


def test_the_index_that_is_edited_stays_as_it_is() -> None:
    index = scanned(sample())
    before = seen(index)
    apply_edit(index, LayerEdit(frozenset({0}), {1: new(b"b")}, (new(b"n"),)))
    assert before == seen(index)


def test_new_entries_are_not_changed_by_a_global_header_of_the_layer() -> None:
    data = pax((b"mtime", b"77"), (b"uid", b"9"), (b"linkpath", b"x"), (b"path", b"y"), flag=b"g") + member(b"a", b"") + END
    added = (new(b"n", mtime=5_000_000_001, uid=3), entry("s", "link:t")[0])
    assert list(added) == seen(scanned(rewritten(data, LayerEdit(add=added))))[1:]


def test_new_entries_behind_global_xattrs_are_refused() -> None:
    data = pax((b"SCHILY.xattr.user.x", b"1"), flag=b"g") + member(b"a") + END
    with pytest.raises(UnsupportedError):
        rewritten(data, LayerEdit(add=(new(b"n"),)))


def test_dropping_needs_no_refusal_behind_global_xattrs() -> None:
    lasting = pax((b"SCHILY.xattr.user.x", b"1"), flag=b"g")
    assert lasting + member(b"b") + END == rewritten(lasting + member(b"a") + member(b"b") + END, without(0))


def test_a_comment_for_all_changes_nothing_about_new_entries() -> None:
    data = pax((b"comment", b"c" * 40), flag=b"g") + member(b"a", b"1") + END
    assert data[:-1024] + layer_tar([(new(b"n"), NEW)]) == rewritten(data, LayerEdit(add=(new(b"n"),)))


def test_content_of_another_length_is_an_error() -> None:
    with pytest.raises(FormatError):
        rewritten(member(b"a") + END, LayerEdit(add=(new(b"n")._replace(size=500),)))


def test_a_new_layer_is_its_entries() -> None:
    assert layer_tar([(new(b"a"), NEW), ("d/", None)]) == b"".join(write_new([new(b"a"), entry("d", None)[0]], content))


# Whose bytes they are


def test_another_blob_than_its_digest_says_is_an_integrity_error() -> None:
    data = member(b"a", b"1") + END
    blob = BytesBlob(data, Digest.of(b"another"))
    with Task(jobs=1) as task, pytest.raises(IntegrityError):
        list(rewrite_layer(blob, index_headers(blob), LayerEdit(), content, task))


def test_another_tar_than_its_diff_id_says_is_an_integrity_error() -> None:
    data = member(b"a", b"1") + END
    with pytest.raises(IntegrityError):
        rewritten(data, without(0), stored=gz(data), diff_id=Digest.of(b"another"))


def test_the_right_diff_id_is_accepted() -> None:
    data = member(b"a", b"1") + END
    assert END == rewritten(data, without(0), stored=gz(data), diff_id=Digest.of(data))


def test_a_new_sparse_entry_stays_one_under_a_global_header_of_the_layer() -> None:
    entry = new(b"n")._replace(size=1 << 20, segments=((512, 3),), stored=3)
    data = pax((b"mtime", b"5"), (b"uid", b"7"), (b"path", b"other"), flag=b"g") + member(b"a", b"1") + END
    with Task(jobs=1) as task:
        edit = LayerEdit(add=(entry,))
        got = b"".join(rewrite_layer(BytesBlob(data), scanned(data), edit, lambda one: (one, [b"abc"]), task))
    found = scanned(got).entry(1)
    assert (b"n", 1 << 20, 3, 0) == (found.path, found.size, found.stored, found.uid)
    assert [(512, 3)] == [one for one in found.segments or () if one[1]]
