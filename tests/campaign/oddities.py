"""The campaign `oddities`: what docker, skopeo, umoci, crane and ocitool say of the same odd files, as a table in Markdown.

Nothing here passes or fails: the table is read. The laws stand in the test suite."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from conftest import Engine, private_engine
from support.oddities import ODDITIES, Oddity

COLUMNS = ("item", "input", "docker load", "skopeo", "umoci", "crane push",
           "ocitool inspect", "ls of a picked image", "copy --all-platforms", "validate")  # fmt: skip


def table() -> Iterator[str]:
    """The lines of the table. A tool that is not here has a dash in its column."""
    with ExitStack() as stack:
        engine = stack.enter_context(private_engine("vfs", "/tmp")) if os.geteuid() == 0 and shutil.which("dockerd") else None
        registry = stack.enter_context(_registry()) if shutil.which("crane") else None
        yield "| " + " | ".join(COLUMNS) + " |"
        yield "|---" * len(COLUMNS) + "|"
        for oddity in ODDITIES:
            work = Path(tempfile.mkdtemp(prefix="odd-"))
            try:
                cells = list(_row(oddity, oddity.make(work), work, engine, registry))
            finally:
                shutil.rmtree(work)
            yield f"| {oddity.item} | {oddity.name} | " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _row(oddity: Oddity, place: Path, work: Path, engine: Engine | None, registry: str | None) -> Iterator[str]:
    archive = place.is_file()
    yield _docker(engine, place) if engine is not None and archive else "-"
    yield _skopeo(place, oddity.pick) if shutil.which("skopeo") else "-"
    yield _run("umoci", "stat", "--image", f"{place}:{oddity.pick}") if not archive and oddity.pick else "-"
    yield _run("crane", "push", "--insecure", place, f"{registry}/x:{oddity.item}") if registry else "-"
    ours = [sys.executable, "-m", "ocitool"]
    picked = f"{place}:{oddity.pick}" if oddity.pick else place
    yield _run(*ours, "inspect", "--all-platforms", place)
    yield _run(*ours, "ls", picked)
    yield _run(*ours, "copy", "--all-platforms", place, work / "copy.tar")
    yield _run(*ours, "validate", place)


def _docker(engine: Engine, place: Path) -> str:
    done = engine("load", "-i", place, check=False)
    return _said(done.returncode, done.stdout if done.returncode == 0 else done.stderr)


def _skopeo(place: Path, pick: str | None) -> str:
    name = f":{pick}" if pick else ""
    if place.is_file():
        words = [f"docker-archive:{place}{name}", f"oci-archive:{place}{name}"]
    else:
        words = [f"dir:{place}"] if (place / "version").exists() else [f"oci:{place}{name}"]
    found = [_run("skopeo", "inspect", "--raw", word) for word in words]
    return next((one for one in found if one.startswith("yes")), found[0])


def _run(*words: str | Path) -> str:
    done = subprocess.run(words, capture_output=True, stdin=subprocess.DEVNULL, timeout=120)
    return _said(done.returncode, done.stderr)


def _said(code: int, text: bytes) -> str:
    lines = [line for line in text.decode("utf-8", "replace").splitlines() if line.strip()]
    say = next((line for line in lines if "error" in line.lower() or "fatal" in line.lower()), lines[-1] if lines else "")
    say = say.rpartition("level=fatal msg=")[2].replace(tempfile.gettempdir(), "").replace("`", "'")
    short = re.sub(r"/?(odd|oci)-[a-z0-9_]{8}/", "", say)
    short = short[:110] + ("..." if len(short) > 110 else "")
    return ("yes" if code == 0 else f"exit {code}") + (f": {short}" if short else "")


@contextmanager
def _registry() -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(["crane", "registry", "serve", "--address", f"127.0.0.1:{port}"], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()
