"""What stands in a directory, told by lstat alone; canaries around it; and running something as an ordinary user."""

from __future__ import annotations

import os
import pickle
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFCHR: "char",
         stat.S_IFBLK: "block", stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket"}  # fmt: skip
NOBODY = 65534

Found = dict[bytes, dict[str, Any]]


def on_disk(root: str | os.PathLike[str], *, contents: bool = True) -> Found:
    """Path -> what is there, the root as b"". Only for trees whose paths the kernel takes whole."""
    found: Found = {}
    groups: dict[tuple[int, int], list[bytes]] = {}
    top = os.fsencode(root)
    stack = [b""]
    while stack:
        path = stack.pop()
        full = top + b"/" + path if path else top
        status = os.lstat(full)
        kind = KINDS[stat.S_IFMT(status.st_mode)]
        xattrs = {os.fsencode(name): os.getxattr(full, name, follow_symlinks=False)
                  for name in os.listxattr(full, follow_symlinks=False)}  # fmt: skip
        found[path] = {
            "kind": kind,
            "mode": None if kind == "symlink" else stat.S_IMODE(status.st_mode),
            "uid": status.st_uid, "gid": status.st_gid, "mtime": status.st_mtime_ns,
            "content": Path(os.fsdecode(full)).read_bytes() if kind == "file" and contents else None,
            "target": os.readlink(full) if kind == "symlink" else None,
            "device": (os.major(status.st_rdev), os.minor(status.st_rdev)) if kind in ("char", "block") else None,
            "xattrs": xattrs, "links": [],
        }  # fmt: skip
        if kind == "directory":
            stack += [path + b"/" + name if path else name for name in os.listdir(full)]
        else:
            groups.setdefault((status.st_dev, status.st_ino), []).append(path)
            assert status.st_nlink >= len(groups[status.st_dev, status.st_ino])
    for group in groups.values():
        for path in group if len(group) > 1 else []:
            found[path]["links"] = sorted(group)
    return found


def fingerprint(root: str | os.PathLike[str]) -> dict[bytes, tuple[Any, ...]]:
    """All that a change of anything in a directory would show, ctime and inode too."""
    found = {}
    for base, directories, files in os.walk(os.fsencode(root)):
        for name in [b".", *directories, *files]:
            full = os.path.join(base, name)
            status = os.lstat(full)
            content = Path(os.fsdecode(full)).read_bytes() if stat.S_ISREG(status.st_mode) else None
            found[full] = (status.st_mode, status.st_ino, status.st_nlink, status.st_uid, status.st_gid, status.st_size,
                           status.st_mtime_ns, status.st_ctime_ns, status.st_rdev, content)  # fmt: skip
    return found


@contextmanager
def open_to_all() -> Iterator[Path]:
    """A temporary directory that every user may use, on the file system of pytest's own."""
    with tempfile.TemporaryDirectory() as made:
        os.chmod(made, 0o777)
        yield Path(made)


def as_nobody(function: Callable[[], T]) -> T:
    """The result of a function run in a process of an ordinary user's; what it raises is raised here."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            result: tuple[bool, Any] = (True, function())
        except BaseException as error:
            result = (False, (type(error), str(error), getattr(error, "hint", None)))
        with os.fdopen(writer, "wb") as pipe:
            pickle.dump(result, pipe)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        data = pipe.read()
    os.waitpid(child, 0)
    good, value = pickle.loads(data)
    if not good:
        raise value[0](value[1])
    return value  # type: ignore[no-any-return]
