"""The snapshot of an unpacked image: what was written, so that edits are found without reading every file again.

The file is one zstd frame (with its checksum) of JSON lines. The first is the header, `{"schema": "ocitool/snapshot",
"version": 1, "rootless": ..., "uidMap": [[inside, outside, size], ...], "gidMap": [...], "ownerXattr": ...}`; the last
is `{"entries": N}`. Each line between is one path, as an array:

    [path, kind, mode, uid, gid, mtime, size, [inode, size, mtime, ctime, mode, uid, gid], more]

The first seven are what the image states, the inner array is what lstat returned after unpacking. `more` is an object,
left out if empty: `link` (of a symbolic link), `device` ([major, minor]), `xattrs` ([[name, base64], ...]), `leader`
(the first name of a file with several names), `unset` (names of stated xattrs that the disk does not hold as stated).
Names are bytes: one that is UTF-8 is a string, any other an array with its base64 alone, so that each has one spelling.

Lines are in the order of `Tree.walk`, the root (path "") first. Reading and writing stream: memory is a block, a line
and the path's directories. A snapshot lies on the user's disk and may be damaged: anything else than described here is
a `FormatError`, a snapshot of another version an `UnsupportedError`.
"""

from __future__ import annotations

import base64
import json
import os
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from json.encoder import encode_basestring as quoted
from typing import Any, NamedTuple

from ocitool import limits
from ocitool.atomic import unwritable, write_all
from ocitool.blob import FileBlob
from ocitool.directories import located
from ocitool.disk.scan_directory import HeldDirectories, Root, is_file_xattr, xattrs_at
from ocitool.errors import FormatError, IntegrityError, LimitError, OcitoolError, UnsupportedError
from ocitool.layers import codecs
from ocitool.layers.entry import Entry, Kind
from ocitool.spec.document import parse_object
from ocitool.transports.layout import opened_file
from ocitool.trees.nodes import IMPLIED, REF_SHIFT, ROW_MASK, Node, ref_of
from ocitool.trees.tree import Tree

SCHEMA = "ocitool/snapshot"
VERSION = 1
MAX_LINE = 8 * limits.TAR_HEADER_DATA
"""Bytes of the longest line: all that a tar header can hold, with every byte escaped."""

_KINDS = {int(kind): kind for kind in (Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK, Kind.CHAR, Kind.BLOCK, Kind.FIFO)}
_STATED, _DISK, _DEVICE = struct.Struct("<BHqqqq"), struct.Struct("<QqqqIII"), struct.Struct("<QQ")
CAPABILITY = b"security.capability"
_REVISION, _CAPS_1, _CAPS_2, _CAPS_3 = 0xFF000000, 0x01000000, 0x02000000, 0x03000000
_PLAIN = frozenset({int(Kind.FILE), int(Kind.DIRECTORY)})
_MORE_KEYS = {"link", "device", "xattrs", "leader", "unset"}
_MAX_RANGES = 1_000
_TICK = 20_000_000
"""Nanoseconds: more than the resolution of the clock that file systems use for ctime (at most 10 ms on Linux)."""
ROOTLESS = b"user.rootlesscontainers"
_BLOCK = 1 << 18


class IdRange(NamedTuple):
    """`size` ids of the image, from `inside` on, are the ids of this machine from `outside` on."""

    inside: int
    outside: int
    size: int


class SnapshotHeader(NamedTuple):
    """How the image was unpacked. `owner_xattr`: owners are also recorded in `user.rootlesscontainers`."""

    rootless: bool = False
    uid_map: tuple[IdRange, ...] = ()
    gid_map: tuple[IdRange, ...] = ()
    owner_xattr: bool = False


class FileStatus(NamedTuple):
    """What lstat returned for a path. `mode` includes the type; times are in nanoseconds."""

    ino: int
    size: int
    mtime: int
    ctime: int
    mode: int
    uid: int
    gid: int


class SnapshotEntry(NamedTuple):
    """One path.

    `entry`: what the image states, as `Tree.entry` returns it (for a hard link the file's), with this path; offset,
    stored and segments are not kept (0, its size, None). `leader`: the first name of a file with several names, which
    is its own leader. `unset`: names of stated xattrs that the disk does not hold as stated.
    """

    path: bytes
    entry: Entry
    leader: bytes | None
    disk: FileStatus
    unset: tuple[bytes, ...] = ()


