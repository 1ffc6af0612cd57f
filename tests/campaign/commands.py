"""What the fault campaigns run: every command that writes, in a folder of its own, and what may be found there afterwards.

A trial breaks one run somehow. Then each of the case's places must be as it was before or as a whole run leaves it, every
blob of a layout must be what its name says and be there when `index.json` leads to it, everything else in the folder must be
untouched, a neighbour's locked temporaries must still be there, and the next run must succeed and leave no temporary.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import random
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from support.disk import on_disk
from support.images import image, layer_tar, write_docker_archive, write_layout

ROOT = Path(__file__).resolve().parents[2]
FAULTY = str(Path(__file__).with_name("faulty.py"))
TEMPORARY = re.compile(r"\.ocitool-[0-9a-f]{16}(\.part)?$")
STATE = "state"
"""Where a run keeps its cache and temporary files: beside the case's folder."""

Kind = Literal["file", "layout", "tree", "store"]
"""`store`: of `unpack --as layers`, to which whole layers may be added one by one."""


class Case(NamedTuple):
    """`words`: the command, run in a folder that `make` filled. `places`: what it writes. `again`: exit codes that the next run
    may end with. `end`: how that leaves the places is known (not where each run adds something)."""

    command: str
    words: tuple[str, ...]
    places: dict[str, Kind]
    make: Callable[[Path], None]
    again: tuple[int, ...] = (0,)
    end: bool = True

    @property
    def name(self) -> str:
        return "ocitool " + " ".join(self.words)


def _noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def _layers() -> list[bytes]:
    base: list[Any] = [("etc/", None), ("etc/secret", b"s3cret" * 50), ("lib/", None)]
    base += [(f"lib/f{n:03}", _noise(n, 3000)) for n in range(120)]
    big: list[Any] = [("data/", None), *((f"data/big{n}", _noise(1000 + n, 1_500_000)) for n in range(2))]
    top: list[Any] = [("etc/", None), ("etc/motd", b"hello"), ("etc/hard", "hard:etc/motd"), ("run", "link:etc")]
    top += [("lib/", None), ("lib/.wh.f000", b"")]
    return [layer_tar(base), layer_tar(big), layer_tar(top)]


def _sources(folder: Path) -> None:
    """`src` a layout, `src.tar` an archive, both of one image; another image as `old`, in an archive and a layout."""
    layers = _layers()
    write_layout(folder / "src", [image(layers, tag="app"), image(layers[:1], tag="base")])
    write_docker_archive(folder / "src.tar", [image(layers, tag="app:1", codec="none")])
    old = image([layers[0], layer_tar([("old", _noise(7, 200_000))])], tag="app")
    write_layout(folder / "old", [old, image([layer_tar([("kept", b"kept" * 5000)])], tag="kept")])
    write_docker_archive(folder / "old.tar", [image([layers[0]], tag="old:1", codec="none")])


def _unpacked(folder: Path) -> None:
    _sources(folder)
    ocitool(folder, "unpack", "src:app", "work").check_returncode()
    for name, data in (("etc/motd", b"edited"), ("lib/new", _noise(9, 400_000))):
        (folder / "work/rootfs" / name).write_bytes(data)
        os.utime(folder / "work/rootfs" / name, (1_700_000_001, 1_700_000_001))
    (folder / "work/rootfs/lib/f001").unlink()
    for name in ("etc", "lib"):
        os.utime(folder / "work/rootfs" / name, (1_700_000_001, 1_700_000_001))


def _tree(folder: Path) -> None:
    _sources(folder)
    (folder / "more").mkdir()
    for n in range(20):
        (folder / f"more/f{n}").write_bytes(_noise(n, 50_000))
        os.utime(folder / f"more/f{n}", (1_700_000_001, 1_700_000_001))
    os.utime(folder / "more", (1_700_000_001, 1_700_000_001))


def _policy(folder: Path) -> None:
    _sources(folder)
    (folder / "policy.toml").write_text('[budget]  # ours\nsize = "1kB"\nlayers = 1\n')


def _garbage(folder: Path) -> None:
    """A layout with blobs that nothing names, and one beside it with some of the same."""
    _sources(folder)
    for name in ("old", "src"):
        for n in range(30):
            data = _noise(500 + n, 20_000)
            (folder / name / "blobs/sha256" / hashlib.sha256(data).hexdigest()).write_bytes(data)


