"""The tar reader: strict, streaming, and quick (about 5 microseconds an entry).

Reads v7, ustar, GNU (long names, base-256 numbers, old sparse) and pax (local and global records, xattrs, GNU sparse
0.0, 0.1 and 1.0). Strict: a header that does not check is an error wherever it stands, never the end of the archive;
what readers commonly disagree on is read as the Go library reads it, since that is what engines use, and is noted.

Memory: one header with its extension records (`limits.TAR_HEADER_DATA`) and one sparse map, whatever the archive. What an index
holds of all entries beside its columns (long names, xattrs, sparse maps) is bounded by `limits.LAYER_HEADERS`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple
from zlib import adler32

from ocitool import limits
from ocitool.errors import FormatError, LimitError, UnsafeError, UnsupportedError
from ocitool.layers.entry import NUMBERS, OPAQUE_NAME, WHITEOUT_PREFIX, Entry, Kind, Segments, Xattrs, normalise
from ocitool.layers.tarinput import TarInput

BLOCK = 512
_ZEROS = bytes(BLOCK)
_FIELDS = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12s")
_KINDS = {
    b"0": Kind.FILE, b"\0": Kind.FILE, b"7": Kind.FILE, b"S": Kind.FILE, b"1": Kind.HARDLINK, b"2": Kind.SYMLINK,
    b"3": Kind.CHAR, b"4": Kind.BLOCK, b"5": Kind.DIRECTORY, b"6": Kind.FIFO,
}  # fmt: skip
_POSIX_MAGIC = b"ustar\x0000"
_GLOBAL_RECORDS = 128
"""Global pax records in force: they apply to every entry that follows, so each costs time an entry."""
_HELD = 128
"""Bytes of memory that an xattr or a segment of a sparse file takes beside its own bytes."""


class TarNote(NamedTuple):
    """Something a reader accepts and a validator reports: a rule id, the path it is about, a sentence."""

    rule: str
    path: bytes
    text: str


class TarNotes:
    """Notes of one layer; the first `LIMIT` are kept, the rest counted."""

    LIMIT = 200

    def __init__(self) -> None:
        self.kept: list[TarNote] = []
        self.dropped = 0

    def add(self, rule: str, path: bytes, text: str) -> None:
        if len(self.kept) < self.LIMIT:
            self.kept.append(TarNote(rule, path, text))
        else:
            self.dropped += 1


def entries(tar: TarInput, notes: TarNotes, *, incremental: bool = False, source: int | None = None) -> Iterator[Entry]:
    """The entries of an archive, in order.

    Between two steps the caller may read the data of the entry just given with `tar.pieces(entry.stored)`; what it leaves
    is skipped. When the iterator ends, everything to the last byte has been read: bytes after the end-of-archive blocks
    count in a layer's digest. `incremental`: the directories of `tar -g`, which have their names as data, are read too;
    engines refuse layers of them. `source`: bytes that the archive is unpacked from, if it is.

    Raises `FormatError`, `LimitError`, and `UnsafeError` for a link that would be the root.
    """
    numbers: dict[bytes, int] = {}
    global_records: dict[bytes, bytes] = {}
    global_xattrs: Xattrs = ()
    global_size = global_cost = given = held = 0
    longest = limits.PATH_LENGTH
    unpack = _FIELDS.unpack
    most = remaining = limits.layer_entries(source)
    while True:
        start = tar.offset
        header = tar.read(BLOCK)
        if len(header) < BLOCK:
            if header:
                raise FormatError(f"tar ends inside a header, at offset {start}")
            notes.add("tar-no-end", b"", "the two end-of-archive blocks are missing")
            return
        if header == _ZEROS:
            _end(tar, start, notes)
            return
        records: dict[bytes, bytes] | None = None
        sparse_pairs: list[int] | None = None
        long_name = long_link = b""
        extended = headers = 0
        # An entry is a header, with any number of extension headers before it.
        while True:
            fields = unpack(header)
            (name, mode_b, uid_b, gid_b, size_b, mtime_b, sum_b, flag, link, magic, _, _, major_b, minor_b, prefix, _) = fields
            total = (adler32(header[:256]) & 0xFFFF) + (adler32(header[256:]) & 0xFFFF) - 2 - sum(sum_b) + 256
            stated = numbers.get(sum_b)
            if stated is None:
                stated = _remember(numbers, sum_b, "checksum", start)
            if stated != total and stated != _signed_sum(header):
                raise FormatError(f"not a tar header at offset {start}: its checksum is wrong")
            size = numbers.get(size_b)
            if size is None:
                size = _remember(numbers, size_b, "size", start)
            if flag in b"xgLKX":
                extended += size
                headers += 1
                if headers > limits.TAR_HEADERS:
                    raise LimitError(f"more than {limits.TAR_HEADERS} extension headers of one entry, at offset {start}")
                if extended > limits.TAR_HEADER_DATA or size < 0:
                    raise LimitError(f"extension headers of {max(size, extended)} bytes at offset {start}")
                data = tar.read(size)
                tar.skip(-size % BLOCK)
                if len(data) < size:
                    raise FormatError(f"tar ends inside an extension header, at offset {start}")
                if flag == b"L":
                    long_name = data.split(b"\0", 1)[0]
                elif flag == b"K":
                    long_link = data.split(b"\0", 1)[0]
                elif flag == b"g":
                    found, _ = _pax(data, start)
                    if found.keys() - {b"comment"}:
                        notes.add("tar-global-pax", b"", "a global pax header changes entries; many readers ignore it")
                    global_size += size
                    if len(global_records) + len(found) > _GLOBAL_RECORDS or global_size > limits.TAR_HEADER_DATA:
                        raise LimitError(f"too many global pax records at offset {start}")
                    if any(key.startswith(b"GNU.sparse.") for key in found):
                        raise FormatError(f"a global pax header with a sparse map, which is one file's, at offset {start}")
                    global_records.update(found)
                    if any(key in _GIVEN or key.startswith(_XATTR) for key in found):
                        global_xattrs = _xattrs(global_records)
                        global_cost = sum(_COPIES * len(value) for key, value in global_records.items() if key in _GIVEN)
                        global_cost += sum(len(key) + len(value) for key, value in global_xattrs)
                else:
                    found, pairs = _pax(data, start)
                    if records is None:
                        records, sparse_pairs = found, pairs
                    else:
                        records.update(found)
                        assert sparse_pairs is not None
                        sparse_pairs += pairs
                start = tar.offset
                header = tar.read(BLOCK)
                if len(header) < BLOCK or header == _ZEROS:
                    raise FormatError(f"extension header without an entry at offset {start}")
                continue
            break

        kind = _KINDS.get(flag)
        listing = 0
        if incremental and flag == b"D":
            kind, listing = Kind.DIRECTORY, max(size, 0)
        if kind is None:
            if flag == b"V":  # GNU volume label: a name for the archive, not an entry
                if size < 0:
                    raise FormatError(f"negative size at offset {start}")
                tar.skip(size + -size % BLOCK)
                continue
            raise UnsupportedError(f"tar entry of unknown type {flag!r} at offset {start}")
        name = name.split(b"\0", 1)[0]
        if magic == _POSIX_MAGIC and prefix[0]:
            name = prefix.split(b"\0", 1)[0] + b"/" + name
        mode = numbers.get(mode_b)
        if mode is None:
            mode = _remember(numbers, mode_b, "mode", start)
        uid = numbers.get(uid_b)
        if uid is None:
            uid = _remember(numbers, uid_b, "uid", start)
        gid = numbers.get(gid_b)
        if gid is None:
            gid = _remember(numbers, gid_b, "gid", start)
        seconds = numbers.get(mtime_b)
        if seconds is None:
            seconds = _remember(numbers, mtime_b, "mtime", start)
        mtime = seconds * 1_000_000_000
        link = link.split(b"\0", 1)[0] if link[0] else b""
        xattrs: Xattrs | None = None
        segments: Segments | None = None
        real_size: int | None = None
        if records:
            xattrs = _xattrs(records) or None
        if global_records:
            records = {**global_records, **records} if records else global_records
            if global_xattrs:
                xattrs = _with_globals(global_xattrs, xattrs)
            given += global_cost
            if given > limits.GLOBAL_RECORDS:
                raise LimitError(f"global pax records give {given} bytes to the entries up to offset {start}")
        if records:
            name = records.get(b"path") or name
            link = records.get(b"linkpath") or link
            for key in (b"path", b"linkpath"):
                if b"\0" in records.get(key, b""):
                    raise FormatError(f"a name with a zero byte at offset {start}")
            if value := records.get(b"size"):
                size = _decimal(value, start)
            if value := records.get(b"uid"):
                uid = _decimal(value, start)
            if value := records.get(b"gid"):
                gid = _decimal(value, start)
            if value := records.get(b"mtime"):
                stated_time = _pax_time(value)
                if stated_time is None:
                    text = f"its modification time {_cut(value)} is not a number: the one of the tar header counts"
                    notes.add("tar-time", normalise(long_name or name), text)
                else:
                    mtime = stated_time
        if long_name:
            name = long_name
        if long_link:
            link = long_link
        if size < 0:
            raise FormatError(f"negative size at offset {start}")
        if flag == b"\0" and name[-1:] == b"/":
            kind = Kind.DIRECTORY  # how v7 spelt a directory
        if kind == Kind.FILE:
            stored = size
            end = tar.offset + size + -size % BLOCK
            sparse: list[int] | None = None
            if flag == b"S":
                sparse, real_size, extensions = _old_sparse(tar, header, start)
                end += extensions
            elif records and any(key.startswith(b"GNU.sparse.") for key in records):
                name, sparse, real_size = _pax_sparse(tar, records, sparse_pairs, name, size, start)
                stored = size - (tar.offset - (end - size - -size % BLOCK))
            if sparse is not None:
                assert real_size is not None
                segments = _pairs(sparse, start)
                _check_segments(segments, real_size, stored, start)
                size = real_size
                held += _HELD * len(sparse) // 2  # empty ones too: they are not held, and cost their reading
        else:
            if size and kind != Kind.DIRECTORY:
                notes.add("tar-size-without-data", normalise(name), "an entry that has no data states a size")
            size = stored = 0
            end = tar.offset + listing + -listing % BLOCK
        if (
            uid >= NUMBERS or uid < -NUMBERS or gid >= NUMBERS or gid < -NUMBERS
            or mtime >= NUMBERS or mtime < -NUMBERS or size >= NUMBERS
        ):  # fmt: skip
            if -NUMBERS <= uid < NUMBERS and -NUMBERS <= gid < NUMBERS and size < NUMBERS:
                stated_text = (records or {}).get(b"mtime") or b"%d" % seconds
                notes.add("tar-time", normalise(name), _out_of_range(stated_text, mtime))
                mtime = max(-NUMBERS, min(NUMBERS - 1, mtime))
            else:
                raise FormatError(f"a number out of range at offset {start}")
        if len(name) > longest or len(link) > longest:
            raise LimitError(f"a path of {max(len(name), len(link))} bytes at offset {start}")

        if name[-1:] == b"/":
            path = name[:-1]
        else:
            path = name
        if path[:2] == b"./":
            path = path[2:]
        if path[:1] == b"/" or b"//" in path or b"/." in path or path[:1] == b"." or path[-1:] == b"/":
            if name.startswith(b"/"):
                notes.add("tar-absolute-name", normalise(path), "the name begins with a slash")
            path = normalise(path)
        if path.count(b"/") > limits.PATH_DEPTH:
            raise LimitError(f"a path {path.count(b'/')} levels deep at offset {start}")
        slash = path.rfind(b"/") + 1
        if path.startswith(WHITEOUT_PREFIX, slash):
            kind, path = _whiteout(path, slash)
        elif not path and kind != Kind.DIRECTORY:
            if kind in (Kind.SYMLINK, Kind.HARDLINK):
                raise UnsafeError(f"a link in the root's place, at offset {start}")
            raise FormatError(f"an entry without a name at offset {start}")
        device = None
        if kind == Kind.HARDLINK:
            link = normalise(link)
        elif kind == Kind.CHAR or kind == Kind.BLOCK:
            device = (_number(major_b, "device", start), _number(minor_b, "device", start))
            if not (0 <= device[0] < 1 << 32 and 0 <= device[1] < 1 << 32):
                raise FormatError(f"a device number out of range at offset {start}")
            link = b""
        elif kind != Kind.SYMLINK:
            link = b""
        remaining -= 1
        if remaining < 0:
            text = f"more than {most} entries in one layer"
            if source is not None and most < limits.layer_entries():
                text += f" of {source} bytes"
            raise LimitError(text, hint="raise OCITOOL_MAX_LAYER_ENTRIES")
        if extended or held:
            held += extended
            if xattrs is not None and xattrs is not global_xattrs:
                held += _HELD * len(xattrs)
            if held > limits.LAYER_HEADERS + limits.ENTRY_HEADERS * (most - remaining):
                raise LimitError(f"long names, attributes and sparse maps of {held} bytes in one layer, at offset {start}")
        yield Entry(
            path, kind, mode & 0o7777, uid, gid, mtime, size, link, tar.offset, stored, device, xattrs, segments
        )
        padding = -stored % BLOCK
        if end - padding != tar.offset:
            tar.skip(end - padding - tar.offset)
        if padding:
            tar.pad(padding)


def _end(tar: TarInput, start: int, notes: TarNotes) -> None:
    """Reads from the first end-of-archive block (already read, at `start`) to the last byte."""
    second = tar.read(BLOCK)
    if not second:
        notes.add("tar-no-end", b"", "only one of two end-of-archive blocks")
        return
    if second != _ZEROS[: len(second)]:
        raise FormatError(f"a lone zero block inside the tar, at offset {start}")
    trailing = False
    for piece in tar.rest():
        if not trailing and bytes(piece).strip(b"\0"):
            trailing = True
    if trailing:
        notes.add("tar-trailing-data", b"", "data stands after the end-of-archive blocks")


def _whiteout(path: bytes, slash: int) -> tuple[Kind, bytes]:
    base = path[slash:]
    if base == OPAQUE_NAME:
        return Kind.OPAQUE, path[: max(slash - 1, 0)]
    if base.startswith(b".wh..wh."):
        return Kind.METADATA, path
    target = base[len(WHITEOUT_PREFIX) :]
    if target in (b"", b".", b".."):
        return Kind.INVALID, path
    return Kind.WHITEOUT, path[:slash] + target


def _signed_sum(header: bytes) -> int:
    """The checksum as some old tars computed it, with signed bytes."""
    body = header[:148] + b" " * 8 + header[156:]
    return sum(body) - 256 * sum(byte > 127 for byte in body)


def _remember(numbers: dict[bytes, int], field: bytes, what: str, start: int) -> int:
    """`_number`, remembered: most entries of a layer repeat the same few modes, owners and times."""
    if len(numbers) > 8192:
        numbers.clear()
    value = numbers[field] = _number(field, what, start)
    return value


def _number(field: bytes, what: str, start: int) -> int:
    """A numeric header field: octal text, or base-256 when the top bit is set (GNU)."""
    text = field[:-1]
    if field[-1] or not text.isdigit():  # nearly all are digits and a zero byte
        lead = field[0]
        if lead & 0x80:
            bits = 8 * len(field) - 1  # the first bit only says base-256; the rest is a two's complement number
            value = int.from_bytes(field, "big") & ((1 << bits) - 1)
            return value - (1 << bits) if lead & 0x40 else value
        text = field.strip(b" \0")
        if not text:
            return 0
        text = text.split(b"\0", 1)[0].rstrip(b" ")
        if not text.isdigit():
            raise FormatError(f"the {what} of the tar header at offset {start} is not a number")
    try:
        return int(text, 8)
    except ValueError:
        raise FormatError(f"the {what} of the tar header at offset {start} is not octal") from None


def _decimal(text: bytes, start: int) -> int:
    digits = text[1:] if text[:1] == b"-" else text
    if not digits.isdigit() or len(digits) > 20:
        raise FormatError(f"a pax record at offset {start} is not a number")
    return int(text)


ODD_TIME = "tar-time"
"""The rule of times that an entry cannot have: nanoseconds in 64 bits are the years 1677 to 2262."""


def _out_of_range(stated: bytes, mtime: int) -> str:
    bound = "2262-04-11T23:47:16Z" if mtime > 0 else "1677-09-21T00:12:43Z"
    return f"its modification time of {_cut(stated)} seconds is not within the years 1677 to 2262: {bound} stands for it"


def _cut(text: bytes) -> str:
    return (text[:40] + (b"..." if len(text) > 40 else b"")).decode("ascii", "backslashreplace")


def _pax_time(text: bytes) -> int | None:
    """Seconds with any number of decimals, as nanoseconds; digits beyond the ninth are dropped (POSIX pax, "mtime"). None for
    what is not a number."""
    sign, digits = (-1, text[1:]) if text[:1] == b"-" else (1, text)
    whole, _, fraction = digits.partition(b".")
    if not whole.isdigit() or (fraction and not fraction.isdigit()):
        return None
    return sign * (int(whole.lstrip(b"0")[:30] or b"0") * 1_000_000_000 + int(fraction[:9].ljust(9, b"0")))


def _pax(data: bytes, start: int) -> tuple[dict[bytes, bytes], list[int]]:
    """pax records, and the numbers of GNU sparse 0.0, whose keys repeat. Values are bytes of any kind."""
    records: dict[bytes, bytes] = {}
    pairs: list[int] = []
    position, end = 0, len(data)
    while position < end:
        space = data.find(b" ", position, position + 20)
        digits = data[position:space] if space > 0 else b""
        if not digits.isdigit():
            if not data[position:].strip(b"\0"):
                break  # padding counted in the size, as some writers do
            raise FormatError(f"a pax record without a length at offset {start}")
        stop = position + int(digits)
        equals = data.find(b"=", space, stop)
        if stop > end or stop <= space or data[stop - 1 : stop] != b"\n" or equals < 0:
            raise FormatError(f"a broken pax record at offset {start}")
        key, value = data[space + 1 : equals], data[equals + 1 : stop - 1]
        if key == b"GNU.sparse.offset" or key == b"GNU.sparse.numbytes":
            if len(pairs) >= 2 * limits.SPARSE_SEGMENTS:
                raise LimitError(f"too many sparse segments at offset {start}")
            if (len(pairs) % 2 == 0) != (key == b"GNU.sparse.offset"):
                raise FormatError(f"a broken sparse map at offset {start}")
            pairs.append(_decimal(value, start))
        records[key] = value
        position = stop
    return records, pairs


_GIVEN = (b"path", b"linkpath")
"""Global records that each entry may have a copy of."""
_COPIES = 16
"""How many bytes each of theirs counts for."""
_XATTR = b"SCHILY.xattr."


def _xattrs(records: dict[bytes, bytes]) -> Xattrs:
    return tuple(sorted((key[13:], value) for key, value in records.items() if key.startswith(_XATTR)))


def _with_globals(given: Xattrs, own: Xattrs | None) -> Xattrs:
    """An entry's own xattrs, and those that global records give to all, which stay one object for all entries."""
    if not own:
        return given
    names = {name for name, _ in own}
    return tuple(sorted((*own, *(pair for pair in given if pair[0] not in names))))


