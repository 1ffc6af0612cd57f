"""The job `small-files`: unpack, in every form, and ls of a layer of 100,000 small files, beside tar, crane and umoci.

Every form as root, whose files have their owners, and rootless. `crane export` reads the image from a docker-registry of its
own on loopback, where it is put before, unmeasured; both are used when they are on PATH.
"""

from __future__ import annotations

import shutil
import subprocess
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jobs
from registry import real_registry  # it makes it be found

REPOSITORY = "bench/small:1"
FORMS = ("rootfs", "editable", "bundle", "layers", "tar")


def add(plan: Any, s: Any) -> AbstractContextManager[None]:
    """Adds the programs; what is given back keeps the registry alive, and ends it."""
    layout = s.work / "small-files"
    (layer,) = jobs.layers(layout)
    tar = "tar -xzf"
    plan.add(tar, "sh", "-c", 'mkdir "$1" && tar -xzf "$0" -C "$1"', layer, "{new}")
    for form in FORMS:
        for rootless in (False, True) if form != "tar" else (False,):
            name = f"ocitool unpack --as {form}" + (", rootless" if rootless else "")
            plan.ours(s, name, "unpack", "--as", form, *(["--rootless"] if rootless else []), layout, "{new}")
            plan.ratio(name, 1.5, tar)
            text = f"{name}: CPU at most 2 x {tar}"
            plan.targets.append(jobs.Target(text, _cpu(name, 1), _cpu(tar, 2)))
            plan.at_most(name, "under 100 MB", 100, "megabytes")
    plan.peer("umoci unpack", "umoci", "unpack", "--image", f"{layout}:latest", "{new}")
    plan.add("tar -tzf", "sh", "-c", 'tar -tzf "$0"', layer)
    for cache in ("cold", "warm"):
        plan.ours(s, f"ocitool ls -R, {cache}", "ls", "--recursive", layout, cache=cache)
    with ExitStack() as stack:
        if missing := [tool for tool in ("crane", "docker-registry") if not shutil.which(tool)]:
            plan.skipped += missing
        else:
            folder = stack.enter_context(TemporaryDirectory(prefix="registry-", dir=s.work))
            full = stack.enter_context(real_registry(Path(folder)))
            reference = f"{full.host}/{REPOSITORY}"
            subprocess.run(["crane", "push", "--insecure", layout, reference], check=True, capture_output=True)
            export = 'mkdir "$1" && crane export --insecure "$0" - | tar -x -C "$1"'
            plan.add("crane export | tar -x", "sh", "-c", export, reference, "{new}")
        return stack.pop_all()


def _cpu(name: str, times: float) -> Any:
    return lambda results: times * results[name].cpu_seconds
