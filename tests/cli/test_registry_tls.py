"""Whom we believe at registries, and by which way they are reached: TLS and proxies. Every run is with --debug, and no secret
is in what it says.
"""

from __future__ import annotations

import re
import select
import socket
import socketserver
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support import places
from support.copying import TWO
from support.desk import (
    APP,
    BIG,
    BOTH,
    PASSWORD,
    SIGNED,
    USER,
    Auth,
    Desk,
    basic,
    having,
    plain,
    tokens,
)
from support.images import sha256
from support.registries import holds
from support.registry import Certificates, Fault, Recorder, ScriptedRegistry

from ocitool.limits import MiB

# TLS


@BOTH
def test_an_authority_that_is_named_is_believed(auth: Auth, desk: Desk, made: Certificates) -> None:
    with ScriptedRegistry(auth=auth(), tls=made.server) as registry:
        desk("login", "-u", USER, registry.host, "--ca", made.ca, stdin=PASSWORD)
        desk("push", "big", f"{registry.host}/app:1", "--ca", made.ca)
        desk("pull", f"{registry.host}/app:1", "out/", "--ca", made.ca)
        assert BIG.blobs == places.blobs(desk.folder / "out")


def test_a_certificate_that_nobody_vouches_for_gets_no_word(desk: Desk, made: Certificates) -> None:
    with having(basic(), tls=made.server) as registry:
        desk.know(registry.host)
        for words in (("pull", f"{registry.host}/app:1", "out/"), ("login", "-u", USER, registry.host)):
            result = desk(*words, stdin=PASSWORD, code=8)
            assert "certificate" in result.err and "\nhint: --ca FILE" in result.err, str(result)
        assert [] == registry.requests


def test_insecure_does_without_an_authority(desk: Desk, made: Certificates) -> None:
    with having(tokens(), tls=made.server) as registry:
        desk.know(registry.host)
        desk("pull", f"{registry.host}/app:1", "out/", "--insecure")
        desk("push", "big", f"{registry.host}/app:2", "--insecure-host", registry.host)


def test_a_registry_that_wants_a_certificate_gets_it(desk: Desk, made: Certificates) -> None:
    both = desk.folder / "both.pem"
    both.write_text(Path(made.client[0]).read_text() + Path(made.client[1]).read_text())
    with having(tokens(), tls=made.server, client_ca=made.ca) as registry:
        desk.know(registry.host)
        words = ("pull", f"{registry.host}/app:1", "--ca", made.ca)
        result = desk(*words, "none/", code=8)
        assert re.search("^hint: .*--cert FILE", result.err, re.MULTILINE), str(result)
        desk(*words, "apart/", "--cert", made.client[0], "--key", made.client[1])
        desk(*words, "one/", "--cert", both)
        desk("pull", f"{registry.host}/app:1", "insecure/", "--insecure", "--cert", both)


def test_a_certificate_that_is_none_is_refused_before_anything_is_sent(desk: Desk, made: Certificates) -> None:
    for name, text in (("junk", "no certificate"), ("half", Path(made.client[0]).read_text()[:300])):
        (desk.folder / name).write_text(text)
    locked = ("ec", "-in", made.client[1], "-aes256", "-passout", "pass:pa55", "-out", "locked")
    subprocess.run(["openssl", *locked], cwd=desk.folder, check=True, capture_output=True)
    cert, key = made.client
    with having(None, tls=made.server) as registry:
        for words, code in [
            (("--cert", "half", "--key", key), 4), (("--cert", cert), 4), (("--key", key), 2),
            (("--cert", cert, "--key", made.server[1]), 4), (("--cert", cert, "--key", "locked"), 4),
            (("--ca", "junk"), 4),
        ]:  # fmt: skip
            desk("pull", f"{registry.host}/app:1", "out/", *words, code=code)
        assert [] == registry.requests


@pytest.mark.parametrize("method", ["PATCH", "GET"])
def test_a_transfer_over_tls_that_is_cut_goes_on(method: str, desk: Desk, made: Certificates) -> None:
    with having(None, "from", one=BIG, tls=made.server) as registry:
        fault = {"cut_response" if method == "GET" else "cut_request": MiB}
        registry.faults += [Fault(method, "/blobs/", after=after, times=1, **fault) for after in range(3)]
        desk("push", "big", f"{registry.host}/app:1", "--ca", made.ca, "--jobs", "1")
        desk("pull", f"{registry.host}/from:1", "out/", "--ca", made.ca, "--jobs", "1")
        assert holds(registry, "app", BIG)
        assert BIG.blobs == places.blobs(desk.folder / "out")


def test_nothing_leads_from_tls_to_where_there_is_none(desk: Desk, made: Certificates) -> None:
    words = ("--ca", made.ca)
    with having(tokens(), tls=made.server) as registry, Recorder(TWO) as open_to_all:
        desk.know(registry.host, open_to_all.host)
        registry.faults.append(Fault("GET", sha256(TWO), redirect=f"{open_to_all.url}/{SIGNED}"))
        desk("pull", f"{registry.host}/app:1", "out/", *words, code=8)
        registry.realm = f"{open_to_all.url}/token"
        desk("pull", f"{registry.host}/app:1", "out/", *words, code=8)
        assert [] == open_to_all.requests


