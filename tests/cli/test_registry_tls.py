"""Whom we believe at registries, and by which way they are reached: TLS and proxies. Every run is with --debug, and no secret
is in what it says.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import socket
import socketserver
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import certifi
import pytest
from support import places
from support.copying import TWO
from support.images import sha256
from support.registries import has_image
from support.registry import BlobServer, Certificates, Fault, ScriptedRegistry
from support.registry_command import (
    APP,
    BIG,
    BOTH,
    PASSWORD,
    SIGNED,
    USER,
    Auth,
    RegistryCommand,
    basic,
    basic_credentials,
    registry_with,
    tokens,
)

from ocitool.limits import MiB

# TLS


@BOTH
def test_an_authority_that_is_named_is_believed(auth: Auth, command: RegistryCommand, made: Certificates) -> None:
    with ScriptedRegistry(auth=auth(), tls=made.server) as registry:
        command("login", "-u", USER, registry.host, "--ca", made.ca, stdin=PASSWORD)
        command("push", "big", f"{registry.host}/app:1", "--ca", made.ca)
        command("pull", f"{registry.host}/app:1", "out/", "--ca", made.ca)
        assert BIG.blobs == places.blobs(command.folder / "out")


def test_a_certificate_that_nobody_vouches_for_gets_no_word(command: RegistryCommand, made: Certificates) -> None:
    with registry_with(basic(), tls=made.server) as registry:
        command.set_credentials(registry.host)
        for words in (("pull", f"{registry.host}/app:1", "out/"), ("login", "-u", USER, registry.host)):
            result = command(*words, stdin=PASSWORD, code=8)
            assert "certificate" in result.err and "\nhint: --ca FILE" in result.err, str(result)
        assert [] == registry.requests


def test_insecure_does_without_an_authority(command: RegistryCommand, made: Certificates) -> None:
    with registry_with(tokens(), tls=made.server) as registry:
        command.set_credentials(registry.host)
        command("pull", f"{registry.host}/app:1", "out/", "--insecure")
        command("push", "big", f"{registry.host}/app:2", "--insecure-host", registry.host)


def test_a_registry_that_wants_a_certificate_gets_it(command: RegistryCommand, made: Certificates) -> None:
    both = command.folder / "both.pem"
    both.write_text(Path(made.client[0]).read_text() + Path(made.client[1]).read_text())
    with registry_with(tokens(), tls=made.server, client_ca=made.ca) as registry:
        command.set_credentials(registry.host)
        words = ("pull", f"{registry.host}/app:1", "--ca", made.ca)
        result = command(*words, "none/", code=8)
        assert re.search("^hint: .*--cert FILE", result.err, re.MULTILINE), str(result)
        command(*words, "apart/", "--cert", made.client[0], "--key", made.client[1])
        command(*words, "one/", "--cert", both)
        command("pull", f"{registry.host}/app:1", "insecure/", "--insecure", "--cert", both)


def test_a_certificate_that_is_none_is_refused_before_anything_is_sent(command: RegistryCommand, made: Certificates) -> None:
    for name, text in (("junk", "no certificate"), ("half", Path(made.client[0]).read_text()[:300])):
        (command.folder / name).write_text(text)
    locked = ("ec", "-in", made.client[1], "-aes256", "-passout", "pass:pa55", "-out", "locked")
    subprocess.run(["openssl", *locked], cwd=command.folder, check=True, capture_output=True)
    cert, key = made.client
    with registry_with(None, tls=made.server) as registry:
        for words, code in [
            (("--cert", "half", "--key", key), 4), (("--cert", cert), 4), (("--key", key), 2),
            (("--cert", cert, "--key", made.server[1]), 4), (("--cert", cert, "--key", "locked"), 4),
            (("--ca", "junk"), 4),
        ]:  # fmt: skip
            command("pull", f"{registry.host}/app:1", "out/", *words, code=code)
        assert [] == registry.requests


@pytest.mark.parametrize("method", ["PATCH", "GET"])
def test_a_transfer_over_tls_that_is_cut_goes_on(method: str, command: RegistryCommand, made: Certificates) -> None:
    with registry_with(None, "from", one=BIG, tls=made.server) as registry:
        fault = {"cut_response" if method == "GET" else "cut_request": MiB}
        registry.faults += [Fault(method, "/blobs/", after=after, times=1, **fault) for after in range(3)]
        command("push", "big", f"{registry.host}/app:1", "--ca", made.ca, "--jobs", "1")
        command("pull", f"{registry.host}/from:1", "out/", "--ca", made.ca, "--jobs", "1")
        assert has_image(registry, "app", BIG)
        assert BIG.blobs == places.blobs(command.folder / "out")


def test_nothing_leads_from_tls_to_where_there_is_none(command: RegistryCommand, made: Certificates) -> None:
    words = ("--ca", made.ca)
    with registry_with(tokens(), tls=made.server) as registry, BlobServer(TWO) as open_to_all:
        command.set_credentials(registry.host, open_to_all.host)
        registry.faults.append(Fault("GET", sha256(TWO), redirect=f"{open_to_all.url}/{SIGNED}"))
        command("pull", f"{registry.host}/app:1", "out/", *words, code=8)
        registry.realm = f"{open_to_all.url}/token"
        command("pull", f"{registry.host}/app:1", "out/", *words, code=8)
        assert [] == open_to_all.requests


COMMANDS = [
    ("copy", "docker://{0}/app:1", "docker://{1}/new:1"), ("pull", "{0}/app:1", "docker://{1}/new:1"),
    ("push", "docker://{0}/app:1", "{1}/new:1"), ("pull", "{0}/app:1", "out/", "--with", "docker://{1}/app:1"),
    ("copy", "docker://{0}/app:1", "docker://{1}/app:1", "out/"), ("diff", "docker://{0}/app:1", "docker://{1}/app:1"),
]  # fmt: skip


@pytest.mark.parametrize("template", COMMANDS, ids=" ".join)
def test_insecure_is_for_one_registry_alone(template: tuple[str, ...], command: RegistryCommand) -> None:
    with registry_with(None) as one, registry_with(None) as two:
        words = [word.format(one.host, two.host) for word in template]
        result = command(*words, "--insecure", code=2)
        assert one.host in result.err and two.host in result.err and "--insecure-host" in result.err, str(result)
        assert [] == one.requests + two.requests


# Certificates for a host, as docker and podman keep them


CERTS_D = ("config/containers/certs.d", "config/docker/certs.d", "etc/containers/certs.d", "etc/docker/certs.d")


@pytest.fixture
def certs_d(command: RegistryCommand, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes a directory for a host, with copies of these files, below one of the places below the command's folder."""
    monkeypatch.setattr(
        "ocitool.transports.registry.http.trust.SYSTEM_CERTS_D", tuple(str(command.folder / one) for one in CERTS_D[2:])
    )

    def make(host: str, place: str = CERTS_D[-1], **files: str) -> Path:
        directory = command.folder / place / host
        directory.mkdir(parents=True)
        for name, source in files.items():
            (directory / name.replace("_", ".")).write_bytes(Path(source).read_bytes())
        return directory

    return make


