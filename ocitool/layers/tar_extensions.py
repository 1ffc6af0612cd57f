"""What stands before an entry of a tar: long names (GNU), and pax records, of the entry or of all that follow."""

from __future__ import annotations

from ocitool import limits
from ocitool.errors import FormatError, LimitError
from ocitool.layers.entry import Xattrs, normalise
from ocitool.layers.tar_fields import BLOCK, decimal
from ocitool.layers.tar_notes import TarNotes, cut
from ocitool.layers.tarinput import TarInput

GLOBAL_RECORDS = 128
"""Global pax records in force: they apply to every entry that follows, so each costs time an entry."""


Extended = tuple[bytes, bytes, int, int, int, int, Xattrs | None, dict[bytes, bytes] | None]
"""An entry's name, link, size, uid, gid, mtime and xattrs as its extension headers have them, and the records of the entry with
the global ones. Xattrs that global records give are one object for all entries."""


class Extensions:
    """The extension headers of an archive, as far as it was read. `pending`: whether any changes the next entry; `bytes`: of
    those that stand before it alone."""

    __slots__ = (
        "_cost", "_given", "_global", "_headers", "_link", "_name", "_notes", "_records", "_size", "_tar", "bytes", "pairs",
        "pending", "shared", "sparse",
    )  # fmt: skip

    def __init__(self, tar: TarInput, notes: TarNotes) -> None:
        self._tar, self._notes = tar, notes
        self._global: dict[bytes, bytes] = {}
        self._size = self._cost = self._given = 0
        self.shared: Xattrs = ()
        """The xattrs that global records give to each entry."""
        self.pending = False
        self.next_entry()

    def next_entry(self) -> None:
        """Forgets what is of one entry."""
        self._records: dict[bytes, bytes] | None = None
        self.pairs: list[int] | None = None
        """Numbers of GNU sparse 0.0."""
        self._name = self._link = b""
        self.bytes = self._headers = 0
        self.sparse = False
        """Whether records of the entry have something of a sparse map."""
        self.pending = bool(self._global)

    def read(self, flag: bytes, size: int, start: int) -> None:
        """Reads the data of an extension header. Raises `FormatError`, `LimitError`."""
        self.bytes += size
        self._headers += 1
        self.pending = True
        if self._headers > limits.TAR_HEADERS:
            raise LimitError(f"more than {limits.TAR_HEADERS} extension headers of one entry, at offset {start}")
        if self.bytes > limits.TAR_HEADER_DATA or size < 0:
            raise LimitError(f"extension headers of {max(size, self.bytes)} bytes at offset {start}")
        data = self._tar.read(size)
        self._tar.skip(-size % BLOCK)
        if len(data) < size:
            raise FormatError(f"tar ends inside an extension header, at offset {start}")
        if flag == b"L":
            self._name = data.split(b"\0", 1)[0]
        elif flag == b"K":
            self._link = data.split(b"\0", 1)[0]
        elif flag == b"g":
            self._add_global(data, start)
        else:
            found, pairs = _pax(data, start)
            if _SPARSE in data and any(key.startswith(_SPARSE) for key in found):
                self.sparse = True
            if self._records is None:
                self._records, self.pairs = found, pairs
            else:
                self._records.update(found)
                assert self.pairs is not None
                self.pairs += pairs

    def _add_global(self, data: bytes, start: int) -> None:
        found, _ = _pax(data, start)
        if found.keys() - {b"comment"}:
            self._notes.add("tar-global-pax", b"", "a global pax header changes entries; many readers ignore it")
        self._size += len(data)
        if len(self._global) + len(found) > GLOBAL_RECORDS or self._size > limits.TAR_HEADER_DATA:
            raise LimitError(f"too many global pax records at offset {start}")
        if any(key.startswith(_SPARSE) for key in found):
            raise FormatError(f"a global pax header with a sparse map, which is one file's, at offset {start}")
        self._global.update(found)
        if any(key in _GIVEN or key.startswith(_XATTR) for key in found):
            self.shared = _xattrs(self._global)
            self._cost = sum(_COPIES * len(value) for key, value in self._global.items() if key in _GIVEN)
            self._cost += sum(len(key) + len(value) for key, value in self.shared)

    def applied(self, name: bytes, link: bytes, size: int, uid: int, gid: int, mtime: int, start: int) -> Extended:
        """An entry's fields, as its header has them, with what stands before it. Raises `FormatError`, `LimitError`."""
        records = self._records
        xattrs = (_xattrs(records) or None) if records else None
        if self._global:
            records = {**self._global, **records} if records else self._global
            if self.shared:
                xattrs = _with_globals(self.shared, xattrs)
            self._given += self._cost
            if self._given > limits.GLOBAL_RECORDS:
                raise LimitError(f"global pax records give {self._given} bytes to the entries up to offset {start}")
        if records:
            get = records.get
            path, linkpath = get(b"path"), get(b"linkpath")
            if (path and b"\0" in path) or (linkpath and b"\0" in linkpath):
                raise FormatError(f"a name with a zero byte at offset {start}")
            name = path or name
            link = linkpath or link
            if value := get(b"size"):
                size = decimal(value, start)
            if value := get(b"uid"):
                uid = decimal(value, start)
            if value := get(b"gid"):
                gid = decimal(value, start)
            if value := get(b"mtime"):
                mtime = self._time(value, self._name or name, mtime)
        return self._name or name, self._link or link, size, uid, gid, mtime, xattrs, records

    def _time(self, stated: bytes, name: bytes, mtime: int) -> int:
        found = _pax_time(stated)
        if found is None:
            text = f"its modification time {cut(stated)} is not a number: the one of the tar header counts"
            self._notes.add("tar-time", normalise(name), text)
            return mtime
        return found


_SPARSE = b"GNU.sparse."
_GIVEN = (b"path", b"linkpath")
"""Global records that each entry may have a copy of."""
_COPIES = 16
"""How many bytes each of theirs counts for."""
_XATTR = b"SCHILY.xattr."


def _xattrs(records: dict[bytes, bytes]) -> Xattrs:
    return tuple(sorted((key[13:], value) for key, value in records.items() if key.startswith(_XATTR)))


def _with_globals(given: Xattrs, own: Xattrs | None) -> Xattrs:
    """Returns the xattrs of an entry together with those that global records give to all entries. These stay one object
    for all entries that have no others."""
    if not own:
        return given
    names = {name for name, _ in own}
    return tuple(sorted((*own, *(pair for pair in given if pair[0] not in names))))


def _pax_time(text: bytes) -> int | None:
    """Seconds with any number of decimals, as nanoseconds; digits beyond the ninth are dropped (POSIX pax, "mtime"). None for
    what is not a number."""
    sign, digits = (-1, text[1:]) if text[:1] == b"-" else (1, text)
    whole, _, fraction = digits.partition(b".")
    if not whole.isdigit() or (fraction and not fraction.isdigit()):
        return None
    return sign * (int(whole.lstrip(b"0")[:30] or b"0") * 1_000_000_000 + int(fraction[:9].ljust(9, b"0")))


def _pax(data: bytes, start: int) -> tuple[dict[bytes, bytes], list[int]]:
    """Returns the pax records, and the numbers of GNU sparse 0.0, whose keys repeat. Values may be any bytes."""
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
            pairs.append(decimal(value, start))
        records[key] = value
        position = stop
    return records, pairs