# Writing


def write(target: int | str | os.PathLike[str], header: SnapshotHeader, rows: Iterable[SnapshotEntry]) -> int:
    """Writes a snapshot to a path (which must not exist) or to a descriptor, and returns the number of rows. Rows must
    be in order.

    Returns no sooner than `_TICK` after the last recorded change, so that no later edit has a recorded time. Raises
    `DestinationError`.
    """
    return _write_to(target, header, ((row.disk.ctime, _line(row)) for row in rows))


def write_tree(target: int | str | os.PathLike[str], header: SnapshotHeader, tree: Tree, root: Root) -> int:
    """As `write` with `snapshot_rows`, in half the time: no objects are made for plain files and directories."""
    return _write_to(target, header, _tree_lines(tree, root, header))


_Line = tuple[int, str]
"""A line of a snapshot, and the ctime in it."""


def _write_to(target: int | str | os.PathLike[str], header: SnapshotHeader, lines: Iterable[_Line]) -> int:
    if isinstance(target, int):
        return _write(target, header, lines, "the snapshot")
    where = os.fspath(target)
    try:
        at, name = located(where)
        descriptor = at.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except OSError as error:
        raise unwritable(where, error) from None
    try:
        return _write(descriptor, header, lines, where)
    except OcitoolError as error:
        raise error.at(where) from None
    finally:
        os.close(descriptor)


def _write(descriptor: int, header: SnapshotHeader, rows: Iterable[_Line], where: str) -> int:
    import zstandard

    compressor = zstandard.ZstdCompressor(level=1, write_checksum=True).compressobj()
    fields = {
        "schema": SCHEMA, "version": VERSION, "rootless": header.rootless, "uidMap": header.uid_map,
        "gidMap": header.gid_map, "ownerXattr": header.owner_xattr,
    }  # fmt: skip
    lines = [json.dumps(fields) + "\n"]
    size = count = latest = 0
    for ctime, line in rows:
        count += 1
        if ctime > latest:
            latest = ctime
        lines.append(line)
        size += len(line)
        if size > _BLOCK:
            write_all(descriptor, compressor.compress("".join(lines).encode()), where)
            lines, size = [], 0
    lines.append(f'{{"entries": {count}}}\n')
    write_all(descriptor, compressor.compress("".join(lines).encode()), where)
    write_all(descriptor, compressor.flush(), where)
    time.sleep(min(max(latest + _TICK - time.time_ns(), 0), _TICK) / 1e9)
    return count


def _line(row: SnapshotEntry) -> str:
    path, entry, leader, disk, unset = row
    _, kind, mode, uid, gid, mtime, size, link, _, _, device, xattrs, _ = entry
    more = ""
    if kind == Kind.SYMLINK:
        more = f',"link":{_name(link)}'
    if device is not None:
        more += f',"device":[{device[0]},{device[1]}]'
    if xattrs:
        values = (f"[{_name(name)},{quoted(base64.b64encode(value).decode())}]" for name, value in xattrs)
        more += f',"xattrs":[{",".join(values)}]'
    if leader is not None:
        more += f',"leader":{_name(leader)}'
    if unset:
        more += f',"unset":[{",".join(map(_name, unset))}]'
    if more:
        more = ",{" + more[1:] + "}"
    return _LINE % (_name(path), kind, mode, uid, gid, mtime, size, *disk, more)


_LINE = "[%s,%d,%d,%d,%d,%d,%d,[%d,%d,%d,%d,%d,%d,%d]%s]\n"


def _name(name: bytes) -> str:
    try:
        return quoted(name.decode())
    except UnicodeDecodeError:
        return f'["{base64.b64encode(name).decode()}"]'


def snapshot_rows(tree: Tree, root: Root, header: SnapshotHeader) -> Iterator[SnapshotEntry]:
    """Yields the rows of a tree that was just unpacked into a directory. Each path is looked up by lstat; no link is
    followed.

    Raises `IntegrityError` if a path of the tree is not there.
    """
    row_of = _Rows(tree, header)
    for path, ref, status, at in _unpacked_paths(tree, root):
        yield row_of(path, ref, status, at)


