"""The jobs `repack` and `rebuild-layout`: layers made again, from a directory and from another image, beside their floors.

The floors are told what must be found out first: which layers those are. From a cold cache, all indexes are on top.
"""

from __future__ import annotations

import subprocess
import tarfile
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jobs

COLD, WARM = 1.3, 1.05


def held_to_floor(plan: Any, s: Any, name: str, floor: str, *argv: str | Path, filled_by: tuple[str | Path, ...] = ()) -> None:
    """Adds a program of ours twice, cold and warm, with its targets."""
    for cache, factor in (("cold", COLD), ("warm", WARM)):
        filling = (*(s.ours or ()), *map(str, filled_by)) if cache == "warm" and filled_by else ()
        plan.ours(s, f"{name}, {cache}", *argv, cache=cache, filled_by=filling)
        plan.ratio(f"{name}, {cache}", factor, floor)
        plan.at_most(f"{name}, {cache}", "under 100 MB", 100, "megabytes")


def repack(plan: Any, s: Any) -> AbstractContextManager[object]:
    """One changed file of the largest layer: that layer is made again, the others are copied."""
    with ExitStack() as stack:
        image, work = s.work / "field-a", Path(stack.enter_context(TemporaryDirectory(prefix="repack-", dir=s.work)), "work")
        if s.ours is None:
            plan.skipped.append("ocitool")
            return stack.pop_all()
        subprocess.run([*s.ours, "unpack", "--quiet", image, work], check=True, stdout=subprocess.DEVNULL)
        (work / "rootfs" / file_of(jobs.layers(image))).write_bytes(b"edited\n")
        plan.add("floor", s.python, jobs.HERE / "floor.py", "repack", image, "{new}")
        words = ("repack", work, "oci:{new}", "--source", image)
        held_to_floor(plan, s, "ocitool repack", "floor", *words, filled_by=("inspect", "--files", image))
        return stack.pop_all()


def file_of(layers: list[Path]) -> str:
    """The path of a small file that the largest layer alone has."""
    largest = max(layers, key=lambda path: path.stat().st_size)
    names: dict[Path, list[str]] = {}
    for path in layers:
        with tarfile.open(path) as tar:
            names[path] = [one.name for one in tar if one.isreg() and (path != largest or 0 < one.size < 10_000)]
    others = {name for path, found in names.items() if path != largest for name in found}
    return next(name for name in sorted(names[largest]) if name not in others)


def rebuild(plan: Any, s: Any) -> AbstractContextManager[object]:
    """The second build beside the first one, from layout to layout."""
    old, new = s.work / "field-a", s.work / "field-b"
    plan.add("floor", s.python, jobs.HERE / "floor.py", "rebuild", new, old, "{new}")
    held_to_floor(plan, s, "ocitool rebuild", "floor", "rebuild", new, "oci:{new}", "--against", old)
    delta = ("rebuild", new, "oci:{new}", "--against", old, "--plan", "delta")
    for cache in ("cold", "warm"):
        plan.ours(s, f"ocitool rebuild --plan delta, {cache}", *delta, cache=cache)
    return ExitStack()