@pytest.mark.parametrize("place", CERTS_D)
def test_an_authority_in_certs_d_is_believed_for_its_host_alone(
    place: str, command: RegistryCommand, made: Certificates, certs_d: Callable[..., Path]
) -> None:
    with registry_with(None, tls=made.server) as registry, registry_with(None, tls=made.server) as other:
        certs_d(registry.host, place, ca_crt=made.ca)
        command("pull", f"{registry.host}/app:1", "out/")
        assert "certificate" in command("pull", f"{other.host}/app:1", "out/", code=8).err


def test_a_pair_in_certs_d_is_shown_to_its_registry(
    command: RegistryCommand, made: Certificates, certs_d: Callable[..., Path]
) -> None:
    with registry_with(None, tls=made.server, client_ca=made.ca) as registry:
        certs_d(registry.host, ca_crt=made.ca, client_cert=made.client[0], client_key=made.client[1])
        command("pull", f"{registry.host}/app:1", "out/")


def test_a_pair_in_certs_d_is_not_shown_where_a_registry_leads(
    command: RegistryCommand, made: Certificates, certs_d: Callable[..., Path]
) -> None:
    with registry_with(None, tls=made.server) as registry, registry_with(None, tls=made.server, client_ca=made.ca) as storage:
        for one in (registry, storage):
            certs_d(one.host, ca_crt=made.ca, client_cert=made.client[0], client_key=made.client[1])
        registry.faults.append(Fault("GET", "/blobs/", redirect=f"{storage.url}{{path}}"))
        command("pull", f"{registry.host}/app:1", "out/", "--jobs", "1", code=8)
        assert [] == storage.requests


