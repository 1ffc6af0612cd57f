"""Containers of real engines, on vfs and on overlay2: `engine diff` and `engine commit` judged by `docker diff`, `docker
export` and what a container of the written image has."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.containers import CHANGES, base_image, exported
from support.images import gz, layer_tar, write_docker_archive, write_layout
from support.images import image as made
from support.report import report_of

Run = Callable[..., Any]
Engine = Any
IMAGE = "changed.test/base:1"


@pytest.fixture(scope="module", params=["docker_engine", "overlay_engine"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Both drivers: they list changes in different ways."""
    with having_image(request.getfixturevalue(request.param), tmp_path_factory.mktemp("base")) as found:
        yield found


@pytest.fixture(scope="module")
def vfs(docker_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """One engine, for what does not depend on the driver."""
    with having_image(docker_engine, tmp_path_factory.mktemp("base")) as found:
        yield found


@contextmanager
def having_image(engine: Engine, place: Path) -> Iterator[Engine]:
    engine("load", "-i", write_docker_archive(place / "base.tar", [base_image(IMAGE)]))
    yield engine
    engine("image", "rm", "-f", IMAGE, check=False)


@contextmanager
def containers(engine: Engine) -> Iterator[Callable[..., str]]:
    """Makes containers that run a script to its end, or go on running (`goes_on`)."""
    made: list[str] = []

    def run(script: str, *options: str, image: str = IMAGE, goes_on: bool = False) -> str:
        name = f"c{next(_NUMBERS)}-{os.getpid()}"
        made.append(name)
        engine("create", "--name", name, "--network", "none", "-i", *options, image, "sh", "-c", script)
        if goes_on:
            engine("start", name)
        else:
            engine("start", "-a", name)
        return name

    try:
        yield run
    finally:
        for name in made:
            engine("rm", "-f", "-v", name, check=False)


_NUMBERS = itertools.count()


@pytest.fixture
def container(vfs: Engine) -> Iterator[Callable[..., str]]:
    with containers(vfs) as run:
        yield run


@pytest.fixture(scope="module")
def changed(engine: Engine) -> Iterator[str]:
    """A container that changed its files in every way."""
    with containers(engine) as run:
        yield run(CHANGES)


@contextmanager
def loaded(engine: Engine, archive: Path, name: str) -> Iterator[str]:
    """A container, not started, of the image that an archive holds."""
    engine("load", "-i", archive)
    try:
        fresh = engine("create", name).stdout.decode().strip()
        try:
            yield fresh
        finally:
            engine("rm", "-v", fresh, check=False)
    finally:
        engine("image", "rm", "-f", name, check=False)


def run_json(ocitool: Run, engine: Engine, *words: object, ends: tuple[int, ...] = (0, 1)) -> dict[str, Any]:
    return dict(report_of(ocitool("engine", *words, "-H", engine.host, "--format", "json"), *ends))


def paths_of(engine: Engine, name: str) -> set[tuple[str, str]]:
    """What `docker diff` says: each path with its letter. Names may be equal in it that differ in bytes."""
    answer = subprocess.run(
        ["curl", "-s", "--unix-socket", engine.host.removeprefix("unix://"), f"http://x/v1.41/containers/{name}/changes"],
        capture_output=True, check=True,
    )  # fmt: skip
    return {(one["Path"], "MAD"[one["Kind"]]) for one in json.loads(answer.stdout)}


def test_diff_has_the_paths_of_docker_diff(ocitool: Run, engine: Engine, changed: str) -> None:
    theirs = paths_of(engine, changed)
    report = run_json(ocitool, engine, "diff", changed)
    ours = {(one["path"], one["kind"]) for one in report["files"]}
    paths = {path for path, _ in ours}
    for path, kind in theirs:
        if kind == "A":
            assert (path, "added") in ours or path == "/etc/mtab"
        elif kind == "D":
            assert (path, "removed") in ours
        elif path not in paths:  # an unchanged directory above a change: engines list these too
            assert any(other.startswith(path + "/") for other, _ in theirs)
    # What they leave out: what was in a directory that is gone, and further names of a file that got or lost a name.
    assert paths - {path for path, _ in theirs} <= {
        "/usr/lib/b", "/usr/lib/c", "/usr/lib/deep/big", "/opt/dir2file/f1", "/opt/dir2file/f2", "/opt/dir2file/sub",
        "/opt/dir2file/sub/f3", "/opt/gone/sub/f3", "/opt/replace/sub/f3",
    }  # fmt: skip
    assert not any(path.startswith("/data") for path in paths)
    assert "setuid" in {one["rule"] for one in report["notable"]}


def test_diff_has_what_is_in_the_container(ocitool: Run, engine: Engine, changed: str) -> None:
    inside = exported(engine("export", changed).stdout)
    report = run_json(ocitool, engine, "diff", "--verify", changed)
    contents = 0
    for one in report["files"]:
        path, after = one["path"].lstrip("/"), one["after"]
        if "pathBase64" in one:
            path = os.fsdecode(base64.b64decode(one["pathBase64"])).lstrip("/")
        if after is None:
            assert path not in inside
            continue
        _, mode, uid, gid, _, _, content, *names = inside[path]
        if after["type"] != "symlink":
            assert int(after["mode"], 8) == mode
        assert (after["uid"], after["gid"]) == (uid, gid)
        if after["type"] == "file":
            assert after["digest"] == f"sha256:{content}"
            contents += 1
        if names:
            assert sorted(name.lstrip("/") for name in after["links"]) == list(names[0])
    assert contents > 15
    patches = run_json(ocitool, engine, "diff", "-p", "--path", "etc/**", changed)["patch"]
    assert "+changed" in next(one["text"] for one in patches if one["path"] == "/etc/motd")


def test_commit_gives_exactly_what_the_container_has(ocitool: Run, engine: Engine, changed: str, tmp_path: Path) -> None:
    archive = tmp_path / "committed.tar"
    done = ocitool("engine", "commit", changed, archive, "--tag", "committed.test/it:1", "-H", engine.host, "--env",
                   "ADDED=yes", "--label", "by=test", "--cmd", '["sh", "-c", "echo $ADDED; cat /etc/new"]')  # fmt: skip
    assert done.code == 0, done.err
    assert ocitool("validate", archive).code == 0
    with loaded(engine, archive, "committed.test/it:1") as fresh:
        assert exported(engine("export", fresh).stdout) == exported(engine("export", changed).stdout)
        assert engine("run", "--rm", "--network", "none", "committed.test/it:1").stdout == b"yes\nnew\n"
        config = json.loads(engine("image", "inspect", "committed.test/it:1").stdout)[0]["Config"]
        assert config["Labels"] == {"by": "test"}


def test_names_of_one_file_in_places_far_apart(ocitool: Run, engine: Engine, tmp_path: Path) -> None:
    script = "cd /usr/lib/deep/er; for i in 1 2 3 4 5 6 7 8 9; do echo $i > f$i; done; ln f3 g3; mkdir -p s/t; ln f3 s/t/h3"
    script += "; cd /home/u; for i in 1 2 3 4 5 6; do echo $i > f$i; done; rm touchme; ln f4 /opt/far"
    archive = tmp_path / "committed.tar"
    with containers(engine) as run:
        name = run(script)
        assert ocitool("engine", "commit", name, archive, "--tag", "committed.test/m:1", "-H", engine.host).code == 0
        with loaded(engine, archive, "committed.test/m:1") as fresh:
            assert exported(engine("export", fresh).stdout) == exported(engine("export", name).stdout)


def test_a_container_that_changed_nothing(ocitool: Run, vfs: Engine, container: Run, tmp_path: Path) -> None:
    name = container("true")
    report = run_json(ocitool, vfs, "diff", name, ends=(0,))
    assert report["identical"] and report["copiedUp"]["files"] == 0
    done = ocitool("engine", "commit", name, tmp_path / "same.tar", "-H", vfs.host)
    assert done.code == 0 and "changed nothing" in done.err
    assert (
        json.loads(ocitool("inspect", "--format", "json", tmp_path / "same.tar").stdout)["images"][0]["totals"]["layers"] == 3
    )


def test_docker_cp_and_directories_of_volumes(ocitool: Run, vfs: Engine, container: Run, tmp_path: Path) -> None:
    (tmp_path / "from-host").write_bytes(b"copied in")
    name = container("echo x > /vol/x; echo y > /new/deep/vol/y", "-v", "/vol", "-v", "/new/deep/vol", "--tmpfs", "/tmpfs")
    vfs("cp", tmp_path / "from-host", f"{name}:/opt/from-host")
    report = run_json(ocitool, vfs, "diff", name)
    added = {one["path"] for one in report["files"] if one["kind"] == "added"}
    assert "/opt/from-host" in added
    assert not any(path.startswith(("/vol", "/tmpfs", "/new/deep/vol")) for path in added)


def test_image_option_keeps_the_layers_of_a_layout(ocitool: Run, vfs: Engine, container: Run, tmp_path: Path) -> None:
    one = base_image(IMAGE)
    compressed = [gz(layer) for layer in one.layers]
    stored = write_layout(tmp_path / "store", [made(one.layers, tag="base", codec="gzip", config=one.config)])
    name = container("echo new > /etc/new")
    done = ocitool("engine", "commit", "--image", f"{stored}:base", name, f"{tmp_path}/out/", "--tag", "new", "-H", vfs.host,
                   "--format", "json")  # fmt: skip
    assert done.code == 0, done.err
    layers = json.loads(done.stdout)["images"][0]["layers"]
    assert [layer["origin"] for layer in layers] == ["kept", "kept", "kept", "new"]
    assert [layer["size"] for layer in layers[:3]] == [len(each) for each in compressed]
    assert layers[3]["digest"] != layers[3]["diffId"]  # compressed as those below it
    other = write_layout(tmp_path / "other", [made(one.layers[:2], tag="base", codec="gzip")])
    wrong = ocitool("engine", "commit", "--image", f"{other}:base", name, f"{tmp_path}/out/", "-H", vfs.host)
    assert wrong.code == 2 and "not the image of container" in wrong.err
    report = run_json(ocitool, vfs, "diff", "--image", f"{stored}:base", name)
    assert [one["path"] for one in report["files"] if one["kind"] == "added"] == ["/etc/new"]


def test_same_content_gives_the_same_bytes(ocitool: Run, vfs: Engine, container: Run, tmp_path: Path) -> None:
    digests = set()
    for n in range(2):
        name = container("echo new > /etc/new; rm /srv/page; mkdir /opt/x")
        done = ocitool("engine", "commit", name, tmp_path / f"{n}.tar", "-H", vfs.host, "--format", "json",
                       env={"SOURCE_DATE_EPOCH": "1600000000"})  # fmt: skip
        digests.add(json.loads(done.stdout)["images"][0]["layers"][-1]["digest"])
        time.sleep(1.1)
    assert len(digests) == 1
    dry = ocitool("engine", "commit", name, tmp_path / "never.tar", "-H", vfs.host, "--dry-run")
    assert dry.code == 0 and not (tmp_path / "never.tar").exists()


def test_running_and_paused(ocitool: Run, vfs: Engine, container: Run, tmp_path: Path) -> None:
    name = container("echo here > /etc/new; while true; do sleep 1; done", goes_on=True)
    deadline = time.monotonic() + 20
    while ("/etc/new", "A") not in paths_of(vfs, name) and time.monotonic() < deadline:
        time.sleep(0.1)
    plain = ocitool("engine", "diff", name, "-H", vfs.host)
    assert plain.code == 1 and "is running" in plain.err
    paused = ocitool("engine", "diff", "--pause", name, "-H", vfs.host)
    assert paused.code == 1 and "is running" not in paused.err
    assert state(vfs, name) == "running"
    vfs("exec", name, "touch", "/opt/.wh.x")  # no layer can hold it
    refused = ocitool("engine", "commit", "--pause", name, tmp_path / "never.tar", "-H", vfs.host)
    assert refused.code == 4 and ".wh." in refused.err and not (tmp_path / "never.tar").exists()
    assert state(vfs, name) == "running"
    listed = run_json(ocitool, vfs, "containers", "--running")["containers"]
    assert [(one["names"], one["image"], one["state"]) for one in listed] == [([name], IMAGE, "running")]
    assert listed[0]["writableBytes"] >= 5


def state(engine: Engine, name: str) -> str:
    return str(engine("inspect", "-f", "{{.State.Status}}", name).stdout.decode().strip())


def test_unpaused_after_an_interruption(ocitool: Run, vfs: Engine, container: Run, tmp_path: Path) -> None:
    name = container("dd if=/dev/zero of=/opt/huge bs=1M count=300; while true; do sleep 1; done", goes_on=True)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if run_json(ocitool, vfs, "containers", "--running")["containers"][0]["writableBytes"] >= 300 << 20:
            break
    process = subprocess.Popen(
        [sys.executable, "-m", "ocitool", "engine", "diff", "--pause", name, "-H", vfs.host],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=vfs.env,
    )  # fmt: skip
    while process.poll() is None and state(vfs, name) != "paused":
        pass
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode in (130, 1), errors  # it may have been done by then
    assert state(vfs, name) == "running"


def test_a_container_that_does_not_exist(ocitool: Run, vfs: Engine) -> None:
    missing = ocitool("engine", "diff", "no-such-container", "-H", vfs.host)
    assert missing.code == 3 and "no-such-container" in missing.err


def test_sockets_are_dropped_and_named(ocitool: Run, vfs: Engine, container: Run) -> None:
    name = container("while true; do sleep 1; done", goes_on=True)
    process = vfs("inspect", "-f", "{{.State.Pid}}", name).stdout.decode().strip()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"/proc/{process}/root/opt/socket")
    report = run_json(ocitool, vfs, "diff", name)
    assert any("/opt/socket" in one["text"] for one in report["notices"])
    assert [one["path"] for one in report["files"]] == ["/opt"]


