"""Snapshots give back what they were given; the scan of a directory is the directory; every edit is found, and nothing else."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from support.disk import Found, on_disk
from support.snapshots import content_in, found_by, snapshot_of

from ocitool.disk.scan_directory import ScannedPath, open_file, scan
from ocitool.disk.snapshot import FileStatus, IdRange, SnapshotEntry, SnapshotHeader, owner_of, owner_xattr, read, write
from ocitool.errors import FormatError, LimitError
from ocitool.layers.entry import Entry, Kind
from ocitool.task import Task
from ocitool.trees.changes import Change

# What is written is what is read

names = st.binary(min_size=1, max_size=12).map(lambda name: name.replace(b"/", b"-").replace(b"\0", b"0")).filter(
    lambda name: name not in (b".", b"..")
)  # fmt: skip
ids = st.integers(0, (1 << 32) - 1)
times = st.integers(-(1 << 62), 1 << 62)
kinds = st.sampled_from([Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK, Kind.CHAR, Kind.BLOCK, Kind.FIFO])


@st.composite
def rows(draw: Any) -> list[SnapshotEntry]:
    made: list[SnapshotEntry] = []

    def row(path: bytes, kind: Kind) -> None:
        size = draw(st.integers(0, 1 << 62)) if kind == Kind.FILE else 0
        device = draw(st.tuples(ids, ids)) if kind in (Kind.CHAR, Kind.BLOCK) else None
        xattrs = tuple(sorted(draw(st.dictionaries(st.binary(min_size=1), st.binary(), max_size=2)).items())) or None
        link = draw(st.binary()) if kind == Kind.SYMLINK else b""
        mode = draw(st.integers(0, 0o7777))
        owner = [draw(st.integers(-5, 1 << 40)) for _ in "ug"]
        entry = Entry(path, kind, mode, *owner, draw(times), size, link, 0, size, device, xattrs, None)
        disk = FileStatus(draw(st.integers(0, (1 << 64) - 1)), size, draw(times), draw(times), draw(ids), draw(ids), draw(ids))
        leader = draw(st.none() | st.binary()) if kind != Kind.DIRECTORY else None
        unset = tuple(name for name, _ in xattrs or () if draw(st.booleans()))
        made.append(SnapshotEntry(path, entry, leader, disk, unset))

    def fill(path: bytes, depth: int) -> None:
        for name in sorted(draw(st.sets(names, max_size=3))):
            kind = draw(kinds)
            row(path + name, kind)
            if kind == Kind.DIRECTORY and depth < 3:
                fill(path + name + b"/", depth + 1)

    row(b"", Kind.DIRECTORY)
    fill(b"", 0)
    return made


headers = st.builds(
    SnapshotHeader, st.booleans(), *[st.lists(st.builds(IdRange, ids, ids, ids), max_size=3).map(tuple)] * 2, st.booleans()
)


@settings(max_examples=100)
@given(headers, rows())
def test_a_snapshot_gives_back_what_it_was_given(header: SnapshotHeader, given_rows: list[SnapshotEntry]) -> None:
    with tempfile.TemporaryDirectory() as place:
        assert len(given_rows) == write(place + "/s", header, given_rows)
        found, back = read(place + "/s")
        assert (header, given_rows) == (found, list(back))


@settings(max_examples=100)
@given(rows(), st.data())
def test_a_truncated_or_changed_snapshot_is_refused(given_rows: list[SnapshotEntry], data: Any) -> None:
    with tempfile.TemporaryDirectory() as place:
        file = Path(place, "s")
        write(file, SnapshotHeader(), given_rows)
        whole = file.read_bytes()
        at = data.draw(st.integers(0, len(whole) - 1))
        if data.draw(st.booleans()):
            file.write_bytes(whole[:at])
        else:
            file.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << data.draw(st.integers(0, 7))]) + whole[at + 1 :])
        with contextlib.suppress(FormatError, LimitError):
            header, back = read(file)
            # One bit of a zstd frame header says nothing about its content.
            assert (SnapshotHeader(), given_rows) == (header, list(back))


@given(ids, ids)
def test_an_owner_reads_as_it_was_written(uid: int, gid: int) -> None:
    assert (uid, gid) == owner_of(owner_xattr(uid, gid))


@given(st.binary(max_size=20))
def test_a_damaged_owner_is_two_ids_or_nothing(value: bytes) -> None:
    found = owner_of(value)
    assert found is None or all(0 <= number < 1 << 32 for number in found)


# Directories

PATHS = ["a", "a.b", "d", "d/a", "d/e", "d/e/\udcff", "d.x", "l", "d/e/n\nl"]
paths = st.sampled_from(PATHS)
texts = st.sampled_from([b"", b"one", b"two", b"1" * 5000])
modes = st.sampled_from([0o755, 0o4755, 0o600, 0o1777])
Edit = tuple[Any, ...]
edits = st.one_of(
    st.tuples(st.sampled_from(["write", "rewrite", "replace", "xattr"]), paths, texts),
    st.tuples(st.sampled_from(["link", "symlink", "rename"]), paths, paths),
    st.tuples(st.sampled_from(["remove", "mkdir", "mkfifo", "mknod", "no xattr"]), paths),
    st.tuples(st.just("chmod"), paths, modes),
    st.tuples(st.just("chown"), paths, st.sampled_from([0, 7])),
    st.tuples(st.just("touch"), paths, st.sampled_from([0, 1, -5, 1_700_000_000_123_456_789])),
)


few = st.sampled_from(["a", "l", "d/a", "d/e/n"])
knots = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["link", "rename"]), few, few), st.tuples(st.just("remove"), few),
        st.tuples(st.just("replace"), few, st.just(b"one")), st.tuples(st.just("write"), few, texts),
    ),
    max_size=4,
)  # fmt: skip
"""Edits of files with many names."""


def _write(at: Path, content: bytes) -> None:
    descriptor = os.open(at, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK, 0o644)  # a FIFO without a reader: refused
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def edit(root: Path, change: Edit) -> None:
    """Does one thing to the directory, as a user would; nothing where it cannot be done."""
    what, name, *rest = change
    at = root / name
    with contextlib.suppress(OSError):
        match what:
            case "write":
                _write(at, *rest)
            case "rewrite":  # other bytes, the same size and mtime
                status = os.lstat(at)
                _write(at, (rest[0] * status.st_size)[: status.st_size].ljust(status.st_size))
                os.utime(at, ns=(status.st_mtime_ns, status.st_mtime_ns))
            case "replace":  # as an editor saves
                new = at.parent / "new"
                new.write_bytes(*rest)
                try:
                    os.rename(new, at)
                except OSError:
                    os.unlink(new)
            case "remove":
                if at.is_dir() and not at.is_symlink():
                    shutil.rmtree(at)
                else:
                    at.unlink()
            case "link":
                os.link(root / rest[0], at, follow_symlinks=False)
            case "symlink":
                os.symlink(rest[0], at)
            case "rename":
                os.rename(root / rest[0], at)
            case "mkdir":
                at.mkdir()
            case "mkfifo":
                os.mkfifo(at)
            case "mknod":
                os.mknod(at, 0o20644, os.makedev(1, 3))
            case "chmod":
                if not at.is_symlink():
                    at.chmod(*rest)
            case "chown":
                os.chown(at, rest[0], 0, follow_symlinks=False)
            case "touch":
                os.utime(at, ns=(rest[0], rest[0]), follow_symlinks=False)
            case "xattr":
                os.setxattr(at, "user.x", rest[0], follow_symlinks=False)
            case "no xattr":
                os.removexattr(at, "user.x", follow_symlinks=False)


def described(entries: Sequence[ScannedPath], root: Path) -> Found:
    """Entries with their contents in the words of the oracle."""
    found: Found = {}
    groups: dict[bytes, list[bytes]] = {}
    for path, entry, leader in entries:
        kind = entry.kind.name.lower()
        found[path] = {
            "kind": kind, "mode": None if kind == "symlink" else entry.mode, "uid": entry.uid, "gid": entry.gid,
            "mtime": entry.mtime, "content": b"".join(open_file(root, path, entry)) if kind == "file" else None,
            "target": entry.link if kind == "symlink" else None, "device": entry.device,
            "xattrs": dict(entry.xattrs or ()), "links": [],
        }  # fmt: skip
        if leader is not None:
            groups.setdefault(leader, []).append(path)
    for group in groups.values():
        for path in group if len(group) > 1 else []:
            found[path]["links"] = sorted(group)
    return found


def inodes(root: Path) -> dict[bytes, int]:
    return {path: os.lstat(os.path.join(os.fsencode(root), path)).st_ino for path in on_disk(root, contents=False)}


def applied(before: Found, found: dict[bytes, Change], root: Path) -> Found:
    """What the changes make of what was there."""
    after = {path: fields for path, fields in before.items() if path not in found or found[path].entry is not None}
    changed = [change.entry for change in found.values() if change.entry is not None]
    scanned = []
    for entry in changed:
        own = entry
        leader = entry.path
        if entry.kind == Kind.HARDLINK:
            first = found[entry.link].entry
            assert first is not None and first.kind != Kind.HARDLINK
            own, leader = first._replace(path=entry.path), entry.link
        scanned.append(ScannedPath(entry.path, own, leader))
    return after | described(scanned, root)


def only_touched(before: Found, after: Found, old: dict[bytes, int], new: dict[bytes, int]) -> set[bytes]:
    """Directories whose only difference is mtime, and that had a child added, removed or replaced."""
    found = set()
    for path in before.keys() & after.keys():
        fields, now = before[path], after[path]
        if not fields["kind"] == now["kind"] == "directory" or fields == now or fields | {"mtime": 0} != now | {"mtime": 0}:
            continue
        for child in before.keys() | after.keys():
            if child and child.rpartition(b"/")[0] == path:
                was, stands = before.get(child), after.get(child)
                another = old.get(child) != new.get(child)
                replaced = another and (was != stands or old[path] == new[path])  # in a copy, all inodes are others
                if was is None or stands is None or was["kind"] != stands["kind"] or replaced:
                    found.add(path)
    return found


@settings(max_examples=150)
@given(st.lists(edits, max_size=12))
def test_a_scan_is_the_directory(script: list[Edit]) -> None:
    with tempfile.TemporaryDirectory() as place, Task() as task:
        for one in script:
            edit(Path(place), one)
        scanned = list(scan(place, task))
        assert on_disk(place) == described(scanned, Path(place))
        assert sorted((one.path for one in scanned), key=lambda path: path.split(b"/") if path else []) == [
            one.path for one in scanned
        ]


@settings(max_examples=200)
@given(st.lists(edits, max_size=12), st.lists(edits, max_size=6), st.booleans(), st.booleans(), st.booleans())
def test_every_edit_is_found_and_nothing_else(
    made: list[Edit], script: list[Edit], copied: bool, checksum: bool, dir_times: bool
) -> None:
    check(made, script, copied, checksum, dir_times)


@settings(max_examples=150)
@given(knots, knots, st.booleans())
def test_every_edit_of_files_with_several_names_is_found(made: list[Edit], script: list[Edit], copied: bool) -> None:
    check([("link", "l", "a"), ("link", "d/a", "a"), *made], script, copied, False, False)


def check(made: Sequence[Edit], script: Sequence[Edit], copied: bool, checksum: bool, dir_times: bool) -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place, "root")
        root.mkdir()
        for one in [("mkdir", "d"), ("mkdir", "d/e"), ("write", "a", b"one"), *made]:
            edit(root, one)
        header, rows = read(snapshot_of(root, Path(place, "snapshot")))
        recorded = list(rows)
        contents, before, old = content_in(root), on_disk(root), inodes(root)
        if copied:
            subprocess.run(["cp", "-a", root, root.with_name("copy")], check=True)
            root = root.with_name("copy")
        for one in script:
            edit(root, one)
        after, new = on_disk(root), inodes(root)
        changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
        kept = set() if dir_times else only_touched(before, after, old, new)

        found = found_by(header, recorded, root, contents, checksum=checksum, dir_times=dir_times)

        assert changed - kept == found.keys()
        for path in kept:
            after[path]["mtime"] = before[path]["mtime"]
        assert after == applied(before, found, root)
        for path, change in found.items():
            same = path in before and path in after and before[path]["content"] == after[path]["content"]
            assert (path in after and after[path]["kind"] == "file" and not same) == change.content
