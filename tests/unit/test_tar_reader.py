"""What the tar reader makes of each dialect: one law a test."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.layers import (
    END,
    GNU,
    V7,
    base256,
    contents,
    dense,
    file_entry,
    head,
    listed,
    long,
    member,
    octal,
    old_sparse,
    only,
    pad,
    pax,
    rules,
    sample,
    scanned,
    sparse_1_0,
    sparse_map,
    sparse_pairs,
)  # fmt: skip

from ocitool.errors import FormatError, LimitError, UnsafeError, UnsupportedError
from ocitool.layers.entry import Kind, escapes, normalise
from ocitool.layers.tar_notes import TarNotes


def test_a_file_is_read_with_all_its_fields() -> None:
    data = member(b"bin/sh", b"#!", mode=0o4755, uid=7, gid=8, mtime=9) + END
    expected = file_entry(b"bin/sh", 2, mode=0o4755, uid=7, gid=8, mtime=9_000_000_000, offset=512)
    assert expected == only(data)


@pytest.mark.parametrize(
    ("flag", "kind"),
    [
        (b"0", Kind.FILE), (b"\0", Kind.FILE), (b"7", Kind.FILE), (b"1", Kind.HARDLINK), (b"2", Kind.SYMLINK),
        (b"3", Kind.CHAR), (b"4", Kind.BLOCK), (b"5", Kind.DIRECTORY), (b"6", Kind.FIFO),
    ],
)  # fmt: skip
def test_a_typeflag_gives_the_kind(flag: bytes, kind: Kind) -> None:
    assert kind == only(head(b"a", flag, link=b"t", device=(0, 0)) + END).kind


@pytest.mark.parametrize("flag", [b"M", b"N", b"D", b"A", b"Z", b"\xff"])
def test_an_unknown_typeflag_is_refused(flag: bytes) -> None:
    with pytest.raises(UnsupportedError):
        listed(head(b"a", flag) + END)


def test_a_gnu_volume_label_is_no_entry() -> None:
    assert [b"a"] == [entry.path for entry in listed(head(b"label", b"V", magic=GNU) + member() + END)]


def test_a_ustar_prefix_stands_before_the_name() -> None:
    assert only(member(b"c", prefix=b"a/b") + END).path == b"a/b/c"


def test_a_prefix_is_no_part_of_a_gnu_or_v7_name() -> None:
    assert [b"c", b"c"] == [only(member(b"c", prefix=b"a", magic=magic) + END).path for magic in (GNU, V7)]


def test_a_name_may_fill_its_field_without_a_zero() -> None:
    assert b"n" * 100 == only(member(b"n" * 100) + END).path


def test_a_name_ends_at_its_first_zero() -> None:
    assert only(member(b"a\0junk") + END).path == b"a"


def test_a_v7_directory_is_known_by_its_slash() -> None:
    entry = only(head(b"a/", b"\0", magic=V7) + END)
    assert (Kind.DIRECTORY, b"a") == (entry.kind, entry.path)


def test_a_file_that_says_so_stays_a_file_whatever_slash_it_ends_in() -> None:
    data = member(b"a/", b"content") + member(b"b") + END
    assert [(b"a", Kind.FILE, 7), (b"b", Kind.FILE, 0)] == [(e.path, e.kind, e.size) for e in listed(data)]


def test_a_v7_header_has_no_magic() -> None:
    assert only(member(b"old", b"data", magic=V7, uid=3) + END)[:4] == (b"old", Kind.FILE, 0o644, 3)


def test_a_signed_checksum_is_accepted() -> None:
    assert only(head(b"\xe9t\xe9", signed=True) + END).path == b"\xe9t\xe9"


def test_a_wrong_checksum_is_refused() -> None:
    block = bytearray(member() + END)
    block[0] ^= 1
    with pytest.raises(FormatError, match="checksum"):
        listed(bytes(block))


@pytest.mark.parametrize("field", [b"0000644\0", b" 644 \0", b"644", b"0000644 ", b"   644 \0", b"644\0junk"])
def test_numbers_may_be_padded_in_any_way(field: bytes) -> None:
    assert only(head(mode=field) + END).mode == 0o644


@pytest.mark.parametrize("field", [b"0000689\0", b"-000001\0", b"0x1\0", b"1_0\0", b"+1\0", b"6 4\0"])
def test_a_number_that_is_not_octal_is_refused(field: bytes) -> None:
    with pytest.raises(FormatError):
        listed(head(mode=field) + END)


@pytest.mark.parametrize("value", [0, 1, 1 << 40, -1, -(1 << 40), (1 << 62) - 1])
def test_a_base_256_number_is_signed(value: int) -> None:
    assert only(head(uid=base256(value, 8), magic=GNU) + END).uid == value


def test_a_base_256_number_is_negative_by_its_second_bit() -> None:
    assert only(head(uid=b"\xc0" + bytes(7), magic=GNU) + END).uid == -(1 << 62)


def test_a_base_256_time_may_be_before_1970() -> None:
    assert only(head(mtime=base256(-86400, 12), magic=GNU) + END).mtime == -86400 * 10**9


def test_a_base_256_size_is_used() -> None:
    data = head(b"a", size=base256(5, 12), magic=GNU) + pad(b"hello") + END
    assert [(5, b"hello")] == [(entry.size, content) for entry, content in contents(data)]


@pytest.mark.parametrize("flag", [b"0", b"5", b"V", b"x", b"L", b"S"])
def test_a_negative_size_is_refused(flag: bytes) -> None:
    with pytest.raises((FormatError, LimitError)):
        listed(head(b"a", flag, base256(-512, 12), magic=GNU) + END)


def test_a_number_beyond_64_bits_is_refused() -> None:
    with pytest.raises(FormatError, match="range"):
        listed(head(size=base256(1 << 80, 12), magic=GNU) + END)


def test_a_gnu_long_name_replaces_the_name() -> None:
    assert b"x" * 300 == only(long(b"L", b"x" * 300) + member(b"x" * 100, magic=GNU) + END).path


def test_a_gnu_long_link_replaces_the_link() -> None:
    assert b"x" * 300 == only(long(b"K", b"x" * 300) + head(b"a", b"2", link=b"x", magic=GNU) + END).link


def test_gnu_long_name_and_link_come_together_in_any_order() -> None:
    name, link = long(b"L", b"n" * 200), long(b"K", b"l" * 200)
    target = head(b"a", b"2", link=b"x", magic=GNU) + END
    assert [(b"n" * 200, b"l" * 200)] * 2 == [only(x + target)[:8:7] for x in (name + link, link + name)]


def test_a_gnu_long_name_counts_for_one_entry_only() -> None:
    data = long(b"L", b"x" * 300) + member(b"a", magic=GNU) + member(b"b", magic=GNU) + END
    assert [b"x" * 300, b"b"] == [entry.path for entry in listed(data)]


def test_an_empty_gnu_long_name_keeps_the_name() -> None:
    assert only(long(b"L", b"") + member(b"a", magic=GNU) + END).path == b"a"


def test_a_pax_path_overrides_the_header_name() -> None:
    assert b"p" * 400 == only(pax((b"path", b"p" * 400)) + member(b"a") + END).path


def test_a_pax_path_replaces_prefix_and_name() -> None:
    assert only(pax((b"path", b"whole")) + member(b"a", prefix=b"before") + END).path == b"whole"


def test_a_pax_linkpath_overrides_the_header_link() -> None:
    assert b"t" * 400 == only(pax((b"linkpath", b"t" * 400)) + head(b"a", b"2", link=b"t") + END).link


def test_a_pax_size_overrides_the_header_size() -> None:
    data = pax((b"size", b"5")) + head(b"a", size=0) + pad(b"hello") + member(b"b") + END
    assert [(b"a", b"hello"), (b"b", b"")] == [(entry.path, content) for entry, content in contents(data)]


def test_a_pax_size_beyond_eight_gib_is_read() -> None:
    with pytest.raises(FormatError, match="ends inside an entry"):
        listed(pax((b"size", b"%d" % (1 << 40))) + head(b"a") + END)


def test_pax_owners_may_be_large() -> None:
    entry = only(pax((b"uid", b"4294967294"), (b"gid", b"2097152")) + member() + END)
    assert (4294967294, 2097152) == (entry.uid, entry.gid)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"1", 10**9), (b"1.5", 1_500_000_000), (b"1.000000001", 1_000_000_001), (b"1.0000000019", 1_000_000_001),
        (b"-1", -(10**9)), (b"-1.5", -1_500_000_000), (b"-0.25", -250_000_000), (b"1.", 10**9), (b"0", 0),
    ],
)  # fmt: skip
def test_a_pax_time_has_decimals_and_a_sign(text: bytes, expected: int) -> None:
    assert only(pax((b"mtime", text)) + member(mtime=77) + END).mtime == expected


@pytest.mark.parametrize("key", [b"uid", b"gid", b"size"])
@pytest.mark.parametrize("text", [b"x", b"0x1", b"1.5", b"--1", b"9" * 25])
def test_a_pax_number_that_is_none_is_refused(key: bytes, text: bytes) -> None:
    with pytest.raises(FormatError):
        listed(pax((key, text)) + member() + END)


def test_an_empty_pax_value_keeps_the_header() -> None:
    assert only(pax((b"path", b""), (b"uid", b"")) + member(b"a", uid=5) + END)[:4] == (b"a", Kind.FILE, 0o644, 5)


def test_a_later_pax_record_of_the_same_key_wins() -> None:
    assert only(pax((b"path", b"first"), (b"path", b"second")) + member() + END).path == b"second"


def test_xattrs_are_binary_and_sorted() -> None:
    value = bytes(range(256))
    records = ((b"SCHILY.xattr.user.b", value), (b"SCHILY.xattr.security.capability", b"\1\0\0\2"))
    expected = ((b"security.capability", b"\1\0\0\2"), (b"user.b", value))
    assert only(pax(*records) + member() + END).xattrs == expected


def test_an_empty_xattr_is_an_xattr() -> None:
    assert only(pax((b"SCHILY.xattr.user.a", b"")) + member() + END).xattrs == ((b"user.a", b""),)


def test_local_pax_records_count_for_one_entry_only() -> None:
    data = pax((b"uid", b"9"), (b"SCHILY.xattr.user.a", b"1")) + member(b"a") + member(b"b", uid=1) + END
    assert [(9, ((b"user.a", b"1"),)), (1, None)] == [(entry.uid, entry.xattrs) for entry in listed(data)]


def test_global_pax_records_count_for_all_later_entries() -> None:
    data = member(b"a") + pax((b"uid", b"9"), flag=b"g") + member(b"b") + member(b"c") + END
    assert [0, 9, 9] == [entry.uid for entry in listed(data)]


def test_a_local_pax_record_beats_a_global_one() -> None:
    assert only(pax((b"uid", b"9"), flag=b"g") + pax((b"uid", b"3")) + member() + END).uid == 3


def test_a_global_pax_header_that_changes_entries_is_noted() -> None:
    assert ["tar-global-pax"] == rules(pax((b"uid", b"9"), flag=b"g") + member() + END)


def test_a_global_comment_is_not_noted() -> None:
    assert [] == rules(pax((b"comment", b"c0ffee"), flag=b"g") + member() + END)


@pytest.mark.parametrize("key", [b"path", b"linkpath", b"GNU.sparse.name"])
def test_a_name_with_a_zero_byte_is_refused(key: bytes) -> None:
    with pytest.raises(FormatError, match="zero byte"):
        listed(pax((key, b"a\0b")) + head(b"a", b"0" if b"GNU" in key else b"2", link=b"x") + END)


@pytest.mark.parametrize(
    "data",
    [
        b"path=a\n",
        b"99 path=a\n",
        b"9 path=a",
        b"0 a=b\n",
        b"7 path\n",
        b"-9 path=a\n",
        b"3\n",
        b"6 a=bc\n",
        b"\0\x0012 path=a\n",
    ],
)
def test_a_broken_pax_record_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        listed(head(b"x", b"x", len(data)) + pad(data) + member() + END)


def test_pax_records_padded_with_zeros_are_accepted() -> None:
    data = b"9 path=b\n" + bytes(7)
    assert only(head(b"x", b"x", len(data)) + pad(data) + member(b"a") + END).path == b"b"


@pytest.mark.parametrize("spelling", [b"a/b", b"./a/b", b"/a/b", b"a/b/", b"a//b", b"a/./b", b"a/x/../b", b".//a/b", b"//a/b"])
def test_every_spelling_of_a_path_is_one_path(spelling: bytes) -> None:
    assert only(head(spelling, b"5") + END).path == b"a/b"


@pytest.mark.parametrize("spelling", [b"./", b".", b"/", b"a/.."])
def test_the_root_is_the_empty_path(spelling: bytes) -> None:
    assert only(head(spelling, b"5") + END).path == b""


@pytest.mark.parametrize("spelling", [b"", b".", b"./", b"/"])
def test_a_file_without_a_name_is_refused(spelling: bytes) -> None:
    with pytest.raises(FormatError, match="without a name"):
        listed(head(spelling, b"0") + END)


@pytest.mark.parametrize("flag", [b"1", b"2"])
@pytest.mark.parametrize("spelling", [b".", b"./", b"/", b"a/.."])
def test_a_link_in_the_place_of_the_root_is_unsafe(spelling: bytes, flag: bytes) -> None:
    with pytest.raises(UnsafeError):
        listed(head(spelling, flag, link=b"x") + END)


def test_an_absolute_name_is_noted() -> None:
    assert ["tar-absolute-name"] == rules(member(b"/a") + END)


def test_a_relative_name_with_two_slashes_is_not_absolute() -> None:
    assert [] == rules(member(b".//a") + END)


@pytest.mark.parametrize("name", [b"../a", b"a/../../a", b"/../a", b"./../a"])
def test_a_path_that_leaves_the_root_keeps_its_dots(name: bytes) -> None:
    assert (b"../a", True) == (normalise(name), escapes(only(member(name) + END).path))


@pytest.mark.parametrize("name", [b"..a", b"a..", b".a", b"...", b"a/..b"])
def test_dots_inside_a_name_are_letters(name: bytes) -> None:
    path = only(member(name) + END).path
    assert (name, False) == (path, escapes(path))


def test_names_are_bytes() -> None:
    name = bytes(range(1, 256)).replace(b"/", b"").replace(b".", b"")
    assert name == only(pax((b"path", name)) + member() + END).path


def test_a_hard_link_target_is_spelt_like_a_path() -> None:
    assert only(head(b"b", b"1", link=b"./x//a") + END).link == b"x/a"


def test_a_symlink_target_stays_as_written() -> None:
    assert only(head(b"b", b"2", link=b"./x//../a/") + END).link == b"./x//../a/"


def test_a_device_has_its_numbers() -> None:
    assert only(head(b"null", b"3", device=(1, 3)) + END).device == (1, 3)


def test_a_hard_link_that_states_a_size_has_no_data() -> None:
    data = head(b"b", b"1", size=700, link=b"a") + member(b"c") + END
    assert [b"b", b"c"] == [entry.path for entry in listed(data)]
    assert ["tar-size-without-data"] == rules(data)


def test_a_directory_that_states_a_size_has_no_data() -> None:
    assert [0, 0] == [entry.size for entry in listed(head(b"d/", b"5", size=4096) + member(b"c") + END)]


@pytest.mark.parametrize(
    ("name", "kind", "path"),
    [
        (b".wh.a", Kind.WHITEOUT, b"a"), (b"d/.wh.a", Kind.WHITEOUT, b"d/a"), (b"./d/.wh.a", Kind.WHITEOUT, b"d/a"),
        (b".wh..wh.a", Kind.METADATA, b".wh..wh.a"), (b"d/.wh..wh..opq", Kind.OPAQUE, b"d"),
        (b".wh..wh..opq", Kind.OPAQUE, b""), (b".wh..wh.plnk", Kind.METADATA, b".wh..wh.plnk"),
        (b".wh..wh.aufs", Kind.METADATA, b".wh..wh.aufs"), (b".wh.", Kind.INVALID, b".wh."),
        (b"d/.wh..", Kind.INVALID, b"d/.wh.."), (b".wh...", Kind.INVALID, b".wh..."),
        (b".wh..a", Kind.WHITEOUT, b".a"), (b".wh....", Kind.WHITEOUT, b"..."), (b".wh.d/a", Kind.FILE, b".wh.d/a"),
        (b"a.wh.b", Kind.FILE, b"a.wh.b"), (b".wh.x.wh.y", Kind.WHITEOUT, b"x.wh.y"), (b".wh", Kind.FILE, b".wh"),
    ],
)  # fmt: skip
def test_a_whiteout_is_known_by_its_base_name(name: bytes, kind: Kind, path: bytes) -> None:
    entry = only(member(name) + END)
    assert (kind, path) == (entry.kind, entry.path)


def test_a_whiteout_of_any_type_is_a_whiteout() -> None:
    kinds = [only(head(b".wh.a", flag, link=b"x", device=(0, 0)) + END)[:8:7] for flag in (b"0", b"3", b"5", b"2")]
    assert [(b"a", b"")] * 4 == kinds


SEGMENTS = [(512, b"A" * 512), (4096, b"B" * 100)]


@pytest.mark.parametrize("form", [old_sparse, sparse_pairs, sparse_map, sparse_1_0])
def test_a_sparse_file_has_its_name_size_and_segments(form: object) -> None:
    data = form(b"s", SEGMENTS, 8192) + member(b"next") + END  # type: ignore[operator]
    sparse, follower = listed(data)
    assert (b"s", Kind.FILE, 8192, 612, ((512, 512), (4096, 100))) == (*sparse[:2], sparse.size, sparse.stored, sparse.segments)
    assert follower.path == b"next"


@pytest.mark.parametrize("form", [old_sparse, sparse_pairs, sparse_map, sparse_1_0])
@pytest.mark.parametrize("count", [0, 1, 4, 5, 25, 26, 60])
def test_a_sparse_file_may_have_any_number_of_segments(form: object, count: int) -> None:
    segments = [(1024 * i, bytes([65 + i % 26]) * 512) for i in range(count)]
    index = scanned(form(b"s", segments, 100_000) + END)  # type: ignore[operator]
    assert hashlib.sha256(dense(segments, 100_000)).digest() == index.content(0)


@pytest.mark.parametrize("form", [old_sparse, sparse_pairs, sparse_map, sparse_1_0])
@pytest.mark.parametrize(
    "segments",
    [[(512, b"A" * 512), (0, b"B" * 512)], [(0, b"A" * 512), (256, b"B" * 512)], [(8000, b"A" * 512)]],
)
def test_a_sparse_map_that_does_not_fit_is_refused(form: object, segments: list[tuple[int, bytes]]) -> None:
    with pytest.raises(FormatError, match="sparse map"):
        listed(form(b"s", segments, 8192) + END)  # type: ignore[operator]


@pytest.mark.parametrize(
    "options",
    [["--format=gnu"], *(["--format=posix", f"--sparse-version={version}"] for version in ("0.0", "0.1", "1.0"))],
    ids=["old", "0.0", "0.1", "1.0"],
)
def test_sparse_files_of_gnu_tar_are_read(options: list[str], tmp_path: Path) -> None:
    tool = shutil.which("tar")
    if tool is None or b"GNU" not in subprocess.run([tool, "--version"], capture_output=True, check=True).stdout:
        pytest.skip("no GNU tar")
    with open(tmp_path / "file", "wb") as file:
        for i in range(30):
            file.seek(i << 17)
            file.write(bytes([i + 1]) * 5000)
        file.truncate(8 << 20)
    subprocess.run([tool, "--sparse", *options, "-cf", "out.tar", "file"], cwd=tmp_path, check=True)
    archive = (tmp_path / "out.tar").read_bytes()
    content = hashlib.sha256((tmp_path / "file").read_bytes()).digest()
    entry = only(archive)
    assert (b"file", 8 << 20, content) == (entry.path, entry.size, scanned(archive).content(0))
    if os.stat(tmp_path / "file").st_blocks * 512 < 8 << 20:
        assert entry.segments is not None


def test_missing_end_blocks_are_accepted_and_noted() -> None:
    assert ["tar-no-end"] == rules(member())


def test_one_end_block_is_accepted_and_noted() -> None:
    assert ["tar-no-end"] == rules(member() + bytes(512))


def test_missing_padding_of_the_last_file_is_accepted_and_noted() -> None:
    data = head(b"a", size=5) + b"hello"
    assert [(5, b"hello")] == [(entry.size, content) for entry, content in contents(data)]
    assert ["tar-no-end"] == rules(data)


def test_an_empty_archive_has_no_entries() -> None:
    assert [[], [], []] == [listed(data) for data in (b"", END, bytes(10240))]


def test_data_after_the_end_is_accepted_and_noted() -> None:
    assert ["tar-trailing-data"] == rules(member() + END + b"more")


def test_zeros_after_the_end_are_not_noted() -> None:
    assert [] == rules(member() + bytes(10240))


def test_an_entry_after_the_end_is_no_entry() -> None:
    assert [b"a"] == [entry.path for entry in listed(member(b"a") + END + member(b"b") + END)]


def test_a_lone_zero_block_inside_is_an_error() -> None:
    with pytest.raises(FormatError, match="lone zero block"):
        listed(member() + bytes(512) + member() + END)


def test_a_bad_header_in_mid_archive_is_an_error_and_not_the_end() -> None:
    with pytest.raises(FormatError, match="not a tar header at offset 1024"):
        listed(member(b"a", b"x") + b"B" + member(b"b")[1:] + member(b"c") + END)


def test_the_same_path_twice_gives_two_entries() -> None:
    assert [b"a", b"a"] == [entry.path for entry in listed(member(b"a") + member(b"./a") + END)]


def test_an_extension_header_without_an_entry_is_refused() -> None:
    for data in (pax((b"path", b"a")), pax((b"path", b"a")) + END, long(b"L", b"a") + END):
        with pytest.raises(FormatError, match="without an entry"):
            listed(data)


def test_notes_are_bounded_and_counted() -> None:
    notes = TarNotes()
    listed(member(b"/a") * 300 + END, notes)
    assert (200, 100) == (len(notes.kept), notes.dropped)


def test_every_dialect_stands_in_the_sample() -> None:
    entries = listed(sample())
    assert set(Kind) - {Kind.INVALID} == {entry.kind for entry in entries}
    assert [8192, 4096, 9000] == [entry.size for entry in entries if entry.segments]


def test_octal_fields_of_the_helpers_are_what_tar_writes() -> None:
    assert octal(0o644, 8) == b"0000644\0"