def test_capabilities_of_files_survive(ocitool: Run, vfs: Engine, container: Run, tmp_path: Path) -> None:
    value = bytes.fromhex("0100000200040000000000000000000000000000")  # cap_net_bind_service=ep
    name = container("echo x > /opt/server; while true; do sleep 1; done", goes_on=True)
    process = vfs("inspect", "-f", "{{.State.Pid}}", name).stdout.decode().strip()
    deadline = time.monotonic() + 20
    while not os.path.exists(f"/proc/{process}/root/opt/server") and time.monotonic() < deadline:
        time.sleep(0.1)
    os.setxattr(f"/proc/{process}/root/opt/server", "security.capability", value)
    done = ocitool("engine", "commit", "--pause", name, tmp_path / "it.tar", "-H", vfs.host)
    assert done.code == 0, done.err
    listed = report_of(ocitool("ls", "--format", "json", tmp_path / "it.tar", "/opt/server"))["entries"]
    assert [base64.b64decode(one["xattrs"]["security.capability"]) for one in listed] == [value]


def test_an_image_that_the_engine_has_no_more(ocitool: Run, vfs: Engine, tmp_path: Path) -> None:
    one = base_image("gone.test/it:1", big=b"other")
    vfs("load", "-i", write_docker_archive(tmp_path / "base.tar", [one]))
    with containers(vfs) as run:
        name = run("echo new > /etc/new", image="gone.test/it:1")
        vfs("image", "rm", "-f", "gone.test/it:1")
        alone = ocitool("engine", "diff", name, "-H", vfs.host)
        with_image = ocitool("engine", "diff", "--image", tmp_path / "base.tar", name, "-H", vfs.host)
    assert (alone.code, with_image.code) in ((3, 1), (1, 1))  # engines may keep it without its name
    assert alone.code == 1 or "--image" in alone.err