def _untidy(folder: Path) -> None:
    _sources(folder)
    index = json.loads((folder / "old/index.json").read_bytes())
    bare = [{key: value for key, value in entry.items() if key != "annotations"} for entry in index["manifests"]]
    index["manifests"] = bare + index["manifests"] * 2
    (folder / "old/index.json").write_text(json.dumps(index))
    (folder / "old/oci-layout").unlink()


CASES: tuple[Case, ...] = (
    Case("copy", ("copy", "src:app", "old.tar", "--force", "--tag", "app:2"), {"old.tar": "file"}, _sources),
    Case("copy", ("copy", "src", "old"), {"old": "layout"}, _sources),
    Case("copy", ("copy", "src.tar", "new/"), {"new": "layout"}, _sources),
    Case("copy", ("copy", "--compression", "gzip", "src.tar", "old/"), {"old": "layout"}, _sources),
    Case("copy", ("copy", "--compression", "zstd", "src.tar", "old.tar", "--force"), {"old.tar": "file"}, _sources),
    Case("copy", ("copy", "src:app", "new.tar.gz", "--tag", "a:1"), {"new.tar.gz": "file"}, _sources, (0, 9)),
    Case("unpack", ("unpack", "src:app", "new"), {"new": "tree"}, _sources, (0, 9)),
    Case("unpack", ("unpack", "--as", "rootfs", "src.tar", "new"), {"new": "tree"}, _sources, (0, 9)),
    Case("unpack", ("unpack", "--as", "bundle", "src:app", "new"), {"new": "tree"}, _sources, (0, 9)),
    Case("unpack", ("unpack", "--as", "layers", "src:app", "new"), {"new": "store"}, _sources),
    Case("unpack", ("unpack", "--as", "tar", "src:app", "old.tar", "--force"), {"old.tar": "file"}, _sources),
    Case("repack", ("repack", "work", "old.tar", "--source", "src", "--tag", "a:2", "--force"), {"old.tar": "file"}, _unpacked),
    Case("repack", ("repack", "work", "src/", "--tag", "app"), {"src": "layout"}, _unpacked),
    Case("repack", ("repack", "--mode", "append", "work", "new/", "--source", "src"), {"new": "layout"}, _unpacked),
    Case("edit", ("edit", "src.tar", "old.tar", "--force", "--env", "A=b"), {"old.tar": "file"}, _sources),
    Case("edit", ("edit", "src:app", "old/", "--rm", "etc/secret", "--tag", "app"), {"old": "layout"}, _sources),
    Case("edit", ("edit", "src:app", "src/", "--label", "a=b", "--rm", "lib/f003"), {"src": "layout"}, _sources, (0, 3), False),
    Case("squash", ("squash", "src:app", "src/", "--from", "1", "--tag", "app"), {"src": "layout"}, _sources),
    Case("squash", ("squash", "src.tar", "old.tar", "--force", "--compression", "zstd"), {"old.tar": "file"}, _sources),
    Case(
        "rebuild",
        ("rebuild", "src:app", "old/", "--against", "old:app", "--plan", "delta", "--tag", "made"),
        {"old": "layout"},
        _sources,
    ),
    Case(
        "rebase",
        ("rebase", "src:app", "old.tar", "--old-base", "src:base", "--new-base", "old:kept", "--force"),
        {"old.tar": "file"},
        _sources,
    ),
    Case("append", ("append", "src:app", "old/", "--layer", "more", "--tag", "app"), {"old": "layout"}, _tree),
    Case("append", ("append", "src.tar", "old.tar", "--force", "--layer", "more"), {"old.tar": "file"}, _tree),
    Case("layout", ("layout", "rm", "src", "app"), {"src": "layout"}, _sources, (0, 3)),
    Case("budget", ("budget", "--update", "--policy", "policy.toml", "src:app"), {"policy.toml": "file"}, _policy),
    Case("layout", ("layout", "gc", "old"), {"old": "layout"}, _garbage),
    Case("layout", ("layout", "link", "src", "old"), {"src": "layout", "old": "layout"}, _garbage),
    Case("layout", ("layout", "normalize", "old"), {"old": "layout"}, _untidy),
)


