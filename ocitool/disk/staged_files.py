"""Files that are written before the merged tree, in which they get their names, is known.

Each is written once, with all its attributes, to a private directory. Files of one directory of a layer share a directory
there, in which they have their last names. Nearly always the merged tree has a directory of just these files: then the
whole directory is renamed into place, and no file alone. A file that cannot have its name there (the second of that name in
its layer, say) has the number of its ref instead, in the private directory itself.

Directories there have numbers as names, so a path in the private directory is such a number and one name of an image. Tars may
alternate between thousands of directories: none is held open.

Memory: four bytes a row, and the path of each directory that has files.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from threading import Condition

from ocitool.disk.attributes import Attributes, Ownership
from ocitool.disk.staging_directory import OPEN_DIRECTORY
from ocitool.errors import CancelledError
from ocitool.interrupts import undisturbed
from ocitool.layers.entry import Entry, Kind, Segments
from ocitool.layers.tar_runs import Run
from ocitool.layers.tarinput import TarInput
from ocitool.task import Task
from ocitool.trees.nodes import REF_SHIFT, ROW_MASK

ReadContent = Callable[[int], Iterable[bytes | memoryview]]
"""A function from a number of bytes to that many next bytes of a file's content, in chunks."""
NamedFile = tuple[bytes, int, bytes]
"""A file that a directory shall have: its name there, its ref, and the path that it has in its layer."""

Skip = Callable[[int, bytes], bool]
"""A function from the row and the path of a file to whether it is not staged."""

CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NAME = b"staging"
_FILE = int(Kind.FILE)
_NONE = -1
"""Used instead of the number of a directory: the file is in none."""
_STEP = 0.1
_PIECE = 1 << 20


