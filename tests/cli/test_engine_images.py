"""`docker-daemon:` as source and destination of commands, at an engine that does as the test tells it."""

from __future__ import annotations

import json
import random
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
from support.engine import Handler, ScriptedEngine, free_port
from support.images import image, layer_tar, sha256, write_docker_archive, write_layout
from support.registries import NO_REGISTRY_SETTINGS
from support.registry import ScriptedRegistry
from support.registry_command import Run

BASE = layer_tar([("etc/", None), ("etc/motd", b"hello\n" * 1000)])
TOP = layer_tar([("etc/", None), ("etc/app", b"app\n" * 500)])
APP = image([BASE, TOP], tag="app:1", codec="none")
GZIP = image([BASE, TOP], tag="app:1")


@pytest.fixture
def engine() -> Iterator[ScriptedEngine]:
    with ScriptedEngine() as one:
        yield one


@pytest.fixture
def run(ocitool: Run, tmp_path: Path) -> Callable[..., Any]:
    """The command at a home without configurations, in a directory of its own; the engine is named by `--host`."""
    home = tmp_path / "home"
    home.mkdir()
    env = {**NO_REGISTRY_SETTINGS, "HOME": str(home), "DOCKER_HOST": None, "DOCKER_CONTEXT": None, "DOCKER_CONFIG": None}

    def call(engine: ScriptedEngine | None, *words: Any, **how: Any) -> Any:
        host = ["--host", engine.host] if engine is not None else []
        return ocitool(*words, *host, cwd=tmp_path, env={**env, **how.pop("env", {})}, **how)

    return call


def report(result: Any) -> Any:
    assert 0 == result.code, result
    return result.json()


# Sources


@pytest.mark.parametrize("name", ["app:1", "docker.io/library/app:1", sha256(APP.config)])
def test_an_image_comes_out_as_it_is(engine: ScriptedEngine, run: Run, name: str) -> None:
    engine.add(APP)
    copied = report(run(engine, "copy", f"docker-daemon:{name}", "out/", "--tag", "t", "--format", "json"))
    assert sha256(APP.config) == copied["images"][0]["imageId"]
    assert [sha256(BASE), sha256(TOP)] == [layer["digest"] for layer in copied["images"][0]["layers"]]
    assert copied["verified"]
    assert 0 == run(None, "validate", "out:t").code


def test_the_tag_is_latest_if_none_is_given(engine: ScriptedEngine, run: Run) -> None:
    engine.add(APP, "app:latest")
    assert 0 == run(engine, "copy", "docker-daemon:app", "out.tar").code
    assert ["app:latest"] == [asked.query["names"][0] for asked in engine.asked if asked.path == "/images/get"]


def test_containerd_gives_the_documents_and_blobs_as_they_are(run: Run) -> None:
    with ScriptedEngine(api="1.44", containerd=True) as engine:
        engine.add(GZIP)
        copied = report(run(engine, "copy", "docker-daemon:app:1", "out/", "--format", "json"))
        assert GZIP.digest == copied["images"][0]["digest"]
        assert [sha256(one) for one in GZIP.layers] == [layer["digest"] for layer in copied["images"][0]["layers"]]


def test_reading_commands_take_an_engine(engine: ScriptedEngine, run: Run) -> None:
    engine.add(APP)
    assert "etc/app" in run(engine, "ls", "docker-daemon:app:1", "--recursive").out
    assert "app\n" * 500 == run(engine, "cat", "docker-daemon:app:1", "/etc/app").out
    assert 0 == run(engine, "validate", "docker-daemon:app:1").code
    assert 0 == run(engine, "diff", "docker-daemon:app:1", "docker-daemon:app:1").code
    assert 0 == run(engine, "unpack", "docker-daemon:app:1", "tree").code


