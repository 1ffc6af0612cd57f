"""Ctrl-C and SIGTERM at random moments of every command that takes long, in every codec and level.

The law: the process has ended within a second, with 130 or 143 and one line that says so; none of its processes lives on; no
temporary is left; and what it writes is absent or whole. Where other programs use the machine a second is longer: an idle
command, which waits for its standard input, is ended beside each trial, and what that takes is allowed ten times on top.

    copy --compression   each level of each codec, to a layout, and some to archives; `.tar.gz` and `.tar.zst` as a whole
    reading              archives in gzip, xz, bzip2 and zstd with a window of 128 MiB, from files and from standard input
    the other commands   unpack, squash, repack, rebuild, append, diff, dedupe, inspect, validate
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import commands
import zstandard
from support.images import image, layer_tar, write_layout

from ocitool.layers.codecs import WRITERS

PROMISED = 1.0
"""Seconds from the signal to the end of the process."""
IDLE_TIMES = 10
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
SAID = {130: "ocitool: error: interrupted", 143: "ocitool: error: terminated"}
LONGEST = 6.0
"""Seconds of a command, from our first line on, within which signals are sent."""
FIRST = 0.01


class Case(NamedTuple):
    """`words`: the command; `stdin`: what it reads; `new`: what it writes, in the folder that it runs in."""

    words: tuple[str, ...]
    stdin: str = ""
    new: str = ""

    @property
    def name(self) -> str:
        return "ocitool " + " ".join(self.words) + (f" < {self.stdin}" if self.stdin else "")


def levels() -> list[str]:
    return ["none", *(f"{name}:{level}" for name, one in WRITERS.items() for level in one.levels)]


def cases() -> list[Case]:
    """All. Names are those of `made`."""
    found = [Case(("copy", "--compression", level, "a.tar", "new/"), new="new") for level in levels()]
    for level in ("none", "gzip:2", "gzip:9", "zstd:3", "zstd:19"):
        found.append(Case(("copy", "--compression", level, "a.tar", "new.tar"), new="new.tar"))
        found.append(Case(("copy", "--compression", level, "-", "new/"), stdin="a.tar", new="new"))
        found.append(Case(("squash", "--compression", level, "a", "new/"), new="new"))
    for ending in (".tar.gz", ".tar.zst"):
        found.append(Case(("copy", "a", f"new{ending}", "--tag", "a:1"), new=f"new{ending}"))
        found.append(Case(("copy", "a.tar", f"new{ending}"), new=f"new{ending}"))
    for ending in ("gz", "xz", "bz2", "zst"):
        found.append(Case(("copy", f"a.tar.{ending}", "new/"), new="new"))
        found.append(Case(("inspect", "--files", "-"), stdin=f"a.tar.{ending}"))
    for form in ("editable", "rootfs", "bundle", "layers"):
        found.append(Case(("unpack", "--as", form, "a", "new"), new="new"))
    found += [
        Case(("unpack", "--as", "rootfs", "large", "new"), new="new"),
        Case(("unpack", "--as", "tar", "a", "new.tar"), new="new.tar"),
        Case(("copy", "a", "new/"), new="new"), Case(("copy", "--verify", "large", "new.tar", "--tag", "a:1"), new="new.tar"),
        Case(("append", "a", "new/", "--layer", "files"), new="new"),
        Case(("repack", "work", "new/", "--source", "a", "--checksum"), new="new"),
        Case(("rebuild", "b", "new/", "--against", "a", "--plan", "delta"), new="new"),
        Case(("diff", "a", "b")), Case(("diff", "--patch", "--inside", "a.tar", "b")),
        Case(("diff", "--extract", "new", "a", "b"), new="new"), Case(("inspect", "--files", "a")),
        Case(("ls", "--recursive", "a")), Case(("validate", "a", "b")), Case(("dedupe", "--files", "a", "b", "large")),
        Case(("dedupe", "--zstd", "19", "a", "b")), Case(("packages", "a")),
    ]  # fmt: skip
    return found


# What they read


def make(place: Path, size: int) -> None:
    """Makes `a` and `b`, layouts of one image each whose larger layer differs, `a` also as archives in each codec; `large`, a
    layout with one file of twenty times that size; `files`, a directory, and `work`, the unpacked `a`, edited. `size`: bytes
    of the larger layer."""
    chance = random.Random(1)
    words = [chance.randbytes(chance.randrange(3, 12)).hex() for _ in range(3000)]

    def text(bytes_: int) -> bytes:
        return " ".join(chance.choices(words, k=bytes_ // 16)).encode()

    write_layout(place / "one", [image([layer_tar([(f"f{n}", text(size // 1600)) for n in range(400)])], tag="1")])
    files = place / "files"
    for number in range(40):
        (files / f"d{number % 20}").mkdir(parents=True, exist_ok=True)
        (files / f"d{number % 20}/f{number}").write_bytes(text(size // 160))
    (files / "big").write_bytes(text(size // 2))
    (files / "noise").write_bytes(chance.randbytes(size // 4))
    _ours(place, "append", "one", "oci:a:1", "--layer", "files")
    _ours(place, "copy", "--compression", "none", "a", "a.tar")
    with (files / "big").open("ab") as file:
        file.write(b"changed")
    _ours(place, "append", "one", "oci:b:1", "--layer", "files")
    window = zstandard.ZstdCompressionParameters.from_level(3, window_log=27)
    for ending, compress in (
        ("gz", lambda data: gzip.compress(data, 1)), ("xz", lambda data: lzma.compress(data, preset=1)),
        ("bz2", lambda data: bz2.compress(data, 1)), ("zst", zstandard.ZstdCompressor(compression_params=window).compress),
    ):  # fmt: skip
        (place / f"a.tar.{ending}").write_bytes(compress((place / "a.tar").read_bytes()))
    (place / "one-file").mkdir()
    with (place / "one-file/large").open("wb") as file:
        block = text(1 << 20)
        for _ in range(20 * size >> 20):
            file.write(block)
    _ours(place, "append", "one", "oci:large:1", "--layer", "one-file", "--compression", "gzip:1")
    shutil.rmtree(place / "one-file")
    _ours(place, "unpack", "a", "work")
    shutil.copy(files / "big", place / "work/rootfs/big")


def _ours(place: Path, *words: str) -> None:
    done = commands.ocitool(place, *words)
    if done.returncode:
        raise RuntimeError(f"ocitool {' '.join(words)}: {done.stderr}")


# Trials


class End(NamedTuple):
    code: int
    err: str
    seconds: float
    """From the signal to the end; the whole run's if none was sent."""
    signalled: bool
    alone: bool = True
    """Whether all processes that it started had ended, or did soon."""


