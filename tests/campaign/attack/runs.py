"""One command in a forked process: its output, its time, its memory, and the files around it before and after."""

from __future__ import annotations

import gc
import hashlib
import io
import os
import resource
import select
import signal
import stat
import sys
import termios
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, NoReturn

ADDRESS_SPACE = 6 << 30
"""What the process may map: beyond it `MemoryError`, which is a finding too."""
FILE_SIZE = 2 << 30
OUTPUT = 64 << 20
"""What is kept of a stream."""
FAULT = 99
"""Exit code of a process that raised out of `main`."""


class RunResult(NamedTuple):
    """How one run ended. `peak`: bytes of memory beyond what the process began with; `hung`: it was killed after `seconds`."""

    code: int
    out: bytes
    err: bytes
    cpu: float
    wall: float
    peak: int
    hung: bool


def prepared() -> None:
    """Imports what commands import, so that a fork does not pay for it, and shortens what is only waited for."""
    import importlib
    import pkgutil

    import ocitool

    for module in pkgutil.walk_packages(ocitool.__path__, "ocitool."):
        if not module.name.endswith("__main__"):
            with suppress(ImportError):
                importlib.import_module(module.name)
    from ocitool.task import Task
    from ocitool.transports.registry import endpoint, keychain
    from ocitool.transports.registry.http import connector

    def pause(self: Task, seconds: float) -> None:
        assert seconds < 3600, f"a pause of {seconds} s"
        self.check()

    Task.pause = pause  # type: ignore[method-assign]
    endpoint._TIMEOUT = connector.CONNECT_TIMEOUT = 1
    keychain._HELPER_TIMEOUT = 1
    gc.collect()
    gc.freeze()


def run(
    words: tuple[str, ...],
    cwd: Path,
    env: Mapping[str, str],
    *,
    stdin: bytes = b"",
    terminal: bool = False,
    seconds: float = 30,
) -> RunResult:
    """Runs `ocitool WORDS` as its own program would. `terminal`: standard output and error are one."""
    if terminal:
        master, slave = os.openpty()
        fields = termios.tcgetattr(slave)
        fields[1] &= ~termios.OPOST  # what arrives is what was written
        termios.tcsetattr(slave, termios.TCSANOW, fields)
        ends = [(master, slave)]
    else:
        ends = [os.pipe(), os.pipe()]
    feed = os.pipe()
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        _become(words, cwd, env, feed, ends)
    os.close(feed[0])
    for _, end in ends:
        os.close(end)
    kept = {end: bytearray() for end, _ in ends}
    hung = _pump(child, kept, feed[1], stdin, started + seconds)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)  # what it started itself, too
    _, status, used = os.wait4(child, 0)
    code = os.waitstatus_to_exitcode(status)
    out, err = (bytes(kept[end]) for end in (ends[0][0], ends[-1][0]))
    peak = max(0, used.ru_maxrss * 1024 - _resident())
    wall = time.monotonic() - started
    return RunResult(code, out, b"" if terminal else err, used.ru_utime + used.ru_stime, wall, peak, hung)


def _pump(child: int, kept: dict[int, bytearray], feed: int, stdin: bytes, until: float) -> bool:
    """Reads what comes until the process has ended, and closes all ends. Whether it had to be killed."""
    ended = os.pidfd_open(child)
    poll = select.poll()
    for end in (*kept, ended):
        poll.register(end, select.POLLIN)
    if stdin:
        poll.register(feed, select.POLLOUT)
        os.set_blocking(feed, False)
    else:
        os.close(feed)
    hung = done = False
    while not done:
        left = until - time.monotonic()
        if left < 0:
            hung = True
            os.kill(child, signal.SIGKILL)
            break
        for end, _ in poll.poll(left * 1000):
            if end == ended:
                done = True
            elif end == feed:
                try:
                    stdin = stdin[os.write(feed, stdin[: 1 << 16]) :]
                except OSError:
                    stdin = b""
                if not stdin:
                    poll.unregister(feed)
                    os.close(feed)
            elif not _took(end, kept[end]):
                poll.unregister(end)
    for end in kept:
        os.set_blocking(end, False)
        while _took(end, kept[end]):
            pass
        os.close(end)
    os.close(ended)
    if stdin:
        os.close(feed)
    return hung


def _took(end: int, kept: bytearray) -> bool:
    try:
        data = os.read(end, 1 << 16)
    except OSError:  # a terminal whose other end is closed, or nothing there now
        return False
    if len(kept) < OUTPUT:
        kept += data
    return bool(data)


def _resident() -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def _become(
    words: tuple[str, ...], cwd: Path, env: Mapping[str, str], feed: tuple[int, int], ends: list[tuple[int, int]]
) -> NoReturn:
    """The child: takes its streams and limits, and runs the program to its end."""
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        os.dup2(feed[0], 0)
        os.dup2(ends[0][1], 1)
        os.dup2(ends[-1][1], 2)
        os.closerange(3, 256)
        for what, most in ((resource.RLIMIT_AS, ADDRESS_SPACE), (resource.RLIMIT_FSIZE, FILE_SIZE), (resource.RLIMIT_CORE, 0)):
            resource.setrlimit(what, (most, most))
        os.chdir(cwd)
        os.umask(0o022)
        os.environ.clear()
        os.environ.update(env)
        sys.argv = ["ocitool", *words]
        sys.stdin = io.TextIOWrapper(open(0, "rb", closefd=False), "utf-8", "surrogateescape")  # noqa: SIM115
        out, err = open(1, "wb", closefd=False), open(2, "wb", closefd=False)  # noqa: SIM115
        sys.stdout = io.TextIOWrapper(out, "utf-8", "strict", line_buffering=os.isatty(1))
        sys.stderr = io.TextIOWrapper(err, "utf-8", "backslashreplace", line_buffering=True)
        from ocitool.__main__ import main

        main()
    except BaseException:
        with suppress(BaseException):
            traceback.print_exc()
            sys.stderr.flush()
    finally:
        os._exit(FAULT)


# What is there


class PathState(NamedTuple):
    """What stands at a path. `when` changes whenever anything of it was changed, even back."""

    kind: int
    mode: int
    owner: tuple[int, int]
    size: int
    links: int
    when: tuple[int, int]
    content: str


def stood(root: Path, but: tuple[str, ...] = ()) -> dict[str, PathState]:
    """Everything at and below the root, by path, except what stands at or below the paths `but`. Links are not followed."""
    return dict(_stood(os.fspath(root), "", {os.path.join(root, name) for name in but}))


def _stood(path: str, name: str, but: set[str]) -> Iterator[tuple[str, PathState]]:
    if path in but:
        return
    status = os.lstat(path)
    kind, content, size = stat.S_IFMT(status.st_mode), "", status.st_size
    if kind == stat.S_IFLNK:
        content = os.readlink(path)
    elif kind == stat.S_IFREG:
        with open(path, "rb") as file:
            content = hashlib.file_digest(file, "blake2b").hexdigest()
    when, links = (status.st_mtime_ns, status.st_ctime_ns), status.st_nlink
    if kind == stat.S_IFDIR:
        size = 0
        # A place that may change within changes its parent's times and links.
        if any(os.path.dirname(one) == path for one in but):
            when, links = (0, 0), 0
    yield name or ".", PathState(kind, stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid), size, links, when, content)
    if kind == stat.S_IFDIR:
        for below in sorted(os.listdir(path)):
            yield from _stood(os.path.join(path, below), f"{name}/{below}".lstrip("/"), but)
