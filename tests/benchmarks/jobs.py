"""The jobs: which programs run on which files, and what ours are held to."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from measure import Program, Samples, beyond, in_turn, table

HERE = Path(__file__).resolve().parent
DIFFERENT = frozenset({0, 1})  # diff says by its exit code whether anything differs

OTHER = ", other"
"""What the name of a program of `Setting.against` ends with."""

Results = Mapping[str, Samples]


@dataclass(frozen=True, slots=True)
class Setting:
    work: Path
    runs: int
    entries: int
    python: str
    ours: tuple[str, ...] | None  # how ocitool is called, None when it is not installed
    against: tuple[str, ...] | None = None  # how another ocitool is called, to compare with


@dataclass(frozen=True, slots=True)
class Target:
    """`measured` gives a number that must not be above `limit`; both get the results."""

    text: str
    measured: Callable[[Results], float]
    limit: Callable[[Results], float]
    unit: str = "s"


@dataclass(slots=True)
class Plan:
    programs: list[Program] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    entries: dict[str, int] = field(default_factory=dict)
    codec: dict[str, str] = field(default_factory=dict)
    columns: dict[str, dict[str, str]] = field(default_factory=dict)  # more of them, by heading and program
    held: AbstractContextManager[object] = field(default_factory=nullcontext)  # what must live while it is measured
    times: int = 1  # more rounds for programs of a tenth of a second

    def add(self, name: str, *argv: str | Path, **more: object) -> None:
        self.programs.append(Program(name, tuple(str(a) for a in argv), **more))  # type: ignore[arg-type]

    def empty(self, setting: Setting) -> str:
        """One of its two commands is run: without any, typer would load rich and print its help."""
        name = "empty typer program"
        self.add(name, setting.python, HERE / "empty.py", "one")
        return name

    def ours(self, setting: Setting, name: str, *argv: str | Path, cache: str = "cold", **more: object) -> None:
        if setting.ours is None:
            if "ocitool" not in self.skipped:
                self.skipped.append("ocitool")
            return
        self.add(name, *setting.ours, *argv, cache=cache, **more)

    def peer(self, name: str, *argv: str | Path, **more: object) -> None:
        tool = str(argv[0])
        if shutil.which(tool):
            self.add(name, *argv, **more)
        elif tool not in self.skipped:
            self.skipped.append(tool)

    def at_most(self, program: str, text: str, limit: float, what: str = "seconds") -> None:
        """A fixed limit on the wall clock or the peak memory of one program."""
        unit = "s" if what == "seconds" else "MB"
        self.targets.append(Target(f"{program}: {text}", lambda r: float(getattr(r[program], what)), lambda r: limit, unit))

    def ratio(self, program: str, factor: float, of: str, plus: str = "") -> None:
        """The wall clock at most `factor` times that of `of`, and that of `plus` on top."""
        text = f"{program}: at most {factor} x {of}" + (f" + {plus}" if plus else "")
        self.targets.append(
            Target(
                text,
                lambda r: r[program].seconds,
                lambda r: factor * r[of].seconds + (r[plus].seconds if plus else 0),
            )
        )

    def cpu_beyond(self, program: str, seconds: float, of: str) -> None:
        """The CPU at most this many seconds above that of `of`."""
        text = f"{program}: CPU at most {seconds} s more than {of}"
        self.targets.append(Target(text, lambda r: r[program].cpu_seconds, lambda r: r[of].cpu_seconds + seconds))

    def beyond(self, program: str, seconds: float, of: str) -> None:
        """The wall clock at most this many seconds above that of `of`."""
        text = f"{program}: at most {seconds} s more than {of}"
        self.targets.append(Target(text, lambda r: r[program].seconds, lambda r: r[of].seconds + seconds))


def startup(s: Setting) -> Plan:
    """inspect and --version, beside an empty typer program: archives, layouts, 20 GB."""
    plan, w = Plan(times=3), s.work
    empty = plan.empty(s)
    plan.ours(s, "ocitool --version", "--version")
    plan.ratio("ocitool --version", 1.1, empty)
    for what, ref in (
        ("archive", w / "field-a.tar"),
        ("layout", w / "field-a"),
        ("20 GB archive", w / "huge.tar"),
    ):
        text, in_json = f"ocitool inspect, {what}", f"ocitool inspect json, {what}"
        plan.ours(s, text, "inspect", ref)
        plan.ours(s, in_json, "inspect", "--format", "json", ref)
        plan.ratio(text, 1.8, empty)
        plan.ratio(in_json, 1.3, empty)
        for name in (text, in_json):
            plan.at_most(name, "under 60 MB", 60, "megabytes")
    plan.peer("skopeo inspect, archive", "skopeo", "--insecure-policy", "inspect", f"docker-archive:{w}/field-a.tar")
    plan.peer("skopeo inspect, layout", "skopeo", "--insecure-policy", "inspect", f"oci:{w}/field-a:latest")
    plan.peer(
        "skopeo inspect, 20 GB archive",
        "skopeo",
        "--insecure-policy",
        "inspect",
        f"docker-archive:{w}/huge.tar",
    )
    plan.peer("umoci stat, layout", "umoci", "stat", "--image", f"{w}/field-a:latest")
    return plan


def diff_shared(s: Setting) -> Plan:
    """diff where only a small layer differs: one file changed (c), one file added (d)."""
    plan, w = Plan(), s.work
    plan.empty(s)
    for kind, end in (("archives", ".tar"), ("layouts", "")):
        for what, other in (("changed", "field-c"), ("added", "field-d")):
            for cache in ("cold", "warm"):
                name = f"ocitool diff, {kind}, {what}, {cache}"
                plan.ours(s, name, "diff", w / f"field-a{end}", w / f"{other}{end}", cache=cache, expect=DIFFERENT)
                if (what, cache) != (
                    "added",
                    "cold",
                ):  # there one index pass over the shared layers is allowed
                    plan.at_most(name, "under 0.4 s", 0.4)
    container_diff(plan, w / "field-a.tar", w / "field-c.tar")
    return plan


def diff_big(s: Setting) -> Plan:
    """diff of two layouts whose 285 MB gzip layers differ, beside the floor."""
    plan, w = Plan(), s.work
    floor = "floor"
    plan.add(floor, s.python, HERE / "floor.py", "full", w / "field-a", w / "field-b")
    empty = plan.empty(s)
    cold, warm = "ocitool diff, cold", "ocitool diff, warm"
    for name in (cold, warm):
        cache = name.split()[-1]
        plan.ours(s, name, "diff", w / "field-a", w / "field-b", cache=cache, expect=DIFFERENT)
    json_name = "ocitool diff json, cold"
    plan.ours(s, json_name, "diff", "--format", "json", w / "field-a", w / "field-b", expect=DIFFERENT)
    plan.ratio(cold, 1.4, floor, empty)
    plan.at_most(cold, "under 250 MB", 250, "megabytes")
    plan.at_most(warm, "under 0.6 s", 0.6)
    # What people do without a differ: unpack both, compare trees (which sees no owner, mode or time).
    both = (
        'set -e; d=$(mktemp -d -p "$0"); trap \'rm -rf "$d"\' EXIT; for i in a b; do '
        'umoci unpack --image "$0/field-$i:latest" "$d/$i" >/dev/null 2>&1; done; '
        'diff -rq --no-dereference "$d/a/rootfs" "$d/b/rootfs" >/dev/null 2>&1 || test $? -le 2'
    )
    if shutil.which("umoci"):
        plan.add("umoci unpack twice, diff -rq", "sh", "-c", both, w)
    else:
        plan.skipped.append("umoci")
    if not shutil.which("diffoci"):
        plan.skipped.append("diffoci")  # reads its own store only: to be loaded there by hand first
    return plan


def diff_archive(s: Setting) -> Plan:
    """diff of two uncompressed `docker save` archives whose big layers differ."""
    plan, w = Plan(), s.work
    a, b = w / "field-a.tar", w / "field-b.tar"
    plan.add("SHA-256 of both files", s.python, HERE / "floor.py", "read", a, b)
    for cache in ("cold", "warm"):
        plan.ours(s, f"ocitool diff, {cache}", "diff", a, b, cache=cache, expect=DIFFERENT)
    plan.ours(s, "ocitool diff --verify, cold", "diff", "--verify", a, b, expect=DIFFERENT)
    plan.at_most("ocitool diff, cold", "under 250 MB", 250, "megabytes")
    plan.at_most("ocitool diff, warm", "under 0.6 s", 0.6)
    container_diff(plan, a, b)
    plan.peer("dive --ci of one of them", "dive", "--ci", "--source", "docker-archive", a, expect=DIFFERENT)
    return plan


def container_diff(plan: Plan, a: Path, b: Path) -> None:
    plan.peer("container-diff --type=file", "container-diff", "diff", "--no-cache", "--type=file", a, b)


def million(s: Setting) -> Plan:
    """One layer of 1,000,000 entries: ls, inspect --files, diff; cost beyond the codec."""
    plan, w, n = Plan(), s.work, s.entries
    plan.add("floor: gunzip and hash, one", s.python, HERE / "floor.py", "codec", w / "many-a")
    plan.add("floor: gunzip and hash, two", s.python, HERE / "floor.py", "codec", w / "many-a", w / "many-b")
    plan.add("floor and contents, one", s.python, HERE / "floor.py", "full", w / "many-a")
    plan.add("floor and contents, two", s.python, HERE / "floor.py", "full", w / "many-a", w / "many-b")
    empty = plan.empty(s)
    for kind, end in (("layout", ""), ("archive", ".tar")):
        a, b = w / f"many-a{end}", w / f"many-b{end}"
        for name, command, count in (
            (f"ocitool ls -r, {kind}", ("ls", "--recursive", a), 1),
            (f"ocitool inspect --files, {kind}", ("inspect", "--files", a), 1),
            (f"ocitool diff, {kind}", ("diff", a, b), 2),
        ):
            plan.ours(s, name, *command, expect=DIFFERENT if count == 2 else frozenset({0}))
            plan.entries[name] = count * n
            floor = f"floor: gunzip and hash, {'two' if count == 2 else 'one'}"
            plan.codec[name] = empty if end else floor  # an archive's layer has no codec
            plan.at_most(name, "under 1 GB", 1000, "megabytes")
            plan.targets.append(
                Target(
                    f"{name}: about 15 us of CPU an entry beyond the codec",
                    lambda r, name=name, count=count: beyond(name, r, count * n, plan.codec[name])[0],
                    lambda r: 16.5,
                    "us",
                )
            )
        plan.ours(s, f"ocitool diff, {kind}, warm", "diff", a, b, cache="warm", expect=DIFFERENT)
    plan.peer(
        "tar -tv of the archive's layer",
        "sh",
        "-c",
        'tar -xOf "$0" --wildcards "*/layer.tar" | tar -tv',
        w / "many-a.tar",
    )
    plan.peer("skopeo inspect, archive", "skopeo", "--insecure-policy", "inspect", f"docker-archive:{w}/many-a.tar")
    plan.peer("dive --ci, archive", "dive", "--ci", "--source", "docker-archive", w / "many-a.tar", expect=DIFFERENT)
    return plan


def entries(s: Setting) -> Plan:
    """ls -R and diff of layers of 10,000, 100,000 and 1,000,000 entries: cost of an entry beyond the codec."""
    plan = Plan()
    empty = plan.empty(s)
    for count, where in ((10_000, s.work / "entries-10000"), (100_000, s.work / "entries-100000"), (s.entries, s.work)):
        a, b = where / "many-a", where / "many-b"
        one, two = f"floor, one of {count:,}", f"floor, two of {count:,}"
        plan.add(one, s.python, HERE / "floor.py", "codec", a)
        plan.add(two, s.python, HERE / "floor.py", "codec", a, b)
        for name, limit, floor, layers, command in (
            (f"ocitool ls -R, {count:,}", 6, one, 1, ("ls", "-R", a)),
            (f"ocitool diff, {count:,}", 8, two, 2, ("diff", a, b)),
        ):
            plan.ours(s, name, *command, expect=DIFFERENT)
            plan.entries[name], plan.codec[name] = layers * count, floor
            text = f"{name}: {limit} us of CPU an entry beyond the codec and an empty program"
            measured = partial(_beyond_both, name, floor, empty, layers * count)
            plan.targets.append(Target(text, measured, lambda r, limit=limit: limit, "us"))
    plan.at_most(f"ocitool diff, {s.entries:,}", "under 500 MB", 500, "megabytes")
    return plan


def _beyond_both(name: str, floor: str, empty: str, count: int, results: Results) -> float:
    return (results[name].cpu_seconds - results[floor].cpu_seconds - results[empty].cpu_seconds) / count * 1e6


def unpack(s: Setting) -> Plan:
    """unpack of the 171 MB gzip layout, beside umoci and tar."""
    plan, w = Plan(), s.work
    layout = w / "field-a"
    ours = "ocitool unpack"
    plan.ours(s, ours, "unpack", layout, "{new}")
    plan.ours(s, "ocitool unpack --as rootfs, rootless", "unpack", "--as", "rootfs", "--rootless", layout, "{new}")
    plan.ours(s, "ocitool unpack --as layers", "unpack", "--as", "layers", layout, "{new}")
    plan.ours(s, "ocitool unpack --as tar, cold", "unpack", "--as", "tar", layout, "{new}")
    plan.ours(s, "ocitool unpack, archive", "unpack", w / "field-a.tar", "{new}")
    umoci, tar = "umoci unpack", "tar -xzf, layer by layer"
    plan.peer(umoci, "umoci", "unpack", "--image", f"{layout}:latest", "{new}")
    script = 'mkdir "$0"; for layer; do tar -xzf "$layer" -C "$0"; done'
    plan.add(tar, "sh", "-c", script, "{new}", *layers(layout))
    plan.at_most(ours, "under 150 MB", 150, "megabytes")
    plan.ratio(ours, 1 / 3.5, umoci)
    plan.ratio(ours, 1 / 1.8, tar)
    return plan


def copy(s: Setting) -> Plan:
    """copy of the 456 MB docker archive to a gzip layout, and of archives as they are, beside skopeo and cp."""
    plan, w = Plan(), s.work
    ours = "ocitool copy to a gzip layout"
    for source, text in ((w / "field-a.tar", "docker save"), (w / "field-a", "gzip layout")):
        for codec in ("gzip", "zstd"):
            if (text, codec) == ("gzip layout", "gzip"):
                continue  # its layers stay
            least = f"floor: {text} to {codec}"
            name = ours if codec == "gzip" else f"ocitool copy, {text} to a zstd layout"
            plan.add(least, s.python, HERE / "floor.py", "copy", source, codec, "{new}")
            plan.ours(s, name, "copy", "--compression", codec, source, "oci:{new}")
            plan.ratio(name, 1.3, least)
    theirs = "skopeo copy to a gzip layout"
    plan.peer(theirs, "skopeo", "--insecure-policy", "copy", f"docker-archive:{w}/field-a.tar", "oci:{new}:a")
    plan.ours(s, "ocitool copy, layout to archive", "copy", w / "field-a", "oci-archive:{new}")
    plan.ours(s, "ocitool copy --verify, layout to archive", "copy", "--verify", w / "field-a", "oci-archive:{new}")
    plan.peer(
        "skopeo copy, layout to archive", "skopeo", "--insecure-policy", "copy", f"oci:{w}/field-a:latest", "oci-archive:{new}"
    )
    plan.ratio(ours, 1 / 3, theirs)
    return plan


def edit(s: Setting) -> Plan:
    """edit, one variable, one file, and copy of the same; beside cp and SHA-256."""
    plan, w = Plan(), s.work
    plain = w / "field-a.plain.tar"  # an archive that names its layers' digests, of the docker archive's size
    if s.ours:
        subprocess.run([*s.ours, "copy", "--quiet", "--force", w / "field-a.tar", f"oci-archive:{plain}"], check=True)
    plan.add("cp, 456 MB archive", "cp", plain, "{new}")
    plan.ours(s, "ocitool edit --env, 456 MB archive", "edit", "--env", "A=b", plain, "oci-archive:{new}")
    plan.ours(s, "ocitool edit --env, 456 MB docker save", "edit", "--env", "A=b", w / "field-a.tar", "oci-archive:{new}")
    plan.add("sha256sum and cp, 456 MB docker save", "sh", "-c", 'sha256sum "$0" && cp "$0" "$1"', w / "field-a.tar", "{new}")
    plan.ours(s, "ocitool edit --env, layout", "edit", "--env", "A=b", w / "field-a", "oci:{new}")
    plan.ours(s, "ocitool edit --rm, layout", "edit", "--rm", "/etc/hostname", w / "field-a", "oci:{new}")
    # What is copied is hashed, on another core.
    both, script = "cp and SHA-256 at a time, 456 MB archive", 'cp "$0" "$1" & "$2" "$3" read "$0"; wait'
    plan.add(both, "sh", "-c", script, plain, "{new}", s.python, HERE / "floor.py")
    plan.ours(s, "ocitool copy, 456 MB archive", "copy", plain, "oci-archive:{new}")
    # A docker archive names no digests: its layers are hashed while they are written, too.
    for ours in ("edit --env, 456 MB archive", "edit --env, 456 MB docker save", "copy, 456 MB archive"):
        plan.ratio(f"ocitool {ours}", 1.15, both)
    local_writes(plan, s)
    return plan


def local_writes(plan: Plan, s: Setting) -> None:
    """Every command that writes blobs from one place of this machine to another, beside cp and SHA-256 of the same bytes."""
    layout, archive, extra = s.work / "field-a", s.work / "field-a.oci.tar", s.work / "extra.layer.tar"
    with tarfile.open(extra, "w") as tar:
        tar.addfile(tarfile.TarInfo("opt/extra"))
    floor = "cp and SHA-256 at a time, 171 MB layout"
    plan.add(floor, "sh", "-c", 'cp -r "$0" "$1" & "$2" "$3" read "$0"/blobs/sha256/*; wait', layout, "{new}", s.python,
             HERE / "floor.py")  # fmt: skip
    empty = plan.empty(s)
    for name, *words in (
        ("copy, layout to layout", "copy", layout, "oci:{new}"),
        ("copy, layout to archive", "copy", layout, "oci-archive:{new}"),
        ("copy, archive to layout", "copy", archive, "oci:{new}"),
        ("copy, archive to archive", "copy", archive, "oci-archive:{new}"),
        ("edit --env, layout to layout", "edit", "--env", "A=b", layout, "oci:{new}"),
        # These need the merged trees too, which the cache has.
        ("append, layout to layout, warm", "append", "--layer", extra, layout, "oci:{new}"),
        ("rebase, layout to layout, warm", "rebase", "--old-base", layout, "--new-base", layout, layout, "oci:{new}"),
    ):
        warm = name.endswith("warm")
        filling = (*(s.ours or ()), "inspect", "--files", str(layout)) if warm else ()
        plan.ours(s, f"ocitool {name}", *words, cache="warm" if warm else "cold", filled_by=filling)
        plan.ratio(f"ocitool {name}", 1.15, floor, empty)
    # What the layout has, and is known to have, is not read again.
    held = s.work / "held"
    if s.ours:
        subprocess.run(["rm", "-rf", held], check=True)
        subprocess.run([*s.ours, "copy", "--quiet", layout, f"oci:{held}"], check=True, stdout=subprocess.DEVNULL)
        time.sleep(3)  # a file that changed just now is not put on record
    again = "ocitool copy, into a layout that has it"
    plan.ours(s, again, "copy", layout, f"oci:{held}", cache="warm")
    plan.beyond(again, 0.1, empty)


def _held_by(module: str, s: Setting, function: str = "add") -> Plan:
    """The plan of a module that starts servers or makes files: they are there as long as the plan is held."""
    plan = Plan()
    plan.held = getattr(import_module(module), function)(plan, s)
    return plan


def small_files(s: Setting) -> Plan:
    """a gzip layer of 100,000 small files: unpack in every form and ls, beside tar, crane and umoci."""
    return _held_by("small_files", s)


def squash(s: Setting) -> Plan:
    """squash of the 171 MB gzip layout to one layer, beside the floor, buildah and crane flatten."""
    return _held_by("squash", s)


def registry(s: Setting) -> Plan:
    """pull and push of the 171 MB image against a local docker-registry, and of 100 small blobs 20 ms away."""
    return _held_by("registry", s)


def engine(s: Setting) -> Plan:
    """the 456 MB image out of a Docker engine of its own and into it, beside docker save and docker load; inspect of it."""
    return _held_by("engine", s)


def volume(s: Setting) -> Plan:
    """a volume of 20,000 files and 500 MB of a Docker engine, saved and restored, beside tar and gzip in a container."""
    return _held_by("volume", s)


def tags(s: Setting) -> Plan:
    """all 500 tags of a repository from one local docker-registry to another, first and again, beside crane."""
    return _tags(s, 500)


def tags_5000(s: Setting) -> Plan:
    """the same with 5,000 tags."""
    return _tags(s, 5000)


def big_layer(s: Setting) -> Plan:
    """the same with one tag of an image whose one layer has 2 GB."""
    return _tags(s, big=True)


def _tags(s: Setting, *counts: int, big: bool = False) -> Plan:
    import tags as job

    plan = Plan()
    plan.held = job.add(plan, s, counts, big=big)
    return plan


def rebuild(s: Setting) -> Plan:
    """the second build of the 172 MB image to a local docker-registry that has the first: what reaches it, in bytes."""
    return _held_by("rebuild", s)


def rebuild_layout(s: Setting) -> Plan:
    """the second build of the 172 MB image beside the first one, from layout to layout, beside the floor."""
    return _held_by("rewriting", s, "rebuild")


def repack(s: Setting) -> Plan:
    """the unpacked 171 MB gzip layout with one file of its largest layer changed, back to a layout, beside the floor."""
    return _held_by("rewriting", s, "repack")


def dedupe(s: Setting) -> Plan:
    """what many images share: 1,000 archives, layouts of up to 100,000 images, 500 tags, --files of three builds."""
    return _held_by("dedupe", s)


def packages(s: Setting) -> Plan:
    """the packages of an image, and those that differ between two, beside syft, dpkg-query and rpm: what each names."""
    return _held_by("packages", s)


def layers(layout: Path) -> list[Path]:
    """The stored layers of a layout's first image, lowest first."""

    def blob(digest: str) -> Path:
        return layout / "blobs" / digest.replace(":", "/")

    top = json.loads((layout / "index.json").read_bytes())["manifests"][0]["digest"]
    return [blob(layer["digest"]) for layer in json.loads(blob(top).read_bytes())["layers"]]


