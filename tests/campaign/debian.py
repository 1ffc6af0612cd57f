"""A real Debian image, some 12,000 entries, by the command line: unpacked and put together again; edited; squashed; shown to
reference tools.

The image is the benchmarks' (`tests/benchmarks/image.py WORK field`), which is made where it is missing. Findings are yielded.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from conftest import NoEngine, private_engine
from support.reference_tools import FileSystem, coarse, differences, of_container, of_directory, of_umoci, ours

from ocitool.pipeline.session import Session
from ocitool.task import Task

ROOT = Path(__file__).resolve().parents[2]
EDITED = "srv/app/main.py"
Say = Callable[[str], None]


def run(work: Path, say: Say) -> Iterator[str]:
    """All of it. `work`: the folder of the benchmarks' images, in which a temporary one needs some 5 GB."""
    if not (work / "field-a/index.json").exists():
        say(f"making the image in {work}")
        subprocess.run([sys.executable, ROOT / "tests/benchmarks/image.py", work, "field"], check=True)
    with tempfile.TemporaryDirectory(dir=work) as name:
        place = Path(name)
        source = str(work / "field-a")
        _ocitool(place, say, "unpack", source, place / "work")
        stated = _only(work / "field-a")
        say(f"{stated}, {sum(len(d) + len(f) for _, d, f in os.walk(place / 'work/rootfs'))} paths")
        for destination in (f"{place}/same/", place / "same.tar"):
            report = _ocitool(place, say, "repack", place / "work", destination)
            if (stated, 0) != (report["images"][0]["digest"], report["bytes"]["written"]):
                yield f"unchanged, into {destination}: {report['images'][0]['digest']}, {report['bytes']}, not {stated}"
        yield from _edits(place, source, say)
        yield from _squashes(place, source, say)
        yield from _rebuilds(place, work, say)
        yield from _rebases(place, work, say)


def _edits(place: Path, source: str, say: Say) -> Iterator[str]:
    root = place / "work/rootfs"
    with open(root / EDITED, "ab") as file:
        file.write(b"# edited\n")
    before = _layers(place / "same")
    directory = of_directory(os.fsencode(root))
    for mode in ("rewrite", "append"):
        layout, name = place / mode, f"field:{mode}"
        report = _ocitool(place, say, "repack", place / "work", f"{layout}/", "--mode", mode, "--tag", name)
        layers = [layer["digest"] for layer in report["images"][0]["layers"]]
        origins = [layer["origin"] for layer in report["images"][0]["layers"]]
        others = [new for old, new in zip(before, layers, strict=False) if old != new]
        say(f"{mode}: layers {', '.join(origins)}; {report['bytes']}")
        if (len(others), len(layers)) != ((1, len(before)) if mode == "rewrite" else (0, len(before) + 1)):
            yield f"{mode}: {len(others)} of {len(before)} layers are others, now {len(layers)}"
        diff = _ocitool(place, say, "diff", source, f"{layout}:{name}", codes=(1,))
        paths = [change["path"] for change in diff["files"]]
        if paths != [f"/{EDITED}"]:
            yield f"{mode}: diff tells of {paths[:9]}"
        tree = _plain_tree(place, layout, name, say)
        yield from _report(f"{mode}: the directory", differences("directory", name, tree, directory), say)
        yield from _judged(place, layout, name, tree, say)


def _squashes(place: Path, source: str, say: Say) -> Iterator[str]:
    """From each layer on; the tools see all layers in one, and all but the lowest."""
    before, tree = _layers(Path(source)), _plain_tree(place, Path(source), "latest", say)
    for kept in range(len(before)):
        layout, name = place / f"from-{kept}", f"field:from-{kept}"
        report = _ocitool(place, say, "squash", source, f"{layout}/", "--from", kept, "--tag", name)
        after = _layers(layout)
        say(f"--from {kept}: {len(after)} layers; {report['bytes']}")
        if (before[:kept], kept + 1) != (after[:kept], len(after)):
            yield f"--from {kept}: the layers are {after}, those below are not kept of {before}"
        squashed = _plain_tree(place, layout, name, say)
        yield from _report(f"--from {kept}: ocitool", differences("ocitool", name, tree, squashed), say)
        if kept < 2:
            yield from _judged(place, layout, name, squashed, say)


