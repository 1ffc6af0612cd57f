"""Full disks, read errors and interruptions under every command that writes.

    full    the case runs on a tmpfs (root only) with a random amount of room, less than it needs: exit 9, nothing left
    space   the same by system calls: from a random call on there is no room
    read    one random read fails with EIO: exit 8, nothing torn
    term    SIGTERM at a random call: exit 143, nothing left

Afterwards the old destination is there, byte for byte, or (where the fault came too late to matter) the new one.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import commands
from commands import Case, Known

HOWS = ("full", "space", "read", "term")
_ENDS = {"full": 9, "space": 9, "read": 8, "term": 143}
ROOM = 48 << 20
"""Of the tmpfs; a filler takes what is not to be free."""


def run(
    seconds: float, seed: int = 0, *, times: int | None = None, cases: Sequence[Case] = commands.CASES,
    hows: Sequence[str] = HOWS, say: Callable[[str], None] = lambda line: None,
) -> Iterator[str]:  # fmt: skip
    """The findings. `times`: faults of each kind for each command, however long they take; else until the time is up."""
    chance, until = random.Random(seed), time.monotonic() + seconds
    if "full" in hows and not may_mount():
        say("no file system can be mounted here, so no disk is really full")
        hows = [how for how in hows if how != "full"]
    with commands.scratch_images() as place, contextlib.ExitStack() as stack:
        known: list[Known] = []
        for number, case in enumerate(cases):
            base = place / str(number)
            if "full" in hows:
                stack.enter_context(tmpfs(base))
            try:
                known.append(commands.learn(case, base))
            except AssertionError as error:
                yield f"{case.name}: {error}"
        done = {(one.case.command, how): 0 for one in known for how in hows}
        met = dict.fromkeys(done, 0)
        turn = 0
        while done and (time.monotonic() < until if times is None else min(done.values()) < times):
            one, how = known[turn // len(hows) % len(known)], hows[turn % len(hows)]
            turn += 1
            key = one.case.command, how
            if times is not None and done[key] >= times:
                continue
            done[key] += 1
            number = chance.randrange(one.reads if how == "read" else one.changes)
            part = chance.random()
            codes: list[int] = []
            wrong = broken(one, how, number, part, codes)
            met[key] += codes[:1] != [0]
            if wrong is not None:
                at = f"{part:.3f} of the room" if how == "full" else f"call {number}"
                yield f"{one.case.name}: {how} at {at} (seed {seed}, turn {turn}): {wrong}"
        for (command, how), count in done.items():
            say(f"{command}, {how}: {count} runs, {met[command, how]} of them failed as they should")


def broken(one: Known, how: str, number: int, part: float, codes: list[int]) -> str | None:
    """One trial; what is wrong, or None. `codes` takes the exit code of the broken run."""

    def fault(folder: Path) -> str | None:
        if how == "full":
            with filled(folder, part * _needed(one)):
                done = commands.ocitool(folder, *one.case.words)
        else:
            done = commands.ocitool(folder, *one.case.words, fault=("full" if how == "space" else how, str(number)))
        codes.append(done.returncode)
        wanted = _ENDS[how]
        if done.returncode not in (0, wanted) and not _other(how, done):
            return f"exit {done.returncode} instead of {wanted}: {done.stderr[-600:]}"
        if "Traceback" in done.stderr:
            return done.stderr[-1500:]
        if done.returncode and how != "read":
            left = [path for path in commands.temporaries(folder) if "aaaaaaaa" not in path]
            if left:
                return f"a failed run leaves {left}"
            for name, kind in one.case.places.items():
                left_there = kind != "store" and one.old[name] is None and os.path.lexists(folder / name)
                if left_there and (how != "term" or commands.state(folder / name, kind) != one.new[name]):
                    return f"a failed run leaves {name}"
        return None

    return commands.trial(one, one.origin.parent / "run", fault)


def _other(how: str, done: subprocess.CompletedProcess[str]) -> bool:
    """Another end that is right: what cannot be read back from where we write is the destination's fault."""
    return how == "read" and done.returncode == 9 and "Input/output error" in done.stderr


def _needed(one: Known) -> float:
    """Bytes that a run may need at most: those of the image, twice where layers are made first."""
    if one.case.command == "layout":
        return 10_000.0
    return 3.3e6 * (2 if one.case.command in ("repack", "edit", "append") else 1.5)


def may_mount() -> bool:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    with commands.scratch_images() as place:
        try:
            with tmpfs(place / "small"):
                return True
        except subprocess.CalledProcessError:
            return False


@contextlib.contextmanager
def tmpfs(path: Path) -> Iterator[Path]:
    """A small file system of our own."""
    path.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM},mode=755", "campaign", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@contextlib.contextmanager
def filled(folder: Path, room: float) -> Iterator[None]:
    """The file system with no more room than that, for as long as it lasts."""
    filler = folder.parent / "filler"
    (folder.parent / commands.STATE / "tmp").mkdir(parents=True, exist_ok=True)
    size = shutil.disk_usage(folder).free - int(room)
    with open(filler, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(size, 1))
    try:
        yield
    finally:
        filler.unlink()