def _tree_lines(tree: Tree, root: Root, header: SnapshotHeader) -> Iterator[_Line]:
    """Yields the lines of what `snapshot_rows` yields."""
    row_of = _Rows(tree, header)
    indexes, shared = tree.indexes, tree.shared
    for path, ref, status, at in _unpacked_paths(tree, root):
        index, row = indexes[ref >> REF_SHIFT] if ref != IMPLIED else None, ref & ROW_MASK
        if (
            index is None or ref in shared or index.kinds[row] not in _PLAIN or row in index.xattrs or not path.isascii()
        ):  # fmt: skip
            found = row_of(path, ref, status, at)
            yield found.disk.ctime, _line(found)
            continue
        ctime = status.st_ctime_ns
        yield ctime, _LINE % (
            quoted(path.decode()), index.kinds[row], index.modes[row], index.uids[row], index.gids[row], index.mtimes[row],
            index.sizes[row], status.st_ino, status.st_size, status.st_mtime_ns, ctime, status.st_mode, status.st_uid,
            status.st_gid, "",
        )  # fmt: skip


def _unpacked_paths(tree: Tree, root: Root) -> Iterator[tuple[bytes, int, os.stat_result, int]]:
    """Yields each path of a tree with the ref of its content, its status on disk, and the open directory that it is in."""
    inode_of = tree.inode
    with HeldDirectories(root) as below:
        parent, at = b"", below.root
        for path, node in _from_root(tree):
            slash = path.rfind(b"/")
            try:
                if path[: max(slash, 0)] != parent:
                    parent = path[: max(slash, 0)]
                    at = below.directory(parent)
                status = os.stat(path[slash + 1 :] or b".", dir_fd=at, follow_symlinks=False)
            except OSError as error:
                raise IntegrityError(f"was unpacked and cannot be found: {error.strerror}", repr(path)) from None
            yield path, inode_of(ref_of(node)), status, at


class _Rows:
    """Makes rows of a snapshot. Memory: the first names of files with several names, as many as the tree's own table has."""

    def __init__(self, tree: Tree, header: SnapshotHeader) -> None:
        self._tree, self._header = tree, header
        self._taken = ROOTLESS if header.owner_xattr else b""  # unpacking uses this name: the image's own is not on disk
        self._leaders: dict[int, bytes] = {}

    def __call__(self, path: bytes, ref: int, status: os.stat_result, at: int) -> SnapshotEntry:
        tree = self._tree
        entry = tree.entry(ref)
        entry = entry._replace(path=path, offset=0, stored=entry.size, segments=None)
        leader = None
        if tree.has_links and entry.kind != Kind.DIRECTORY and tree.links(ref):
            leader = self._leaders.setdefault(ref, path)
        unset: tuple[bytes, ...] = ()
        if entry.xattrs:
            found = xattrs_at(at, path.rpartition(b"/")[2] or b".", status.st_mode)
            held = {(key, value) for key, value in stated_xattrs(found, self._header) if is_file_xattr(key)}
            unset = tuple(item[0] for item in entry.xattrs if item not in held or item[0] == self._taken)
        return SnapshotEntry(path, entry, leader, file_status(status), unset)


def file_status(status: os.stat_result) -> FileStatus:
    return FileStatus(
        status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_mode, status.st_uid, status.st_gid
    )


def _from_root(tree: Tree) -> Iterator[tuple[bytes, Node]]:
    yield b"", tree.root
    yield from tree.walk()


def capability_for_namespace(value: bytes, root: Callable[[int], int]) -> bytes:
    """Returns the value of `security.capability` for a file of a user namespace, valid only if the id `root(number)` is
    root there.

    Without that, the file would give its capabilities on the machine itself, to users who may only use it in a
    container.
    """
    kind = struct.unpack_from("<I", value)[0] if len(value) >= 4 else 0
    revision = kind & _REVISION
    if (revision, len(value)) not in ((_CAPS_1, 12), (_CAPS_2, 20), (_CAPS_3, 24)):
        return value  # setting it fails, with the kernel's reason
    number = struct.unpack_from("<I", value, 20)[0] if revision == _CAPS_3 else 0
    return struct.pack("<I", kind & ~_REVISION | _CAPS_3) + value[4:20].ljust(16, b"\0") + struct.pack("<I", root(number))