def _rebuilds(place: Path, work: Path, say: Say) -> Iterator[str]:
    """The same Dockerfile built again, out of the first build: layers that are equal, and one layer on all of the old ones."""
    wanted = _plain_tree(place, work / "field-b", "latest", say)
    for plan, more in (("reuse", ()), ("delta", ()), ("delta", ("--strict-times",))):
        layout, name = place / "-".join((plan, *more)).replace("--", ""), f"field:{plan}{len(more)}"
        words = ("--against", work / "field-a", "--plan", plan, *more, "--tag", name)
        report = _ocitool(place, say, "rebuild", work / "field-b", f"{layout}/", *words)
        say(f"{plan}: {report['details']['rebuilt'][0]['plans']}")
        made = _plain_tree(place, layout, name, say)
        messages = differences("ocitool", name, wanted if more else _untimed(wanted), made if more else _untimed(made))
        yield from _report(f"rebuild, {plan} {' '.join(more)}: ocitool", messages, say)
        yield from _judged(place, layout, name, made, say)


def _rebases(place: Path, work: Path, say: Say) -> Iterator[str]:
    """The layers above the packages of one build, on the packages of the other."""
    for which in "ab":
        words = (f"{place}/base-{which}/", "--tag", f"base:{which}", *_drops(3))
        _ocitool(place, say, "edit", work / f"field-{which}", *words)
    layout, name = place / "rebased", "field:rebased"
    bases = ("--old-base", place / "base-a", "--new-base", place / "base-b")
    _ocitool(place, say, "rebase", work / "field-a", f"{layout}/", *bases, "--tag", name)
    made, wanted = _plain_tree(place, layout, name, say), _plain_tree(place, work / "field-b", "latest", say)
    yield from _report("rebase: ocitool", differences("ocitool", name, _untimed(wanted), _untimed(made)), say)
    yield from _judged(place, layout, name, made, say)


def _drops(count: int) -> list[str]:
    return [word for number in range(1, count + 1) for word in ("--drop-layer", f"-{number}")]


def _untimed(tree: FileSystem) -> FileSystem:
    return {path: {**fields, "mtime": 0} for path, fields in tree.items()}


def _plain_tree(place: Path, layout: Path, name: str, say: Say) -> FileSystem:
    """Our merged tree, by way of plain layers: each file is then found by seeking."""
    _ocitool(place, say, "copy", f"{layout}:{name}", f"{place}/plain/", "--compression", "none")
    return _tree(f"{place}/plain:{name}")


def _judged(place: Path, layout: Path, name: str, tree: FileSystem, say: Say) -> Iterator[str]:
    """What umoci and the engines see otherwise of an image."""
    seen = of_umoci(f"{layout}:{name}", place / "bundle")
    yield from _report(f"{name}: umoci", differences("umoci", name, tree, seen), say)
    archive = place / f"{layout.name}.tar"
    _ocitool(place, say, "copy", f"{layout}:{name}", archive)
    for driver in ("vfs", "overlay2"):
        yield from _by_engine(driver, archive, name, tree, say)


def _by_engine(driver: str, archive: Path, name: str, tree: FileSystem, say: Say) -> Iterator[str]:
    with ExitStack() as stack:
        try:
            docker = stack.enter_context(private_engine(driver, "/tmp"))
        except NoEngine as error:
            say(f"no engine with {driver}: {error}")
            return
        docker("load", "-i", archive)
        seen = of_container(docker, name, archive.with_suffix(".export"))
    yield from _report(f"{name}: docker with {driver}", differences("docker", name, coarse(tree), seen), say)


def _report(tool: str, messages: list[str], say: Say) -> Iterator[str]:
    say(f"{tool} sees {'the same tree' if not messages else f'{len(messages)} differences'}")
    yield from (f"{tool}: {text}" for text in messages[:20])


def _tree(reference: str) -> FileSystem:
    with Task() as task:
        return ours(Session(task, cached=False).image(reference, None), task)


def _ocitool(place: Path, say: Say, *words: object, codes: tuple[int, ...] = (0,)) -> Any:
    """The JSON report of a run."""
    command = [sys.executable, "-m", "ocitool", *map(str, words), "--format", "json"]
    env = {**os.environ, "OCITOOL_CACHE_DIR": str(place / "cache"), "PYTHONPATH": str(ROOT)}
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, env=env, check=False)
    say(f"ocitool {words[0]}: {time.monotonic() - began:.1f} s")
    if done.returncode not in codes:
        raise SystemExit(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr.decode(errors='replace')}")
    return json.loads(done.stdout)


def _only(layout: Path) -> str:
    """The digest that a layout's index states of its only image."""
    (descriptor,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    return str(descriptor["digest"])


def _layers(layout: Path) -> list[str]:
    manifest = json.loads((layout / "blobs" / _only(layout).replace(":", "/")).read_bytes())
    return [layer["digest"] for layer in manifest["layers"]]