def test_copied_up_files_as_counted_in_two_exports(ocitool: Run, engine: Engine, changed: str) -> None:
    """Counted are files that have one path in both and differ in anything."""
    fresh = engine("create", IMAGE).stdout.decode().strip()
    try:
        before, after = (exported(engine("export", one).stdout) for one in (fresh, changed))
    finally:
        engine("rm", "-v", fresh)
    expected = {}
    for path, was in before.items():
        now = after.get(path)
        if now is None or was[0] != b"0" or now[0] != b"0" or was[:7] == now[:7]:
            continue
        expected[path] = {
            word for word, at in (("content", 6), ("mode", 1), ("uid", 2), ("gid", 3), ("mtime", 4)) if was[at] != now[at]
        }
    copied = run_json(ocitool, engine, "diff", changed)["copiedUp"]
    # A file that got another name is copied up too, with nothing changed; of several names one is listed.
    found = {one["path"].lstrip("/"): set(one["changed"]) for one in copied["list"] if one["changed"]}
    by_file = {path: words for path, words in expected.items() if path != "usr/lib/c" or "usr/lib/a" not in expected}
    lossy = {path.encode("utf-8", "surrogateescape").decode("utf-8", "replace"): words for path, words in by_file.items()}
    assert found == lossy
    sizes = {one["path"].lstrip("/"): one["size"] for one in copied["list"]}
    assert copied["bytes"] == sum(sizes.values()) and copied["files"] == len(sizes)
    unchanged = [one for one in copied["list"] if "content" not in one["changed"]]
    assert copied["contentUnchanged"] == {"files": len(unchanged), "bytes": sum(one["size"] for one in unchanged)}


