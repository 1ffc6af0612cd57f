"""An overlayfs upper directory as entries of a layer, for each mark that an overlay leaves."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from ocitool.disk.overlay_changes import layer_members
from ocitool.errors import FormatError, UnsupportedError
from ocitool.layers.entry import Entry, Kind
from ocitool.task import Task


def read(directory: Path) -> list[tuple[Entry, bytes]]:
    with Task() as task:
        return [(entry, b"".join(content)) for entry, content in layer_members(directory, task)]


def listed(directory: Path) -> list[tuple[bytes, Kind]]:
    return [(entry.path, entry.kind) for entry, _ in read(directory)]


def notices(directory: Path) -> list[str]:
    with Task() as task:
        list(layer_members(directory, task))
        return [notice.code for notice in task.notices]


def put(path: Path, content: bytes | None = b"", **xattrs: bytes) -> Path:
    """A file, for None a directory; the xattrs are given as `user_overlay_opaque=b"y"`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if content is None:
        path.mkdir(exist_ok=True)
    else:
        path.write_bytes(content)
    for name, value in xattrs.items():
        os.setxattr(path, name.replace("_", ".", 2), value)
    return path


def device(path: Path) -> None:
    os.mknod(path, 0o020000, os.makedev(0, 0))


def test_what_was_written_is_listed_with_its_parents_and_content(tmp_path: Path) -> None:
    put(tmp_path / "d/f", b"text")
    os.utime(tmp_path / "d/f", ns=(0, 1_700_000_000_123_456_789))
    entry, content = read(tmp_path)[1]
    assert [(b"d", Kind.DIRECTORY), (b"d/f", Kind.FILE)] == listed(tmp_path)
    assert (4, b"text", 1_700_000_000_123_456_789) == (entry.size, content, entry.mtime)


def test_the_root_is_no_part_of_the_layer(tmp_path: Path) -> None:
    assert [] == listed(tmp_path)


@pytest.mark.tools
def test_a_device_0_0_is_a_whiteout(need: Callable[..., str], tmp_path: Path) -> None:
    need("root")
    put(tmp_path / "d", None)
    device(tmp_path / "d/gone")
    assert [(b"d", Kind.DIRECTORY), (b"d/gone", Kind.WHITEOUT)] == listed(tmp_path)


@pytest.mark.tools
def test_whiteouts_that_share_one_inode_are_no_hard_links(need: Callable[..., str], tmp_path: Path) -> None:
    need("root")
    device(tmp_path / "a")
    os.link(tmp_path / "a", tmp_path / "b")
    assert [(b"a", Kind.WHITEOUT), (b"b", Kind.WHITEOUT)] == listed(tmp_path)


@pytest.mark.tools
def test_another_device_is_itself(need: Callable[..., str], tmp_path: Path) -> None:
    need("root")
    os.mknod(tmp_path / "null", 0o020666, os.makedev(1, 3))
    assert (Kind.CHAR, (1, 3)) == (read(tmp_path)[0][0].kind, read(tmp_path)[0][0].device)


def test_an_opaque_directory_is_marked_behind_its_entry(tmp_path: Path) -> None:
    put(tmp_path / "d", None, user_overlay_opaque=b"y")
    put(tmp_path / "d/f")
    assert [(b"d", Kind.DIRECTORY), (b"d", Kind.OPAQUE), (b"d/f", Kind.FILE)] == listed(tmp_path)


@pytest.mark.tools
def test_a_directory_that_root_marked_opaque_is_too(need: Callable[..., str], tmp_path: Path) -> None:
    need("root")
    put(tmp_path / "d", None, trusted_overlay_opaque=b"y")
    assert [(b"d", Kind.DIRECTORY), (b"d", Kind.OPAQUE)] == listed(tmp_path)


def test_an_opaque_root_hides_everything_below(tmp_path: Path) -> None:
    put(tmp_path, None, user_overlay_opaque=b"y")
    assert [(b"", Kind.OPAQUE)] == listed(tmp_path)


def test_an_attribute_that_does_not_say_opaque_does_not_make_it_so(tmp_path: Path) -> None:
    put(tmp_path / "d", None, user_overlay_opaque=b"n")
    assert [(b"d", Kind.DIRECTORY)] == listed(tmp_path)


def test_an_xattr_whiteout_counts_in_a_directory_that_says_so(tmp_path: Path) -> None:
    put(tmp_path / "d", None, user_overlay_opaque=b"x")
    put(tmp_path / "d/a", None)
    put(tmp_path / "d/gone", b"", user_overlay_whiteout=b"y")
    assert [(b"d", Kind.DIRECTORY), (b"d/a", Kind.DIRECTORY), (b"d/gone", Kind.WHITEOUT)] == listed(tmp_path)


@pytest.mark.parametrize(("mark", "content"), [(b"y", b""), (b"x", b"text")])
def test_an_xattr_whiteout_is_a_file_where_the_kernel_sees_one(mark: bytes, content: bytes, tmp_path: Path) -> None:
    put(tmp_path / "d", None, user_overlay_opaque=mark)
    put(tmp_path / "d/f", content, user_overlay_whiteout=b"y")
    last = read(tmp_path)[-1][0]
    assert (Kind.FILE, None) == (last.kind, last.xattrs)