def test_an_image_that_is_not_there(engine: ScriptedEngine, run: Run) -> None:
    for words in (("inspect",), ("copy", "out.tar")):
        result = run(engine, words[0], "docker-daemon:none", *words[1:])
        assert 3 == result.code
        assert "the engine has no image none:latest" in result.err
    assert not any(asked.path == "/images/get" for asked in engine.asked)


@pytest.mark.parametrize("name", ["", "App", "a b", "sha256:12", "app@sha256:12", "app:", "-x", "a/../b", "app\n"])
def test_names_that_are_none(engine: ScriptedEngine, run: Run, name: str) -> None:
    assert 2 == run(engine, "inspect", f"docker-daemon:{name}").code
    assert [] == engine.asked


def test_an_error_in_the_middle_of_the_archive_is_the_engines(engine: ScriptedEngine, run: Run, tmp_path: Path) -> None:
    engine.add(APP)
    engine.save_ends = b'{"errorDetail":{"message":"no space left\\u001b[31m on device"},"error":"no space left on device"}\r\n'
    result = run(engine, "copy", "docker-daemon:app:1", "out.tar")
    assert 8 == result.code
    assert "the engine failed to send the image: no space left" in result.err
    assert "\x1b" not in result.err
    assert not (tmp_path / "out.tar").exists()


def test_an_archive_that_ends_early(engine: ScriptedEngine, run: Run) -> None:
    engine.add(APP)
    engine.save_ends = b""
    assert 4 == run(engine, "copy", "docker-daemon:app:1", "out.tar").code


def test_an_answer_that_is_cut_off(engine: ScriptedEngine, run: Run) -> None:
    def cut(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"4000\r\n" + engine.save(engine.images[0], "app:1")[:1000])
        handler.wfile.flush()
        handler.connection.shutdown(socket.SHUT_RDWR)

    engine.add(APP)
    engine.faults["GET", "/images/get"] = cut
    result = run(engine, "copy", "docker-daemon:app:1", "out.tar")
    assert 8 == result.code
    assert "the engine ended the connection in the middle of an answer" in result.err


def test_another_image_than_the_one_that_was_named(engine: ScriptedEngine, run: Run) -> None:
    engine.add(APP)
    other = image([TOP], tag="app:1", codec="none")
    engine.save = lambda kept, name: ScriptedEngine.save(engine, engine.add(other), name)  # type: ignore[method-assign]
    result = run(engine, "copy", "docker-daemon:app:1", "out.tar")
    assert 5 == result.code
    assert f"the engine sent another image than {sha256(APP.config)}" in result.err


def test_a_hostile_archive_is_read_with_all_rules(engine: ScriptedEngine, run: Run) -> None:
    engine.add(APP)
    engine.save = lambda kept, name: layer_tar([("manifest.json", b"[" * 5000)])  # type: ignore[method-assign]
    assert run(engine, "copy", "docker-daemon:app:1", "out.tar").code in (4, 7)


@pytest.mark.parametrize("answer", [{}, [], {"Id": 7}, {"Id": "sha256:12"}, None])
def test_answers_that_describe_no_image(engine: ScriptedEngine, run: Run, answer: Any) -> None:
    engine.faults["GET", "/images/app:1/json"] = 200, answer
    assert 4 == run(engine, "inspect", "docker-daemon:app:1").code


# What the engine says


def test_inspect_asks_and_fetches_no_layer(engine: ScriptedEngine, run: Run) -> None:
    engine.add(APP, sizes=[6000, 2000])
    (shown,) = report(run(engine, "inspect", "docker-daemon:app:1", "--format", "json"))["images"]
    assert sha256(APP.config) == shown["imageId"]
    assert not shown["configVerbatim"]
    assert [(6000, "RUN step 0"), (2000, "RUN step 1")] == [(one["size"], one["createdBy"]) for one in shown["layers"]]
    assert [sha256(BASE), sha256(TOP)] == [one["diffId"] for one in shown["layers"]]
    assert [False, False] == [one["compressionVerified"] for one in shown["layers"]]
    assert ["none", "none"] == [one["compression"] for one in shown["layers"]]
    assert (8000, ["app:1"], ["PATH=/bin"]) == (shown["totals"]["size"], shown["tags"], shown["config"]["Env"])
    assert {"/_ping", "/version", "/images/app:1/json", "/images/app:1/history"} == {one.path for one in engine.asked}
    text = run(engine, "inspect", "docker-daemon:app:1").out
    assert "as the engine describes it" in text


