"""Trials: a sandbox, a command in it, and what the laws say. Made of a target, a seed and a number, and of nothing else."""

from __future__ import annotations

import json
import os
import random
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from campaign.attack import keychains, laws, layers, places, servers, words
from campaign.attack.laws import CommandFacts, Observation
from campaign.attack.runs import RunResult, run, stood
from support.images import image as honest_image
from support.images import layer_tar, write_docker_archive, write_layout

ALLOWED = ("tmp", "cache")
"""What every command may write to, below the sandbox."""
COMMANDS = 5
"""For each set of inputs."""
ROOT_LENGTH = 72
"""Of a sandbox's path: the canary's path stands in images, and a seed must give images of one length everywhere."""
USER, PASSWORD, FOREIGN = "ci-us3r", "Pa55w0rd:/+%&\u00e9-k9", "f0reign-S3cret/+=x"
HONEST = honest_image([layer_tar([("etc/", None), ("etc/motd", b"hello\n"), ("bin/sh", "link:busybox")])], tag="app")


@dataclass(slots=True)
class Finding:
    """A law that did not hold: the run, and the command to repeat it."""

    target: str
    seed: int
    number: int
    laws: list[str]
    command: str
    ran: RunResult
    root: Path

    def __str__(self) -> str:
        return f"{self.target} {self.seed}/{self.number}: {'; '.join(self.laws)}: {self.command}"


@dataclass(slots=True)
class Outcome:
    """A trial: how many commands it ran, their exit codes, and what was found."""

    codes: list[tuple[str, int]]
    findings: list[Finding]


class Sandbox:
    """A directory: `run` (where the command runs, with `in` and `out`), `home`, `tmp`, `cache`, `bin`, and the `canary`, which
    is what links and names of the images lead to, and `linked`, files that have a second name in `out`."""

    def __init__(self, base: Path, number: int) -> None:
        self.root = base / f"{number:0{max(6, ROOT_LENGTH - len(str(base)) - 1)}d}"
        for name in ("run/in/tree", "home/.docker", "tmp", "cache", "bin", "canary/directory/deep", "linked"):
            (self.root / name).mkdir(parents=True)
        (self.root / "cache").chmod(0o700)
        canary = self.root / "canary"
        (canary / "file").write_text("untouched\n")
        (canary / "directory" / "inner").write_text("untouched too\n")
        (canary / "directory" / ("0" * 64)).write_text("named like a blob\n")
        (canary / "link").symlink_to("file")
        (canary / "program").write_text("#!/bin/sh\n")
        (canary / "program").chmod(0o4755)

    @property
    def canary(self) -> bytes:
        return os.fsencode(self.root / "canary")

    def environment(self, chance: random.Random) -> dict[str, str]:
        env = {
            "HOME": str(self.root / "home"), "TMPDIR": str(self.root / "tmp"), "OCITOOL_CACHE_DIR": str(self.root / "cache"),
            "PATH": f"{self.root / 'bin'}:/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TERM": "xterm",
            "XDG_RUNTIME_DIR": str(self.root / "home" / "runtime"),
        }  # fmt: skip
        for name, values in (
            ("SOURCE_DATE_EPOCH", ("0", "1700000000", "-1", "x", "99999999999999")), ("COLUMNS", ("20", "1", "x", "500")),
            ("NO_COLOR", ("1",)),
            ("OCITOOL_MAX_RATIO", ("1", "x")), ("OCITOOL_MAX_UNPACKED_SIZE", ("1000", "-1")), ("OCITOOL_MAX_LAYER_ENTRIES",
            ("3",)),
        ):  # fmt: skip
            if chance.random() < 0.03:
                env[name] = chance.choice(values)
        return env

    def observed(
        self,
        asked: CommandFacts,
        env: dict[str, str],
        requests: int = 0,
        documents: int = 0,
        *,
        running: servers.RunningServers | None = None,
    ) -> Observation:
        """One run of a command, and what was there before and after."""
        but = (*ALLOWED, *(os.path.normpath(f"run/{name}") for name in asked.outputs))
        if "out/linked-report" in asked.outputs:
            but += ("run/out/real-report",)
        known = frozenset(listed(self.root / "run" / asked.copies)) if asked.copies else frozenset()
        before = self._stood(but)
        ran = run(asked.words, self.root / "run", {**env, **asked.env}, stdin=asked.stdin, terminal=asked.terminal)
        server_report = running.end() if running is not None else servers.ServerReport(0, ())
        after = self._stood(but)
        left = tuple(sorted(os.listdir(self.root / "tmp")))
        reports = {}
        for name in ("out/report", "out/real-report"):
            with suppress(OSError):
                reports[name] = (self.root / "run" / name).read_bytes()
        root = self.root / "run"
        return Observation(
            asked, ran, before, after, left, reports, root, known, server_report.leaks, server_report.requests, documents
        )

    def _stood(self, but: tuple[str, ...]) -> dict[str, object]:
        found = stood(self.root, but)
        return {
            path: one._replace(links=0, when=(one.when[0], 0)) if path.startswith("linked/") else one for path,
                one in found.items()
        }  # fmt: skip