class StagedFiles:
    """The staged files of all layers, in a new directory in the one open as `work` (not owned).

    `layer` and `stage` may be called from several threads, everything else from one. Methods raise `OSError` if the file
    system refuses, those that write a file `DestinationError`.
    """

    def __init__(self, work: int, owners: Ownership, task: Task) -> None:
        self.bytes_written = 0
        """Bytes of contents written, but for the layers that are being staged."""
        self._work = work
        self._task = task
        self._lock = Condition()
        self._writers = 0
        self._closed = False
        self._rows: dict[int, array[int]] = {}
        """By layer: for each row the number of the directory with its file. May be shorter than the layer."""
        self._paths: list[bytes] = []
        """For each directory: its path in the layer, with a slash at the end unless it is the root."""
        self.counts = array("q")
        """For each directory: how many files are staged in it."""
        self._placed = bytearray()
        """For each directory: whether it became one of the tree."""
        self._moved: dict[int, int] = {}
        """For placed directories: the directory with those of its files that do not belong to the tree's."""
        os.mkdir(_NAME, 0o700, dir_fd=work)
        self.descriptor = os.open(_NAME, OPEN_DIRECTORY, dir_fd=work)
        try:
            self.attributes = Attributes(owners, *self._probe())
        except BaseException:
            os.close(self.descriptor)
            raise

    def _probe(self) -> tuple[tuple[int, int], int]:
        """Returns owner and umask of files made here, found by making one."""
        descriptor = os.open(b"probe", CREATE, 0o777, dir_fd=self.descriptor)
        status = os.fstat(descriptor)
        os.close(descriptor)
        os.unlink(b"probe", dir_fd=self.descriptor)
        return (status.st_uid, status.st_gid), 0o777 & ~status.st_mode

    def clear(self) -> None:
        """Removes the files that are left, and the directory: nothing more can be staged."""
        with os.scandir(self.descriptor) as left:
            for item in left:
                if not item.is_dir(follow_symlinks=False):
                    os.unlink(item.name, dir_fd=self.descriptor)
                    continue
                below = os.open(item.name, OPEN_DIRECTORY, dir_fd=self.descriptor)
                try:
                    for name in os.listdir(below):
                        os.unlink(name, dir_fd=below)
                finally:
                    os.close(below)
                os.rmdir(item.name, dir_fd=self.descriptor)
        os.rmdir(_NAME, dir_fd=self._work)

    def close(self) -> None:
        """Closes all descriptors once no thread is staging; threads that still stage are cancelled."""
        with undisturbed(), self._lock:
            self._closed = True
            while self._writers:  # only after an error: whatever those threads wait for ends with the task
                self._task.cancel()
                self._lock.wait(_STEP)
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    # Writing, from several threads

    @contextmanager
    def layer(self, number: int, skip: Skip | None = None) -> Iterator[LayerFiles]:
        """Provides what stages files of a layer but those to skip, for one thread."""
        with self._writing():
            with self._lock:
                rows = self._rows.setdefault(number, array("i"))
            files = LayerFiles(self, number, rows, skip, self._task)
            try:
                yield files
            finally:
                with self._lock:
                    self.bytes_written += files.bytes_written

    def stage(self, ref: int, entry: Entry, take: ReadContent) -> None:
        """Stages one regular file with all its attributes, in no directory. `take` gives its content."""
        with self._writing():
            self.write(ref, entry, take)
        with self._lock:
            self.bytes_written += entry.stored

    def write(self, ref: int, entry: Entry, take: ReadContent) -> None:
        """As `stage`, for one that is writing already."""
        try:
            mode, made = self.attributes.file_modes(entry.mode)
            self.fill(os.open(b"%x" % ref, CREATE, made, dir_fd=self.descriptor), entry, take, mode, made)
        except OSError as error:
            raise self.attributes.error(error, entry.path) from None

    def fill(self, descriptor: int, entry: Entry, take: ReadContent, mode: int, made: int) -> None:
        """Writes a new file, sets its attributes and closes it. `made`: the mode that it was created with."""
        try:
            if entry.segments is not None:
                _write_sparse(descriptor, entry.segments, entry.size, take)
            elif entry.stored:
                for piece in take(entry.stored):
                    _write(descriptor, piece)
            self.attributes.set(descriptor, entry, mode, made & ~self.attributes.umask)
        finally:
            os.close(descriptor)

    def new_directory(self, path: bytes) -> int:
        """Makes a directory for files whose paths begin with `path`, and returns its number."""
        with self._lock:
            number = len(self._paths)
            self._paths.append(path)
            self.counts.append(0)
            self._placed.append(False)
        os.mkdir(b"_%x" % number, 0o700, dir_fd=self.descriptor)
        return number

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._lock:
            if self._closed:
                raise CancelledError("interrupted")
            self._writers += 1
        try:
            yield
        finally:
            with self._lock:
                self._writers -= 1
                if self._closed:
                    self._lock.notify_all()

    # Placing

    def copy(self, ref: int, other: int, entry: Entry) -> None:
        """Stages one more file, `other`, with the content of the file staged as `ref`. `entry`: that of both."""
        try:
            name = self.located(ref, entry.path)
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.descriptor)
        except OSError as error:
            raise self.attributes.error(error, entry.path) from None
        offsets = iter([offset for offset, length in entry.segments or ((0, entry.stored),) if length])

        def take(size: int) -> Iterator[bytes]:
            at = next(offsets)
            while size and (piece := os.pread(descriptor, min(size, _PIECE), at)):
                at, size = at + len(piece), size - len(piece)
                yield piece

        try:
            self.stage(other, entry, take)
        finally:
            os.close(descriptor)

    def located(self, ref: int, path: bytes) -> bytes:
        """Returns the path of a staged file below `descriptor`. `path`: the one in its layer."""
        directory = self._directory(ref)
        if directory == _NONE:
            return b"%x" % ref
        return b"_%x/%b" % (self._moved.get(directory, directory), path[len(self._paths[directory]) :])

    def matching(self, files: Sequence[NamedFile]) -> tuple[int, list[NamedFile]]:
        """Returns the number of a staged directory that has some of these files under their names, -1 if there is none,
        and the files that are elsewhere."""
        found, rest = _NONE, []
        for file in files:
            name, ref, path = file
            directory = self._directory(ref)
            if (
                directory != _NONE and path == self._paths[directory] + name
                and (directory == found or (found == _NONE and not self._placed[directory]))
            ):  # fmt: skip
                found = directory
            else:
                rest.append(file)
        return found, rest

    def place(self, directory: int, name: bytes, where: int) -> None:
        """Renames a staged directory to a name in the directory open as `where`."""
        self._placed[directory] = True
        os.rename(b"_%x" % directory, name, src_dir_fd=self.descriptor, dst_dir_fd=where)

    def take_back(self, directory: int, where: int, keep: Collection[bytes]) -> None:
        """Moves all files but these names out of a placed directory, open as `where`, into a staged one."""
        if len(keep) == self.counts[directory]:
            return
        back = self._moved[directory] = self.new_directory(self._paths[directory])
        for count, name in enumerate(map(os.fsencode, os.listdir(where))):
            if not count & 1023:
                self._task.check()
            if name not in keep:
                os.rename(name, b"_%x/%b" % (back, name), src_dir_fd=where, dst_dir_fd=self.descriptor)

    def _directory(self, ref: int) -> int:
        rows, row = self._rows.get(ref >> REF_SHIFT), ref & ROW_MASK
        return rows[row] if rows is not None and row < len(rows) else _NONE