def _pairs(numbers: list[int], start: int) -> Segments:
    if len(numbers) % 2:
        raise FormatError(f"a broken sparse map at offset {start}")
    return tuple((numbers[i], numbers[i + 1]) for i in range(0, len(numbers), 2) if numbers[i + 1])


def _old_sparse(tar: TarInput, header: bytes, start: int) -> tuple[list[int], int, int]:
    """GNU's old sparse format: the map in the header and extension blocks. Returns map, real size, bytes of extensions."""
    numbers: list[int] = []

    def take(block: bytes, at: int, count: int) -> None:
        for i in range(at, at + 24 * count, 24):
            if block[i] == 0 and block[i + 12] == 0:
                break
            numbers.append(_number(block[i : i + 12], "sparse map", start))
            numbers.append(_number(block[i + 12 : i + 24], "sparse map", start))

    take(header, 386, 4)
    more, extensions = header[482], 0
    while more:
        block = tar.read(BLOCK)
        if len(block) < BLOCK:
            raise FormatError(f"tar ends inside a sparse map, at offset {start}")
        extensions += BLOCK
        if len(numbers) > 2 * limits.SPARSE_SEGMENTS:
            raise LimitError(f"too many sparse segments at offset {start}")
        take(block, 0, 21)
        more = block[504]
    return numbers, _number(header[483:495], "real size", start), extensions


