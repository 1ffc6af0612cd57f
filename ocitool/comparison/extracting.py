"""`--extract`: writes both sides of what changed to a directory, for other tools (meld, diffoscope, diff -r).

    DIR/before/PATH    the file as it was
    DIR/after/PATH     the file as it is

There are regular files and directories only, all of them the user's own: a symbolic link is a file that holds its target, as
git writes it if a system has none, so that no tool follows or writes through a link of an image. Files that look secret are
written too, so DIR is closed to other users.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ocitool.comparison.result import ExtractedFiles, FileChange, Side
from ocitool.disk.attributes import Ownership
from ocitool.disk.rootfs import Rootfs
from ocitool.disk.staged_files import ReadContent
from ocitool.disk.staging_directory import DirectoryMode, StagingDirectory
from ocitool.images.image import Layer
from ocitool.layers.entry import Entry, Kind
from ocitool.layers.scan import each_content
from ocitool.masking.files import secret_path
from ocitool.task import Task

_SIDES = (b"before", b"after")
_DIRECTORY = Entry(b"", Kind.DIRECTORY, 0o755, 0, 0, 0, 0)


def check_destination(directory: str) -> None:
    """Raises `DestinationError` unless `directory` is absent or empty, and can be made."""
    with StagingDirectory(directory):
        pass


def extract_changes(files: Sequence[FileChange], directory: str, task: Task) -> ExtractedFiles:
    """Writes the files that were added, removed, or have another content, type or target, each side with its path below
    `directory/before` or `directory/after`. What changed in metadata alone is left out; so are devices, pipes, and directories
    without such files. `directory` must be absent or empty; it appears whole or not at all. Each layer is read once; memory
    grows with the number of files only. Raises `DestinationError`, and what reading a layer raises."""
    wanted = list(_wanted(files))
    with StagingDirectory(directory) as work, Rootfs(work.descriptor, Ownership(rootless=True), task) as rootfs:
        _stage(wanted, rootfs, task)
        counts = [_place(name, [one for one in wanted if one[0] & 1 == number], rootfs) for number, name in enumerate(_SIDES)]
        rootfs.clear()
        work.publish(access=DirectoryMode(0o700))
        written = rootfs.bytes_written
    sides = [side for change in files for side in (change.before, change.after) if side is not None]
    links = sum(side.entry.kind == Kind.SYMLINK for _, _, side in wanted)
    special = sum(side.entry.kind in (Kind.CHAR, Kind.BLOCK, Kind.FIFO) for side in sides)
    secret = sum(secret_path(path) for _, path, _ in wanted)
    return ExtractedFiles(directory, counts[0], counts[1], written, links, special, secret)


_Wanted = tuple[int, bytes, Side]
"""A file to be written: its number, of which the lowest bit says which side it is, its path and its side."""


def _wanted(files: Sequence[FileChange]) -> Iterator[_Wanted]:
    for number, change in enumerate(files):
        if change.kind == "metadata":
            continue
        for which, side in enumerate((change.before, change.after)):
            if side is not None and side.entry.kind in (Kind.FILE, Kind.SYMLINK):
                yield number << 1 | which, change.path, side


def _stage(wanted: Sequence[_Wanted], rootfs: Rootfs, task: Task) -> None:
    """Stages the contents, each layer read once. A file with several names is staged for each of them."""
    by_layer: dict[int, tuple[Layer, dict[int, tuple[Entry, list[int]]]]] = {}
    for ref, _, side in wanted:
        if side.entry.kind == Kind.SYMLINK:
            target = side.entry.link
            rootfs.stage(ref, _as_file(side.entry, len(target)), _giving((target,)))
        elif not side.entry.size or side.holder is None:
            rootfs.stage(ref, _as_file(side.entry, 0), _giving(()))
        else:
            _, rows = by_layer.setdefault(id(side.holder), (side.holder, {}))
            rows.setdefault(side.entry.offset, (side.entry, []))[1].append(ref)
    for layer, rows in by_layer.values():
        assert layer.blob is not None
        ordered = [rows[offset] for offset in sorted(rows)]
        contents = each_content(layer.blob, [entry for entry, _ in ordered], task)
        for (entry, refs), content in zip(ordered, contents, strict=True):
            task.check()
            made = _as_file(entry, entry.size)
            rootfs.stage(refs[0], made, _giving(content))
            for other in refs[1:]:
                rootfs.copy_staged(refs[0], other, made)


def _giving(pieces: Iterable[bytes]) -> ReadContent:
    """Returns what gives a whole content at once."""
    return lambda size: pieces


def _as_file(entry: Entry, size: int) -> Entry:
    """Returns an entry of a plain file for its user, without the setuid bits and attributes of the file in the image."""
    mode = entry.mode & 0o755 | 0o600 if entry.kind == Kind.FILE else 0o600
    return entry._replace(kind=Kind.FILE, mode=mode, size=size, stored=size, link=b"", xattrs=None, segments=None)


def _place(name: bytes, wanted: Sequence[_Wanted], rootfs: Rootfs) -> int:
    """Makes the directory of one side, and returns the number of its files."""
    rootfs.begin(name)
    here: list[bytes] = []
    for ref, path, side in sorted(wanted, key=lambda one: one[1].split(b"/")):
        *parents, last = path.split(b"/")
        same = 0
        while same < min(len(here), len(parents)) and here[same] == parents[same]:
            same += 1
        while len(here) > same:
            rootfs.leave(_DIRECTORY)
            here.pop()
        for parent in parents[same:]:
            rootfs.enter(parent)
            here.append(parent)
        rootfs.put(last, ref, _as_file(side.entry, 0))
    for _ in range(len(here) + 1):
        rootfs.leave(_DIRECTORY)
    return len(wanted)
