"""The job `rebuild`: the second build of an image goes to a registry that has the first; what reaches it, in bytes.

Counted by the access log and the storage of a docker-registry of its own on loopback, in which before each run, unmeasured,
there is the first build alone. After each run what was pushed is compared with the second build, file by file, by
`ocitool diff --semantic`: a program whose image differs in more than the ignored paths has failed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections import Counter
from contextlib import AbstractContextManager, ExitStack
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import jobs
import registry  # noqa: F401 (where `support` is made to be found)
from measure import MB
from support.real_registry import RealRegistry, real_registry

IGNORED = ("var/cache/apt/*.bin", "var/log/**", "var/cache/ldconfig/aux-cache")
IGNORING = tuple(word for glob in IGNORED for word in ("--ignore-path", glob))
DELTA = ("--plan", "delta")


class Sent(NamedTuple):
    """Bytes of one run: to the registry, and of blobs from it."""

    layers: int
    config: int
    manifest: int
    fetched: int


class SecondBuild:
    """A registry that has the first build of `kind`, and programs that send the second one."""

    def __init__(self, plan: Any, s: Any, kind: str, stack: ExitStack) -> None:
        self.plan, self.s = plan, s
        self.old, self.new = f"{s.work}/{kind}-a:latest", f"{s.work}/{kind}-b:latest"
        self.size = sum(path.stat().st_size for path in jobs.layers(s.work / f"{kind}-b"))
        self.sent: dict[str, list[Sent]] = {}
        self.folder = Path(stack.enter_context(TemporaryDirectory(prefix="registry-", dir=s.work)))
        self.registry: RealRegistry = stack.enter_context(real_registry(self.folder))
        self.repository = f"bench/{kind}"
        self.at = f"docker://{self.registry.host}/{self.repository}"
        skopeo = ("skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false")
        subprocess.run([*skopeo, f"oci:{self.old}", f"{self.at}:a"], check=True)
        self.registry.kill()
        shutil.copytree(self.registry.data, self.folder / "first")
        self.registry.start()

    def ours(self, name: str, *argv: str, ignored: tuple[str, ...] = (), cache: str = "cold") -> None:
        """The words NEW, OLD and TO stand for the layout of the second build, the first one and where to push."""
        stand = {"NEW": self.new, "OLD": f"{self.at}:a", "TO": f"{self.at}:b"}
        sent: list[Sent] = []
        self.sent[name] = sent

        def after() -> str:
            try:
                sent.append(received(self.registry, self.repository, "b"))
            except (OSError, RuntimeError) as error:
                return f"what came cannot be counted: {error}"
            columns(self.plan, name, sent[cache == "warm" :] or sent, self.size)  # not of the run that fills a cache
            return self.differs(ignored)

        words = [stand.get(word, word) for word in argv]
        self.plan.ours(self.s, name, words[0], "--insecure", *words[1:], cache=cache, before=self.restore, after=after)

    def both(self, name: str, *argv: str, ignored: tuple[str, ...] = ()) -> list[str]:
        names = [f"{name}, {cache}" for cache in ("cold", "warm")]
        for one, cache in zip(names, ("cold", "warm"), strict=True):
            self.ours(one, *argv, ignored=ignored, cache=cache)
        return names

    def restore(self) -> None:
        self.registry.kill()
        shutil.rmtree(self.registry.data)
        shutil.copytree(self.folder / "first", self.registry.data)
        self.registry.start()
        self.registry.clear_log()

    def differs(self, ignored: tuple[str, ...]) -> str:
        """In what else than `ignored`: nothing, if all is well."""
        argv = [*self.s.ours, "diff", "-q", "--insecure", "--semantic", "--format", "json", self.new, f"{self.at}:b"]
        env = dict(os.environ, OCITOOL_CACHE_DIR=str(self.folder / "cache"))
        done = subprocess.run(argv, capture_output=True, text=True, env=env)
        if done.returncode not in jobs.DIFFERENT:
            return f"what came out cannot be compared: {done.stderr.strip()}"
        paths = [one["path"] for one in json.loads(done.stdout)["files"]]
        wrong = [path for path in paths if not any(fnmatchcase(path.lstrip("/"), glob) for glob in ignored)]
        compiled = {path for path in wrong if path.endswith(".pyc")}
        if compiled:
            wrong = sorted({*wrong} - compiled | compiled & self.unfit(compiled))
        return f"{len(wrong)} files are not as in the second build: {', '.join(wrong[:3])}" if wrong else ""

    def unfit(self, compiled: set[str]) -> set[str]:
        """Those of the .pyc files that differ in more than the time of their source, which they embed, or do not fit it."""
        sides: list[dict[str, tuple[bytes, int, int]]] = []  # all but the time, the time, the mtime
        for reference in (self.new, f"{self.at}:b"):
            found: dict[str, tuple[bytes, int, int]] = {}
            argv = [*self.s.ours, "unpack", "-q", "--insecure", "--as", "tar", reference, "-"]
            env = dict(os.environ, OCITOOL_CACHE_DIR=str(self.folder / "cache"))
            with subprocess.Popen(argv, stdout=subprocess.PIPE, env=env) as child:
                assert child.stdout is not None
                with tarfile.open(fileobj=child.stdout, mode="r|") as tar:
                    for member in tar:
                        if member.isreg() and member.name.endswith((".py", ".pyc")):
                            file = tar.extractfile(member)
                            assert file is not None
                            data = file.read()
                            rest = hashlib.sha256(data[:8] + data[12:]).digest()
                            time = int.from_bytes(data[8:12], "little")
                            found["/" + member.name] = rest, time, int(member.mtime)
            sides.append(found)
        new, made = sides
        wrong = set()
        for path in compiled:
            folder, _, name = path.rpartition("/")
            source = f"{folder.removesuffix('/__pycache__')}/{name.partition('.')[0]}.py"
            if made[path][0] != new[path][0] or made[path][1] != made[source][2]:
                wrong.add(path)
        return wrong

    def megabytes(self, name: str, results: jobs.Results) -> float:
        return max(one.layers for one in self.sent[name] if name in results) / MB

    def at_most(self, name: str, share: float, of: str = "") -> None:
        """The layer bytes of one program, beside those of the program `of` or of the whole image."""
        text = f"{name}: of layers at most {100 * share:.0f} % of {f'what {of} sends' if of else 'the image'}"

        def limit(results: jobs.Results) -> float:
            return share * (self.megabytes(of, results) if of else self.size / MB)

        self.plan.targets.append(jobs.Target(text, lambda results: self.megabytes(name, results), limit, "MB"))


def add(plan: Any, s: Any) -> AbstractContextManager[object]:
    """Adds the programs; what is given back keeps the registries alive, and ends them."""
    with ExitStack() as stack:
        if missing := [tool for tool in ("docker-registry", "skopeo") if not shutil.which(tool)]:
            plan.skipped += missing
            return stack.pop_all()
        again = SecondBuild(plan, s, "field", stack)
        again.ours("ocitool push", "push", "NEW", "TO")
        rebuild = ("rebuild", "NEW", "TO", "--against")
        for name in again.both("ocitool rebuild, ignored paths", *rebuild, "OLD", *IGNORING, ignored=IGNORED):
            again.at_most(name, 0.02)
        again.both("ocitool rebuild, ignored paths, against layout", *rebuild, again.old, *IGNORING, ignored=IGNORED)
        archive = ("rebuild", f"{s.work}/field-b.tar", "TO", "--against", "OLD", *IGNORING)
        for name in again.both("ocitool rebuild docker save, ignored paths", *archive, ignored=IGNORED):
            again.at_most(name, 0.02)
        for name in again.both("ocitool rebuild delta", *rebuild, "OLD", *DELTA):
            again.at_most(name, 0.2)
        updated = SecondBuild(plan, s, "update", stack)
        push = "ocitool push, packages updated"
        updated.ours(push, "push", "NEW", "TO")
        delta = (*rebuild, "OLD", *DELTA, *IGNORING)
        for name in updated.both("ocitool rebuild delta, packages updated, ignored paths", *delta, ignored=IGNORED):
            updated.at_most(name, 0.15, push)
        return stack.pop_all()


def columns(plan: Any, name: str, sent: list[Sent], size: int) -> None:
    """The most of all runs."""
    most = Sent(*map(max, zip(*sent, strict=True)))
    for heading, text in (
        ("layers sent MB", f"{most.layers / MB:.3f}"),
        ("of image", f"{100 * most.layers / size:.1f} %"),
        ("config kB", f"{most.config / 1000:.1f}"),
        ("manifest kB", f"{most.manifest / 1000:.1f}"),
        ("fetched MB", f"{most.fetched / MB:.1f}"),
    ):
        plan.columns.setdefault(heading, {})[name] = text


def received(real: RealRegistry, repository: str, tag: str) -> Sent:
    """What a registry got since its log was cleared, with what goes for layers, config and manifest by the manifest
    that it has now."""
    store = real.data / "docker/registry/v2"

    def stored(digest: str) -> bytes:
        algorithm, _, value = digest.partition(":")
        return Path(store, "blobs", algorithm, value[:2], value, "data").read_bytes()

    link = (store / "repositories" / repository / "_manifests/tags" / tag / "current/link").read_text()
    manifest = stored(link)
    config = json.loads(manifest)["config"]["digest"]
    requests = real.requests()
    uploads, digests, fetched = Counter[str](), dict[str, str](), 0
    for one in requests:
        upload = re.search(r"/blobs/uploads/([^/?]+)", one.path)
        if one.method == "GET" and "/blobs/" in one.path:
            fetched += one.sent
        if upload is None or one.method not in ("PATCH", "PUT"):
            continue
        if one.received is None:
            raise RuntimeError(f"{one.method} {one.path}: {one.status}: nobody knows how much came")
        uploads[upload[1]] += one.received
        if one.method == "PUT":
            (digests[upload[1]],) = parse_qs(urlsplit(one.path).query)["digest"]
    sizes = Counter[bool]()
    for name, size in uploads.items():  # what was never finished counts as a layer too
        sizes[digests.get(name) == config] += size
    return Sent(sizes[False], sizes[True], len(manifest), fetched)
