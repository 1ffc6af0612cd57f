"""The one class that makes root file systems; everything that unpacks an image uses it.

Contents are written first, each with all its attributes, while the layers are read (`staged_files`). When the merged tree is
known, its directories are made, or are directories of staged files, renamed; other staged files are renamed into them. The
kernel never resolves a path of an image: every call names one file in a directory that was made here and is held by a
descriptor. So no link of an image is followed, whatever its layers contain.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager

from ocitool.disk.attributes import Attributes, Ownership
from ocitool.disk.staged_files import CREATE, LayerFiles, NamedFile, ReadContent, Skip, StagedFiles
from ocitool.disk.staging_directory import OPEN_DIRECTORY, DirectoryStack
from ocitool.errors import DestinationError, FormatError, OcitoolError
from ocitool.layers.entry import Entry, Kind, Xattrs, shown_path
from ocitool.task import Task
from ocitool.trees.nodes import REF_SHIFT, ROW_MASK, Directory
from ocitool.trees.tree import Tree

_MAJORS, _MINORS = 1 << 12, 1 << 20
_FILE, _SYMLINK, _HARDLINK, _CHAR, _BLOCK, _FIFO = (
    Kind.FILE, Kind.SYMLINK, Kind.HARDLINK, Kind.CHAR, Kind.BLOCK, Kind.FIFO,
)  # fmt: skip


class Rootfs:
    """Makes root file systems in the private directory `work` (a descriptor, not owned) from one stock of staged files.

    `layer` and `stage` may be called from several threads, everything else from one. `begin` makes a root the current
    directory; `enter` makes a directory in the current one, `put` and `whiteout` make names in it, `leave` sets its
    attributes and returns to its parent, until the root is left too. `place_tree` does all of that for a merged tree.

    At most a few dozen descriptors are open. The memory is that of one path and of `StagedFiles`. All methods raise
    `DestinationError` if the file system refuses.
    """

    def __init__(self, work: int, owners: Ownership, task: Task) -> None:
        self.owners = owners
        self._work = work
        self._task = task
        self._stack: DirectoryStack | None = None
        try:
            self._staged = StagedFiles(work, owners, task)
        except OSError as error:
            raise Attributes(owners, (0, 0), 0).error(error, b"") from None
        self._attributes = self._staged.attributes

    def __enter__(self) -> Rootfs:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes all descriptors once no thread is staging; threads that still stage are cancelled."""
        self._staged.close()
        if self._stack is not None:
            self._stack.close()
            os.close(self._stack.current)
            self._stack = None

    def clear(self) -> None:
        """Removes the staged files that are left: nothing more can be staged."""
        try:
            self._staged.clear()
        except OSError as error:
            raise self._error(error, b"") from None

    @property
    def bytes_written(self) -> int:
        """Bytes of file contents written so far, but for layers that are being staged."""
        return self._staged.bytes_written

    def notice_unset(self) -> None:
        """Adds notices of what could not be made as the image states it."""
        self._attributes.notice_unset(self._task)

    # Contents

    def layer(self, number: int, skip: Skip | None = None) -> AbstractContextManager[LayerFiles]:
        """Provides what stages the files of a layer but those to skip, for one thread. The ref of a file is that of its row."""
        return self._staged.layer(number, skip)

    def stage(self, ref: int, entry: Entry, take: ReadContent) -> None:
        """Stages a regular file with all its attributes; `put` finds it by `ref`. `take` gives its content."""
        self._staged.stage(ref, entry, take)

    def copy_staged(self, ref: int, other: int, entry: Entry) -> None:
        """Stages one more file, `other`, with the content of the file staged as `ref`. `entry`: that of both."""
        self._staged.copy(ref, other, entry)

    # Building a root

    def begin(self, name: bytes, files: Sequence[NamedFile] = (), *, at: int | None = None) -> list[NamedFile]:
        """Makes a new root directory in `work`, or in the directory open as `at`, and makes it the current one.

        `files`: regular files with a single name that the directory shall have. Returns those that `put` must still make;
        the others are there.
        """
        assert self._stack is None
        return self._make(name, self._work if at is None else at, files)

    def enter(self, name: bytes, files: Sequence[NamedFile] = ()) -> list[NamedFile]:
        """Makes a new directory in the current one, and makes it the current one. `files` and the result: as for `begin`."""
        return self._make(name, self._open_stack().current, files)

    def _make(self, name: bytes, where: int, files: Sequence[NamedFile]) -> list[NamedFile]:
        staged, rest = self._staged.matching(files)
        try:
            os.mkdir(name, 0o700, dir_fd=where)  # an error if the file system takes it for another name here
            if staged >= 0:
                self._staged.place(staged, name, where)
            if self._stack is None:
                self._stack = DirectoryStack(os.open(name, OPEN_DIRECTORY, dir_fd=where))
            else:
                self._stack.enter(name)
            if staged >= 0:
                missing = {file[0] for file in rest}
                self._staged.take_back(staged, self._here, {file[0] for file in files if file[0] not in missing})
        except OSError as error:
            raise self._error(error, self._path(name)) from None
        return rest

    def leave(self, entry: Entry, extra: Xattrs = ()) -> None:
        """Sets the final attributes of the current directory, and returns to its parent.

        `extra`: xattrs beyond the entry's; here it is an error if they cannot be set.
        """
        chain = self._open_stack()
        try:
            for name, value in extra:
                os.setxattr(chain.current, name, value)
            mode = self._attributes.directory_mode(entry.mode)
            self._attributes.set(chain.current, entry, mode, 0o700 & ~self._attributes.umask)
            if chain.names:
                chain.leave()
            else:
                os.close(chain.current)
                self._stack = None
        except OSError as error:
            raise self._error(error, self._path()) from None

    def put(self, name: bytes, ref: int, entry: Entry, *, shared: bool = False) -> None:
        """Makes a name that is not a directory in the current directory.

        `ref` and `entry` are those of the file itself, not of a hard link to it. `shared`: it has other names too.
        """
        here = self._open_stack().current
        try:
            if entry.kind == _FILE:
                at, staged = self._staged.descriptor, self._staged.located(ref, entry.path)
                if shared:
                    os.link(staged, name, src_dir_fd=at, dst_dir_fd=here, follow_symlinks=False)
                else:
                    os.rename(staged, name, src_dir_fd=at, dst_dir_fd=here)
            elif shared:
                at, staged = self._staged.descriptor, b"%x" % ref
                if not _exists(staged, at):
                    self._special(staged, at, entry)
                os.link(staged, name, src_dir_fd=at, dst_dir_fd=here, follow_symlinks=False)
            else:
                self._special(name, here, entry)
        except OSError as error:
            raise self._error(error, self._path(name)) from None

    def whiteout(self, name: bytes) -> None:
        """Makes a whiteout of overlayfs: a character device 0/0 in the current directory."""
        try:
            os.mknod(name, stat.S_IFCHR | 0o600, os.makedev(0, 0), dir_fd=self._open_stack().current)
        except OSError as error:
            raise self._error(error, self._path(name)) from None

    def _special(self, name: bytes, where: int, entry: Entry) -> None:
        kind = entry.kind
        mode = self._attributes.file_mode(entry.mode)
        if kind == _SYMLINK:
            if not entry.link:
                raise FormatError("a symbolic link without a target", shown_path(self._path(name)))
            os.symlink(entry.link, name, dir_fd=where)
        elif kind == _FIFO:
            os.mkfifo(name, 0o600, dir_fd=where)
        elif kind in (_CHAR, _BLOCK):
            assert entry.device is not None
            if self.owners.rootless:
                self._attributes.count("devices")
                os.close(os.open(name, CREATE, 0o600, dir_fd=where))
            else:
                major, minor = entry.device
                if major >= _MAJORS or minor >= _MINORS:
                    raise DestinationError(f"device {major}:{minor} is out of the kernel's range", shown_path(self._path(name)))
                kind_bits = stat.S_IFCHR if kind == _CHAR else stat.S_IFBLK
                os.mknod(name, kind_bits | 0o600, os.makedev(major, minor), dir_fd=where)
        else:
            raise FormatError("a hard link without a target", shown_path(self._path(name)))
        owner = self._attributes.owner(entry.uid, entry.gid, entry.path)
        if owner != self._attributes.own:
            os.chown(name, *owner, dir_fd=where, follow_symlinks=False)
        if entry.xattrs is not None:
            # There is no call for a name in a directory; the last component is not followed.
            self._attributes.set_xattrs(b"/proc/self/fd/%d/%s" % (where, name), entry.xattrs, entry.path)
        if kind != _SYMLINK and mode != 0o600 & ~self._attributes.umask:
            os.chmod(name, mode, dir_fd=where)
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=where, follow_symlinks=False)

    def place_tree(self, tree: Tree, name: bytes = b"rootfs") -> int:
        """Makes the whole tree as the directory `name`, and returns the number of its paths. All its files must be
        staged."""
        shared = tree.shared
        count = len(tree.root.children)
        directories = [tree.root]
        below = [iter(self._place(name, tree.root, tree, shared))]
        while below:
            for child, directory in below[-1]:
                count += len(directory.children)
                directories.append(directory)
                below.append(iter(self._place(child, directory, tree, shared)))
                break
            else:
                below.pop()
                self.leave(tree.entry(directories.pop().ref))
        self.clear()
        return count

    def _place(self, name: bytes, directory: Directory, tree: Tree, shared: Collection[int]) -> list[tuple[bytes, Directory]]:
        """Makes a directory with all but the directories in it, and returns those."""
        self._task.check()
        files: list[NamedFile] = []
        others: list[tuple[bytes, int]] = []
        below: list[tuple[bytes, Directory]] = []
        indexes, inode_of = tree.indexes, tree.inode
        for child, node in directory.children.items():
            if isinstance(node, Directory):
                below.append((child, node))
                continue
            ref = inode_of(node)
            index, row = indexes[ref >> REF_SHIFT], ref & ROW_MASK
            if index.kinds[row] == _FILE and ref not in shared:
                files.append((child, ref, index.paths[row]))
            else:
                others.append((child, ref))
        others += [(child, ref) for child, ref, _ in (self.begin if self._stack is None else self.enter)(name, files)]
        for count, (child, ref) in enumerate(others):
            if not count & 1023:
                self._task.check()
            self.put(child, ref, tree.entry(ref), shared=ref in shared)
        return below

    @property
    def _here(self) -> int:
        assert self._stack is not None
        return self._stack.current

    def _open_stack(self) -> DirectoryStack:
        assert self._stack is not None
        return self._stack

    def _path(self, name: bytes | None = None) -> bytes:
        names = self._stack.names if self._stack is not None else []
        return b"/".join([*names, name] if name is not None else names)

    def _error(self, error: OSError, path: bytes) -> OcitoolError:
        return self._attributes.error(error, path)


def _exists(name: bytes, where: int) -> bool:
    try:
        os.stat(name, dir_fd=where, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