def test_df_and_dedupe_count_layers_as_the_images_have_them(ocitool: Run, vfs: Engine, container: Run, tmp_path: Path) -> None:
    base = base_image(IMAGE)
    more = made([*base.layers, layer_tar([("more", b"m" * 5000)])], tag="changed.test/more:1", codec="none")
    vfs("load", "-i", write_docker_archive(tmp_path / "more.tar", [more]))
    name = container("dd if=/dev/zero of=/opt/filled bs=1000 count=70")
    try:
        report = report_of(ocitool("engine", "df", "-H", vfs.host, "--format", "json"))
        images = {one["tags"][0]: one for one in report["images"]}
        sizes = {one["Name"]: one["Size"] for one in sizes_of(vfs, (IMAGE, "changed.test/more:1"))}
        assert {tag: images[tag]["size"] for tag in sizes} == sizes
        assert images["changed.test/more:1"]["unique"] == 5000
        assert (images[IMAGE]["unique"], images[IMAGE]["shared"]) == (0, sizes[IMAGE])
        assert images["changed.test/more:1"]["shared"] == sizes[IMAGE]
        assert images[IMAGE]["containers"] == [one["id"] for one in report["containers"] if name in one["names"]]
        assert report["bytes"]["saved"] >= sizes[IMAGE] and report["bytes"]["writable"] >= 70_000
        text = ocitool("engine", "df", "-H", vfs.host).out
        assert IMAGE in text and name in text
        deduped = report_of(ocitool("dedupe", "docker-daemon:", "-H", vfs.host, "--format", "json"))
        known = {one["reference"]: one for one in deduped["images"]}
        assert known["docker-daemon:changed.test/more:1"]["own"] == 5000
        files = report_of(ocitool("dedupe", "--files", f"docker-daemon:{IMAGE}", "docker-daemon:changed.test/more:1", "-H",
                                  vfs.host, "--format", "json"))  # fmt: skip
        assert files["files"]["references"] > files["files"]["unique"]
    finally:
        vfs("image", "rm", "-f", "changed.test/more:1", check=False)


