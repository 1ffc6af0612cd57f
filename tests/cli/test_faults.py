"""Every command that writes, killed, out of room, unable to read: a slice of the campaigns (`tests/campaign/run kill disk`),
the test that their oracle sees what is torn, and many processes in one layout."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.images import image, layer_tar, write_docker_archive, write_layout

CAMPAIGN = Path(__file__).resolve().parents[1] / "campaign"
Run = Callable[..., Any]


def module(name: str) -> ModuleType:
    """A module of the campaigns; each imports `commands` by that name."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, CAMPAIGN / f"{name}.py")
        assert spec is not None and spec.loader is not None
        made = importlib.util.module_from_spec(spec)
        sys.modules[name] = made
        spec.loader.exec_module(made)
    return sys.modules[name]


COMMANDS, KILL, DISK = module("commands"), module("kill"), module("disk")
BY_NAME = {case.name: case for case in COMMANDS.CASES}
SLICE = [
    "ocitool copy src:app old.tar --force --tag app:2", "ocitool copy src old", "ocitool unpack src:app new",
    "ocitool repack work src/ --tag app", "ocitool edit src:app old/ --rm etc/secret --tag app", "ocitool layout gc old",
    "ocitool layout link src old",
]  # fmt: skip


def test_every_command_that_writes_is_broken() -> None:
    from ocitool.cli import COMMANDS as ALL

    reading = {"inspect", "ls", "cat", "packages", "diff", "validate", "tags", "catalog", "login", "logout", "dedupe"}
    over_a_network = {"pull", "push"}  # tests/campaign/pulls.py, and test_registry_faults.py
    at_an_engine = {"engine", "volume"}  # tests/conformance/test_engine_faults.py, and test_volume.py
    assert set(ALL) - reading - over_a_network - at_an_engine <= {case.command for case in COMMANDS.CASES}


@pytest.mark.parametrize("name", SLICE)
def test_a_killed_run_leaves_the_old_or_the_new(name: str) -> None:
    assert [] == list(KILL.run(0, 3, times=3, cases=[BY_NAME[name]], delays=False))


@pytest.mark.parametrize("name", SLICE)
def test_no_room_and_no_reading_leave_the_old_or_the_new(name: str) -> None:
    assert [] == list(DISK.run(0, 3, times=2, cases=[BY_NAME[name]], hows=("space", "read")))


def test_a_really_full_disk_leaves_the_old(need: Callable[..., str]) -> None:
    need("root", "mount")
    if not DISK.may_mount():
        pytest.skip("may not mount")
    assert [] == list(DISK.run(0, 3, times=2, cases=[BY_NAME[SLICE[0]]], hows=("full",)))


# The oracle


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    yield COMMANDS.learn(BY_NAME["ocitool copy src old"], tmp_path_factory.mktemp("oracle") / "case")


def broken(known: Any, breach: Callable[[Path], object]) -> str | None:
    def fault(folder: Path) -> None:
        breach(folder)

    return COMMANDS.trial(known, known.origin.parent / "run", fault)  # type: ignore[no-any-return]


def blob_of(folder: Path, size: int) -> Path:
    return next(path for path in folder.glob("old/blobs/*/*") if path.stat().st_size > size)


BREACHES: dict[str, Callable[[Path], object]] = {
    "a torn blob": lambda folder: os.truncate(blob_of(folder, 100), 50),
    "a lost blob": lambda folder: blob_of(folder, 100).unlink(),
    "another index": lambda folder: (folder / "old/index.json").write_bytes(b'{"schemaVersion":2,"manifests":[]}'),
    "a torn index": lambda folder: os.truncate(folder / "old/index.json", 0),
    "a changed source": lambda folder: (folder / "src.tar").write_bytes(b""),
    "a new file beside it": lambda folder: (folder / "stray").write_bytes(b""),
    "a neighbour's temporary": lambda folder: (folder / ".ocitool-aaaaaaaaaaaaaaaa.part").unlink(),
    "a temporary that nobody sweeps": lambda folder: (folder / "src/.ocitool-bbbbbbbbbbbbbbbb.part").write_bytes(b""),
    "a layout that cannot be written any more": lambda folder: (folder / "old/blobs/sha256/x").parent.rename(folder / "old/b"),
}


def test_the_oracle_accepts_what_is_whole(known: Any) -> None:
    assert broken(known, lambda folder: None) is None


@pytest.mark.parametrize("breach", list(BREACHES))
def test_the_oracle_sees(breach: str, known: Any) -> None:
    found: str | None
    try:
        found = broken(known, BREACHES[breach])
    except ValueError as error:  # a torn index is no JSON
        found = str(error)
    assert found


