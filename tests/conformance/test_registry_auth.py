"""docker-registry 2.8.2 lets us in as it should: basic, tokens and tokens that end in mid-transfer, TLS, certificates of
clients. What we push, skopeo reads back byte for byte; what skopeo pushes, we pull."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import places
from support.copying import ONE, TWO
from support.images import image, layer_tar, sha256, write_layout
from support.real_registry import PASSWORD, USER, Proxy, real_registry
from support.registries import random_bytes
from support.registry import Certificates, certificates

from ocitool.limits import MiB

pytestmark = pytest.mark.tools
Run = Callable[..., Any]
APP = image([layer_tar([("large", random_bytes(3 * MiB))]), ONE, TWO], tag="app")
"""Its first layer is sent by PATCH, the others with the PUT that ends their upload."""


@pytest.fixture(autouse=True)
def _tools(need: Callable[..., str]) -> None:
    need("docker-registry", "openssl", "skopeo")


@pytest.fixture(scope="module")
def made(need: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    need("openssl")
    return certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def run(ocitool: Run, tmp_path: Path) -> Run:
    """The command, which is to succeed, in a directory with the image as `app`, at a home without credentials."""
    write_layout(tmp_path / "app", [APP])
    env: dict[str, str | None] = {"HOME": str(tmp_path), "DOCKER_CONFIG": None, "REGISTRY_AUTH_FILE": None}
    env |= {"XDG_RUNTIME_DIR": str(tmp_path / "none"), "XDG_CONFIG_HOME": str(tmp_path / "none")}
    env |= {name: None for word in ("http", "https", "all") for name in (f"{word}_proxy", f"{word}_proxy".upper())}

    def done(*words: str, stdin: bytes = b"") -> Any:
        result = ocitool(*words, cwd=tmp_path, env=env, stdin=stdin)
        assert 0 == result.code, str(result)
        return result

    return done


def known(folder: Path, *hosts: str) -> tuple[str, str]:
    """The option that names a file with the user's password for these hosts."""
    auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    (folder / "auth.json").write_text(json.dumps({"auths": {host: {"auth": auth} for host in hosts}}))
    return "--authfile", str(folder / "auth.json")


def skopeo(*words: str | Path) -> None:
    done = subprocess.run(["skopeo", "--insecure-policy", *words], capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
    assert 0 == done.returncode, done.stderr.decode()


def read_back(name: str, folder: Path, *options: str | Path) -> dict[str, bytes]:
    """The blobs of an image, its manifest with them, as skopeo fetches them."""
    skopeo("copy", *options, f"docker://{name}", f"dir:{folder}")
    found = {f"sha256:{path.name}": path.read_bytes() for path in folder.iterdir() if len(path.name) == 64}
    manifest = (folder / "manifest.json").read_bytes()
    return {sha256(manifest): manifest, **found}


def passes(run: Run, folder: Path, host: str, options: tuple[str, ...], skopeo_options: tuple[str, ...]) -> None:
    """What we push skopeo reads, what skopeo pushes we pull."""
    run("push", "app", f"{host}/ours:1", *options)
    source, target = (tuple(word.replace("--", f"--{end}-", 1) for word in skopeo_options) for end in ("src", "dest"))
    assert APP.blobs == read_back(f"{host}/ours:1", folder / "read", *source)
    skopeo("copy", *target, f"oci:{folder}/app:app", f"docker://{host}/theirs:1")
    run("pull", f"{host}/theirs:1", "out/", *options)
    assert APP.blobs == places.blobs(folder / "out")


def test_basic(run: Run, tmp_path: Path) -> None:
    with real_registry(tmp_path, auth="basic") as registry:
        options = ("--insecure", *known(tmp_path, registry.host))
        passes(run, tmp_path, registry.host, options, ("--tls-verify=false", f"--creds={USER}:{PASSWORD}"))
        ours = [one for one in registry.requests("POST|PUT|PATCH") if one.agent.startswith("ocitool")]
        assert {201, 202} == {one.status for one in ours}


def test_tokens(run: Run, tmp_path: Path) -> None:
    with real_registry(tmp_path, auth="token") as registry:
        options = ("--insecure", *known(tmp_path, registry.host))
        passes(run, tmp_path, registry.host, options, ("--tls-verify=false", f"--creds={USER}:{PASSWORD}"))
        ours = [one for one in registry.requests("POST|PUT|PATCH") if one.agent.startswith("ocitool")]
        assert {201, 202} == {one.status for one in ours}


def test_tokens_that_end_in_the_middle(run: Run, tmp_path: Path) -> None:
    with real_registry(tmp_path, auth="token") as registry, Proxy(registry.host, latency=0.25) as proxy:
        assert registry.tokens is not None
        registry.tokens.valid_for = 1  # while the answer says 300 s
        options = ("--insecure", "--jobs", "1", *known(tmp_path, proxy.host))
        run("push", "app", f"{proxy.host}/ours:1", *options)
        assert 2 <= registry.tokens.issued < 10
        assert 2 <= len([one for one in registry.requests("HEAD|POST|PUT|PATCH") if one.status == 401])
        registry.tokens.clear()
        registry.clear_log()
        proxy.latency = 0.6
        run("pull", f"{proxy.host}/ours:1", "out/", *options)
        assert APP.blobs == places.blobs(tmp_path / "out")
        assert 2 <= registry.tokens.issued < 10
        assert 1 <= len([one for one in registry.requests("GET", "/blobs/") if one.status == 401])
        registry.tokens.valid_for = None
        words = ("--src-tls-verify=false", f"--src-creds={USER}:{PASSWORD}")
        assert APP.blobs == read_back(f"{registry.host}/ours:1", tmp_path / "read", *words)


def test_a_login(run: Run, tmp_path: Path) -> None:
    with real_registry(tmp_path, auth="token") as registry:
        run("login", "-u", USER, registry.host, "--insecure", stdin=PASSWORD.encode())
        passes(run, tmp_path, registry.host, ("--insecure",), ("--tls-verify=false", f"--creds={USER}:{PASSWORD}"))
        # The file that skopeo knows too.
        file = f"--src-authfile={tmp_path}/.docker/config.json"
        assert APP.blobs == read_back(f"{registry.host}/ours:1", tmp_path / "again", "--src-tls-verify=false", file)
        run("logout", registry.host)


@pytest.mark.parametrize("auth", ["basic", "token", None])
def test_tls_and_a_certificate_of_ours(
    auth: Any, run: Run, tmp_path: Path, made: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    certs = tmp_path / "certs"
    certs.mkdir()
    shutil.copy(made.ca, certs / "ca.crt")
    client_ca = made.ca if auth != "token" else None  # skopeo has its certificate for the registry, not the token server
    with real_registry(tmp_path, auth=auth, tls=made.server, client_ca=client_ca) as registry:
        options = ("--ca", made.ca, *known(tmp_path, registry.host))
        if auth == "token":  # --ca is for the registry alone, the token server has a port of its own
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(made.ca))
        if client_ca is not None:
            shutil.copy(made.client[0], certs / "client.cert")
            shutil.copy(made.client[1], certs / "client.key")
            options += ("--cert", made.client[0], "--key", made.client[1])
        creds = (f"--creds={USER}:{PASSWORD}",) if auth is not None else ()
        passes(run, tmp_path, registry.host, options, (f"--cert-dir={certs}", *creds))