def listed(layout: Path) -> list[str]:
    """Digests of the entries of a layout that is there."""
    try:
        index = layout / "index.json"
        return [one["digest"] for one in json.loads(index.read_bytes())["manifests"]] if index.is_file() else []
    except (OSError, ValueError, KeyError, TypeError):
        return []


def trial(
    target: str, seed: int, number: int, base: Path, keep: Path | None = None, say: Callable[[str], None] | None = None
) -> Outcome:
    """Runs one trial in `base`. `keep`: where findings are written down. `say` hears each command and what it printed."""
    chance = random.Random(f"{target}/{seed}/{number}")
    box = Sandbox(base, number)
    outcome = Outcome([], [])
    try:
        for asked, seen in TARGETS[target](chance, box, f"{target}/{seed}/{number}"):
            outcome.codes.append((asked.words[0] if asked.words else "", seen.ran.code))
            if say is not None:
                say(f"{laws.escaped(asked.words)}: exit {seen.ran.code}, {seen.ran.cpu:.2f} s, {seen.ran.peak >> 20} MiB")
                say(
                    (seen.ran.out[:2000] + seen.ran.err[:2000])
                    .decode("utf-8", "backslashreplace")
                    .encode("unicode_escape")
                    .decode()
                )
            broken = laws.breaches(seen)
            if broken:
                found = Finding(target, seed, number, broken, laws.escaped(asked.words), seen.ran, box.root)
                outcome.findings.append(found)
                if keep is not None:
                    kept(found, asked, box, keep)
    finally:
        shutil.rmtree(box.root, ignore_errors=True)
    return outcome


def kept(found: Finding, asked: CommandFacts, box: Sandbox, keep: Path) -> None:
    """Writes a finding down: what broke, how to repeat it, what was printed, and the sandbox as a tar."""
    where = keep / f"finding-{found.target}-{found.seed}-{found.number}"
    where.mkdir(parents=True, exist_ok=True)
    (where / "finding.json").write_text(json.dumps({
        "laws": found.laws, "command": found.command,
        "repeat": f"tests/campaign/run {found.target} --seed {found.seed} --turn {found.number}",
        "code": found.ran.code, "cpu": found.ran.cpu, "wall": found.ran.wall, "peak": found.ran.peak, "sandbox": str(box.root),
        "stored": asked.stored, "entries": asked.entries, "unpacked": asked.unpacked, "env": asked.env,
    }, indent=2))  # fmt: skip
    (where / "stdout").write_bytes(found.ran.out[: 1 << 20])
    (where / "stderr").write_bytes(found.ran.err[: 1 << 20])
    with suppress(OSError, ValueError), tarfile.open(where / "sandbox.tar", "w") as archive:
        for name in ("run/in", "run/out", "home"):
            archive.add(box.root / name, name)


# Images