def test_a_file_is_described_verbatim(run: Run, tmp_path: Path) -> None:
    write_docker_archive(tmp_path / "a.tar", [APP])
    (shown,) = report(run(None, "inspect", "a.tar", "--format", "json"))["images"]
    assert shown["configVerbatim"]


NOP = "/bin/sh -c #(nop)  "
PAIRED: list[tuple[list[tuple[str, int]], list[str] | None]] = [
    ([("ADD a", 5), (f"{NOP}CMD x", 0), ("RUN b", 6)], ["ADD a", "RUN b"]),
    ([("ADD a", 5), (f"{NOP}ENV x=1", 0), ("RUN mkdir", 0)], ["ADD a", "RUN mkdir"]),
    ([("ADD a", 5), ("RUN true", 0), ("RUN mkdir", 0)], None),
    ([("ADD a", 5), ("RUN true", 0), ("RUN b", 6)], ["ADD a", "RUN b"]),
    ([("ADD a", 5)], None),
    ([], None),
]


@pytest.mark.parametrize(("steps", "made"), PAIRED)
def test_history_is_paired_if_that_is_certain(
    engine: ScriptedEngine, run: Run, steps: list[tuple[str, int]], made: list[str] | None
) -> None:
    history = [{"created_by": by} for by, _ in steps]
    engine.add(image([BASE, TOP], tag="app:1", codec="none", history=history), sizes=[size for _, size in steps])
    (shown,) = report(run(engine, "inspect", "docker-daemon:app:1", "--format", "json"))["images"]
    sizes = dict(steps)
    assert (made or [None, None]) == [one["createdBy"] for one in shown["layers"]]
    assert ([sizes[by] for by in made] if made else [None, None]) == [one["size"] for one in shown["layers"]]
    assert sum(sizes.values()) == shown["totals"]["size"]
    assert 0 == run(engine, "inspect", "docker-daemon:app:1").code
    assert 0 == run(engine, "inspect", "docker-daemon:app:1", "--format", "markdown").code


def test_raw_and_files_stream(engine: ScriptedEngine, run: Run) -> None:
    engine.add(APP)
    assert APP.config == run(engine, "inspect", "docker-daemon:app:1", "--raw", "config").stdout
    (shown,) = report(run(engine, "inspect", "docker-daemon:app:1", "--files", "--format", "json"))["images"]
    assert shown["configVerbatim"]
    assert [1, 1] == [one["files"] for one in shown["layers"]]


def test_digest_and_manifest_of_containerd(run: Run) -> None:
    with ScriptedEngine(api="1.44", containerd=True) as engine:
        engine.add(GZIP)
        assert GZIP.digest == run(engine, "inspect", "docker-daemon:app:1", "--digest").out.strip()
        assert GZIP.raw == run(engine, "inspect", "docker-daemon:app:1", "--raw", "manifest").stdout
        (shown,) = report(run(engine, "inspect", "docker-daemon:app:1", "--format", "json"))["images"]
        assert GZIP.digest == shown["imageId"]
        assert [None, None] == [one["compression"] for one in shown["layers"]]


def test_dedupe_counts_layers_that_containerd_describes(run: Run) -> None:
    """Nothing says what is in them, and they are not fetched to see it."""
    with ScriptedEngine(api="1.44", containerd=True) as engine:
        engine.add(GZIP, sizes=[6000, 2000])
        found = report(run(engine, "dedupe", "docker-daemon:app:1", "--format", "json"))
        assert 8000 <= found["bytes"]["referenced"] < 9000
        assert not any(asked.path == "/images/get" for asked in engine.asked)


