"""Many trials on all cores, each core a process that forks its commands."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from campaign.attack import runs, trials

MEMORY = "/dev/shm"
"""Where sandboxes are if there is room: making and removing one takes a tenth of the time."""

WAITING = 4
"""Processes for each core if most of the time is waiting for servers."""


def run(
    target: str, seed: int, *, seconds: float | None = None, times: int | None = None, first: int = 0, cores: int | None = None,
    keep: Path | None = None, say: Callable[[str], None] = lambda line: None,
) -> Iterator[str]:  # fmt: skip
    """Findings of trials `first`, `first` + 1, ... until so many commands ran or so long passed. `say` hears how far it is."""
    cores = cores or (os.cpu_count() or 1) * (WAITING if target == "registry" else 1)
    until = time.monotonic() + seconds if seconds is not None else None
    base = Path(tempfile.mkdtemp(prefix="attack-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None))
    ends: dict[int, tuple[int, bytearray]] = {}
    runs.prepared()
    for core in range(cores):
        read, write = os.pipe()
        process = os.fork()
        if process == 0:
            _work(target, seed, first + core, cores, base / str(core), keep, write, until)
        os.close(write)
        ends[read] = process, bytearray()
    codes: Counter[str] = Counter()
    count, shown, started = 0, 0, time.monotonic()
    try:
        while ends:
            ready, _, _ = select.select(list(ends), [], [], 1)
            for end in ready:
                piece = os.read(end, 1 << 16)
                if not piece:
                    process, _ = ends.pop(end)
                    os.close(end)
                    os.waitpid(process, 0)
                    continue
                held = ends[end][1]
                held += piece
                while (at := held.find(b"\n")) >= 0:
                    message = json.loads(held[:at])
                    del held[: at + 1]
                    count += len(message["codes"])
                    codes.update(f"{name} {code}" for name, code in message["codes"])
                    yield from message["findings"]
            if count - shown >= 1000:
                shown = count
                say(f"{count} commands, {count / (time.monotonic() - started):.0f} a second")
            if times is not None and count >= times:
                break
    finally:
        for end, (process, _) in ends.items():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)
            os.waitpid(process, 0)
            os.close(end)
        shutil.rmtree(base, ignore_errors=True)
    say(f"{count} commands in {time.monotonic() - started:.0f} s")
    by_code = Counter(name.split()[-1] for name in codes.elements())
    say("exit codes: " + ", ".join(f"{code}: {times}" for code, times in sorted(by_code.items())))


def _work(
    target: str, seed: int, first: int, step: int, base: Path, keep: Path | None, write: int, until: float | None
) -> None:
    """One core's trials; each one's outcome is a line of JSON."""
    number = first
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))  # after the trial, so that its command ends too
    try:
        base.mkdir()
        while not ended and (until is None or time.monotonic() < until):
            message: dict[str, Any] = {"codes": [], "findings": []}
            try:
                outcome = trials.trial(target, seed, number, base, keep)
                message = {"codes": outcome.codes, "findings": [str(one) for one in outcome.findings]}
            except Exception as error:
                import traceback

                message["findings"] = [
                    f"{target} {seed}/{number}: the campaign failed: {error!r} {traceback.format_exc()[-600:]}"
                ]
            data = json.dumps(message).encode() + b"\n"
            while data:
                data = data[os.write(write, data) :]
            number += step
    finally:
        os._exit(0)
