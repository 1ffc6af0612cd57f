"""The job `packages`: the packages of an image, and those that differ between two, beside syft and the databases' own tools.

Images are a real Debian with an update, and the pairs of `tests/support/review_pairs.py`. How many packages a program names is
counted in a run of its own, unmeasured. The databases' own tools read a root that was unpacked before, unmeasured too.

As a program (`packages.py DIRECTORY`, with the Python that has ocitool) it makes the pairs, and prints a line of JSON for each:
its name, and its two images or the tool that is missing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import jobs

Named = set[tuple[str, str, str]]
"""Kind, name and version of packages."""

QUIET = {"SYFT_CHECK_FOR_APP_UPDATE": "false"}
SYFT_KINDS = {"python": "pypi", "go-module": "golang", "java-archive": "maven"}
COLUMN = "packages named"


class OwnTool(NamedTuple):
    """What lists the packages of a database by itself. `directory`: of the database in a root; `command`: with `{}` for it,
    prints a name and a version on each line; `names`: files of which one must be there."""

    kind: str
    directory: str
    names: tuple[str, ...]
    command: tuple[str, ...]


OWN = (
    OwnTool("deb", "var/lib/dpkg", ("status",), ("dpkg-query", "--admindir={}", "-W", "-f", "${Package} ${Version}\\n")),
    OwnTool("rpm", "var/lib/rpm", ("rpmdb.sqlite", "Packages"),
            ("rpm", "-qa", "--dbpath", "{}", "--qf", "%{NAME} %|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}\\n")),
)  # fmt: skip
"""rpm of Debian reads no ndb (`Packages.db`)."""


def add(plan: Any, s: Any) -> AbstractContextManager[None]:
    """Adds the programs; what is given back removes the images that were made for them."""
    stack = ExitStack()
    if s.ours is None:
        plan.skipped.append("ocitool")
        return stack
    job = _Job(plan, s, Path(stack.enter_context(TemporaryDirectory(prefix="packages-", dir=s.work))))
    job.image("Debian with Python", s.work / "field-a")
    job.pair("Debian update", s.work / "update-a", s.work / "update-b")
    made = subprocess.run([s.python, __file__, job.work], check=True, stdout=subprocess.PIPE, text=True).stdout
    for name, *refs in map(json.loads, made.splitlines()):
        if len(refs) == 1:
            plan.skipped.append(f"{refs[0]} ({name})")
            continue
        sides = [job.work / name / side for side in ("a", "b")]
        for side, ref in zip(sides, refs, strict=True):  # syft reads no layout with two images
            subprocess.run([*s.ours, "copy", "--quiet", ref, f"oci:{side}"], check=True, stdout=subprocess.DEVNULL)
        job.pair(name, *sides)
    return stack


class _Job:
    def __init__(self, plan: Any, s: Any, work: Path) -> None:
        self.plan, self.s, self.work = plan, s, work
        self.named = plan.columns.setdefault(COLUMN, {})
        self.syft = shutil.which("syft")
        if self.syft is None:
            plan.skipped.append("syft")

    def image(self, text: str, layout: Path) -> None:
        """The packages of one image."""
        name = f"ocitool packages, {text}"
        self.plan.ours(self.s, name, "packages", layout)
        self.named[name] = _counted(_ours(self.s.ours, layout))
        if self.syft:
            theirs = f"syft, {text}"
            self.plan.add(theirs, *_syft(layout), env=QUIET)
            self.named[theirs] = _counted(_of_syft(layout))
            self.plan.ratio(name, 0.5, theirs)
        for tool, command, found in self._own(layout):
            theirs = f"{tool}, {text}, unpacked"
            self.plan.add(theirs, *command)
            self.named[theirs] = _counted(found)

    def pair(self, text: str, before: Path, after: Path) -> None:
        """The packages that differ between two images."""
        name = f"ocitool diff, {text}"
        self.plan.ours(self.s, name, "diff", before, after, expect=jobs.DIFFERENT)
        done = subprocess.run([*self.s.ours, "diff", "--format", "json", before, after], stdout=subprocess.PIPE)
        changed = json.loads(done.stdout)["packages"] or ()
        self.named[name] = _counts(Counter(package["type"] for package in changed))
        if self.syft:
            theirs = f"syft of both, {text}"
            self.plan.add(theirs, "sh", "-c", _both(_syft(before), _syft(after)), env=QUIET)
            self.named[theirs] = _changed(_of_syft(before), _of_syft(after))
        for old, new in zip(self._own(before), self._own(after), strict=True):
            theirs = f"{old[0]} of both, {text}, unpacked"
            self.plan.add(theirs, "sh", "-c", _both(old[1], new[1]))
            self.named[theirs] = _changed(old[2], new[2])

    def _own(self, layout: Path) -> list[tuple[str, list[str], Named]]:
        """The databases' own tools for an image: name, command, and what it says. The root is unpacked for them once."""
        root = self.work / layout.parent.name / f"{layout.name}-root"
        if not root.exists():
            root.parent.mkdir(exist_ok=True)
            unpack = [*self.s.ours, "unpack", "--quiet", "--as", "rootfs", "--rootless", str(layout), str(root)]
            subprocess.run(unpack, check=True, stdout=subprocess.DEVNULL)
        found = []
        for own in OWN:
            directory = root / own.directory
            if shutil.which(own.command[0]) and any((directory / name).exists() for name in own.names):
                command = [word.replace("{}", str(directory)) for word in own.command]
                lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
                pairs = (line.partition(" ")[::2] for line in lines)
                found.append((own.command[0], command, {(own.kind, name, version) for name, version in pairs}))
        return found


def _ours(ours: tuple[str, ...], layout: Path) -> Named:
    done = subprocess.run([*ours, "packages", "--format", "json", layout], check=True, stdout=subprocess.PIPE)
    return {(one["type"], one["name"], one["version"]) for one in json.loads(done.stdout)["packages"]}


def _syft(layout: Path) -> list[str]:
    return ["syft", "--quiet", "scan", f"oci-dir:{layout}", "--output", "json"]


def _of_syft(layout: Path) -> Named:
    done = subprocess.run(_syft(layout), check=True, stdout=subprocess.PIPE, env={**os.environ, **QUIET})
    found = json.loads(done.stdout)["artifacts"]
    return {(SYFT_KINDS.get(one["type"], one["type"]), one["name"], one["version"]) for one in found}


def _both(*commands: list[str]) -> str:
    quoted = (" ".join("'" + word.replace("'", "'\\''") + "'" for word in command) for command in commands)
    return " && ".join(quoted)


def _changed(old: Named, new: Named) -> str:
    """How many packages differ: each kind and name whose versions are others."""
    return _counts(Counter(kind for kind, _ in {(kind, name) for kind, name, _ in old ^ new}))


def _counted(found: Named) -> str:
    return _counts(Counter(kind for kind, _, _ in found))


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counter.items())) or "none"


def make_pairs(work: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(root), str(root / "tests")]
    from support.review_pairs import PAIRS

    for name, build in PAIRS.items():
        try:
            pair = build(work / name)
        except FileNotFoundError as error:
            print(json.dumps([name, error.filename]))
        else:
            print(json.dumps([name, pair.before, pair.after]))


if __name__ == "__main__":
    make_pairs(Path(sys.argv[1]))
