"""The job `volume`: a volume of 20,000 files and 500 MB saved and restored, beside tar and gzip in a container. It starts a
dockerd, as root, with its data in the work directory."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

from engine import _engine as private_engine

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

IMAGE, VOLUME = "bench-tools:1", "bench-volume"


def add(plan: Any, s: Any) -> AbstractContextManager[None]:
    """Adds the programs; what is returned keeps the engine alive, and ends it."""
    from support.engine_state import import_programs

    stack = ExitStack()
    missing = [tool for tool in ("dockerd", "docker", "busybox", "gzip") if shutil.which(tool) is None]
    if missing or os.geteuid() != 0:
        plan.skipped.append(", ".join(missing or ["root"]))
        return stack
    host = stack.enter_context(private_engine(s.work))
    env = {"DOCKER_HOST": host, "DOCKER_API_VERSION": "1.41"}

    def docker(*words: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(["docker", *words], check=True, capture_output=True, env={**os.environ, **env}, input=stdin)

    import_programs(docker, IMAGE, "tar", "gzip", "busybox")
    docker("volume", "create", VOLUME)
    fill(Path(docker("volume", "inspect", "-f", "{{.Mountpoint}}", VOLUME).stdout.decode().strip()))
    saved = s.work / "saved-volume"
    shutil.rmtree(saved, ignore_errors=True)
    subprocess.run(
        [*(s.ours or ("ocitool",)), "volume", "save", "-q", VOLUME, f"oci:{saved}"], check=True, env={**os.environ, **env}
    )

    def wipe() -> None:
        subprocess.run(["docker", "volume", "rm", "-f", "bench-new"], capture_output=True, env={**os.environ, **env})

    theirs, ours, back = "docker run, tar czf", "ocitool volume save", "ocitool volume restore"
    script = "/bin/tar -C /data -cf - . | /bin/gzip > /out/data.tgz"
    words = [
        "run",
        "--rm",
        "--network",
        "none",
        "-v",
        f"{VOLUME}:/data",
        "-v",
        f"{s.work}:/out",
        "--entrypoint",
        "/bin/busybox",
    ]
    plan.add(theirs, "docker", *words, IMAGE, "sh", "-c", script, env=env)
    plan.ours(s, ours, "volume", "save", "-q", VOLUME, "oci:{new}", env=env)
    plan.ours(s, "ocitool volume save, helper", "volume", "save", "-q", "--helper", IMAGE, VOLUME, "oci:{new}", env=env)
    plan.ours(s, back, "volume", "restore", "-q", saved, "bench-new", env=env, before=wipe)
    plan.ratio(ours, 1 / 1.5, theirs)
    for name in (ours, "ocitool volume save, helper", back):
        plan.at_most(name, "peak under 150 MB", 150, "megabytes")
    return stack


def fill(root: Path, files: int = 20_000, size: int = 25_000) -> None:
    """Half of the files do not compress, the others are words."""
    chance = random.Random(1)
    words = [chance.randbytes(3).hex().encode() for _ in range(3_000)]
    for number in range(files):
        directory = root / f"directory-{number // 100}" / "sub"
        directory.mkdir(parents=True, exist_ok=True)
        data = b" ".join(chance.choices(words, k=size // 7)) if number % 2 else chance.randbytes(size)
        (directory / f"file-{number}").write_bytes(data)
