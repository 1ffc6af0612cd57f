"""A real engine with TLS, as `dockerd --tlsverify` starts it: who is let in, who is believed, and what is said otherwise."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.engine import ScriptedEngine, free_port
from support.engine_certificates import Authority, Certificate, encrypted, pem_folder
from support.images import image, layer_tar, sha256, write_layout
from support.registries import NO_REGISTRY_SETTINGS

APP = image([layer_tar([("etc/", None), ("etc/motd", b"hello\n")])], tag="tls:1", codec="none")
IMAGE = "docker-daemon:tls:1"


@dataclass(frozen=True, slots=True)
class Pki:
    """Two authorities: the engine believes `ours`, and has its certificate from it. `folders`: what clients can show."""

    ours: Authority
    other: Authority
    server: Certificate
    folders: dict[str, Path]

    @property
    def keys(self) -> set[str]:
        """Every line of every key."""
        files = [path for folder in self.folders.values() for path in folder.glob("key.pem")]
        return {line for path in files for line in path.read_text().splitlines() if line and not line.startswith("-----")}


@pytest.fixture(scope="module")
def pki(need: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Pki:
    need("openssl")
    base = tmp_path_factory.mktemp("pki")
    ours, other = Authority(base / "ours"), Authority(base / "other", "another authority")
    client = ours.certificate("client", "clientAuth")
    folders = {
        "right": pem_folder(base / "right", ours.ca, client),
        "none": pem_folder(base / "none", ours.ca),
        "other": pem_folder(base / "other-client", ours.ca, other.certificate("client", "clientAuth")),
        "expired": pem_folder(base / "expired", ours.ca, ours.certificate("expired", "clientAuth", days=-1)),
        "server": pem_folder(base / "server", ours.ca, ours.certificate("no-client", "serverAuth")),
        "wrong-ca": pem_folder(base / "wrong-ca", other.ca, client),
        "no-ca": pem_folder(base / "no-ca", None, client),
        "broken-ca": pem_folder(base / "broken-ca", ours.ca, client),
        "broken-key": pem_folder(base / "broken-key", ours.ca, client),
        "broken-cert": pem_folder(base / "broken-cert", ours.ca, client),
        "other-key": pem_folder(base / "other-key", ours.ca, (client[0], ours.certificate("second", "clientAuth")[1])),
        "encrypted": pem_folder(base / "encrypted", ours.ca, client),
    }
    (folders["broken-ca"] / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    (folders["broken-key"] / "key.pem").write_text("no key\n")
    (folders["broken-cert"] / "cert.pem").write_text("no certificate\n")
    encrypted(folders["encrypted"] / "key.pem", "secret")
    return Pki(ours, other, ours.certificate("server"), folders)


@pytest.fixture(scope="module")
def engine(new_engine: Callable[..., Any], pki: Pki) -> Iterator[Any]:
    """An engine at port `engine.port` of 127.0.0.1, which its certificate names, and of 127.0.0.2, which it does not name."""
    port = free_port()
    certificate, key = pki.server
    options = ["--tlsverify", f"--tlscacert={pki.ours.ca}", f"--tlscert={certificate}", f"--tlskey={key}"]
    with new_engine(*options, f"-H=tcp://127.0.0.1:{port}", f"-H=tcp://127.0.0.2:{port}") as one:
        one.port = port
        one("import", "-", "tls:1", stdin=layer_tar([("etc/", None), ("etc/motd", b"hello\n")]))
        yield one


@pytest.fixture
def run(ocitool: Callable[..., Any], tmp_path: Path, pki: Pki) -> Callable[..., Any]:
    """The command at a home of its own, with --debug; `shows`: the folder of certificates that the environment names. What it
    says is searched for keys."""
    home = tmp_path / "home"
    home.mkdir()
    names = ("HOST", "CONTEXT", "CONFIG", "TLS", "TLS_VERIFY", "CERT_PATH")
    unset = dict.fromkeys(f"DOCKER_{name}" for name in names)

    def call(*words: Any, shows: str | None = None, code: int = 0, debug: bool = True, **env: str) -> Any:
        tls = {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(pki.folders[shows])} if shows else {}
        settings = {**NO_REGISTRY_SETTINGS, **unset, "HOME": str(home), **tls, **env}
        result = ocitool(*words, *(["--debug"] if debug else []), cwd=tmp_path, env=settings)
        assert code == result.code, result
        said = result.out + result.err
        assert "PRIVATE KEY" not in said and not any(line in said for line in pki.keys), result
        return result

    return call


def refusal(run: Callable[..., Any], address: str, shows: str | None, **how: Any) -> tuple[str, str]:
    """The error and the hint of a command that must not reach the engine: one line each, and nothing of ours is left."""
    before = sorted(os.listdir())
    result = run("copy", IMAGE, "out.tar", "--host", address, shows=shows, code=8, debug=False, **how)
    lines = [line for line in result.err.splitlines() if not line.startswith("ocitool: notice")]
    assert 1 <= len(lines) <= 2 and lines[0].startswith("ocitool: error: "), result
    assert f"({address})" in lines[0], result
    assert sorted(os.listdir()) == before
    run("copy", IMAGE, "out.tar", "--host", address, shows=shows, code=8, **how)
    return lines[0], lines[1] if len(lines) > 1 else ""


# What works


def test_the_right_certificate_works(engine: Any, run: Callable[..., Any], tmp_path: Path) -> None:
    address = f"tcp://127.0.0.1:{engine.port}"
    (shown,) = run("inspect", IMAGE, "--format", "json", "--host", address, shows="right").json()["images"]
    assert shown["imageId"] == engine("image", "inspect", "--format", "{{.Id}}", "tls:1").stdout.decode().strip()
    run("copy", IMAGE, "out.tar", shows="right", DOCKER_HOST=address)
    write_layout(tmp_path / "app", [APP])
    run("copy", "app", "docker-daemon:tls:2", shows="right", DOCKER_HOST=address)
    assert sha256(APP.config) == engine("image", "inspect", "--format", "{{.Id}}", "tls:2").stdout.decode().strip()


def test_names_of_the_host_are_those_of_the_certificate(engine: Any, run: Callable[..., Any]) -> None:
    run("inspect", IMAGE, "--host", f"tcp://localhost:{engine.port}", shows="right")
    run("inspect", IMAGE, "--host", f"https://127.0.0.1:{engine.port}", shows="right")


@pytest.mark.parametrize("how", ["--context", "DOCKER_CONTEXT", "current"])
def test_a_context_of_the_docker_client(engine: Any, run: Callable[..., Any], pki: Pki, tmp_path: Path, how: str) -> None:
    """Made by the docker client itself. It has its certificates, whatever the environment names."""
    right = pki.folders["right"]
    files = ",".join(f"{key}={right / name}" for key, name in (("ca", "ca.pem"), ("cert", "cert.pem"), ("key", "key.pem")))
    engine.env["DOCKER_CONFIG"] = config = str(tmp_path / "config")
    try:
        engine("context", "create", "far", "--docker", f"host=tcp://127.0.0.1:{engine.port},{files}")
        if how == "current":
            engine("context", "use", "far")
    finally:
        del engine.env["DOCKER_CONFIG"]
    words = ["--context", "far"] if how == "--context" else []
    env = {"DOCKER_CONTEXT": "far"} if how == "DOCKER_CONTEXT" else {}
    run("inspect", IMAGE, *words, shows="other", DOCKER_CONFIG=config, **env)


def test_docker_tls_alone_believes_any_certificate_and_says_so(engine: Any, run: Callable[..., Any], pki: Pki) -> None:
    env = {"DOCKER_TLS": "1", "DOCKER_CERT_PATH": str(pki.folders["right"])}
    result = run("inspect", IMAGE, "--host", f"tcp://127.0.0.2:{engine.port}", **env)
    assert "the certificate of tcp://127.0.0.2" in result.err and "is not checked" in result.err


# What does not


@pytest.mark.parametrize(
    ("shows", "error", "hint"),
    [
        ("none", "the engine wants a certificate of ours", "cert.pem and key.pem"),
        ("other", "the engine does not accept our certificate", "cert.pem and key.pem"),
        ("expired", "the engine does not accept our certificate", "cert.pem and key.pem"),
        ("server", "the engine does not accept our certificate", "cert.pem and key.pem"),
        ("wrong-ca", "the engine's certificate cannot be trusted: unable to get local issuer certificate", "ca.pem"),
    ],
)
def test_who_is_not_believed(engine: Any, run: Callable[..., Any], shows: str, error: str, hint: str) -> None:
    """With TLS 1.3 the engine closes the connection while we write the request: what it said may be lost."""
    said, advice = refusal(run, f"tcp://127.0.0.1:{engine.port}", shows)
    verb = "want a certificate of ours" if shows == "none" else "not accept our certificate"
    assert error in said or f"the engine ended the connection before it answered: it may {verb}" in said, said
    assert advice.startswith("hint: ") and hint in advice, advice


def test_another_host_than_the_certificate_names(engine: Any, run: Callable[..., Any]) -> None:
    error, hint = refusal(run, f"tcp://127.0.0.2:{engine.port}", "right")
    assert "IP address mismatch, certificate is not valid for '127.0.0.2'" in error, error
    assert "hint: name the engine as its certificate does" == hint


def test_a_client_without_tls_on_a_tls_port(engine: Any, run: Callable[..., Any]) -> None:
    error, hint = refusal(run, f"tcp://127.0.0.1:{engine.port}", None)
    assert "the engine speaks TLS only, and it was asked without" in error, error
    assert "DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH" in hint, hint


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ({"days": -1}, "certificate has expired"),
        ({"names": "DNS:elsewhere.example"}, "Hostname mismatch"),
        ({"usage": "clientAuth"}, "unsuitable certificate purpose"),
    ],
)
def test_certificates_of_engines_that_are_not_believed(
    run: Callable[..., Any], pki: Pki, how: dict[str, Any], error: str
) -> None:
    with ScriptedEngine(tls=pki.ours.certificate("bad-engine", **how)) as bad:
        said, hint = refusal(run, bad.host.replace("127.0.0.1", "localhost"), "right")
        assert "the engine's certificate cannot be trusted: " in said and error in said, said
        assert hint.startswith("hint: "), hint
        assert [] == bad.asked


def test_a_client_with_tls_on_a_port_without(run: Callable[..., Any]) -> None:
    with ScriptedEngine(tcp=True) as plain:
        error, hint = refusal(run, plain.host, "right")
        assert "the engine does not speak TLS at this port" in error, error
        assert "hint: 2375 is without TLS, 2376 with it" == hint
        assert [] == plain.asked


@pytest.mark.parametrize(
    ("shows", "error", "file"),
    [
        ("broken-ca", "no readable certificate", "ca.pem"),
        ("broken-key", "no readable key", "key.pem"),
        ("broken-cert", "no readable certificate", "cert.pem"),
        ("other-key", "the key does not belong to the certificate", "key.pem"),
        ("encrypted", "the key is encrypted, and no password can be given", "key.pem"),
    ],
)
def test_files_that_are_no_certificates(run: Callable[..., Any], pki: Pki, shows: str, error: str, file: str) -> None:
    """Which file it is, is said; nothing is sent, and no password is asked for."""
    with ScriptedEngine(tls=pki.server) as engine:
        result = run("inspect", IMAGE, "--host", engine.host, shows=shows, code=4)
        last = result.err.splitlines()[-1] if "hint" not in result.err else result.err.splitlines()[-2]
        assert last.startswith(f"ocitool: error: {error}") and f"({pki.folders[shows] / file})" in last, result
        assert [] == engine.asked


def test_an_authority_that_is_missing(run: Callable[..., Any], pki: Pki) -> None:
    result = run("inspect", IMAGE, "--host", "tcp://127.0.0.1:1", shows="no-ca", code=3)
    assert "the authority that the engine's certificate is checked with" in result.err
    assert re.search("^hint: DOCKER_CERT_PATH names the directory", result.err, re.MULTILINE)


def test_a_context_without_certificates_at_an_engine_that_wants_one(
    engine: Any, run: Callable[..., Any], tmp_path: Path
) -> None:
    import hashlib

    meta = tmp_path / "config" / "contexts" / "meta" / hashlib.sha256(b"bare").hexdigest()
    meta.mkdir(parents=True)
    docker = {"Host": f"tcp://127.0.0.1:{engine.port}", "SkipTLSVerify": True}
    (meta / "meta.json").write_text(json.dumps({"Name": "bare", "Endpoints": {"docker": docker}}))
    result = run("inspect", IMAGE, "--context", "bare", code=8, DOCKER_CONFIG=str(tmp_path / "config"))
    assert re.search("the engine wants a certificate of ours|it may want a certificate of ours", result.err), result
