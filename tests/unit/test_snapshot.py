"""Snapshots: their form, what is refused, and what the image is to say of what stands on disk."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import stat
import time
from pathlib import Path
from typing import Any

import pytest
import zstandard
from support.disk import as_nobody, open_to_all
from support.snapshots import EXACT, content_in, found_by, snapshot_of, tree_of_directory

from ocitool import limits
from ocitool.disk import scan_directory, snapshot
from ocitool.disk.disk_changes import edited_paths
from ocitool.disk.scan_directory import open_file, scan
from ocitool.disk.snapshot import (
    ROOTLESS,
    FileStatus,
    IdRange,
    SnapshotEntry,
    SnapshotHeader,
    owner_of,
    owner_xattr,
    read,
    snapshot_rows,
    write,
    write_tree,
)  # fmt: skip
from ocitool.errors import DestinationError, FormatError, IntegrityError, LimitError, TransportError, UnsupportedError
from ocitool.layers.entry import Entry, Kind
from ocitool.spec.schema import load, problems
from ocitool.task import Task
from ocitool.trees.changes import Change

DISK = FileStatus(1, 0, 0, 0, stat.S_IFDIR | 0o755, 0, 0)
ROOT = SnapshotEntry(b"", Entry(b"", Kind.DIRECTORY, 0o755, 0, 0, 0, 0, b"", 0, 0, None, None, None), None, DISK)
FILE = SnapshotEntry(b"a", Entry(b"a", Kind.FILE, 0o644, 0, 0, 0, 0, b"", 0, 0, None, None, None), None, DISK)
HEADER = {"schema": "ocitool/snapshot", "version": 1, "rootless": False, "uidMap": [], "gidMap": [], "ownerXattr": False}
ROOT_LINE = ["", 1, 0o755, 0, 0, 0, 0, [1, 0, 0, 0, 0o40755, 0, 0]]
BAD_NAMES: tuple[Any, ...] = ("", "/a", "a/", ".", "..", "a\0", 1, None, [1], [])
A_LINE = ["a", 0, 0o644, 0, 0, 0, 0, [2, 0, 0, 0, 0o100644, 0, 0]]


def lines_of(file: Path) -> list[Any]:
    return [json.loads(line) for line in zstandard.decompress(file.read_bytes(), 1 << 20).splitlines()]


def file_of(at: Path, *lines: Any) -> Path:
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    at.write_bytes(zstandard.compress(text.encode()))
    return at


def rows_in(file: Path) -> list[SnapshotEntry]:
    return list(read(file)[1])


# The file


def test_every_line_is_valid_under_the_schema(tmp_path: Path) -> None:
    xattrs = ((b"user.\xff", b"\0"), (b"user.x", b"1"))
    link = FILE.entry._replace(kind=Kind.SYMLINK, link=b"\xfe", xattrs=xattrs)
    device = FILE.entry._replace(kind=Kind.CHAR, device=(1, 3))
    linked = FILE._replace(path=b"b", entry=link, leader=b"b", unset=(b"user.x",))
    rows = [ROOT, FILE, linked, FILE._replace(path=b"c\xff", entry=device)]
    write(tmp_path / "s", SnapshotHeader(True, (IdRange(0, 1000, 1),), (), True), rows)
    assert [()] * 6 == [problems("snapshot", line) for line in lines_of(tmp_path / "s")]


def test_the_schema_refuses_another_line() -> None:
    for line in ({"entries": 0}, ["a"], {**HEADER, "version": 2}, [*ROOT_LINE, {"other": 1}], [*ROOT_LINE[:7], [1]]):
        assert problems("snapshot", line), line


def test_the_schema_is_one_of_ours() -> None:
    assert "urn:ocitool:schema:snapshot" == load("snapshot")["$id"]


def test_a_plain_snapshot_is_read(tmp_path: Path) -> None:
    file = file_of(tmp_path / "s", HEADER, ROOT_LINE, A_LINE, {"entries": 2})
    assert [b"", b"a"] == [row.path for row in rows_in(file)]


@pytest.mark.parametrize("version", [0, 2, "1", None, True])
def test_another_version_is_unsupported(tmp_path: Path, version: Any) -> None:
    with pytest.raises(UnsupportedError):
        read(file_of(tmp_path / "s", {**HEADER, "version": version}, ROOT_LINE, {"entries": 1}))


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("",),
        ([],),
        ({},),
        ({**HEADER, "schema": "ocitool/unpacked"},),
        ({**HEADER, "rootless": 1},),
        ({**HEADER, "uidMap": [[1, 2]]},),
        ({**HEADER, "uidMap": [[1, 2, True]]},),
        ({**HEADER, "gidMap": [[0, 0, 1]] * 1001},),
        (HEADER,),
        (HEADER, {"entries": 0}),
        (HEADER, A_LINE, {"entries": 1}),
        (HEADER, ROOT_LINE),
        (HEADER, ROOT_LINE, {"entries": 2}),
        (HEADER, ROOT_LINE, {"entries": 1}, A_LINE),
        (HEADER, ROOT_LINE, ROOT_LINE, {"entries": 2}),
        (HEADER, ROOT_LINE, A_LINE, A_LINE, {"entries": 3}),
        (HEADER, ROOT_LINE, ["b", *A_LINE[1:]], A_LINE, {"entries": 3}),
        (HEADER, ROOT_LINE, ["d/a", *A_LINE[1:]], {"entries": 2}),
        (HEADER, ROOT_LINE, A_LINE, ["a/a", *A_LINE[1:]], {"entries": 3}),
        (HEADER, ROOT_LINE, "[" * 100_000),
        (HEADER, ROOT_LINE, '"' * 3),
        (HEADER, ROOT_LINE, "null"),
        (HEADER, ROOT_LINE, json.dumps(A_LINE) + " 1"),
        (HEADER, ROOT_LINE, '["\\ud800",0,0,0,0,0,0,[1,0,0,0,0,0,0]]', {"entries": 2}),
        (HEADER, ROOT_LINE, [*A_LINE, {}], {"entries": 2}),
        (HEADER, ROOT_LINE, [*A_LINE, {"link": "b"}], {"entries": 2}),
        (HEADER, ROOT_LINE, [*A_LINE, {"leader": 1}], {"entries": 2}),
        (HEADER, ROOT_LINE, [*A_LINE, {"other": "b"}], {"entries": 2}),
        (HEADER, ROOT_LINE, json.dumps(A_LINE)[:-1] + ', {"leader": "a", "leader": "a"}]', {"entries": 2}),
        (HEADER, ROOT_LINE, [*A_LINE, {"xattrs": [["a", "!"]]}], {"entries": 2}),
        (HEADER, ROOT_LINE, ["a", 2, *A_LINE[2:]], {"entries": 2}),
        (HEADER, ROOT_LINE, ["a", 4, *A_LINE[2:]], {"entries": 2}),
        (HEADER, ROOT_LINE, ["a", 3, *A_LINE[2:]], {"entries": 2}),
        (HEADER, ROOT_LINE, [["YQ=="], *A_LINE[1:]], {"entries": 2}),
        *[(HEADER, ROOT_LINE, [name, *A_LINE[1:]], {"entries": 2}) for name in BAD_NAMES],
        *[
            (HEADER, ROOT_LINE, [*A_LINE[:at], bad, *A_LINE[at + 1 :]], {"entries": 2})
            for at in range(1, 8)
            for bad in ("1", 1.5, None, [], -(1 << 64), 1 << 64)
        ],
        (HEADER, ROOT_LINE, [*A_LINE[:6], -1, A_LINE[7]], {"entries": 2}),
    ],
)
def test_a_damaged_snapshot_is_refused(tmp_path: Path, lines: tuple[Any, ...]) -> None:
    with pytest.raises(FormatError):
        rows_in(file_of(tmp_path / "s", *lines))


def test_a_snapshot_is_one_zstd_stream(tmp_path: Path) -> None:
    (tmp_path / "s").write_text(json.dumps(HEADER))
    with pytest.raises(FormatError, match="zstd"):
        read(tmp_path / "s")


def test_a_snapshot_cut_anywhere_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "s", SnapshotHeader(), [ROOT, FILE])
    whole = (tmp_path / "s").read_bytes()
    for at in range(len(whole)):
        (tmp_path / "s").write_bytes(whole[:at])
        with pytest.raises(FormatError):
            rows_in(tmp_path / "s")


@pytest.mark.parametrize("line", ["x" * (2 * snapshot.MAX_LINE), json.dumps(["a" * (limits.PATH_LENGTH + 1), *A_LINE[1:]])])
def test_a_line_or_path_that_is_too_long_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(LimitError):
        rows_in(file_of(tmp_path / "s", HEADER, ROOT_LINE, line))


def test_the_widest_map_is_read(tmp_path: Path) -> None:
    header = SnapshotHeader(uid_map=(IdRange(0, 0, 1 << 32),))
    write(tmp_path / "s", header, [ROOT])
    assert header == read(tmp_path / "s")[0]


def test_writing_ends_a_tick_after_the_last_recorded_change(tmp_path: Path) -> None:
    now = time.time_ns()
    write(tmp_path / "s", SnapshotHeader(), [ROOT._replace(disk=DISK._replace(ctime=now))])
    assert time.time_ns() - now >= snapshot._TICK


def test_an_edit_right_after_writing_has_another_time(root: Path) -> None:
    for _ in range(20):
        unpacked = Unpacked(root)
        status = os.lstat(root / "a")
        (root / "a").write_bytes(b"two")
        os.utime(root / "a", ns=(status.st_mtime_ns, status.st_mtime_ns))
        assert {b"a"} == unpacked.changes().keys()
        (root / "a").write_bytes(b"one")
        (root.with_name("snapshot")).unlink()


def test_an_existing_snapshot_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(b"x")
    with pytest.raises(DestinationError):
        write(tmp_path / "s", SnapshotHeader(), [ROOT])


def test_a_missing_snapshot_is_said(tmp_path: Path) -> None:
    with pytest.raises(TransportError):
        read(tmp_path / "s")


# Recording


def test_what_was_unpacked_and_is_gone_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    tree = tree_of_directory(tmp_path)
    (tmp_path / "a").unlink()
    with pytest.raises(IntegrityError):
        list(snapshot_rows(tree, tmp_path, SnapshotHeader()))


@pytest.mark.parametrize("header", [SnapshotHeader(), SnapshotHeader(rootless=True, owner_xattr=True)])
def test_a_tree_is_recorded_as_its_rows_are(header: SnapshotHeader, tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name in ("d/e", "é/x", "d/\x7f\n", "d-e"):
        (root / name).mkdir(parents=True)
    for name in (b"d/e/a", b"d/z", b"d/\xff", b"b", 'd/"\\é'.encode()):
        (root / os.fsdecode(name)).write_bytes(name)
    (root / "d/link").symlink_to("e")
    os.link(root / "b", root / "d/e/b")
    os.mkfifo(root / "p")
    os.setxattr(root / "d/z", "user.a", b"1")
    tree = tree_of_directory(root)
    write(tmp_path / "rows", header, snapshot_rows(tree, root, header))
    write_tree(tmp_path / "tree", header, tree, root)
    assert (tmp_path / "rows").read_bytes() == (tmp_path / "tree").read_bytes()
    assert 15 == len(rows_in(tmp_path / "tree"))


def test_recording_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "root/d").mkdir(parents=True)
    (tmp_path / "root/d/a").write_bytes(b"1")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/a").write_bytes(b"1")
    tree = tree_of_directory(tmp_path / "root")
    (tmp_path / "root/d").rename(tmp_path / "root/e")
    (tmp_path / "root/d").symlink_to(tmp_path / "other")
    with pytest.raises(IntegrityError):
        list(snapshot_rows(tree, tmp_path / "root", SnapshotHeader()))


# Scanning


def test_directories_deeper_than_descriptors_and_paths_reach_are_scanned(tmp_path: Path) -> None:
    depth = 300
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(b"n" * 20, dir_fd=here)
        os.close(os.open(b"z", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        inside = os.open(b"n" * 20, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inside
    os.close(here)
    with Task() as task:
        found = list(scan(tmp_path, task))
    assert 2 * depth + 1 == len(found)
    assert max(len(one.path) for one in found) > 4096


def test_a_socket_is_left_out_and_said(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made, Task() as task:
        made.bind(os.path.relpath(tmp_path / "s"))
        assert [b""] == [one.path for one in scan(tmp_path, task)]
        assert ["socket"] == [notice.code for notice in task.notices]


@pytest.mark.parametrize("name", [".wh.a", ".wh..wh..opq", ".wh."])
def test_a_name_that_would_be_a_whiteout_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with Task() as task, pytest.raises(FormatError, match=r"begins with \.wh\."):
        list(scan(tmp_path, task))


def test_labels_of_the_host_and_of_overlayfs_are_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    held = ((b"security.selinux", b"x"), (b"trusted.overlay.origin", b"x"), (b"user.overlay.opaque", b"y"), (b"user.a", b"1"))
    monkeypatch.setattr(scan_directory, "xattrs_at", lambda *_: held)
    with Task() as task:
        (root,) = scan(tmp_path, task)
    assert ((b"user.a", b"1"),) == root.entry.xattrs


def test_without_proc_xattrs_are_read_by_descriptor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    os.setxattr(tmp_path / "a", "user.a", b"1")
    true = scan_directory._xattrs

    def no_proc(target: Any) -> Any:
        if not isinstance(target, int):
            raise FileNotFoundError(2, "gone")
        return true(target)

    monkeypatch.setattr(scan_directory, "_xattrs", no_proc)
    monkeypatch.setattr(os.path, "exists", lambda path: False)
    with Task() as task:
        assert ((b"user.a", b"1"),) == list(scan(tmp_path, task))[1].entry.xattrs


# Reading files


def entry_for(content: bytes) -> Entry:
    return FILE.entry._replace(size=len(content), stored=len(content))


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    content = os.urandom(3 << 20)
    (tmp_path / "a").write_bytes(content)
    assert content == b"".join(open_file(tmp_path, b"a", entry_for(content)))


@pytest.mark.parametrize("size", [0, 2, 4])
def test_a_file_of_another_size_has_changed(tmp_path: Path, size: int) -> None:
    (tmp_path / "a").write_bytes(b"123")
    with pytest.raises(TransportError, match="changed while it was read"):
        list(open_file(tmp_path, b"a", entry_for(bytes(size))))


def test_a_file_that_is_written_while_it_is_read_has_changed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(2 << 20))
    pieces = open_file(tmp_path, b"a", entry_for(bytes(2 << 20)))
    next(pieces)
    os.utime(tmp_path / "a", ns=(1, 1))
    with pytest.raises(TransportError, match="changed while it was read"):
        list(pieces)


def test_reading_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a").write_bytes(b"123")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/a").symlink_to("../out/a")
    (tmp_path / "root/d").symlink_to("../out")
    for path in (b"a", b"d/a", b"../out/a"):
        with pytest.raises(TransportError):
            list(open_file(tmp_path / "root", path, entry_for(b"123")))


def test_reading_a_fifo_does_not_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a")
    with pytest.raises(TransportError):
        list(open_file(tmp_path, b"a", entry_for(b"")))


# What an edit is


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    (made / "d").mkdir(parents=True)
    (made / "a").write_bytes(b"one")
    (made / "d/b").write_bytes(b"two")
    return made


class Unpacked:
    """A directory, and what was recorded of it; `stated` changes what the image says of a path."""

    def __init__(self, root: Path, header: SnapshotHeader = EXACT, **stated: Any) -> None:
        self.root = root
        self.header, rows = read(snapshot_of(root, root.with_name("snapshot"), header))
        self.rows = [row._replace(entry=row.entry._replace(**stated)) if row.path == b"a" else row for row in rows]
        self.contents = content_in(root)

    def changes(self, **how: Any) -> dict[bytes, Change]:
        return found_by(self.header, self.rows, self.root, self.contents, **how)

    def entry(self, path: bytes = b"a") -> Entry:
        entry = self.changes()[path].entry
        assert entry is not None
        return entry


def age(path: Path) -> None:
    """Another ctime, and all else as it was."""
    os.chmod(path, stat.S_IMODE(os.lstat(path).st_mode))


def test_nothing_edited_is_no_change(root: Path) -> None:
    assert {} == Unpacked(root).changes()


def test_nothing_edited_asks_for_no_content(root: Path) -> None:
    unpacked = Unpacked(root)
    unpacked.contents = lambda *_: pytest.fail("asked")
    assert {} == unpacked.changes()


def test_a_file_whose_content_nobody_knows_counts_as_changed(root: Path) -> None:
    unpacked = Unpacked(root)
    unpacked.contents = lambda *_: None
    age(root / "a")
    assert {b"a": True} == {path: change.content for path, change in unpacked.changes().items()}


def test_a_new_mtime_alone_is_no_new_content(root: Path) -> None:
    unpacked = Unpacked(root)
    os.utime(root / "a", ns=(5, 5))
    (change,) = unpacked.changes().values()
    assert (5, False) == (change.entry and change.entry.mtime, change.content)


def test_checksum_looks_where_the_status_is_as_recorded(root: Path) -> None:
    unpacked = Unpacked(root)
    unpacked.contents = lambda *_: hashlib.sha256(b"other").digest()
    assert {b"a", b"d/b"} == unpacked.changes(checksum=True).keys()


def test_a_directory_touched_by_its_children_keeps_its_time(root: Path) -> None:
    unpacked = Unpacked(root)
    (root / "d/c").touch()
    assert {b"d/c"} == unpacked.changes().keys()
    assert {b"d", b"d/c"} == unpacked.changes(dir_times=True).keys()


def test_a_directory_touched_alone_is_a_change(root: Path) -> None:
    unpacked = Unpacked(root)
    os.utime(root / "d", ns=(5, 5))
    (root / "d/b").write_bytes(b"new")
    assert {b"d", b"d/b"} == unpacked.changes().keys()


def test_a_removed_directory_is_a_change_a_path(root: Path) -> None:
    unpacked = Unpacked(root)
    (root / "d/b").unlink()
    (root / "d").rmdir()
    assert {b"d": None, b"d/b": None} == {path: change.entry for path, change in unpacked.changes().items()}


def test_two_equal_files_that_become_one_are_changes(root: Path) -> None:
    for name in ("x", "y"):
        (root / name).write_bytes(b"same")
        os.utime(root / name, ns=(7, 7))
    unpacked = Unpacked(root)
    (root / "y").unlink()
    os.link(root / "x", root / "y")
    found = unpacked.changes()
    assert [(b"x", Kind.FILE, False), (b"y", Kind.HARDLINK, False)] == [
        (change.path, change.entry and change.entry.kind, change.content) for change in found.values()
    ]


def test_a_group_of_the_same_size_with_other_names_is_a_change(root: Path) -> None:
    for name in ("x", "z"):
        (root / name).write_bytes(b"same")
        os.utime(root / name, ns=(7, 7))
    os.link(root / "x", root / "y")
    unpacked = Unpacked(root)
    (root / "y").unlink()
    (root / "z").unlink()
    os.link(root / "x", root / "z")
    assert {b"x", b"y", b"z"} == unpacked.changes().keys()


def test_names_outside_are_no_group(root: Path, tmp_path: Path) -> None:
    unpacked = Unpacked(root)
    os.link(root / "a", tmp_path / "outside")
    assert {} == unpacked.changes()


def test_a_new_name_that_would_be_a_whiteout_is_refused(root: Path) -> None:
    unpacked = Unpacked(root)
    (root / "d/.wh.b").touch()
    with pytest.raises(FormatError, match=r"begins with \.wh\."):
        unpacked.changes()


def test_a_copied_directory_has_no_changes_and_one_notice(root: Path, tmp_path: Path) -> None:
    unpacked = Unpacked(root)
    shutil.copytree(root, tmp_path / "copy", symlinks=True)
    for path in ("d", ""):
        shutil.copystat(root / path, tmp_path / "copy" / path)
    with Task() as task:
        assert [] == list(edited_paths(unpacked.header, unpacked.rows, tmp_path / "copy", task, content_of=unpacked.contents))
        assert ["compared-by-content"] == [notice.code for notice in task.notices]


# What the image states and the disk does not


def test_a_stated_owner_stays(root: Path) -> None:
    unpacked = Unpacked(root, SnapshotHeader(rootless=True), uid=33, gid=44)
    (root / "a").write_bytes(b"other")
    assert (33, 44) == unpacked.entry()[3:5]


def test_a_replaced_file_keeps_its_stated_owner(root: Path) -> None:
    unpacked = Unpacked(root, SnapshotHeader(rootless=True), uid=33, gid=44)
    (root / "new").write_bytes(b"other")
    (root / "new").rename(root / "a")
    assert (33, 44) == unpacked.entry()[3:5]


def test_what_the_user_makes_is_roots(root: Path) -> None:
    unpacked = Unpacked(root, SnapshotHeader(rootless=True, uid_map=(IdRange(0, os.geteuid(), 1),)))
    (root / "new").touch()
    assert (0, 0) == unpacked.entry(b"new")[3:5]


def test_what_an_ordinary_user_makes_is_roots(need: Any) -> None:
    need("root")
    with open_to_all() as place:

        def run() -> tuple[int, ...]:
            root = place / "root"
            root.mkdir()
            (root / "a").touch()
            unpacked = Unpacked(root, SnapshotHeader(rootless=True))
            (root / "new").touch()
            entry = unpacked.entry(b"new")
            return entry.uid, entry.gid

        assert (0, 0) == as_nobody(run)


def test_owners_go_back_through_the_maps(need: Any, root: Path) -> None:
    need("root")
    os.chown(root / "a", 100000, 100000)
    unpacked = Unpacked(root, SnapshotHeader(uid_map=(IdRange(0, 100000, 10),), gid_map=(IdRange(5, 200000, 10),)))
    os.chown(root / "a", 100003, 200001)
    assert (3, 6) == unpacked.entry()[3:5]


def test_an_owner_outside_of_the_maps_is_said(need: Any, root: Path) -> None:
    need("root")
    unpacked = Unpacked(root, SnapshotHeader(uid_map=(IdRange(0, 100000, 10),)))
    os.chown(root / "a", 7, 0)
    with Task() as task:
        (change,) = edited_paths(unpacked.header, unpacked.rows, root, task, content_of=unpacked.contents)
        assert 7 == (change.entry and change.entry.uid)
        assert ["owner"] == [notice.code for notice in task.notices]


@pytest.mark.parametrize(("stated", "now", "expected"), [(0o4755, 0o644, 0o4755), (0o4755, 0o600, 0o4711), (0, 0o645, 1)])
def test_a_changed_mode_changes_the_same_bits_of_the_stated_one(root: Path, stated: int, now: int, expected: int) -> None:
    (root / "a").chmod(0o644)
    unpacked = Unpacked(root, SnapshotHeader(rootless=True), mode=stated)
    (root / "a").chmod(now)
    (root / "a").write_bytes(b"other")
    assert expected == unpacked.entry().mode


def test_a_stated_time_stays_while_the_disk_has_what_it_was_given(root: Path) -> None:
    unpacked = Unpacked(root, mtime=-(1 << 60))
    (root / "a").chmod(0o600)
    assert -(1 << 60) == unpacked.entry().mtime


@pytest.mark.parametrize("kind", [Kind.CHAR, Kind.BLOCK])
def test_what_stands_for_a_device_stays_one(root: Path, kind: Kind) -> None:
    (root / "a").write_bytes(b"")
    unpacked = Unpacked(root, SnapshotHeader(rootless=True), kind=kind, device=(1, 3))
    (root / "a").chmod(0o600)
    entry = unpacked.entry()
    assert (kind, (1, 3)) == (entry.kind, entry.device)


def test_what_stands_for_a_device_and_was_written_is_a_file(root: Path) -> None:
    (root / "a").write_bytes(b"")
    unpacked = Unpacked(root, SnapshotHeader(rootless=True), kind=Kind.CHAR, device=(1, 3))
    (root / "a").write_bytes(b"text")
    change = unpacked.changes()[b"a"]
    assert change.entry is not None
    assert (Kind.FILE, None, 4, True) == (change.entry.kind, change.entry.device, change.entry.size, change.content)


def test_xattrs_that_could_not_be_set_stay(root: Path) -> None:
    unpacked = Unpacked(root)
    stated = ((b"security.capability", b"x"), (b"user.gone", b"1"))
    unpacked.rows = [
        row._replace(entry=row.entry._replace(xattrs=stated), unset=(b"security.capability",)) if row.path == b"a" else row
        for row in unpacked.rows
    ]
    age(root / "a")
    assert stated[:1] == unpacked.entry().xattrs


def test_which_xattrs_the_disk_lacks_is_recorded(root: Path) -> None:
    os.setxattr(root / "a", "user.a", b"1")
    tree = tree_of_directory(root)
    index = tree.indexes[0]
    row = index.paths.index(b"a")
    index.xattrs[row] = ((b"security.selinux", b"l"), (b"user.a", b"1"), (b"user.b", b"2"))
    (found,) = [one for one in snapshot_rows(tree, root, SnapshotHeader()) if one.path == b"a"]
    assert (b"security.selinux", b"user.b") == found.unset


def test_an_owner_is_read_from_its_xattr(root: Path) -> None:
    (root / "new").touch()
    os.setxattr(root / "new", ROOTLESS, owner_xattr(70000, 8))
    unpacked = Unpacked(root, SnapshotHeader(rootless=True, owner_xattr=True))
    (root / "new").rename(root / "newer")
    entry = unpacked.entry(b"newer")
    assert (70000, 8, None) == (entry.uid, entry.gid, entry.xattrs)


def test_a_damaged_owner_is_refused(root: Path) -> None:
    unpacked = Unpacked(root, SnapshotHeader(rootless=True, owner_xattr=True))
    os.setxattr(root / "a", ROOTLESS, b"\xff")
    with pytest.raises(FormatError, match="owner"):
        unpacked.changes()


def test_an_owner_is_spelled_as_protobuf() -> None:
    assert (b"\x08\x21\x10\x80\x01", b"", (0, 33)) == (owner_xattr(33, 128), owner_xattr(0, 0), owner_of(b"\x10\x21"))