# Destinations


@pytest.mark.parametrize("containerd", [False, True])
def test_an_image_goes_in_as_it_is(run: Run, tmp_path: Path, containerd: bool) -> None:
    write_layout(tmp_path / "app", [GZIP])
    with ScriptedEngine(api="1.44", containerd=containerd) as engine:
        copied = report(run(engine, "copy", "app/", "docker-daemon:new", "--format", "json"))
        assert (GZIP.digest, sha256(GZIP.config)) == (copied["images"][0]["digest"], copied["images"][0]["imageId"])
        (kept,) = engine.images
        assert ["new:latest"] == kept.names
        assert (GZIP.digest if containerd else sha256(GZIP.config)) == kept.id
        assert {"transferred": 0, "skipped": 0}.items() <= copied["bytes"].items()


def test_an_image_that_is_there_gets_its_name_only(engine: ScriptedEngine, run: Run, tmp_path: Path) -> None:
    write_layout(tmp_path / "app", [GZIP])
    engine.add(APP)
    copied = report(run(engine, "copy", "app/", "docker-daemon:other:2", "--format", "json"))
    assert [f"/images/{sha256(APP.config)}/tag"] == engine.sent("POST")
    assert 0 == copied["bytes"]["kept"] == copied["bytes"]["written"]
    assert sum(len(one) for one in GZIP.blobs.values()) == copied["bytes"]["skipped"]
    assert ["app:1", "other:2"] == engine.images[0].names


def test_a_tag_moves(engine: ScriptedEngine, run: Run, tmp_path: Path) -> None:
    engine.add(APP)
    write_layout(tmp_path / "new", [image([TOP])])
    assert 0 == run(engine, "copy", "new/", "docker-daemon:app:1").code
    assert [[], ["app:1"]] == [one.names for one in engine.images]


def test_writing_commands_take_an_engine(engine: ScriptedEngine, run: Run) -> None:
    engine.add(APP)
    assert 0 == run(engine, "edit", "docker-daemon:app:1", "docker-daemon:app:2", "--env", "A=1").code
    assert 0 == run(engine, "squash", "docker-daemon:app:2", "docker-daemon:app:3").code
    assert ["app:1", "app:2", "app:3"] == [name for one in engine.images for name in one.names]
    assert "A=1" in run(engine, "inspect", "docker-daemon:app:3").out


def test_dry_run_sends_nothing(engine: ScriptedEngine, run: Run, tmp_path: Path) -> None:
    write_layout(tmp_path / "app", [GZIP])
    copied = report(run(engine, "copy", "app/", "docker-daemon:new", "--dry-run", "--format", "json"))
    assert 0 == copied["bytes"]["skipped"]
    engine.add(APP)
    copied = report(run(engine, "copy", "app/", "docker-daemon:new", "--dry-run", "--format", "json"))
    assert 0 < copied["bytes"]["skipped"]
    assert [] == engine.sent("POST")


def test_dry_run_needs_the_engine(run: Run, tmp_path: Path) -> None:
    write_layout(tmp_path / "app", [GZIP])
    with ScriptedEngine() as gone:
        pass
    assert 8 == run(gone, "copy", "app/", "docker-daemon:new", "--dry-run").code


def test_an_error_of_the_engine_counts_though_the_status_is_200(engine: ScriptedEngine, run: Run, tmp_path: Path) -> None:
    write_layout(tmp_path / "app", [GZIP])
    engine.load_answer = [{"stream": "Loading\n"}, {"errorDetail": {"message": "disk \x1b[2J full"}, "error": "disk full"}]
    result = run(engine, "copy", "app/", "docker-daemon:new")
    assert 8 == result.code
    assert "the engine failed to load the image: disk" in result.err
    assert "\x1b" not in result.err