def environment(folder: Path) -> dict[str, str]:
    beside = folder.parent / STATE
    for name in ("cache", "tmp"):
        (beside / name).mkdir(parents=True, exist_ok=True)
    return {
        **os.environ, "PYTHONPATH": str(ROOT), "OCITOOL_CACHE_DIR": str(beside / "cache"), "TMPDIR": str(beside / "tmp"),
        "SOURCE_DATE_EPOCH": "1700000000", "FAULTY_COUNT": str(beside / "count"),
    }  # fmt: skip


def ocitool(folder: Path, *words: str, fault: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """A run in this folder, with a fault of `faulty` where one is named."""
    program = [sys.executable, FAULTY, *fault] if fault else [sys.executable, "-m", "ocitool"]
    return subprocess.run(
        [*program, *words], cwd=folder, env=environment(folder), capture_output=True, text=True, errors="replace", timeout=120
    )


# What is there


def state(path: Path, kind: Kind) -> Any:
    """What a place holds, as a value that is equal for equal places. `AssertionError` where it is torn."""
    if kind == "file":
        return hashlib.sha256(path.read_bytes()).hexdigest() if os.path.lexists(path) else None
    if kind == "layout":
        return layout_state(path)
    if not os.path.lexists(path):
        return None
    if kind == "store":
        return {layer.name: state(layer, "tree") for layer in path.glob("sha256/*") if not TEMPORARY.search(layer.name)}
    found = {name: {**fields, "links": len(fields["links"])} for name, fields in on_disk(path).items()}
    for name, fields in found.items():
        whiteout = fields["device"] == (0, 0)  # which has no time of its own
        if whiteout or name in (b"", b"image") or name.startswith(b"image/") or name in (b"rootfs", b"config.json"):
            fields["mtime"] = None
        if name == b"image/snapshot":
            fields["content"] = None  # holds inode numbers
    return found


def allowed(kind: Kind, now: Any, old: Any, new: Any) -> bool:
    """Whether what is there after a fault may be there."""
    if kind == "store" and now is not None:
        return all(new.get(name) == layer for name, layer in now.items())
    return now in (old, new)


def layout_state(path: Path) -> Any:
    """`index.json`, after every blob was hashed and everything that the index leads to was found."""
    blobs = {}
    for file in path.glob("blobs/*/*"):
        digest = hashlib.new(file.parent.name, file.read_bytes()).hexdigest()
        assert digest == file.name, f"torn: the blob {file} is {digest}"
        blobs[f"{file.parent.name}:{file.name}"] = file
    if not (path / "index.json").exists():
        return None
    raw = (path / "index.json").read_bytes()
    waiting = [entry["digest"] for entry in json.loads(raw)["manifests"]]
    while waiting:
        digest = waiting.pop()
        assert digest in blobs, f"lost: {path} names {digest}"
        document = json.loads(blobs[digest].read_bytes())
        waiting += [entry["digest"] for entry in document.get("manifests", ())]
        for one in (document["config"], *document["layers"]) if "layers" in document else ():
            assert one["digest"] in blobs, f"lost: {path} names {one['digest']}"
    return raw


def rest(folder: Path, places: dict[str, Kind]) -> Any:
    """Everything else in the folder, but for temporaries."""
    found = {}
    for name in sorted(os.listdir(folder)):
        if name not in places and not TEMPORARY.search(name):
            status = os.lstat(folder / name)
            if stat.S_ISDIR(status.st_mode):
                below = sorted(on_disk(folder / name).items())
                found[name] = [(path, fields["content"], fields["mode"]) for path, fields in below]
            else:
                found[name] = [(b"", (folder / name).read_bytes(), status.st_mode)]
    return found


def temporaries(folder: Path) -> list[str]:
    """Of ours: in the folder and what it holds, to a depth that all are at, and in the directory for temporary files."""
    below = [place for depth in ("*", "*/*") for place in folder.glob(depth) if place.is_dir() and not place.is_symlink()]
    places = [folder, *below, folder.parent / STATE / "tmp"]
    return sorted(str(place / name) for place in places for name in os.listdir(place) if TEMPORARY.search(name))


class OtherProcess:
    """Temporaries of a living process, in the folder and in its layouts."""

    def __init__(self, folder: Path, places: dict[str, Kind]) -> None:
        self.paths = [folder / ".ocitool-aaaaaaaaaaaaaaaa.part", folder / ".new.ocitool-aaaaaaaaaaaaaaaa"]
        self.paths += [
            folder / name / ".ocitool-aaaaaaaaaaaaaaaa.part" for name, kind in places.items()
            if kind == "layout" and (folder / name).exists()
        ]  # fmt: skip
        self._held = []
        for path in self.paths:
            if path.suffix == ".part":
                path.write_bytes(b"alive")
            else:
                path.mkdir()
            self._held.append(os.open(path, os.O_RDONLY))
            fcntl.flock(self._held[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)

    def check(self) -> None:
        gone = [str(path) for path in self.paths if not path.exists()]
        assert not gone, f"a living neighbour's temporaries are gone: {gone}"

    def close(self) -> None:
        for descriptor in self._held:
            os.close(descriptor)


# Trials


class Known(NamedTuple):
    """A case that ran once without a fault: its folder as it was, its places before and after, the rest, and how many calls it
    made (see `faulty`)."""

    case: Case
    origin: Path
    old: dict[str, Any]
    new: dict[str, Any]
    rest: Any
    changes: int
    reads: int
    seconds: float


def learn(case: Case, base: Path) -> Known:
    """Raises `AssertionError` where the command fails without any fault."""
    import time

    base.mkdir(parents=True, exist_ok=True)
    origin, folder = base / "origin", base / "run"
    origin.mkdir()
    case.make(origin)
    fresh(origin, folder)
    started = time.monotonic()
    done = ocitool(folder, *case.words)
    seconds = time.monotonic() - started
    assert done.returncode == 0, f"{case.name}: exit {done.returncode}: {done.stderr}"
    assert not temporaries(folder), f"{case.name} leaves {temporaries(folder)}"
    new = {name: state(folder / name, kind) for name, kind in case.places.items()}
    for name, kind in case.places.items():
        if kind == "layout" or (name.endswith((".tar", ".tar.gz")) and "tar" not in case.words):
            valid = ocitool(folder, "validate", name)
            assert valid.returncode == 0, f"{case.name} makes what is not valid: {valid.stdout}"
    fresh(origin, folder)
    assert ocitool(folder, *case.words, fault=("count", "0")).returncode == 0
    changes, reads = map(int, (base / STATE / "count").read_text().split())
    old = {name: state(origin / name, kind) for name, kind in case.places.items()}
    assert old != new or case.words[:2] in (("layout", "gc"), ("layout", "link")), f"{case.name} does nothing"
    return Known(case, origin, old, new, rest(origin, case.places), changes, reads, seconds)


def fresh(origin: Path, folder: Path) -> None:
    """The folder as it was, times and links too."""
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(["cp", "-a", str(origin), str(folder)], check=True)


def trial(known: Known, folder: Path, fault: Callable[[Path], str | None]) -> str | None:
    """One broken run in a fresh folder, by `fault`, which may itself object; what is wrong afterwards, or None."""
    case = known.case
    fresh(known.origin, folder)
    neighbour = OtherProcess(folder, case.places)
    try:
        if (wrong := fault(folder)) is not None:
            return wrong
        neighbour.check()
        for name, kind in case.places.items():
            now = state(folder / name, kind)
            assert allowed(kind, now, known.old[name], known.new[name]), f"{name} is neither the old one nor the new one"
        assert known.rest == rest(folder, {**case.places, ".new": "tree"}), "something else in the folder changed"
        done = ocitool(folder, *case.words)
        assert done.returncode in case.again, f"the next run ends with {done.returncode}: {done.stderr}"
        neighbour.check()
        left = set(temporaries(folder)) - set(map(str, neighbour.paths))
        assert not left, f"the next run leaves {sorted(left)}"
        for name, kind in case.places.items() if case.end else ():
            assert state(folder / name, kind) == known.new[name], f"{name} is not the new one after the next run"
    except AssertionError as error:
        return str(error)
    finally:
        neighbour.close()
    return None


@contextlib.contextmanager
def scratch_images(where: str | None = None) -> Iterator[Path]:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="campaign-", dir=where) as made:
        yield Path(made)
