"""The tests' real registry, its token server and the proxy do what they promise; skopeo or plain HTTP is the client."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from support.real_registry import PASSWORD, USER, Proxy, RealRegistry, real_registry
from support.registry import Certificates, certificates

pytestmark = pytest.mark.tools
SOURCES = {"oci": "oci-archive:{}/encodings/oci-gzip.tar", "docker": "docker-archive:{}/app-v1.tar"}
CREDS = f"{USER}:{PASSWORD}"
DATA = b"layer" * 100_000
BASIC = {"Authorization": "Basic " + base64.b64encode(CREDS.encode()).decode()}


@pytest.fixture(autouse=True)
def _tools(need: Callable[..., str]) -> None:
    need("docker-registry", "skopeo", "openssl")


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[RealRegistry]:
    with real_registry(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def made(need: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    need("openssl")
    return certificates(tmp_path_factory.mktemp("certificates"))


def certs_dir(directory: Path, made: Certificates) -> Path:
    """The certificates as skopeo wants them."""
    directory.mkdir()
    shutil.copy(made.ca, directory / "ca.crt")
    shutil.copy(made.client[0], directory / "client.cert")
    shutil.copy(made.client[1], directory / "client.key")
    return directory


def skopeo(*words: str | os.PathLike[str], code: int = 0) -> bytes:
    command = ["skopeo", "--insecure-policy", *words]
    done = subprocess.run(command, capture_output=True, timeout=60, stdin=subprocess.DEVNULL)
    assert code == done.returncode, done.stderr.decode()
    return done.stdout


def push(source: str, name: str, *options: str | os.PathLike[str], code: int = 0) -> None:
    skopeo("copy", *options, source, f"docker://{name}", code=code)


def check(registry: RealRegistry, name: str, *options: str | os.PathLike[str]) -> None:
    """The manifest comes back, and what it names is stored."""
    raw = skopeo("inspect", "--raw", *options, f"docker://{registry.host}/{name}")
    manifest = json.loads(raw)
    blobs = registry.blobs()
    assert len(raw) == blobs[f"sha256:{hashlib.sha256(raw).hexdigest()}"]
    for one in (manifest["config"], *manifest["layers"]):
        assert one["size"] == blobs[one["digest"]]
    assert registry.blob_bytes() == sum(blobs.values()) > 0


def ask(
    host: str, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection(host, timeout=20)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def begin(host: str) -> str:
    """The address of a new upload."""
    status, headers, _ = ask(host, "POST", "/v2/app/blobs/uploads/")
    assert 202 == status
    return where(headers)


def where(headers: http.client.HTTPMessage) -> str:
    parts = urlsplit(headers["Location"])
    return f"{parts.path}?{parts.query}"


def put_blob(host: str, data: bytes) -> str:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert 201 == ask(host, "PUT", f"{begin(host)}&digest={digest}", data)[0]
    return digest


@pytest.mark.parametrize("source", SOURCES)
def test_plain_and_its_log(source: str, registry: RealRegistry, testdata: Path) -> None:
    push(SOURCES[source].format(testdata), f"{registry.host}/app:1", "--dest-tls-verify=false")
    check(registry, "app:1", "--tls-verify=false")
    (put,) = registry.requests("PUT", "/manifests/")
    assert ("/v2/app/manifests/1", 201) == (put.path, put.status)
    assert "skopeo/" in put.agent
    uploads = [one.received for one in registry.requests("PATCH", "/blobs/uploads/")]
    (got,) = registry.requests("GET", "/manifests/")
    assert registry.blob_bytes() == sum(size or 0 for size in uploads) + got.sent
    assert len(registry.requests()) == len(registry.log())
    registry.clear_log()
    assert [] == registry.log()


def test_basic_auth_lets_in_who_knows_the_password(tmp_path: Path, testdata: Path) -> None:
    source, plain = SOURCES["oci"].format(testdata), "--dest-tls-verify=false"
    with real_registry(tmp_path, auth="basic") as registry:
        push(source, f"{registry.host}/app:1", plain, "--dest-creds", f"{USER}:wrong", code=1)
        push(source, f"{registry.host}/app:1", plain, "--dest-no-creds", code=1)
        assert 0 == registry.blob_bytes()
        push(source, f"{registry.host}/app:1", plain, "--dest-creds", CREDS)
        check(registry, "app:1", "--tls-verify=false", "--creds", CREDS)
        assert 401 in {one.status for one in registry.requests("GET", "/v2/$")}


def test_tokens_for_the_user_and_to_pull_for_everybody(tmp_path: Path, testdata: Path) -> None:
    source, plain = SOURCES["oci"].format(testdata), "--dest-tls-verify=false"
    with real_registry(tmp_path, auth="token") as registry:
        tokens = registry.tokens
        assert tokens is not None
        push(source, f"{registry.host}/app:1", plain, "--dest-creds", f"{USER}:wrong", code=1)
        assert {401} == {one.status for one in tokens.requests}
        assert 0 == tokens.issued
        tokens.clear()
        push(source, f"{registry.host}/app:1", plain, "--dest-creds", CREDS)
        assert tokens.issued == len(tokens.requests) > 0
        # skopeo asks for a token to pull beside it if the first one comes late.
        assert {USER} == {one.user for one in tokens.requests}
        assert {"repository:app:pull,push"} == {one.scopes[0] for one in tokens.requests}
        check(registry, "app:1", "--tls-verify=false", "--creds", CREDS)
        skopeo("inspect", "--tls-verify=false", "--no-creds", f"docker://{registry.host}/app:1", code=1)
        tokens.anonymous_pull = True
        check(registry, "app:1", "--tls-verify=false", "--no-creds")
        assert "" == tokens.requests[-1].user
        push(source, f"{registry.host}/app:2", plain, "--dest-no-creds", code=1)


def test_a_token_ends_when_it_is_told_to(tmp_path: Path) -> None:
    with real_registry(tmp_path, auth="token") as registry:
        tokens = registry.tokens
        assert tokens is not None

        def token(scope: str) -> dict[str, str]:
            status, _, body = ask(tokens.host, "GET", f"/token?service=real_registry&scope={scope}", headers=BASIC)
            assert 200 == status
            given = json.loads(body)
            assert given.get("expires_in") == tokens.expires_in
            return {"Authorization": f"Bearer {given['token']}"}

        def asked(headers: dict[str, str]) -> int:
            return ask(registry.host, "GET", "/v2/app/tags/list", headers=headers)[0]

        challenge = ask(registry.host, "GET", "/v2/app/tags/list")[1]["WWW-Authenticate"]
        assert f'Bearer realm="{tokens.realm}",service="real_registry",scope="repository:app:pull"' == challenge
        assert 404 == asked(token("repository:app:pull"))
        assert 401 == asked(token("repository:other:pull"))
        tokens.valid_for = -1
        assert 401 == asked(token("repository:app:pull"))
        tokens.valid_for, tokens.expires_in = None, 1
        short = token("repository:app:pull")
        assert 404 == asked(short)
        time.sleep(2.1)
        assert 401 == asked(short)
        tokens.expires_in = None
        assert 404 == asked(token("repository:app:pull"))


@pytest.mark.parametrize("auth", [None, "basic", "token"])
def test_tls(auth: Any, made: Certificates, tmp_path: Path, testdata: Path) -> None:
    source, certs = SOURCES["oci"].format(testdata), certs_dir(tmp_path / "certs", made)
    with real_registry(tmp_path, tls=made.server, auth=auth) as registry:
        assert registry.url == f"https://{registry.host}"
        push(source, f"{registry.host}/app:1", "--dest-creds", CREDS, code=1)
        push(source, f"{registry.host}/app:1", "--dest-creds", CREDS, "--dest-cert-dir", certs)
        push(source, f"{registry.host}/app:2", "--dest-creds", CREDS, "--dest-tls-verify=false")
        check(registry, "app:1", "--creds", CREDS, "--cert-dir", certs)
        assert registry.tokens is None or registry.tokens.realm.startswith("https:")


def test_tls_with_certificates_of_clients(made: Certificates, tmp_path: Path, testdata: Path) -> None:
    source, certs = SOURCES["oci"].format(testdata), certs_dir(tmp_path / "certs", made)
    with real_registry(tmp_path, tls=made.server, client_ca=made.ca) as registry:
        push(source, f"{registry.host}/app:1", "--dest-tls-verify=false", code=1)
        push(source, f"{registry.host}/app:1", "--dest-cert-dir", certs)
        check(registry, "app:1", "--cert-dir", certs)


def test_a_killed_registry_comes_back_with_its_data_and_its_uploads(registry: RealRegistry) -> None:
    host, pid = registry.host, registry.pid
    digest = put_blob(host, DATA)
    status, headers, _ = ask(host, "PATCH", begin(host), b"first ")
    assert 202 == status
    registry.kill()
    with pytest.raises(ConnectionRefusedError):
        ask(host, "GET", "/v2/")
    registry.start()
    assert (host, False) == (registry.host, pid == registry.pid)
    assert DATA == ask(host, "GET", f"/v2/app/blobs/{digest}")[2]
    both = hashlib.sha256(b"first second").hexdigest()
    assert 201 == ask(host, "PUT", f"{where(headers)}&digest=sha256:{both}", b"second")[0]
    registry.restart()
    assert b"first second" == ask(host, "GET", f"/v2/app/blobs/sha256:{both}")[2]
    sizes = [(one.method, one.status, one.sent, one.received) for one in registry.requests("[^P].*|P[^O].*")]
    expected = [("PUT", 201, 0, len(DATA)), ("PATCH", 202, 0, 6), ("GET", 200, len(DATA), 0), ("PUT", 201, 0, 6)]
    assert [*expected, ("GET", 200, 12, 0)] == sizes


@pytest.mark.parametrize(("delete", "status"), [(True, 202), (False, 405)])
def test_deleting_can_be_forbidden(delete: bool, status: int, tmp_path: Path) -> None:
    with real_registry(tmp_path, delete=delete) as registry:
        digest = put_blob(registry.host, DATA)
        assert status == ask(registry.host, "DELETE", f"/v2/app/blobs/{digest}")[0]


def test_two_registries_at_once(registry: RealRegistry, tmp_path: Path) -> None:
    with real_registry(tmp_path) as other:
        put_blob(other.host, DATA)
        assert (0, len(DATA)) == (registry.blob_bytes(), other.blob_bytes())


def test_skopeo_through_the_proxy(registry: RealRegistry, testdata: Path) -> None:
    with Proxy(registry.host, latency=0.02) as proxy:
        push(SOURCES["docker"].format(testdata), f"{proxy.host}/app:1", "--dest-tls-verify=false")
        check(registry, "app:1", "--tls-verify=false")
        assert proxy.connections > 0
        assert proxy.from_client > registry.blob_bytes()
        assert 0 < proxy.from_server < proxy.from_client
    with pytest.raises(ConnectionRefusedError):
        ask(proxy.host, "GET", "/v2/")


def test_the_proxy_adds_latency(registry: RealRegistry) -> None:
    with Proxy(registry.host, latency=0.1) as proxy:
        connection = http.client.HTTPConnection(proxy.host, timeout=20)
        took = []
        for _ in range(5):
            start = time.monotonic()
            connection.request("GET", "/v2/")
            assert b"{}" == connection.getresponse().read()
            took.append(time.monotonic() - start)
        connection.close()
        assert took[0] >= 0.2  # the connection is a round trip as well
        assert 0.1 <= min(took[1:]) < 0.2
        # A long body is late once, not once for each of its pieces.
        big = DATA * 20
        proxy.clear()
        digest = put_blob(proxy.host, big)
        start = time.monotonic()
        assert big == ask(proxy.host, "GET", f"/v2/app/blobs/{digest}")[2]
        assert 0.2 <= time.monotonic() - start < 2
        assert 3 == proxy.connections
        assert len(big) < proxy.from_server < len(big) + 3000
        assert len(big) < proxy.from_client < len(big) + 3000


@pytest.mark.parametrize("latency", [0, 0.02])
def test_the_proxy_cuts_what_the_server_sends(latency: float, registry: RealRegistry) -> None:
    digest = put_blob(registry.host, DATA)
    with Proxy(registry.host, latency=latency) as proxy:
        proxy.cut_after(100_000, times=2)
        for _ in range(2):
            assert 200 == ask(proxy.host, "GET", "/v2/")[0]  # too short for it
            with pytest.raises(http.client.IncompleteRead) as caught:
                ask(proxy.host, "GET", f"/v2/app/blobs/{digest}")
            assert 99_000 < len(caught.value.partial) < 100_000
        assert DATA == ask(proxy.host, "GET", f"/v2/app/blobs/{digest}")[2]
        assert 2 == proxy.cuts


def test_the_proxy_cuts_what_the_client_sends(registry: RealRegistry) -> None:
    with Proxy(registry.host) as proxy:
        upload = begin(proxy.host)
        proxy.clear()
        proxy.cut_after(100_000, side="client")
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            ask(proxy.host, "PATCH", upload, DATA)
        assert (100_000, 1) == (proxy.from_client, proxy.cuts)
        put_blob(proxy.host, DATA)


def test_the_proxy_drops_what_is_open(registry: RealRegistry) -> None:
    with Proxy(registry.host) as proxy:
        connection = http.client.HTTPConnection(proxy.host, timeout=20)
        connection.request("GET", "/v2/")
        assert b"{}" == connection.getresponse().read()
        proxy.drop()
        with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
            connection.request("GET", "/v2/")
            connection.getresponse()
        connection.close()
        registry.kill()
        with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
            ask(proxy.host, "GET", "/v2/")
        registry.start()
        assert 200 == ask(proxy.host, "GET", "/v2/")[0]
