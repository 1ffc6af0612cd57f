"""The headers of a Berkeley DB hash (`Packages`), which rpm wrote until version 4.16.

Source: `dbinc/db_page.h` of Berkeley DB. The file is a row of pages of equal size, numbered from 0; numbers have the byte
order of the machine that wrote it. Page 0 describes the file. A page begins with 26 bytes: 8 of the log, its own number,
that of the page before and after it, the number of its items (2 bytes), an offset (2 bytes), a level and a type. A page of
the hash lists the offsets of its items in 2 bytes each; keys and values take turns, and each item ends at the start of the
one before it. Its first byte says whether it is the value (1), or refers to a chain of overflow pages (3): 3 unused bytes,
number of the first page, size.

rpm's keys are numbers of packages; key 0 holds the last number given. Values are headers.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct, unpack_from

from ocitool.packages.package import DatabaseError

_MAGIC = 0x061561
_HASH_META, _UNSORTED_HASH, _HASH, _OVERFLOW = 8, 2, 13, 7
_PAGE_HEADER = 26
_INLINE, _REFERENCE = 1, 3
_REFERENCE_SIZE = 12
_LAST_NUMBER = bytes(4)


def header_blobs(content: bytes) -> Iterator[bytes]:
    """Yields the headers of all packages. Raises `DatabaseError`."""
    return _HashFile(content).values()


class _HashFile:
    """A file with a hash. Its pages are read in the order of the file, each once, not by buckets: a page that was freed has
    another type."""

    def __init__(self, content: bytes) -> None:
        order = next((o for o in "<>" if len(content) >= 512 and unpack_from(f"{o}I", content, 12) == (_MAGIC,)), None)
        if order is None or content[25] != _HASH_META:
            raise DatabaseError("it is no Berkeley DB hash")
        self.content = content
        self.page_size, encryption, _, flags = unpack_from(f"{order}I3B", content, 20)
        if self.page_size & (self.page_size - 1) or not 512 <= self.page_size <= 1 << 16:
            raise DatabaseError(f"pages of {self.page_size} bytes are invalid in a Berkeley DB")
        if encryption or flags & 1:
            raise DatabaseError("an encrypted Berkeley DB, or one with checksums, cannot be read: rpm writes none")
        (last,) = unpack_from(f"{order}I", content, 32)
        if (last + 1) * self.page_size > len(content):
            raise DatabaseError("the Berkeley DB is truncated")
        self.pages = last + 1
        self.order = order
        self.header = Struct(f"{order}8x3I2HxB")
        self.reference = Struct(f"{order}4x2I")
        self.left = len(content)

    def values(self) -> Iterator[bytes]:
        for number in range(1, self.pages):
            start = number * self.page_size
            _, _, _, items, _, kind = self.header.unpack_from(self.content, start)
            if kind in (_HASH, _UNSORTED_HASH):
                yield from self._values_of(self.content[start : start + self.page_size], items)

    def _values_of(self, page: bytes, items: int) -> Iterator[bytes]:
        if _PAGE_HEADER + items * 2 > len(page):
            raise DatabaseError("a page of the Berkeley DB is damaged")
        starts = unpack_from(f"{self.order}{items}H", page, _PAGE_HEADER)
        ends = (len(page), *starts)
        for index in range(0, items - 1, 2):
            key = page[starts[index] : ends[index]]
            value = page[starts[index + 1] : ends[index + 1]]
            self._take(len(key) + len(value))
            if not key or not value:
                raise DatabaseError("a page of the Berkeley DB is damaged")
            if key[1:] != _LAST_NUMBER:
                yield self._value(value)

    def _value(self, item: bytes) -> bytes:
        if item[0] == _INLINE:
            return item[1:]
        if item[0] != _REFERENCE or len(item) != _REFERENCE_SIZE:
            raise DatabaseError("a value of the Berkeley DB is damaged")
        page, size = self.reference.unpack(item)
        pieces = []
        while size > 0:
            if not 0 < page < self.pages:
                raise DatabaseError("a value of the Berkeley DB is truncated")
            self._take(self.page_size)
            start = page * self.page_size
            _, _, page, _, length, kind = self.header.unpack_from(self.content, start)
            if kind != _OVERFLOW or not 0 < length <= min(size, self.page_size - _PAGE_HEADER):
                raise DatabaseError("a value of the Berkeley DB is damaged")
            pieces.append(self.content[start + _PAGE_HEADER : start + _PAGE_HEADER + length])
            size -= length
        return b"".join(pieces)

    def _take(self, size: int) -> None:
        """Counts bytes of the file as read: none is read twice, so all together are no more than the file."""
        self.left -= size
        if self.left < 0:
            raise DatabaseError("the values of the Berkeley DB overlap")
