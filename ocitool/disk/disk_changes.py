"""The edits of an unpacked image: its directory compared with its snapshot.

Two sorted streams are merged: the rows of the snapshot and a walk of the directory. A path is unchanged if lstat
returns what it returned at the end of unpacking: size, mtime, ctime, inode, mode and owner. Otherwise its attributes
are compared one by one, and a file of the recorded size by content (see `ContentOf`). So a copied directory has no
changes.

The image may state attributes that the disk cannot hold. An attribute that is on disk as unpacking left it keeps the
value that the image states, so that owners, modes and devices that an ordinary user cannot make survive. A changed mode
changes the same bits of the stated one. Owners are mapped back; files that an ordinary user added belong to root.

Memory: the directories of a path, and one item for each file with a link count above one (a directory copied with `cp
-al` has only such files).
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from ocitool.disk.holes import NoHoleError
from ocitool.disk.scan_directory import Root, WalkedPath, content_at, entry_of, refuse_whiteout, walk
from ocitool.disk.snapshot import ROOTLESS, IdRange, SnapshotEntry, SnapshotHeader, file_status, owner_of, stated_xattrs
from ocitool.errors import FormatError
from ocitool.layers.entry import Entry, Kind, shown_path
from ocitool.layers.scan import content_hash
from ocitool.layers.tarinput import ChunkInput
from ocitool.task import Task
from ocitool.trees.changes import Change

ContentOf = Callable[[bytes, Entry], bytes | None]
"""A function from path and recorded entry to the SHA-256 of the file's content, as `layers.scan.content_hash` computes it; None
if it is not known: the file then counts as changed."""
StoredEntryOf = Callable[[bytes], Entry | None]
"""A function from a path to the entry of the recorded file as its layer stores it, with its segments if it is sparse."""


def edited_paths(
    header: SnapshotHeader,
    rows: Iterable[SnapshotEntry],
    root: Root,
    task: Task,
    *,
    content_of: ContentOf,
    stored_entry_of: StoredEntryOf = lambda _: None,
    checksum: bool = False,
    dir_times: bool = False,
) -> Iterator[Change]:
    """Yields a change for each edited path once, in no promised order. `Change.content` is False for everything but
    files.

    `checksum`: files are compared by content even if their status is as recorded. `dir_times=False`: a directory that
    differs only in mtime, and that had a child added, removed or replaced, counts as unchanged. Raises `FormatError`
    for a name that no layer can hold.
    """
    found = _Edits(header, task, content_of, stored_entry_of, checksum, dir_times)
    recorded = iter(rows)
    row = next(recorded, None)
    for seen in walk(root, task):
        if row is not None and row.path != seen.path:
            key = _key(seen.path)
            while row is not None and _key(row.path) < key:
                yield from found.removed(row)
                row = next(recorded, None)
        if row is not None and row.path == seen.path:
            if checksum or not found.is_unchanged(seen.status, row):
                yield from found.compared(seen, row)
            row = next(recorded, None)
        else:
            yield from found.added(seen)
    while row is not None:
        yield from found.removed(row)
        row = next(recorded, None)
    yield from found.finish()


def _key(path: bytes) -> bytes:
    """Returns a sort key with the order of a walk: `/` sorts before every other byte, and no name has a zero byte."""
    return path.replace(b"/", b"\0")


class _Directory(NamedTuple):
    """A directory of the walk's current path. `touched`: its change, made unless a child was added, removed or
    replaced. `same_inode`: it is the directory that was unpacked, so a child with another inode was replaced."""

    path: bytes
    touched: Change | None
    same_inode: bool


class _Name(NamedTuple):
    """One name of a file that has, or had, several. `leader`: the first name as recorded; None if the file had one name
    or is new."""

    change: Change
    changed: bool
    leader: bytes | None


class _Edits:
    """The state of the comparison: each method takes the next path, from the snapshot, the disk or both, and yields
    changes."""

    def __init__(
        self, header: SnapshotHeader, task: Task, content_of: ContentOf, form_of: StoredEntryOf, checksum: bool, dir_times: bool
    ) -> None:
        self._attributes = _Attributes(header, task)
        self._task = task
        self._content_of = content_of
        self._form_of = form_of
        self._checksum = checksum
        self._dir_times = dir_times
        self._directories: list[_Directory] = []
        self._names: dict[tuple[int, int], list[_Name]] = {}
        self._recorded_names: Counter[bytes] = Counter()
        self._hashes: dict[tuple[int, int], bytes] = {}
        self._same = self._other = 0

    def removed(self, row: SnapshotEntry) -> Iterator[Change]:
        yield from self._enter(row.path)
        self._note_child_changed(row.path)
        if row.leader is not None:
            self._recorded_names[row.leader] += 1
        yield Change(row.path, None, False)

    def added(self, seen: WalkedPath) -> Iterator[Change]:
        refuse_whiteout(seen)
        yield from self._enter(seen.path)
        self._note_child_changed(seen.path)
        yield from self._emit(seen, self._new(seen), True, None)

    def is_unchanged(self, status: os.stat_result, row: SnapshotEntry) -> bool:
        """Returns whether this path is unchanged and does not affect any other path. True for most paths, so this test comes
        first."""
        if status.st_nlink > 1 or row.leader is not None or stat.S_ISDIR(status.st_mode) or file_status(status) != row.disk:
            return False
        self._same += 1
        return True

    def compared(self, seen: WalkedPath, row: SnapshotEntry) -> Iterator[Change]:
        yield from self._enter(seen.path)
        status, (path, stated, leader, disk, _) = seen.status, row
        if leader is not None:
            self._recorded_names[leader] += 1
        if file_status(status) == disk:
            self._same += 1
            if not self._checksum:
                yield from self._emit(seen, Change(path, stated, False), False, row)
                return
        else:
            self._other += 1
        if stat.S_IFMT(status.st_mode) != stat.S_IFMT(disk.mode):
            self._note_child_changed(path)
            yield from self._emit(seen, self._new(seen), True, row)
            return
        entry = self._attributes.of_unpacked(seen, row)
        content = entry.kind == Kind.FILE and self._has_other_content(seen, stated)
        changed = content or entry != stated
        if status.st_ino != disk.ino and (changed or not self._directories or self._directories[-1].same_inode):
            self._note_child_changed(path)
        yield from self._emit(seen, Change(path, entry, content), changed, row)

    def finish(self) -> Iterator[Change]:
        """Yields what is known only at the end: changes of the last directories, and of files with several names."""
        while self._directories:
            yield from self._leave()
        for names in self._names.values():
            yield from self._group(names)
        if self._other and not self._same:
            self._task.notice(
                "compared-by-content", "a copied directory: no inode or change time is as recorded, so contents were compared"
            )

    def _enter(self, path: bytes) -> Iterator[Change]:
        """Leaves the directories that the path is not in."""
        while self._directories and self._directories[-1].path and not path.startswith(self._directories[-1].path + b"/"):
            yield from self._leave()

    def _leave(self) -> Iterator[Change]:
        touched = self._directories.pop().touched
        if touched is not None:
            yield touched

    def _note_child_changed(self, path: bytes) -> None:
        """Notes that a child of the current directory was added, removed or replaced, which alone may have set the
        directory's mtime."""
        if path and self._directories and self._directories[-1].path == path.rpartition(b"/")[0]:
            self._directories[-1] = self._directories[-1]._replace(touched=None)

    def _emit(self, seen: WalkedPath, change: Change, changed: bool, row: SnapshotEntry | None) -> Iterator[Change]:
        status = seen.status
        if stat.S_ISDIR(status.st_mode):
            only_time = (
                changed and not self._dir_times and row is not None and change.entry is not None
                and change.entry._replace(mtime=row.entry.mtime) == row.entry
            )  # fmt: skip
            stays = row is not None and row.disk.ino == status.st_ino
            self._directories.append(_Directory(seen.path, change if only_time else None, stays))
            if changed and not only_time:
                yield change
        elif status.st_nlink > 1 or (row is not None and row.leader is not None):
            name = _Name(change, changed, row.leader if row is not None else None)
            self._names.setdefault((status.st_dev, status.st_ino), []).append(name)
        elif changed:
            yield change

    def _group(self, names: list[_Name]) -> Iterator[Change]:
        leader = names[0].leader
        recorded = 1 if leader is None else self._recorded_names[leader]
        if not any(name.changed or name.leader != leader for name in names) and recorded == len(names):
            return
        first = names[0].change
        yield first
        for change, _, _ in names[1:]:
            assert change.entry is not None
            link = change.entry._replace(kind=Kind.HARDLINK, link=first.path, size=0, stored=0, device=None)
            yield change._replace(entry=link)

    def _new(self, seen: WalkedPath) -> Change:
        entry = self._attributes.of_new(seen)
        return Change(seen.path, entry, entry.kind == Kind.FILE)

    def _has_other_content(self, seen: WalkedPath, stated: Entry) -> bool:
        """Returns whether a file's bytes differ from what was unpacked.

        Of a file that is sparse in the image only the data is read, as long as it has the same holes on disk: a
        terabyte of holes is compared at once.
        """
        if stated.kind != Kind.FILE or seen.status.st_size != stated.size:
            return True
        if not stated.size:
            return False
        wanted = self._content_of(seen.path, stated)
        if wanted is None:
            return True
        key = seen.status.st_dev, seen.status.st_ino
        found = self._hashes.get(key)
        if found is None:
            form = self._form_of(seen.path) or stated
            content = ChunkInput(self._content_with_progress(seen, form))
            try:
                found = content_hash(content, form)
                for _ in content.rest():  # data behind the last segment
                    pass
            except NoHoleError:
                return True
            if seen.status.st_nlink > 1:
                self._hashes[key] = found
        return found != wanted

    def _content_with_progress(self, seen: WalkedPath, form: Entry) -> Iterator[bytes]:
        for piece in content_at(seen, form.segments):
            self._task.check()
            self._task.advance("compare", len(piece))
            yield piece


