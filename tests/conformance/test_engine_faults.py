"""Engines that are not there, end in the middle of an image, or have a full disk: documented errors, and nothing half done."""

from __future__ import annotations

import os
import random
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.disk import as_nobody, open_to_all
from support.engine import ScriptedEngine
from support.engine_state import held
from support.images import image, layer_tar, write_layout

MB = 1_000_000
SMALL = image([layer_tar([("etc/", None), ("etc/motd", b"hello\n")])], tag="small:1", codec="none")
LARGE = image([layer_tar([("large", random.Random(1).randbytes(20 * MB))])], tag="large:1", codec="none")
TOO_LARGE = image([layer_tar([("large", random.Random(2).randbytes(40 * MB))])], tag="large:2", codec="none")
CUT = "the engine ended the connection in the middle of an answer"


@pytest.fixture
def run(inside: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """The command in a directory of its own. An error is one line and at most a hint, and leaves no file."""
    work = tmp_path / "work"
    work.mkdir()

    def call(host: str, *words: Any, code: int = 0, cwd: Path = work, **env: str) -> Any:
        before = sorted(map(str, tmp_path.rglob("*")))
        result = inside(*words, "--host", host, cwd=cwd, env=env)
        assert code == result.code, result
        if code:
            lines = [line for line in result.err.splitlines() if not line.startswith("ocitool: note")]
            assert lines[0].startswith("ocitool: error: ") and len(lines) <= 2, result
            assert before == sorted(map(str, tmp_path.rglob("*")))
        return result

    return call


# No engine


def test_an_engine_that_is_down(run: Any, tmp_path: Path) -> None:
    """Its socket stays behind when it is killed."""
    with open_to_all() as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "d.sock"))
        listener.listen()
        listener.close()
        for words in (("inspect", "docker-daemon:app"), ("copy", "docker-daemon:app", "out.tar")):
            said = run(f"unix://{folder}/d.sock", *words, code=8).err
            assert "no engine answers here" in said and "\nhint: is it running?" in said, said


