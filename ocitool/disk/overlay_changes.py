"""An overlayfs upper directory as the members of a layer: what a container wrote, removed and replaced.

Sources: the kernel's Documentation/filesystems/overlayfs.rst ("whiteouts and opaque directories", "User xattr",
"redirect_dir", "Metadata only copy up", "Nesting overlayfs mounts") and the manual of fuse-overlayfs. A character
device 0/0 hides its name; so does an empty file with `overlay.whiteout` in a directory with `overlay.opaque` "x";
`overlay.opaque` "y" hides what lower layers have in a directory. fuse-overlayfs writes `.wh.` files, as a layer has
them, if it may not make devices.

The root's own attributes are not part of the layer: they are those of the directory's creator.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from ocitool.disk.scan_directory import (
    SELINUX,
    HeldDirectories,
    Root,
    WalkedPath,
    entry_of,
    is_file_xattr,
    open_file,
    walk,
    with_holes,
    xattrs_at,
)
from ocitool.errors import FormatError, UnsupportedError
from ocitool.layers.entry import OPAQUE_NAME, WHITEOUT_PREFIX, Entry, Kind, shown_path
from ocitool.task import Task

Member = tuple[Entry, Iterator[bytes]]
_PREFIXES = (b"trusted.overlay.", b"user.overlay.", b"user.fuseoverlayfs.", b"trusted.fuseoverlayfs.")
_ESCAPED = b"overlay."
_BOOKKEEPING = frozenset({b"origin", b"impure", b"nlink", b"uuid", b"protattr", b"upper"})
"""Attributes of overlayfs that do not affect what the directory shows."""

_REFUSED = {
    b"redirect": "a directory that was renamed (overlay redirect) has its content in a lower layer",
    b"metacopy": "only the attributes of a file were copied up (overlay metacopy), its content is in a lower layer",
}
_HINT = "mount with redirect_dir=off,metacopy=off, or append the merged directory instead"


def layer_members(root: Root, task: Task) -> Iterator[Member]:
    """Yields the layer's entries with their contents; each content must be read before the next entry is asked for.

    Every parent comes before its children, a file before the hard links to it, a directory before its opaque marker; no
    name occurs twice, nor beside its own whiteout. Attributes of other overlay file systems are left out; so are
    sockets, with a notice. Raises `UnsupportedError` if content is not in this directory alone (redirect, metacopy),
    `FormatError` for a name that no layer can hold.
    """
    leaders: dict[tuple[int, int], bytes] = {}
    opaque: set[bytes] = set()
    marked: set[bytes] = set()
    told = False
    with HeldDirectories(root) as below:
        for seen in walk(root, task):
            path, status, at, name = seen
            parent = path.rpartition(b"/")[0]
            if name.startswith(WHITEOUT_PREFIX):
                hidden = _fuse_whiteout(seen, parent)
                base = name[len(WHITEOUT_PREFIX) :]
                there = None if hidden.kind == Kind.OPAQUE else _stat_or_none(at, base)
                if hidden.kind == Kind.WHITEOUT and there is not None and _is_device(there):
                    continue  # a duplicate of the whiteout that is a device
                if hidden.kind == Kind.WHITEOUT and there is None:
                    yield hidden, iter(())
                elif there is None or stat.S_ISDIR(there.st_mode):
                    # A layer never has a whiteout and an entry of one name: the directory is made opaque instead.
                    if (base < name or there is None) and hidden.path not in opaque:
                        yield whiteout(hidden.path, Kind.OPAQUE), iter(())
                    opaque.add(hidden.path)
                continue
            if _is_device(status):
                yield whiteout(path), iter(())
                continue
            overlay, xattrs = _split_xattrs(seen)
            told |= overlay is not None
            marks = overlay or {}
            if b"whiteout" in marks and parent in marked and status.st_size == 0 and stat.S_ISREG(status.st_mode):
                yield whiteout(path), iter(())
                continue
            entry = entry_of(seen)._replace(xattrs=xattrs)
            if entry.kind == Kind.DIRECTORY:
                mark = marks.get(b"opaque")
                if mark == b"x":
                    marked.add(path)
                if path:
                    yield entry, iter(())
                if mark == b"y" or path in opaque:
                    opaque.add(path)
                    yield whiteout(path, Kind.OPAQUE), iter(())
                continue
            if status.st_nlink > 1:
                leader = leaders.setdefault((status.st_dev, status.st_ino), path)
                if leader != path:
                    yield entry._replace(kind=Kind.HARDLINK, link=leader, size=0, stored=0, device=None), iter(())
                    continue
            entry = with_holes(below, path, entry)
            yield entry, open_file(below, path, entry) if entry.kind == Kind.FILE else iter(())
    if not told and not _sees_trusted():
        task.notice("upper", "marks of the overlay that only root can see (trusted.overlay.*) could not be looked for")


def whiteout(path: bytes, kind: Kind = Kind.WHITEOUT) -> Entry:
    """Returns the entry that hides a path of lower layers, or (opaque) all that they have in a directory."""
    return Entry(path, kind, 0, 0, 0, 0, 0, b"", 0, 0, None, None, None)


def _is_device(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _fuse_whiteout(seen: WalkedPath, parent: bytes) -> Entry:
    """Returns the whiteout that a `.wh.` file stands for. Raises `FormatError` unless it is an empty regular file of a
    valid name."""
    if not stat.S_ISREG(seen.status.st_mode) or seen.status.st_size:
        raise FormatError(
            "a name that begins with .wh. means a deleted file in a layer", shown_path(seen.path), hint="rename or remove it"
        )
    if seen.name == OPAQUE_NAME:
        return whiteout(parent, Kind.OPAQUE)
    base = seen.name[len(WHITEOUT_PREFIX) :]
    if base in (b"", b".", b"..") or base.startswith(WHITEOUT_PREFIX):
        raise FormatError("a whiteout of nothing", shown_path(seen.path), hint="rename or remove it")
    return whiteout(parent + b"/" + base if parent else base)


def _stat_or_none(at: int, name: bytes) -> os.stat_result | None:
    """Returns the status of a name in a directory, not following a link; None if it does not exist."""
    try:
        return os.stat(name, dir_fd=at, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _split_xattrs(seen: WalkedPath) -> tuple[dict[bytes, bytes] | None, tuple[tuple[bytes, bytes], ...] | None]:
    """Returns the overlay's xattrs without their prefix (None if there are none), and the file's own."""
    overlay: dict[bytes, bytes] | None = None
    own = []
    for xattr, value in xattrs_at(seen.directory, seen.name, seen.status.st_mode):
        prefix = next((prefix for prefix in _PREFIXES if xattr.startswith(prefix)), None)
        if prefix is None:
            if xattr != SELINUX and is_file_xattr(xattr):
                own.append((xattr, value))
            continue
        name = xattr[len(prefix) :]
        if name.startswith(_ESCAPED):  # an overlay within the overlay wrote it: there it is plain
            own.append((prefix + name[len(_ESCAPED) :], value))
            continue
        overlay = {} if overlay is None else overlay
        if name in _REFUSED:
            raise UnsupportedError(_REFUSED[name], shown_path(seen.path), hint=_HINT)
        if name in (b"opaque", b"whiteout"):
            overlay[name] = value
        elif name not in _BOOKKEEPING:
            raise UnsupportedError(
                f"the overlay's attribute {xattr.decode('utf-8', 'replace')} has a meaning that is not known here",
                shown_path(seen.path), hint=_HINT,
            )  # fmt: skip
    return overlay, tuple(own) or None


def _sees_trusted() -> bool:
    """Returns whether `trusted.*` xattrs are listed for this process: it needs CAP_SYS_ADMIN in the first user namespace."""
    try:
        with open("/proc/self/status", "rb") as file:
            effective = next(int(line.split()[1], 16) for line in file if line.startswith(b"CapEff:"))
        with open("/proc/self/uid_map", "rb") as file:
            first = file.read().split() == [b"0", b"0", b"4294967295"]
    except (OSError, StopIteration, ValueError):
        return os.geteuid() == 0
    return first and bool(effective >> 21 & 1)
