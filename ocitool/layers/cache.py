"""Indexes of layers kept between runs, under digests that were computed, never under digests that were only stated.

Three tables of small files. `ids` maps the digest of stored bytes, or a file's identity, to the diff_id and stored digest
computed from those bytes, and their codec. `indexes` maps a computed diff_id to the index, `contents` to what
`kept_contents` kept of the layer's files. Every file ends in a checksum of its name and content: a file of another
version, damaged or renamed is ignored and made again. Files are written by rename, so processes may share the cache; if
it grows beyond `OCITOOL_CACHE_SIZE` (default 1 GiB), the least recently used files are removed.

The directory must belong to the user and be closed to others, since anyone who can write here can change what a report
says an image contains. The same holds for the directories in it; a file of another user, or with a second name, is not
read. All access goes through held descriptors.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import struct
import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ocitool import limits
from ocitool.digest import Digest
from ocitool.directories import OpenDirectory, is_private_file, private_below, private_directory
from ocitool.errors import FormatError
from ocitool.layers.entry import Xattrs
from ocitool.layers.index import LayerIndex
from ocitool.layers.paths import Paths
from ocitool.layers.tar_notes import TarNote

PARSER = 3
"""Version of reader and index. Increase it whenever they would give something else for the same bytes."""

_COLUMNS = ("modes", "uids", "gids", "mtimes", "sizes", "offsets")
_MAGIC = b"ocitool-index-%d-%s\n" % (PARSER, sys.byteorder.encode())


class IndexCache:
    """The cache in `directory`. If that is None, untrusted or not writable, nothing is found and nothing is stored;
    `refused` says why."""

    def __init__(self, directory: str | None) -> None:
        self.refused: str | None = None
        self._size: int | None = None
        """Bytes of all files when they were last counted, and of those written since; None before the first count."""
        self._tables: dict[str, OpenDirectory] = {}
        if directory:
            try:
                at = private_directory(directory)
                self._tables = {table: private_below(at, table) for table in ("ids", "indexes", "contents")}
            except ValueError as error:
                self.refused = str(error)

    def find(self, digest: Digest | None, identity: str | None, algorithm: str = "sha256") -> LayerIndex | None:
        """Returns the index of the layer with this stored digest, or of the bytes with this identity; None if it is not
        known.

        An index found by the digest alone was computed from bytes that had this digest. Whether the present bytes have
        it must be checked by hashing them.
        """
        if not self._tables:
            return None
        return self._find(_keys(digest, identity), digest, algorithm)

    def find_bytes(self, digest: Digest | None, identity: str | None, algorithm: str = "sha256") -> LayerIndex | None:
        """Returns the index of the bytes with this identity, if they are known to have this digest."""
        return self._find(_keys(None, identity), digest, algorithm) if self._tables else None

    def _find(self, keys: list[str], digest: Digest | None, algorithm: str) -> LayerIndex | None:
        for key in keys:
            found = self._read("ids", _name(f"{algorithm} {key}"))
            if found is not None:
                with contextlib.suppress(FormatError, ValueError):
                    diff_id, computed, codec = found.decode("ascii").split(" ")
                    if digest is not None and str(digest) != computed:
                        continue  # the stated digest is not the one computed from these bytes: they must be read again
                    index = self._index(Digest.parse(diff_id))
                    if index is not None:
                        index.digest = Digest.parse(computed)
                        index.codec = codec
                        return index
        return None

    @property
    def stores(self) -> bool:
        """Whether anything can be found and stored."""
        return bool(self._tables)

    def find_contents(self, diff_id: Digest) -> dict[int, bytes]:
        """Returns the kept contents of files of the layer with this computed diff_id, by row of its index; those that are
        not known are missing."""
        data = self._read("contents", _name(str(diff_id))) if self._tables else None
        if data is None:
            return {}
        try:
            return load_contents(data)
        except (ValueError, KeyError, TypeError, EOFError, OverflowError, StopIteration):
            return {}

    def store(
        self, index: LayerIndex, identity: str | None, contents: Mapping[int, bytes] | None = None,
        packed: tuple[bytes, bytes] | None = None,
    ) -> None:  # fmt: skip
        """Stores an index that has both computed digests and all contents; any other is ignored. `identity`: of the
        bytes it comes from. `contents`: kept contents of its files, by row. `packed`: both as `dump` and `dump_contents`
        give them, empty if there are no contents, for a caller that has that."""
        if not self._tables or index.diff_id is None or index.digest is None or index.hashed != "all":
            return
        self.record_bytes(index, identity)  # first, so that a killed process leaves no index that cannot be found
        name = _name(str(index.diff_id))
        self._write("indexes", name, dump(index) if packed is None else packed[:1])
        if contents or (packed is not None and packed[1]):
            self._write("contents", name, dump_contents(contents or {}) if packed is None else packed[1:])
        if self._size is None or self._size > limits.cache_size():  # counting all files takes time, so it is not done each time
            self._size = self._trim()

    def record_bytes(self, index: LayerIndex, identity: str | None) -> None:
        """Records that the bytes with this identity are those that a stored index was computed from."""
        if not self._tables or index.diff_id is None:
            return
        known = f"{index.diff_id} {index.digest} {index.codec}".encode()
        for key in _keys(index.digest, identity):
            self._write("ids", _name(f"{index.diff_id.algorithm} {key}"), [known])

    def has_bytes(self, digest: Digest | None, diff_id: Digest | None, identity: str | None, algorithm: str = "sha256") -> bool:
        """Returns whether the bytes with this identity are known to have this digest or, without one, to unpack to this
        diff_id."""
        if not self._tables or identity is None:
            return False
        found = self._read("ids", _name(f"{algorithm} file {identity}"))
        unpacked, _, stored = (found or b"").decode("ascii").rpartition(" ")[0].partition(" ")
        return stored == str(digest) if digest is not None else unpacked == str(diff_id)

    def record_digest(self, digest: Digest, identity: str, algorithm: str = "sha256") -> None:
        """Records that the bytes with this identity have this digest, if an index of such bytes is stored."""
        if self._tables and (found := self._read("ids", _name(f"{algorithm} digest {digest}"))) is not None:
            self._write("ids", _name(f"{algorithm} file {identity}"), [found])

    def _index(self, diff_id: Digest) -> LayerIndex | None:
        data = self._read("indexes", _name(str(diff_id)))
        if data is None:
            return None
        try:
            index = load(data)
        except (ValueError, KeyError, TypeError, IndexError, EOFError, OverflowError, StopIteration):
            return None
        return index if index.diff_id == diff_id else None

    def _read(self, table: str, name: str) -> bytes | None:
        try:
            with os.fdopen(self._tables[table].read(name), "rb") as file:
                data = file.read() if is_private_file(os.fstat(file.fileno())) else b""
                body, checksum = data[:-32], data[-32:]
                hasher = _hasher(table, name)
                hasher.update(body)
                if hasher.digest() != checksum:
                    return None
                with contextlib.suppress(OSError):
                    os.utime(file.fileno())
                return body
        except OSError:
            return None

    def _write(self, table: str, name: str, body: Iterable[bytes]) -> None:
        at = self._tables[table]
        temporary = f"{name}.{os.getpid()}.{os.urandom(4).hex()}"
        try:
            with os.fdopen(at.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                hasher = _hasher(table, name)
                for piece in body:
                    hasher.update(piece)
                    file.write(piece)
                file.write(hasher.digest())
                written = file.tell()
            os.replace(temporary, name, src_dir_fd=at.descriptor, dst_dir_fd=at.descriptor)
            if self._size is not None:
                self._size += written
        except OSError:  # a full or read-only disk costs the cache, not the command
            with contextlib.suppress(OSError):
                at.unlink(temporary)

    def _trim(self) -> int:
        """Removes the least recently used files if the bound is exceeded, an eighth more than needed; returns the bytes
        that are left. Abandoned temporary files age like all others."""
        bound = limits.cache_size()
        files = []
        for table, at in self._tables.items():
            with contextlib.suppress(OSError), os.scandir(at.descriptor) as found:
                for item in found:
                    with contextlib.suppress(OSError):
                        status = item.stat(follow_symlinks=False)
                        files.append((status.st_mtime_ns, status.st_size, item.name, table))
        total = sum(size for _, size, _, _ in files)
        if total <= bound:
            return total
        bound -= bound // 8
        for _, size, name, table in sorted(files):
            if total <= bound:
                break
            with contextlib.suppress(OSError):
                self._tables[table].unlink(name)
            total -= size
        return total


def _keys(digest: Digest | None, identity: str | None) -> list[str]:
    keys = [f"digest {digest}"] if digest is not None else []
    return keys + ([f"file {identity}"] if identity else [])


def _name(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _hasher(table: str, name: str) -> Any:
    """Returns the hash of a file before its content; it covers the name, so that a file moved to another key is ignored."""
    return hashlib.sha256(b"%d %s/%s\0" % (PARSER, table.encode(), name.encode()))


def within_limits(index: LayerIndex, stored: int) -> bool:
    """Returns whether reading a layer of this stored size is allowed by the limits of this run: an index stored under higher
    limits must not be used."""
    size = index.size or 0
    bomb = index.codec != "none" and size > limits.RATIO_FREE and size > limits.unpacked_ratio() * stored
    return len(index) <= limits.layer_entries(stored) and size <= limits.unpacked_size() and not bomb


def dump(index: LayerIndex) -> Iterator[bytes]:
    """Yields the index as bytes, column by column; for this machine only: columns keep its byte order."""
    paths = index.paths
    shared = {id(pairs): pairs for pairs in index.xattrs.values()}  # xattrs of a global header are one object for all entries
    at = {key: number for number, key in enumerate(shared)}
    head = {
        "diffId": str(index.diff_id) if index.diff_id is not None else None,
        "rows": len(index),
        "size": index.size,
        "types": {name: getattr(index, name).typecode for name in _COLUMNS},
        "devices": sorted(index.devices.items()),
        "xattrs": [[[_text(k), _text(v)] for k, v in pairs] for pairs in shared.values()],
        "xattrsOf": [[row, at[id(pairs)]] for row, pairs in sorted(index.xattrs.items())],
        "sparse": sorted(index.sparse.items()),
        "notes": [[note.rule, _text(note.path), note.text] for note in index.notes],
        "notesDropped": index.notes_dropped,
    }
    columns = (getattr(index, name).tobytes() for name in _COLUMNS)
    return _packed(
        itertools.chain(
            (json.dumps(head, separators=(",", ":")).encode(),),
            map(_joined, (paths.names, paths.prefixes, list(index.links.values()))),
            (array("I", index.links).tobytes(), paths.prefix_of.tobytes(), index.kinds, index.contents),
            columns,
        )
    )


def load(data: bytes) -> LayerIndex:
    """Returns the index of the bytes of `dump`. Raises `ValueError`, `KeyError`, `TypeError` and the like for anything else."""
    sections = _unpacked(data)
    head: dict[str, Any] = json.loads(next(sections))
    rows = head["rows"]
    names, prefixes, links = (bytes(next(sections)).split(b"\0") for _ in range(3))
    linked = array("I", bytes(next(sections)))
    index = LayerIndex()
    index.paths = Paths.of_columns(names if rows else [], array("I", bytes(next(sections))), prefixes)
    if linked:
        index.links.update(zip(linked, links, strict=True))
    index.kinds = next(sections)
    index.contents = next(sections)
    for name in _COLUMNS:
        column = array(head["types"][name])
        column.frombytes(next(sections))
        setattr(index, name, column)
        if len(column) != rows:
            raise ValueError("columns of unequal length")
    if next(sections, None) is not None or not len(index.paths) == len(index.kinds) == len(index.contents) // 32 == rows:
        raise ValueError("columns of unequal length")
    index.devices = {row: (major, minor) for row, (major, minor) in head["devices"]}
    shared = [_xattrs(pairs) for pairs in head["xattrs"]]
    index.xattrs = {row: shared[number] for row, number in head["xattrsOf"]}
    index.sparse = {row: (tuple((o, n) for o, n in segments), stored) for row, (segments, stored) in head["sparse"]}
    index.notes = tuple(TarNote(rule, _bytes(path), text) for rule, path, text in head["notes"])
    index.notes_dropped = head["notesDropped"]
    index.size = head["size"]
    index.hashed = "all"
    index.diff_id = Digest.parse(head["diffId"]) if head["diffId"] is not None else None
    return index


def dump_contents(contents: Mapping[int, bytes]) -> Iterator[bytes]:
    """Yields kept contents as bytes."""
    return _packed([json.dumps([*contents], separators=(",", ":")).encode(), *contents.values()])


def load_contents(data: bytes) -> dict[int, bytes]:
    """Returns the contents of the bytes of `dump_contents`. Raises `ValueError` and the like for anything else."""
    sections = _unpacked(data)
    rows = json.loads(next(sections))
    if not isinstance(rows, list):
        raise ValueError("not contents")
    return {row: bytes(content) for row, content in zip(rows, sections, strict=True)}


def _joined(strings: list[bytes]) -> bytearray:
    """Returns the strings with a NUL between them. `join` takes 80 bytes for each of its arguments, so it gets few at once."""
    found = bytearray()
    for at in range(0, len(strings), 4096):
        found += b"\0" if at else b""
        found += b"\0".join(strings[at : at + 4096])
    return found


_LENGTH = struct.Struct("<Q")


def _packed(sections: Iterable[bytes | bytearray]) -> Iterator[bytes]:
    """Yields a file with these sections, each behind its length. One section is held at a time."""
    import zstandard

    packer = zstandard.ZstdCompressor(level=1).compressobj()
    yield _MAGIC
    for section in sections:
        yield packer.compress(_LENGTH.pack(len(section)))
        yield packer.compress(section)
    yield packer.flush()


def _unpacked(data: bytes) -> Iterator[bytearray]:
    """Yields the sections of a file. Raises `ValueError`."""
    import zstandard

    if not data.startswith(_MAGIC):
        raise ValueError("another version")
    with zstandard.ZstdDecompressor().stream_reader(memoryview(data)[len(_MAGIC) :]) as reader:
        try:
            while length := reader.read(_LENGTH.size):
                section = bytearray(*_LENGTH.unpack(length))
                if section and reader.readinto(section) != len(section):
                    raise ValueError("truncated")
                yield section
        except (zstandard.ZstdError, struct.error) as error:
            raise ValueError(str(error)) from None


def _xattrs(pairs: list[list[str]]) -> Xattrs:
    return tuple((_bytes(name), _bytes(value)) for name, value in pairs)


def _text(data: bytes) -> str:
    return data.decode("latin-1")


def _bytes(text: str) -> bytes:
    return text.encode("latin-1")


def default_directory() -> str:
    """Returns `OCITOOL_CACHE_DIR`, else the user's cache directory for ocitool."""
    named = os.environ.get("OCITOOL_CACHE_DIR")
    if named:
        return named
    if sys.platform == "darwin":
        return os.path.expanduser("~/Library/Caches/ocitool")
    return os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "ocitool")