def attack(chance: random.Random, box: Sandbox, label: str) -> Iterator[tuple[CommandFacts, Observation]]:
    """A few commands on the same inputs, and where one wrote an image, checks of that."""
    there = box.root / "run" / "in"
    found = [places.place(chance, there, f"p{n}", box.canary) for n in range(chance.choice((1, 1, 2, 3)))]
    beside(chance, box, found)
    outputs(chance, box, found)
    env = box.environment(chance)
    unpacked = None
    if chance.random() < 0.08:
        unpacked = "in/work"
        first = CommandFacts(
            ("unpack", f"in/{found[0].name}", unpacked, *chance.choice(((), ("--rootless",)))), outputs=(unpacked,)
        )
        yield (first, box.observed(costs(first, found), env))
        tampered(chance, box.root / "run" / unpacked, box.canary)
    for turn in range(COMMANDS):
        if turn:
            shutil.rmtree(box.root / "run" / "out")
            outputs(chance, box, found)
        yield from one_command(chance, box, found, env, unpacked)


def one_command(
    chance: random.Random, box: Sandbox, found: list[places.Place], env: dict[str, str], unpacked: str | None
) -> Iterator[tuple[CommandFacts, Observation]]:
    there = box.root / "run" / "in"
    line = words.line(chance, found, unpacked)
    asked = costs(CommandFacts(
        tuple(line.words), verbatim=line.verbatim, terminal=chance.random() < 0.12, outputs=line.outputs, copies=line.copies,
        secrets=tuple(secret for one in found for secret in one.secrets),
    ), found)  # fmt: skip
    if "-" in asked.words and chance.random() < 0.3:
        asked.stdin = chance.choice(
            (b"", b"x", (there / found[-1].name).read_bytes() if not found[-1].directory else b"y" * 600)
        )
    seen = box.observed(asked, env)
    yield asked, seen
    if seen.ran.code == 0 and asked.copies and (box.root / "run" / asked.copies).exists():
        yield from validated(box, asked, env, [f"in/{one.name}" for one in found])


def costs(asked: CommandFacts, found: list[places.Place]) -> CommandFacts:
    """With what the places cost; a command may read each several times, and what stands in `out`."""
    asked.stored = 2 * sum(one.stored for one in found) + 20_000
    asked.entries = 2 * sum(one.entries for one in found) + 100
    asked.unpacked = 3 * sum(one.unpacked for one in found)
    return asked


def validated(
    box: Sandbox, asked: CommandFacts, env: dict[str, str], sources: list[str]
) -> Iterator[tuple[CommandFacts, Observation]]:
    """What was written is valid if all sources are."""
    check = replace(asked, words=("validate", asked.copies), outputs=(), copies="", verbatim=False, terminal=False, stdin=b"")
    seen = box.observed(check, env)
    # A tar to append is no image that could be validated before.
    if seen.ran.code == 1 and not {"--omit", "--force", "--layer"} & set(asked.words):
        for source in sources:
            of_source = replace(check, words=("validate", source))
            checked = box.observed(of_source, env)
            yield of_source, checked
            if checked.ran.code != 0:
                break
        else:
            seen = replace(
                seen,
                ran=seen.ran._replace(
                    code=-1, err=b"not valid, and all its sources are: " + seen.ran.out[:2000] + seen.ran.err
                ),
            )
    yield check, seen


def beside(chance: random.Random, box: Sandbox, found: list[places.Place]) -> None:
    """Further inputs: a layer, a file, and a directory with links out of it."""
    there = box.root / "run" / "in"
    layer = layers.layer(chance, box.canary)
    (there / "layer.tar").write_bytes(layer.stored)
    (there / "file").write_text("content\n")
    found[0].stored += len(layer.stored)
    found[0].entries += layer.entries
    found[0].unpacked += layer.unpacked
    tree = there / "tree"
    for n, name in enumerate(
        chance.sample([one for one in (*layers.PLAIN, *layers.ODD) if one.strip(b"/.") and b".." not in one], 6)
    ):
        with suppress(OSError):
            path = os.path.join(os.fsencode(tree), name.strip(b"/"))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if n % 3 == 0:
                os.symlink(layers.target(chance, box.canary), path)
            else:
                with open(path, "wb") as file:
                    file.write(layers.content(chance))