def _pax_sparse(
    tar: TarInput, records: dict[bytes, bytes], pairs: list[int] | None, name: bytes, size: int, start: int
) -> tuple[bytes, list[int] | None, int | None]:
    """GNU sparse 0.0, 0.1 and 1.0 (GNU tar manual, "Storing Sparse Files"). Reads the map of 1.0 from the data."""
    name = records.get(b"GNU.sparse.name") or name
    if b"\0" in name:
        raise FormatError(f"a name with a zero byte at offset {start}")
    if records.get(b"GNU.sparse.major") == b"1" and records.get(b"GNU.sparse.minor") == b"0":
        real = _decimal(records.get(b"GNU.sparse.realsize", b""), start)
        return name, _sparse_map(tar, size, start), real
    if b"GNU.sparse.map" in records:
        text = records[b"GNU.sparse.map"]
        if text.count(b",") >= 2 * limits.SPARSE_SEGMENTS:
            raise LimitError(f"too many sparse segments at offset {start}")
        pairs = [_decimal(number, start) for number in text.split(b",")] if text else []
    elif b"GNU.sparse.numblocks" not in records:
        return name, None, None
    real = _decimal(records.get(b"GNU.sparse.size", b""), start)
    return name, pairs or [], real


def _sparse_map(tar: TarInput, size: int, start: int) -> list[int]:
    """The map at the head of the data: a count and its pairs, one decimal number a line, filled up to a block."""
    numbers: list[int] = []
    pending = b""
    expected: int | None = None
    while expected is None or len(numbers) < expected:
        if size < BLOCK:
            raise FormatError(f"a broken sparse map at offset {start}")
        size -= BLOCK
        block = tar.read(BLOCK)
        if len(block) < BLOCK:
            raise FormatError(f"tar ends inside a sparse map, at offset {start}")
        *lines, pending = (pending + block).split(b"\n")
        for line in lines:
            if expected is None:
                expected = 2 * _decimal(line, start)
                if not 0 <= expected <= 2 * limits.SPARSE_SEGMENTS:
                    raise LimitError(f"too many sparse segments at offset {start}")
            elif len(numbers) < expected:
                numbers.append(_decimal(line, start))
        if len(pending) > 40 and (expected is None or len(numbers) < expected):
            raise FormatError(f"a broken sparse map at offset {start}")
    return numbers


def _check_segments(segments: Segments, real_size: int, stored: int, start: int) -> None:
    position = total = 0
    for offset, length in segments:
        if offset < position or length < 0:
            raise FormatError(f"a sparse map out of order at offset {start}")
        position = offset + length
        total += length
    if position > real_size or total != stored or real_size < 0:
        raise FormatError(f"a sparse map that does not fit its file at offset {start}")
