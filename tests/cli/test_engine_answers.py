"""Answers of engines that are wrong, hostile, endless or late: a documented error, nothing of ours left, nothing believed."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.engine import Handler, ScriptedEngine
from support.images import docker_files, image, layer_tar, sha256, write_layout
from support.registries import NO_REGISTRY_SETTINGS

LAYER = layer_tar([("etc/", None), ("etc/motd", b"hello\n" * 1000)])
APP = image([LAYER], tag="app:1", codec="none")
OTHER = image([layer_tar([("other", b"other\n")])], tag="other:1", codec="none")
IMAGE = "docker-daemon:app:1"
SHOW = "/images/app:1/json"
CONTROL = "bad \x1b[31mred\x07\x9b2J\r\nocitool: error: forged \u202e"


@pytest.fixture
def engine() -> Iterator[ScriptedEngine]:
    with ScriptedEngine() as one:
        one.add(APP)
        yield one


@pytest.fixture
def run(ocitool: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """The command in a directory of its own. `code`: how it must end; an error is one line, and at most a hint, and leaves
    nothing: no file, and no change of what was there."""
    home = tmp_path / "home"
    home.mkdir()
    unset = dict.fromkeys(("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG"))
    work = tmp_path / "work"
    work.mkdir()
    write_layout(work / "app", [OTHER])

    def call(engine: ScriptedEngine, *words: str, code: int | tuple[int, ...] = 0) -> Any:
        before = places(work)
        result = ocitool(*words, "--host", engine.host, cwd=work, env={**NO_REGISTRY_SETTINGS, **unset, "HOME": str(home)})
        assert result.code in (code if isinstance(code, tuple) else (code,)), result
        assert not any((ord(one) < 32 and one != "\n") or 127 <= ord(one) < 160 for one in result.err), result
        if result.code:
            lines = result.err.splitlines()
            assert 1 == sum(line.startswith("ocitool: error: ") for line in lines), result
            assert all(line.startswith(("ocitool: ", "hint: ")) for line in lines), result
            assert before == places(work), result
        return result

    return call


def places(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def raw(text: str) -> Callable[[Handler], None]:
    """An answer to the letter, after which the connection ends, which its head says."""

    def answer(handler: Handler) -> None:
        handler.close_connection = True
        handler.wfile.write(text.replace("\r\n", "\r\nConnection: close\r\n", 1).encode("latin-1"))

    return answer


def endless(piece: bytes) -> Callable[[Handler], None]:
    def answer(handler: Handler) -> None:
        handler.close_connection = True
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        except OSError:
            return

    return answer


# Who it is


def test_a_ping_without_headers_is_enough(engine: ScriptedEngine, run: Any) -> None:
    engine.faults["GET", "/_ping"] = raw("HTTP/1.0 200 OK\r\n\r\nOK")
    run(engine, "inspect", IMAGE)


@pytest.mark.parametrize(("api", "floor"), [("1.56", "1.40"), ("1.52", "1.44")])
def test_engines_with_both_floors(run: Any, api: str, floor: str) -> None:
    with ScriptedEngine(api=api, floor=floor, containerd=True) as engine:
        engine.add(APP)
        run(engine, "copy", IMAGE, "out.tar")
        run(engine, "copy", "app", "docker-daemon:new:1")
        assert {"", "1.51"} == {one.version for one in engine.asked}


@pytest.mark.parametrize(
    ("version", "code", "text"),
    [
        (b"<html>a page</html>", 4, "not JSON"),
        (b"", 4, "not JSON"),
        (b"[]", 4, "object"),
        (b"[" * 100_000, (4, 7), ""),
        ({}, 4, "what answers here is no engine"),
        ({"ApiVersion": 1.41}, 4, "what answers here is no engine"),
        ({"ApiVersion": "1.41; rm"}, 4, "what answers here is no engine"),
        ({"ApiVersion": "99999.1"}, 4, "what answers here is no engine"),
        ({"ApiVersion": "1.0"}, 8, "the engine is too old: it speaks API 1.0, ocitool 1.24 and later"),
        ({"ApiVersion": "1.99", "MinAPIVersion": "1.90"}, 8, "the engine is too new: it speaks API 1.90 and later"),
        ({"ApiVersion": "1.41", "MinAPIVersion": [], "Os": 7, "Components": [[]]}, 0, ""),
    ],
)
def test_versions_that_are_stated(engine: ScriptedEngine, run: Any, version: Any, code: Any, text: str) -> None:
    engine.faults["GET", "/version"] = 200, version
    engine.faults["GET", "/_ping"] = raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK")
    assert text in run(engine, "inspect", IMAGE, code=code).err


@pytest.mark.parametrize(
    "answer",
    [
        "nonsense\r\n\r\n",
        "",
        "HTTP/1.1 abc\r\n\r\n",
        "HTTP/1.1 200 OK\r\n" + "X: y\r\n" * 1000 + "\r\n",
        "HTTP/1.1 200 OK\r\nX: " + "y" * 100_000 + "\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_answers_that_are_no_http(engine: ScriptedEngine, run: Any, answer: str) -> None:
    engine.faults["GET", "/_ping"] = raw(answer)
    run(engine, "inspect", IMAGE, code=8)


# Answers


@pytest.mark.parametrize("path", ["/_ping", "/version", SHOW])
@pytest.mark.parametrize("status", [302, 307])
def test_no_redirect_is_followed(engine: ScriptedEngine, run: Any, path: str, status: int) -> None:
    with ScriptedEngine(tcp=True) as elsewhere:
        text = f"HTTP/1.1 {status} Moved\r\nLocation: {elsewhere.host.replace('tcp', 'http')}/x\r\nContent-Length: 0\r\n\r\n"
        engine.faults["GET", path] = raw(text)
        said = run(engine, "copy", IMAGE, "out.tar", code=8).err
        assert f"the engine answered with a redirect, status {status}, which is not followed" in said
        assert [] == elsewhere.asked


@pytest.mark.parametrize("path", ["/_ping", "/version", SHOW, "/images/get"])
@pytest.mark.parametrize("status", [401, 403, 500])
def test_refusals_with_messages_full_of_control_characters(engine: ScriptedEngine, run: Any, path: str, status: int) -> None:
    engine.faults["GET", path] = status, {"message": CONTROL}
    said = run(engine, "copy", IMAGE, "out.tar", code=8).err
    assert f"the engine refused with status {status}" in said and "forged" in said
    assert "\u202e" not in said


def test_not_found_with_a_hostile_message(engine: ScriptedEngine, run: Any) -> None:
    engine.faults["GET", SHOW] = 404, {"message": CONTROL}
    assert "the engine has no image app:1: bad" in run(engine, "inspect", IMAGE, code=3).err


@pytest.mark.parametrize("message", [None, 7, [], "x" * 1_000_000, "\ud800"])
def test_errors_without_a_message_or_with_a_long_one(engine: ScriptedEngine, run: Any, message: Any) -> None:
    engine.faults["GET", SHOW] = 500, {"message": message}
    assert len(run(engine, "inspect", IMAGE, code=8).err) < 1000


@pytest.mark.parametrize(("path", "code"), [("/version", 7), (SHOW, 7), ("/images/app:1/history", 7)])
def test_endless_answers_meet_a_limit(engine: ScriptedEngine, run: Any, path: str, code: int) -> None:
    engine.faults["GET", path] = endless(b" " * (1 << 20))
    began = time.monotonic()
    assert "an answer of more than 67108864 bytes" in run(engine, "inspect", IMAGE, code=code).err
    assert time.monotonic() - began < 20


def test_an_endless_answer_to_a_load_meets_a_limit(engine: ScriptedEngine, run: Any) -> None:
    def answer(handler: Handler) -> None:
        handler._body()
        endless(json.dumps({"stream": "x" * 100_000}).encode() + b"\r\n")(handler)

    engine.faults["POST", "/images/load"] = answer
    assert "an answer of more than" in run(engine, "copy", "app", "docker-daemon:new:1", code=7).err


@pytest.mark.parametrize("path", ["/_ping", SHOW])
def test_an_endless_refusal_is_not_waited_for(engine: ScriptedEngine, run: Any, path: str) -> None:
    def answer(handler: Handler) -> None:
        handler.close_connection = True
        handler.wfile.write(b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                handler.wfile.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
        except OSError:
            return

    engine.faults["GET", path] = answer
    assert "the engine refused with status 500" in run(engine, "inspect", IMAGE, code=8).err


@pytest.mark.parametrize(
    ("length", "code"),
    [("9" * 20, 8), ("1" * 5000, (0, 8)), ("100000", 8), ("-1", (0, 4, 8)), ("5", 4), ("x", (0, 4, 8)), ("2, 2", (4, 8))],
    ids=lambda value: str(value)[:20],
)
@pytest.mark.parametrize("path", ["/version", SHOW])
def test_absurd_lengths(engine: ScriptedEngine, run: Any, path: str, length: str, code: Any) -> None:
    body = '{"ApiVersion":"1.41","Id":"sha256:' + "0" * 64 + '"}'
    engine.faults["GET", path] = raw(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}")
    run(
        engine, "copy", IMAGE, "out.tar", code=(*(code if isinstance(code, tuple) else (code,)), *([5] if path == SHOW else []))
    )


def test_compressed_answers_are_no_bomb(engine: ScriptedEngine, run: Any) -> None:
    """They are not asked for: they are read as they come."""
    import gzip

    body = gzip.compress(bytes(10_000_000))
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    engine.faults["GET", SHOW] = raw((head + body).decode("latin-1"))
    run(engine, "inspect", IMAGE, code=4)


# Images on their way out


def cut(data: bytes, at: int) -> Callable[[Handler], None]:
    """An archive whose connection ends in its middle."""

    def answer(handler: Handler) -> None:
        handler.close_connection = True
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        handler.wfile.write(b"%x\r\n%s" % (len(data), data[:at]))
        handler.wfile.flush()
        handler.connection.shutdown(socket.SHUT_RDWR)

    return answer


@pytest.mark.parametrize("dest", ["out.tar", "out/", "oci:app:1", "docker-daemon:other:2"])
@pytest.mark.parametrize("at", [0, 100, 3000, -1])
def test_a_connection_that_is_cut(engine: ScriptedEngine, run: Any, dest: str, at: int) -> None:
    data = engine.save(engine.images[0], "app:1")
    engine.faults["GET", "/images/get"] = cut(data, at % len(data))
    said = run(engine, "copy", IMAGE, dest, code=8).err
    assert "the engine ended the connection in the middle of an answer" in said
    assert [] == engine.sent("POST") and ["app:1"] == [name for one in engine.images for name in one.names]


def test_an_error_in_the_archive(engine: ScriptedEngine, run: Any) -> None:
    engine.save_ends = json.dumps({"errorDetail": {"message": CONTROL}, "error": CONTROL}).encode()
    for dest in ("out.tar", "out/", "oci:app:1"):
        assert "the engine failed to send the image: bad" in run(engine, "copy", IMAGE, dest, code=8).err


def archive(*members: tuple[str, Any]) -> bytes:
    """An archive of the image and these members: bytes, or the kind of a tar entry and where it leads."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        for name, what in (*docker_files([APP]).items(), *members):
            info = tarfile.TarInfo(name)
            if isinstance(what, bytes):
                info.size = len(what)
                tar.addfile(info, io.BytesIO(what))
            else:
                info.type, info.linkname = what
                tar.addfile(info)
    return target.getvalue()


