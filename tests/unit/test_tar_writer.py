"""The tar writer: deterministic, and read alike by everyone."""

from __future__ import annotations

import io
import tarfile

import pytest
from support.layers import contents, file_entry, only, scanned

from ocitool.errors import FormatError
from ocitool.layers.entry import Entry, Kind
from ocitool.layers.tarwriter import END, header, member_size, write


def made(*entries: tuple[Entry, bytes]) -> bytes:
    return b"".join(write((entry, [content]) for entry, content in entries))


def again(entry: Entry, content: bytes = b"") -> Entry:
    """What the reader makes of what the writer wrote, without its place in the tar."""
    return only(made((entry, content)))._replace(offset=0)


def test_an_empty_tar_is_two_zero_blocks() -> None:
    assert bytes(1024) == END == made()


def test_the_same_entries_give_the_same_bytes() -> None:
    entry = file_entry(b"a", 2, xattrs=((b"user.a", b"1"), (b"user.b", b"2")), mtime=5)
    assert made((entry, b"hi")) == made((entry, b"hi"))


def test_a_plain_file_takes_one_header_block() -> None:
    assert len(header(file_entry(b"x" * 100))) == 512


def test_a_long_name_is_cut_at_a_slash_into_the_prefix() -> None:
    path = b"d" * 100 + b"/" + b"f" * 100
    assert (512, path) == (len(header(file_entry(path))), again(file_entry(path)).path)


@pytest.mark.parametrize(
    "path",
    [
        b"f" * 101, b"d" * 155 + b"/" + b"f" * 100, b"d" * 156 + b"/f", b"d/" * 200 + b"f", b"\xff\xfe", b"a\nb", "é".encode(),
        b" ", b"d" * 99 + b"/" + b"x", b"/".join([b"q" * 30] * 8), b"=", b"9 path=x",
    ],
)  # fmt: skip
def test_any_path_survives(path: bytes) -> None:
    assert path == again(file_entry(path)).path


@pytest.mark.parametrize("link", [b"t", b"t" * 100, b"t" * 101, b"\xff" * 300, b"../../x/", b"/abs", "ü".encode()])
def test_any_symlink_target_survives(link: bytes) -> None:
    assert link == again(file_entry(b"a", kind=Kind.SYMLINK, link=link)).link


@pytest.mark.parametrize(
    "mtime", [0, 1, -1, 10**9, -(10**9), 1_700_000_000_123_456_789, -1_500_000_000, 8**11 * 10**9, (1 << 63) - 1, -(1 << 63)]
)
def test_any_time_survives(mtime: int) -> None:
    assert mtime == again(file_entry(b"a", mtime=mtime)).mtime


@pytest.mark.parametrize("owner", [0, 1, 8**7 - 1, 8**7, 4294967294, -1, -2, (1 << 63) - 1, -(1 << 63)])
def test_any_owner_survives(owner: int) -> None:
    assert (owner, owner) == again(file_entry(b"a", uid=owner, gid=owner))[3:5]


@pytest.mark.parametrize("size", [8**11 - 1, 8**11, 1 << 40])
def test_any_size_is_stated(size: int) -> None:
    head = header(file_entry(b"a", size))
    with tarfile.open(fileobj=io.BytesIO(head), mode="r:") as tar:
        found = tar.next()
    assert found is not None and found.size == size


def test_xattrs_survive() -> None:
    xattrs = ((b"security.capability", b"\1\0\0\2" + bytes(16)), (b"user.empty", b""), (b"user.x", bytes(range(256))))
    assert xattrs == again(file_entry(b"a", xattrs=xattrs)).xattrs


def test_records_of_every_length_have_their_length_right() -> None:
    for size in (*range(120), *range(970, 1010), 9970, 9980, 9990, 99970):
        assert again(file_entry(b"a", xattrs=((b"u", b"v" * size),))).xattrs == ((b"u", b"v" * size),)


