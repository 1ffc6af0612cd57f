"""Which engine is meant: options, environment and contexts in the order of the docker client, and what is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from ocitool.errors import FormatError, NotFoundError, UsageError
from ocitool.transports.engine import EngineOptions
from ocitool.transports.engine.address import find, parse_address

PEM = ("ca.pem", "cert.pem", "key.pem")


class Client:
    """A configuration directory of the docker client."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {"DOCKER_CONFIG": str(folder)}

    def context(self, name: str, host: str | None, *, files: tuple[str, ...] = (), **more: Any) -> None:
        number = hashlib.sha256(name.encode()).hexdigest()
        meta = self.folder / "contexts" / "meta" / number
        meta.mkdir(parents=True)
        endpoint = {**({"Host": host} if host is not None else {}), **more}
        (meta / "meta.json").write_text(json.dumps({"Name": name, "Endpoints": {"docker": endpoint}}))
        for file in files:
            path = self.folder / "contexts" / "tls" / number / "docker" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x")

    def current(self, name: str) -> None:
        (self.folder / "config.json").write_text(json.dumps({"auths": {}, "currentContext": name}))

    def certificates(self, *names: str) -> str:
        folder = self.folder / "pem"
        folder.mkdir()
        for name in names:
            (folder / name).write_text("x")
        return str(folder)

    def found(self, host: str | None = None, context: str | None = None, **env: str) -> str:
        return str(find(EngineOptions(host, context), {**self.env, **env}))


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(tmp_path)


@pytest.mark.parametrize(
    ("text", "address"),
    [("unix:///run/x.sock", "unix:///run/x.sock"), ("unix://", "unix:///var/run/docker.sock"),
     ("", "unix:///var/run/docker.sock"),
     ("http+unix:///run/x.sock", "unix:///run/x.sock"), ("tcp://h", "tcp://h:2375"), ("tcp://h:99", "tcp://h:99"),
     ("h:99", "tcp://h:99"), ("h", "tcp://h:2375"), (" tcp://h ", "tcp://h:2375"), ("tcp://:2375", "tcp://localhost:2375"),
     ("tcp://[::1]:2375", "tcp://[::1]:2375"), ("tcp://h:1/base/", "tcp://h:1/base"), ("http://h", "tcp://h:2375"),
     ("https://h", "tcp://h:2376"), ("ssh://h", "ssh://h"), ("ssh://me@h:2222", "ssh://me@h:2222")],
)  # fmt: skip
def test_addresses(text: str, address: str) -> None:
    assert address == str(parse_address(text, "--host"))


def test_https_is_verified_by_the_authorities_of_the_system() -> None:
    tls = parse_address("https://h", "--host").tls
    assert tls is not None
    assert (None, True) == (tls.ca, tls.verify)


@pytest.mark.parametrize(
    "text",
    ["ftp://h", "tcp://h:0", "tcp://h:65536", "tcp://h:x", "tcp://-h", "ssh://-oProxyCommand=x", "ssh://-l@h", "ssh://u:pw@h",
     "tcp://u@h", "ssh://h/path", "tcp://h\nx", "tcp://h?x=1", "tcp://h#x", "tcp://h/a b", "tcp://[::1", "npipe:////./pipe/docker",
     "fd://", "tcp://h\x00", "ssh://h;rm"],
)  # fmt: skip
def test_hostile_and_wrong_addresses_are_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_address(text, "--host")
    assert "invalid address of an engine" in caught.value.what


def test_the_order_of_what_names_an_engine(client: Client) -> None:
    client.context("one", "tcp://one:1")
    client.context("two", "tcp://two:1")
    client.context("three", "tcp://three:1")
    assert "unix:///var/run/docker.sock" == client.found()
    client.current("three")
    assert "tcp://three:1" == client.found()
    assert "tcp://two:1" == client.found(DOCKER_CONTEXT="two")
    assert "tcp://env:1" == client.found(DOCKER_CONTEXT="two", DOCKER_HOST="tcp://env:1")
    assert "tcp://one:1" == client.found(context="one", DOCKER_CONTEXT="two", DOCKER_HOST="tcp://env:1")
    assert "tcp://host:1" == client.found(host="tcp://host:1", DOCKER_HOST="tcp://env:1", DOCKER_CONTEXT="two")


def test_empty_variables_are_as_if_they_were_not_set(client: Client) -> None:
    client.context("one", "tcp://one:1")
    client.current("one")
    assert "tcp://one:1" == client.found(DOCKER_HOST="", DOCKER_CONTEXT="")


