"""Podman's service, which answers to Docker's API: one of the tests' own."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class NoService(Exception):
    """What a service said that did not start."""


@contextmanager
def podman_service() -> Iterator[str]:
    """Gives the address of a service with images of its own; it ends, by its own process id, with the context. Raises
    `NoService`."""
    place = Path(tempfile.mkdtemp(prefix="oci-", dir="/tmp"))  # podman takes no run root of more than 50 characters
    command = ["podman", "--root", f"{place}/root", "--runroot", f"{place}/run", "--storage-driver", "vfs", "system", "service"]
    with open(place / "log", "wb") as log:
        service = subprocess.Popen(
            [*command, "--time=0", f"unix://{place}/p.sock"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not (place / "p.sock").exists():
            if service.poll() is not None or time.monotonic() > deadline:
                raise NoService((place / "log").read_text(errors="replace")[-2000:])
            time.sleep(0.1)
        yield f"unix://{place}/p.sock"
    finally:
        service.terminate()
        try:
            service.wait(30)
        except subprocess.TimeoutExpired:
            service.kill()
            service.wait()
        shutil.rmtree(place, ignore_errors=True)