class LayerFiles:
    """Stages files of one layer, for one thread. It is the `FileKeeper` of the layer."""

    def __init__(self, staged: StagedFiles, number: int, rows: array[int], skip: Skip | None, task: Task) -> None:
        self.bytes_written = 0
        self._staged = staged
        self._base = number << REF_SHIFT
        self._rows = rows
        self._skip = skip
        self._task = task
        self._directories: dict[bytes, int] = {}
        self._at, self._attributes = staged.descriptor, staged.attributes

    def keep(self, row: int, entry: Entry, tar: TarInput) -> None:
        """Stages a regular file with all its attributes. Raises `DestinationError`."""
        if not row & 255:
            self._task.check()
        if self._skip is not None and self._skip(row, entry.path):
            return
        mode, made = self._attributes.file_modes(entry.mode)
        descriptor = self._create(row, entry.path, made)
        if descriptor < 0:
            self._staged.write(self._base | row, entry, tar.pieces)
        else:
            try:
                self._staged.fill(descriptor, entry, tar.pieces, mode, made)
            except OSError as error:
                raise self._attributes.error(error, entry.path) from None
        self.bytes_written += entry.stored

    def keep_run(self, first: int, run: Run) -> None:
        """As `keep` for each file of a run, with nothing but the system calls for most."""
        self._task.check()
        attributes, umask, own, skip = self._attributes, self._attributes.umask, self._attributes.own, self._skip
        view = memoryview(run.data)
        columns = zip(run.paths, run.kinds, run.modes, run.uids, run.gids, run.mtimes, run.sizes, run.offsets, strict=True)
        for row, (path, kind, mode, uid, gid, mtime, size, offset) in enumerate(columns, first):
            if kind != _FILE or (skip is not None and skip(row, path)):
                continue
            mode, made = attributes.file_modes(mode)
            content = view[offset - run.start : offset - run.start + size]
            descriptor = self._create(row, path, made)
            if descriptor < 0:
                entry = Entry(path, Kind.FILE, mode, uid, gid, mtime, size, stored=size)
                self._staged.write(self._base | row, entry, lambda _, content=content: (content,))  # type: ignore[misc]
            else:
                try:
                    if size:
                        _write(descriptor, content)
                    owner = attributes.owner(uid, gid, path)
                    if owner != own:
                        os.fchown(descriptor, *owner)
                    attributes.set_plain(descriptor, uid, gid, mtime, mode, made & ~umask)
                except OSError as error:
                    raise attributes.error(error, path) from None
                finally:
                    os.close(descriptor)
            self.bytes_written += size

    def _create(self, row: int, path: bytes, mode: int) -> int:
        """Creates a file in the directory for its path, and returns its descriptor; -1 if it cannot have its name there: if
        the tree shows that name, it is an error then."""
        slash = path.rfind(b"/") + 1
        directory = self._directories.get(path[:slash], _NONE)
        if directory == _NONE:
            directory = self._new_directory(path[:slash])
        try:
            descriptor = os.open(b"_%x/%b" % (directory, path[slash:]), CREATE, mode, dir_fd=self._at)
        except (OSError, ValueError):
            return -1
        rows = self._rows
        while len(rows) <= row:
            rows.append(_NONE)
        rows[row] = directory
        self._staged.counts[directory] += 1
        return descriptor

    def _new_directory(self, prefix: bytes) -> int:
        try:
            directory = self._directories[prefix] = self._staged.new_directory(prefix)
        except OSError as error:
            raise self._attributes.error(error, prefix) from None
        return directory


def _write_sparse(descriptor: int, segments: Segments, size: int, take: ReadContent) -> None:
    for offset, length in segments:
        if length:
            os.lseek(descriptor, offset, os.SEEK_SET)
            for piece in take(length):
                _write(descriptor, piece)
    os.ftruncate(descriptor, size)


def _write(descriptor: int, piece: bytes | memoryview) -> None:
    done = os.write(descriptor, piece)
    while done < len(piece):
        piece = memoryview(piece)[done:]
        done = os.write(descriptor, piece)