def run(
    seconds: float, seed: int = 0, *, times: int | None = None, only: str = "", size: int = 48 << 20,
    chosen: Sequence[Case] | None = None, longest: float = LONGEST, promised: float = PROMISED, where: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Iterator[str]:  # fmt: skip
    """The findings. `times`: signals for each case, however long they take; else until the time is up, at least one each."""
    chance = random.Random(seed)
    with commands.scratch_images(where) as place:
        make(place, size)
        until = time.monotonic() + seconds
        lengths = {case: length(case, place, longest) for case in (chosen or cases()) if only in case.name}
        slowest = dict.fromkeys(lengths, 0.0)
        hit = dict.fromkeys(lengths, 0)
        turn = 0
        while lengths and (turn < len(lengths) * (times or 1) or (times is None and time.monotonic() < until)):
            case = list(lengths)[turn % len(lengths)]
            turn += 1
            number = chance.choice(list(CODES))
            moment = chance.uniform(FIRST, max(lengths[case], 2 * FIRST))
            idle = idle_seconds(place)
            end = trial(case, place, number, moment)
            if end.signalled:
                hit[case] += 1
                slowest[case] = max(slowest[case], end.seconds)
            for wrong in broken_laws(case, place, number, end, promised + IDLE_TIMES * idle):
                yield f"{case.name}: signal {number} after {moment:.3f} s (seed {seed}, turn {turn}): {wrong}"
            clear(case, place)
        for case, worst in slowest.items():
            say(f"{case.name}: {hit[case]} signals, answered in {worst:.2f} s at most; it takes {lengths[case]:.1f} s")


def length(case: Case, place: Path, longest: float) -> float:
    """Seconds that a case takes; not more than `longest`."""
    end = trial(case, place, signal.SIGKILL, longest)
    clear(case, place)
    if not end.signalled and end.code not in (0, 1):
        raise RuntimeError(f"{case.name}: exit {end.code}: {end.err}")
    return longest if end.signalled else end.seconds


def started(case: Case, place: Path) -> subprocess.Popen[bytes]:
    """Its process is the leader of a group of its own."""
    stdin = (place / case.stdin).open("rb") if case.stdin else subprocess.DEVNULL
    env = commands.environment(place / "x")
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "ocitool", *case.words], cwd=place, env={**env, "OCITOOL_CACHE_DIR": str(place / "cache")},
            stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
    finally:
        if not isinstance(stdin, int):
            stdin.close()


