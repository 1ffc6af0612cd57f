"""The job `squash`: all layers as one, beside the floor, buildah and crane.

buildah has a storage of its own in each run, which goes unmeasured. crane flattens what lies in a docker-registry of its own
on loopback, where it is put before, unmeasured; both are used when they are on PATH.
"""

from __future__ import annotations

import shutil
import subprocess
import zlib
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import floor
import jobs
import measure
from registry import REPOSITORY
from support.real_registry import real_registry  # where `registry` makes it be found

BUILDAH = (
    'set -e; export TMPDIR="$0/tmp"; mkdir -p "$TMPDIR"; '
    'b() { buildah --root "$0/storage" --runroot "$0/run" --storage-driver vfs "$@"; }; '
    'made=$(b from --quiet "oci:$1"); '
)
STORED = 'b commit --quiet --squash "$made" flat; b push --quiet flat "oci:$0/flat:1"'
STRAIGHT = 'b commit --quiet --squash --disable-compression=false "$made" "oci:$0/flat:1"'  # it would not compress


def add(plan: Any, s: Any) -> AbstractContextManager[None]:
    """Adds the programs; what is given back keeps the registry alive, and ends it."""
    image = f"{s.work}/field-a:latest"
    least, cold, warm = "floor", "ocitool squash, cold", "ocitool squash, warm"
    plan.add(least, s.python, jobs.HERE / "floor.py", "squash", s.work / "field-a", "{new}")
    plan.ours(s, cold, "squash", image, "oci:{new}")
    filling = (*(s.ours or ()), "inspect", "--files", image)
    plan.ours(s, warm, "squash", image, "oci:{new}", cache="warm", filled_by=filling)
    for name, factor in ((cold, 1.3), (warm, 1.05)):
        plan.ratio(name, factor, least)
        plan.at_most(name, "under 100 MB", 100, "megabytes")
    buildah = "buildah from, commit --squash, push"
    if shutil.which("buildah"):
        plan.add(buildah, "sh", "-c", BUILDAH + STORED, "{new}", image)
        plan.add("buildah from, commit --squash to a layout", "sh", "-c", BUILDAH + STRAIGHT, "{new}", image)
    else:
        plan.skipped.append("buildah")
    plan.ratio(cold, 1 / 8, buildah)
    if s.ours is not None:
        ours, theirs = sizes(s, image)
        text = f"{cold}: the layer at most 1.15 x zlib level 6 of the same tar"
        plan.targets.append(jobs.Target(text, lambda r: ours, lambda r: 1.15 * theirs, "MB"))
    with ExitStack() as stack:
        if missing := [tool for tool in ("crane", "docker-registry") if not shutil.which(tool)]:
            plan.skipped += missing
        else:
            flatten(plan, s, stack)
            plan.ratio(cold, 1 / 20, "crane flatten")
        return stack.pop_all()


def flatten(plan: Any, s: Any, stack: ExitStack) -> None:
    folder = stack.enter_context(TemporaryDirectory(prefix="registry-", dir=s.work))
    full = stack.enter_context(real_registry(Path(folder)))
    reference = f"{full.host}/{REPOSITORY}"
    subprocess.run(["crane", "push", "--insecure", s.work / "field-a", reference], check=True, capture_output=True)
    plan.add("crane flatten", "crane", "flatten", "--insecure", reference, "-t", f"{full.host}/bench/field:flat")


def sizes(s: Any, image: str) -> tuple[float, float]:
    """MB of our layer, and of the same tar by zlib at level 6."""
    with TemporaryDirectory(prefix="squashed-", dir=s.work) as folder:
        subprocess.run([*s.ours, "squash", "--quiet", image, f"oci:{folder}/one"], check=True, stdout=subprocess.DEVNULL)
        (layer,) = floor.layers(Path(folder, "one"))
        stream, size = zlib.compressobj(6, wbits=31), 0

        def take(data: bytes) -> None:
            nonlocal size
            size += len(stream.compress(data))

        floor.unpack(layer, take)
        return layer.stat().st_size / measure.MB, (size + len(stream.flush())) / measure.MB
