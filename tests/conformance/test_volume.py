"""`volume save`, `restore`, `diff` and `ls` with a real engine: what a container sees afterwards, and what is left behind."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.engine_proxy import EngineProxy
from support.engine_state import Found, held, import_programs, in_whole_seconds, seen_inside
from support.real_registry import real_registry

from ocitool.spec.schema import problems

Run = Callable[..., Any]
TAR = "ocitool-test-tar:1"
CAPABILITY = b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"  # cap_net_bind_service=ep


@pytest.fixture(scope="module")
def ready(docker_engine: Any) -> Iterator[Any]:
    """The engine with an image that has GNU tar and busybox."""
    import_programs(docker_engine, TAR, "tar", "busybox")
    yield docker_engine
    docker_engine("rmi", TAR)


@pytest.fixture
def engine(ready: Any) -> Iterator[Any]:
    """The engine, in which nothing but what a test names is left: volumes whose names begin with `t-` are removed."""
    before = held(ready)
    yield ready
    after = held(ready)
    made = [name for name in after["volumes"] if name.startswith("t-")]
    if made:
        ready("volume", "rm", "-f", *made)
    assert held(ready) == before


@pytest.fixture
def run(ocitool: Run, engine: Any) -> Run:
    def run(*words: Any, **how: Any) -> Any:
        return ocitool("volume", words[0], "-H", how.pop("host", engine.host), *words[1:], **how)

    return run


def volume(engine: Any, name: str, *labels: str) -> Path:
    """Makes a volume; returns where its content is on this machine."""
    engine("volume", "create", *(word for label in labels for word in ("--label", label)), name)
    return Path(engine("volume", "inspect", "-f", "{{.Mountpoint}}", name).stdout.decode().strip())


def within(engine: Any, name: str, script: str, *options: str) -> None:
    """Runs a script of busybox's shell in a container, in the directory of a volume."""
    shell = f'busybox() {{ /bin/busybox "$@"; }}; cd /d; {script}'
    for word in ("mkdir", "chmod", "ln", "sleep"):
        shell = shell.replace(f"{word} ", f"busybox {word} ")
    words = ["run", *options, "--network", "none", "-v", f"{name}:/d", "--entrypoint", "/bin/busybox", TAR, "sh", "-c", shell]
    engine(*words)


def grow(root: Path) -> None:
    """A tree of all kinds of files and names."""
    top = os.fsencode(root)
    deep = os.path.join(top, b"deep", *(b"directory-%02d" % n for n in range(20)))
    os.makedirs(deep)
    names = [
        b"plain", b"with space", b"new\nline", b"\xff\xfe not utf-8", "umlaut-\u00e4".encode(), b"-rf", b".wh.whiteout",
        b".wh..wh..opq", b"GNUSparseFile.0", b"a" * 120, b"b" * 255, b"back\\slash", b"quote'\"", b"dot.", b"a.b", b"=",
    ]  # fmt: skip
    for number, name in enumerate(names):
        with open(os.path.join(top, name), "wb") as file:
            file.write(b"content %d\n" % number)
        os.utime(os.path.join(top, name), ns=(0, 1_600_000_000_123_456_789 + number))
    with open(os.path.join(deep, b"c" * 200), "wb") as file:
        file.write(random.Random(1).randbytes(3_000_000))
    (root / "empty").mkdir()
    (root / "a").mkdir()
    (root / "a" / "b").write_text("in a, which comes before a.b\n")
    os.link(root / "plain", root / "a" / "hard")
    os.link(root / "plain", root / "zz-hard")
    os.symlink("/etc/passwd", root / "absolute")
    os.symlink("x" * 300, root / "long")
    os.symlink("nowhere", root / "dangling")
    os.symlink("a", root / "to-directory")
    os.link(root / "dangling", root / "dangling-too", follow_symlinks=False)
    os.mknod(root / "null", 0o20666, os.makedev(1, 3))
    os.mknod(root / "block", 0o60600, os.makedev(7, 300))
    os.mkfifo(root / "pipe")
    os.chmod(root / "with space", 0o4755)
    os.chmod(root / "a", 0o2775)
    os.chmod(root / "empty", 0o1777)
    os.chown(root / "a", 1000, 2000)
    os.chown(root / "a" / "b", 3_000_000, 4_000_000_000)
    os.chown(root / "dangling", 1001, 1001, follow_symlinks=False)
    os.setxattr(root / "dot.", "security.capability", CAPABILITY)
    os.setxattr(root / "a.b", "user.binary", b"\0\1\n=")
    with open(root / "sparse", "wb") as file:
        file.seek(5 << 20)
        file.write(b"island")
        file.truncate(9 << 20)
    os.utime(root / "back\\slash", ns=(0, 4_500_000_000_000_000_000))
    os.chmod(root, 0o750)
    os.chown(root, 33, 44)
    os.utime(root / "a", (1_500_000_000, 1_500_000_000))
    os.utime(root, (1_400_000_000, 1_400_000_000))


