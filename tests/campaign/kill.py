"""kill -9 at random moments of every command that writes: the destination is the old one or the new one, never a torn one.

Half of the moments are random delays within the time that the command takes, half are random calls that change a file, so that
short steps are hit as often as long ones. A finding names its turn; the same seed breaks the same calls.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import commands
from commands import Case, Known


def run(
    seconds: float, seed: int = 0, *, times: int | None = None, cases: Sequence[Case] = commands.CASES, delays: bool = True,
    say: Callable[[str], None] = lambda line: None,
) -> Iterator[str]:  # fmt: skip
    """The findings. `times`: kills of each command (shared by its cases), however long they take; else until the time is up."""
    chance, until = random.Random(seed), time.monotonic() + seconds
    with commands.scratch_images() as place:
        known: list[Known] = []
        for number, case in enumerate(cases):
            try:
                known.append(commands.learn(case, place / str(number)))
            except AssertionError as error:
                yield f"{case.name}: {error}"
        killed = dict.fromkeys((one.case.command for one in known), 0)
        dead = dict(killed)
        turn = 0
        while known and (time.monotonic() < until if times is None else min(killed.values()) < times):
            one = known[turn % len(known)]
            turn += 1
            if times is not None and killed[one.case.command] >= times:
                continue
            by_delay = delays and chance.random() < 0.5
            moment = chance.uniform(0.3, 1.05) * one.seconds if by_delay else float(chance.randrange(one.changes))
            killed[one.case.command] += 1
            codes: list[int] = []

            def fault(folder: Path, one: Known = one, by: bool = by_delay, at: float = moment, out: list[int] = codes) -> None:
                out.append(_killed(one, folder, at, by))

            wrong = commands.trial(one, one.origin.parent / "run", fault)
            dead[one.case.command] += codes[:1] == [-9]
            if wrong is not None:
                how = f"after {moment:.3f} s" if by_delay else f"at call {int(moment)} of {one.changes}"
                yield f"{one.case.name}: killed {how} (seed {seed}, turn {turn}): {wrong}"
        for command, count in killed.items():
            say(f"{command}: {count} runs, {dead[command]} of them killed before they ended")


def _killed(one: Known, folder: Path, at: float, by_delay: bool) -> int:
    if not by_delay:
        return commands.ocitool(folder, *one.case.words, fault=("kill", str(int(at)))).returncode
    process = subprocess.Popen(
        [sys.executable, "-m", "ocitool", *one.case.words], cwd=folder, env=commands.environment(folder),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        return process.wait(at)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
