"""What the archives of a container hold, in one temporary tar with the paths that the container has.

Each archive is read once, by the tar reader of layers with all its rules, and its content is written once. Memory: the index of
what was fetched, about 200 bytes an entry.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from ocitool.atomic import Temporary, anonymous_temporary
from ocitool.blob import FileBlob, OpenFile
from ocitool.containers.fetch_plan import ArchiveRequest, parent_of
from ocitool.errors import FormatError, NotFoundError, OcitoolError, UnsafeError
from ocitool.layers.entry import UNKNOWN, Entry, Kind, escapes, shown_path
from ocitool.layers.index import LayerIndex
from ocitool.layers.tar import entries
from ocitool.layers.tar_notes import TarNotes
from ocitool.layers.tarinput import ChunkInput
from ocitool.layers.tarwriter import END, header, member_name
from ocitool.task import Task
from ocitool.transports.engine.containers import InspectedContainer, path_archive, root_archive

if TYPE_CHECKING:
    from ocitool.transports.engine.client import Engine, Stream

_BLOCK = 512
_STEP = 1 << 18


class FetchedFiles:
    """Entries of a container's archives. `index`: by their paths in the container, in the order in which they came; offsets
    are those in the temporary tar. `inodes`: for each row the row with its content and attributes; `requests`: the number of
    the request that it came by. `unholdable`: paths whose names mean something else in a layer."""

    def __init__(self, engine: Engine, container: InspectedContainer, task: Task) -> None:
        self.index = LayerIndex()
        self.inodes: list[int] = []
        self.requests: list[int] = []
        self.rows: dict[bytes, int] = {}
        """The last row of each path."""
        self.unholdable: set[bytes] = set()
        self.links: dict[bytes, bytes] = {}
        """Further names of one file that `look_for_links` found: path and first name."""
        self.received = 0
        """Bytes of the archives that were read."""
        self._engine = engine
        self._container = container
        self._task = task
        self._count = 0
        self._temporary: Temporary = anonymous_temporary()
        self._held = bytearray()
        self._written = 0

    def fetch(self, request: ArchiveRequest) -> None:
        """Takes what a request gives; nothing if nothing is there any more. Raises what `Engine.stream` and the tar reader
        raise, `UnsafeError` for an entry that is not below the path asked for."""
        try:
            with self._archive(request) as answer:
                for entry in self._entries(request, answer):
                    if not request.whole and entry.kind == Kind.DIRECTORY:
                        break  # what is in it is asked for by itself: the rest of the answer is not read
        except NotFoundError:
            pass
        self._count += 1

    def look_for_links(self, directory: bytes, wanted: set[bytes]) -> None:
        """Looks which of the `wanted` paths below a directory are names of one file. Reads the archive of all of it."""
        tops: dict[bytes, bytes] = {}
        request = ArchiveRequest(directory, True)
        with self._archive(request) as answer:
            for entry in entries(ChunkInput(self._counted(answer)), TarNotes()):
                self._task.check()
                if entry.kind == Kind.HARDLINK:
                    path, link = self._placed(request, entry.path), self._placed(request, entry.link)
                    tops[path] = tops.get(link, link)
        found: dict[bytes, list[bytes]] = {}
        for path in wanted:
            found.setdefault(tops.get(path, path), []).append(path)
        for names in found.values():
            first = min(names)
            self.links |= {name: first for name in names if name != first}

    def blob(self) -> FileBlob:
        """Returns the temporary tar. Nothing can be fetched afterwards."""
        self._write(END)
        self._flush()
        self.index.size = self._written
        self.index.hashed = "some"
        file = OpenFile(self._temporary.path, descriptor=os.dup(self._temporary.descriptor))
        self._temporary.close()
        return FileBlob(file, 0, file.size)

    def close(self) -> None:
        self._temporary.discard()

    def _archive(self, request: ArchiveRequest) -> AbstractContextManager[Stream]:
        if not request.path:
            return root_archive(self._engine, self._container)
        return path_archive(self._engine, self._container, request.path)

    def _counted(self, answer: Stream) -> Iterator[bytes]:
        for piece in answer.pieces:
            self.received += len(piece)
            yield piece

    def _entries(self, request: ArchiveRequest, answer: Stream) -> Iterator[Entry]:
        tar = ChunkInput(self._counted(answer))
        where = f"{self._engine.where}: /{request.path.decode('utf-8', 'replace')} in container {self._container.name}"
        own: dict[bytes, int] = {}
        try:
            for entry in entries(tar, TarNotes()):
                self._task.check()
                if entry.kind >= Kind.WHITEOUT:
                    self.unholdable.add(self._placed(request, member_name(entry).rstrip(b"/")))
                    continue
                placed = entry._replace(path=self._placed(request, entry.path))
                if not placed.path:
                    continue  # the root, which no container changes
                if entry.kind == Kind.HARDLINK:
                    placed = placed._replace(link=self._placed(request, entry.link))
                self._add(placed, tar, own)
                yield placed
        except FormatError as error:
            raise FormatError(error.what, where, hint="the container may be changing: --pause holds it still") from None
        except OcitoolError as error:
            raise error.at(where) from None

    def _placed(self, request: ArchiveRequest, name: bytes) -> bytes:
        """Returns the path in the container of a name in an archive. Raises `UnsafeError` if it is not below the request's."""
        if not request.path:
            if escapes(name):
                raise UnsafeError("an entry leaves the root", shown_path(name))
            return name
        base = request.path.rpartition(b"/")[2]
        if name != base and not name.startswith(base + b"/"):
            raise UnsafeError(f"an entry is not below {shown_path(request.path)}", shown_path(name))
        above = parent_of(request.path)
        return above + b"/" + name if above else name

    def _add(self, entry: Entry, tar: ChunkInput, own: dict[bytes, int]) -> None:
        """Writes an entry and its content to the temporary tar. `own`: rows by path that this request gave."""
        row = len(self.index)
        content = UNKNOWN
        inode = row
        if entry.kind == Kind.HARDLINK:
            known = own.get(entry.link)
            if known is None:
                raise FormatError("a hard link to what is not in the archive", shown_path(entry.path))
            inode = self.inodes[known]
        self._write(header(entry))
        offset = self._written
        if entry.kind == Kind.FILE:
            hasher = hashlib.sha256()
            for piece in tar.pieces(entry.stored):
                hasher.update(piece)
                self._write(piece)
            self._write(bytes(-entry.stored % _BLOCK))
            if entry.segments is None:  # else the hash would be that of the data alone
                content = hasher.digest()
        self.index.add(entry._replace(offset=offset), content)
        self.inodes.append(inode)
        self.requests.append(self._count)
        self.rows[entry.path] = own[entry.path] = row

    def _write(self, data: bytes | memoryview) -> None:
        self._written += len(data)
        if len(data) >= _STEP:
            self._flush()
            self._temporary.write(data)
            return
        self._held += data
        if len(self._held) >= _STEP:
            self._flush()

    def _flush(self) -> None:
        if self._held:
            self._temporary.write(memoryview(self._held))
            self._held = bytearray()
