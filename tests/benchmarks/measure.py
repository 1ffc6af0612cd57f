"""Runs programs in turn and measures each: wall clock, CPU of the program and its children, peak memory."""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

MB = 1_000_000
TIMEOUT = 600.0
PATIENCE = 90.0  # seconds given to one program in all its runs; a slow peer gets fewer runs, and the table says so


@dataclass(frozen=True, slots=True)
class Program:
    """One row. `cache`: "cold" has a fresh cache directory in each run, "warm" one that a run has filled, of `filled_by`
    where the program's own fills none. `{new}` in an argument is a path where nothing stands, in a directory that goes
    after the run, unmeasured, as `before` is, and `after`, which gives what is wrong with what came out, or nothing."""

    name: str
    argv: tuple[str, ...]
    cache: str = "none"
    expect: frozenset[int] = frozenset({0})
    env: Mapping[str, str] = field(default_factory=dict)
    before: Callable[[], None] | None = None
    after: Callable[[], str] | None = None
    filled_by: tuple[str, ...] = ()


@dataclass(slots=True)
class Samples:
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    peak: list[float] = field(default_factory=list)
    error: str = ""

    @property
    def runs(self) -> int:
        return len(self.wall)

    @property
    def seconds(self) -> float:
        return statistics.median(self.wall)

    @property
    def cpu_seconds(self) -> float:
        return statistics.median(self.cpu)

    @property
    def megabytes(self) -> float:
        return max(self.peak)


def once(program: Program, cache: Path, samples: Samples | None) -> str:
    """One run; gives what went wrong, or nothing."""
    if program.before is not None:
        program.before()
    new = Path(tempfile.mkdtemp(prefix="new-", dir=cache.parent))
    try:
        error = _once(program, cache, samples, str(new / "made"))
        return error or (program.after() if program.after is not None else "")
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _once(program: Program, cache: Path, samples: Samples | None, new: str) -> str:
    env = dict(os.environ, OCITOOL_CACHE_DIR=str(cache), NO_COLOR="1", **program.env)
    # What pip installs is compiled: to compile every module in each run, a third of a small command, is nobody's cost.
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryFile() as errors:
        began = time.perf_counter()
        child = subprocess.Popen(
            [word.replace("{new}", new) for word in program.argv],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
        watchdog = threading.Timer(TIMEOUT, os.killpg, (child.pid, signal.SIGKILL))
        watchdog.start()
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)
            raise
        finally:
            watchdog.cancel()
        wall = time.perf_counter() - began
        code = child.returncode = os.waitstatus_to_exitcode(status)
        if code not in program.expect:
            errors.seek(0)
            lines = errors.read()[-2000:].decode(errors="replace").strip().splitlines() or [""]
            why = "killed after the time limit" if wall >= TIMEOUT else lines[-1]
            return f"exit {code}: {why[:160]}"
    if samples is not None:
        samples.wall.append(wall)
        samples.cpu.append(usage.ru_utime + usage.ru_stime)
        samples.peak.append(usage.ru_maxrss * (1024 if sys.platform != "darwin" else 1) / MB)
    return ""


def in_turn(programs: Sequence[Program], runs: int, work: Path) -> dict[str, Samples]:
    """`runs` rounds, in each every program once, so that a slow minute of the machine meets them all."""
    results = {program.name: Samples() for program in programs}
    with tempfile.TemporaryDirectory(prefix="cache-", dir=work) as caches:
        for program in programs:
            if program.cache == "warm":
                filling = replace(program, argv=program.filled_by or program.argv)
                results[program.name].error = once(filling, _cache(caches, program), None)
        for _ in range(runs):
            for program in programs:
                samples = results[program.name]
                if samples.error or sum(samples.wall) > PATIENCE:
                    continue
                cache = _cache(caches, program)
                if program.cache != "warm":
                    shutil.rmtree(cache, ignore_errors=True)
                samples.error = once(program, cache, samples)
    return results


def _cache(root: str, program: Program) -> Path:
    return Path(root, program.name.replace("/", "_").replace(" ", "_"))


def table(
    title: str,
    results: Mapping[str, Samples],
    entries: Mapping[str, int],
    codec: Mapping[str, str],
    columns: Mapping[str, Mapping[str, str]],
) -> str:
    """Markdown. `entries`: how many a program went through; `codec`: whose cost is taken off first; `columns`: more of them,
    by heading and program."""
    heads = ["program", "runs", "wall s", "min s", "CPU s", "peak MB", "ratio"] + (["us/entry CPU (wall)"] if entries else [])
    heads += columns
    lines = [f"## {title}", "", "| " + " | ".join(heads) + " |", "|---" + "|---:" * (len(heads) - 1) + "|"]
    first: float | None = None
    for name, samples in results.items():
        if samples.error:
            lines.append(f"| {name} | failed: {samples.error.replace('|', '/')}" + " |" * (len(heads) - 1))
            continue
        first = first or samples.seconds
        row = [
            name,
            str(samples.runs),
            f"{samples.seconds:.3f}",
            f"{min(samples.wall):.3f}",
            f"{samples.cpu_seconds:.2f}",
            f"{samples.megabytes:.0f}",
            f"{samples.seconds / first:.2f}",
        ]
        if entries:
            row.append(_per_entry(name, results, entries, codec))
        row += [texts.get(name, "") for texts in columns.values()]
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"


def beyond(name: str, results: Mapping[str, Samples], count: int, codec: str) -> tuple[float, float]:
    """Microseconds of CPU and of wall clock an entry, beyond what the program `codec` takes."""
    samples, floor = results[name], results[codec]
    cpu = (samples.cpu_seconds - floor.cpu_seconds) / count * 1e6
    return cpu, (samples.seconds - floor.seconds) / count * 1e6


def _per_entry(name: str, results: Mapping[str, Samples], entries: Mapping[str, int], codec: Mapping[str, str]) -> str:
    if name not in entries or results[codec[name]].error:
        return ""
    cpu, wall = beyond(name, results, entries[name], codec[name])
    return f"{cpu:.1f} ({wall:.1f})"