def saved(done: Any) -> str:
    assert done.code == 0, str(done)
    assert not list(problems("report-written", done.json()))
    (root,) = done.json()["roots"]
    return str(root["digest"])


@pytest.mark.parametrize("helper", [None, TAR], ids=["archive-api", "helper"])
def test_what_is_restored_is_what_was_saved(engine: Any, run: Run, tmp_path: Path, helper: str | None) -> None:
    place = volume(engine, "t-data", "team=red")
    grow(place)
    if helper is not None:  # the engine's tar reader knows no time before 1970
        os.utime(place / "empty", ns=(0, -1_500_000_000))
    more = ["--helper", helper] if helper else []
    digest = saved(run("save", *more, "t-data", tmp_path / "data.tar", "--format", "json"))
    assert digest == saved(run("save", *more, "t-data", f"oci:{tmp_path}/again", "--format", "json")), "two saves, one digest"
    done = run("restore", *more, f"{tmp_path}/again", "t-new", "--format", "json")
    assert done.code == 0, str(done)
    assert not list(problems("report-volume", done.json()))
    assert done.json()["digest"] == digest and done.json()["volume"] == {"name": "t-new", "driver": "local", "created": True}
    before, after = seen_inside(engine, "t-data", TAR), seen_inside(engine, "t-new", TAR)
    assert len(before) > 50 and before["./zz-hard"].target == "./a/hard" and before["./dot."].xattrs
    wanted = before if helper else in_whole_seconds(before)
    assert {name: (file, after.get(name)) for name, file in wanted.items() if after.get(name) != file} == {}
    assert wanted == after
    (labels,) = json.loads(engine("volume", "inspect", "-f", "[{{json .Labels}}]", "t-new").stdout)
    assert labels == {"team": "red"}
    assert run("diff", *more, f"{tmp_path}/data.tar", "docker-volume:t-new").code == 0
    # What was restored makes the digest again, but for the volume's name and time
    layers = [json.loads(ocitool_raw(run, path))["layers"] for path in (tmp_path / "again", tmp_path / "data.tar")]
    assert layers[0] == layers[1]