def trial(case: Case, place: Path, number: int, moment: float) -> End:
    process = started(case, place)
    while process.poll() is None and not handles_signals(process.pid):
        time.sleep(0.002)
    began = time.monotonic()
    try:
        err = process.communicate(timeout=moment)[1]
        return End(process.returncode, err.decode(errors="replace"), time.monotonic() - began, False)
    except subprocess.TimeoutExpired:
        process.send_signal(number)
    began = time.monotonic()
    if number == signal.SIGKILL:
        os.killpg(process.pid, number)
    err = process.communicate(timeout=600)[1]
    seconds = time.monotonic() - began
    return End(process.returncode, err.decode(errors="replace"), seconds, True, not lives_on(process.pid))


def may_look() -> bool:
    """Whether `handles_signals` can tell."""
    return Path("/proc/self/status").exists()


def handles_signals(process: int) -> bool:
    """Whether it has a handler for SIGTERM: before, Python starts, which no line of ours can change."""
    try:
        caught = re.search(r"^SigCgt:\s*([0-9a-f]+)", Path(f"/proc/{process}/status").read_text(), re.MULTILINE)
    except OSError:
        return True
    return caught is not None and bool(int(caught[1], 16) >> signal.SIGTERM - 1 & 1)


def idle_seconds(place: Path) -> float:
    """Seconds in which a command that waits for its standard input ends after a signal."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ocitool", "inspect", "-"], cwd=place, env=commands.environment(place / "x"),
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not handles_signals(process.pid):
        time.sleep(0.002)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    process.wait(600)
    seconds = time.monotonic() - began
    process.communicate()
    return seconds


def broken_laws(case: Case, place: Path, number: int, end: End, most: float) -> Iterator[str]:
    if not end.signalled:
        if end.code not in (0, 1):
            yield f"exit {end.code} without a signal: {end.err[-600:]}"
        return
    finished = end.code in (0, 1)  # it was over when the signal came
    if not finished and (end.code != CODES[number] or end.err.splitlines()[-1:] != [SAID[CODES[number]]]):
        yield f"exit {end.code} instead of {CODES[number]}: {end.err[-600:]}"
    if end.seconds > most:
        yield f"it ended after {end.seconds:.2f} s; {most:.2f} are allowed"
    if not end.alone:
        yield "a process that it started lives on"
    if "Traceback" in end.err or "Exception ignored" in end.err:
        yield f"a traceback: {end.err[-600:]}"
    if left := commands.temporaries(place):
        yield f"it leaves {left}"
    if case.new and os.path.lexists(place / case.new) and not finished:
        yield from torn(case, place)


def torn(case: Case, place: Path) -> Iterator[str]:
    """What was written although the command was ended must be whole: it had done all when the signal came."""
    new = place / case.new
    if case.words[0] in ("copy", "squash", "append", "repack", "rebuild"):
        if new.is_dir() and not (new / "index.json").exists():
            if any(path.is_file() for path in new.glob("blobs/*/*")):
                yield from (f"torn: {problem}" for problem in _wrong_blobs(new))
            return
        done = commands.ocitool(place, "validate", case.new)
        if done.returncode:
            yield f"torn: {done.stdout[-600:]}"


def _wrong_blobs(layout: Path) -> Iterator[str]:
    try:
        commands.layout_state(layout)
    except AssertionError as error:
        yield str(error)


def lives_on(leader: int) -> bool:
    """Whether a process of its group is there, and does not end soon."""
    for _ in range(100):
        try:
            os.killpg(leader, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.05)
    return True


def clear(case: Case, place: Path) -> None:
    for path in (place / case.new, *commands.temporaries(place)) if case.new else commands.temporaries(place):
        if os.path.isdir(path):
            shutil.rmtree(path)
        elif os.path.lexists(path):
            os.unlink(path)