@pytest.mark.parametrize(
    "kind", [Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK, Kind.HARDLINK, Kind.FIFO, Kind.WHITEOUT, Kind.OPAQUE]
)
@pytest.mark.parametrize("path", [b"a", b"d/a", b"d/" * 100 + b"a"])
def test_every_kind_survives(kind: Kind, path: bytes) -> None:
    entry = file_entry(path, kind=kind, link=b"t" if kind in (Kind.SYMLINK, Kind.HARDLINK) else b"")
    assert entry == again(entry)


def test_devices_survive() -> None:
    for kind in (Kind.CHAR, Kind.BLOCK):
        entry = file_entry(b"dev", kind=kind, device=(8, 8**7 - 1))
        assert entry == again(entry)


def test_a_device_number_that_does_not_fit_is_refused() -> None:
    with pytest.raises(FormatError):
        header(file_entry(b"dev", kind=Kind.CHAR, device=(8**7, 0)))


def test_the_root_is_written_as_a_directory() -> None:
    root = file_entry(b"", kind=Kind.DIRECTORY, mode=0o755)
    assert (root, b"./") == (again(root), header(root)[:2])


def test_the_root_may_be_opaque() -> None:
    assert again(file_entry(b"", kind=Kind.OPAQUE)) == file_entry(b"", kind=Kind.OPAQUE)


def test_a_whiteout_carries_its_prefix() -> None:
    assert header(file_entry(b"d/gone", kind=Kind.WHITEOUT)).startswith(b"d/.wh.gone\0")


@pytest.mark.parametrize("content", [b"", b"123", b"12345"])
def test_content_of_another_length_is_refused(content: bytes) -> None:
    with pytest.raises(FormatError):
        made((file_entry(b"a", 4), content))


def test_content_of_what_has_none_is_refused() -> None:
    with pytest.raises(FormatError):
        made((file_entry(b"a", kind=Kind.SYMLINK, link=b"t"), b"x"))


def test_contents_and_padding_survive() -> None:
    sizes = (0, 1, 511, 512, 513, 5000)
    data = made(*((file_entry(b"f%d" % size, size), b"c" * size) for size in sizes))
    assert [b"c" * size for size in sizes] == [content for _, content in contents(data)]
    assert (0, ()) == (len(data) % 512, scanned(data).notes)


def test_an_xattr_name_that_a_record_cannot_hold_is_refused() -> None:
    with pytest.raises(FormatError, match="no tar can hold"):
        header(file_entry(b"a", xattrs=((b"user.a=b", b"1"),)))


def sparse(size: int, *segments: tuple[int, int]) -> Entry:
    return file_entry(b"d/f", size)._replace(segments=segments, stored=sum(length for _, length in segments))


@pytest.mark.parametrize("segments", [(), ((0, 3),), ((5, 2), (90, 10)), ((5, 2), (9, 0))])
def test_a_sparse_file_is_read_as_it_was_written(segments: tuple[tuple[int, int], ...]) -> None:
    entry = sparse(100, *segments)
    data = made((entry, b"x" * entry.stored))
    found = only(data)
    assert (entry.path, entry.size, entry.stored) == (found.path, found.size, found.stored)
    assert [one for one in segments if one[1]] == [one for one in found.segments or () if one[1]]


def test_other_readers_see_a_sparse_file_as_it_is() -> None:
    entry = sparse(100, (5, 2), (90, 10))
    with tarfile.open(fileobj=io.BytesIO(made((entry, b"ab" + b"c" * 10)))) as tar:
        file = tar.extractfile("d/f")
        assert file is not None
        assert bytes(5) + b"ab" + bytes(83) + b"c" * 10 == file.read()


@pytest.mark.parametrize("content", [b"", b"a", b"abc", bytes(100)])
def test_a_sparse_file_has_the_content_of_its_segments(content: bytes) -> None:
    with pytest.raises(FormatError):
        made((sparse(100, (5, 2)), content))


@pytest.mark.parametrize("entry", [sparse(100, (5, 2)), file_entry(b"a", 513), file_entry(b"d", 0, kind=Kind.DIRECTORY)])
def test_the_length_of_an_entry_is_what_is_written(entry: Entry) -> None:
    content = bytes(entry.stored if entry.segments else entry.size)
    assert len(made((entry, content))) - len(END) == member_size(entry)