def outputs(chance: random.Random, box: Sandbox, found: list[places.Place]) -> None:
    """Outputs that are there already: a layout and archives, with links and lies planted in them."""
    out = box.root / "run" / "out"
    for name in ("empty", "full"):
        (out / name).mkdir(parents=True)
    write_layout(out / "old", [HONEST])
    write_docker_archive(out / "old.tar", [HONEST])
    (out / "full" / "file").write_text("here\n")
    (out / "full" / "rootfs").symlink_to(box.root / "canary" / "directory")
    (out / "linked-report").symlink_to("real-report")
    places.write(out / "store", places.files_of(chance, [HONEST, *found[0].images], "oci"))
    if chance.random() < 0.5:
        return
    blobs = [digest for one in found for each in one.images for digest in each.blobs]
    for where in ("old", "store"):
        for _ in range(chance.choice((1, 2, 4))):
            plant(chance, box, out / where, chance.choice(blobs))


def plant(chance: random.Random, box: Sandbox, layout: Path, digest: str) -> None:
    """One thing that another user left in a layout."""
    turn, outside = chance.randrange(7), box.root / "canary" / "file"
    path = layout / chance.choice(("index.json", "oci-layout", ".ocitool-aaaaaaaaaaaaaaaa.part", ".ocitool.lock",
        "blobs/sha256/.x.ocitool-aaaaaaaaaaaaaaaa",
                                   "blobs/" + digest.replace(":", "/"), "blobs/" + digest.replace(":",
                                   "/") + ".partial"))  # fmt: skip
    with suppress(OSError, ValueError):
        path.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(path):
            if path.is_file() and turn < 4 and path.name in ("index.json", "oci-layout"):
                outside = box.root / "canary" / f"was-{path.name}-{layout.name}"
                outside.write_bytes(path.read_bytes())
            path.unlink()
        if turn < 2:
            path.symlink_to(outside)
        elif turn < 4:
            second = box.root / "linked" / f"{layout.name}-{path.name[:40]}"
            second.write_bytes(outside.read_bytes())
            os.link(second, path)
        elif turn == 4:
            path.symlink_to(box.root / "canary" / "made")
        elif turn == 5:
            os.mkfifo(path)
        else:
            path.write_bytes(chance.choice((b"poison", b"", b"{}")))


def tampered(chance: random.Random, work: Path, canary: bytes) -> None:
    """An unpacked image whose records are odd and whose files lead out."""
    if not work.is_dir():
        return
    documents = [one for one in work.glob("*/*") if one.is_file() and one.parent.name != "rootfs"] + list(work.glob("*.json"))
    for one in documents:
        if chance.random() < 0.3 and not one.is_symlink():
            with suppress(ValueError):
                one.write_bytes(
                    places.text_of(chance, places.changed(chance, json.loads(one.read_bytes()), chance.choice((1, 3))))
                )
    root = work / "rootfs"
    for _ in range(chance.choice((1, 3))):
        with suppress(OSError, ValueError):
            path = os.path.join(os.fsencode(root), layers.name(chance, canary).strip(b"/").replace(b"..", b"x"))
            if chance.random() < 0.5:
                os.symlink(layers.target(chance, canary), path)
            else:
                with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644), "wb") as file:
                    file.write(layers.content(chance))


# Registries


def registry(chance: random.Random, box: Sandbox, label: str) -> Iterator[tuple[CommandFacts, Observation]]:
    """One command against a server of its own."""
    there = box.root / "run" / "in"
    found = places.place(chance, there, "p0", box.canary, "layout")
    sound = chance.random() < 0.4
    images = [HONEST] if sound else [HONEST, *found.images]
    outputs(chance, box, [found])
    wanted = servers.ServerContents(images, USER, PASSWORD, FOREIGN, chance.random() < 0.15)
    running = servers.serve(wanted, label)
    keychains.helpers(box.root / "bin", USER, PASSWORD)
    env = box.environment(chance)
    env |= {"REGISTRY_AUTH_FILE": "in/auth.json"} if chance.random() < 0.2 else {}
    for file in (box.root / "home/.docker/config.json", there / "auth.json"):
        file.write_bytes(keychains.document(chance, running.host, USER, PASSWORD, FOREIGN))
    asked = costs(_registry_line(chance, running, found), [found])
    asked.stored += 200_000  # answers that are no blobs
    asked.entries += 1_000
    if wanted.raw:
        asked.held_up = 6 * servers.ENDLESS  # five attempts
    asked.secrets, asked.credentials = found.secrets, (PASSWORD, FOREIGN)
    documents = sum(len(one.blobs) for one in images) * len(servers.REPOS) + 20
    seen = box.observed(asked, env, documents=documents, running=running)
    yield asked, seen
    if seen.ran.code == 0 and asked.copies and (box.root / "run" / asked.copies).exists() and sound:
        yield from validated(box, replace(asked, credentials=()), env, [f"in/{found.name}"])