COMMANDS = [
    ("copy", "docker://{0}/app:1", "docker://{1}/new:1"), ("pull", "{0}/app:1", "docker://{1}/new:1"),
    ("push", "docker://{0}/app:1", "{1}/new:1"), ("pull", "{0}/app:1", "out/", "--with", "docker://{1}/app:1"),
    ("copy", "docker://{0}/app:1", "docker://{1}/app:1", "out/"), ("diff", "docker://{0}/app:1", "docker://{1}/app:1"),
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_insecure_is_for_one_registry_alone(command: tuple[str, ...], desk: Desk) -> None:
    with having(None) as one, having(None) as two:
        words = [word.format(one.host, two.host) for word in command]
        result = desk(*words, "--insecure", code=2)
        assert one.host in result.err and two.host in result.err and "--insecure-host" in result.err, str(result)
        assert [] == one.requests + two.requests


# Proxies


class Tunnel(socketserver.ThreadingTCPServer):
    """A proxy that knows CONNECT alone. `asked`: the heads of the requests."""

    daemon_threads = True

    def __init__(self, status: str = "200 OK") -> None:
        self.status, self.asked = status, list[str]()
        super().__init__(("127.0.0.1", 0), Within)
        self.host = f"127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Tunnel:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of clients that left."""


class Within(socketserver.StreamRequestHandler):
    server: Tunnel

    def handle(self) -> None:
        head = b"".join(iter(self.rfile.readline, b"\r\n")).decode()
        self.server.asked.append(head)
        self.wfile.write(f"HTTP/1.1 {self.server.status}\r\n\r\n".encode())
        name, _, port = head.split()[1].rpartition(":")
        if not self.server.status.startswith("200"):
            return
        with socket.create_connection((name, int(port)), 10) as there, suppress(OSError):
            ways = {self.connection: there, there: self.connection}
            while True:
                for source in select.select(list(ways), [], [])[0]:
                    if not (data := source.recv(1 << 16)):
                        return
                    ways[source].sendall(data)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy"])
def test_a_registry_is_reached_through_the_proxy(name: str, desk: Desk) -> None:
    with having(basic()) as proxy:
        desk.know("registry.invalid:5000")
        env = {name: f"http://proxy-user:pr0xy-word@{proxy.host}"}
        desk("pull", "registry.invalid:5000/app:1", "out/", "--insecure", **env)
        assert APP.blobs == places.blobs(desk.folder / "out")
        assert {"registry.invalid:5000"} == {one.headers["host"] for one in proxy.requests}
        assert all(one.path.startswith("http://registry.invalid:5000/v2/") for one in proxy.requests)
        desk("pull", "registry.invalid:5000/app:1", "out/", "--insecure", NO_PROXY="registry.invalid", code=8, **env)


def test_no_proxy_is_asked_where_it_is_not_to_be(desk: Desk) -> None:
    with having(None) as registry, Recorder() as proxy:
        env = {"HTTP_PROXY": proxy.url, "HTTPS_PROXY": proxy.url, "NO_PROXY": "example.com,127.0.0.1"}
        desk("pull", f"{registry.host}/app:1", "out/", "--insecure", **env)
        assert [] == proxy.requests


def test_tls_goes_through_a_proxy_with_authorities_and_certificates(desk: Desk, made: Certificates) -> None:
    with having(tokens(), tls=made.server, client_ca=made.ca) as registry, Tunnel() as tunnel:
        desk.know(registry.host)
        cert = ("--cert", made.client[0], "--key", made.client[1])
        env = {"HTTPS_PROXY": f"http://proxy-user:pr0xy-word@{tunnel.host}"}
        desk("pull", f"{registry.host}/app:1", "out/", *cert, code=8, **env)
        assert [] == registry.requests
        desk("pull", f"{registry.host}/app:1", "out/", "--ca", made.ca, *cert, **env)
        desk("push", "big", f"{registry.host}/app:2", "--insecure", *cert, **env)
        assert {registry.host} == {head.split()[1] for head in tunnel.asked}
        credentials = plain("proxy-user", "pr0xy-word")
        assert all(f"Proxy-Authorization: Basic {credentials}" in head for head in tunnel.asked)
        assert all(credentials not in str(one.headers) for one in registry.requests)


@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "502 Bad Gateway", "gone", "unknown"])
def test_a_proxy_that_does_not_connect_is_told_of(status: str, desk: Desk) -> None:
    with Tunnel(status) as tunnel:
        host = {"gone": "127.0.0.1:9", "unknown": "proxy.invalid:3128"}.get(status, tunnel.host)
        env = {"HTTPS_PROXY": f"http://proxy-user:pr0xy-word@{host}"}
        result = desk("pull", "registry.invalid/app:1", "out/", code=8, **env)
        assert "proxy" in result.err.splitlines()[-2], str(result)
        assert "HTTPS_PROXY" in result.err.splitlines()[-1], str(result)
