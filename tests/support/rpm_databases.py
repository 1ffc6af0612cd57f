"""Databases of rpm in all of its formats, written by code of the tests: headers with any values, well or badly laid out."""

from __future__ import annotations

import lzma
import sqlite3
import tempfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from struct import pack

ROOT = Path(__file__).resolve().parents[2]
FORMATS = ("rpmdb.sqlite", "Packages.db", "Packages")

Value = int | str | bytes | Sequence[int] | Sequence[bytes]


def real(state: str, name: str) -> bytes:
    """A database that rpm wrote: `before` or `after` of testdata/rpm, in one of the formats."""
    return lzma.decompress((ROOT / "testdata/rpm" / state / f"{name}.xz").read_bytes())


def stated(state: str) -> list[list[str]]:
    """What rpm said of these databases: name, version, architecture, source package, license, files (each ends with `|`)."""
    return [line.split("\t") for line in (ROOT / "testdata/rpm" / state / "rpm-qa.txt").read_text().splitlines()]


def header(**values: Value) -> bytes:
    """A header with these tags, by the names in `TAGS`: an int is an INT32, a text a STRING, lists are arrays of them."""
    entries, data = [], b""
    for name, value in values.items():
        tag = TAGS[name]
        if isinstance(value, int | str | bytes):
            value = [value] if isinstance(value, int) else (value.encode() if isinstance(value, str) else value)
        if isinstance(value, bytes):
            entries.append((tag, 6, len(data), 1))
            data += value + b"\0"
        elif value and isinstance(value[0], int):
            data += bytes(-len(data) % 4)
            entries.append((tag, 4, len(data), len(value)))
            data += pack(f">{len(value)}I", *value)
        else:
            entries.append((tag, 8, len(data), len(value)))
            data += b"".join(bytes(item) + b"\0" for item in value)
    return pack(">2I", len(entries), len(data)) + b"".join(pack(">4I", *entry) for entry in entries) + data


TAGS = {
    "name": 1000, "version": 1001, "release": 1002, "epoch": 1003, "license": 1014, "architecture": 1022,
    "old_file_names": 1027, "source_rpm": 1044, "directory_indexes": 1116, "base_names": 1117, "directory_names": 1118,
}  # fmt: skip


def package(name: str = "lamp", version: str = "1.0", release: str = "1", files: Sequence[bytes] = (), **more: Value) -> bytes:
    """The header of a package with files by their absolute paths."""
    directories = sorted({path.rpartition(b"/")[0] + b"/" for path in files})
    if files:
        more["directory_indexes"] = [directories.index(path.rpartition(b"/")[0] + b"/") for path in files]
        more["base_names"] = [path.rpartition(b"/")[2] for path in files]
        more["directory_names"] = directories
    return header(name=name, version=version, release=release, **more)


def database(name: str, headers: Iterable[bytes]) -> bytes:
    """A database in the format that this file name stands for."""
    return {"rpmdb.sqlite": in_sqlite, "Packages.db": in_ndb, "Packages": in_berkeley}[name](list(headers))


def in_sqlite(headers: Sequence[bytes], *statements: str) -> bytes:
    """`statements` are run after the packages were written."""
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT,blob BLOB NOT NULL)")
    connection.executemany("INSERT INTO Packages (blob) VALUES (?)", [(blob,) for blob in headers])
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    content = connection.serialize()
    connection.close()
    return content


def with_log(before: Sequence[bytes], after: Sequence[bytes]) -> tuple[bytes, bytes]:
    """A database, and its write-ahead log, which removes `before` from it and adds `after`."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "rpmdb.sqlite")
        file.write_bytes(in_sqlite(before))
        connection = sqlite3.connect(file, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executemany("INSERT INTO Packages (blob) VALUES (?)", [(blob,) for blob in after])
        connection.execute("DELETE FROM Packages WHERE hnum <= ?", [len(before)])
        connection.execute("VACUUM")
        found = file.read_bytes(), Path(f"{file}-wal").read_bytes()
        connection.close()
    return found


def in_ndb(headers: Sequence[bytes]) -> bytes:
    """At most 254 packages."""
    slots, blobs = b"", b""
    for number, blob in enumerate(headers, 1):
        start = (4096 + len(blobs)) // 16
        body = pack("<4s3I", b"BlbS", number, 1, len(blob)) + blob
        body += bytes((-len(body) - 12) % 16)
        blobs += body + pack("<2I4s", zlib.adler32(body), len(blob), b"BlbE")
        slots += pack("<4s3I", b"Slot", number, start, (4096 + len(blobs)) // 16 - start)
    slots += pack("<4s3I", b"Slot", 0, 0, 0) * (254 - len(headers))
    return pack("<4s7I", b"RpmP", 0, 1, 1, len(headers) + 1, 0, 0, 0) + slots + blobs


def in_berkeley(headers: Sequence[bytes], order: str = "<", page_size: int = 4096) -> bytes:
    """Each package has a hash page of its own, and its header overflow pages."""
    pages = [b""]
    items = [(0, pack(f"{order}BI", 1, len(headers) + 1))]
    for number, blob in enumerate(headers, 1):
        first = len(pages)
        pieces = [blob[at : at + page_size - 26] for at in range(0, len(blob), page_size - 26)]
        for index, piece in enumerate(pieces):
            following = first + index + 1 if index + 1 < len(pieces) else 0
            pages.append(pack(f"{order}8x3I2H2B", first + index, 0, following, 1, len(piece), 0, 7) + piece)
        items.append((number, pack(f"{order}B3x2I", 3, first, len(blob))))
    for number, value in items:
        key = pack(f"{order}BI", 1, number)
        starts = (page_size - len(key), page_size - len(key) - len(value))
        page = pack(f"{order}8x3I2H2B2H", len(pages), 0, 0, 2, starts[1], 0, 13, *starts)
        pages.append(page + bytes(starts[1] - len(page)) + value + key)
    pages[0] = pack(f"{order}8x4I4B2I", 0, 0x061561, 9, page_size, 0, 8, 0, 0, 0, len(pages) - 1)
    return b"".join(page.ljust(page_size, b"\0") for page in pages)