def test_the_name_must_lead_to_what_was_sent(engine: ScriptedEngine, run: Run, tmp_path: Path) -> None:
    write_layout(tmp_path / "app", [GZIP])
    engine.load_answer = [{"stream": "Loaded image: new:latest\n"}]
    assert (
        "the engine has no image under the name docker.io/library/new:latest"
        in (failed := run(engine, "copy", "app/", "docker-daemon:new")).err
    )
    assert 8 == failed.code
    engine.add(image([TOP], tag="new:latest", codec="none"))
    failed = run(engine, "copy", "app/", "docker-daemon:new")
    assert 8 == failed.code
    assert "and not what was sent" in failed.err


@pytest.mark.parametrize("answer", [b"{", b"[" * 100000, b'{"a":1}{"b":2}\n'])
def test_answers_that_are_no_json(engine: ScriptedEngine, run: Run, tmp_path: Path, answer: bytes) -> None:
    write_layout(tmp_path / "app", [GZIP])
    engine.faults["POST", "/images/load"] = 200, answer
    assert run(engine, "copy", "app/", "docker-daemon:new").code in (4, 7)


def test_a_damaged_blob_is_not_loaded(engine: ScriptedEngine, run: Run, tmp_path: Path) -> None:
    write_layout(tmp_path / "app", [GZIP])
    blob = tmp_path / "app" / "blobs" / sha256(GZIP.layers[1]).replace(":", "/")
    blob.write_bytes(bytes(len(GZIP.layers[1])))
    result = run(engine, "copy", "app/", "docker-daemon:new")
    assert 5 == result.code, result
    assert [] == engine.images


def test_zstd_is_refused_before_anything_is_sent(run: Run, tmp_path: Path) -> None:
    write_layout(tmp_path / "app", [image([BASE], tag="app", codec="zstd")])
    with ScriptedEngine(api="1.41") as old:
        result = run(old, "copy", "app/", "docker-daemon:new")
        assert 4 == result.code
        assert "--compression gzip" in result.err
        assert [] == old.sent("POST")
        assert 0 == run(old, "copy", "app/", "docker-daemon:new", "--compression", "gzip").code
    with ScriptedEngine(api="1.44", containerd=True) as new:
        assert 0 == run(new, "copy", "app/", "docker-daemon:new").code


@pytest.mark.parametrize("dest", ["docker-daemon:", "docker-daemon:App", "docker-daemon:app@sha256:" + "0" * 64,
                                  "docker-daemon:sha256:" + "0" * 64])  # fmt: skip
def test_destinations_that_are_none(engine: ScriptedEngine, run: Run, tmp_path: Path, dest: str) -> None:
    write_layout(tmp_path / "app", [GZIP])
    assert 2 == run(engine, "copy", "app/", dest).code
    assert [] == engine.asked


def test_an_engine_takes_whole_images(engine: ScriptedEngine, run: Run, tmp_path: Path) -> None:
    write_layout(tmp_path / "app", [GZIP])
    write_layout(tmp_path / "base", [image([BASE])])
    result = run(engine, "copy", "app/", "docker-daemon:new", "--omit", "base/")
    assert 2 == result.code
    assert [] == engine.sent("POST")


def test_plain_layers_are_told(engine: ScriptedEngine, run: Run, tmp_path: Path) -> None:
    """From 1 MiB on; not for an engine with a graph driver, which keeps no layer compressed."""
    write_docker_archive(tmp_path / "few.tar", [APP])
    assert "" == run(engine, "copy", "few.tar", "out.tar", "--tag", "few").err
    large = layer_tar([("file", bytes(1 << 20))])
    write_docker_archive(tmp_path / "a.tar", [image([large], tag="app:1", codec="none")])
    assert "--compression gzip compresses them" in run(engine, "copy", "a.tar", "out.tar", "--force").err
    assert "" == run(engine, "copy", "a.tar", "docker-daemon:new").err
    with ScriptedEngine(api="1.44", containerd=True) as containerd:
        assert "--compression gzip compresses them" in run(containerd, "copy", "a.tar", "docker-daemon:new").err
    assert "compresses them" not in run(engine, "copy", "a.tar", "small.tar", "--compression", "gzip").err


