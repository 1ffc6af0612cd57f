"""The content of a volume as a tar of our own: the same files always make the same bytes.

Entries are in the order of their paths, directory by directory, so that a directory comes before what is in it; of the names
of a file the first one has the content and the others are hard links to it. Engines and GNU tar give them in that order: then
they are passed on as they come. For another order the content waits in a temporary file without a name.

Memory: the paths of the volume, about 150 bytes each, and in another order than ours about 200 bytes more for each entry.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from ocitool.atomic import anonymous_temporary
from ocitool.blob import FileBlob, OpenFile
from ocitool.errors import FormatError, TransportError, UnsafeError
from ocitool.layers import tarwriter
from ocitool.layers.entry import Entry, Kind, escapes, shown_path
from ocitool.layers.tar import entries
from ocitool.layers.tar_notes import TarNotes
from ocitool.layers.tarinput import ChunkInput, TarInput
from ocitool.task import Task

CAPABILITY = b"security.capability"
_BLOCK = 512
_STEP = 1 << 18
_LARGE = 1 << 15

Content = Callable[[], AbstractContextManager[Iterator[bytes]]]
"""Gives the tar of a volume, each time anew."""


class OutOfOrderError(Exception):
    """Entries do not come in the order in which they are written."""


@dataclass(slots=True)
class Counts:
    """What was in a tar. `size`: bytes of the files, of sparse ones only their data. `fractions`: whether a time had a fraction
    of a second; `early`: whether one was before 1970; `xattrs`: whether there were extended attributes but
    `security.capability`."""

    entries: int = 0
    files: int = 0
    size: int = 0
    sparse: int = 0
    fractions: bool = False
    early: bool = False
    xattrs: bool = False

    def add(self, entry: Entry) -> None:
        self.entries += 1
        if entry.kind == Kind.FILE:
            self.files += 1
            self.size += entry.stored
            self.sparse += entry.segments is not None
        if entry.mtime % 1_000_000_000:
            self.fractions = True
        if entry.mtime < 0:
            self.early = True
        if entry.xattrs and any(name != CAPABILITY for name, _ in entry.xattrs):
            self.xattrs = True


def order(path: bytes) -> bytes:
    """Returns a key by which paths are in our order: no name has a zero byte in it."""
    return path.replace(b"/", b"\0")


class Checker:
    """The rules of a volume's tar: the root is a directory, each entry stands in a directory that came before, no path comes
    twice, no path or hard link leads out, and a hard link is another name of an entry that came before."""

    def __init__(self) -> None:
        self._directories: set[bytes] = set()
        self._others: dict[bytes, bytes | None] = {}
        """Paths of all else; of a hard link the path of the entry that it is another name of."""

    def checked(self, entry: Entry) -> Entry:
        """Returns the entry, a hard link with the path that has the content. Raises `UnsafeError`, `FormatError`."""
        path, kind = entry.path, entry.kind
        if escapes(path):
            raise UnsafeError("a path leads out of the volume", shown_path(path))
        if path in self._directories or path in self._others:
            raise FormatError("a path comes twice", shown_path(path))
        if path:
            parent = path.rpartition(b"/")[0]
            if parent in self._others:
                raise UnsafeError("an entry stands below a file or symbolic link", shown_path(path))
            if parent not in self._directories:
                raise FormatError("the directory of an entry does not come before it", shown_path(path))
        elif kind != Kind.DIRECTORY:
            raise UnsafeError("the root of the volume is no directory", "/")
        if kind == Kind.DIRECTORY:
            self._directories.add(path)
            return entry
        if kind != Kind.HARDLINK:
            self._others[path] = None
            return entry
        if entry.link not in self._others:
            raise UnsafeError("a hard link to what did not come before it", shown_path(path))
        first = self._others[entry.link] or entry.link
        self._others[path] = first
        return entry._replace(link=first)

    def end(self) -> None:
        """Raises `FormatError` if there was nothing."""
        if b"" not in self._directories:
            raise FormatError("the tar of the volume has no entry for its root")


def tar_of(content: Content, task: Task, counts: Counts, prefix: bytes) -> Generator[bytes | memoryview]:
    """Yields the tar of a volume's content. `prefix`: the directory in which an engine puts it, if it does.

    Raises `OutOfOrderError` if the entries come in another order: `sorted_tar_of` makes ours. Raises `UnsafeError`,
    `LimitError`, `TransportError` for a tar that cannot be read."""
    checker = Checker()
    last = None
    with _explained(), content() as pieces:
        for tar, entry in _read(pieces, prefix):
            task.check()
            key = order(entry.path)
            if last is not None and key <= last:
                raise OutOfOrderError
            last = key
            try:
                checked = checker.checked(entry)
            except (FormatError, UnsafeError):  # what it refers to may come later: the other way finds out
                raise OutOfOrderError from None
            counts.add(checked)
            yield from _member(checked, tar.pieces(entry.stored))
        checker.end()
    yield tarwriter.END


def sorted_tar_of(content: Content, task: Task, counts: Counts, prefix: bytes) -> Generator[bytes | memoryview]:
    """As `tar_of`, whatever the order is in which the entries come."""
    temporary = anonymous_temporary()
    try:
        found: dict[bytes, Entry] = {}
        offset = 0
        with _explained(), content() as pieces:
            for tar, entry in _read(pieces, prefix):
                task.check()
                if entry.path in found:
                    raise FormatError("a path comes twice", shown_path(entry.path))
                found[entry.path] = entry._replace(offset=offset)
                for piece in tar.pieces(entry.stored):
                    temporary.write(piece)
                offset += entry.stored
        spool = FileBlob(OpenFile(temporary.path, descriptor=os.dup(temporary.descriptor)), 0, offset)
        with _explained():
            yield from _sorted(found, spool, task, counts)
    finally:
        temporary.discard()


def _sorted(found: dict[bytes, Entry], spool: FileBlob, task: Task, counts: Counts) -> Iterator[bytes | memoryview]:
    checker = Checker()
    first: dict[bytes, bytes] = {}
    for path in sorted(found, key=order):
        task.check()
        entry = _original(found, path)
        name = first.setdefault(entry.path, path)
        if name != path:
            entry = entry._replace(kind=Kind.HARDLINK, link=name, size=0, stored=0, segments=None, device=None, xattrs=None)
        checked = checker.checked(entry._replace(path=path))
        counts.add(checked)
        yield from _member(checked, _stored(spool, entry))
    checker.end()
    yield tarwriter.END


def _member(entry: Entry, content: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """Yields an entry with its content, which is as long as the entry says: the reader has seen to that."""
    yield tarwriter.header(entry)
    if entry.stored:
        yield from content
        yield bytes(-entry.stored % _BLOCK)


def _original(found: dict[bytes, Entry], path: bytes) -> Entry:
    """Returns the entry that a path is a name of. Raises `UnsafeError` if links lead nowhere, or round in a circle."""
    entry = found[path]
    passed = {path}
    while entry.kind == Kind.HARDLINK:
        target = found.get(entry.link)
        if target is None or target.path in passed or target.kind == Kind.DIRECTORY:
            raise UnsafeError("a hard link leads to no file of the volume", shown_path(path))
        passed.add(target.path)
        entry = target
    return entry


def _stored(spool: FileBlob, entry: Entry) -> Iterator[bytes]:
    at, end = entry.offset, entry.offset + entry.stored
    while at < end:
        piece = spool.pread(min(1 << 19, end - at), at)
        if not piece:
            raise TransportError("the temporary file was cut off", spool.file.path)
        at += len(piece)
        yield piece


def _read(pieces: Iterator[bytes], prefix: bytes) -> Iterator[tuple[TarInput, Entry]]:
    """Yields the entries of an engine's tar without the prefix. Raises `FormatError` if it ends too soon: it may lack files."""
    notes = TarNotes()
    tar = ChunkInput(pieces)
    for entry in entries(tar, notes, whiteouts=False):
        xattrs = entry.xattrs if entry.kind != Kind.HARDLINK else None  # those of the entry that it is another name of
        yield tar, entry._replace(path=_without(entry.path, prefix), link=_link(entry, prefix), xattrs=xattrs)
    if any(note.rule == "tar-no-end" for note in notes.kept):
        raise FormatError("it ends too soon")