def ocitool_raw(run: Run, path: Path) -> bytes:
    done = subprocess.run([sys.executable, "-m", "ocitool", "inspect", "--raw", "manifest", str(path)], capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_many_files_take_little_memory(engine: Any, run: Run, tmp_path: Path) -> None:
    """The job `volume` of the benchmarks has 20,000 files and 500 MB."""
    place = volume(engine, "t-data")
    chance = random.Random(3)
    for number in range(3_000):
        (place / f"d{number // 50}").mkdir(exist_ok=True)
        (place / f"d{number // 50}" / f"file-{number}").write_bytes(chance.randbytes(20_000))
    # Not `ru_maxrss`: a process begins with that of the one that started it.
    program = "import re, sys; from ocitool.cli import run; code = run();"
    program += r" print(re.search(r'VmHWM:\s+(\d+)', open('/proc/self/status').read())[1]); sys.exit(code)"
    for words in (["save", "t-data", f"oci:{tmp_path}/data"], ["restore", f"{tmp_path}/data", "t-new"]):
        command = [sys.executable, "-c", program, "volume", words[0], "-q", "-H", engine.host, *words[1:]]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert int(done.stdout.split()[-1]) < 150_000, words
    assert run("diff", f"{tmp_path}/data", "docker-volume:t-new").code == 0


def test_a_helper_keeps_holes(engine: Any, run: Run, tmp_path: Path) -> None:
    source = volume(engine, "t-data")
    grow(source)
    assert run("save", "--helper", TAR, "t-data", f"oci:{tmp_path}/data").code == 0
    assert run("restore", "--helper", TAR, tmp_path / "data", "t-new").code == 0
    target = volume(engine, "t-new")
    assert os.stat(target / "sparse").st_blocks == os.stat(source / "sparse").st_blocks < 100
    done = run("restore", tmp_path / "data", "t-dense")
    assert "sparse files get all of their bytes" in done.err
    assert (volume(engine, "t-dense") / "sparse").read_bytes() == (source / "sparse").read_bytes()


def test_times_before_1970(engine: Any, run: Run, tmp_path: Path) -> None:
    os.utime(volume(engine, "t-data"), ns=(0, -1_500_000_000))
    assert run("save", "t-data", f"oci:{tmp_path}/data").code == 0
    done = run("restore", tmp_path / "data", "t-new")
    assert done.code == 0 and "times before 1970" in done.err


def test_sockets_are_named_or_told_of(engine: Any, run: Run, tmp_path: Path) -> None:
    place = volume(engine, "t-data")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(place / "sock"))
    done = run("save", "t-data", f"oci:{tmp_path}/data", "--format", "json")
    assert "sockets" in done.json()["details"]["volume"]["dropped"]
    assert "no fractions of seconds, extended attributes but security.capability and sockets" in done.err
    done = run("save", "--helper", TAR, "t-data", f"oci:{tmp_path}/helped", "--format", "json")
    assert done.json()["details"]["volume"] == {
        "name": "t-data", "driver": "local", "entries": 1, "files": 0, "size": 0, "helper": TAR, "dropped": [],
    }  # fmt: skip
    assert "sock: socket ignored" in done.err


@pytest.mark.parametrize("helper", [None, TAR], ids=["archive-api", "helper"])
def test_an_empty_volume(engine: Any, run: Run, tmp_path: Path, helper: str | None) -> None:
    more = ["--helper", helper] if helper else []
    place = volume(engine, "t-data")
    os.chmod(place, 0o1777)
    assert run("save", *more, "t-data", f"oci:{tmp_path}/data").code == 0
    assert run("restore", *more, tmp_path / "data", "t-new").code == 0
    assert list(seen_inside(engine, "t-new", TAR)) == ["."]
    assert seen_inside(engine, "t-new", TAR)["."].mode == 0o1777


def test_a_volume_in_use(engine: Any, run: Run, tmp_path: Path) -> None:
    (volume(engine, "t-data") / "file").write_text("content")
    engine(
        "run",
        "-d",
        "--name",
        "user-of-it",
        "--network",
        "none",
        "-v",
        "t-data:/d",
        "--entrypoint",
        "busybox",
        TAR,
        "sleep",
        "99",
    )
    try:
        assert run("save", "t-data", f"oci:{tmp_path}/data").code == 0
        listed = run("ls", "--format", "json")
        assert not list(problems("report-volume", listed.json()))
        (row,) = [one for one in listed.json()["volumes"] if one["name"] == "t-data"]
        assert row["usedBy"] == ["user-of-it"] and row["size"] == len("content") and row["driver"] == "local"
        assert {one["size"] for one in run("ls", "--no-size", "--format", "json").json()["volumes"]} == {None}
        assert "user-of-it" in run("ls").out
        assert run("restore", "--force", tmp_path / "data", "t-data").code == 0
    finally:
        engine("rm", "-f", "user-of-it")


