"""ocitool with a fault at one system call: `python faulty.py MODE NUMBER ocitool-words...`.

    count   none; the number of calls goes to the file named by FAULTY_COUNT, as `writes reads`
    kill    the process kills itself before its call NUMBER of those that change files
    term    it is asked to end (SIGTERM) there
    full    the disk is full from that call on
    read    its call NUMBER of those that read a file fails with EIO

Calls are counted over all threads from 0. Only what ocitool calls through `os` counts, so what Python reads for itself is none.
"""

from __future__ import annotations

import errno
import itertools
import os
import signal
import stat
import sys
from collections.abc import Callable
from typing import Any

CHANGES = (
    "write", "writev", "pwrite", "pwritev", "copy_file_range", "sendfile", "ftruncate", "truncate", "posix_fallocate",
    "mkdir", "mknod", "mkfifo", "link", "symlink", "rename", "replace", "unlink", "remove", "rmdir", "chmod", "fchmod",
    "chown", "fchown", "lchown", "utime", "setxattr", "removexattr", "fsync", "fdatasync", "open",
)  # fmt: skip
ALLOCATES = (
    "write", "writev", "pwrite", "pwritev", "copy_file_range", "sendfile", "ftruncate", "posix_fallocate", "mkdir", "mknod",
    "mkfifo", "link", "symlink", "setxattr", "open",
)  # fmt: skip
READS = ("read", "pread", "preadv", "readv", "copy_file_range")


def wrapped(function: Callable[..., Any], name: str, turns: itertools.count[int], fault: Callable[[int, str], None]) -> Any:
    def call(*words: Any, **more: Any) -> Any:
        if name == "open" and not (len(words) > 1 and words[1] & (os.O_CREAT | os.O_WRONLY | os.O_RDWR)):
            return function(*words, **more)
        if name == "open" and words[0] == os.devnull:
            return function(*words, **more)
        if name in ("write", "writev") and words[0] in (1, 2):  # our own messages
            return function(*words, **more)
        if name == "read" and stat.S_ISFIFO(os.fstat(words[0]).st_mode):  # a signal that the program tells itself
            return function(*words, **more)
        fault(next(turns), name)
        return function(*words, **more)

    return call


def main() -> None:
    mode, number, sys.argv[:] = sys.argv[1], int(sys.argv[2]), ["ocitool", *sys.argv[3:]]
    turns = {"changes": itertools.count(), "reads": itertools.count()}

    def changing(turn: int, name: str) -> None:
        if mode == "kill" and turn == number:
            os.kill(os.getpid(), signal.SIGKILL)
        if mode == "term" and turn == number:
            os.kill(os.getpid(), signal.SIGTERM)
        if mode == "full" and turn >= number and name in ALLOCATES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def reading(turn: int, name: str) -> None:
        if mode == "read" and turn == number:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    for kind, names, fault in (("changes", CHANGES, changing), ("reads", READS, reading)):
        for name in names:
            if (real := getattr(os, name, None)) is not None:
                made = wrapped(real, name, turns[kind], fault)
                setattr(os, name, made)
                for able in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
                    if real in able:
                        able.add(made)
    if mode == "count":
        end = os._exit

        def leave(code: int) -> None:
            counts = " ".join(str(next(turn)) for turn in turns.values())
            with open(os.environ["FAULTY_COUNT"], "w") as file:
                file.write(counts)
            end(code)

        os._exit = leave  # type: ignore[assignment]
    from ocitool.__main__ import main as ocitool

    ocitool()


if __name__ == "__main__":
    main()