@contextmanager
def _explained() -> Iterator[None]:
    """Says of a tar that cannot be read that it is the engine's."""
    try:
        yield
    except FormatError as error:
        raise TransportError(
            f"the tar of the volume's content cannot be read: {error.what}", error.where,
            hint="a container that writes to the volume meanwhile can be the cause: pause it",
        ) from error  # fmt: skip


def _link(entry: Entry, prefix: bytes) -> bytes:
    return _without(entry.link, prefix) if entry.kind == Kind.HARDLINK else entry.link


def _without(path: bytes, prefix: bytes) -> bytes:
    if not prefix or path == prefix:
        return b"" if path == prefix else path
    if not path.startswith(prefix + b"/"):
        raise FormatError("an entry is not of the volume", shown_path(path))
    return path[len(prefix) + 1 :]


def members(tar: TarInput, *, source: int, prefix: bytes = b"") -> Generator[bytes | memoryview]:
    """Yields the tar of a saved volume again, checked, with `prefix` before each name. `source`: bytes that it is unpacked
    from. Raises what `Checker.checked` raises, and `FormatError`, `LimitError`."""
    checker = Checker()
    slash = prefix + b"/" if prefix else b""
    for entry in entries(tar, TarNotes(), source=source, whiteouts=False):
        checked = checker.checked(entry)
        path = slash + checked.path if checked.path else prefix
        link = slash + checked.link if checked.kind == Kind.HARDLINK else checked.link
        yield from _member(checked._replace(path=path, link=link), tar.pieces(entry.stored))
    checker.end()
    yield tarwriter.END


def checked_counts(tar: TarInput, source: int) -> Counts:
    """Reads the tar of a saved volume to its end, and returns what is in it. Raises what `members` raises."""
    counts, checker = Counts(), Checker()
    for entry in entries(tar, TarNotes(), source=source, whiteouts=False):
        counts.add(checker.checked(entry))
    checker.end()
    return counts


def joined(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """Yields the same bytes in larger chunks: most pieces are headers, and each chunk that is sent costs a system call."""
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        if len(piece) >= _LARGE:
            if held:
                yield b"".join(held)
                held, size = [], 0
            yield bytes(piece)
            continue
        held.append(bytes(piece))
        size += len(piece)
        if size >= _STEP:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)