def test_a_change_makes_another_digest_and_a_difference(engine: Any, run: Run, tmp_path: Path) -> None:
    place = volume(engine, "t-data")
    grow(place)
    digests = {saved(run("save", "t-data", f"oci:{tmp_path}/data", "--format", "json"))}
    os.utime(place / "plain", ns=(5, os.stat(place / "plain").st_mtime_ns))
    digests.add(saved(run("save", "t-data", f"oci:{tmp_path}/data", "--format", "json")))
    assert len(digests) == 1, "a time of access"
    assert run("diff", f"{tmp_path}/data", "docker-volume:t-data").code == 0
    (place / "plain").write_text("other\n")
    os.unlink(place / "pipe")
    (place / "new").write_text("new\n")
    os.chmod(place / "a.b", 0o600)
    done = run("diff", f"{tmp_path}/data", "docker-volume:t-data", "--format", "json", "-p")
    assert done.code == 1 and not list(problems("report-diff", done.json()))
    kinds = {one["path"]: one["kind"] for one in done.json()["files"] if one["fields"] != ["mtime"]}
    assert kinds == {"/plain": "modified", "/zz-hard": "modified", "/a/hard": "modified", "/pipe": "removed", "/new": "added",
                     "/a.b": "metadata"}  # fmt: skip
    assert "+other" in {line for patch in done.json()["patch"] for line in patch["text"].splitlines()}
    digests.add(saved(run("save", "t-data", f"oci:{tmp_path}/data", "--format", "json")))
    assert len(digests) == 2
    assert run("diff", "--fail-on", "none", f"{tmp_path}/data", "docker-volume:t-data").code == 0


def test_whiteout_names_are_names(engine: Any, run: Run, tmp_path: Path) -> None:
    place = volume(engine, "t-data")
    (place / ".wh.plain").write_text("one")
    (place / "plain").write_text("two")
    assert run("save", "t-data", f"oci:{tmp_path}/data").code == 0
    (place / ".wh.plain").write_text("changed")
    done = run("diff", f"{tmp_path}/data", "docker-volume:t-data", "--format", "json")
    assert [one["path"] for one in done.json()["files"] if one["fields"] != ["mtime"]] == ["/.wh.plain"]


def test_through_a_registry(engine: Any, run: Run, tmp_path: Path, need: Run) -> None:
    need("docker-registry")
    grow(volume(engine, "t-data"))
    with real_registry(tmp_path) as registry:
        there = f"docker://{registry.host}/volumes/data:monday"
        digest = saved(run("save", "--insecure", "t-data", there, "--format", "json"))
        assert digest == saved(run("save", "t-data", f"oci:{tmp_path}/data", "--format", "json"))
        again = run("save", "--insecure", "t-data", there, "--format", "json")
        assert saved(again) == digest and again.json()["bytes"]["skipped"] > 1_000_000, "nothing is sent twice"
        assert run("restore", "--insecure", there, "t-new").code == 0
        assert run("diff", "--insecure", there, "docker-volume:t-new").code == 0
    assert in_whole_seconds(seen_inside(engine, "t-data", TAR)) == seen_inside(engine, "t-new", TAR)


def test_a_volume_that_is_not_empty_is_refused(engine: Any, run: Run, tmp_path: Path) -> None:
    (volume(engine, "t-data") / "file").write_text("content")
    assert run("save", "t-data", f"oci:{tmp_path}/data").code == 0
    place = volume(engine, "t-new")
    (place / "other").write_text("mine")
    done = run("restore", tmp_path / "data", "t-new")
    assert done.code == 9 and "not empty" in done.err and "--force" in done.err
    assert os.listdir(place) == ["other"]
    assert run("restore", "--force", tmp_path / "data", "t-new").code == 0
    assert sorted(os.listdir(place)) == ["file", "other"]