@pytest.mark.parametrize(
    "name",
    ["../escape", "/absolute", "a/../../escape", "blobs/sha256/../../../escape", "./../escape", "..", "x" * 5000, "a\nb", ""],
)
@pytest.mark.parametrize("what", [b"evil", (tarfile.SYMTYPE, b"/etc"), (tarfile.LNKTYPE, b"../escape"), (tarfile.CHRTYPE, b"")])
def test_members_that_lead_elsewhere(engine: ScriptedEngine, run: Any, tmp_path: Path, name: str, what: Any) -> None:
    """They are no part of the image: it is taken without them, or refused; nothing is written where they lead."""
    kind = what if isinstance(what, bytes) else (what[0], what[1].decode())
    engine.save = lambda kept, asked: archive((name, kind))  # type: ignore[method-assign]
    result = run(engine, "copy", IMAGE, "out.tar", code=(0, 4, 6, 7))
    if result.code == 0:
        with tarfile.open(tmp_path / "work/out.tar") as tar:
            assert all(member.isreg() or member.isdir() for member in tar)
            assert not any(".." in one or one.startswith("/") for one in tar.getnames())
    assert {"work", "home"} == set(os.listdir(tmp_path))
    assert not Path("/absolute").exists()


def test_a_configuration_that_is_a_link_out_of_the_archive(engine: ScriptedEngine, run: Any, tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_bytes(APP.config)
    listing = json.dumps([{"Config": "link.json", "RepoTags": ["app:1"], "Layers": []}]).encode()
    for target in (str(tmp_path / "secret.json"), "../secret.json"):
        data = archive(("link.json", (tarfile.SYMTYPE, target)), ("manifest.json", listing))
        engine.save = lambda kept, asked, data=data: data  # type: ignore[method-assign]
        run(engine, "copy", IMAGE, "out.tar", code=(4, 5, 6))


def test_another_layer_than_the_configuration_states(engine: ScriptedEngine, run: Any) -> None:
    layer = next(name for name in docker_files([APP]) if name.endswith("layer.tar"))
    engine.save = lambda kept, asked: archive((layer, layer_tar([("evil", b"evil")])))  # type: ignore[method-assign]
    assert "the configuration states" in run(engine, "copy", IMAGE, "out.tar", code=5).err


# Images on their way in


def test_an_engine_that_leaves_while_it_gets_an_image(engine: ScriptedEngine, run: Any, tmp_path: Path) -> None:
    write_layout(tmp_path / "work" / "large", [image([layer_tar([("large", os.urandom(8 << 20))])], tag="large:1")])

    def leave(handler: Handler) -> None:
        handler.close_connection = True
        handler.rfile.read(1 << 20)
        handler.connection.shutdown(socket.SHUT_RDWR)

    engine.faults["POST", "/images/load"] = leave
    said = run(engine, "copy", "large", "docker-daemon:large:1", code=8).err
    assert "the engine ended the connection before it answered" in said


def test_a_refusal_before_the_image_is_sent_whole(engine: ScriptedEngine, run: Any, tmp_path: Path) -> None:
    """As of a proxy before the engine: its answer says why, if it arrives."""
    write_layout(tmp_path / "work" / "large", [image([layer_tar([("large", os.urandom(8 << 20))])], tag="large:1")])

    def refuse(handler: Handler) -> None:
        handler.close_connection = True
        handler.rfile.read(1 << 20)
        handler.say(403, {"message": "authorization denied by plugin"})
        handler.wfile.flush()
        handler.connection.shutdown(socket.SHUT_WR)
        while handler.rfile.read(1 << 20):
            pass

    engine.faults["POST", "/images/load"] = refuse
    said = run(engine, "copy", "large", "docker-daemon:large:1", code=8).err
    assert "authorization denied by plugin" in said


# Ctrl-C


@pytest.mark.parametrize(
    ("where", "number", "code"),
    [("/_ping", signal.SIGINT, 130), (SHOW, signal.SIGTERM, 143), ("/images/get", signal.SIGINT, 130),
     ("/images/load", signal.SIGINT, 130)],
)  # fmt: skip
def test_a_slow_engine_can_be_interrupted(engine: ScriptedEngine, tmp_path: Path, where: str, number: int, code: int) -> None:
    """The engine holds back its answer, or the middle of it; the command ends at once, and leaves nothing."""
    held, done = threading.Event(), threading.Event()

    def hold(handler: Handler) -> None:
        handler.close_connection = True
        if where == "/images/get":
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4000\r\n" + b"x" * 1000)
            handler.wfile.flush()
        held.set()
        done.wait(60)

    engine.faults["POST" if where == "/images/load" else "GET", where] = hold
    write_layout(tmp_path / "app", [OTHER])
    before = places(tmp_path)
    words = ["app", "docker-daemon:new:1"] if where == "/images/load" else [IMAGE, "out.tar"]
    env = {**os.environ, "OCITOOL_CACHE_DIR": str(tmp_path.parent / f"{tmp_path.name}-cache")}
    process = subprocess.Popen(
        [sys.executable, "-m", "ocitool", "copy", *words, "--host", engine.host], cwd=tmp_path, env=env,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert held.wait(60)
        time.sleep(0.1)
        process.send_signal(number)
        began = time.monotonic()
        said = process.communicate(timeout=60)[1].decode()
        took = time.monotonic() - began
    finally:
        done.set()
        process.kill()
    assert process.returncode == code, said
    assert took < 4 and "Traceback" not in said, (took, said)
    assert before == places(tmp_path)


def test_the_image_that_is_asked_for_is_the_one_that_comes(engine: ScriptedEngine, run: Any, tmp_path: Path) -> None:
    """The tests above stand on an engine that works."""
    run(engine, "copy", IMAGE, "out.tar")
    with tarfile.open(tmp_path / "work/out.tar") as tar:
        assert any(sha256(APP.config).removeprefix("sha256:") in name for name in tar.getnames())
