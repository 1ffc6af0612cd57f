"""The headers of an SQLite database (`rpmdb.sqlite`), which rpm writes by default since version 4.16.

The file is opened in memory by the sqlite3 module, never under a name. What the database itself could make SQLite do is
refused by an authorizer: only the table of headers is read, no view, trigger, function or virtual table is run.

Source: SQLite's "Database File Format", sections 1.3 (header) and 4 (write-ahead log).
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import iter_unpack, unpack_from
from typing import TYPE_CHECKING

from ocitool.packages.package import DatabaseError

if TYPE_CHECKING:
    from sqlite3 import Connection

_MAGIC = b"SQLite format 3\0"
_HEADER = 100
_LOG_MAGIC = 0x377F0682
"""In its last bit: whether checksums are made of big-endian numbers."""
_LOG_HEADER, _FRAME_HEADER = 32, 24

_SCHEMA_SIZE = 1 << 20
"""Bytes of one statement of the schema; those of rpm have less than 200."""
_STEPS = 10_000
_MOST_CALLS = 1_000
"""SQLite asks after so many of its steps whether to go on, and may so often. A row takes three steps."""
_ROW = 8
"""What a row takes in the file at least, beside its value."""


def header_blobs(content: bytes, log: bytes = b"") -> Iterator[bytes]:
    """Yields the headers of all packages. `log`: the write-ahead log (`-wal`) beside the database. Raises
    `DatabaseError`."""
    import sqlite3

    if len(content) < _HEADER or not content.startswith(_MAGIC):
        raise DatabaseError("it is no SQLite database")
    if not hasattr(sqlite3.Connection, "deserialize"):
        raise DatabaseError("the sqlite3 module of this Python cannot open databases in memory")
    merged = _without_log(content, log)
    del content, log
    left = len(merged)
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    try:
        connection.deserialize(merged)
        del merged
        _confine(connection, left)
        table = connection.execute("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'Packages'").fetchone()
        if table is None or not str(table[0]).startswith("CREATE TABLE"):
            raise DatabaseError("it has no table of packages")
        for (blob,) in connection.execute("SELECT blob FROM Packages"):
            if not isinstance(blob, bytes):
                raise DatabaseError("a header is not binary")
            left -= _ROW + len(blob)
            if left < 0:
                raise DatabaseError("the headers of the SQLite database overlap")
            yield blob
    except (sqlite3.Error, sqlite3.Warning, OverflowError, MemoryError, UnicodeDecodeError) as error:
        raise DatabaseError(f"SQLite cannot read it: {error}") from error
    finally:
        connection.close()


def _confine(connection: Connection, size: int) -> None:
    """Keeps a connection from doing anything but reading tables, for a limited number of steps and with values of at most
    `size` bytes."""
    import sqlite3

    calls = iter(range(_MOST_CALLS))
    connection.set_progress_handler(lambda: next(calls, None) is None, _STEPS)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, size)
    connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, _SCHEMA_SIZE)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    allowed = {(sqlite3.SQLITE_SELECT, None), (sqlite3.SQLITE_READ, "sqlite_master"), (sqlite3.SQLITE_READ, "Packages")}

    def authorised(action: int, name: str | None, column: str | None, database: str | None, within: str | None) -> int:
        return sqlite3.SQLITE_OK if (action, name) in allowed and within is None else sqlite3.SQLITE_DENY

    connection.set_authorizer(authorised)


def _without_log(content: bytes, log: bytes) -> bytearray:
    """Returns the database with what is committed in its write-ahead log, in the format that needs no log: SQLite opens no
    other in memory. A log that is not valid is ignored, and so is all after its last valid commit, as SQLite does."""
    merged = bytearray(content)
    pages, count, size = _committed(log)
    if pages and size == _page_size(content):
        if count * size > len(content) + len(log):
            raise DatabaseError("its write-ahead log states more pages than there are")
        del merged[count * size :]
        merged.extend(bytes(count * size - len(merged)))
        for page, start in pages.items():
            if page <= count:
                merged[(page - 1) * size : page * size] = log[start : start + size]
    merged[18:20] = b"\1\1"
    changes, stated = unpack_from(">2I", merged, 24)
    # The number of pages is only valid if the two counters of changes agree.
    if unpack_from(">I", merged, 92) == (changes,) and stated * _page_size(merged) > len(merged):
        raise DatabaseError("the SQLite database is truncated")
    return merged


def _page_size(content: bytes | bytearray) -> int:
    (size,) = unpack_from(">H", content, 16)
    return 1 << 16 if size == 1 else size


def _committed(log: bytes) -> tuple[dict[int, int], int, int]:
    """Returns where in a log the last committed content of each page begins, by page from 1; how many pages the database
    then has; and their size."""
    none: tuple[dict[int, int], int, int] = ({}, 0, 0)
    if len(log) < _LOG_HEADER:
        return none
    magic, _, size, _, *salts = unpack_from(">6I", log)
    if magic & ~1 != _LOG_MAGIC or size & (size - 1) or not 512 <= size <= 1 << 16:
        return none
    order = ">" if magic & 1 else "<"
    sums = _checksum(log[:24], (0, 0), order)
    if sums != unpack_from(">2I", log, 24):
        return none
    committed: dict[int, int] = {}
    pending: dict[int, int] = {}
    count = 0
    for start in range(_LOG_HEADER, len(log) - _FRAME_HEADER - size + 1, _FRAME_HEADER + size):
        page, commit, *stated = unpack_from(">4I", log, start)
        data = start + _FRAME_HEADER
        sums = _checksum(log[data : data + size], _checksum(log[start : start + 8], sums, order), order)
        if not page or stated != salts or sums != unpack_from(">2I", log, start + 16):
            break
        pending[page] = data
        if commit:
            count = commit
            committed.update(pending)
            pending.clear()
    return committed, count, size


def _checksum(data: bytes, sums: tuple[int, int], order: str) -> tuple[int, int]:
    """Returns the checksum of a log, continued over a multiple of 8 bytes."""
    first, second = sums
    for one, two in iter_unpack(f"{order}2I", data):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + two + first) & 0xFFFFFFFF
    return first, second
