"""The job `engine`: images out of a Docker engine and into it, beside the docker client. It starts a dockerd, as root, with its
data in the work directory, which is best on tmpfs."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

NAME = "bench/field:1"


def add(plan: Any, s: Any) -> AbstractContextManager[None]:
    """Adds the programs; what is returned keeps the engine alive, and ends it."""
    stack = ExitStack()
    if not (shutil.which("dockerd") and shutil.which("docker")) or os.geteuid() != 0:
        plan.skipped.append("dockerd, docker (as root)")
        return stack
    host = stack.enter_context(_engine(s.work))
    env = {"DOCKER_HOST": host, "DOCKER_API_VERSION": "1.41"}
    archive = s.work / "field-a.tar"

    def docker(*words: str, check: bool = True) -> str:
        done = subprocess.run(["docker", *words], check=check, capture_output=True, text=True, env={**os.environ, **env})
        return done.stdout

    def fill() -> None:
        if not docker("images", "-q", NAME):
            loaded = docker("load", "-q", "-i", str(archive)).strip().rpartition(" ")[2]
            docker("tag", loaded, NAME)

    def wipe() -> None:
        for one in set(docker("images", "-q", "--no-trunc").split()):
            docker("rmi", "-f", one)

    # Out
    ours, theirs = "ocitool copy, engine to layout", "docker save, to a file"
    plan.add(theirs, "docker", "save", "-o", "{new}", NAME, env=env, before=fill)
    plan.ours(s, ours, "copy", f"docker-daemon:{NAME}", "oci:{new}", env=env, before=fill)
    plan.ours(s, "ocitool copy, engine to archive", "copy", f"docker-daemon:{NAME}", "oci-archive:{new}", env=env, before=fill)
    plan.ratio(ours, 1.15, theirs)
    plan.at_most(ours, "peak under 150 MB", 150, "megabytes")
    # What the engine says
    empty = plan.empty(s)
    asked = "ocitool inspect, engine"
    plan.ours(s, asked, "inspect", f"docker-daemon:{NAME}", env=env, before=fill)
    plan.beyond(asked, 0.25, empty)
    # In
    ours, theirs = "ocitool copy, archive to engine", "docker load"
    plan.add(theirs, "docker", "load", "-q", "-i", archive, env=env, before=wipe)
    plan.ours(s, ours, "copy", archive, f"docker-daemon:{NAME}", env=env, before=wipe)
    gzip = "docker-daemon:bench/gzip:1"
    plan.ours(s, "ocitool copy, gzip layout to engine", "copy", s.work / "field-a", gzip, env=env, before=wipe)
    plan.ours(s, "ocitool copy, to an engine that has it", "copy", archive, "docker-daemon:bench/other:1", env=env, before=fill)
    plan.ratio(ours, 1.1, theirs)
    plan.at_most(ours, "peak under 150 MB", 150, "megabytes")
    return stack


@contextmanager
def _engine(work: Path) -> Iterator[str]:
    """The address of a dockerd without a network. Layers are stacked by overlay2 if the file system can carry that."""
    base = Path(tempfile.mkdtemp(prefix="engine-", dir=work))
    short = Path(tempfile.mkdtemp(prefix="oci-", dir="/tmp"))  # a socket's path has at most 107 bytes
    host = f"unix://{short}/d.sock"
    try:
        for driver in ("overlay2", "vfs"):
            command = ["dockerd", "--iptables=false", "--bridge=none", f"--storage-driver={driver}", f"--data-root={base}/data"]
            command += [f"--exec-root={short}/exec", f"--pidfile={short}/pid", "-H", host]
            with open(base / "log", "wb") as log:
                daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
            try:
                if _answers(daemon, host):
                    yield host
                    return
            finally:
                daemon.terminate()
                daemon.wait(60)
        raise SystemExit(f"dockerd did not start:\n{(base / 'log').read_text(errors='replace')[-2000:]}")
    finally:
        shutil.rmtree(base, ignore_errors=True)
        shutil.rmtree(short, ignore_errors=True)


def _answers(daemon: subprocess.Popen[bytes], host: str) -> bool:
    deadline = time.monotonic() + 60
    env = {**os.environ, "DOCKER_HOST": host, "DOCKER_API_VERSION": "1.41"}
    while time.monotonic() < deadline and daemon.poll() is None:
        if not subprocess.run(["docker", "version"], env=env, capture_output=True).returncode:
            return True
        time.sleep(0.2)
    return False