# A registry's blobs


def test_with_recovers_the_blobs_of_a_registry(engine: ScriptedEngine, run: Run, tmp_path: Path) -> None:
    write_layout(tmp_path / "app", [GZIP])
    with ScriptedRegistry() as registry:
        there = f"docker://{registry.host}/app:1"
        assert 0 == run(None, "copy", "app/", there, "--insecure").code
        assert 0 == run(engine, "copy", there, "docker-daemon:app:1", "--insecure").code
        copied = report(run(engine, "copy", "docker-daemon:app:1", "out/", "--with", there, "--insecure", "--format", "json"))
        assert [sha256(one) for one in GZIP.layers] == [one["digest"] for one in copied["images"][0]["layers"]]
        assert ["reused", "reused"] == [one["origin"] for one in copied["images"][0]["layers"]]
        assert 0 == run(None, "validate", "out/").code
        back = f"docker://{registry.host}/back:1"
        copied = report(run(engine, "copy", "docker-daemon:app:1", back, "--with", there, "--insecure", "--format", "json"))
        assert [sha256(one) for one in GZIP.layers] == [one["digest"] for one in copied["images"][0]["layers"]]


def test_a_layer_of_a_registry_that_is_another_is_not_taken(engine: ScriptedEngine, run: Run, tmp_path: Path) -> None:
    """Its configuration states a diff_id; its bytes are another layer."""
    lies = image([TOP, TOP], tag="lies", config=json.loads(GZIP.config))
    write_layout(tmp_path / "lies", [lies])
    engine.add(APP)
    with ScriptedRegistry() as registry:
        there = f"docker://{registry.host}/lies:1"
        assert 0 == run(None, "copy", "lies/", there, "--insecure").code
        copied = report(run(engine, "copy", "docker-daemon:app:1", "out/", "--with", there, "--insecure", "--format", "json"))
        assert [sha256(BASE), sha256(lies.layers[1])] == [one["digest"] for one in copied["images"][0]["layers"]]
        assert 0 == run(None, "validate", "out/").code


# Engines and versions


@pytest.mark.parametrize(
    ("api", "floor", "spoken"),
    [("1.41", "1.12", "1.41"), ("1.56", "1.40", "1.51"), ("1.52", "1.44", "1.51"), ("1.40", "1.24", "1.40"),
     ("1.24", "1.12", "1.24")],
)  # fmt: skip
def test_the_version_of_the_api_is_negotiated(run: Run, api: str, floor: str, spoken: str) -> None:
    with ScriptedEngine(api=api, floor=floor) as engine:
        engine.add(APP)
        assert 0 == run(engine, "inspect", "docker-daemon:app:1").code
        assert {"", spoken} == {asked.version for asked in engine.asked}


@pytest.mark.parametrize(("api", "floor", "text"), [("1.23", "1.12", "too old"), ("2.0", "1.60", "too new")])
def test_engines_too_old_or_too_new(run: Run, api: str, floor: str, text: str) -> None:
    with ScriptedEngine(api=api, floor=floor) as engine:
        result = run(engine, "inspect", "docker-daemon:app:1")
        assert 8 == result.code
        assert f"the engine is {text}" in result.err


@pytest.mark.parametrize(("api", "asked"), [("1.47", []), ("1.48", ["get"]), ("1.49", ["get", "json"])])
def test_the_platform_is_passed_to_engines_that_take_it(run: Run, api: str, asked: list[str]) -> None:
    with ScriptedEngine(api=api, containerd=True) as engine:
        engine.add(GZIP)
        assert 0 == run(engine, "copy", "docker-daemon:app:1", "out/", "--platform", "linux/amd64").code
        given = [one for one in engine.asked if "platform" in one.query]
        assert asked == sorted(one.path.rpartition("/")[2] for one in given)
        for one in given:
            assert {"os": "linux", "architecture": "amd64"} == json.loads(one.query["platform"][0])


