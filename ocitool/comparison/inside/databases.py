"""What binary databases and caches say of themselves in their first bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ocitool.comparison.inside.content import InnerContent

_SQLITE = b"SQLite format 3\0"


class _Format(NamedTuple):
    """A format: where its magic number stands, and what its header says."""

    offset: int
    magic: bytes
    name: str
    facts: Callable[[bytes], dict[str, str]] | None = None


def content_of(data: bytes) -> InnerContent | None:
    """Returns the name of a binary database and what its header says; None for another format."""
    for one in _FORMATS:
        if data.startswith(one.magic, one.offset):
            return InnerContent(one.name, one.facts(data) if one.facts is not None else {}, {})
    return None


def _sqlite(data: bytes) -> dict[str, str]:
    """Returns the fields of the header (https://www.sqlite.org/fileformat2.html, 1.3)."""

    def number(offset: int, size: int = 4) -> int:
        return int.from_bytes(data[offset : offset + size], "big")

    page = number(16, 2)
    return {
        "page size": f"{65536 if page == 1 else page}",
        "pages": f"{number(28)}",
        "free pages": f"{number(36)}",
        "version of the schema": f"{number(40)}",
        "version set by the program": f"{number(60)}",
        "changes of the file": f"{number(24)}",
        "written by SQLite": f"{number(96) // 1_000_000}.{number(96) // 1000 % 1000}.{number(96) % 1000}",
    }


def _java_class(data: bytes) -> dict[str, str]:
    return {"version of the format": str(int.from_bytes(data[6:8], "big"))}


_FORMATS = (
    _Format(0, _SQLITE, "an SQLite database", _sqlite),
    _Format(0, b"RpmP", "an rpm database (ndb)"),
    _Format(12, b"\x62\x31\x05\0", "a Berkeley DB database (btree)"),
    _Format(12, b"\0\x05\x31\x62", "a Berkeley DB database (btree)"),
    _Format(12, b"\x61\x15\x06\0", "a Berkeley DB database (hash)"),
    _Format(12, b"\0\x06\x15\x61", "a Berkeley DB database (hash)"),
    _Format(0, b"\xce\x9a\x57\x13", "a GDBM database"),
    _Format(0, b"\xcd\x9a\x57\x13", "a GDBM database"),
    _Format(0, b"\xcf\x9a\x57\x13", "a GDBM database"),
    _Format(16, b"\xde\xc0\xef\xbe", "an LMDB database"),
    _Format(0, b"glibc-ld.so.cache", "a cache of shared libraries (ldconfig)"),
    _Format(0, b"ld.so-1.7.0\0", "a cache of shared libraries (ldconfig)"),
    _Format(0, b"\xde\x12\x04\x95", "a catalogue of translations (gettext)"),
    _Format(0, b"\x95\x04\x12\xde", "a catalogue of translations (gettext)"),
    _Format(0, b"TZif", "a time zone"),
    _Format(0, b"\xca\xfe\xba\xbe\0", "a class of Java", _java_class),
    _Format(0, b"\0asm", "a WebAssembly module"),
)  # fmt: skip