def capability_of_image(value: bytes, ranges: Sequence[IdRange]) -> bytes:
    """Returns the value that an image states for one that `capability_for_namespace` made."""
    if len(value) != 24 or struct.unpack_from("<I", value)[0] & _REVISION != _CAPS_3:
        return value
    kind, number = struct.unpack_from("<I", value)[0], struct.unpack_from("<I", value, 20)[0]
    inside = next((start + number - outside for start, outside, size in ranges if outside <= number < outside + size), number)
    if inside:
        return value[:20] + struct.pack("<I", inside)
    return struct.pack("<I", kind & ~_REVISION | _CAPS_2) + value[4:20]


def stated_xattrs(xattrs: Iterable[tuple[bytes, bytes]], header: SnapshotHeader) -> Iterator[tuple[bytes, bytes]]:
    """Yields xattrs on disk as an image states them: capabilities with the image's ids."""
    for name, value in xattrs:
        shifted = name == CAPABILITY and header.uid_map and not header.rootless
        yield name, capability_of_image(value, header.uid_map) if shifted else value


def owner_xattr(uid: int, gid: int) -> bytes:
    """Returns the value of `user.rootlesscontainers` (rootlesscontaine.rs, a protobuf of two numbers); `owner_of` is
    its inverse."""
    return b"".join(tag + _varint(number) for tag, number in ((b"\x08", uid), (b"\x10", gid)) if number)


def owner_of(value: bytes) -> tuple[int, int] | None:
    """Returns the owner that `user.rootlesscontainers` states: two numbers below 2^32, 0 if absent; None if the value
    is damaged."""
    found = {1: 0, 2: 0}
    at = 0
    while at < len(value):
        field, kind = divmod(value[at], 8)
        number = shift = 0
        while True:
            at += 1
            if at >= len(value) or shift > 63:
                return None
            number |= (value[at] & 127) << shift
            shift += 7
            if value[at] < 128:
                break
        at += 1
        if kind or field not in found or number >= 1 << 32:
            return None
        found[field] = number
    return found[1], found[2]


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


# Reading


def read(path: str | os.PathLike[str]) -> tuple[SnapshotHeader, Iterator[SnapshotEntry]]:
    """Returns the header, and the rows as they are read. The file is closed when the rows end or are dropped."""
    where = os.fspath(path)
    file = opened_file(where)
    lines = _lines(FileBlob(file, 0, file.size), where)
    first = next(lines, None)
    if first is None:
        raise FormatError("the snapshot is empty", where)
    return _header(first, where), _rows(lines, where)


def _lines(blob: FileBlob, where: str) -> Iterator[bytes]:
    if codecs.detected(blob) != "zstd":
        raise FormatError("the snapshot is not compressed with zstd", where)
    rest = b""
    try:
        for chunk in codecs.decode(blob.chunks(), "zstd"):
            lines = (rest + chunk).split(b"\n")
            rest = lines.pop()
            if len(rest) > MAX_LINE:
                raise LimitError(f"a line of the snapshot is longer than {MAX_LINE} bytes")
            yield from lines
    except OcitoolError as error:
        raise error.at(where) from None
    if rest:
        raise FormatError("the snapshot's last line has no end", where)


def _header(line: bytes, where: str) -> SnapshotHeader:
    fields = parse_object(line, where)
    if fields.get("schema") != SCHEMA:
        raise FormatError("not a snapshot of an unpacked image", where)
    version = fields.get("version")
    if version != VERSION or isinstance(version, bool):
        raise UnsupportedError(f"a snapshot of a version other than {VERSION}", where, hint="unpack the image again")
    rootless, owner_xattr = fields.get("rootless"), fields.get("ownerXattr")
    if not isinstance(rootless, bool) or not isinstance(owner_xattr, bool):
        raise FormatError("the snapshot's header does not say how it was unpacked", where)
    return SnapshotHeader(rootless, id_ranges(fields.get("uidMap"), where), id_ranges(fields.get("gidMap"), where), owner_xattr)


