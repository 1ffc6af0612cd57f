"""Ctrl-C, SIGTERM, SIGHUP: exit 130, 143, 129 within a second, whenever they come, without a traceback or anything left."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from support.images import entry, image, layer_tar, write_docker_archive

BOTH = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
SAID = {130: "ocitool: error: interrupted", 143: "ocitool: error: terminated", 129: "ocitool: error: hung up"}

LOADED = 4.0
"""Times as long as promised: other tests run beside this one."""


@pytest.fixture(autouse=True)
def signals_not_ignored() -> Iterator[None]:
    """Programs begin without the signals that this run may have been started to ignore, as by `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


class ProcessEnd(NamedTuple):
    code: int
    err: str
    seconds: float


def ending(process: subprocess.Popen[bytes], number: int) -> ProcessEnd:
    """How a running process ends after a signal."""
    process.send_signal(number)
    began = time.monotonic()
    err = process.communicate(timeout=60)[1].decode()
    return ProcessEnd(process.returncode, err, time.monotonic() - began)


def program(text: str, *words: str | Path, cwd: Path) -> subprocess.Popen[bytes]:
    """`ocitool WORDS`, whose process runs `text` before."""
    start = f"import sys\nsys.argv[0] = 'ocitool'\nfrom ocitool.__main__ import main\n{text}\nmain()"
    env = {**os.environ, "OCITOOL_CACHE_DIR": str(cwd / "cache")}
    return subprocess.Popen(
        [sys.executable, "-c", start, *words], cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def until_ready(process: subprocess.Popen[bytes]) -> None:
    """Waits until it says that it is where the signal is to find it."""
    assert process.stdout is not None
    assert b"now\n" == process.stdout.readline()


def left(place: Path, *expected: str) -> list[str]:
    return sorted(one.name for one in place.iterdir() if one.name not in (*expected, "cache"))


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image whose layer takes zstd:19 many seconds."""
    data = random.Random(1).randbytes(64 << 20).hex().encode()
    plain = image([layer_tar([entry("big", data)])], codec="none")
    return write_docker_archive(tmp_path_factory.mktemp("slow") / "slow.tar", [plain])


@pytest.mark.parametrize(("number", "code"), BOTH)
@pytest.mark.parametrize(
    ("compression", "destination"), [("zstd:19", "z.tar"), ("zstd:19", "z/"), ("gzip:9", "z.tar"), ("gzip:9", "z/")]
)
def test_a_signal_ends_compression_at_once(
    slow: Path, tmp_path: Path, number: int, code: int, compression: str, destination: str
) -> None:
    process = program("", "copy", "--compression", compression, slow, destination, cwd=tmp_path)
    time.sleep(0.4)
    end = ending(process, number)
    assert (code, [SAID[code]], []) == (end.code, end.err.splitlines(), left(tmp_path))
    assert end.seconds < LOADED


def test_sighup_ends_compression_at_once(slow: Path, tmp_path: Path) -> None:
    test_a_signal_ends_compression_at_once(slow, tmp_path, signal.SIGHUP, 129, "zstd:19", "z/")


def test_a_terminal_that_is_closed_ends_the_command_and_nothing_is_left(slow: Path, tmp_path: Path) -> None:
    """SIGHUP; and what is written to that terminal from then on is an error, as are bars."""
    main, terminal = os.openpty()
    env = {**os.environ, "OCITOOL_CACHE_DIR": str(tmp_path / "cache"), "TERM": "xterm"}
    words = [sys.executable, "-m", "ocitool", "copy", "--compression", "zstd:19", str(slow), "z.tar"]
    lead = f"import fcntl, os, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv({words[0]!r}, {words!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", lead], cwd=tmp_path, env=env, stdin=terminal, stdout=terminal, stderr=terminal,
        start_new_session=True,
    )  # fmt: skip
    os.close(terminal)
    time.sleep(0.6)
    os.close(main)
    assert (129, []) == (process.wait(60), left(tmp_path))


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_a_program_started_to_ignore_a_signal_does(number: int, tmp_path: Path, testdata: Path) -> None:
    """As by `nohup`, and in the background of a shell."""
    wait = """
import time, ocitool.operations.listing as listing
old = listing.ls
def ls(*a, **k):
    print("now", flush=True)
    time.sleep(0.4)
    return old(*a, **k)
listing.ls = ls
"""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        process = program(wait, "ls", testdata / "app-v1.tar", cwd=tmp_path)
    finally:
        signal.signal(number, before)
    until_ready(process)
    end = ending(process, number)
    assert (0, "") == (end.code, end.err)


def sweep(tmp_path: Path, testdata: Path, number: int, step: int) -> tuple[ProcessEnd, bytes]:
    """A signal at that call of a Python function, counted from the program's first line."""
    at = f"""
import os
count = 0
def look(frame, event, arg):
    global count
    count += event == "call"
    if count == {step}:
        count += 1
        os.kill(os.getpid(), {int(number)})
sys.setprofile(look)
_exit = os._exit
def exit(code):
    os.write(1, b"calls: %d" % count)
    _exit(code)
os._exit = exit
"""
    process = program(at, "copy", "--force", testdata / "app-v1.tar", "out.tar", cwd=tmp_path)
    out, err = process.communicate(timeout=60)
    return ProcessEnd(process.returncode, err.decode(), 0), out


def test_a_signal_at_any_call_ends_the_same(tmp_path: Path, testdata: Path) -> None:
    """From the first line of ours, through all imports, to the end of the process."""
    whole, out = sweep(tmp_path, testdata, signal.SIGINT, -1)
    assert whole.code == 0, whole.err
    calls = int(out.rpartition(b"calls: ")[2])
    for number, code in BOTH:
        for part in range(12):
            step = 1 + (calls - 2) * part // 11 + 37 * (0 < part < 11)
            for back in (0, 100, 1000):  # threads make the number of calls differ a little: past the last one nothing is sent
                end, _ = sweep(tmp_path, testdata, number, step - back)
                if end.code or part < 11:
                    break
            assert (code, [SAID[code]]) == (end.code, end.err.splitlines()[-1:]), (step, end.err)
            assert "Traceback" not in end.err and "Exception ignored" not in end.err, (step, end.err)
            assert [] == left(tmp_path, "out.tar"), step


def test_a_signal_that_python_drops_is_raised_again(tmp_path: Path, testdata: Path) -> None:
    """What is raised in a destructor goes no further."""
    drop = """
import os, time, ocitool.operations.listing as listing
class Dropping:
    def __del__(self):
        os.kill(os.getpid(), 2)
        for _ in range(1000): pass
def ls(*_, **__):
    one = Dropping()
    del one
    time.sleep(20)
listing.ls = ls
"""
    process = program(drop, "ls", testdata / "app-v1.tar", cwd=tmp_path)
    err = process.communicate(timeout=15)[1].decode()
    assert (130, [SAID[130]]) == (process.returncode, err.splitlines())


@pytest.mark.parametrize(("number", "code"), BOTH)
def test_a_call_that_cannot_be_cut_short_keeps_no_one_waiting(tmp_path: Path, testdata: Path, number: int, code: int) -> None:
    """As the look-up of a name in the main thread. What has a name by then is removed all the same."""
    stuck = """
import hashlib, ocitool.atomic as whole
def take_at(*_, **__):
    print("now", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 1 << 26)
whole.Temporary.take = whole.Temporary.take_at = whole.Temporary.replace = whole.Temporary.place = take_at
"""
    process = program(stuck, "copy", testdata / "app-v1.tar", "out.tar", cwd=tmp_path)
    until_ready(process)
    end = ending(process, number)
    assert (code, [SAID[code]], []) == (end.code, end.err.splitlines(), left(tmp_path))
    assert end.seconds < LOADED


def test_a_worker_that_does_not_end_keeps_no_one_waiting(tmp_path: Path, testdata: Path) -> None:
    stuck = """
import hashlib, ocitool.operations.listing as listing
def work(number):
    if not number:
        print("now", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 1 << 26)
listing.ls = lambda ref, path, reading, **_: reading.task.map(work, [0, 1, 2])
"""
    process = program(stuck, "ls", testdata / "app-v1.tar", cwd=tmp_path)
    until_ready(process)
    end = ending(process, signal.SIGINT)
    assert (130, [SAID[130]]) == (end.code, end.err.splitlines())
    assert end.seconds < LOADED


def test_a_second_signal_ends_what_takes_long_to_clean_up(tmp_path: Path, testdata: Path) -> None:
    long = """
import time, ocitool.operations.listing as listing
def ls(*_, **__):
    try:
        print("now", flush=True)
        time.sleep(60)
    finally:
        time.sleep(60)
listing.ls = ls
"""
    process = program(long, "ls", testdata / "app-v1.tar", cwd=tmp_path)
    until_ready(process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)  # the same one, pressed twice
    time.sleep(1)
    assert process.poll() is None
    end = ending(process, signal.SIGINT)
    assert (130, [SAID[130]]) == (end.code, end.err.splitlines())
    assert end.seconds < LOADED
