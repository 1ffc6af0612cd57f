"""Plans how files of the host are added to an existing layer such that nothing else about the image changes."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from ocitool.blob import unopened
from ocitool.disk import scan_directory
from ocitool.errors import FormatError, OcitoolError, UsageError
from ocitool.layers.entry import NUMBERS, WHITEOUT_PREFIX, Entry, Kind, escapes, normalise, shown_path
from ocitool.layers.index import LayerIndex
from ocitool.pipeline.source_date import clamped
from ocitool.task import Task
from ocitool.trees.changes import Change
from ocitool.trees.nodes import Directory, ref_of
from ocitool.trees.plan import Plan, rewrite
from ocitool.trees.plan.verify import wrong_paths
from ocitool.trees.tree import Tree, node_at

Opener = Callable[[Entry], tuple[Entry, Iterable[bytes]]]
"""Opens the content of a new file that an entry describes: see `layers.rewrite.Contents`."""


class FileAddition(NamedTuple):
    """A file or directory of the host (`source`), and its path in the image."""

    source: str
    path: bytes


def parse_addition(text: str) -> FileAddition:
    """Parses `SRC:PATH`, which is split at the last colon that a slash follows, else at the last colon. If PATH ends in a
    slash, SRC is put into that directory. Raises `UsageError`."""
    source, colon, path = text.rpartition(":/")
    if not colon:
        source, colon, path = text.rpartition(":")
    if not source or not colon:
        raise UsageError(f"--add {text}: the path in the image is missing", hint="--add SRC:/path/in/image")
    place = normalise(os.fsencode(path))
    if path.endswith("/") or not place:
        name = os.fsencode(os.path.basename(os.path.abspath(source)))
        place = place + b"/" + name if place else name
    if escapes(place) or any(part.startswith(WHITEOUT_PREFIX) for part in place.split(b"/")):
        raise UsageError(f"--add {text}: invalid path for a file in an image")
    return FileAddition(source, place)


def addition(
    indexes: Sequence[LayerIndex], position: int, additions: Sequence[FileAddition], task: Task, numbers: Sequence[int]
) -> tuple[Plan, dict[bytes, Opener]]:
    """Returns the plan that adds these files to the layer at `position`, and openers for the new contents by path.

    Files belong to root and have the mode and time of the host, at most `SOURCE_DATE_EPOCH`. Directories that exist keep
    their attributes. `numbers`: the numbers of the layers for messages. Raises `UsageError` if an upper layer hides a path
    or has another entry for it, or if a parent is not a directory.
    """
    tree, whole = Tree(indexes[: position + 1]), Tree(indexes)
    changes: dict[bytes, Change] = {}
    openers: dict[bytes, Opener] = {}
    for one in additions:
        for entry, opener in _entries(one, task):
            _parents(tree, whole, changes, entry)
            _add(tree, whole, changes, entry)
            if opener is not None:
                openers[entry.path] = opener
    for path, ref in (*tree.broken, *whole.broken):
        if whole.indexes[whole.layer(ref)].links[whole.row(ref)] in changes:
            raise FormatError("a hard link without a target, which would get one", shown_path(path))
    plan = rewrite(tree, list(changes.values()), keep_base=position)
    if plan.added is not None:
        raise UsageError(f"layer {numbers[position]} cannot take the files without a change to others", hint="--layer -1")
    wrong = wrong_paths(whole, changes, plan)
    if wrong:
        _refuse(wrong[0], plan, whole, numbers, position)
    return plan, openers


def _entries(one: FileAddition, task: Task) -> Iterator[tuple[Entry, Opener | None]]:
    """Yields the entries to add, parents first, each with the opener of its content if it is a file."""
    try:
        status = os.stat(one.source)
    except OSError as error:
        raise unopened(one.source, error) from None
    if stat.S_ISREG(status.st_mode):
        parent, name = os.path.split(os.path.realpath(one.source))
        found = _alone(parent, name)
        if not -NUMBERS <= status.st_mtime_ns < NUMBERS:
            scan_directory.notice_odd_time(os.fsencode(one.source), 0, task)
        yield _owned(found, one.path), _opener(parent, found.path)
        return
    if not stat.S_ISDIR(status.st_mode):
        raise UsageError("neither a file nor a directory", one.source)
    for path, entry, leader in _scanned(one.source, task):
        at = one.path + b"/" + path if path else one.path
        if leader is not None and leader != path:
            link = entry._replace(kind=Kind.HARDLINK, link=one.path + b"/" + leader, size=0, stored=0)
            yield _owned(link, at), None
        else:
            yield _owned(entry, at), _opener(one.source, path) if entry.kind == Kind.FILE else None


def _scanned(directory: str, task: Task) -> Iterator[scan_directory.ScannedPath]:
    try:
        yield from scan_directory.scan(directory, task)
    except OcitoolError as error:
        raise error.prefixed(directory) from None


def _alone(parent: str, name: str) -> Entry:
    with scan_directory.HeldDirectories(parent) as below:
        raw = os.fsencode(name)
        try:
            status = os.stat(raw, dir_fd=below.root, follow_symlinks=False)
        except OSError as error:
            raise unopened(os.path.join(parent, name), error) from None
        return scan_directory.entry_of(scan_directory.WalkedPath(raw, status, below.root, raw))


def _opener(root: str, path: bytes) -> Opener:
    def opened(entry: Entry) -> tuple[Entry, Iterable[bytes]]:
        entry = scan_directory.with_holes(root, path, entry)
        return entry, scan_directory.open_file(root, path, entry)

    return opened


def _owned(entry: Entry, path: bytes) -> Entry:
    return entry._replace(path=path, uid=0, gid=0, mtime=clamped(entry.mtime))


def _parents(tree: Tree, whole: Tree, changes: dict[bytes, Change], entry: Entry) -> None:
    """Adds the missing parents of a new entry to `changes`: with the attributes in upper layers if these have them, else
    new ones."""
    at = b""
    for name in entry.path.split(b"/")[:-1]:
        at = at + b"/" + name if at else name
        if at in changes:
            added = changes[at].entry
            if added is None or added.kind != Kind.DIRECTORY:
                raise UsageError("added as a file and as a directory", shown_path(at))
            continue
        node = node_at(tree, at)
        if isinstance(node, Directory):
            continue
        if node is not None:
            found = tree.entry(node)
            what = f"a link to {found.link.decode('utf-8', 'replace')}" if found.kind == Kind.SYMLINK else "a file"
            raise UsageError(f"{what}, where a directory is needed", shown_path(at), hint="name the directory itself")
        upper = node_at(whole, at)
        if isinstance(upper, Directory):
            made = whole.entry(upper.ref)._replace(path=at)
        else:
            made = Entry(at, Kind.DIRECTORY, 0o755, 0, 0, entry.mtime, 0, b"", 0, 0, None, None, None)
        changes[at] = Change(at, made)


def _add(tree: Tree, whole: Tree, changes: dict[bytes, Change], entry: Entry) -> None:
    """Adds a new entry to `changes`; a directory only if the image does not have it. Raises `UsageError`."""
    path = entry.path
    node = node_at(tree, path)
    if entry.kind == Kind.DIRECTORY:
        if path in changes:
            added = changes[path].entry
            if added is None or added.kind != Kind.DIRECTORY:
                raise UsageError("added as a file and as a directory", shown_path(path))
            return
        if isinstance(node, Directory):
            return
        upper = node_at(whole, path)
        if isinstance(upper, Directory):
            entry = whole.entry(upper.ref)._replace(path=path)
    elif path in changes:
        raise UsageError("added twice", shown_path(path))
    elif isinstance(node, Directory):
        hint = f"{shown_path(path, None)}/ adds into it"
        raise UsageError("a directory, where a file is to be added", shown_path(path), hint=hint)
    changes[path] = Change(path, entry)


def _refuse(path: bytes, plan: Plan, whole: Tree, numbers: Sequence[int], position: int) -> None:
    """Raises the error for a path that the image would not show as added, because an upper layer has an entry for it."""
    made = Tree(plan.applied(whole.indexes))
    node = made.find(path)
    upper = made.layer(ref_of(node)) if node is not None and ref_of(node) >= 0 else made.remover(path)
    if upper is None or upper <= position:
        raise FormatError("an upper layer depends on what this would change", shown_path(path))
    number = numbers[upper]
    raise UsageError(
        f"layer {number} hides it or has something else there, so layer {numbers[position]} cannot add it", shown_path(path),
        hint=f"--layer {number}",
    )  # fmt: skip