def test_the_platform_must_be_the_images(engine: ScriptedEngine, run: Run) -> None:
    engine.add(APP)
    assert 3 == run(engine, "inspect", "docker-daemon:app:1", "--platform", "linux/arm64").code


def test_an_engine_over_tcp(run: Run) -> None:
    with ScriptedEngine(tcp=True) as engine:
        engine.add(APP)
        result = run(engine, "copy", "docker-daemon:app:1", "out/", "--format", "json")
        found = report(result)
        assert found["bytes"]["transferred"] > len(BASE) + len(TOP)
        assert "not encrypted" not in result.err  # a loopback address


def test_plain_tcp_to_another_machine_is_told(run: Run) -> None:
    """Of a name that stands for this machine: nothing is sent elsewhere."""
    port = free_port()
    result = run(None, "inspect", "docker-daemon:app:1", "--host", f"tcp://localhost.localdomain:{port}")
    assert 8 == result.code
    assert f"whoever reaches port {port} of localhost.localdomain is root there" in result.err


@pytest.mark.parametrize("how", ["--host", "-H", "DOCKER_HOST", "--context", "DOCKER_CONTEXT", "current"])
def test_ways_to_name_an_engine(engine: ScriptedEngine, run: Run, tmp_path: Path, how: str) -> None:
    import hashlib

    engine.add(APP)
    meta = tmp_path / "home" / ".docker" / "contexts" / "meta" / hashlib.sha256(b"mine").hexdigest()
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text(json.dumps({"Name": "mine", "Endpoints": {"docker": {"Host": engine.host}}}))
    words: tuple[str, ...] = ()
    env: dict[str, str] = {}
    if how in ("--host", "-H"):
        words = (how, engine.host)
    elif how == "DOCKER_HOST":
        env = {how: engine.host}
    elif how == "--context":
        words = (how, "mine")
    elif how == "DOCKER_CONTEXT":
        env = {how: "mine"}
    else:
        (tmp_path / "home" / ".docker" / "config.json").write_text('{"currentContext": "mine"}')
    assert 0 == run(None, "inspect", "docker-daemon:app:1", *words, env=env).code


def test_no_engine(run: Run, tmp_path: Path) -> None:
    nothing = run(None, "inspect", "docker-daemon:app", "-H", f"unix://{tmp_path}/none.sock")
    assert 8 == nothing.code
    assert "its socket does not exist" in nothing.err
    refused = run(None, "inspect", "docker-daemon:app", "-H", f"tcp://127.0.0.1:{free_port()}")
    assert 8 == refused.code
    assert "no engine answers here" in refused.err


def test_host_and_context_exclude_each_other(engine: ScriptedEngine, run: Run) -> None:
    assert 2 == run(engine, "inspect", "docker-daemon:app", "--context", "x").code


def test_commands_without_an_engine_ask_none(run: Run, tmp_path: Path) -> None:
    write_docker_archive(tmp_path / "a.tar", [APP])
    assert 0 == run(None, "inspect", "a.tar", "-H", "tcp://-bad", env={"DOCKER_HOST": "nonsense://"}).code


PROGRAM = """
import sys
from ocitool.cli import run
sys.argv = ["ocitool", *{words!r}]
code = run()
assert code == 0, code
print([name for name in sys.modules if name.split(".")[0] in ("docker", "requests", "urllib3")])
"""