PLANS: dict[str, Callable[[Setting], Plan]] = {
    "startup": startup,
    "diff-shared": diff_shared,
    "diff-big": diff_big,
    "diff-archive": diff_archive,
    "million": million,
    "entries": entries,
    "unpack": unpack,
    "small-files": small_files,
    "copy": copy,
    "edit": edit,
    "squash": squash,
    "registry": registry,
    "engine": engine,
    "volume": volume,
    "tags": tags,
    "tags-5000": tags_5000,
    "big-layer": big_layer,
    "rebuild": rebuild,
    "rebuild-layout": rebuild_layout,
    "repack": repack,
    "dedupe": dedupe,
    "packages": packages,
}
PARTS = {
    "startup": ("field", "sparse"),
    "diff-shared": ("field",),
    "diff-big": ("field",),
    "diff-archive": ("field",),
    "million": ("million",),
    "entries": ("million", "entries"),
    "unpack": ("field",),
    "small-files": ("small",),
    "copy": ("field",),
    "edit": ("field",),
    "squash": ("field",),
    "registry": ("field",),
    "engine": ("field",),
    "volume": (),
    "tags": (),
    "tags-5000": (),
    "big-layer": (),
    "rebuild": ("field", "update"),
    "rebuild-layout": ("field",),
    "repack": ("field",),
    "dedupe": ("field", "update", "archives", "images"),
    "packages": ("field", "update"),
    "headers": ("field",),
}
ABOUT = {name: (plan.__doc__ or "").strip() for name, plan in PLANS.items()}
ABOUT["headers"] = "the tar readers over the 285 MB layer, within one process."