@pytest.mark.parametrize("name", ["redirect", "metacopy"])
def test_what_stands_in_a_lower_layer_is_refused(name: str, tmp_path: Path) -> None:
    put(tmp_path / "f", b"", **{f"user_overlay_{name}": b"/a"})
    with pytest.raises(UnsupportedError, match=name) as caught:
        read(tmp_path)
    assert "/f" == caught.value.where


def test_a_mark_of_unknown_meaning_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "f", b"", user_overlay_verity=b"1")
    with pytest.raises(UnsupportedError, match="not known"):
        read(tmp_path)


def test_bookkeeping_is_left_out_and_other_attributes_are_kept(tmp_path: Path) -> None:
    put(tmp_path / "f", b"", user_overlay_origin=b"1", user_overlay_nlink=b"U+1", user_app=b"\0=\n")
    assert ((b"user.app", b"\0=\n"),) == read(tmp_path)[0][0].xattrs


def test_marks_of_an_overlay_within_lose_one_escape(tmp_path: Path) -> None:
    os.setxattr(put(tmp_path / "d", None), "user.overlay.overlay.opaque", b"y")
    ((entry, _),) = read(tmp_path)
    assert ((b"user.overlay.opaque", b"y"),) == entry.xattrs


def test_hard_links_stand_behind_their_first_name(tmp_path: Path) -> None:
    put(tmp_path / "z", b"text")
    os.link(tmp_path / "z", tmp_path / "a")
    (first, content), (second, nothing) = read(tmp_path)
    assert (b"a", Kind.FILE, b"text") == (first.path, first.kind, content)
    assert (b"z", Kind.HARDLINK, b"a", b"") == (second.path, second.kind, second.link, nothing)


def test_a_hard_link_says_its_files_xattrs_again(tmp_path: Path) -> None:
    """Docker changes the owner of each name, for which the kernel takes capabilities away: each name must restore them."""
    put(tmp_path / "a", b"", user_app=b"1")
    os.link(tmp_path / "a", tmp_path / "b")
    assert [((b"user.app", b"1"),)] * 2 == [entry.xattrs for entry, _ in read(tmp_path)]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "l").symlink_to("/etc")
    assert (Kind.SYMLINK, b"/etc") == (read(tmp_path)[0][0].kind, read(tmp_path)[0][0].link)


def test_a_socket_is_left_out_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("s")
    assert ([], True) == (listed(tmp_path), "socket" in notices(tmp_path))


def test_who_cannot_see_the_marks_of_root_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocitool.disk.overlay_changes._sees_trusted", lambda: False)
    put(tmp_path / "d", None)
    assert ["upper"] == notices(tmp_path)


def test_who_sees_marks_of_a_user_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocitool.disk.overlay_changes._sees_trusted", lambda: False)
    put(tmp_path / "d", None, user_overlay_impure=b"y")
    assert [] == notices(tmp_path)


# fuse-overlayfs


def test_an_empty_wh_file_is_a_whiteout(tmp_path: Path) -> None:
    put(tmp_path / "d/.wh.gone")
    assert [(b"d", Kind.DIRECTORY), (b"d/gone", Kind.WHITEOUT)] == listed(tmp_path)


def test_an_opaque_file_marks_its_directory(tmp_path: Path) -> None:
    put(tmp_path / "d/.wh..wh..opq")
    put(tmp_path / "d/!f")
    assert [(b"d", Kind.DIRECTORY), (b"d/!f", Kind.FILE), (b"d", Kind.OPAQUE)] == listed(tmp_path)


def test_a_directory_is_marked_opaque_once(tmp_path: Path) -> None:
    put(tmp_path / "d", None, user_overlay_opaque=b"y")
    put(tmp_path / "d/.wh..wh..opq")
    assert [(b"d", Kind.DIRECTORY), (b"d", Kind.OPAQUE)] == listed(tmp_path)


@pytest.mark.parametrize("name", ["a", "!"])
def test_a_directory_beside_its_whiteout_is_opaque(name: str, tmp_path: Path) -> None:
    put(tmp_path / f".wh.{name}")
    put(tmp_path / name, None)
    assert [(name.encode(), Kind.DIRECTORY), (name.encode(), Kind.OPAQUE)] == listed(tmp_path)


@pytest.mark.parametrize("name", ["a", "!"])
def test_a_file_beside_its_whiteout_stands(name: str, tmp_path: Path) -> None:
    put(tmp_path / f".wh.{name}")
    put(tmp_path / name)
    assert [(name.encode(), Kind.FILE)] == listed(tmp_path)


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", ".wh..wh.plnk", ".wh..wh.x"])
def test_a_whiteout_of_nothing_is_refused(name: str, tmp_path: Path) -> None:
    put(tmp_path / name)
    with pytest.raises(FormatError, match="of nothing"):
        read(tmp_path)


@pytest.mark.parametrize("content", [b"text", None])
def test_a_wh_name_that_is_no_mark_is_refused(content: bytes | None, tmp_path: Path) -> None:
    put(tmp_path / ".wh.a", content)
    with pytest.raises(FormatError, match=r"begins with \.wh\."):
        read(tmp_path)


def test_a_whiteout_that_is_said_twice_is_written_once(need: Callable[..., str], tmp_path: Path) -> None:
    need("root")
    device(tmp_path / "gone")
    put(tmp_path / ".wh.gone")
    assert [(b"gone", Kind.WHITEOUT)] == listed(tmp_path)