@pytest.mark.parametrize("kind", ["missing", "a file", "a directory"])
def test_a_path_that_is_no_socket(run: Any, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "path"
    if kind == "a file":
        path.write_bytes(b"")
    elif kind == "a directory":
        path.mkdir()
    said = run(f"unix://{path}", "inspect", "docker-daemon:app", code=8).err
    assert ("no engine here: its socket does not exist" if kind == "missing" else "no engine answers here") in said, said


def test_a_socket_without_permission(need: Callable[..., str]) -> None:
    need("root")
    from ocitool.errors import TransportError
    from ocitool.task import Task
    from ocitool.transports.engine import EngineOptions, Engines

    with ScriptedEngine() as engine, Task(jobs=1) as task:
        path = Path(engine.host.removeprefix("unix://"))
        os.chmod(path.parent, 0o755)
        os.chmod(path, 0o660)

        def asked() -> tuple[str, str | None]:
            engines = Engines(EngineOptions(host=engine.host), task)
            try:
                return engines.engine().version.version, None
            except TransportError as error:
                return str(error), error.hint
            finally:
                engines.close()

        assert asked() == ("scripted", None)  # as root; and all modules are loaded now
        error, hint = as_nobody(asked)
        assert f"no permission to talk to the engine ({engine.host})" == error
        assert "a user needs the group docker for the engine's socket, or root" == hint
        os.chmod(path, 0o666)
        assert as_nobody(asked) == ("scripted", None)


# In the middle of an image


@pytest.fixture(scope="module")
def mortal(new_engine: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An engine that tests kill and start again."""
    with new_engine() as engine:
        engine("import", "-", "large:1", stdin=layer_tar([("large", random.Random(3).randbytes(20 * MB))]))
        yield engine


def killing(engine: Any, pieces: Any) -> Iterator[bytes]:
    """Kills the engine after some MB of what goes to it or comes from it."""
    passed = 0
    for piece in pieces:
        yield piece
        passed += len(piece)
        if passed > 4 * MB and engine.host:
            engine.kill()
            engine = type("Gone", (), {"host": ""})


@pytest.mark.parametrize("dest", ["out.tar", "out/", "oci:there:new", "docker-archive:out.tar:x"])
def test_an_engine_that_is_killed_while_an_image_comes(
    mortal: Any, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dest: str
) -> None:
    from ocitool.transports.engine.client import Engine

    write_layout(tmp_path / "work" / "there", [SMALL])
    plain = Engine._pieces
    with monkeypatch.context() as patch:
        patch.setattr(Engine, "_pieces", lambda self, answer: killing(mortal, plain(self, answer)))
        assert CUT in run(mortal.host, "copy", "docker-daemon:large:1", dest, code=8).err
    mortal.start()
    run(mortal.host, "copy", "docker-daemon:large:1", dest)


def test_an_engine_that_is_killed_while_it_gets_an_image(
    mortal: Any, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ocitool.transports.engine import client

    write_layout(tmp_path / "large", [LARGE])
    before = held(mortal)
    plain = client._Body.__iter__
    with monkeypatch.context() as patch:
        patch.setattr(client._Body, "__iter__", lambda self: killing(mortal, plain(self)))
        said = run(mortal.host, "copy", tmp_path / "large", "docker-daemon:half:1", code=8).err
        assert "the engine ended the connection" in said, said
    mortal.start()
    assert before == held(mortal)
    run(mortal.host, "copy", tmp_path / "large", "docker-daemon:half:1")
    assert len(held(mortal)["images"]) == len(before["images"]) + 1
    mortal("rmi", "half:1")


# Full disks


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[Path]:
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_an_engine_whose_disk_is_full(need: Any, new_engine: Callable[..., Any], run: Any, tmp_path: Path) -> None:
    need("root", "mount")
    for one, name in ((SMALL, "small"), (LARGE, "large"), (TOO_LARGE, "too-large")):
        write_layout(tmp_path / name, [one])
    with open_to_all() as above, small_disk(above / "data", 60 * MB) as disk, new_engine(data=disk) as engine:
        before = held(engine)
        said = run(engine.host, "copy", tmp_path / "too-large", "docker-daemon:too-large:1", code=8).err
        assert "no space left on device" in said, said
        assert before == held(engine)
        run(engine.host, "copy", tmp_path / "small", "docker-daemon:small:1")
        run(engine.host, "copy", tmp_path / "large", "docker-daemon:large:1")
        (disk / "filler").write_bytes(bytes(30 * MB))
        with_both = held(engine)
        for dest in ("out.tar", "out/"):
            said = run(engine.host, "copy", "docker-daemon:large:1", dest, code=8).err
            assert "no space left on device" in said, said
        run(engine.host, "inspect", "docker-daemon:large:1")
        (disk / "filler").unlink()
        run(engine.host, "copy", "docker-daemon:large:1", "out.tar")
        assert with_both == held(engine)


@pytest.mark.parametrize("dest", ["out.tar", "out/"])
def test_a_full_disk_of_the_destination(need: Any, mortal: Any, run: Any, tmp_path: Path, dest: str) -> None:
    need("root", "mount")
    before = held(mortal)
    with small_disk(tmp_path / "disk", 8 * MB) as disk:
        said = run(mortal.host, "copy", "docker-daemon:large:1", dest, code=9, cwd=disk).err
        assert "No space left on device" in said or "disk is full" in said, said
        assert [] == os.listdir(disk)
    assert before == held(mortal)


def test_a_full_disk_of_temporary_files(need: Any, mortal: Any, ocitool: Callable[..., Any], tmp_path: Path) -> None:
    need("root", "mount")
    with small_disk(tmp_path / "disk", 8 * MB) as disk:
        words = ("copy", "docker-daemon:large:1", "out.tar", "--host", mortal.host)
        result = ocitool(*words, cwd=tmp_path, env={"TMPDIR": str(disk)})
        assert 9 == result.code, result
        assert "cannot be written: No space left on device" in result.err and str(disk) in result.err, result
        assert [] == os.listdir(disk) and ["disk"] == os.listdir(tmp_path)