def perform(name: str, s: Setting, record: dict[str, Any] | None = None) -> str:
    """Runs the job and returns its table, its targets and what was skipped, in Markdown. `record` gets the figures."""
    if name == "headers":
        return headers(s)
    plan = PLANS[name](s)
    with plan.held:
        results = in_turn([*twins(plan.programs, s)], s.runs * plan.times, s.work)
    text = table(f"{name}: {ABOUT[name]}", results, plan.entries, plan.codec, plan.columns)
    text += "".join(compared(results))
    text += "".join(f"\n- not installed, skipped: {tool}" for tool in plan.skipped)
    verdicts: list[str] = []
    if s.ours is not None:
        sound = {name: samples for name, samples in results.items() if not samples.error}
        verdicts = [target_result(target, sound) for target in plan.targets]
        text += "".join(f"\n- {verdict}" for verdict in verdicts)
    if record is not None:
        programs = {program: figures(program, results, plan) for program, samples in results.items() if not samples.error}
        record[name] = {"programs": programs, "targets": verdicts}
    return text + "\n"


def figures(program: str, results: Results, plan: Plan) -> dict[str, Any]:
    """The figures of one program, for `--record`: seconds, MB (10^6), microseconds an entry, and the columns of its job."""
    samples = results[program]
    found: dict[str, Any] = {
        "runs": samples.runs,
        "wall": round(samples.seconds, 4),
        "cpu": round(samples.cpu_seconds, 4),
        "peak": round(samples.megabytes, 1),
    }
    if program in plan.entries and not results[plan.codec[program]].error:
        cpu, wall = beyond(program, results, plan.entries[program], plan.codec[program])
        found |= {"entry": round(cpu, 2), "entry wall": round(wall, 2)}
    return found | {heading: texts[program] for heading, texts in plan.columns.items() if program in texts}