def test_no_other_command_loads_the_library_of_engines(testdata: Path, tmp_path: Path) -> None:
    app = str(testdata / "app-v1.tar")
    for words in (["inspect", app], ["copy", app, str(tmp_path / "o.tar")], ["ls", app], ["validate", app], ["dedupe", app]):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM.format(words=words)], capture_output=True, text=True, check=True, timeout=60
        )
        assert "[]" == done.stdout.splitlines()[-1], words


def test_what_is_sent_is_the_universal_archive(engine: ScriptedEngine, run: Run, tmp_path: Path) -> None:
    write_layout(tmp_path / "app", [GZIP])
    assert 0 == run(engine, "copy", "app/", "docker-daemon:new").code
    assert 0 == run(engine, "copy", "app/", "file.tar", "--tag", "new").code
    assert (tmp_path / "file.tar").read_bytes() == engine.loaded[0]
    with tarfile.open(tmp_path / "file.tar") as archive:
        assert "manifest.json" in archive.getnames()


LARGE = layer_tar([("large", random.Random(7).randbytes(5 << 20))])


def left(directory: Path) -> list[str]:
    """Temporary files of ours."""
    return [str(path) for path in directory.rglob(".ocitool-*")]


@pytest.mark.parametrize("containerd", [False, True])
def test_large_layers_are_received_into_the_layout(run: Run, tmp_path: Path, containerd: bool) -> None:
    codec = "gzip" if containerd else "none"
    big = image([BASE, LARGE], tag="app:1", codec=codec)
    with ScriptedEngine(api="1.44", containerd=containerd) as engine:
        engine.add(big)
        copied = report(run(engine, "copy", "docker-daemon:app:1", "out/", "--format", "json"))
        assert [sha256(one) for one in big.layers] == [one["digest"] for one in copied["images"][0]["layers"]]
        assert 0 == run(None, "validate", "out/").code
        assert 0 == run(engine, "copy", "docker-daemon:app:1", "out/", "out/").code  # is there already
        assert 0 == run(engine, "copy", "docker-daemon:app:1", "out.tar").code
        assert 0 == run(engine, "squash", "docker-daemon:app:1", "squashed/").code
    assert [] == left(tmp_path)


def test_a_large_layer_that_is_another_than_the_configuration_states(run: Run, engine: ScriptedEngine, tmp_path: Path) -> None:
    stated = json.loads(image([BASE, LARGE], codec="none").config)
    stated["rootfs"]["diff_ids"][1] = sha256(b"another")
    engine.add(image([BASE, LARGE], tag="app:1", codec="none", config=stated))
    for dest in ("out/", "out.tar"):
        assert 5 == run(engine, "copy", "docker-daemon:app:1", dest).code
    assert [] == left(tmp_path)
    assert not list(tmp_path.rglob("blobs/sha256/*"))


def test_a_broken_answer_leaves_nothing(run: Run, engine: ScriptedEngine, tmp_path: Path) -> None:
    engine.add(image([LARGE, LARGE[: 4 << 20]], tag="app:1", codec="none"))
    engine.save_ends = b'{"errorDetail":{"message":"no space left"},"error":"no space left"}'
    assert 8 == run(engine, "copy", "docker-daemon:app:1", "out/").code
    assert [] == left(tmp_path)


def test_an_answer_that_stalls_can_be_interrupted(run: Run, engine: ScriptedEngine, tmp_path: Path) -> None:
    """The thread that waits for more of it is woken up."""
    stalled, over = threading.Event(), threading.Event()

    def stall(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"4000\r\n" + engine.save(engine.images[0], "app:1")[:1000])
        handler.wfile.flush()
        stalled.set()
        over.wait(60)

    engine.add(APP)
    engine.faults["GET", "/images/get"] = stall
    words = [sys.executable, "-m", "ocitool", "copy", "docker-daemon:app:1", "out/", "--host", engine.host]
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert stalled.wait(30)
            time.sleep(0.3)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=20)
        finally:
            over.set()
            process.kill()
    assert (130, []) == (process.returncode, left(tmp_path)), said
