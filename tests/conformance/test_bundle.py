"""`unpack --as bundle` gives what `crun run` starts: as root, in a user namespace, and as an ordinary user."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.disk import NOBODY, open_to_all
from support.images import config_of, entry, image, layer_tar, write_layout

SCRIPT = """
id -u; id -g; pwd; echo $GREETING; cat /etc/motd
ls /data; touch /data/new && echo written
grep CapEff /proc/self/status
"""


@pytest.fixture
def place() -> Iterator[Path]:
    with open_to_all() as made:
        yield made


@pytest.fixture
def layout(place: Path, need: Callable[..., str]) -> Path:
    busybox = Path(shutil.which(need("busybox")) or "").read_bytes()
    links = [("bin/" + name, "link:busybox") for name in ("sh", "id", "pwd", "cat", "ls", "touch", "grep", "echo")]
    tar = layer_tar([
        ("bin/", None), entry("bin/busybox", busybox, mode=0o755), *links, ("etc/", None), ("etc/motd", b"hello\n"),
        ("etc/passwd", b"app:x:1000:1000::/home/app:/bin/sh\n"), ("data/", None), ("data/hidden", b""), ("work/", None),
        ("proc/", None), ("sys/", None), ("dev/", None),
    ])  # fmt: skip
    settings = {
        "User": "app", "Cmd": ["sh", "-c", SCRIPT], "WorkingDir": "/work", "Env": ["PATH=/bin", "GREETING=good day"],
        "Volumes": {"/data": {}},
    }  # fmt: skip
    return write_layout(place / "layout", [image([tar], tag="app", config=config_of([tar], config=settings))])


def run(bundle: Path, *, user: int = 0) -> list[str]:
    """What the container says. A cgroup hierarchy of mixed versions, which crun refuses, is out of its sight."""
    state = bundle.with_name("state")
    state.mkdir(mode=0o777, exist_ok=True)
    state.chmod(0o777)
    drop = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
    words = [*drop, "crun", f"--root={state}", "--cgroup-manager=disabled", "run", f"--bundle={bundle}", f"t{os.getpid()}"]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"', "sh", *words],
        capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert 0 == done.returncode, done.stderr
    return done.stdout.splitlines()


EXPECTED = ["1000", "1000", "/work", "good day", "hello", "written", "CapEff:\t0000000000000000"]


def unpack(ocitool: Callable[..., Any], layout: Path, *flags: str) -> Path:
    done = ocitool("unpack", f"oci:{layout}:app", layout.with_name("bundle"), "--as", "bundle", *flags)
    assert 0 == done.code, str(done)
    return layout.with_name("bundle")


def test_crun_starts_a_bundle(need: Callable[..., str], ocitool: Callable[..., Any], layout: Path) -> None:
    need("crun", "unshare", "root")
    assert EXPECTED == run(unpack(ocitool, layout))


def test_crun_starts_a_bundle_of_mapped_ids(need: Callable[..., str], ocitool: Callable[..., Any], layout: Path) -> None:
    need("crun", "unshare", "root")
    assert EXPECTED == run(unpack(ocitool, layout, "--uid-map", "0:100000:65536", "--gid-map", "0:100000:65536"))


def test_crun_starts_a_bundle_for_an_ordinary_user(need: Callable[..., str], place: Path, layout: Path) -> None:
    need("crun", "unshare", "setpriv", "root")
    words = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", sys.executable, "-m", "ocitool", "unpack"]
    env = {**os.environ, "OCITOOL_CACHE_DIR": str(place / "cache"), "HOME": str(place)}
    subprocess.run([*words, f"oci:{layout}:app", place / "bundle", "--as", "bundle"], check=True, capture_output=True, env=env)
    assert EXPECTED == run(place / "bundle", user=NOBODY)


def test_a_bundle_that_does_not_start_is_noticed(need: Callable[..., str], ocitool: Callable[..., Any], layout: Path) -> None:
    need("crun", "unshare", "root")
    bundle = unpack(ocitool, layout)
    (bundle / "rootfs/bin/busybox").unlink()
    with pytest.raises(AssertionError):
        run(bundle)