def sizes_of(engine: Engine, names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [{"Name": one, **json.loads(engine("image", "inspect", one).stdout)[0]} for one in names]


def test_podman_answers_the_same_calls(ocitool: Run, need: Run, tmp_path: Path) -> None:
    """A container that was changed without being started: Podman mounts it, and the script runs in its root."""
    need("podman", "root")
    place = Path(tempfile.mkdtemp(prefix="oci-", dir="/tmp"))
    podman = ["podman", "--root", f"{place}/root", "--runroot", f"{place}/run", "--storage-driver", "vfs", "--cgroup-manager",
              "cgroupfs", "--events-backend", "file"]  # fmt: skip

    def call(*words: str) -> str:
        return subprocess.run([*podman, *words], check=True, capture_output=True, text=True).stdout.strip()

    archive = write_docker_archive(place / "base.tar", [base_image(IMAGE)])
    with open(place / "log", "wb") as log:
        service = subprocess.Popen([*podman, "system", "service", "--time=0", f"unix://{place}/p.sock"], stdout=log, stderr=log)
    try:
        call("load", "-q", "-i", str(archive))
        call("create", "--name", "changed", "--network", "host", IMAGE)
        root = call("mount", "changed")
        script = CHANGES.replace("set -e", "set -e; mkdir -p /dev")
        subprocess.run([str(shutil.which("chroot")), root, "/bin/sh", "-c", script], check=True, env={"PATH": "/bin"})
        call("umount", "changed")
        deadline = time.monotonic() + 30
        while not (place / "p.sock").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        host = f"unix://{place}/p.sock"
        report = report_of(ocitool("engine", "diff", "changed", "-H", host, "--format", "json"), 1)
        paths = {(one["path"], one["kind"]) for one in report["files"]}
        assert {("/etc/new", "added"), ("/etc/motd", "modified"), ("/opt/gone/f1", "removed"), ("/opt/f2d", "type")} <= paths
        done = ocitool("engine", "commit", "changed", place / "out.tar", "--tag", "changed.test/it:1", "-H", host)
        assert done.code == 0, done.err
        call("load", "-q", "-i", f"{place}/out.tar")
        call("create", "--name", "fresh", "changed.test/it:1")
        before, after = (
            exported(subprocess.run([*podman, "export", one], check=True, capture_output=True).stdout)
            for one in ("changed", "fresh")
        )
        for tree in (before, after):  # Podman lists no change of /run, and the declared volume is no part of the layer
            for path in ("data", "data/volume-file", "run"):
                tree.pop(path, None)
        assert before == after
    finally:
        service.terminate()
        service.wait(30)
        subprocess.run([*podman, "rm", "-af"], capture_output=True)
        subprocess.run([*podman, "rmi", "-af"], capture_output=True)
        shutil.rmtree(place, ignore_errors=True)