def test_the_oracle_sees_a_torn_tree(tmp_path: Path) -> None:
    made = COMMANDS.learn(BY_NAME["ocitool unpack --as rootfs src.tar new"], tmp_path / "case")
    assert "neither" in str(broken(made, lambda folder: (folder / "new/etc").mkdir(parents=True)))


def test_a_fault_happens(tmp_path: Path) -> None:
    """Each kind of fault ends a run as it is meant to."""
    write_layout(tmp_path / "src", [image([layer_tar([("a", b"a" * 100)])], tag="a")])

    def end(how: str) -> int:
        return COMMANDS.ocitool(tmp_path, "copy", "src:a", f"{how}.tar", fault=(how, "0")).returncode  # type: ignore[no-any-return]

    assert {"kill": -9, "full": 9, "read": 8} == {how: end(how) for how in ("kill", "full", "read")}


# Many at once


def start(*words: object, cwd: Path) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(CAMPAIGN.parents[1]), "OCITOOL_CACHE_DIR": str(cwd / "cache")}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-m", "ocitool", *map(str, words)], cwd=cwd, env=env, stdout=pipe, stderr=pipe, text=True
    )


def names(store: Path) -> set[str]:
    entries = json.loads((store / "index.json").read_bytes())["manifests"]
    return {entry["annotations"]["org.opencontainers.image.ref.name"] for entry in entries}


@pytest.mark.parametrize("there", [False, True])
def test_eight_writers_and_a_collector_in_one_layout_all_succeed(there: bool, ocitool: Run, tmp_path: Path) -> None:
    shared = layer_tar([("shared", b"s" * 300_000)])
    for n in range(8):
        one = image([shared, layer_tar([(f"own{n}", bytes([n]) * 200_000)])], tag=f"app:{n}", codec="none")
        write_docker_archive(tmp_path / f"{n}.tar", [one])
    store = tmp_path / "store"
    if there:
        write_layout(store, [image([shared], tag="first")])
    writers = [start("copy", f"{n}.tar", "store/", cwd=tmp_path) for n in range(8)]
    collected = []
    while any(writer.poll() is None for writer in writers):
        if (store / "index.json").exists():
            collector = start("layout", "gc", "store", cwd=tmp_path)
            collected.append((collector.wait(), collector.communicate()[1]))
    ends = [(writer.wait(), writer.communicate()[1]) for writer in writers]
    assert [0] * 8 == [code for code, _ in ends], ends
    assert all(code == 0 for code, _ in collected), collected
    assert 8 + there == len(names(store))
    assert 0 == ocitool("validate", store).code
    assert ["blobs", "index.json", "oci-layout"] == sorted(os.listdir(store))


def test_removers_and_linkers_beside_writers_lose_nothing(ocitool: Run, tmp_path: Path) -> None:
    images = [image([layer_tar([(f"own{n}", bytes([n]) * 100_000)])], tag=f"t{n}") for n in range(8)]
    write_layout(tmp_path / "store", images[:4])
    write_layout(tmp_path / "other", images)
    jobs = [start("layout", "rm", "store", f"t{n}", cwd=tmp_path) for n in range(3)]
    jobs += [start("copy", f"other:t{n}", "store/", cwd=tmp_path) for n in range(4, 8)]
    jobs += [start("layout", "link", "store", "other", cwd=tmp_path), start("layout", "link", "other", "store", cwd=tmp_path)]
    jobs += [start("layout", "normalize", "store", cwd=tmp_path), start("layout", "gc", "store", cwd=tmp_path)]
    ends = [(job.args, job.wait(), job.communicate()[1]) for job in jobs]
    assert all(code == 0 for _, code, _ in ends), ends
    assert {"t3", "t4", "t5", "t6", "t7"} == names(tmp_path / "store")
    for store in ("store", "other"):
        assert 0 == ocitool("validate", tmp_path / store).code
        assert ["blobs", "index.json", "oci-layout"] == sorted(os.listdir(tmp_path / store))
    shutil.rmtree(tmp_path / "store")
    assert 0 == ocitool("validate", tmp_path / "other").code


@pytest.mark.parametrize("name", ["ocitool copy src.tar new/", "ocitool copy src:app old.tar --force --tag app:2"])
def test_an_interrupted_run_leaves_nothing_and_ends_with_143(name: str) -> None:
    assert [] == list(DISK.run(0, 4, times=6, cases=[BY_NAME[name]], hows=("term",)))