def _registry_line(chance: random.Random, running: servers.RunningServers, found: places.Place) -> CommandFacts:
    host, repo = running.host, chance.choice((*servers.REPOS * 3, "none"))
    tag = chance.choice(
        (
            ":1",
            ":latest",
            ":v2",
            ":index",
            ":index",
            ":index",
            ":odd",
            "",
            ":none",
            "@sha256:" + "0" * 64,
            "@" + HONEST.digest,
            ":" + "x" * 128,
        )
    )
    ref, local = f"docker://{host}/{repo}{tag}", chance.choice([name for name in words.below(found) if words.sound(name)])
    dest = chance.choice(("out/new/", "out/new.tar", "out/old/", "out/new.tar.gz"))
    every = chance.choice(([], ["--all-platforms"], ["--referrers"], ["--verify"], ["--with", "out/old"]))
    lines: list[tuple[list[str], Line]] = []
    to = words.Line([], (dest.rstrip("/"),), dest.rstrip("/"))
    plain = words.Line([])
    lines = [
        (["pull", ref, dest, *every], to), (["copy", ref, dest, *every], to), (["pull", ref, dest, "--tags", "*"], to),
        (["tags", f"{host}/{repo}"], plain),
        (["catalog", host], plain), (["push", local, f"{host}/{repo}:new", *chance.choice(([], ["--all-platforms"],
        ["--referrers"]))], plain),
        (["copy", local, f"docker://{host}/new/", "--all-platforms"], plain), (["inspect", ref, *chance.choice(([],
        ["--files"], ["--format", "markdown"]))], plain),
        (["inspect", ref, "--raw", "manifest"], words.Line([], verbatim=True)), (["ls", ref, "-R"], plain), (["cat", ref,
        "etc/motd"], words.Line([], verbatim=True)),
        (["diff", ref, local], plain), (["validate", ref], plain), (["dedupe", f"docker://{host}", "--repos", "*", "--tags",
        "*"], plain),
        (["dedupe", f"docker://{host}/{repo}", "--files"], plain), (["edit", ref, dest, "--env", "A=b"], to), (["squash", ref,
        dest], to),
        (["copy", ref, f"docker://{host}/other:1"], plain), (["unpack", ref, "out/new"], words.Line([], ("out/new",))),
        (["login", host, "-u", USER], words.Line([], ("../home", "in/auth.json", "in/none.json"))), (["logout", host],
        words.Line([],
        ("../home", "in/auth.json"))),
        (["append", ref, dest, "--layer", "in/tree"], to), (["rebase", ref, dest, "--old-base", ref, "--new-base", local], to),
    ]  # fmt: skip
    line, what = chance.choice(lines)
    if line[0] not in ("login", "logout", "tags", "catalog"):
        line += words.options(chance, line[0], [local, ref]) if chance.random() < 0.4 else []
    if "--report" in line:
        what.outputs += (line[line.index("--report") + 1],)
    verbatim = what.verbatim or bool({"--raw", "--show-secrets"} & set(line)) or (line[0] == "inspect" and "json" in line)
    line += chance.choice((["--insecure"], ["--insecure"], ["--insecure-host", host], ["--insecure", "--debug"], []))
    if chance.random() < 0.15:
        line += ["--authfile", chance.choice(("in/auth.json", "in/none.json"))]
    line = [word for word in line if words.sound(word)]
    copies = "" if "--omit" in line else what.copies
    stdin = (PASSWORD + "\n").encode() if line[0] == "login" else b""
    return CommandFacts(
        tuple(line), verbatim=verbatim, terminal=chance.random() < 0.08, outputs=what.outputs, copies=copies, stdin=stdin
    )


Line = words.Line
TARGETS = {"attack": attack, "registry": registry}