def id_ranges(value: object, where: str) -> tuple[IdRange, ...]:
    """Returns the ranges of a document: `[[inside, outside, size], ...]`. Raises `FormatError`."""
    if not isinstance(value, list) or len(value) > _MAX_RANGES:
        raise FormatError("an id map is not a list of ranges", where)
    for item in value:
        if not isinstance(item, list) or len(item) != 3 or not all(type(n) is int and 0 <= n <= 1 << 32 for n in item):
            raise FormatError("a range of an id map is not three numbers", where)
    return tuple(IdRange(*item) for item in value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _rows(lines: Iterator[bytes], where: str) -> Iterator[SnapshotEntry]:
    scan = json.JSONDecoder(object_pairs_hook=_unique).raw_decode
    # The directories above the current line: path, and the last name seen in it.
    parents: list[list[bytes]] = []
    for count, line in enumerate(lines):
        try:
            text = line.decode()
            value, end = scan(text)
            if end != len(text):
                raise ValueError
            if type(value) is dict:
                if value != {"entries": count} or next(lines, None) is not None or not count:
                    raise ValueError
                return
            row = _parse_row(value)
            _check_order(parents, row)
        except LimitError as error:
            raise error.at(where) from None
        except FormatError:
            raise
        except (ValueError, TypeError, KeyError, IndexError, struct.error, RecursionError):
            raise FormatError(f"line {count + 2} of the snapshot is damaged", where, hint="unpack the image again") from None
        yield row
    raise FormatError("the snapshot is cut short", where, hint="unpack the image again")


def _check_order(parents: list[list[bytes]], row: SnapshotEntry) -> None:
    """Checks that a row comes where a walk would have it: its parent listed, its name greater than the last one in that
    parent."""
    path = row.path
    if not path:
        if parents or row.entry.kind != Kind.DIRECTORY:
            raise ValueError
        parents.append([b"", b""])
        return
    parent, _, name = path.rpartition(b"/")
    while parents[-1][0] != parent:
        parents.pop()
    if name <= parents[-1][1] or name in (b".", b"..") or b"\0" in name or path.startswith(b"/"):
        raise ValueError
    if len(path) > limits.PATH_LENGTH:
        raise LimitError(f"a path longer than {limits.PATH_LENGTH} bytes")
    parents[-1][1] = name
    if row.entry.kind == Kind.DIRECTORY:
        parents.append([path, b""])


def _parse_row(value: Any) -> SnapshotEntry:
    """Returns the row of a line. Raises any of several exceptions for an invalid one."""
    name, kind, mode, uid, gid, mtime, size, disk, *rest = value
    path = _bytes(name)
    kind, mode, uid, gid, mtime, size = _STATED.unpack(_STATED.pack(kind, mode, uid, gid, mtime, size))
    held = FileStatus._make(_DISK.unpack(_DISK.pack(*disk)))
    if size < 0:
        raise ValueError
    more: dict[str, Any] = {}
    if rest:
        (more,) = rest
        if not 0 < len(more.keys() & _MORE_KEYS) == len(more):
            raise ValueError
    if ("link" in more) != (kind == Kind.SYMLINK) or ("device" in more) != (kind in (Kind.CHAR, Kind.BLOCK)):
        raise ValueError
    link = _bytes(more["link"]) if "link" in more else b""
    device = xattrs = None
    if "device" in more:
        major, minor = more["device"]
        device = _DEVICE.unpack(_DEVICE.pack(major, minor))
    if "xattrs" in more:
        xattrs = tuple((_bytes(name), base64.b64decode(data, validate=True)) for name, data in more["xattrs"])
    leader = _bytes(more["leader"]) if "leader" in more else None
    unset = tuple(map(_bytes, more["unset"])) if "unset" in more else ()
    entry = Entry(path, _KINDS[kind], mode, uid, gid, mtime, size, link, 0, size, device, xattrs, None)
    return SnapshotEntry(path, entry, leader, held, unset)


def _bytes(name: Any) -> bytes:
    if type(name) is str:
        return name.encode()
    (text,) = name
    found = base64.b64decode(text, validate=True)
    try:
        found.decode()
    except UnicodeDecodeError:
        return found
    raise ValueError("it has a plainer spelling")
