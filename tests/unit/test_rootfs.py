"""Laws of what is written into a root file system, and of the private directory it is made in."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.disk import as_nobody, on_disk, open_to_all
from support.images import entry, layer_tar
from support.layers import END, head, pad, pax, sparse_1_0
from support.merged import memory_image

from ocitool.disk import snapshot, staging
from ocitool.disk.attributes import Ownership, parse_map
from ocitool.disk.rootfs import Rootfs
from ocitool.disk.snapshot import IdRange
from ocitool.disk.staged_files import LayerFiles
from ocitool.disk.staging import stage_image
from ocitool.disk.staging_directory import MAX_OPEN, StagingDirectory
from ocitool.errors import CancelledError, DestinationError, FormatError, OcitoolError, UsageError
from ocitool.layers.entry import Entry, Kind
from ocitool.progress import Notice
from ocitool.task import Task

CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
EXACT = Ownership()
ROOTLESS = Ownership(rootless=True)


def unpack(path: Path, *layers: bytes, owners: Ownership = EXACT) -> tuple[Notice, ...]:
    """These layers into `path`, which is the root itself; the notices."""
    image = memory_image(layers)
    with Task(jobs=1) as task:
        with StagingDirectory(str(path)) as work, Rootfs(work.descriptor, owners, task) as rootfs:
            rootfs.place_tree(stage_image(image, rootfs, task).tree)
            rootfs.notice_unset()
            work.publish(b"rootfs")
        return tuple(task.notices)


def tar(*items: Any) -> bytes:
    return layer_tar(items)


@contextmanager
def rooted(place: Path, owners: Ownership = EXACT) -> Iterator[Rootfs]:
    """A root `place/made/rootfs` to be filled by hand."""
    with Task() as task, StagingDirectory(str(place / "made")) as work:
        with Rootfs(work.descriptor, owners, task) as rootfs:
            yield rootfs
            rootfs.clear()
        work.publish()


DIRECTORY = Entry(b"", Kind.DIRECTORY, 0o755, 0, 0, 0, 0, b"", 0, 0, None, None, None)


# Attributes


@pytest.mark.parametrize("mode", [0o4755, 0o2711, 0o6555, 0o7777, 0])
def test_setuid_and_setgid_survive_a_change_of_owner(mode: int, need: Any, tmp_path: Path) -> None:
    need("root")
    unpack(tmp_path / "root", tar(entry("f", b"x", mode=mode, uid=7, gid=8), entry("d/", None, mode=mode, uid=7, gid=8)))
    for name in ("f", "d"):
        status = (tmp_path / "root" / name).stat()
        assert (mode, 7, 8) == (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)


def test_capabilities_survive_a_change_of_owner(need: Any, tmp_path: Path) -> None:
    need("root")
    unpack(tmp_path / "root", tar(entry("f", b"x", mode=0o4755, uid=7, xattrs=((b"security.capability", CAPABILITY),))))
    assert CAPABILITY == os.getxattr(tmp_path / "root/f", "security.capability")


@pytest.mark.parametrize("time", [-1, -1_500_000_000, 0, 1, (1 << 31) * 10**9 + 1, (1 << 33) * 10**9])
def test_times_are_kept_to_the_nanosecond_for_every_kind(time: int, tmp_path: Path) -> None:
    fifo = entry("p", b"", kind=Kind.FIFO, mtime=time, size=0)
    items = [entry("d/", None, mtime=time), entry("d/f", b"x", mtime=time), entry("l", "link:x", mtime=time), fifo]
    unpack(tmp_path / "root", tar(*items), owners=ROOTLESS)
    assert {time} == {fields["mtime"] for path, fields in on_disk(tmp_path / "root").items() if path}


def test_a_read_only_file_and_directory_take_xattrs_and_children(tmp_path: Path) -> None:
    mine = ((b"user.a", b"\0b"),)
    items = [entry("d/", None, mode=0o555, xattrs=mine), entry("d/f", b"x", mode=0o444, xattrs=mine)]
    with open_to_all() as place:
        as_user = as_nobody if os.geteuid() == 0 else lambda function: function()
        as_user(lambda: unpack(place / "root", tar(*items), owners=ROOTLESS))
        found = on_disk(place / "root")
        assert (0o555, 0o444) == (found[b"d"]["mode"], found[b"d/f"]["mode"])
        assert {b"user.a": b"\0b"} == found[b"d"]["xattrs"] == found[b"d/f"]["xattrs"]


@pytest.mark.parametrize("umask", [0, 0o77, 0o177, 0o777])
def test_the_umask_has_no_say(umask: int, need: Any, tmp_path: Path) -> None:
    need("root")
    items = [entry("d/", None, mode=0o777), entry("d/f", b"x", mode=0o666), entry("p", b"", kind=Kind.FIFO, mode=0o622, size=0)]
    before = os.umask(umask)
    try:
        unpack(tmp_path / "root", tar(*items))
    finally:
        os.umask(before)
    assert [0o755, 0o777, 0o666, 0o622] == [on_disk(tmp_path / "root")[path]["mode"] for path in (b"", b"d", b"d/f", b"p")]


def test_a_setgid_parent_has_no_say(need: Any, tmp_path: Path) -> None:
    need("root")
    os.chown(tmp_path, 0, 77)
    tmp_path.chmod(0o2777)
    unpack(tmp_path / "root", tar(("d/", None), ("d/f", b"x")))
    found = on_disk(tmp_path / "root")
    assert {(0, 0o755), (0, 0o644)} == {(fields["gid"], fields["mode"]) for fields in found.values()}


def test_a_default_access_list_of_the_parent_has_no_say(tmp_path: Path) -> None:
    def item(tag: int, permissions: int, number: int = 0xFFFFFFFF) -> bytes:
        return tag.to_bytes(2, "little") + permissions.to_bytes(2, "little") + number.to_bytes(4, "little")

    everyone = b"\2\0\0\0" + item(1, 7) + item(2, 7, 65534) + item(4, 7) + item(0x10, 7) + item(0x20, 7)
    try:
        os.setxattr(tmp_path, "system.posix_acl_default", everyone)
    except OSError:
        pytest.skip("a file system without access lists")
    unpack(tmp_path / "root", tar(("d/", None), ("d/f", b"x")), owners=ROOTLESS)
    found = on_disk(tmp_path / "root")
    assert [{}] * 3 == [fields["xattrs"] for fields in found.values()]
    assert [0o755, 0o755, 0o644] == [found[path]["mode"] for path in (b"", b"d", b"d/f")]


def test_the_root_has_its_own_attributes(need: Any, tmp_path: Path) -> None:
    need("root")
    unpack(tmp_path / "root", tar(entry("./", None, mode=0o1711, uid=3, mtime=5, xattrs=((b"user.r", b"1"),)), ("f", b"x")))
    fields = on_disk(tmp_path / "root")[b""]
    assert (0o1711, 3, 5, {b"user.r": b"1"}) == (fields["mode"], fields["uid"], fields["mtime"], fields["xattrs"])


def test_a_selinux_label_is_left_out_and_said_once(tmp_path: Path) -> None:
    label = ((b"security.selinux", b"x"),)
    notices = unpack(tmp_path / "root", tar(entry("a", b"1", xattrs=label), entry("b", b"1", xattrs=label)), owners=ROOTLESS)
    assert [("selinux", "2 SELinux labels not set: they are the machine's own to give")] == list(notices)
    assert {} == on_disk(tmp_path / "root")[b"a"]["xattrs"]


def test_xattrs_of_links_and_devices_are_theirs_alone(need: Any, tmp_path: Path) -> None:
    need("root")
    mine = ((b"trusted.a", b"1"),)
    items = [entry("f", b"x"), entry("l", "link:f", xattrs=mine), entry("p", b"", kind=Kind.FIFO, size=0, xattrs=mine)]
    unpack(tmp_path / "root", tar(*items))
    found = on_disk(tmp_path / "root")
    assert [{}, {b"trusted.a": b"1"}, {b"trusted.a": b"1"}] == [found[path]["xattrs"] for path in (b"f", b"l", b"p")]


# Contents


def test_holes_stay_holes(tmp_path: Path) -> None:
    size = 1 << 30
    layer = sparse_1_0(b"big", [(1 << 20, b"A" * 4096), (1 << 29, b"B" * 512)], size) + END
    unpack(tmp_path / "root", layer, owners=ROOTLESS)
    status = (tmp_path / "root/big").stat()
    assert size == status.st_size
    assert status.st_blocks * 512 < 1 << 20
    with open(tmp_path / "root/big", "rb") as file:
        file.seek((1 << 20) - 1)
        assert b"\0" + b"A" * 4096 + b"\0" == file.read(4098)
        file.seek(1 << 29)
        assert b"B" * 512 + b"\0" == file.read(513)


def test_names_of_one_file_are_one_file_and_no_other_name_is_left(tmp_path: Path) -> None:
    fifo = entry("p", b"", kind=Kind.FIFO, size=0)
    lower = tar(("a", b"1"), ("s", "link:a"), fifo)
    upper = tar(("b", "hard:a"), ("t", "hard:s"), ("q", "hard:p"), ("a", b"other"))
    unpack(tmp_path / "root", lower, tar(("c", "hard:a")), upper, owners=ROOTLESS)
    found = on_disk(tmp_path / "root")
    assert [[b"b", b"c"], [b"s", b"t"], [b"p", b"q"], []] == [found[path]["links"] for path in (b"b", b"s", b"p", b"a")]
    assert [2, 2, 2, 1] == [os.lstat(tmp_path / "root" / name).st_nlink for name in ("b", "s", "p", "a")]
    assert b"1" == found[b"c"]["content"]


def test_what_upper_layers_hide_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lower = tar(("a", b"1"), ("d/", None), ("d/x", b"2"), ("o/", None), ("o/x", b"3"), ("kept", b"4"))
    staged: list[bytes] = []
    original = LayerFiles._create

    def noted(self: LayerFiles, row: int, path: bytes, mode: int) -> int:
        staged.append(path)
        return original(self, row, path, mode)

    monkeypatch.setattr(LayerFiles, "_create", noted)
    unpack(tmp_path / "root", lower, tar((".wh.a", b""), ("d", b"5"), ("o/.wh..wh..opq", b"")), owners=ROOTLESS)
    assert [b"d", b"kept"] == sorted(staged)


def test_a_hidden_file_that_a_link_needs_is_read_again(tmp_path: Path) -> None:
    unpack(tmp_path / "root", tar(("a", b"1"), ("b", "hard:a")), tar(("a", b"2")), owners=ROOTLESS)
    assert {b"a": b"2", b"b": b"1"} == {p: f["content"] for p, f in on_disk(tmp_path / "root").items() if p}


def test_a_layer_listed_twice_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[object] = []
    original = staging.index_layer
    monkeypatch.setattr(staging, "index_layer", lambda blob, *rest, **more: read.append(blob) or original(blob, *rest, **more))
    layer = tar(("a", b"1"), ("b", b"2"))
    unpack(tmp_path / "root", layer, tar((".wh.a", b""), ("c", b"3")), layer, owners=ROOTLESS)
    assert [b"a", b"b", b"c"] == sorted(path for path in on_disk(tmp_path / "root") if path)
    assert 2 == len(read)


# What cannot be


@pytest.mark.parametrize(
    ("item", "error"),
    [
        (entry("n" * 256, b"x"), DestinationError),
        (entry("d/" + "n" * 256, None), DestinationError),
        (entry("l", "link:" + "x" * 4096), DestinationError),
        (entry("f", b"x", uid=1 << 32), DestinationError),
        (entry("f", b"x", gid=(1 << 32) - 1), DestinationError),
        (entry("f", b"x", uid=-1), DestinationError),
        (entry("c", b"", kind=Kind.CHAR, device=(4096, 0), size=0), DestinationError),
        (entry("c", b"", kind=Kind.BLOCK, device=(0, 1 << 20), size=0), DestinationError),
        (entry("l", "link:"), FormatError),
    ],
)
def test_what_no_disk_can_hold_is_an_error_and_leaves_nothing(
    item: Any, error: type[OcitoolError], need: Any, tmp_path: Path
) -> None:
    need("root")
    with pytest.raises(error) as raised:
        unpack(tmp_path / "root", tar(("a", b"1"), item))
    assert raised.value.where is not None
    assert [] == os.listdir(tmp_path)


def test_owners_are_shifted_by_the_maps(need: Any, tmp_path: Path) -> None:
    need("root")
    owners = Ownership(False, parse_map(["0:100000:10", "10:5"], "--uid-map"), parse_map(["0:200000:65536"], "--gid-map"))
    unpack(tmp_path / "root", tar(entry("a", b"", uid=9, gid=1), entry("b", b"", uid=10)), owners=owners)
    found = on_disk(tmp_path / "root")
    assert [(100000, 200000), (100009, 200001), (5, 200000)] == [
        (found[path]["uid"], found[path]["gid"]) for path in (b"", b"a", b"b")
    ]


def test_an_owner_outside_of_the_map_is_an_error_with_a_hint(need: Any, tmp_path: Path) -> None:
    need("root")
    with pytest.raises(DestinationError, match="user 10 ") as raised:
        unpack(tmp_path / "root", tar(entry("a", b"", uid=10)), owners=Ownership(False, (IdRange(0, 100000, 10),)))
    assert raised.value.hint is not None and "--uid-map" in raised.value.hint


@pytest.mark.parametrize(
    "words",
    [["0"], ["0:1:2:3"], ["a:1"], ["0:-1"], ["0:1:0"], ["0:4294967295:2"], ["1:"], ["0:1:10", "9:50"], ["0:1:10", "50:10"],
     ["0:1" + "0" * 20], ["٠:1"]],
)  # fmt: skip
def test_a_map_that_is_none_is_wrong_usage(words: Sequence[str]) -> None:
    with pytest.raises(UsageError):
        parse_map(words, "--uid-map")


def test_a_map_of_one_id_needs_no_size() -> None:
    assert (IdRange(0, 1000, 1), IdRange(1, 5, 3)) == parse_map(["0:1000", "1:5:3"], "--uid-map")


def test_root_of_a_user_namespace_is_told_of_rootless(need: Any, tmp_path: Path) -> None:
    need("unshare", "root")
    code = (
        "import sys; sys.path[:0] = sys.argv[2:]\n"
        "from pathlib import Path\n"
        "from ocitool.errors import DestinationError\n"
        "from unit.test_rootfs import entry, tar, unpack\n"
        "try:\n    unpack(Path(sys.argv[1]), tar(entry('a', b'', uid=10)))\n"
        "except DestinationError as error:\n    print(error.hint)\n"
    )
    done = subprocess.run(
        ["unshare", "-U", "-r", sys.executable, "-c", code, str(tmp_path / "root"), *sys.path], capture_output=True, text=True
    )
    if "unshare failed" in done.stderr:
        pytest.skip("no user namespaces here")
    assert ("--rootless makes all files your own, and needs no rights\n", "") == (done.stdout, done.stderr)
    assert [] == os.listdir(tmp_path)


# Rootless


def test_rootless_owners_stand_in_an_xattr_on_request(tmp_path: Path) -> None:
    items = [entry("a", b"", uid=7, gid=300), entry("d/", None, gid=5), entry("o", b""), entry("l", "link:a", uid=7)]
    unpack(tmp_path / "root", tar(*items), owners=Ownership(rootless=True, owner_xattr=True))
    found = on_disk(tmp_path / "root")
    values = [found[path]["xattrs"].get(b"user.rootlesscontainers") for path in (b"a", b"d", b"o", b"l")]
    assert [b"\x08\x07\x10\xac\x02", b"\x10\x05", None, None] == values
    assert (7, 300) == snapshot.owner_of(values[0] or b"")


def test_rootless_devices_are_empty_files_and_said(tmp_path: Path) -> None:
    device = entry("null", b"", kind=Kind.CHAR, device=(1, 3), mode=0o666, size=0)
    notices = unpack(tmp_path / "root", tar(device), owners=ROOTLESS)
    assert ["devices"] == [notice.code for notice in notices]
    fields = on_disk(tmp_path / "root")[b"null"]
    assert ("file", b"", 0o666) == (fields["kind"], fields["content"], fields["mode"])


# Size and depth


def test_a_deep_tree_needs_few_descriptors_and_can_be_removed(tmp_path: Path) -> None:
    deep = b"/".join([b"n" * 60] * 1000)
    layer = pax((b"path", deep + b"/f")) + head(b"f", b"0", size=1) + pad(b"x") + END
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (MAX_OPEN + 60, hard))
    try:
        unpack(tmp_path / "root", layer, owners=ROOTLESS)
        names = 0
        at = os.open(tmp_path / "root", os.O_RDONLY)
        while b"f" not in (inside := [os.fsencode(name) for name in os.listdir(at)]):
            below = os.open(inside[0], os.O_RDONLY | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at, names = below, names + 1
        os.close(at)
        assert 1000 == names
        (tmp_path / ".x.ocitool-0123456789abcdef").mkdir()
        (tmp_path / "root").rename(tmp_path / ".x.ocitool-0123456789abcdef/root")
        unpack(tmp_path / "other", tar(("a", b"1")), owners=ROOTLESS)
        assert ["other"] == os.listdir(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_wide_tree_needs_few_descriptors(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    layer = tar(*((f"d{n}/f", b"x") for n in range(500)))
    resource.setrlimit(resource.RLIMIT_NOFILE, (60, hard))
    try:
        unpack(tmp_path / "root", layer, owners=ROOTLESS)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert 500 == len(os.listdir(tmp_path / "root"))


# By hand, as overlay stores are made


def test_a_whiteout_is_a_device_and_own_xattrs_are_set(need: Any, tmp_path: Path) -> None:
    need("root")
    with rooted(tmp_path) as rootfs:
        rootfs.begin(b"rootfs")
        rootfs.enter(b"d")
        rootfs.whiteout(b"gone")
        rootfs.leave(DIRECTORY._replace(mode=0o500, mtime=9), ((b"trusted.overlay.opaque", b"y"),))
        rootfs.leave(DIRECTORY)
    found = on_disk(tmp_path / "made/rootfs")
    assert ("char", (0, 0)) == (found[b"d/gone"]["kind"], found[b"d/gone"]["device"])
    assert {b"trusted.overlay.opaque": b"y"} == found[b"d"]["xattrs"]
    assert (0o500, 9) == (found[b"d"]["mode"], found[b"d"]["mtime"])


def test_own_xattrs_that_cannot_be_set_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DestinationError), rooted(tmp_path, ROOTLESS) as rootfs:
        rootfs.begin(b"rootfs")
        rootfs.leave(DIRECTORY, ((b"nonsense.a", b"y"),))
    assert [] == os.listdir(tmp_path)


def test_several_roots_come_out_of_one_stock(tmp_path: Path) -> None:
    def take(content: bytes) -> Callable[[int], list[bytes]]:
        return lambda size: [content[:size]]

    item = entry("f", b"12")[0]
    with rooted(tmp_path, ROOTLESS) as rootfs:
        rootfs.stage(1, item, take(b"12"))
        rootfs.stage(2, item, take(b"34"))
        for number in (1, 2):
            rootfs.begin(b"root%d" % number)
            rootfs.put(b"f", number, item)
            rootfs.leave(DIRECTORY)
    assert [b"12", b"34"] == [(tmp_path / f"made/root{number}/f").read_bytes() for number in (1, 2)]


def test_nobody_stages_after_the_end_and_the_end_waits_for_who_does(tmp_path: Path) -> None:
    from threading import Event, Thread

    begun, done = Event(), []
    item = entry("f", b"12")[0]

    def slow(size: int) -> Iterator[bytes]:
        begun.set()
        yield b"1"
        done.append(1)
        yield b"2"

    with Task() as task, StagingDirectory(str(tmp_path / "made")) as work:
        rootfs = Rootfs(work.descriptor, ROOTLESS, task)
        thread = Thread(target=rootfs.stage, args=(1, item, slow))
        thread.start()
        begun.wait()
        rootfs.close()
        assert [1] == done
        thread.join()
        with pytest.raises(CancelledError):
            rootfs.stage(2, item, lambda size: [b"12"])
    assert [] == left(tmp_path)


# The private directory


def left(place: Path) -> list[str]:
    return sorted(os.listdir(place))


def test_what_was_not_published_is_removed(tmp_path: Path) -> None:
    with pytest.raises(KeyError), StagingDirectory(str(tmp_path / "d")) as work:
        work.write("file", b"x")
        work.mkdir("sub")
        work.write("sub/file", b"x")
        raise KeyError
    assert [] == left(tmp_path)


def test_what_is_published_has_the_mode_of_a_new_directory(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with StagingDirectory(str(tmp_path / "d")) as work:
            assert 0o700 == stat.S_IMODE(os.stat(work.path).st_mode)
            work.publish()
    finally:
        os.umask(before)
    assert 0o750 == stat.S_IMODE((tmp_path / "d").stat().st_mode)


def test_a_dead_owners_directory_is_swept_and_a_live_ones_is_not(tmp_path: Path) -> None:
    dead, live, other = (tmp_path / name for name in (".a.ocitool-" + "0" * 16, ".b.ocitool-" + "1" * 16, ".c.ocitool-x"))
    for one in (dead, live, other):
        (one / "rootfs/locked").mkdir(parents=True)
        (one / "rootfs/locked/file").write_bytes(b"x")
        (one / "rootfs/locked").chmod(0)
    holder = os.open(live, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    with StagingDirectory(str(tmp_path / "d")):
        pass
    os.close(holder)
    (live / "rootfs/locked").chmod(0o700)
    assert sorted([live.name, other.name]) == left(tmp_path)


def test_an_ordinary_users_locked_directories_are_removed_too(need: Any) -> None:
    need("root")
    with open_to_all() as place:

        def fail() -> None:
            with pytest.raises(KeyError), StagingDirectory(str(place / "d")) as work:
                inside = Path(work.path, "a/b")
                inside.mkdir(parents=True)
                (inside / "f").touch()
                inside.chmod(0)
                inside.parent.chmod(0)
                raise KeyError

        as_nobody(fail)
        assert [] == left(place)


def test_removing_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "canary").mkdir()
    (tmp_path / "canary/file").touch()
    with StagingDirectory(str(tmp_path / "d")) as work:
        os.symlink(tmp_path / "canary", os.path.join(work.path, "l"))
    assert ["file"] == left(tmp_path / "canary")


def test_a_destination_that_came_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(DestinationError), StagingDirectory(str(tmp_path / "d")) as work:
        (tmp_path / "d").mkdir()
        (tmp_path / "d/file").write_bytes(b"other")
        work.publish()
    assert (["d"], b"other") == (left(tmp_path), (tmp_path / "d/file").read_bytes())


def test_a_full_disk_is_the_destinations_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(DestinationError, match="No space left"):
        unpack(tmp_path / "root", tar(("a", b"1")), owners=ROOTLESS)
    monkeypatch.undo()
    assert [] == left(tmp_path)


def test_a_signal_leaves_what_takes_too_long_to_remove_to_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as late, StagingDirectory(str(tmp_path / "a")) as work:
        for number in range(600):
            os.close(os.open(f"f{number}", os.O_CREAT | os.O_WRONLY, dir_fd=work.descriptor))
        seconds = iter([0.0, 0.0])
        late.setattr("ocitool.signals.seconds_since_first", lambda: next(seconds, 5.0))
        work._clean_up()
    (rest,) = tmp_path.iterdir()
    assert 0 < len(list(rest.iterdir())) < 600
    with StagingDirectory(str(tmp_path / "b")):
        assert not rest.exists()
    assert [] == list(tmp_path.iterdir())