def test_what_cannot_be_meant(engine: Any, run: Run, tmp_path: Path) -> None:
    done = run("save", "t-none", tmp_path / "data.tar")
    assert done.code == 3 and "no volume t-none" in done.err and not (tmp_path / "data.tar").exists()
    assert run("save", "../etc", tmp_path / "data.tar").code == 2
    assert run("restore", "testdata/app-v1.tar", "t-new").code == 2
    volume(engine, "t-data")
    done = run("save", "--helper", "no-such-image:1", "t-data", tmp_path / "data.tar")
    assert done.code == 3 and "load or pull" in done.err
    (tmp_path / "there.tar").write_text("")
    assert run("save", "t-data", tmp_path / "there.tar").code == 9
    assert sorted(os.listdir(tmp_path)) == ["there.tar"]


def test_a_helper_without_gnu_tar(engine: Any, run: Run, tmp_path: Path) -> None:
    import_programs(engine, "t-busybox:1", "busybox")
    try:
        volume(engine, "t-data")
        done = run("save", "--helper", "t-busybox:1", "t-data", tmp_path / "data.tar")
        assert done.code == 8 and "GNU tar" in done.err, str(done)
        assert run("save", "t-data", tmp_path / "data.tar").code == 0
        done = run("restore", "--helper", "t-busybox:1", tmp_path / "data.tar", "t-new")
        assert done.code == 8 and "GNU tar" in done.err, str(done)
        assert "t-new" not in held(engine)["volumes"]
    finally:
        engine("rmi", "t-busybox:1")


# What goes wrong in the middle


def large(engine: Any) -> None:
    (volume(engine, "t-data") / "large").write_bytes(random.Random(2).randbytes(4 << 20))


@pytest.mark.parametrize("helper", [None, TAR], ids=["archive-api", "helper"])
def test_an_engine_that_stops_midway(engine: Any, run: Run, tmp_path: Path, helper: str | None) -> None:
    more = ["--helper", helper] if helper else []
    large(engine)
    before = held(engine)
    with EngineProxy(engine.host, r"GET \S*/archive|POST \S*/attach", after=1 << 20, cut=True) as proxy:
        done = run("save", *more, "t-data", tmp_path / "data.tar", host=proxy.host)
    assert done.code == 8, str(done)
    assert os.listdir(tmp_path) == [] and held(engine) == before


def test_an_engine_that_is_gone_leaves_what_the_next_run_removes(engine: Any, run: Run, tmp_path: Path) -> None:
    large(engine)
    before = held(engine)
    with EngineProxy(engine.host, r"GET \S*/archive", after=1 << 20, cut=True, gone=True) as proxy:
        done = run("save", "t-data", tmp_path / "data.tar", host=proxy.host)
    assert done.code == 8 and "could not be removed" in done.err, str(done)
    assert held(engine) != before
    done = run("save", "t-data", tmp_path / "data.tar")
    assert done.code == 0 and done.err.count("left behind") == 2
    assert held(engine) == before


def started(engine: Any, host: str, *words: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "ocitool", "volume", words[0], "-H", host, *map(str, words[1:])]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def test_an_interrupted_helper_leaves_nothing(engine: Any, tmp_path: Path) -> None:
    large(engine)
    before = held(engine)
    with EngineProxy(engine.host, r"POST \S*/attach", after=1 << 20) as proxy:
        process = started(engine, proxy.host, "save", "--helper", TAR, "t-data", tmp_path / "data.tar")
        assert proxy.stalled.wait(60)
        assert engine("ps", "-q").stdout, "the helper runs"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert held(engine) == before, err
    assert os.listdir(tmp_path) == []


