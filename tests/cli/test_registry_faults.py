"""Pull and push as their users see them when a registry is not there, refuses, breaks or lies, or when they are cut short."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support import places
from support.copying import ONE, TWO
from support.images import Image, image, layer_tar, sha256, write_layout
from support.registries import NO_REGISTRY_SETTINGS, PASSWORD, USER, authfile, has_image, put_images, random_bytes
from support.registry import BasicAuth, BlobServer, Fault, ScriptedRegistry, TokenAuth, certificates

from ocitool.limits import MiB

Run = Callable[..., Any]
AT_ONCE = {"Retry-After": "0"}
"""Of an answer that is to be tried again: nobody wants to sleep here."""
LARGE = layer_tar([("large", random_bytes(4 * MiB))])
STALLED = 2 * MiB
"""Bytes of the large layer that come before silence."""


@pytest.fixture
def run(ocitool: Run, tmp_path: Path) -> Run:
    """The command in a directory of its own, at a home without credentials."""
    home = tmp_path / "home"
    home.mkdir()
    return lambda *words, **how: ocitool(*words, cwd=tmp_path, env={**NO_REGISTRY_SETTINGS, "HOME": str(home)}, **how)


def held(registry: ScriptedRegistry, *tars: bytes) -> Image:
    """An image of these layers, at app:1."""
    one = image(tars or (ONE, TWO), codec="none")
    put_images(registry, "app", one, tag="1")
    return one


def failed(code: int, result: Any, *words: str) -> None:
    """It ended with this code, one line that says these words, and perhaps a hint."""
    assert code == result.code, str(result)
    lines = result.err.splitlines()
    (at,) = [number for number, line in enumerate(lines) if line.startswith("ocitool: error: ")]
    assert all(line.startswith("hint: ") for line in lines[at + 1 :]) and len(lines) - at <= 2, str(result)
    assert "" == result.out, str(result)
    for word in words:
        assert word in "\n".join(lines[at:]), str(result)


# Registries that are not there, or not for us


def test_a_host_that_nobody_knows_is_8(run: Run) -> None:
    failed(8, run("pull", "nowhere.invalid/app:1", "out/"), "unknown host", "nowhere.invalid")


def test_a_port_where_nobody_listens_is_8(run: Run) -> None:
    with ScriptedRegistry() as gone:
        host = gone.host
    for words in ((), ("--insecure",)):
        failed(8, run("pull", f"{host}/app:1", "out/", *words), "the connection is refused", host)


def test_a_registry_without_tls_needs_to_be_told(run: Run, registry: ScriptedRegistry) -> None:
    held(registry)
    failed(8, run("pull", f"{registry.host}/app:1", "out/"), "TLS", "--insecure", registry.host)
    assert [] == registry.requests
    assert 0 == run("pull", f"{registry.host}/app:1", "out/", "--insecure-host", registry.host).code


def test_a_certificate_that_nobody_vouches_for_needs_to_be_told(run: Run, tmp_path: Path) -> None:
    made = certificates(tmp_path)
    with ScriptedRegistry(tls=made.server) as registry:
        held(registry)
        failed(8, run("pull", f"{registry.host}/app:1", "out/"), "certificate", "--ca", registry.host)
        assert 0 == run("pull", f"{registry.host}/app:1", "out/", "--ca", made.ca).code
        assert 0 == run("pull", f"{registry.host}/app:1", "other/", "--insecure").code


@pytest.mark.parametrize("who", ["nobody", "a stranger"])
def test_denied_is_8_and_says_how_to_log_in(who: str, run: Run, tmp_path: Path) -> None:
    with ScriptedRegistry(auth=BasicAuth(USER, PASSWORD)) as registry:
        held(registry)
        words = ("--authfile", authfile(tmp_path, registry.host, password="wrong-secret")) if who == "a stranger" else ()
        result = run("pull", f"{registry.host}/app:1", "out/", "--insecure", *words)
        failed(8, result, "denied", f"ocitool login {registry.host}")
        assert "wrong-secret" not in result.err


def test_forbidden_is_8(run: Run, registry: ScriptedRegistry) -> None:
    held(registry)
    registry.faults.append(Fault("GET", "/blobs/", status=403))
    failed(8, run("pull", f"{registry.host}/app:1", "out/", "--insecure"), "denied", "scripted")


def test_a_bad_request_is_told_in_the_registrys_words_and_not_taken_for_tls(run: Run, registry: ScriptedRegistry) -> None:
    page = b"<h1>400 Request Header Or Cookie Too Large</h1>"
    registry.faults.append(Fault("GET", status=400, body=page, headers={"Content-Type": "text/html"}))
    result = run("inspect", "--insecure", f"docker://{registry.host}/app:1")
    failed(8, result, "the registry answers 400: 400 Request Header Or Cookie Too Large", registry.host)
    assert "TLS" not in result.err


def test_a_login_that_is_refused_is_told_in_the_registrys_words_and_not_to_log_in(run: Run, registry: ScriptedRegistry) -> None:
    registry.faults.append(Fault("GET", status=401, early=True, body=b'{"details":"the password has expired"}'))
    result = run("login", "--insecure", "-u", "me", registry.host, stdin=b"some-w0rd")
    failed(8, result, "denied: the password has expired", "hint: ")
    assert "ocitool login" not in result.err


def test_a_token_server_that_refuses_is_told_in_its_words(run: Run, tmp_path: Path) -> None:
    with ScriptedRegistry(auth=TokenAuth(USER, PASSWORD)) as registry:
        registry.faults.append(Fault("GET", "^/token", status=400, early=True, body=b'{"error_description":"unknown service"}'))
        failed(8, run("inspect", "--insecure", f"docker://{registry.host}/app:1"), "token server answers 400: unknown service")


def test_a_refusal_without_a_body_is_told_in_the_words_of_its_challenge(run: Run, registry: ScriptedRegistry) -> None:
    said = {"WWW-Authenticate": 'Basic realm="x", error="invalid_token", error_description="the robot has expired"'}
    registry.faults.append(Fault("GET", "/manifests/", status=401, body=b"", headers=said))
    failed(8, run("inspect", f"docker://{registry.host}/app:1", "--insecure"), "denied: the robot has expired")


@pytest.mark.parametrize("path", ["/manifests/1$", "/blobs/", "^/token"])
def test_a_page_in_the_place_of_an_answer_is_told_by_its_title(path: str, run: Run) -> None:
    with ScriptedRegistry(auth=TokenAuth(USER, PASSWORD, anonymous=True)) as registry:
        held(registry)
        page, headers = b"<title>Sign in to the network</title>", {"Content-Type": "text/html"}
        registry.faults.append(Fault("GET", path, status=200, body=page, headers=headers))
        failed(8, run("pull", f"{registry.host}/app:1", "out/", "--insecure"), "answers 200: Sign in to the network")
        assert 1 == len([one for one in registry.sent("GET", path) if one.status == 200])


def test_a_firewall_before_a_token_server_is_not_taken_for_a_wrong_password(run: Run, tmp_path: Path) -> None:
    with ScriptedRegistry(auth=TokenAuth(USER, PASSWORD)) as registry:
        page = Fault("GET", "^/token", status=403, body=b"<title>Just a moment</title>", headers={"Content-Type": "text/html"})
        registry.faults.append(page)
        words = ("--insecure", "--authfile", authfile(tmp_path, registry.host))
        result = run("inspect", f"docker://{registry.host}/app:1", *words)
        failed(8, result, "denied: Just a moment", "a proxy or firewall")
        assert "password" not in result.err


def test_a_storage_that_refuses_its_address_is_told_in_its_words(run: Run, registry: ScriptedRegistry) -> None:
    held(registry)
    said = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
    with ScriptedRegistry() as storage:
        there = f"http://localhost:{storage.host.rpartition(':')[2]}{{path}}"
        registry.faults.append(Fault("GET", "/blobs/", redirect=there, times=1))
        storage.faults.append(Fault("GET", "/blobs/", status=403, body=said))
        registry.faults.append(Fault("GET", "/blobs/", after=1, status=404))
        result = run("pull", f"{registry.host}/app:1", "out/", "--insecure", "--jobs", "1")
        assert "denied: Request has expired" in result.err and "ocitool login" not in result.err, str(result)


@pytest.mark.parametrize("signed", [True, False])
def test_a_schema_1_manifest_is_4_and_said_to_be_one(signed: bool, run: Run, registry: ScriptedRegistry) -> None:
    payload = b'{"schemaVersion": 1, "name": "app", "tag": "1", "fsLayers": [], "history": []}'
    body = payload[:-1] + b', "signatures": []}' if signed else payload
    for media_type in ("application/vnd.docker.distribution.manifest.v1+prettyjws", "application/json"):
        headers = {"Content-Type": media_type, "Docker-Content-Digest": sha256(payload)}
        registry.faults[:] = [Fault("GET", "/manifests/", status=200, body=body, headers=headers)]
        result = run("inspect", "--insecure", f"docker://{registry.host}/app:1")
        failed(4, result, "Docker schema 1 manifests are not supported", "hint: skopeo copy --format v2s2")


def test_what_is_not_there_is_3(run: Run, registry: ScriptedRegistry) -> None:
    one = held(registry)
    failed(3, run("pull", f"{registry.host}/app:2", "out/", "--insecure"), "no such tag", f"{registry.host}/app:2")
    failed(3, run("tags", f"docker://{registry.host}/none", "--insecure"), "no such repository", f"{registry.host}/none")
    failed(3, run("pull", f"{registry.host}/app@{sha256(b'')}", "out/", "--insecure"), "no such")
    del registry.blobs["app", sha256(one.layers[1])]
    failed(3, run("pull", f"{registry.host}/app:1", "out/", "--insecure"), sha256(one.layers[1]))


# Registries that break, and lie


@pytest.mark.parametrize("path", ["/manifests/", sha256(TWO)])
def test_a_registry_that_always_fails_is_8(path: str, run: Run, registry: ScriptedRegistry, tmp_path: Path) -> None:
    held(registry)
    registry.faults.append(Fault("GET", path, status=500, headers=AT_ONCE))
    result = run("pull", f"{registry.host}/app:1", "out/", "--insecure")
    failed(8, result, "500", registry.host)
    assert 4 == len(re.findall(r"^ocitool: note: .*attempt \d of 5", result.err, re.MULTILINE))
    assert not (tmp_path / "out/index.json").exists()


def test_a_push_to_a_registry_that_always_fails_is_8_and_tags_nothing(
    run: Run, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    write_layout(tmp_path / "layout", [image([ONE, TWO], tag="app")])
    registry.faults.append(Fault("PUT", sha256(image([ONE, TWO]).layers[0])[7:], status=503, headers=AT_ONCE))
    failed(8, run("push", "layout", f"{registry.host}/app:1", "--insecure"), "503", registry.host)
    assert {} == registry.tags == registry.manifests


@pytest.mark.parametrize("what", ["manifest", "layer"])
@pytest.mark.parametrize("to", ["out/", "out.tar"])
def test_wrong_bytes_are_5_and_nothing_is_written(
    what: str, to: str, run: Run, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    held(registry)
    registry.faults.append(Fault("GET", {"manifest": "/manifests/", "layer": sha256(TWO)}[what], flip=-1))
    failed(5, run("pull", f"{registry.host}/app:1", to, "--insecure"), "content is sha256:")
    left = [path.name for path in tmp_path.rglob("*")]
    assert [] == [name for name in left if sha256(TWO)[7:] in name or name in ("index.json", "out.tar")]


def test_a_tag_that_moves_meanwhile_is_told_and_the_old_image_written(
    run: Run, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    one = held(registry)
    registry.faults.append(
        Fault("GET", sha256(TWO), hook=lambda _: put_images(registry, "app", image([ONE]), tag="1"), times=1)
    )
    result = run("pull", f"{registry.host}/app:1", "out/", "--insecure")
    assert 0 == result.code, str(result)
    assert re.search(rf"^ocitool: note: .*moved.*{image([ONE]).digest}", result.err, re.MULTILINE)
    assert one.blobs == places.blobs(tmp_path / "out")


@pytest.mark.parametrize("status", [405, 429, 500])
def test_whether_a_tag_moved_may_stay_unknown(status: int, run: Run, registry: ScriptedRegistry, tmp_path: Path) -> None:
    one = held(registry)
    registry.faults.append(Fault("HEAD", "/manifests/", status=status, headers=AT_ONCE))
    result = run("pull", f"{registry.host}/app:1", "out/", "--insecure")
    assert 0 == result.code, str(result)
    assert one.blobs == places.blobs(tmp_path / "out")


# What is said


def test_each_blob_is_a_line_and_the_last_line_says_what_crossed_the_network(
    run: Run, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    one = held(registry, ONE, TWO, LARGE)
    first = run("pull", f"{registry.host}/app:1", "out/", "--insecure")
    assert all(1 == first.err.count(f"fetched {sha256(data)[7:19]}") for data in one.layers), str(first)
    assert re.fullmatch(r"transferred [\d.]+ [kMG]?i?B", first.out.splitlines()[-1]), str(first)
    more = image([LARGE, TWO[:-512]], codec="none")
    put_images(registry, "app", more, tag="2")
    registry.forget()
    second = run("pull", f"{registry.host}/app:2", "out/", "--insecure")
    crossed = registry.bytes_served + len(more.raw)
    skipped = len(LARGE)
    line = second.out.splitlines()[-1]
    assert re.fullmatch(r"transferred \S+ \S+, \S+ \S+ were already there \([\d.]+ %\)", line), str(second)
    assert f"({100 * skipped / (skipped + crossed):.1f} %)" in line
    sent = run("push", f"out:{registry.host}/app:1", f"{registry.host}/new:1", "--insecure", "--no-cache")
    assert all(1 == sent.err.count(f"sent {sha256(data)[7:19]}") for data in one.layers), str(sent)


def test_quiet_says_nothing(run: Run, registry: ScriptedRegistry) -> None:
    held(registry)
    registry.faults.append(Fault("GET", "/blobs/", status=503, headers=AT_ONCE, times=1))
    registry.faults.append(
        Fault("GET", sha256(TWO), hook=lambda _: put_images(registry, "app", image([ONE]), tag="1"), times=1)
    )
    result = run("pull", f"{registry.host}/app:1", "out/", "--insecure", "--quiet")
    assert (0, "", "") == (result.code, result.out, result.err)


def test_a_rehearsed_copy_to_a_registry_sends_nothing(run: Run, registry: ScriptedRegistry, tmp_path: Path) -> None:
    write_layout(tmp_path / "layout", [image([ONE, TWO], tag="app")])
    result = run("copy", "layout", f"docker://{registry.host}/app:1", "--insecure", "--dry-run")
    assert 0 == result.code, str(result)
    assert "would write" in result.out
    assert {"HEAD"} == {one.method for one in registry.requests}
    assert {} == registry.blobs == registry.tags


# Cut short


@contextmanager
def pulling(host: str, folder: Path, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """A pull into the layout `out`, that ends with the context; `more`: of its environment."""
    words = [sys.executable, "-m", "ocitool", "pull", f"{host}/app:1", "out/", "--insecure"]
    env = {name: value for name, value in os.environ.items() if name not in NO_REGISTRY_SETTINGS}
    env |= {"OCITOOL_CACHE_DIR": str(folder / "cache"), "HOME": str(folder), **more}
    process = subprocess.Popen(
        words, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def partials(folder: Path) -> list[Path]:
    return sorted((folder / "out").glob(".ocitool-*.partial"))


def until(reached: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while not reached():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "it does not come that far"
        time.sleep(0.02)


def stall(registry: ScriptedRegistry, folder: Path, *others: bytes) -> tuple[Image, Callable[[], bool]]:
    """The registry falls silent within the large layer of app:1. With it: whether a pull has come so far."""
    one = held(registry, LARGE, *others)
    registry.faults.append(Fault("GET", sha256(LARGE), cut_response=STALLED, hang=60))
    return one, lambda: any(path.stat().st_size >= STALLED for path in partials(folder))


def killed(registry: ScriptedRegistry, folder: Path, *others: bytes) -> tuple[Image, Path]:
    """What a killed pull leaves: the image that it was to fetch, and what came of its large layer."""
    one, far = stall(registry, folder, *others)
    with pulling(registry.host, folder) as process:
        until(far, process)
        process.kill()
        process.wait()
    registry.faults.clear()
    registry.forget()
    (left,) = partials(folder)
    return one, left


def whole(run: Run, folder: Path, one: Image) -> None:
    """The layout has the image and no more than that, as the command itself finds too."""
    assert 0 == run("validate", "out").code
    assert one.blobs == places.blobs(folder / "out")
    assert [] == [path.name for path in (folder / "out").iterdir() if path.name.startswith(".ocitool-")]


def test_after_a_killed_pull_the_next_goes_on(run: Run, registry: ScriptedRegistry, tmp_path: Path) -> None:
    one, left = killed(registry, tmp_path)
    assert f".ocitool-sha256-{sha256(LARGE)[7:]}.partial" == left.name
    assert LARGE[:STALLED] == left.read_bytes()
    assert not (tmp_path / "out/index.json").exists()
    result = run("pull", f"{registry.host}/app:1", "out/", "--insecure")
    assert 0 == result.code, str(result)
    assert [f"bytes={STALLED}-"] == [request.headers["range"] for request in registry.sent("GET", sha256(LARGE))]
    assert registry.bytes_served <= len(LARGE) - STALLED + len(one.config)
    whole(run, tmp_path, one)


def test_what_a_killed_pull_left_is_not_believed(run: Run, registry: ScriptedRegistry, tmp_path: Path) -> None:
    one, left = killed(registry, tmp_path)
    with left.open("r+b") as file:
        file.seek(1000)
        file.write(b"?????")
    result = run("pull", f"{registry.host}/app:1", "out/", "--insecure")
    assert 0 == result.code, str(result)
    asked = [request.headers.get("range") for request in registry.sent("GET", sha256(LARGE))]
    assert [f"bytes={STALLED}-", None] == asked
    whole(run, tmp_path, one)


@pytest.mark.parametrize("more", [0, 1], ids=["complete", "too long"])
def test_what_a_killed_pull_left_may_be_all_of_it_or_more(
    more: int, run: Run, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    one, left = killed(registry, tmp_path)
    left.write_bytes(LARGE + b"?" * more)
    result = run("pull", f"{registry.host}/app:1", "out/", "--insecure")
    assert 0 == result.code, str(result)
    if not more:
        assert [] == registry.sent("GET", sha256(LARGE))
    whole(run, tmp_path, one)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("others", [(), (ONE, TWO)], ids=["one layer", "three layers"])
def test_an_interrupted_pull_ends_soon_and_keeps_what_came(
    others: tuple[bytes, ...], number: int, code: int, run: Run, registry: ScriptedRegistry, tmp_path: Path
) -> None:
    one, far = stall(registry, tmp_path, *others)
    with pulling(registry.host, tmp_path) as process:
        until(far, process)
        process.send_signal(number)
        began = time.monotonic()
        out, err = process.communicate(timeout=20)
        assert time.monotonic() - began < 5
    assert (code, b"") == (process.returncode, out)
    assert 1 == err.count(b"ocitool: error: ") and b"Traceback" not in err
    (left,) = (path for path in partials(tmp_path) if sha256(LARGE).partition(":")[2] in path.name)  # small ones may be too
    assert LARGE[:STALLED] == left.read_bytes()
    assert not (tmp_path / "out/index.json").exists()
    registry.faults.clear()
    assert 0 == run("pull", f"{registry.host}/app:1", "out/", "--insecure").code
    whole(run, tmp_path, one)


def test_a_pull_can_be_interrupted_before_the_registry_answers(registry: ScriptedRegistry, tmp_path: Path) -> None:
    held(registry)
    registry.faults.append(Fault("GET", "/manifests/", hang=60))
    with pulling(registry.host, tmp_path) as process:
        until(lambda: bool(registry.sent("GET", "/manifests/")), process)
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, err = process.communicate(timeout=20)
        assert time.monotonic() - began < 5
    assert (130, b"ocitool: error: interrupted\n") == (process.returncode, err)
    assert not (tmp_path / "out").exists()


def test_a_layout_that_a_failed_pull_left_is_completed(run: Run, registry: ScriptedRegistry, tmp_path: Path) -> None:
    one = held(registry, LARGE, ONE)
    registry.faults.append(Fault("GET", sha256(ONE), status=500, headers=AT_ONCE))
    failed(8, run("pull", f"{registry.host}/app:1", "out/", "--insecure", "--jobs", "1"), "500")
    assert not (tmp_path / "out/index.json").exists()
    registry.faults.clear()
    registry.forget()
    result = run("pull", f"{registry.host}/app:1", "out/", "--insecure")
    assert 0 == result.code, str(result)
    assert [] == registry.sent("GET", sha256(LARGE))
    whole(run, tmp_path, one)


# Layers that are elsewhere


def test_foreign_layers_are_fetched_when_asked_for_and_without_credentials(run: Run, tmp_path: Path) -> None:
    with ScriptedRegistry(auth=BasicAuth(USER, PASSWORD)) as registry, BlobServer(TWO) as elsewhere:
        one = image([ONE, TWO], codec="none")
        one.manifest["layers"][1] |= {
            "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar", "urls": [f"{elsewhere.url}/two?sig=1"],
        }  # fmt: skip
        put_images(registry, "app", one, tag="1")
        del registry.blobs["app", sha256(TWO)]
        words = ("--insecure", "--authfile", authfile(tmp_path, registry.host, elsewhere.host))
        result = run("pull", f"{registry.host}/app:1", "out/", *words)
        assert 0 == result.code, str(result)
        assert [] == elsewhere.requests
        assert set(one.blobs) - {sha256(TWO)} == set(places.blobs(tmp_path / "out"))
        result = run("pull", f"{registry.host}/app:1", "all/", "--foreign", *words)
        assert 0 == result.code, str(result)
        assert one.blobs == places.blobs(tmp_path / "all")
        assert ["/two?sig=1"] == [request.path for request in elsewhere.requests]
        assert "authorization" not in elsewhere.requests[0].headers


def test_what_was_pulled_can_be_pushed_back(run: Run, registry: ScriptedRegistry, tmp_path: Path) -> None:
    one = held(registry, LARGE, ONE)
    registry.faults += [Fault("GET", sha256(LARGE), cut_response=MiB, times=1), Fault("PATCH", cut_request=MiB, times=1)]
    assert 0 == run("pull", f"{registry.host}/app:1", "out.tar", "--insecure").code
    result = run("push", "out.tar", f"{registry.host}/back:1", "--insecure", "--no-cache")
    assert 0 == result.code, str(result)
    assert has_image(registry, "back", one)


def test_a_layer_that_fails_does_not_wait_for_one_that_is_slow(run: Run, registry: ScriptedRegistry, tmp_path: Path) -> None:
    held(registry, LARGE, ONE)
    registry.faults.append(Fault("GET", sha256(LARGE), cut_response=STALLED, hang=15))
    registry.faults.append(Fault("GET", sha256(ONE), status=403))
    began = time.monotonic()
    failed(8, run("pull", f"{registry.host}/app:1", "out/", "--insecure"), "denied")
    assert time.monotonic() - began < 10


def test_a_pull_behind_a_proxy_can_be_interrupted_too(registry: ScriptedRegistry, tmp_path: Path) -> None:
    """The registry is its own proxy here: it answers for a host that nobody knows."""
    held(registry)
    registry.faults.append(Fault("GET", "/manifests/", hang=60))
    with pulling("registry.invalid:5000", tmp_path, http_proxy=registry.url, no_proxy="") as process:
        until(lambda: bool(registry.sent("GET", "/manifests/")), process)
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        process.communicate(timeout=50)
        assert time.monotonic() - began < 5
    assert 130 == process.returncode
