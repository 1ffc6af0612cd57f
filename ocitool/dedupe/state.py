"""Documents of registries that are kept between runs (`dedupe --state`): manifests, indexes and configurations by digest.

    documents.parquet   digest, document

`document` has the exact bytes, and they are hashed each time before they are used. So nothing in this file has to be
believed: one that is damaged, foreign or of another version costs requests, and no wrong answer. What tags point to is
not kept: a run asks for it. The directory is private, since documents may have secrets.

The file is replaced as a whole, and only if a run learnt something; of two runs at a time the later one's stays.
Memory: about 250 bytes for each document in the file, and `_GROUPS` groups of `_ROWS` documents.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock
from typing import Any

from ocitool.blob import FileBlob, OpenFile
from ocitool.dedupe.export import require_pyarrow
from ocitool.digest import Digest
from ocitool.directories import OpenDirectory, is_private_file, private_directory
from ocitool.errors import DestinationError, OcitoolError
from ocitool.limits import STATE_DOCUMENTS
from ocitool.task import OneAtATime, Task
from ocitool.transports.outputs import output_file

_NAME = "documents.parquet"
_ROWS = 256
"""Documents in one group of rows, which is read at once: about a megabyte."""
_GROUPS = 16
"""Groups that are kept in memory. A run asks for documents in about the order of the one before."""


@contextmanager
def kept_documents(directory: str | None, task: Task) -> Iterator[KeptDocuments | None]:
    """Provides the documents that are kept in a directory, which is made if it is missing; those that were added are in
    it when the block ends without an error. Provides None if `directory` is None.

    Raises `UsageError` without the package pyarrow, `DestinationError` for a directory that is open to others or cannot
    be written."""
    if directory is None:
        yield None
        return
    require_pyarrow("--state")
    try:
        at = private_directory(directory)
    except ValueError as error:
        text = str(error).replace("the cache directory", "the directory")
        raise DestinationError(text, directory, hint="chmod 700, or name another one") from None
    with ExitStack() as stack:
        kept = KeptDocuments(at, task, stack)
        yield kept
        kept.finish()


class KeptDocuments:
    """Documents by digest. Any thread may find and add them."""

    def __init__(self, at: OpenDirectory, task: Task, stack: ExitStack) -> None:
        self._at = at
        self._task = task
        self._stack = stack
        self._lock = Lock()
        self._turns = OneAtATime(task)
        self._new: list[tuple[str, bytes]] = []
        self._added: set[str] = set()
        self._used: set[str] = set()
        self._writer: Any = None
        self._damaged = False
        self._groups: dict[int, dict[str, bytes]] = {}
        self._rows: dict[str, int] = {}
        """The group of each document in the file."""
        self._file: _GroupedFile | None = None
        try:
            self._file = _GroupedFile.opened(at)
        except _damage() as error:
            task.remark("state", f"{at.name(_NAME)} is not used, and made anew: {str(error).splitlines()[0]}")
        if self._file is not None:
            self._rows = self._file.rows

    @property
    def filled(self) -> bool:
        """Whether an earlier run has left any document."""
        return bool(self._rows)

    def find(self, digest: Digest) -> bytes | None:
        """Returns the document with this digest; None if it is not kept. Its bytes were hashed now."""
        key = str(digest)
        number = self._rows.get(key)
        if number is None or self._file is None:
            return None
        with self._lock:
            group = self._groups.pop(number, None)
            if group is not None:
                self._groups[number] = group  # most recently used
        try:
            group = group if group is not None else self._file.group(number)
        except _damage():
            group = {}
        with self._lock:
            self._groups[number] = group
            while len(self._groups) > _GROUPS:
                del self._groups[next(iter(self._groups))]
            raw = group.get(key)
            self._used.add(key)
        if raw is None or not digest.checkable or Digest.of(raw, digest.algorithm) != digest:
            self._damaged = True
            return None
        return raw

    def add(self, digest: Digest, raw: bytes) -> None:
        """Adds a document whose bytes were hashed. Raises `DestinationError`."""
        key = str(digest)
        batch: list[tuple[str, bytes]] = []
        with self._lock:
            if key in self._added or (key in self._rows and not self._damaged):
                return
            self._added.add(key)
            self._new.append((key, raw))
            if len(self._new) >= _ROWS:
                batch, self._new = self._new, []
        if batch:
            self._write(batch)

    def finish(self) -> None:
        """Writes the file if anything was added: what is new, and the documents of the old file; beyond `STATE_DOCUMENTS`
        only those of them that this run needed. The rows of a damaged file are left out. Raises `DestinationError`."""
        if not self._added:
            return
        self._write(self._new)
        if self._file is not None and not self._damaged:
            everything = len(self._rows) + len(self._added) <= STATE_DOCUMENTS
            for number in range(self._file.count):
                self._task.check()
                try:
                    found = self._file.group(number)
                except _damage():
                    continue
                wanted = [
                    (key, raw) for key, raw in found.items() if key not in self._added and (everything or key in self._used)
                ]
                self._write(wanted)
        with _writing(self._at):
            self._writer.close()

    def _write(self, rows: list[tuple[str, bytes]]) -> None:
        import pyarrow as pa

        if not rows:
            return
        with self._turns.turn("write"), _writing(self._at):
            if self._writer is None:
                from pyarrow import parquet

                file = self._stack.enter_context(output_file(_NAME, private=True, below=self._at))
                self._writer = parquet.ParquetWriter(file, _schema(), compression="zstd", use_dictionary=False)
                self._stack.callback(self._writer.close)
            digests, documents = zip(*rows, strict=True)
            self._writer.write_table(pa.table([pa.array(digests), pa.array(documents)], schema=_schema()))


@contextmanager
def _writing(at: OpenDirectory) -> Iterator[None]:
    import pyarrow

    try:
        yield
    except (OSError, pyarrow.ArrowException) as error:
        raise DestinationError(f"what was learnt cannot be written: {error}", at.path) from None


class _GroupedFile:
    """The file, of which each thread reads groups of rows through its one descriptor."""

    def __init__(self, file: FileBlob, metadata: Any, rows: dict[str, int]) -> None:
        self._blob = file
        self._metadata = metadata
        self.rows = rows
        self.count = metadata.num_row_groups

    @classmethod
    def opened(cls, at: OpenDirectory) -> _GroupedFile | None:
        """Returns the file; None if there is none. Raises `_damage` for anything that no run has left there."""
        from pyarrow import parquet

        try:
            descriptor = at.read(_NAME)
        except FileNotFoundError:
            return None
        file = OpenFile(at.name(_NAME), descriptor=descriptor)
        if not is_private_file(os.fstat(descriptor)):
            raise ValueError("it is not a file of this user alone")
        blob = FileBlob(file, 0, file.size)
        found = parquet.ParquetFile(_Reading(blob))
        if not found.schema_arrow.equals(_schema()):
            raise ValueError("it has other columns")
        most = max((found.metadata.row_group(n).num_rows for n in range(found.num_row_groups)), default=0)
        if most > _ROWS or found.metadata.num_rows > 2 * STATE_DOCUMENTS:
            raise ValueError("it has larger groups of rows")
        rows = {key: n for n in range(found.num_row_groups) for key in _column(found, n, "digest")}
        return cls(blob, found.metadata, rows)

    def group(self, number: int) -> dict[str, bytes]:
        """Returns the documents of a group by digest, not hashed. Raises `_damage`."""
        from pyarrow import parquet

        found = parquet.ParquetFile(_Reading(self._blob), metadata=self._metadata)
        return dict(zip(_column(found, number, "digest"), _column(found, number, "document"), strict=True))


def _column(file: Any, number: int, name: str) -> list[Any]:
    found: list[Any] = file.read_row_group(number, columns=[name], use_threads=False).column(0).to_pylist()
    if None in found:
        raise ValueError(f"it has a row without {name}")
    return found


def _damage() -> tuple[type[Exception], ...]:
    """Returns what reading a damaged or foreign file raises."""
    import pyarrow

    return (pyarrow.ArrowException, OcitoolError, OSError, ValueError, MemoryError)


def _schema() -> Any:
    import pyarrow as pa

    return pa.schema([pa.field("digest", pa.string(), nullable=False), pa.field("document", pa.binary(), nullable=False)])


class _Reading(io.RawIOBase):
    """A blob as a file with a position of its own."""

    def __init__(self, blob: FileBlob) -> None:
        self._blob, self._position = blob, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._blob.size}[whence]
        self._position = start + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        data = self._blob.pread(self._blob.size if size is None or size < 0 else size, self._position)
        self._position += len(data)
        return data
