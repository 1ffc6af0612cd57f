"""The headers of an ndb database (`Packages.db`), which SUSE uses.

Source: the comments of rpm's `lib/backend/ndb/rpmpkg.c`. All numbers are 4 bytes, little-endian. The file begins with a
header of 32 bytes: `RpmP`, version, generation, pages of slots (4 kB each, the file's header included), next number of a
package. A slot: `Slot`, number of the package (0: the slot is free), first block, number of blocks; a block is 16 bytes.
The blocks of a package: `BlbS`, number of the package, generation, size of the header; the header; zeros; and, as the last
12 bytes, the Adler-32 of all before it, the size again, `BlbE`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from struct import Struct, unpack_from

from ocitool.packages.package import DatabaseError

_FILE = Struct("<4s7I")
_SLOT = Struct("<4s3I")
_START = Struct("<4s3I")
_END = Struct("<2I4s")
_PAGE = 4096
_BLOCK = 16


def header_blobs(content: bytes) -> Iterator[bytes]:
    """Yields the headers of all packages. Raises `DatabaseError`."""
    if len(content) < _FILE.size or not content.startswith(b"RpmP"):
        raise DatabaseError("it is no ndb database of rpm")
    _, version, _, pages, *_ = unpack_from(_FILE.format, content)
    if version != 0:
        raise DatabaseError(f"version {version} of the ndb format is unknown")
    slots_end = pages * _PAGE
    if not 0 < slots_end <= len(content):
        raise DatabaseError("the ndb database is truncated")
    left = len(content)
    for mark, number, first, blocks in _SLOT.iter_unpack(content[_FILE.size : slots_end]):
        if mark != b"Slot":
            raise DatabaseError("a slot of the ndb database is damaged")
        if number:
            left -= blocks * _BLOCK
            if left < 0:
                raise DatabaseError("the headers of the ndb database overlap")
            yield _blob(content, number, first * _BLOCK, blocks * _BLOCK)


def _blob(content: bytes, number: int, start: int, size: int) -> bytes:
    """Returns the header in the blocks of a package."""
    end = start + size - _END.size
    if start + size > len(content) or size < _START.size + _END.size:
        raise DatabaseError("the ndb database is truncated")
    mark, stated, _, length = _START.unpack_from(content, start)
    checksum, length_again, end_mark = _END.unpack_from(content, end)
    if (
        (mark, stated, end_mark, length_again) != (b"BlbS", number, b"BlbE", length)
        or length > size - _START.size - _END.size
        or checksum != zlib.adler32(memoryview(content)[start:end])
    ):
        raise DatabaseError(f"package {number} of the ndb database is damaged")
    return content[start + _START.size : start + _START.size + length]