def test_what_is_wrong_in_certs_d_is_named(command: RegistryCommand, made: Certificates, certs_d: Callable[..., Path]) -> None:
    with registry_with(None, tls=made.server) as registry:
        files: dict[str, dict[str, str]] = {
            "client.key is missing": {"client_cert": made.client[0]},
            "client.cert is missing": {"client_key": made.client[1]},
            "do not belong together": {"client_cert": made.client[0], "client_key": made.server[1]},
            "no readable certificate": {"ca_crt": made.client[1]},
            "no readable certificate or key": {"ca_crt": os.devnull},
        }
        for said, wrong in files.items():
            directory = certs_d(registry.host, **wrong)
            result = command("pull", f"{registry.host}/app:1", "out/", code=4)
            assert said in result.err and str(directory) in result.err, str(result)
            shutil.rmtree(directory)
        assert [] == registry.requests


def test_a_file_of_another_user_in_certs_d_is_named_and_not_used(
    command: RegistryCommand, made: Certificates, certs_d: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with registry_with(None, tls=made.server) as registry:
        file = certs_d(registry.host, ca_crt=made.ca) / "ca.crt"
        os.chown(file, 12345, -1) if os.geteuid() == 0 else monkeypatch.setattr(os, "geteuid", lambda: 12345)
        result = command("pull", f"{registry.host}/app:1", "out/", code=8)
        assert f"{file} is not used: it belongs to another user" in result.err, str(result)


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_authorities_that_the_environment_names_are_believed_for_every_host(
    name: str, command: RegistryCommand, made: Certificates
) -> None:
    place = made.ca
    if name == "SSL_CERT_DIR":
        place = str(command.folder / "authorities")
        os.mkdir(place)
        shutil.copy(made.ca, place)
        subprocess.run(["openssl", "rehash", place], check=True, capture_output=True)
    with registry_with(None, tls=made.server) as registry, registry_with(None, tls=made.server) as storage:
        registry.faults.append(Fault("GET", "/blobs/", redirect=f"{storage.url}{{path}}"))
        command("pull", f"{registry.host}/app:1", "out/", **{name: place})
        assert storage.requests


def test_a_directory_of_authorities_needs_no_hashed_names(command: RegistryCommand, made: Certificates) -> None:
    """As for tools that are written in Go; OpenSSL finds `openssl rehash`'s names alone."""
    first, second = (command.folder / name for name in ("first", "second"))
    first.mkdir(), second.mkdir()
    (first / "README").write_text("no certificate")
    (second / "ours").write_bytes(Path(made.ca).read_bytes())
    with registry_with(None, tls=made.server) as registry:
        command("pull", f"{registry.host}/app:1", "out/", SSL_CERT_DIR=f"{first}:/nowhere:{second}")


@pytest.mark.parametrize("bundle", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_what_a_machine_sets_does_not_hide_what_a_user_sets(
    name: str, bundle: str, command: RegistryCommand, made: Certificates
) -> None:
    directory = command.folder / "authorities"
    directory.mkdir()
    shutil.copy(made.ca, directory)
    place = made.ca if name == "SSL_CERT_FILE" else str(directory)
    with registry_with(None, tls=made.server) as registry:
        command("pull", f"{registry.host}/app:1", "out/", code=8, **{bundle: certifi.where()})
        command("pull", f"{registry.host}/app:1", "out/", **{bundle: certifi.where(), name: place})


def test_a_variable_that_names_no_authorities_is_told(command: RegistryCommand, made: Certificates) -> None:
    with registry_with(None, tls=made.server) as registry:
        result = command("pull", f"{registry.host}/app:1", "out/", code=8, SSL_CERT_FILE="/nowhere/ca.pem")
        assert "SSL_CERT_FILE names a missing file: /nowhere/ca.pem" in result.err, str(result)
        command("pull", f"{registry.host}/app:1", "out/", code=3, REQUESTS_CA_BUNDLE="/nowhere/ca.pem")


@pytest.mark.parametrize("bundle", [False, True])
def test_a_file_without_a_certificate_is_told_if_a_variable_names_it(
    bundle: bool, command: RegistryCommand, made: Certificates
) -> None:
    (command.folder / "bundle.pem").write_bytes(Path(made.ca).read_bytes())
    for name, raw in {"empty": b"", "der": b"\x30\x82\x01\x00", "key": Path(made.client[1]).read_bytes()}.items():
        (command.folder / name).write_bytes(raw)
        with registry_with(None, tls=made.server) as registry:
            more = {"REQUESTS_CA_BUNDLE": str(command.folder / "bundle.pem")} if bundle else {}
            more["SSL_CERT_FILE"] = where = str(command.folder / name)
            result = command("pull", f"{registry.host}/app:1", f"{name}-out/", code=0 if bundle else 8, **more)
            assert f"SSL_CERT_FILE names a file without a PEM certificate: {where}" in result.err, str(result)


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
        port = head.split()[1].rpartition(":")[2]
        if not self.server.status.startswith("200"):
            return
        joined(self.connection, int(port))


def joined(connection: socket.socket, port: int) -> None:
    """Whatever name was asked for, it is this machine's; until one side ends."""
    with socket.create_connection(("127.0.0.1", port), 10) as there, suppress(OSError):
        ways = {connection: there, there: connection}
        while True:
            for source in select.select(list(ways), [], [])[0]:
                if not (data := source.recv(1 << 16)):
                    return
                ways[source].sendall(data)


class Socks(Tunnel):
    """A SOCKS5 proxy (RFC 1928, RFC 1929) that wants this user and password. `asked`: the names it was asked for."""

    user, password = b"proxy-user", b"pr0xy-word"

    def __init__(self) -> None:
        super().__init__()
        self.RequestHandlerClass = WithinSocks


class WithinSocks(socketserver.StreamRequestHandler):
    server: Socks

    def handle(self) -> None:
        def text() -> bytes:
            return self.rfile.read(self.rfile.read(1)[0])

        self.rfile.read(1)
        self.wfile.write(b"\5\2" if 2 in text() else b"\5\xff")
        if self.rfile.read(1) != b"\1":
            return
        right = (self.server.user, self.server.password) == (text(), text())
        self.wfile.write(b"\1\0" if right else b"\1\1")
        if not right:
            return
        assert b"\5\1\0\3" == self.rfile.read(4)  # to a name, which the proxy resolves
        name, port = text(), int.from_bytes(self.rfile.read(2))
        self.server.asked.append(f"{name.decode()}:{port}")
        self.wfile.write(b"\5\0\0\1" + bytes(6))
        joined(self.connection, port)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy"])
def test_a_registry_is_reached_through_the_proxy(name: str, command: RegistryCommand) -> None:
    with registry_with(basic()) as proxy:
        command.set_credentials("registry.invalid:5000")
        env = {name: f"http://proxy-user:pr0xy-word@{proxy.host}"}
        command("pull", "registry.invalid:5000/app:1", "out/", "--insecure", **env)
        assert APP.blobs == places.blobs(command.folder / "out")
        assert {"registry.invalid:5000"} == {one.headers["host"] for one in proxy.requests}
        assert all(one.path.startswith("http://registry.invalid:5000/v2/") for one in proxy.requests)
        command("pull", "registry.invalid:5000/app:1", "out/", "--insecure", NO_PROXY="registry.invalid", code=8, **env)


@pytest.mark.parametrize("excepted", ["", "example.com,127.0.0.1", "127.0.0.0/8"])
def test_this_machine_is_reached_without_a_proxy(excepted: str, command: RegistryCommand) -> None:
    with registry_with(None) as registry, BlobServer() as proxy:
        env = {"HTTP_PROXY": proxy.url, "HTTPS_PROXY": proxy.url, "NO_PROXY": excepted}
        command("pull", f"{registry.host}/app:1", "out/", "--insecure", **env)
        assert [] == proxy.requests


def test_tls_goes_through_a_proxy_with_authorities_and_certificates(command: RegistryCommand, made: Certificates) -> None:
    with registry_with(basic(), tls=made.server, client_ca=made.ca) as registry, Tunnel() as tunnel:
        host = registry.host.replace("127.0.0.1", "registry.test")
        command.set_credentials(host)
        cert = ("--cert", made.client[0], "--key", made.client[1])
        env = {"HTTPS_PROXY": f"http://proxy-user:pr0xy-word@{tunnel.host}"}
        command("pull", f"{host}/app:1", "out/", *cert, code=8, **env)
        assert [] == registry.requests
        command("pull", f"{host}/app:1", "out/", "--ca", made.ca, *cert, **env)
        registry.faults.append(Fault("POST|PATCH", location="{path}"))  # as one that does not know its own name
        command("push", "big", f"{host}/app:2", "--insecure", *cert, **env)
        assert {host} == {head.split()[1] for head in tunnel.asked}
        credentials = basic_credentials("proxy-user", "pr0xy-word")
        assert all(f"Proxy-Authorization: Basic {credentials}" in head for head in tunnel.asked)
        assert all(credentials not in str(one.headers) for one in registry.requests)


def test_a_registry_is_reached_through_a_socks_proxy_with_its_certificate(command: RegistryCommand, made: Certificates) -> None:
    with registry_with(basic(), tls=made.server) as registry, Socks() as proxy:
        host = registry.host.replace("127.0.0.1", "registry.test")
        command.set_credentials(host)
        env = {"ALL_PROXY": f"socks5h://proxy-user:pr0xy-word@{proxy.host}"}
        command("pull", f"{host}/app:1", "out/", "--ca", made.ca, **env)
        assert APP.blobs == places.blobs(command.folder / "out")
        assert {host} == set(proxy.asked)


def test_a_socks_proxy_that_refuses_or_is_gone_is_told_of(command: RegistryCommand) -> None:
    with Socks() as proxy:
        for login, said in (("", "user name and password"), ("proxy-user:wr0ng-word@", "user name and password")):
            env = {"HTTPS_PROXY": f"socks5h://{login}{proxy.host}"}
            result = command("pull", "registry.test/app:1", "out/", code=8, **env)
            assert f"the proxy requires a {said}" in result.err, str(result)
    result = command("pull", "registry.test/app:1", "out/", code=8, HTTPS_PROXY="socks5h://127.0.0.1:9")
    assert "the proxy does not connect" in result.err.splitlines()[-2], str(result)


def test_a_socks_proxy_without_its_package_names_the_extra(command: RegistryCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocitool.transports.registry.http.proxy_connections.find_spec", lambda name: None)
    result = command("pull", "registry.test/app:1", "out/", code=2, HTTPS_PROXY="socks5h://127.0.0.1:9")
    assert "hint: pip install 'ocitool[socks]'" in result.err, str(result)


def test_a_proxy_that_wants_a_password_is_told_of_without_tls_too(command: RegistryCommand) -> None:
    with BlobServer() as proxy:
        proxy.faults.append(Fault(status=407, body=b"<title>Squid: access denied</title>"))
        result = command("pull", "registry.test:5000/app:1", "out/", "--insecure", code=8, HTTP_PROXY=proxy.url)
        assert "the proxy requires a user name and password: Squid: access denied" in result.err, str(result)
        assert "ocitool login" not in result.err


@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "502 Bad Gateway", "gone", "unknown"])
def test_a_proxy_that_does_not_connect_is_told_of(status: str, command: RegistryCommand) -> None:
    with Tunnel(status) as tunnel:
        host = {"gone": "127.0.0.1:9", "unknown": "proxy.invalid:3128"}.get(status, tunnel.host)
        env = {"HTTPS_PROXY": f"http://proxy-user:pr0xy-word@{host}"}
        result = command("pull", "registry.invalid/app:1", "out/", code=8, **env)
        wanted = "the proxy requires a user name and password other than those that it was given"
        said = {"407": wanted, "502": "it answers 502 Bad Gateway"}
        expected = said.get(status[:3], "the proxy does not connect")
        assert f"{expected} (registry.invalid)" in result.err.splitlines()[-2], str(result)
        assert "HTTPS_PROXY" in result.err.splitlines()[-1], str(result)
