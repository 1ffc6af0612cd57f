"""The job `dedupe`: what many images share, beside a loop of skopeo, the floor and a docker-registry of its own on loopback.

The registry has two repositories of 500 tags, pushed before, unmeasured: `repeating`, whose manifests differ by an annotation
and name 10 configurations, and `own`, where each tag has a configuration of its own.
"""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jobs
import registry  # noqa: F401 (where `support` is made to be found)
import synthetic
from measure import MB, beyond
from support.real_registry import real_registry

START = "ocitool --version"
TAGS, CONFIGS = 500, 10
INSPECT = 'set -e; for file in "$0"/*.tar; do skopeo --insecure-policy inspect "docker-archive:$file"; done'


def add(plan: Any, s: Any) -> AbstractContextManager[object]:
    """Adds the programs; what is given back keeps the registry alive, and ends it."""
    empty = plan.empty(s)
    plan.ours(s, START, "--version")
    archives(plan, s)
    collections(plan, s)
    files(plan, s, empty)
    with ExitStack() as stack:
        if shutil.which("docker-registry"):
            tags(plan, s, stack)
        else:
            plan.skipped.append("docker-registry")
        return stack.pop_all()


def archives(plan: Any, s: Any) -> None:
    folder, what = s.work / "many-archives", f"{synthetic.ARCHIVES:,} archives"
    for cache in ("cold", "warm"):
        images(plan, s, f"ocitool dedupe, {what}, {cache}", synthetic.ARCHIVES, folder, cache=cache)
    plan.at_most(f"ocitool dedupe, {what}, warm", "under 5 s", 5)
    plan.at_most(f"ocitool dedupe, {what}, warm", "under 150 MB", 150, "megabytes")
    if shutil.which("skopeo"):
        plan.add(f"skopeo inspect of each of {what}", "sh", "-c", INSPECT, folder)
    else:
        plan.skipped.append("skopeo")


def collections(plan: Any, s: Any) -> None:
    """Layouts: that they take no more an image as they grow."""
    for end, option in (("", ()), (", json", ("--format", "json"))):
        name = {size: f"ocitool dedupe, {size:,} images{end}" for size in synthetic.SIZES}
        for size in synthetic.SIZES:
            images(plan, s, name[size], size, *option, s.work / f"images-{size}")
        plan.at_most(name[100_000], "under 30 s", 30)
        plan.at_most(name[100_000], "under 700 MB", 700, "megabytes")
        plan.targets.append(
            jobs.Target(
                f"{name[8000]}: wall clock an image at most 1.25 x that of 1,000",
                lambda r, name=name: beyond(name[8000], r, 8000, START)[1],
                lambda r, name=name: 1.25 * beyond(name[1000], r, 1000, START)[1],
                "us",
            )
        )


def files(plan: Any, s: Any, empty: str) -> None:
    layouts = [s.work / name for name in ("field-a", "field-b", "update-b")]
    least, cold, warm = "floor", "ocitool dedupe --files, cold", "ocitool dedupe --files, warm"
    plan.add(least, s.python, jobs.HERE / "floor.py", "distinct", *layouts)
    plan.ours(s, cold, "dedupe", "--files", *layouts)
    plan.ours(s, warm, "dedupe", "--files", *layouts, cache="warm")
    plan.ratio(cold, 1.4, least, empty)
    plan.at_most(warm, "under 0.6 s", 0.6)
    if s.ours is not None and Path("/proc/self/smaps_rollup").exists():
        with TemporaryDirectory(prefix="cache-", dir=s.work) as cache:
            found = {name: f"{together([*s.ours, 'dedupe', '--files', *layouts], cache):.0f}" for name in (cold, warm)}
        plan.columns["all processes MB"] = found


def images(plan: Any, s: Any, name: str, count: int, *argv: str | Path, cache: str = "cold") -> None:
    plan.ours(s, name, "dedupe", *argv, cache=cache)
    plan.entries[name], plan.codec[name] = count, START


def together(argv: list[str | Path], cache: str) -> float:
    """MB that a program and its processes hold at most at one time, of what they share each its part; one run, unmeasured."""
    most = 0
    env = dict(os.environ, OCITOOL_CACHE_DIR=cache)
    with subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, start_new_session=True) as child:
        while child.poll() is None:
            most = max(most, sum(held(child.pid)))
            time.sleep(0.01)
    if child.returncode:
        raise SystemExit(f"bench: {' '.join(map(str, argv))} ended with {child.returncode}")
    return most / MB


def held(session: int) -> Iterator[int]:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError):  # it has ended
            if int((process / "stat").read_text().rpartition(")")[2].split()[3]) == session:
                lines = (process / "smaps_rollup").read_text().splitlines()
                yield from (int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


# The registry


def tags(plan: Any, s: Any, stack: ExitStack) -> None:
    folder = stack.enter_context(TemporaryDirectory(prefix="registry-", dir=s.work))
    full = stack.enter_context(real_registry(Path(folder)))
    for repository, configs, speed in (("repeating", CONFIGS, 300), ("own", TAGS, 120)):
        fill(full.host, f"bench/{repository}", configs)
        name = f"ocitool dedupe, {TAGS} tags, {configs} configs"
        at = f"docker://{full.host}/bench/{repository}"
        images(plan, s, name, TAGS, "--insecure", "--tags", "*", at)
        plan.at_most(name, f"at least {speed} images a second", TAGS / speed)
        state = Path(folder) / f"state-{repository}"  # the run that fills the cache fills it
        images(plan, s, f"{name}, --state", TAGS, "--insecure", "--tags", "*", "--state", state, at, cache="warm")


def fill(host: str, repository: str, configs: int) -> None:
    """Puts TAGS images of the layers of CONFIGS, with so many configurations."""
    wire = http.client.HTTPConnection(host)

    def send(method: str, path: str, data: bytes = b"", kind: str = "application/octet-stream") -> str:
        wire.request(method, path, data, {"Content-Type": kind})
        with wire.getresponse() as answer:
            body = answer.read()
            if answer.status not in (201, 202):
                raise SystemExit(f"bench: {method} {path}: {answer.status} {body[:200].decode(errors='replace')}")
            return answer.headers["Location"].removeprefix(f"http://{host}")

    def blob(data: bytes) -> None:
        digest = synthetic.sha256(data)
        if digest not in there:
            there.add(digest)
            send("PUT", f"{send('POST', f'/v2/{repository}/blobs/uploads/')}&digest={digest}", data)

    there: set[str] = set()
    for n in range(TAGS):
        layers = synthetic.twelve(n % CONFIGS)
        stored = [one.stored for one in layers]
        config = synthetic.config_of(layers, str(n % configs))
        for data in (*stored, config):
            blob(data)
        manifest = synthetic.manifest_of(config, stored, "layer.v1.tar+gzip", {"bench.tag": str(n)})
        send("PUT", f"/v2/{repository}/manifests/v{n}", manifest, f"{synthetic.OCI}manifest.v1+json")
    wire.close()