def test_host_and_context_exclude_each_other(client: Client) -> None:
    with pytest.raises(UsageError, match="--host and --context"):
        client.found(host="tcp://h", context="one")


def test_the_default_context_is_the_environment_or_the_local_socket(client: Client) -> None:
    client.context("one", "tcp://one:1")
    client.current("one")
    assert "unix:///var/run/docker.sock" == client.found(context="default")
    assert "tcp://env:1" == client.found(context="default", DOCKER_HOST="tcp://env:1")
    assert "unix:///var/run/docker.sock" == client.found(DOCKER_CONTEXT="default")


def test_a_context_has_its_own_certificates(client: Client) -> None:
    client.context("tls", "tcp://h", files=PEM)
    address = find(EngineOptions(context="tls"), {**client.env, "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/elsewhere"})
    assert address.tls is not None
    assert 2376 == address.port
    assert address.tls.verify
    assert all(str(path).startswith(str(client.folder)) for path in address.tls[:3])


def test_a_context_is_verified_unless_it_says_that_it_is_not(client: Client) -> None:
    client.context("skips", "tcp://h", files=("ca.pem",), SkipTLSVerify=True)
    client.context("does", "tcp://h", files=("ca.pem",))
    client.context("plain", "tcp://h")
    skips, does, plain = (find(EngineOptions(context=name), client.env).tls for name in ("skips", "does", "plain"))
    assert skips is not None
    assert not skips.verify
    assert does is not None
    assert does.verify
    assert plain is None


def test_certificates_of_the_environment(client: Client) -> None:
    folder = client.certificates(*PEM)
    tls = find(EngineOptions("tcp://h"), {**client.env, "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": folder}).tls
    assert (f"{folder}/ca.pem", f"{folder}/cert.pem", f"{folder}/key.pem", True) == tls


def test_the_certificates_are_in_the_configuration_directory_by_default(client: Client) -> None:
    for name in PEM:
        (client.folder / name).write_text("x")
    tls = find(EngineOptions("tcp://h"), {**client.env, "DOCKER_TLS_VERIFY": "1"}).tls
    assert tls is not None
    assert str(client.folder / "ca.pem") == tls.ca


def test_docker_tls_alone_does_not_verify(client: Client) -> None:
    tls = find(EngineOptions("tcp://h"), {**client.env, "DOCKER_TLS": "1"}).tls
    assert tls is not None
    assert (None, None, None, False) == tls


def test_tls_verify_holds_whatever_it_says(client: Client) -> None:
    """As for the docker client: 0 and false are values too."""
    folder = client.certificates("ca.pem")
    tls = find(EngineOptions("tcp://h"), {**client.env, "DOCKER_TLS_VERIFY": "0", "DOCKER_CERT_PATH": folder}).tls
    assert tls is not None
    assert tls.verify
    assert tls.cert is None


def test_an_authority_that_is_missing_is_named(client: Client) -> None:
    with pytest.raises(NotFoundError) as caught:
        client.found(host="tcp://h", DOCKER_TLS_VERIFY="1", DOCKER_CERT_PATH=str(client.folder / "none"))
    assert "ca.pem" in str(caught.value)


def test_a_socket_needs_no_certificates(client: Client) -> None:
    assert "unix:///x" == client.found(host="unix:///x", DOCKER_TLS_VERIFY="1", DOCKER_CERT_PATH="/nowhere")


def test_contexts_that_cannot_be_used(client: Client) -> None:
    with pytest.raises(NotFoundError, match="no such context: none"):
        client.found(context="none")
    client.current("gone")
    with pytest.raises(NotFoundError) as caught:
        client.found()
    assert "config.json" in str(caught.value)
    client.context("empty", None)
    with pytest.raises(FormatError, match="has no address"):
        client.found(context="empty")
    client.context("bad", "ftp://x")
    with pytest.raises(UsageError, match="invalid address"):
        client.found(context="bad")


@pytest.mark.parametrize("name", ["../../etc", "a/b", "\x00", "x" * 300])
def test_a_context_of_any_name_stays_in_the_directory(client: Client, name: str) -> None:
    """Its folder is the hash of its name."""
    with pytest.raises(NotFoundError):
        client.found(context=name)


def test_a_broken_configuration_is_an_error(client: Client) -> None:
    (client.folder / "config.json").write_text("{")
    with pytest.raises(FormatError):
        client.found()
    (client.folder / "config.json").write_text('{"currentContext": 7}')
    assert "unix:///var/run/docker.sock" == client.found()