@contextmanager
def stalled(engine: Any, run: Run, tmp_path: Path, what: str) -> Iterator[tuple[Any, subprocess.Popen[bytes]]]:
    """What the engine held before, and a `save` or `restore` that waits for it in the middle of the volume."""
    large(engine)
    assert run("save", "t-data", f"oci:{tmp_path}/saved").code == 0
    before = held(engine)
    pattern = r"GET \S*/archive" if what == "save" else r"PUT \S*/archive"
    words = ["t-data", tmp_path / "data.tar"] if what == "save" else [tmp_path / "saved", "t-new"]
    with EngineProxy(engine.host, pattern, after=(1 << 20) if what == "save" else 0) as proxy:
        process = started(engine, proxy.host, what, *words)
        assert proxy.stalled.wait(60)
        yield before, process


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("what", ["save", "restore"])
def test_an_interrupted_command_leaves_nothing(
    engine: Any, run: Run, tmp_path: Path, what: str, number: int, code: int
) -> None:
    with stalled(engine, run, tmp_path, what) as (before, process):
        time.sleep(0.2)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert held(engine) == before, err
    assert os.listdir(tmp_path) == ["saved"]


@pytest.mark.parametrize("what", ["save", "restore"])
def test_what_a_killed_command_left_is_removed_by_the_next(engine: Any, run: Run, tmp_path: Path, what: str) -> None:
    with stalled(engine, run, tmp_path, what) as (before, process):
        process.kill()
        process.communicate(timeout=60)
    left = held(engine)
    assert len(left["containers"]) == len(before["containers"]) + 1 and len(left["images"]) == len(before["images"]) + 1
    assert ("t-new" in left["volumes"]) is (what == "restore")
    done = run("save", "t-data", tmp_path / "again.tar")
    assert done.code == 0 and f"process {process.pid}" in done.err
    assert held(engine) == before


def test_two_runs_at_once(engine: Any, run: Run, tmp_path: Path) -> None:
    large(engine)
    processes = [started(engine, engine.host, "save", "t-data", tmp_path / f"data{n}.tar") for n in range(3)]
    for process in processes:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err


def test_a_full_disk_at_the_destination(engine: Any, run: Run, tmp_path: Path, need: Run) -> None:
    need("root")
    large(engine)
    before = held(engine)
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], check=True)
    try:
        done = run("save", "t-data", small / "data.tar")
        assert done.code == 9 and "No space left" in done.err, str(done)
        done = run("save", "t-data", f"{small}/store/")
        assert done.code == 9, str(done)
        assert not (small / "data.tar").exists() and held(engine) == before
    finally:
        subprocess.run(["umount", str(small)], check=True)


# Artifacts that are not what ocitool writes


def test_a_damaged_artifact_never_reaches_the_engine(engine: Any, run: Run, tmp_path: Path) -> None:
    large(engine)
    assert run("save", "t-data", f"oci:{tmp_path}/data").code == 0
    layer = max((tmp_path / "data" / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(layer.read_bytes())
    data[len(data) // 2] ^= 1
    layer.write_bytes(data)
    done = run("restore", tmp_path / "data", "t-new")
    assert done.code == 5, str(done)
    assert "t-new" not in held(engine)["volumes"]


def test_what_a_container_wrote_as_another_user(engine: Any, run: Run, tmp_path: Path) -> None:
    place = volume(engine, "t-data")
    os.chmod(place, 0o777)
    words = ["mkdir sub", "echo x > sub/file", "chmod 600 sub/file", "ln sub/file again", "ln -s sub/file link"]
    within(engine, "t-data", "; ".join(words), "--rm", "-u", "1234:5678")
    assert run("save", "t-data", f"oci:{tmp_path}/data").code == 0
    assert run("restore", tmp_path / "data", "t-new").code == 0
    files: dict[str, Found] = seen_inside(engine, "t-new", TAR)
    assert files["./again"].owner == (1234, 5678) and files["./again"].mode == 0o600
    assert files == in_whole_seconds(seen_inside(engine, "t-data", TAR))