class _Attributes:
    """Computes the entry that the image shall have for a path, from its status on disk and the recorded row."""

    def __init__(self, header: SnapshotHeader, task: Task) -> None:
        self._header = header
        self._rootless = header.rootless
        self._owner_xattr = header.owner_xattr
        self._uids, self._gids = header.uid_map, header.gid_map
        if header.rootless:
            self._uids = self._uids or (IdRange(0, os.geteuid(), 1),)
            self._gids = self._gids or (IdRange(0, os.getegid(), 1),)
        self._task = task

    def of_new(self, seen: WalkedPath) -> Entry:
        """Returns the entry of a path that was not unpacked."""
        entry, owner = self._on_disk(seen)
        if owner is None:
            uid, gid = self._image_id(self._uids, entry.uid), self._image_id(self._gids, entry.gid)
            if gid is None and uid is not None and self._rootless:
                gid = 0  # a supplementary group of the user that unpacked
            owner = self._mapped_or_own(seen, uid, entry.uid), self._mapped_or_own(seen, gid, entry.gid)
        return entry._replace(uid=owner[0], gid=owner[1])

    def of_unpacked(self, seen: WalkedPath, row: SnapshotEntry) -> Entry:
        """Returns the entry of a path that still has the type that was unpacked."""
        _, stated, _, disk, unset = row
        entry, owner = self._on_disk(seen)
        uid, gid = owner or (stated.uid, stated.gid)
        if entry.uid != disk.uid:
            uid = self._mapped_or_own(seen, self._image_id(self._uids, entry.uid), entry.uid)
        if entry.gid != disk.gid:
            gid = self._mapped_or_own(seen, self._image_id(self._gids, entry.gid), entry.gid)
        xattrs = dict(entry.xattrs or ())
        if unset:
            xattrs = {name: value for name, value in stated.xattrs or () if name in unset} | xattrs
        entry = entry._replace(
            mode=stated.mode ^ entry.mode ^ stat.S_IMODE(disk.mode), uid=uid, gid=gid,
            mtime=stated.mtime if entry.mtime == disk.mtime else entry.mtime, xattrs=tuple(sorted(xattrs.items())) or None,
        )  # fmt: skip
        if entry.kind != stated.kind and seen.status.st_size == disk.size:  # what stands for a device is as it was
            return entry._replace(
                kind=stated.kind, device=stated.device, link=stated.link, size=stated.size, stored=stated.stored
            )
        if entry.kind != Kind.FILE:
            return entry._replace(size=stated.size, stored=stated.stored)
        return entry

    def _on_disk(self, seen: WalkedPath) -> tuple[Entry, tuple[int, int] | None]:
        """Returns the entry of a path on disk, and the owner that its xattr states, which is not a part of the entry."""
        entry = entry_of(seen)
        if entry.xattrs is not None:
            entry = entry._replace(xattrs=tuple(stated_xattrs(entry.xattrs, self._header)))
        if not self._owner_xattr or entry.xattrs is None:
            return entry, None
        xattrs = dict(entry.xattrs)
        value = xattrs.pop(ROOTLESS, None)
        if value is None:
            return entry, None
        owner = owner_of(value)
        if owner is None:
            raise FormatError(f"the xattr {ROOTLESS.decode()} does not state an owner", shown_path(seen.path))
        return entry._replace(xattrs=tuple(xattrs.items()) or None), owner

    def _image_id(self, ranges: tuple[IdRange, ...], number: int) -> int | None:
        if not ranges:
            return number
        for inside, outside, size in ranges:
            if outside <= number < outside + size:
                return inside + number - outside
        return None

    def _mapped_or_own(self, seen: WalkedPath, mapped: int | None, number: int) -> int:
        if mapped is not None:
            return mapped
        if number:
            self._task.notice("owner", f"id {number} of {shown_path(seen.path)} is in no id map: taken as it is")
        return number