def twins(programs: Sequence[Program], s: Setting) -> Iterator[Program]:
    """The programs, each of ours followed by the same command of the other ocitool, if there is one."""
    for program in programs:
        ours = s.ours is not None and program.argv[: len(s.ours)] == s.ours
        if not ours or s.ours is None or s.against is None:
            yield program
            continue
        filled = (*s.against, *program.filled_by[len(s.ours) :]) if program.filled_by else ()
        other = replace(program, name=program.name + OTHER, argv=(*s.against, *program.argv[len(s.ours) :]), filled_by=filled)
        yield from (program, other)


def compared(results: Results) -> Iterator[str]:
    """Lines that hold each program against its twin: CPU, wall clock (each by median and by the best run), peak memory."""
    for name, samples in results.items():
        other = results.get(name + OTHER)
        if other is None or samples.error or other.error:
            continue
        cpu, wall = samples.cpu_seconds / other.cpu_seconds, samples.seconds / other.seconds
        best = min(samples.cpu) / min(other.cpu), min(samples.wall) / min(other.wall)
        yield (
            f"\n- {name}: CPU {cpu:.2f} x the other's (best {best[0]:.2f}), wall {wall:.2f} x (best {best[1]:.2f}), "
            f"peak {samples.megabytes / other.megabytes:.2f} x"
        )


def target_result(target: Target, results: Results) -> str:
    try:
        value, limit = target.measured(results), target.limit(results)
    except (KeyError, ValueError):  # a program of it failed: no samples
        return f"**not measured**: {target.text}"
    verdict = "met" if value <= limit else "**not met**"
    digits = 3 if target.unit == "s" else 1
    return f"{verdict}: {target.text}: {value:.{digits}f} of {limit:.{digits}f} {target.unit}"


def headers(s: Setting) -> str:
    argv = [s.python, str(HERE / "headers.py"), str(s.runs * 3), str(s.work / "field-a.layer.tar")]
    found = json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE, cwd=s.work).stdout)
    lines = [
        f"## headers: {ABOUT['headers']}",
        "",
        "| reader | entries | median ms | min ms | us/entry |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, got in found.items():
        median = statistics.median(got["seconds"])
        count = got["entries"]
        lines.append(
            f"| {name} | {count} | {median * 1e3:.1f} | {min(got['seconds']) * 1e3:.1f} | {median / count * 1e6:.1f} |"
        )
    if "ocitool" not in found:
        lines += ["", "- not importable, skipped: ocitool"]
    return "\n".join(lines) + "\n"
